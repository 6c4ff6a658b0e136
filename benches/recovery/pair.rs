//! Two brokers, one with a small log and one with a large one, and what is done with either in a round.

use crate::Step;
use crate::caches::Caches;
use anyhow::{Context, Result};
use mq_benches::arena::WINDOW_BYTES;
use mq_benches::bench::{self, CLIENT, Run};
use mq_benches::helper::Helper;
use mq_benches::meter::{self, Meter, Usage};
use mq_benches::mqd::Mqd;
use mq_benches::payload::{self, RECORD_BYTES};
use mq_benches::task::{Call, Form, Load, Sample, Task};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TOPIC: &str = "log";
const BATCH_BYTES: usize = 256 << 10;
/// Of one round of appending.
const APPEND_MB: u64 = 16;
/// Of one round: so few that a small log is not in memory after half of them.
const FETCHES: u32 = 50;
const MB: u64 = 1_000_000;
/// Between two looks at the memory of a broker.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogSize {
    Small,
    Large,
}

/// A broker and its log.
pub(crate) struct Broker {
    mqd: Mqd,
    /// Of values, as it was filled.
    pub(crate) mb: u64,
    /// Of what it was filled with.
    end_offset: i64,
}

/// Both, and who calls them. Processes end before their directories go: fields are dropped in this order.
pub(crate) struct Pair {
    small: Broker,
    large: Broker,
    client: Helper,
    program: PathBuf,
    dirs: [TempDir; 2],
}

/// What filling a log and reading it back took.
pub(crate) struct Filled {
    pub(crate) peak_bytes: u64,
    /// Of the memory that is the broker's own.
    pub(crate) anonymous_peak_bytes: u64,
    pub(crate) produce_mb_per_second: f64,
    pub(crate) fetch_mb_per_second: f64,
    pub(crate) usages: [Usage; 2],
}

impl Pair {
    /// Starts both with empty logs, to be filled with so many MB.
    pub(crate) fn start(run: &Run, program: &Path, mb: [u64; 2]) -> Result<Pair> {
        let dirs = [run.new_dir()?, run.new_dir()?];
        let mut client = Helper::start(CLIENT)?;
        let mut start = |dir: &TempDir, mb| {
            let mqd = Mqd::start(program, dir.path())?;
            let topic = TOPIC.to_owned();
            client.call::<Sample>(&Task::CreateTopic { server: mqd.grpc, topic, partitions: 1 })?;
            anyhow::Ok(Broker { mqd, mb, end_offset: 0 })
        };
        let (small, large) = (start(&dirs[0], mb[0])?, start(&dirs[1], mb[1])?);
        Ok(Pair { small, large, client, program: program.to_owned(), dirs })
    }

    pub(crate) fn broker(&self, size: LogSize) -> &Broker {
        match size {
            LogSize::Small => &self.small,
            LogSize::Large => &self.large,
        }
    }

    fn broker_mut(&mut self, size: LogSize) -> &mut Broker {
        match size {
            LogSize::Small => &mut self.small,
            LogSize::Large => &mut self.large,
        }
    }

    /// Produces the log and reads all of it.
    pub(crate) fn fill(&mut self, size: LogSize) -> Result<Filled> {
        let broker = self.broker(size);
        let (server, pid, mb) = (broker.mqd.grpc, broker.mqd.id(), broker.mb);
        let produce = produce(server, mb);
        let records = payload::records_in(BATCH_BYTES);
        let batches = requests(mb);
        let topic = TOPIC.to_owned();
        let (form, connections, passes) = (Form::Batch, 1, 1);
        let fetch = Task::Fetch { server, topic, form, connections, records, batches, passes };
        meter::forget_peak(pid)?;
        let stop = AtomicBool::new(false);
        let (produced, fetched, anonymous_peak_bytes) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| watch_anonymous(pid, &stop));
            let produced = self.observe(&produce);
            let fetched = produced.as_ref().ok().map(|_| self.observe(&fetch));
            stop.store(true, Ordering::Relaxed);
            let peak = watcher.join().expect("the watcher does not panic");
            anyhow::Ok((produced?, fetched.context("nothing was produced")??, peak?))
        })?;
        self.broker_mut(size).end_offset = i64::from(batches) * i64::from(records);
        let mb_per_second = |sample: &Sample| sample.bytes as f64 / MB as f64 / sample.seconds;
        Ok(Filled {
            peak_bytes: meter::memory(pid)?.peak,
            anonymous_peak_bytes,
            produce_mb_per_second: mb_per_second(&produced.0),
            fetch_mb_per_second: mb_per_second(&fetched.0),
            usages: [produced.1, fetched.1],
        })
    }

    /// One round with one log: the figure, and what was used, unless the broker was another one in the end.
    pub(crate) fn round(
        &mut self,
        size: LogSize,
        step: Step,
        caches: Caches,
    ) -> Result<(f64, Option<Usage>)> {
        bench::settle(self.dirs[0].path())?;
        let broker = self.broker(size);
        let (server, topic, end_offset) = (broker.mqd.grpc, TOPIC.to_owned(), broker.end_offset);
        let task = match step {
            Step::FirstAck => return Ok((self.first_ack(size, caches)?, None)),
            Step::Fetch => Task::FetchAnywhere { server, topic, end_offset, fetches: FETCHES },
            Step::Append => produce(server, APPEND_MB),
        };
        caches.prepare(&self.program)?;
        let (sample, usage) = self.observe(&task)?;
        let figure = match step {
            Step::Append => sample.bytes as f64 / MB as f64 / sample.seconds,
            Step::Fetch | Step::FirstAck => sample.latency.p50_us,
        };
        Ok((figure, Some(usage)))
    }

    /// In ms, from the kill on; the broker is started again at once.
    fn first_ack(&mut self, size: LogSize, caches: Caches) -> Result<f64> {
        let program = self.program.clone();
        let broker = self.broker_mut(size);
        let task = Task::FirstAck { server: broker.mqd.grpc, topic: TOPIC.to_owned() };
        let mut began = Instant::now();
        broker.mqd.kill()?;
        if caches == Caches::Dropped {
            caches.prepare(&program)?; // it takes its time, and is no part of coming back
            began = Instant::now();
        }
        broker.mqd.start_again()?;
        let acknowledged = self.client.call::<Sample>(&task);
        let elapsed = began.elapsed();
        acknowledged.with_context(|| format!("mqd wrote:\n{}", self.broker(size).mqd.words()))?;
        Ok(elapsed.as_secs_f64() * 1e3)
    }

    fn observe(&mut self, task: &Task) -> Result<(Sample, Usage)> {
        let meter = Meter::start(&[self.client.id(), self.small.mqd.id(), self.large.mqd.id()])?;
        let sample = self.client.call(task)?;
        Ok((sample, meter.stop()?))
    }
}

/// Batches that make so many MB of values.
fn requests(mb: u64) -> u32 {
    let batch_bytes = u64::from(payload::records_in(BATCH_BYTES)) * RECORD_BYTES as u64;
    u32::try_from((mb * MB).div_ceil(batch_bytes)).expect("a log is far smaller than 4 billion batches")
}

fn produce(server: std::net::SocketAddr, mb: u64) -> Task {
    let load = Load {
        topic: TOPIC.to_owned(),
        partitions: 1,
        round_robin: true, // the log may hold something already
        form: Form::Batch,
        call: Call::Stream,
        clients: 1,
        connections: 1,
        requests: requests(mb),
        records: payload::records_in(BATCH_BYTES),
        window_requests: (WINDOW_BYTES / BATCH_BYTES) as u32,
    };
    Task::Produce { server, load }
}

/// The most that a process had of its own, of many looks.
fn watch_anonymous(pid: u32, stop: &AtomicBool) -> Result<u64> {
    let mut peak = 0;
    while !stop.load(Ordering::Relaxed) {
        peak = peak.max(meter::memory(pid)?.anonymous);
        pause();
    }
    Ok(peak)
}

#[expect(clippy::disallowed_methods, reason = "another process can only be looked at again and again")]
fn pause() {
    std::thread::sleep(LOOK_INTERVAL);
}
