//! Producing and fetching over loopback, beside what loopback and the disk can do in the same minutes.
//!
//! The broker, the client and a server that stores nothing are processes of their own; this one only directs them.
//! What the figures mean stands in the README beside this directory. Nothing is asserted about them.

mod arena;
mod client;
mod measurement;
mod payload;
mod report;
mod stand_in;
mod task;

use anyhow::{Context, Result, ensure};
use arena::{Arena, Sizes};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use measurement::MEASUREMENTS;
use mq_benches::machine::Machine;
use mq_benches::mqd;
use report::{Entry, Report};
use std::path::PathBuf;

/// As in the broker: glibc's allocator is several times slower for large messages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The roles that this program starts itself again in.
pub(crate) const CLIENT: &str = "client";
pub(crate) const STAND_IN: &str = "stand-in";

const FULL: Sizes = Sizes { batches: 2048, passes: 4, single_records: 5_000 };
const QUICK: Sizes = Sizes { batches: 64, passes: 1, single_records: 200 };

/// Measures what mq does with produce and fetch, beside what this machine can do.
#[derive(Debug, Parser)]
#[command(name = "cargo bench -p mq-benches --")]
struct Arguments {
    /// Only the measurements whose name contains this
    filter: Option<String>,
    /// Next to nothing, in seconds: shows that the benchmark works, not what mq can do
    #[arg(long)]
    quick: bool,
    /// Rounds of each, interleaved, after one to warm up
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Also writes everything that was found to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measures this broker instead of the one in this repository
    #[arg(long, value_name = "PROGRAM", conflicts_with = "limits_only")]
    mqd: Option<PathBuf>,
    /// Measures no broker, only what this machine can do
    #[arg(long)]
    limits_only: bool,
    /// Given by `cargo bench`, and not by `cargo test`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [CLIENT] => client::run(),
        [STAND_IN] => stand_in::run(),
        _ => bench(&Arguments::parse()),
    }
}

fn bench(arguments: &Arguments) -> Result<()> {
    if !arguments.bench {
        eprintln!("nothing is measured: run it with `cargo bench -p mq-benches`");
        return Ok(());
    }
    let report = run(arguments)?;
    println!("{}", report.machine);
    println!("{}", report::table(&report));
    println!("CPU in µs per KiB of values; {} rounds of each, interleaved", report.rounds);
    if report.quick {
        println!("--quick: far too short for the figures to mean anything");
    } else {
        report.measurements.iter().filter_map(Entry::warning).for_each(|warning| println!("{warning}"));
    }
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&report).context("a report can be written as JSON")?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn run(arguments: &Arguments) -> Result<Report> {
    let chosen: Vec<_> = MEASUREMENTS
        .iter()
        .filter(|measurement| {
            arguments.filter.as_ref().is_none_or(|filter| measurement.name.contains(filter))
        })
        .collect();
    let names = || MEASUREMENTS.map(|measurement| measurement.name).join("; ");
    ensure!(!chosen.is_empty(), "no measurement has such a name; there are: {}", names());

    let target = mqd::target_dir()?;
    let scratch = target.join("tmp");
    std::fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let machine = Machine::look(&scratch)?;
    machine.refuse_memory(&scratch)?;
    let dir = tempfile::tempdir_in(&scratch).context("cannot make a directory for the data")?;
    let program = match &arguments.mqd {
        Some(program) => Some(program.clone()),
        None if arguments.limits_only => None,
        None => Some(mqd::build(&target)?),
    };

    let (sizes, rounds) =
        if arguments.quick { (QUICK, arguments.rounds.min(2)) } else { (FULL, arguments.rounds) };
    let mut arena = Arena::start(dir, program.as_deref(), sizes)?;
    let steps = chosen.iter().map(|measurement| measurement.steps_count(arena.has_broker(), rounds)).sum();
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}").context("the template is good")?;
    let progress = ProgressBar::new(steps).with_style(style);
    let mut measurements = Vec::new();
    for measurement in chosen {
        let measured = measurement.run(&mut arena, rounds, &progress)?;
        measurements.push(Entry::new(&measured, machine.cores));
    }
    progress.finish_and_clear();
    Ok(Report { machine, quick: arguments.quick, rounds, measurements })
}
