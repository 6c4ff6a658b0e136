//! The arguments of `mqctl log`, as in [`super`]: the doc comments are the help texts.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::OutputArgs;
use crate::examples;

/// Logs on disk, of a broker that is stopped.
#[derive(Debug, Subcommand)]
pub enum Log {
    /// Print what the frames of a log hold
    #[command(after_help = examples::LOG_DUMP)]
    Dump(LogDirectory),
    /// Check every byte; exit with 10 if anything is wrong
    #[command(after_help = examples::LOG_VERIFY)]
    Verify(LogDirectory),
    /// Cut lost logs that have no other copy, and read past a damaged state; nothing is deleted
    #[command(after_help = examples::LOG_REPAIR)]
    Repair(LogRepair),
}

/// `log dump` and `log verify`.
#[derive(Debug, Args)]
pub struct LogDirectory {
    /// A broker's data directory
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Only this quorum (0 is the controller, partitions begin at 1024)
    #[arg(long, value_name = "ID")]
    pub quorum: Option<u64>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `log repair`.
#[derive(Debug, Args)]
pub struct LogRepair {
    /// A broker's data directory
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Only say what would be done; exit with 10 if anything is wrong
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}
