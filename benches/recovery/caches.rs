//! Whether what is measured is in memory, and making sure that it is not.

use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// The file by which the kernel is told to drop what it can.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// Where what is measured lies when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caches {
    /// In memory, as far as it was used before.
    Warm,
    /// On the disk alone.
    Dropped,
}

impl Caches {
    /// `None`: it can be measured.
    pub(crate) fn why_skipped(self) -> Option<String> {
        let opened = match self {
            Caches::Warm => return None,
            Caches::Dropped => OpenOptions::new().write(true).open(DROP_CACHES),
        };
        opened
            .err()
            .map(|error| format!("caches are dropped by writing to {DROP_CACHES}: {error}; run it as root"))
    }

    /// Drops them if they are to be dropped; those of everybody on this machine. Whatever is dirty must have been
    /// written before. What `program` is read from stays: to load it is not what is measured.
    pub(crate) fn prepare(self, program: &Path) -> Result<()> {
        if self == Caches::Warm {
            return Ok(());
        }
        let mut file =
            OpenOptions::new().write(true).open(DROP_CACHES).context("it could be opened before")?;
        file.write_all(b"3").with_context(|| format!("cannot write to {DROP_CACHES}"))?;
        std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
        Ok(())
    }
}
