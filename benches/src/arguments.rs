//! The arguments of every benchmark: `cargo bench` gives the same ones to all of them.

use clap::Parser;
use std::path::PathBuf;

/// Measures what mq does beside what this machine can do.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo bench -p mq-benches --")]
pub struct Arguments {
    /// Only the measurements whose name contains this
    pub filter: Option<String>,
    /// Next to nothing, in seconds: shows that the benchmark works, not what mq can do
    #[arg(long)]
    pub quick: bool,
    /// Rounds of each, interleaved, after one to warm up
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Also appends everything that was found to this file, one line of JSON a benchmark
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where the data lies meanwhile, on a real disk; default: the target directory
    #[arg(long, value_name = "DIRECTORY")]
    pub dir: Option<PathBuf>,
    /// Measures this broker instead of the one in this repository
    #[arg(long, value_name = "PROGRAM", conflicts_with = "limits_only")]
    pub mqd: Option<PathBuf>,
    /// Measures no broker, only what this machine can do
    #[arg(long)]
    pub limits_only: bool,
    /// The size of the large log in `recovery`, in MB; default 10000, with --quick 1000
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(200..=1_000_000))]
    pub large_log_mb: Option<u64>,
    /// Given by `cargo bench`, and not by `cargo test`
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Arguments {
    /// Whether a measurement of this name was asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter))
    }

    /// How many rounds count.
    pub fn rounds(&self) -> u32 {
        if self.quick { self.rounds.min(2) } else { self.rounds }
    }
}
