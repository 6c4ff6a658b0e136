//! Fuzzing: every target of `tests/fuzz`, all at the same time, for some minutes. What must never fail again is a
//! plain test (the corpora); this looks for what nobody knows yet, and is no part of `cargo xtask test`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use cargo_metadata::Metadata;

use crate::steps::cargo_program;

/// Where the targets are, relative to the repository.
const TARGETS: &str = "tests/fuzz/fuzz_targets";
/// What the fuzzer holds a target to. Nothing that a stranger sends may ask for more memory at once than this.
const FUZZER: [&str; 4] = ["-rss_limit_mb=2048", "-malloc_limit_mb=64", "-timeout=20", "-max_len=8192"];

/// Targets that hold no stranger's lengths against memory, and run ten times as often without the sanitizer that counts
/// it: whole recoveries.
const WITHOUT_SANITIZER: [&str; 3] = ["log_operations", "segment_recovery", "state_log"];

/// Fuzzes all targets, or the one of that name; false if something was found. Without what it takes nothing is done,
/// and the reason is printed.
///
/// # Errors
/// When the fuzzer cannot be built or started, or there is no such target.
pub fn run(metadata: &Metadata, minutes: u32, only: Option<&str>) -> Result<bool> {
    if let Some(why) = obstacle() {
        println!("skipped: {why}");
        return Ok(true);
    }
    let root = metadata.workspace_root.as_std_path();
    let mut names = targets(&root.join(TARGETS))?;
    names.retain(|name| only.is_none_or(|only| name == only));
    if names.is_empty() {
        bail!("no target of this name in {TARGETS}");
    }
    let place = metadata.target_directory.as_std_path().join("fuzz");
    for name in &names {
        let built = fuzz(root, &place, "build", name).status().context("cannot start cargo fuzz")?;
        if !built.success() {
            bail!("the target {name} does not compile");
        }
    }
    let mut running = Vec::new();
    for name in names {
        running.push((begin(root, &place, &name, minutes)?, name));
    }
    let mut clean = true;
    for (mut child, name) in running {
        let passed = child.wait().context("a fuzzer cannot be waited for")?.success();
        let log = log(&place, &name);
        println!(
            "{name}: {}; see {}",
            if passed { "nothing found" } else { "FOUND SOMETHING" },
            log.display()
        );
        clean &= passed;
    }
    Ok(clean)
}

/// Why there can be no fuzzing here, if so.
fn obstacle() -> Option<&'static str> {
    let works = |arguments: &[&str]| {
        let mut command = nightly();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !works(&["--version"]) {
        return Some("the nightly toolchain is not installed (rustup toolchain install nightly)");
    }
    (!works(&["fuzz", "--version"]))
        .then_some("cargo-fuzz is not installed (cargo install cargo-fuzz --locked)")
}

/// The names of the targets.
fn targets(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<PathBuf>, _>>()?;
    let mut names: Vec<String> =
        paths.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// Starts a target on the inputs to begin with, its corpus, and what earlier runs have found.
fn begin(root: &Path, place: &Path, name: &str, minutes: u32) -> Result<Child> {
    let found = place.join("corpus").join(name);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let seeds = ["run", "--quiet", "--package", "mq-fuzz", "--bin", name, "--", "--seeds"];
    let seeded = Command::new(cargo_program()).args(seeds).arg(&found).current_dir(root).status();
    if !seeded.context("cannot start cargo")?.success() {
        bail!("the inputs to begin with cannot be written");
    }
    let log = log(place, name);
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    println!("{name}: {minutes} minutes, told in {}", log.display());
    let mut command = fuzz(root, place, "run", name);
    command.arg(&found).arg(root.join("tests/fuzz/corpus").join(name)).arg("--");
    command.args(FUZZER).arg(format!("-max_total_time={}", u64::from(minutes) * 60));
    let (out, errors) = (file.try_clone()?, file);
    command.stdin(Stdio::null()).stdout(out).stderr(errors).spawn().context("cannot start cargo fuzz")
}

fn log(place: &Path, name: &str) -> PathBuf {
    place.join(format!("{name}.log"))
}

/// A command of cargo fuzz for one target. It builds apart from everything else, once with each sanitizer.
fn fuzz(root: &Path, place: &Path, action: &str, name: &str) -> Command {
    let sanitizer = if WITHOUT_SANITIZER.contains(&name) { "none" } else { "address" };
    let mut command = nightly();
    command.args(["fuzz", action, "--fuzz-dir", "tests/fuzz", "--sanitizer", sanitizer, "--target-dir"]);
    command.arg(place.join(sanitizer)).arg(name);
    // Optimizing across crates takes minutes, and gains nothing here.
    command.env("CARGO_PROFILE_RELEASE_LTO", "off").current_dir(root);
    command
}

/// The cargo of the nightly toolchain: the sanitizers are not stable.
fn nightly() -> Command {
    let mut command = Command::new("cargo");
    command.env("RUSTUP_TOOLCHAIN", "nightly").env_remove("CARGO").env_remove("RUSTC");
    command
}
