//! Whether cost grows with the log: appending, fetching at random offsets and coming back after kill -9, with a small
//! log and a large one, from memory and from the disk; and the memory that the large one takes.
//!
//! Each log has a broker of its own, and both are used by turns. What the figures mean stands in the README beside this
//! directory. Nothing is asserted about them.

mod caches;
mod pair;

use anyhow::Result;
use caches::Caches;
use mq_benches::bench::{self, Run};
use mq_benches::report::{Entry, Row, Target};
use pair::{Broker, LogSize, Pair};

/// As in the broker: glibc's allocator is several times slower for large messages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a cost may be with the large log, where it is 1 with the small one.
const GROWTH_RATIO_MAX: f64 = 1.5;
const FIRST_ACK_MS_MAX: f64 = 300.0;
/// While the large log is produced and read back.
const RESIDENT_BYTES_MAX: f64 = 256.0 * MIB;
const SMALL_MB: u64 = 100;
const LARGE_MB: u64 = 10_000;
const QUICK_LARGE_MB: u64 = 1_000;
const MIB: f64 = 1_048_576.0;

/// What is measured with both logs by turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Fetch,
    FirstAck,
    Append,
}

/// Appending comes last: it is the one that changes the logs.
const STEPS: [(Step, &str, &str); 3] = [
    (Step::Fetch, "fetch at random offsets", "µs p50"),
    (Step::FirstAck, "kill -9 to first ack", "ms"),
    (Step::Append, "append", "MB/s"),
];

fn main() -> Result<()> {
    bench::main("recovery", measure)
}

fn measure(run: &Run) -> Result<Vec<Entry>> {
    let wanted = |caches: Caches, what: &str| run.arguments.wants(&name(what, caches));
    let any_step =
        STEPS.iter().any(|(_, what, _)| wanted(Caches::Warm, what) || wanted(Caches::Dropped, what));
    if !any_step && !run.arguments.wants(MEMORY) {
        return Ok(Vec::new());
    }
    let Some(program) = run.broker()? else { return Ok(Vec::new()) };
    let default_mb = if run.arguments.quick { QUICK_LARGE_MB } else { LARGE_MB };
    let large_mb = run.arguments.large_log_mb.unwrap_or(default_mb);
    let turns = run.arguments.rounds();
    run.announce(2 + STEPS.len() as u64 * 2 * (u64::from(turns) + 1));

    let mut pair = Pair::start(run, &program, [SMALL_MB, large_mb])?;
    let mut entries = Vec::new();
    let memory = memory(run, &mut pair)?;
    entries.extend(run.arguments.wants(MEMORY).then_some(memory));
    for (step, what, unit) in STEPS {
        for caches in [Caches::Warm, Caches::Dropped] {
            if !wanted(caches, what) {
                continue;
            }
            let name = name(what, caches);
            run.progress.set_message(name.clone());
            entries.push(match caches.why_skipped() {
                Some(why) => skipped(name, &why),
                None => by_turns(run, &mut pair, step, name, unit, caches)?,
            });
        }
    }
    Ok(entries)
}

const MEMORY: &str = "memory while the large log is produced and read back";

fn name(what: &str, caches: Caches) -> String {
    match caches {
        Caches::Warm => format!("{what}, warm"),
        Caches::Dropped => format!("{what}, caches dropped"),
    }
}

/// Fills both logs and reads them back; of the large one, says what memory that took.
fn memory(run: &Run, pair: &mut Pair) -> Result<Entry> {
    let mut entry = Entry::new(MEMORY);
    let mut usages = Vec::new();
    for size in [LogSize::Small, LogSize::Large] {
        run.progress.set_message(format!("producing and reading back {} MB", pair.broker(size).mb));
        let filled = pair.fill(size)?;
        run.progress.inc(1);
        if size == LogSize::Large {
            let peak = Row::new("mq, peak resident", "MiB", vec![filled.peak_bytes as f64 / MIB]);
            entry.rows.push(peak.aim(Target::ValueAtMost(RESIDENT_BYTES_MAX / MIB)));
            let own = filled.anonymous_peak_bytes as f64 / MIB;
            entry.rows.push(Row::new("mq, peak without mapped files", "MiB", vec![own]));
            entry.rows.push(Row::new("mq, produced at", "MB/s", vec![filled.produce_mb_per_second]));
            entry.rows.push(Row::new("mq, read back at", "MB/s", vec![filled.fetch_mb_per_second]));
        }
        usages.extend(filled.usages);
    }
    entry.note_usage(&usages, run.machine.cores);
    Ok(entry)
}

/// One round with each log in turn, again and again; the first turn warms up and does not count.
fn by_turns(
    run: &Run,
    pair: &mut Pair,
    step: Step,
    name: String,
    unit: &'static str,
    caches: Caches,
) -> Result<Entry> {
    let mut entry = Entry::new(name);
    let (mut small, mut large, mut usages) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..=run.arguments.rounds() {
        for size in [LogSize::Small, LogSize::Large] {
            let (figure, usage) = pair.round(size, step, caches)?;
            if turn > 0 {
                if size == LogSize::Small { &mut small } else { &mut large }.push(figure);
                usages.extend(usage);
            }
        }
        run.progress.inc(1);
    }
    // More is worse, but for a throughput.
    let growth =
        |(small, large): (&f64, &f64)| if step == Step::Append { small / large } else { large / small };
    let growths = small.iter().zip(&large).map(growth).collect();
    let log = |broker: &Broker| format!("mq, log of {} MB", broker.mb);
    let of_large = Row::new(log(pair.broker(LogSize::Large)), unit, large);
    let promptly = step == Step::FirstAck && caches == Caches::Warm;
    entry.rows = vec![
        Row::new(log(pair.broker(LogSize::Small)), unit, small),
        if promptly { of_large.aim(Target::ValueAtMost(FIRST_ACK_MS_MAX)) } else { of_large },
        Row::new("cost with the large log", "× the small", growths)
            .aim(Target::ValueAtMost(GROWTH_RATIO_MAX)),
    ];
    entry.note_usage(&usages, run.machine.cores);
    Ok(entry)
}

fn skipped(name: String, why: &str) -> Entry {
    let mut entry = Entry::new(name);
    entry.notes.push(format!("skipped: {why}"));
    entry
}
