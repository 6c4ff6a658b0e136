//! `cargo xtask long`: whole clusters simulated for as long as somebody wants, on other seeds than those of
//! `cargo xtask test`. What a simulation is, and whether it was good, is known to `mq-sim`.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::Error;
use cargo_metadata::Metadata;
use clap::Args;

use crate::steps::cargo_program;

/// How long, and what.
#[derive(Debug, Args)]
pub struct Long {
    /// Simulated hours; two processors simulate some hundred of them in half an hour.
    #[arg(long, value_name = "H", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    hours: u32,
    /// The first seed; those near 0 are run at each commit.
    #[arg(long, value_name = "SEED", default_value_t = 1_000_000)]
    first: u64,
    /// How to print the summary.
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

/// Becomes the simulator, so that ctrl-C is its own to answer. Only comes back if that fails.
#[must_use]
pub fn run(metadata: &Metadata, long: &Long) -> Error {
    let (hours, seeds) = (long.hours.to_string(), format!("{}..", long.first));
    let mut command = Command::new(cargo_program());
    command.args(["run", "--release", "--package", "mq-sim", "--", "--markers"]);
    command.args(["--hours", &hours, "--seeds", &seeds, "--output", &long.output]);
    command.current_dir(&metadata.workspace_root);
    Error::new(command.exec()).context("cannot start cargo")
}
