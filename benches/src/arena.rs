//! Everybody who takes part, each a process of its own, and how one round of a measurement is run with them.
//!
//! Only one of them is given work at a time. Which rounds there are, and in which order, is not decided here.

use crate::bench::{self, CLIENT, STAND_IN};
use crate::helper::Helper;
use crate::meter::{self, Meter, Usage};
use crate::mqd::Mqd;
use crate::payload::{self, RECORD_BYTES};
use crate::task::{Call, Form, Load, Sample, Space, Task};
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;

/// What a connection may have under way.
pub const WINDOW_BYTES: usize = 8 << 20;
/// The size of one write to the disk while there is no broker that says what its own is.
const BULK_WRITE_BYTES: u64 = 1 << 20;
/// Writes into zeroed files are whole pages.
const PAGE_BYTES: u64 = 4096;
/// The broker has a writing thread for each core, up to this many.
const WRITERS_MAX_COUNT: u32 = 4;
/// The partitions that many small clients share.
const SHARED_PARTITIONS_COUNT: u32 = 4;

/// What is done in one round.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Full batches of so many bytes, pipelined; each connection has a partition of its own.
    Produce {
        /// How records travel.
        form: Form,
        /// The size of a batch.
        batch_bytes: usize,
        /// How many.
        connections: u32,
    },
    /// Warm records, stored in batches of so many bytes; each connection has a partition of its own.
    Fetch {
        /// How records travel.
        form: Form,
        /// The size of a batch.
        batch_bytes: usize,
        /// How many.
        connections: u32,
    },
    /// A batch of one record, acknowledged before the next is sent.
    OneAtATime,
    /// The same, by many clients at once, which share a few partitions.
    ManyClients {
        /// How many.
        clients: u32,
        /// Connections that they share.
        connections: u32,
        /// By which call.
        call: Call,
    },
    /// Batches of one record at a fixed rate.
    OpenLoop {
        /// The rate.
        per_second: u32,
    },
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The broker.
    Ours,
    /// The server that stores nothing.
    Grpc,
    /// Plain writes with a sync after each, as large as the broker's in its last round.
    Disk(Space),
}

/// How much a round moves.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Values produced in a round of full batches, in bytes, over all connections; also what fetching finds.
    pub bulk_bytes: u64,
    /// How often a round of fetching reads them.
    pub passes: u32,
    /// Records of a round that are sent one at a time; many clients send as many each as makes eight times that.
    pub single_records: u32,
    /// How long an open loop takes, in ms.
    pub open_loop_ms: u32,
}

/// One round of one contender.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What the client found.
    pub sample: Sample,
    /// What was used: by the client, then by the server that it talked to, if it did.
    pub usage: Usage,
}

/// Everybody who takes part. Processes end before their directory goes: fields are dropped in this order.
pub struct Arena {
    mqd: Option<Mqd>,
    client: Helper,
    stand_in: Helper,
    stand_in_address: SocketAddr,
    sizes: Sizes,
    topics_made: u32,
    /// The mean of the broker's last round of work, per write.
    write_bytes: Option<u64>,
    dir: TempDir,
}

impl Arena {
    /// Starts everybody; `mqd` is the broker's program, `None` to go without.
    ///
    /// # Errors
    /// Somebody does not start.
    pub fn start(dir: TempDir, mqd: Option<&Path>, sizes: Sizes) -> Result<Arena> {
        let mqd = mqd.map(|program| Mqd::start(program, dir.path())).transpose()?;
        let client = Helper::start(CLIENT)?;
        let mut stand_in = Helper::start(STAND_IN)?;
        let stand_in_address = stand_in.call(&())?;
        Ok(Arena { mqd, client, stand_in, stand_in_address, sizes, topics_made: 0, write_bytes: None, dir })
    }

    /// Whether the broker takes part.
    pub fn has_broker(&self) -> bool {
        self.mqd.is_some()
    }

    /// Makes what all rounds of this work share: the topic that fetching reads. The broker's peak of memory counts
    /// from here.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn prepare(&mut self, work: Work) -> Result<Option<String>> {
        self.write_bytes = None;
        let Some(mqd) = &self.mqd else { return Ok(None) };
        let (pid, server) = (mqd.id(), mqd.grpc);
        let topic = match work {
            Work::Fetch { batch_bytes, connections, .. } => {
                let topic = self.create_topic(server, connections)?;
                let fill = Work::Produce { form: Form::Batch, batch_bytes, connections };
                let task = self.task(fill, server, &topic);
                self.client.call::<Sample>(&task)?;
                Some(topic)
            }
            _ => None,
        };
        meter::forget_peak(pid)?;
        Ok(topic)
    }

    /// Ends what [`Arena::prepare`] began. The broker's peak of memory in bytes.
    ///
    /// # Errors
    /// The broker refuses.
    pub fn finish(&mut self, work: Work, prepared: Option<&str>) -> Result<Option<u64>> {
        let Some(mqd) = &self.mqd else { return Ok(None) };
        let peak_bytes = meter::memory(mqd.id())?.peak;
        if let Some(topic) = prepared {
            self.purge_topic(topic, partitions(work))?;
        }
        Ok(Some(peak_bytes))
    }

    /// One round. Producing goes to a topic of its own, gone again before this returns, so that every round finds the
    /// same disk and memory that was used before.
    ///
    /// # Errors
    /// Something does not do what it should.
    pub fn round(&mut self, work: Work, who: Contender, prepared: Option<&str>) -> Result<Observed> {
        bench::settle(self.dir.path())?;
        match who {
            Contender::Grpc => {
                let task = self.task(work, self.stand_in_address, "any");
                self.observe(Some(self.stand_in.id()), &task)
            }
            Contender::Disk(space) => {
                let task = self.write_task(work, space);
                self.observe(None, &task)
            }
            Contender::Ours => {
                let mqd = self.mqd.as_ref().context("the broker does not take part")?;
                let (pid, server) = (mqd.id(), mqd.grpc);
                if let Some(topic) = prepared {
                    let task = self.task(work, server, topic);
                    return self.observe(Some(pid), &task);
                }
                let topic = self.create_topic(server, partitions(work))?;
                let task = self.task(work, server, &topic);
                let before = self.mqd.as_ref().map(Mqd::rounds).transpose()?.unwrap_or_default();
                let observed = self.observe(Some(pid), &task)?;
                let after = self.mqd.as_ref().map(Mqd::rounds).transpose()?.unwrap_or_default();
                let mean_bytes = (after.bytes - before.bytes) / (after.count - before.count).max(1.0);
                self.write_bytes = Some((mean_bytes as u64).max(1));
                self.purge_topic(&topic, partitions(work))?;
                Ok(observed)
            }
        }
    }

    fn task(&self, work: Work, server: SocketAddr, topic: &str) -> Task {
        let Sizes { bulk_bytes, passes, single_records, open_loop_ms } = self.sizes;
        let topic = topic.to_owned();
        let load = Load {
            topic: topic.clone(),
            partitions: partitions(work),
            round_robin: false,
            form: Form::Batch,
            call: Call::Stream,
            clients: 1,
            connections: 1,
            requests: single_records,
            records: 1,
            window_requests: 1,
        };
        let requests_each = |records: u32, connections: u32| {
            let bytes = u64::from(records) * RECORD_BYTES as u64 * u64::from(connections);
            u32::try_from(bulk_bytes.div_ceil(bytes)).expect("a round is far smaller than 4 billion batches")
        };
        match work {
            Work::Produce { form, batch_bytes, connections } => {
                let records = payload::records_in(batch_bytes);
                let load = Load {
                    form,
                    clients: connections,
                    connections,
                    requests: requests_each(records, connections),
                    records,
                    window_requests: (WINDOW_BYTES / batch_bytes) as u32,
                    ..load
                };
                Task::Produce { server, load }
            }
            Work::Fetch { form, batch_bytes, connections } => {
                let records = payload::records_in(batch_bytes);
                let batches = requests_each(records, connections);
                Task::Fetch { server, topic, form, connections, records, batches, passes }
            }
            Work::OneAtATime => Task::Produce { server, load },
            Work::ManyClients { clients, connections, call } => {
                let requests = (8 * single_records).div_ceil(clients);
                Task::Produce { server, load: Load { clients, connections, call, requests, ..load } }
            }
            Work::OpenLoop { per_second } => {
                let requests = (u64::from(per_second) * u64::from(open_loop_ms)).div_ceil(1_000);
                let requests = u32::try_from(requests).expect("a round takes seconds");
                Task::OpenLoop { server, topic, per_second, requests }
            }
        }
    }

    fn write_task(&self, work: Work, space: Space) -> Task {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let writers = partitions(work).min(cores).min(WRITERS_MAX_COUNT);
        let bulk = matches!(work, Work::Produce { .. } | Work::Fetch { .. });
        let assumed_bytes = if bulk { BULK_WRITE_BYTES } else { PAGE_BYTES };
        let mut write_bytes = self.write_bytes.unwrap_or(assumed_bytes);
        if space == Space::Zeroed {
            write_bytes = write_bytes.next_multiple_of(PAGE_BYTES);
        }
        let writes = if bulk {
            let writes = self.sizes.bulk_bytes.div_ceil(write_bytes * u64::from(writers));
            u32::try_from(writes).unwrap_or(u32::MAX)
        } else {
            self.sizes.single_records
        };
        Task::Write { dir: self.dir.path().to_owned(), space, writers, writes, write_bytes }
    }

    fn create_topic(&mut self, server: SocketAddr, partitions: u32) -> Result<String> {
        self.topics_made += 1;
        let topic = format!("bench-{}", self.topics_made);
        self.client.call::<Sample>(&Task::CreateTopic { server, topic: topic.clone(), partitions })?;
        Ok(topic)
    }

    fn purge_topic(&mut self, topic: &str, partitions: u32) -> Result<()> {
        let Some(mqd) = &self.mqd else { return Ok(()) };
        let (server, topic) = (mqd.grpc, topic.to_owned());
        let left = mqd.replicas_count().saturating_sub(partitions as usize);
        self.client.call::<Sample>(&Task::PurgeTopic { server, topic })?;
        mqd.wait_for_replicas_count(left)
    }

    fn observe(&mut self, server: Option<u32>, task: &Task) -> Result<Observed> {
        let mut processes = vec![self.client.id()];
        processes.extend(server);
        let meter = Meter::start(&processes)?;
        let sample = self.client.call(task)?;
        Ok(Observed { sample, usage: meter.stop()? })
    }
}

/// The partitions of the topic that this work is done with.
fn partitions(work: Work) -> u32 {
    match work {
        Work::Produce { connections, .. } | Work::Fetch { connections, .. } => connections,
        Work::ManyClients { .. } => SHARED_PARTITIONS_COUNT,
        Work::OneAtATime | Work::OpenLoop { .. } => 1,
    }
}
