//! `cargo xtask test --only mutants`: bugs are planted, one at a time, and the tests that are there to find them must.
//!
//! A mutant is a place in the code under `cfg(mq_mutant = "its name")`. Only our own crates are compiled with it, by
//! a compiler wrapper that cargo counts as another compiler: what it builds has other names than what is built
//! without it, and its programs go into a directory of their own, `target/mutants/<name>`. Nothing of it can get
//! into a program that is not a mutant.

use std::{
    fmt::Write,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};
use cargo_metadata::Metadata;

use crate::steps::cargo_program;

/// A planted bug.
struct Mutant {
    name: &'static str,
    /// The tests that must find it.
    hunters: &'static [(&'static Hunter, Reason)],
}

/// What a test's message must say, so that it counts as found and not as broken in some other way.
type Reason = &'static str;

/// A test that finds bugs; when it has found one it says "broken after so many of something: what".
struct Hunter {
    name: &'static str,
    /// The arguments of `cargo` that run it.
    arguments: &'static [&'static str],
    prey: Prey,
}

/// Where the bug is planted for a test.
enum Prey {
    /// In a program that the test starts; the test itself is as always.
    Program(&'static str),
    /// In the crates that the test is linked with.
    Crates,
}

const ACK_ORDER: Hunter = Hunter {
    name: "ack_order",
    arguments: &["test", "-p", "mq-tests", "--test", "ack_order"],
    prey: Prey::Program("mqd"),
};
const POWER_CUTS: Hunter = Hunter {
    name: "power_cuts",
    arguments: &["test", "-p", "mq-engine", "--test", "engine", "power_cuts"],
    prey: Prey::Crates,
};
const CRASH_STATES: Hunter = Hunter {
    name: "crash_states",
    arguments: &["test", "-p", "mq-log", "--test", "crash", "states"],
    prey: Prey::Crates,
};

const MUTANTS: [Mutant; 4] = [
    Mutant {
        name: "no_sync",
        hunters: &[
            (&ACK_ORDER, "which no sync had covered"),
            (&POWER_CUTS, "the batch acknowledged is lost"),
            (&CRASH_STATES, "is not what was written"),
        ],
    },
    Mutant {
        name: "no_sync_on_open",
        hunters: &[(&POWER_CUTS, "is lost"), (&CRASH_STATES, "a second recovery found something else")],
    },
    Mutant {
        name: "no_directory_sync",
        hunters: &[(&POWER_CUTS, "is lost"), (&CRASH_STATES, "is not what was written")],
    },
    Mutant {
        name: "no_state_sync",
        hunters: &[(&POWER_CUTS, "was durable"), (&CRASH_STATES, "has no complete set of state files")],
    },
];

/// How a hunt ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Hunt {
    /// The bug was found: after how many of what, and what was broken.
    Found {
        /// Such as "12 power cuts".
        after: String,
        /// What the test said.
        what: String,
    },
    /// The test cannot run here, and why.
    Skipped(String),
    /// The test passed, or failed in another way than it should.
    Missed,
}

/// Judges what a test printed that was to find a bug and to say this.
#[must_use]
pub fn judge(passed: bool, printed: &str, reason: &str) -> Hunt {
    let skipped = printed.lines().find_map(|line| line.strip_prefix("skipped: "));
    if let (true, Some(why)) = (passed, skipped) {
        return Hunt::Skipped(why.to_owned());
    }
    let broken = printed.lines().find_map(|line| line.split_once("broken after ")?.1.split_once(": "));
    match broken {
        Some((after, what)) if !passed && what.contains(reason) => {
            Hunt::Found { after: after.to_owned(), what: what.to_owned() }
        }
        _ => Hunt::Missed,
    }
}

/// Plants every bug and prints a line for each test that must find it; true when all were found.
///
/// # Errors
/// When cargo cannot be started, or a mutant does not compile.
pub fn run(metadata: &Metadata) -> Result<bool> {
    let mut all_found = true;
    for mutant in &MUTANTS {
        let laboratory = Laboratory::set_up(metadata, mutant.name)?;
        for (hunter, reason) in mutant.hunters {
            let output = laboratory.hunt(hunter)?;
            let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
            write!(printed, "\n{}", String::from_utf8_lossy(&output.stderr))
                .expect("a String takes any text");
            match judge(output.status.success(), &printed, reason) {
                Hunt::Found { after, what } => {
                    println!("{}: found by {} after {after}", mutant.name, hunter.name);
                    println!("    {what}");
                }
                Hunt::Skipped(why) => println!("{}: {}: skipped: {why}", mutant.name, hunter.name),
                Hunt::Missed => {
                    println!("{printed}");
                    println!("{}: NOT FOUND by {}, which must say {reason:?}", mutant.name, hunter.name);
                    all_found = false;
                }
            }
        }
    }
    Ok(all_found)
}

/// Where one mutant is built.
struct Laboratory<'a> {
    metadata: &'a Metadata,
    dir: PathBuf,
    wrapper: PathBuf,
}

impl Laboratory<'_> {
    fn set_up<'a>(metadata: &'a Metadata, name: &str) -> Result<Laboratory<'a>> {
        let dir = metadata.target_directory.join("mutants").join(name).into_std_path_buf();
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let wrapper = dir.join("rustc");
        let script = format!("#!/bin/sh\nexec \"$@\" --cfg 'mq_mutant=\"{name}\"'\n");
        write_program(&wrapper, &script).with_context(|| format!("cannot write {}", wrapper.display()))?;
        Ok(Laboratory { metadata, dir, wrapper })
    }

    /// Runs a test on this mutant.
    fn hunt(&self, hunter: &Hunter) -> Result<Output> {
        let mut test = match hunter.prey {
            Prey::Program(program) => {
                let built = self.mutated().args(["build", "-p", program]).output();
                let built = built.context("cannot start cargo")?;
                if !built.status.success() {
                    bail!("{program} does not compile: {}", String::from_utf8_lossy(&built.stderr));
                }
                let mut test = self.cargo();
                test.env("MQ_BIN_DIR", self.dir.join("debug"));
                test
            }
            Prey::Crates => self.mutated(),
        };
        test.env_remove("MQ_SEED").env_remove("MQ_CUTS").env("RUST_BACKTRACE", "0");
        test.args(hunter.arguments).output().context("cannot start cargo")
    }

    fn cargo(&self) -> Command {
        let mut command = Command::new(cargo_program());
        command.current_dir(&self.metadata.workspace_root).stdin(Stdio::null());
        command
    }

    /// Cargo with the bug in our crates. The libraries of others are those of every build.
    fn mutated(&self) -> Command {
        let mut command = self.cargo();
        command
            .env("RUSTC_WORKSPACE_WRAPPER", &self.wrapper)
            .env("CARGO_BUILD_BUILD_DIR", &self.metadata.target_directory)
            .env("CARGO_TARGET_DIR", &self.dir);
        command
    }
}

/// Leaves a file alone that is right already: cargo builds everything anew for a compiler that has changed.
fn write_program(path: &Path, script: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == script) {
        return Ok(());
    }
    fs::write(path, script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
