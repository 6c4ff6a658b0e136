//! `mqctl generate completion`.

use std::io::{self, Write};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::{cli::Cli, exit::Exit, output::NOT_PRINTED};

/// Prints a shell's completion script.
pub(super) fn run(shell: Shell) -> anyhow::Result<Exit> {
    // Into memory first: the generator does not survive a reader that goes away.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mqctl", &mut script);
    io::stdout().write_all(&script).context(NOT_PRINTED)?;
    Ok(Exit::Ok)
}
