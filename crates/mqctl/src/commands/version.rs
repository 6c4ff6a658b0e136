//! `mqctl version`.

use serde::Serialize;

use crate::{exit::Exit, output::Output};

#[derive(Serialize)]
struct Version {
    mqctl: &'static str,
}

/// Prints this program's version; asks no broker.
pub(super) fn run(output: Output) -> anyhow::Result<Exit> {
    let version = Version { mqctl: env!("CARGO_PKG_VERSION") };
    output.print(&version, |_| format!("mqctl {}", version.mqctl))?;
    Ok(Exit::Ok)
}
