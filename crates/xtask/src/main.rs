//! The command line of `cargo xtask`. What the commands do is in the library beside it.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};
use clap::Parser;
use xtask::{fuzz, layers, long, mutants, steps, tidy};

/// Checks and chores of the repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Command {
    /// Check what the compiler does not: layers, lengths, names, purity, links.
    Tidy,
    /// Print the layer table and what each crate imports.
    Layers,
    /// Run every check and every test, as continuous integration does.
    Test {
        /// Run this step alone.
        #[arg(long, value_name = "STEP", value_parser = clap::builder::PossibleValuesParser::new(steps::names()))]
        only: Option<String>,
    },
    /// Fuzz the decoders for a while: what strangers send, what disks hold, what people configure.
    Fuzz {
        /// For how long, all targets at the same time.
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1440))]
        minutes: u32,
        /// Fuzz this target alone.
        target: Option<String>,
    },
    /// Simulate whole clusters for as many hours as asked; every rare situation must be met.
    Long(long::Long),
}

fn main() -> Result<ExitCode> {
    let command = Command::parse();
    let metadata = MetadataCommand::new()
        .no_deps()
        .exec()
        .context("cargo metadata failed: run this inside the repository")?;
    let clean = match command {
        Command::Tidy => report_tidy(&metadata)?,
        Command::Layers => {
            io::stdout().write_all(layers::render(&metadata).as_bytes())?;
            true
        }
        Command::Fuzz { minutes, target } => fuzz::run(&metadata, minutes, target.as_deref())?,
        Command::Long(long) => return Err(long::run(&metadata, &long)),
        Command::Test { only } => {
            let outcomes = steps::run(only.as_deref(), |step| match step.work {
                steps::Work::Tidy => report_tidy(&metadata),
                steps::Work::Mutants => mutants::run(&metadata),
                steps::Work::Cargo { .. } => step.run_cargo(&metadata),
            });
            print!("{}", steps::summary(&outcomes));
            outcomes.iter().all(|(_, outcome)| !outcome.is_failure())
        }
    };
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the findings, one a line, and their number; true when there are none.
fn report_tidy(metadata: &Metadata) -> Result<bool> {
    let findings = tidy::run(metadata)?;
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} findings", findings.len());
    Ok(findings.is_empty())
}
