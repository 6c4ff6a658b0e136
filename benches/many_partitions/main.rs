//! A thousand partitions on one broker: what they cost while nothing happens, and while all of them are written to; and
//! what the ways to make many files durable cost on this machine.
//!
//! What the figures mean stands in the README beside this directory. Nothing is asserted about them.

mod sync_strategies;

use anyhow::Result;
use mq_benches::arena::WINDOW_BYTES;
use mq_benches::bench::{self, CLIENT, Run};
use mq_benches::helper::Helper;
use mq_benches::meter::{self, Meter, Usage};
use mq_benches::mqd::Mqd;
use mq_benches::payload;
use mq_benches::report::{Entry, Row, Target};
use mq_benches::task::{Call, Form, Load, Sample, Task};
use std::time::Duration;
use tempfile::TempDir;

/// As in the broker: glibc's allocator is several times slower for large messages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: u32 = 1_000;
const IDLE_CPU_PERCENT_MAX: f64 = 2.0;
const RESIDENT_BYTES_MAX: f64 = 150.0 * MIB;
/// Of writing to all of them by turns, beside writing to one.
const ALL_RATIO_MIN: f64 = 0.3;
/// The sizes of a batch. The one with the target is what producers of many partitions have by default.
const BATCH_BYTES: [usize; 3] = [1 << 10, 16 << 10, 256 << 10];
const TARGET_BYTES: usize = 16 << 10;
const IDLE_WINDOWS_MAX: u32 = 3;
const MIB: f64 = 1_048_576.0;
const IDLE: &str = "1000 partitions, idle";
const MANY: &str = "many";
const ONE: &str = "one";

fn main() -> Result<()> {
    bench::main("many_partitions", measure)
}

fn measure(run: &Run) -> Result<Vec<Entry>> {
    let mut entries = sync_strategies::measure(run)?;
    let wanted: Vec<_> = BATCH_BYTES.into_iter().filter(|bytes| run.arguments.wants(&name(*bytes))).collect();
    let idle = run.arguments.wants(IDLE);
    if !idle && wanted.is_empty() {
        return Ok(entries);
    }
    let Some(program) = run.broker()? else { return Ok(entries) };
    let turns = run.arguments.rounds();
    let windows = turns.min(IDLE_WINDOWS_MAX);
    run.announce(u64::from(windows) * u64::from(idle) + wanted.len() as u64 * (u64::from(turns) + 1));
    run.progress.set_message("making 1000 partitions");
    let dir = run.new_dir()?;
    let mut crowd = Crowd::start(&program, dir)?;
    if idle {
        run.progress.set_message(IDLE);
        entries.push(crowd.idle(run, windows)?);
    }
    for batch_bytes in wanted {
        run.progress.set_message(name(batch_bytes));
        entries.push(crowd.write(run, batch_bytes, turns)?);
    }
    Ok(entries)
}

fn name(batch_bytes: usize) -> String {
    format!("produce batches of {} KiB to 1000 partitions by turns", batch_bytes >> 10)
}

/// A broker with two topics, and who calls it. Processes end before their directory goes.
struct Crowd {
    mqd: Mqd,
    client: Helper,
    dir: TempDir,
}

impl Crowd {
    fn start(program: &std::path::Path, dir: TempDir) -> Result<Crowd> {
        let mqd = Mqd::start(program, dir.path())?;
        let mut client = Helper::start(CLIENT)?;
        for (topic, partitions) in [(MANY, PARTITIONS), (ONE, 1)] {
            let (server, topic) = (mqd.grpc, topic.to_owned());
            client.call::<Sample>(&Task::CreateTopic { server, topic, partitions })?;
        }
        Ok(Crowd { mqd, client, dir })
    }

    /// Nobody calls it, and nothing was written yet.
    fn idle(&mut self, run: &Run, windows: u32) -> Result<Entry> {
        let mut entry = Entry::new(IDLE);
        let window = Duration::from_secs(if run.arguments.quick { 2 } else { 10 });
        let (mut cpu, mut resident, mut own, mut usages) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        bench::settle(self.dir.path())?;
        for _ in 0..windows {
            let meter = Meter::start(&[self.mqd.id()])?;
            wait(window);
            let usage = meter.stop()?;
            cpu.push(100.0 * usage.cpu[0].as_secs_f64() / usage.wall.as_secs_f64());
            let memory = meter::memory(self.mqd.id())?;
            resident.push(memory.resident as f64 / MIB);
            own.push(memory.anonymous as f64 / MIB);
            usages.push(usage);
            run.progress.inc(1);
        }
        entry.rows = vec![
            Row::new("mq, CPU", "% of a core", cpu).aim(Target::ValueAtMost(IDLE_CPU_PERCENT_MAX)),
            Row::new("mq, resident", "MiB", resident).aim(Target::ValueAtMost(RESIDENT_BYTES_MAX / MIB)),
            Row::new("mq, without mapped files", "MiB", own),
        ];
        entry.note_usage(&usages, run.machine.cores);
        Ok(entry)
    }

    /// All partitions and one in turn; the first turn warms up and does not count.
    fn write(&mut self, run: &Run, batch_bytes: usize, turns: u32) -> Result<Entry> {
        let mut entry = Entry::new(name(batch_bytes));
        // Small batches cost far more each: a round must take seconds, not minutes.
        let requests_max = if run.arguments.quick { 2_000 } else { 20_000 };
        let round_bytes: usize = if run.arguments.quick { 16 << 20 } else { 256 << 20 };
        let requests = (round_bytes / batch_bytes).clamp(1, requests_max) as u32;
        let (mut all, mut one, mut usages) = (Vec::new(), Vec::new(), Vec::new());
        let mut round_kib = Vec::new();
        for turn in 0..=turns {
            let before = self.mqd.rounds()?;
            let to_all = self.produce(MANY, PARTITIONS, batch_bytes, requests)?;
            let after = self.mqd.rounds()?;
            let to_one = self.produce(ONE, 1, batch_bytes, requests)?;
            if turn > 0 {
                all.push(to_all.0);
                one.push(to_one.0);
                round_kib.push((after.bytes - before.bytes) / (after.count - before.count).max(1.0) / 1024.0);
                usages.extend([to_all.1, to_one.1]);
            }
            run.progress.inc(1);
        }
        let ratio = Target::RatioAtLeast(ALL_RATIO_MIN);
        let beside_one = Row::new("mq, one partition", "MB/s", one).beside(&all);
        let resident = meter::memory(self.mqd.id())?.resident as f64 / MIB;
        entry.rows = vec![
            Row::new("mq", "MB/s", all),
            if batch_bytes == TARGET_BYTES { beside_one.aim(ratio) } else { beside_one },
            Row::new("mq, mean round of writes", "KiB", round_kib),
            Row::new("mq, resident afterwards", "MiB", vec![resident]),
        ];
        entry.note_usage(&usages, run.machine.cores);
        Ok(entry)
    }

    /// In MB of values a second.
    fn produce(
        &mut self,
        topic: &str,
        partitions: u32,
        batch_bytes: usize,
        requests: u32,
    ) -> Result<(f64, Usage)> {
        bench::settle(self.dir.path())?;
        let load = Load {
            topic: topic.to_owned(),
            partitions,
            round_robin: true,
            form: Form::Batch,
            call: Call::Stream,
            clients: 1,
            connections: 1,
            requests,
            records: payload::records_in(batch_bytes),
            window_requests: (WINDOW_BYTES / batch_bytes) as u32,
        };
        let meter = Meter::start(&[self.client.id(), self.mqd.id()])?;
        let sample: Sample = self.client.call(&Task::Produce { server: self.mqd.grpc, load })?;
        Ok((sample.bytes as f64 / 1e6 / sample.seconds, meter.stop()?))
    }
}

#[expect(clippy::disallowed_methods, reason = "idling is what is measured")]
fn wait(window: Duration) {
    std::thread::sleep(window);
}
