//! What a figure must be read with: the machine, its kernel, the file system, the date.

use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// File systems in memory: a sync costs nothing there, so a figure would say nothing about durability.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

/// The machine that a benchmark ran on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// When, in UTC, as RFC 3339.
    pub date: String,
    /// What the processor calls itself.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Main memory in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The kind of file system that the data is on.
    pub file_system: String,
}

impl Machine {
    /// This machine now, with the file system that `dir` is on.
    ///
    /// # Errors
    /// When `/proc` does not say, as on another system than Linux.
    pub fn look(dir: &Path) -> Result<Machine> {
        let memory_kib: u64 = field(&read("/proc/meminfo")?, "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse().ok())
            .context("/proc/meminfo has no MemTotal")?;
        Ok(Machine {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            processor: field(&read("/proc/cpuinfo")?, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().context("the number of cores is unknown")?.get(),
            memory_bytes: memory_kib << 10,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            file_system: file_system(dir)?,
        })
    }

    /// An error if the data would be in memory, where nothing is ever durable.
    ///
    /// # Errors
    /// It would be.
    pub fn refuse_memory(&self, dir: &Path) -> Result<()> {
        if IN_MEMORY.contains(&&*self.file_system) {
            bail!(
                "{} is on {}, where a sync costs nothing: the figures would be worthless; \
                 set CARGO_TARGET_DIR to a directory on a disk",
                dir.display(),
                self.file_system
            );
        }
        Ok(())
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { date, processor, cores, memory_bytes, kernel, file_system } = self;
        let memory_gib = *memory_bytes as f64 / f64::from(1 << 30);
        write!(
            f,
            "{cores} cores ({processor}), {memory_gib:.0} GiB of memory, Linux {kernel}, {file_system}, {date}"
        )
    }
}

/// The value of a line `key : value`.
fn field(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

fn file_system(dir: &Path) -> Result<String> {
    let dir = dir.canonicalize().with_context(|| format!("{} is not there", dir.display()))?;
    mounted_at(&read("/proc/self/mountinfo")?, &dir)
        .with_context(|| format!("no mount of /proc/self/mountinfo holds {}", dir.display()))
}

/// The kind of the file system that holds this path: the deepest mount point above it, the last if there are several.
pub fn mounted_at(mountinfo: &str, path: &Path) -> Option<String> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let point = PathBuf::from(mount.split(' ').nth(4)?.replace("\\040", " "));
        let kind = file_system.split(' ').next()?.to_owned();
        path.starts_with(&point).then(|| (point.components().count(), kind))
    });
    mounts.max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind) // the last of several equal ones
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}
