//! The admin CLI of mq: everything of the program `mqctl`, as a library so that formats, ranges and JSON shapes can be
//! tested from outside.
//!
//! [`cli`] is the whole command tree; [`commands`] holds one file per command. Data goes to stdout, everything else to
//! stderr; a reader that goes away ends the program quietly.

#[allow(missing_docs, reason = "a flattened field has the doc of its type")]
pub mod cli;
pub mod commands;
mod examples;
pub mod exit;
pub mod input_format;
pub mod json;
pub mod offset_range;
pub mod output;
pub mod record_format;
pub mod session;
pub mod suggest;

use std::{io, process::ExitCode};

use clap::Parser;
use mq_client::ClientError;

use crate::{
    cli::{Cli, Command},
    exit::Exit,
};

/// Parses the arguments, runs the command, and says how it ended.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // A bench takes all of the machine's cores, as a program under load would.
    if !matches!(cli.command, Command::Bench(_)) {
        runtime.worker_threads(2);
    }
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mqctl: could not start: {error}");
            return Exit::Error.into();
        }
    };
    let ended = runtime.block_on(commands::run(cli));
    // A thread may still be waiting for a line of stdin; nothing is left to do with it.
    runtime.shutdown_background();
    match ended {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => Exit::Ok.into(),
        Err(error) => {
            eprintln!("mqctl: {error:#}");
            if let Some(hint) = hint(&error) {
                eprintln!("{hint}");
            }
            Exit::of(&error).into()
        }
    }
}

/// What a person can look at where nobody answered in our protocol.
fn hint(error: &anyhow::Error) -> Option<String> {
    let ClientError::Transport { endpoint, .. } = error.downcast_ref()? else { return None };
    Some(format!("is mqd running there, and is {endpoint} its gRPC address, not its admin or peer address?"))
}

/// `mqctl consume … | head`: whoever reads us has enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.map(io::Error::kind).any(|kind| kind == io::ErrorKind::BrokenPipe)
}
