//! What the main function of every benchmark does around its measurements: the roles of helper processes, arguments, a
//! directory for the data, progress, and printing what was found.

use crate::arguments::Arguments;
use crate::machine::Machine;
use crate::report::{Entry, Report};
use crate::{client, mqd, stand_in};
use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The role of the process that calls servers and writes files.
pub const CLIENT: &str = "client";
/// The role of the server that stores nothing.
pub const STAND_IN: &str = "stand-in";

/// One run of one benchmark.
pub struct Run {
    /// What it was asked to do.
    pub arguments: Arguments,
    /// The machine.
    pub machine: Machine,
    /// Steps done, of those that were [announced](Run::announce).
    pub progress: ProgressBar,
    /// Where the data lies; a directory of its own is made in it for each.
    scratch: PathBuf,
    target: PathBuf,
}

/// The whole program: `measure` does the measuring and gives what it found.
///
/// # Errors
/// A measurement failed. A figure that falls short of its target is no error.
pub fn main(name: &'static str, measure: impl FnOnce(&Run) -> Result<Vec<Entry>>) -> Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [CLIENT] => return client::run(),
        [STAND_IN] => return stand_in::run(),
        _ => {}
    }
    let arguments = Arguments::parse();
    if !arguments.bench {
        eprintln!("nothing is measured: run it with `cargo bench -p mq-benches`");
        return Ok(());
    }
    let run = Run::new(arguments)?;
    let entries = measure(&run).with_context(|| format!("{name} failed"))?;
    run.progress.finish_and_clear();
    let Run { arguments, machine, .. } = run;
    let report = Report { bench: name, machine, quick: arguments.quick, rounds: arguments.rounds(), entries };
    if report.entries.is_empty() {
        eprintln!("{name}: nothing of it was asked for");
        return Ok(());
    }
    println!("{report}");
    if let Some(path) = &arguments.json {
        let mut line = serde_json::to_string(&report).context("a report can be written as JSON")?;
        line.push('\n');
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl Run {
    fn new(arguments: Arguments) -> Result<Run> {
        let target = mqd::target_dir()?;
        let scratch = arguments.dir.clone().unwrap_or_else(|| target.join("tmp"));
        std::fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
        let machine = Machine::look(&scratch)?;
        machine.refuse_memory(&scratch)?;
        let style =
            ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}").context("the template is good")?;
        let progress = ProgressBar::new(0).with_style(style);
        Ok(Run { arguments, machine, progress, scratch, target })
    }

    /// A new directory for data, removed with all that is in it when dropped.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new_dir(&self) -> Result<TempDir> {
        tempfile::tempdir_in(&self.scratch).context("cannot make a directory for the data")
    }

    /// The broker's program, built if need be; `None` if no broker is to take part.
    ///
    /// # Errors
    /// It does not build.
    pub fn broker(&self) -> Result<Option<PathBuf>> {
        match &self.arguments.mqd {
            Some(program) => Ok(Some(program.clone())),
            None if self.arguments.limits_only => Ok(None),
            None => mqd::build(&self.target).map(Some),
        }
    }

    /// So many steps are to come.
    pub fn announce(&self, steps: u64) {
        self.progress.inc_length(steps);
    }
}

/// More than a round of anything takes.
const WARM_BYTES: usize = 1536 << 20;
const PAGE_BYTES: usize = 4096;

/// Waits until everything written to the file system of `dir` is on the disk, and what was removed is gone: what one
/// round leaves behind must not be done during the next. Then takes memory and gives it back: a virtual machine's host
/// lends it anew after a few seconds without use, and pages that were not lent yet take ten times as long to fill,
/// whoever fills them.
///
/// # Errors
/// The disk failed.
pub fn settle(dir: &Path) -> Result<()> {
    let opened = std::fs::File::open(dir).with_context(|| format!("cannot open {}", dir.display()))?;
    rustix::fs::syncfs(&opened)
        .with_context(|| format!("cannot sync the file system of {}", dir.display()))?;
    let mut memory = vec![0_u8; WARM_BYTES];
    memory.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
    Ok(())
}
