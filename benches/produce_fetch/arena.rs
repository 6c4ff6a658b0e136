//! Everybody who takes part, each a process of its own, and how one round of a measurement is run with them.
//!
//! Only one of them is given work at a time. Which rounds there are, and in which order, is not decided here.

use crate::payload::{BATCH_BYTES_MAX, BATCH_RECORDS};
use crate::task::{Form, Sample, Task};
use anyhow::{Context, Result};
use mq_benches::helper::Helper;
use mq_benches::meter::{self, Meter};
use mq_benches::mqd::Mqd;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// What a connection may have under way.
const WINDOW_BYTES: usize = 8 << 20;
/// The size of one write to the disk while there is no broker that says what its own is.
const BULK_WRITE_BYTES: u64 = 1 << 20;
/// Writes are whole pages.
const PAGE_BYTES: u64 = 4096;
/// The broker has a writing thread for each core, up to this many.
const WRITERS_MAX_COUNT: u32 = 4;

/// What is done in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Full batches, pipelined.
    Produce { form: Form, connections: u32 },
    /// Warm records.
    Fetch { form: Form },
    /// A batch of one record, acknowledged before the next is sent.
    OneAtATime,
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// The broker.
    Ours,
    /// The server that stores nothing.
    Grpc,
    /// Plain writes with a sync after each, as large as the broker's in its last round.
    Disk,
}

/// How much a round moves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Full batches produced in a round, over all connections; also what fetching finds.
    pub(crate) batches: u32,
    /// How often a round of fetching reads them.
    pub(crate) passes: u32,
    /// Records of a round that are sent one at a time.
    pub(crate) single_records: u32,
}

/// One round of one contender.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) sample: Sample,
    pub(crate) wall: Duration,
    /// Of the server that the client talked to, if it did.
    pub(crate) server_cpu: Option<Duration>,
    pub(crate) client_cpu: Duration,
    pub(crate) elsewhere: Duration,
}

/// Everybody who takes part. Processes end before their directory goes: fields are dropped in this order.
pub(crate) struct Arena {
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
    pub(crate) fn start(dir: TempDir, mqd: Option<&Path>, sizes: Sizes) -> Result<Arena> {
        let mqd = mqd.map(|program| Mqd::start(program, dir.path())).transpose()?;
        let client = Helper::start(crate::CLIENT)?;
        let mut stand_in = Helper::start(crate::STAND_IN)?;
        let stand_in_address = stand_in.call(&())?;
        Ok(Arena { mqd, client, stand_in, stand_in_address, sizes, topics_made: 0, write_bytes: None, dir })
    }

    /// Whether the broker takes part.
    pub(crate) fn has_broker(&self) -> bool {
        self.mqd.is_some()
    }

    /// Makes what all rounds of this work share: the topic that fetching reads. The broker's peak of memory counts
    /// from here.
    pub(crate) fn prepare(&mut self, work: Work) -> Result<Option<String>> {
        self.write_bytes = None;
        let Some(mqd) = &self.mqd else { return Ok(None) };
        let (pid, server) = (mqd.id(), mqd.grpc);
        let topic = match work {
            Work::Fetch { .. } => {
                let topic = self.create_topic(server, 1)?;
                let fill = Work::Produce { form: Form::Batch, connections: 1 };
                let task = self.task(fill, server, &topic);
                self.call(&task)?;
                Some(topic)
            }
            Work::Produce { .. } | Work::OneAtATime => None,
        };
        meter::forget_peak(pid)?;
        Ok(topic)
    }

    /// Ends what [`Arena::prepare`] began. The broker's peak of memory in bytes.
    pub(crate) fn finish(&mut self, prepared: Option<&str>) -> Result<Option<u64>> {
        let Some(mqd) = &self.mqd else { return Ok(None) };
        let peak_bytes = meter::peak_bytes(mqd.id())?;
        if let Some(topic) = prepared {
            self.purge_topic(topic, 1)?;
        }
        Ok(Some(peak_bytes))
    }

    /// One round. Producing goes to a topic of its own, gone again before this returns, so that every round finds the
    /// same disk and memory that was used before.
    pub(crate) fn round(&mut self, work: Work, who: Contender, prepared: Option<&str>) -> Result<Observed> {
        match who {
            Contender::Grpc => {
                let task = self.task(work, self.stand_in_address, "any");
                self.observe(Some(self.stand_in.id()), &task)
            }
            Contender::Disk => {
                let task = self.write_task(work);
                self.observe(None, &task)
            }
            Contender::Ours => {
                let mqd = self.mqd.as_ref().context("the broker does not take part")?;
                let (pid, server) = (mqd.id(), mqd.grpc);
                if let Some(topic) = prepared {
                    let task = self.task(work, server, topic);
                    return self.observe(Some(pid), &task);
                }
                let partitions = connections(work);
                let topic = self.create_topic(server, partitions)?;
                let task = self.task(work, server, &topic);
                let before = self.mqd.as_ref().map(Mqd::rounds).transpose()?.unwrap_or_default();
                let observed = self.observe(Some(pid), &task)?;
                let after = self.mqd.as_ref().map(Mqd::rounds).transpose()?.unwrap_or_default();
                let mean_bytes = (after.bytes - before.bytes) / (after.count - before.count).max(1.0);
                self.write_bytes = Some((mean_bytes as u64).max(1).next_multiple_of(PAGE_BYTES));
                self.purge_topic(&topic, partitions)?;
                Ok(observed)
            }
        }
    }

    fn task(&self, work: Work, server: SocketAddr, topic: &str) -> Task {
        let Sizes { batches, passes, single_records } = self.sizes;
        let topic = topic.to_owned();
        match work {
            Work::Produce { form, connections } => Task::Produce {
                server,
                topic,
                form,
                connections,
                requests: batches / connections,
                records: BATCH_RECORDS,
                window_requests: (WINDOW_BYTES / BATCH_BYTES_MAX) as u32,
            },
            Work::Fetch { form } => Task::Fetch { server, topic, form, batches, passes },
            Work::OneAtATime => Task::Produce {
                server,
                topic,
                form: Form::Batch,
                connections: 1,
                requests: single_records,
                records: 1,
                window_requests: 1,
            },
        }
    }

    fn write_task(&self, work: Work) -> Task {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let writers = connections(work).min(cores).min(WRITERS_MAX_COUNT);
        let assumed_bytes = if matches!(work, Work::OneAtATime) { PAGE_BYTES } else { BULK_WRITE_BYTES };
        let write_bytes = self.write_bytes.unwrap_or(assumed_bytes);
        let total_bytes = u64::from(self.sizes.batches) * BATCH_BYTES_MAX as u64;
        let writes = match work {
            Work::OneAtATime => self.sizes.single_records,
            Work::Produce { .. } | Work::Fetch { .. } => {
                u32::try_from(total_bytes.div_ceil(write_bytes * u64::from(writers))).unwrap_or(u32::MAX)
            }
        };
        Task::Write { dir: self.dir.path().to_owned(), writers, writes, write_bytes }
    }

    fn create_topic(&mut self, server: SocketAddr, partitions: u32) -> Result<String> {
        self.topics_made += 1;
        let topic = format!("bench-{}", self.topics_made);
        self.call(&Task::CreateTopic { server, topic: topic.clone(), partitions })?;
        Ok(topic)
    }

    fn purge_topic(&mut self, topic: &str, partitions: u32) -> Result<()> {
        let Some(mqd) = &self.mqd else { return Ok(()) };
        let (server, topic) = (mqd.grpc, topic.to_owned());
        let left = mqd.replicas_count().saturating_sub(partitions as usize);
        self.client.call::<Sample>(&Task::PurgeTopic { server, topic })?;
        mqd.wait_for_replicas_count(left)
    }

    fn call(&mut self, task: &Task) -> Result<Sample> {
        self.client.call(task)
    }

    fn observe(&mut self, server: Option<u32>, task: &Task) -> Result<Observed> {
        let mut processes = vec![self.client.id()];
        processes.extend(server);
        let meter = Meter::start(&processes)?;
        let sample = self.call(task)?;
        let usage = meter.stop()?;
        Ok(Observed {
            sample,
            wall: usage.wall,
            server_cpu: usage.cpu.get(1).copied(),
            client_cpu: usage.cpu[0],
            elsewhere: usage.elsewhere,
        })
    }
}

/// The connections that do this work, each with a partition of its own.
fn connections(work: Work) -> u32 {
    match work {
        Work::Produce { connections, .. } => connections,
        Work::Fetch { .. } | Work::OneAtATime => 1,
    }
}
