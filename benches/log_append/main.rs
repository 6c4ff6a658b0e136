//! What the log costs over a plain file: the same batches, in the same writes, with the same syncs.
//!
//! All in this process, without a broker. What the figures mean stands in the README beside this directory. Nothing is
//! asserted about them.

mod ours;
mod plain;
mod unsynced;

use anyhow::{Context, Result};
use mq_benches::bench::{self, Run};
use mq_benches::meter::{Meter, Usage};
use mq_benches::payload;
use mq_benches::report::{Entry, Row, Target};
use mq_benches::task::Space;
use mq_types::Batch;
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::time::{Duration, Instant};

/// As in the broker.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The sizes of a batch.
const BATCH_BYTES: [usize; 4] = [1 << 10, 16 << 10, 256 << 10, 1 << 20];
/// After how many bytes there is a sync, where a batch is smaller.
const SYNC_BYTES: [usize; 2] = [64 << 10, 1 << 20];
/// What is written at once where nothing is synced.
const UNSYNCED_WRITE_BYTES: usize = 1 << 20;
/// Of the log with one sync per 1 MiB, beside a plain file.
const SYNCED_RATIO_MIN: f64 = 0.8;
/// What the log may use of a processor beyond what writing the batch alone does.
const CPU_OVERHEAD_PERCENT_MAX: f64 = 5.0;
const MB: f64 = 1e6;

/// What is written in a round, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    pub(crate) batch_bytes: usize,
    /// Of one write.
    pub(crate) batches: usize,
    /// Whether a sync follows each.
    pub(crate) synced: bool,
    /// In a round.
    pub(crate) writes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Log,
    Plain(Space),
}

/// What a round took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    wall: Duration,
    cpu: Duration,
    bytes: u64,
}

impl Spent {
    /// Adds what `act` takes. What is done between two of them does not count.
    pub(crate) fn measure<T>(&mut self, bytes: u64, act: impl FnOnce() -> T) -> T {
        let (began, cpu_before) = (Instant::now(), thread_cpu());
        let done = act();
        self.cpu += thread_cpu().saturating_sub(cpu_before);
        self.wall += began.elapsed();
        self.bytes += bytes;
        done
    }

    fn mb_per_second(&self) -> f64 {
        self.bytes as f64 / MB / self.wall.as_secs_f64()
    }

    fn cpu_ms_per_mb(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / (self.bytes as f64 / MB)
    }
}

fn main() -> Result<()> {
    bench::main("log_append", measure)
}

fn measure(run: &Run) -> Result<Vec<Entry>> {
    let (round_bytes, syncs_max) = if run.arguments.quick { (16 << 20, 100) } else { (256 << 20, 1_000) };
    let patterns = patterns(round_bytes, syncs_max);
    let wanted = patterns.into_iter().filter(|pattern| run.arguments.wants(&pattern.name()));
    let wanted: Vec<_> = wanted.collect();
    let turns = run.arguments.rounds();
    wanted.iter().for_each(|_| run.announce(u64::from(turns) + 1));
    wanted.into_iter().map(|pattern| measure_pattern(run, pattern, turns)).collect()
}

/// Every size with every distance between two syncs that makes sense, and without any.
fn patterns(round_bytes: usize, syncs_max: usize) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for batch_bytes in BATCH_BYTES {
        let larger = SYNC_BYTES.into_iter().filter(|sync_bytes| *sync_bytes > batch_bytes);
        for write_bytes in [batch_bytes].into_iter().chain(larger) {
            let writes = (round_bytes / write_bytes).min(syncs_max);
            patterns.push(Pattern { batch_bytes, batches: write_bytes / batch_bytes, synced: true, writes });
        }
        let (batches, writes) = (UNSYNCED_WRITE_BYTES / batch_bytes, round_bytes / UNSYNCED_WRITE_BYTES);
        patterns.push(Pattern { batch_bytes, batches, synced: false, writes });
    }
    patterns
}

impl Pattern {
    fn write_bytes(&self) -> usize {
        self.batch_bytes * self.batches
    }

    fn name(&self) -> String {
        let synced = match (self.synced, self.batches) {
            (false, _) => "no sync".to_owned(),
            (true, 1) => "a sync each".to_owned(),
            (true, _) => format!("a sync per {} KiB", self.write_bytes() >> 10),
        };
        format!("append batches of {} KiB, {synced}", self.batch_bytes >> 10)
    }

    fn contenders(&self) -> Vec<Contender> {
        let mut all = vec![Contender::Log, Contender::Plain(Space::Reserved)];
        all.extend(self.synced.then_some(Contender::Plain(Space::Zeroed))); // without a sync it makes no difference
        all
    }
}

/// One round of each in turn, again and again; the first turn warms up and does not count.
fn measure_pattern(run: &Run, pattern: Pattern, turns: u32) -> Result<Entry> {
    let mut entry = Entry::new(pattern.name());
    run.progress.set_message(entry.name.clone());
    let dir = run.new_dir()?;
    let batch = batch_of(pattern.batch_bytes)?;
    let mut rounds: Vec<_> = pattern.contenders().into_iter().map(|who| (who, Vec::new())).collect();
    let mut usages = Vec::new();
    for turn in 0..=turns {
        for (who, spent) in &mut rounds {
            let (round, usage) = round(*who, &pattern, &batch, dir.path())?;
            if turn > 0 {
                spent.push(round);
                usages.push(usage);
            }
        }
        run.progress.inc(1);
    }
    entry.rows = rows(&pattern, &rounds);
    entry.note_usage(&usages, run.machine.cores);
    Ok(entry)
}

fn round(who: Contender, pattern: &Pattern, batch: &Batch, dir: &Path) -> Result<(Spent, Usage)> {
    bench::settle(dir)?;
    let meter = Meter::start(&[])?;
    let spent = match who {
        Contender::Log => ours::round(pattern, batch, &dir.join("log")).context("the log failed")?,
        Contender::Plain(space) => plain::round(pattern, batch, space, dir).context("a plain file failed")?,
    };
    Ok((spent, meter.stop()?))
}

fn rows(pattern: &Pattern, rounds: &[(Contender, Vec<Spent>)]) -> Vec<Row> {
    let speeds = |spent: &[Spent]| spent.iter().map(Spent::mb_per_second).collect::<Vec<_>>();
    let cpu = |spent: &[Spent]| spent.iter().map(Spent::cpu_ms_per_mb).collect::<Vec<_>>();
    let per_mib = pattern.synced && pattern.write_bytes() == 1 << 20;
    let target = per_mib.then_some(Target::RatioAtLeast(SYNCED_RATIO_MIN));
    let (mut rows, mut cpu_rows) = (Vec::new(), Vec::new());
    let mut ours = Vec::new();
    for (who, spent) in rounds {
        let (name, row_target) = match who {
            Contender::Log => ("mq", None),
            Contender::Plain(Space::Reserved) => ("plain file, reserved", target),
            Contender::Plain(Space::Zeroed) => ("plain file of zeros", None),
        };
        let row = Row::new(name, "MB/s", speeds(spent));
        if *who == Contender::Log {
            ours = speeds(spent);
            rows.push(row);
        } else {
            let row = row.beside(&ours);
            rows.push(row_target.into_iter().fold(row, Row::aim));
        }
        cpu_rows.push(Row::new(format!("{name}, CPU"), "ms/MB", cpu(spent)));
    }
    if let [(_, log), (_, plain), ..] = rounds {
        let overhead =
            |(log, plain): (&Spent, &Spent)| 100.0 * (log.cpu_ms_per_mb() / plain.cpu_ms_per_mb() - 1.0);
        let row =
            Row::new("mq, CPU beyond the plain file's", "%", log.iter().zip(plain).map(overhead).collect());
        // With syncs, what the disk's driver does in this thread's time hides everything else.
        let target = (!pattern.synced).then_some(Target::ValueAtMost(CPU_OVERHEAD_PERCENT_MAX));
        cpu_rows.push(target.into_iter().fold(row, Row::aim));
    }
    rows.extend(cpu_rows);
    rows
}

/// A batch of nearly so many bytes.
fn batch_of(bytes: usize) -> Result<Batch> {
    payload::batch(payload::records_in(bytes))
}

/// User and system time of this thread, to the nanosecond.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("a thread runs forward");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below a second"))
}
