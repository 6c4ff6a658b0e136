//! The steps of `cargo xtask test`, which is what continuous integration runs.
//!
//! Every step that can run does, so that one run tells everything that is wrong; only what a failed step was to
//! provide is left out. The steps themselves are cargo's or tidy's.

use std::{
    env,
    ffi::OsString,
    fmt::{self, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use cargo_metadata::Metadata;

/// One thing to check.
#[derive(Debug)]
pub struct Step {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What is done.
    pub work: Work,
    needs: Needs,
}

/// How a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// The rules of this repository, in this process.
    Tidy,
    /// The planted bugs, which must be found.
    Mutants,
    /// A cargo command.
    Cargo {
        /// Its arguments.
        arguments: &'static [&'static str],
        /// Variables set for it.
        environment: &'static [(&'static str, &'static str)],
    },
}

/// What must be there before a step makes sense.
#[derive(Debug)]
enum Needs {
    Nothing,
    /// That step has not failed.
    Step(&'static str),
    CargoDeny,
    /// cargo-deny's copy of the advisory database; nothing is fetched.
    Advisories,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing wrong.
    Passed(Duration),
    /// Something is wrong; the step has printed what.
    Failed(Duration),
    /// Not run, and why.
    Skipped(String),
}

impl Outcome {
    /// Whether the whole run fails with this step.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Outcome::Failed(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed(took) => write!(f, "ok       {:>7.1} s", took.as_secs_f64()),
            Outcome::Failed(took) => write!(f, "FAILED   {:>7.1} s", took.as_secs_f64()),
            Outcome::Skipped(why) => write!(f, "skipped: {why}"),
        }
    }
}

const fn cargo(name: &'static str, needs: Needs, arguments: &'static [&'static str]) -> Step {
    Step { name, work: Work::Cargo { arguments, environment: &[] }, needs }
}

/// In the order they run: the cheap ones first.
const STEPS: [Step; 12] = [
    cargo("fmt", Needs::Nothing, &["fmt", "--all", "--check"]),
    Step { name: "tidy", work: Work::Tidy, needs: Needs::Nothing },
    cargo(
        "deny",
        Needs::CargoDeny,
        &["deny", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"],
    ),
    cargo(
        "advisories",
        Needs::Advisories,
        &["deny", "--offline", "check", "--hide-inclusion-graph", "advisories"],
    ),
    cargo("clippy", Needs::Nothing, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    // The tests of processes find the binaries in the target directory; `cargo test` alone would not build them.
    cargo("build", Needs::Nothing, &["build", "--workspace", "--bins"]),
    cargo("test", Needs::Step("build"), &["test", "--workspace", "--no-fail-fast"]),
    Step { name: "mutants", work: Work::Mutants, needs: Needs::Step("build") },
    Step {
        name: "doc",
        work: Work::Cargo {
            arguments: &["doc", "--workspace", "--no-deps"],
            environment: &[("RUSTDOCFLAGS", "-D warnings")],
        },
        needs: Needs::Nothing,
    },
    // Whole clusters, so many simulated hours of them; idle ones do not count.
    cargo("simulate", Needs::Nothing, &["run", "--release", "--package", "mq-sim", "--", "--hours", "20"]),
    // The same seed is the same run: what fails can be replayed.
    cargo(
        "twice",
        Needs::Nothing,
        &["run", "--release", "--package", "mq-sim", "--", "--seeds", "0..100", "--twice"],
    ),
    // Each planted bug has so many seeds to be found in; without one the same seeds must find nothing.
    cargo(
        "hunt",
        Needs::Nothing,
        &["run", "--release", "--package", "mq-sim", "--", "--mutants", "--seeds", "0..300"],
    ),
];

/// The names of the steps, in their order.
#[must_use]
pub fn names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// Runs every step, or only the one of that name, and says how each ended. `execute` answers whether the step found
/// nothing wrong; an error of its own counts as a failure.
pub fn run(
    only: Option<&str>,
    mut execute: impl FnMut(&Step) -> Result<bool>,
) -> Vec<(&'static str, Outcome)> {
    let mut outcomes: Vec<(&'static str, Outcome)> = Vec::new();
    for step in STEPS.iter().filter(|step| only.is_none_or(|name| name == step.name)) {
        println!("\n==> {step}");
        let outcome = match step.obstacle(&outcomes) {
            Some(why) => Outcome::Skipped(why),
            None => {
                let begun = Instant::now();
                let passed = execute(step).unwrap_or_else(|error| {
                    println!("{error:#}");
                    false
                });
                if passed { Outcome::Passed(begun.elapsed()) } else { Outcome::Failed(begun.elapsed()) }
            }
        };
        println!("<== {}: {outcome}", step.name);
        outcomes.push((step.name, outcome));
    }
    outcomes
}

/// One line for each step and one for the whole.
#[must_use]
pub fn summary(outcomes: &[(&'static str, Outcome)]) -> String {
    let mut text = String::from("\n");
    for (name, outcome) in outcomes {
        writeln!(text, "{name:<12}{outcome}").expect("a String takes any text");
    }
    let failed = outcomes.iter().filter(|(_, outcome)| outcome.is_failure()).count();
    let skipped = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Skipped(_))).count();
    writeln!(text, "{} steps, {failed} failed, {skipped} skipped", outcomes.len())
        .expect("a String takes any text");
    text
}

impl Step {
    /// Runs the step's cargo command, its output passed through; true when it succeeds.
    ///
    /// # Errors
    /// When cargo cannot be started.
    pub fn run_cargo(&self, metadata: &Metadata) -> Result<bool> {
        let Work::Cargo { arguments, environment } = self.work else {
            panic!("the step {} is not a cargo command", self.name);
        };
        let status = Command::new(cargo_program())
            .args(arguments)
            .envs(environment.iter().copied())
            .env("MQ_BIN_DIR", metadata.target_directory.join("debug"))
            .current_dir(&metadata.workspace_root)
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("cannot start {self}"))?;
        Ok(status.success())
    }

    /// Why the step cannot run now, if so.
    fn obstacle(&self, done: &[(&'static str, Outcome)]) -> Option<String> {
        match &self.needs {
            Needs::Nothing => None,
            Needs::Step(other) => {
                let failed = done.iter().any(|(name, outcome)| name == other && outcome.is_failure());
                failed.then(|| format!("the step {other} failed"))
            }
            Needs::CargoDeny => (!has_cargo_deny()).then(|| "cargo-deny is not installed".to_owned()),
            Needs::Advisories if !has_cargo_deny() => Some("cargo-deny is not installed".to_owned()),
            Needs::Advisories => {
                (!has_advisories()).then(|| "no advisory database on this machine".to_owned())
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.name)?;
        match self.work {
            Work::Tidy => f.write_str(" cargo xtask tidy"),
            Work::Mutants => f.write_str(" every planted bug against the tests that must find it"),
            Work::Cargo { arguments, environment } => {
                for (name, value) in environment {
                    write!(f, " {name}=\"{value}\"")?;
                }
                write!(f, " cargo {}", arguments.join(" "))
            }
        }
    }
}

/// The cargo that runs this program, or the one on the path.
pub(crate) fn cargo_program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn has_cargo_deny() -> bool {
    let mut command = Command::new(cargo_program());
    command.args(["deny", "--version"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether cargo-deny has a database: each is a directory, beside the lock file that every attempt leaves behind.
fn has_advisories() -> bool {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let entries = home.and_then(|home| home.join("advisory-dbs").read_dir().ok());
    entries.is_some_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_dir())))
}
