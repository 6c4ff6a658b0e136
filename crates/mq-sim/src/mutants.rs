//! Planted bugs, hunted one after another: whether the simulator is worth what it costs.
//!
//! They are in a build of their own (`--cfg mq_planted`), in which our asserts check nothing: what a bug does must be
//! seen from outside. A bug that is planted anywhere below `crates` is hunted; there is no list to forget it in. Each
//! thread hunts another bug, seed by seed, so a table is the same whenever it is made.

use crate::runner::{self, Plan};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use std::{env, fs, io};

/// Whether this program has the planted bugs in it.
pub const ARE_BUILT_IN: bool = cfg!(mq_planted);

/// What stands before the name of a planted bug.
const PLANTED: &str = "planted!(\"";
/// Of an account, so much is shown in the table, in characters.
const ACCOUNT_CHARS_MAX: usize = 140;

/// A planted bug, or none, and how it was found.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name; `None`: no bug is planted, and nothing must be found.
    pub bug: Option<String>,
    /// The files in which it is planted.
    pub planted_in: Vec<String>,
    /// How the hunt ended.
    pub hunt: Hunt,
    /// Seeds that were run, that which found it included.
    pub seeds: u64,
    /// The seed that found it.
    pub seed: Option<u64>,
    /// What found it: a check of the checker by its number; "panic"; "broker", for one that does not start or go on
    /// although its disk is sound; "replica", for one whose log cannot be read back.
    pub found_by: Option<String>,
    /// The first line of the account.
    pub account: Option<String>,
    /// The arguments that show it again, in the build with the planted bugs.
    pub replay: Option<String>,
}

/// How a hunt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hunt {
    /// With something found.
    Found,
    /// With nothing, after all seeds.
    NothingFound,
    /// With nothing, before all seeds were run.
    CutShort,
    /// It did not begin.
    NotHunted,
}

/// How all planted bugs were found.
#[derive(Debug, Serialize)]
pub struct Table {
    /// The bugs by file and name; at the end, without one.
    pub rows: Vec<Row>,
    /// Planted bugs.
    pub bugs: usize,
    /// Those that were found.
    pub found: usize,
    /// Those of which not all seeds were run, although they were not found.
    pub left: usize,
    /// Of those found, the median of the seeds that it took.
    pub seeds_median: u64,
    /// How long the hunt took, in seconds.
    pub wall_s: f64,
}

/// Builds this program with the planted bugs in it, and becomes that, with the same arguments.
///
/// Only our own crates are compiled with them, by a wrapper that cargo counts as another compiler: what it builds has
/// other names. The libraries of others are those of this program, and what is built comes to lie in a directory of
/// its own, `target/planted`.
///
/// # Errors
/// It only comes back when cargo or the program cannot be started, or does not build.
#[must_use]
pub fn build_and_hunt(arguments: impl Iterator<Item = OsString>) -> io::Error {
    match build() {
        Ok(program) => Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}

fn build() -> io::Result<PathBuf> {
    let target = env::current_exe()?.ancestors().nth(2).map(Path::to_owned);
    let target = target.ok_or_else(|| io::Error::other("this program is not in a target directory"))?;
    let planted = target.join("planted");
    fs::create_dir_all(&planted)?;
    let wrapper = planted.join("rustc");
    let script = "#!/bin/sh\nexec \"$@\" --cfg mq_planted\n";
    // For a compiler that has changed cargo builds everything anew.
    if fs::read_to_string(&wrapper).ok().as_deref() != Some(script) {
        fs::write(&wrapper, script)?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    }
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--package", "mq-sim"]).current_dir(workspace());
    cargo.env("RUSTC_WORKSPACE_WRAPPER", wrapper);
    cargo.env("CARGO_TARGET_DIR", &planted).env("CARGO_BUILD_BUILD_DIR", &target);
    // A hunt is short and a build is waited for.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    let built = cargo.status()?;
    if !built.success() {
        return Err(io::Error::other(format!("the build with the planted bugs failed ({built})")));
    }
    Ok(planted.join("release").join("mq-sim"))
}

/// Whether there are planted bugs of these names.
///
/// # Errors
/// What is wrong, and which there are.
pub fn check(only: &[String]) -> Result<(), String> {
    if only.is_empty() {
        return Ok(());
    }
    let planted = planted();
    match only.iter().find(|name| !planted.contains_key(*name)) {
        None => Ok(()),
        Some(name) => {
            let names: Vec<&str> = planted.keys().map(String::as_str).collect();
            Err(format!("there is no planted bug {name:?}; there are:\n  {}", names.join("\n  ")))
        }
    }
}

/// Runs the plan's seeds against each planted bug until it is found, and without any bug; if `only` names some, against
/// these alone.
#[must_use]
pub fn hunt(plan: &Plan, only: &[String]) -> Table {
    let began = Instant::now();
    let mut prey: Vec<(Option<&'static str>, Vec<String>)> = planted()
        .into_iter()
        .filter(|(name, _)| only.is_empty() || only.contains(name))
        .map(|(name, files)| (Some(&*name.leak()), files))
        .collect();
    prey.sort_by(|(a, in_a), (b, in_b)| (in_a, a).cmp(&(in_b, b)));
    let bugs = prey.len();
    if only.is_empty() {
        // Last in the table, but first to be hunted: it takes the longest.
        prey.push((None, Vec::new()));
    }
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(BTreeMap::new());
    runner::with_panics_noted(|| {
        std::thread::scope(|scope| {
            for _ in 0..plan.jobs {
                scope.spawn(|| {
                    while let Some(at) = prey.len().checked_sub(1 + next.fetch_add(1, Ordering::Relaxed)) {
                        let row = hunt_one(plan, began, prey[at].0, &prey[at].1);
                        eprintln!("{}", row.text(0));
                        rows.lock().unwrap_or_else(PoisonError::into_inner).insert(at, row);
                    }
                });
            }
        });
    });
    let rows: Vec<Row> = rows.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect();
    let bugs_that = |is: fn(&Row) -> bool| rows.iter().filter(move |row| row.bug.is_some() && is(row));
    let mut seeds: Vec<u64> = bugs_that(|row| row.hunt == Hunt::Found).map(|row| row.seeds).collect();
    seeds.sort_unstable();
    let seeds_median = seeds.get(seeds.len() / 2).copied().unwrap_or_default();
    let left = bugs_that(|row| matches!(row.hunt, Hunt::CutShort | Hunt::NotHunted)).count();
    Table { bugs, found: seeds.len(), left, seeds_median, rows, wall_s: began.elapsed().as_secs_f64() }
}

fn hunt_one(plan: &Plan, began: Instant, bug: Option<&'static str>, planted_in: &[String]) -> Row {
    switch_on(bug);
    let mut row = Row {
        bug: bug.map(str::to_owned),
        planted_in: planted_in.to_vec(),
        hunt: Hunt::NothingFound,
        seeds: 0,
        seed: None,
        found_by: None,
        account: None,
        replay: None,
    };
    for seed in plan.seeds.clone() {
        if plan.is_cut_short(began).is_some() {
            row.hunt = if row.seeds == 0 { Hunt::NotHunted } else { Hunt::CutShort };
            break;
        }
        row.seeds += 1;
        if let (_, Some(failure)) = runner::run_seed(plan, seed) {
            row.hunt = Hunt::Found;
            row.seed = Some(seed);
            row.found_by = failure.what.split([' ', ':']).next().map(str::to_owned);
            row.account = failure.what.lines().next().map(str::to_owned);
            let bug = bug.map_or(String::new(), |bug| format!(" --mutant {bug}"));
            row.replay = Some(format!("--mutants{bug} --seeds {seed}..{}", seed + 1));
            break;
        }
    }
    switch_on(None);
    row
}

#[cfg(mq_planted)]
fn switch_on(bug: Option<&'static str>) {
    mq_types::planted::switch_on(bug);
}

/// There is nothing to switch on.
#[cfg(not(mq_planted))]
fn switch_on(_: Option<&'static str>) {}

/// The names of all planted bugs, and in which files each is planted, as the sources have it.
fn planted() -> BTreeMap<String, Vec<String>> {
    let mut files = Vec::new();
    list_sources(&workspace().join("crates"), &mut files);
    files.sort();
    let mut planted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let file = path.strip_prefix(workspace()).unwrap_or(&path).display().to_string();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let names = line.split(PLANTED).skip(1).filter_map(|after| after.split_once('"'));
            for (name, _) in names.filter(|(name, _)| !name.is_empty()) {
                let places = planted.entry(name.to_owned()).or_default();
                if !places.contains(&file) {
                    places.push(file.clone());
                }
            }
        }
    }
    planted
}

/// Every source file of our crates; links are not followed.
fn list_sources(dir: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for (path, kind) in entries.filter_map(|entry| Some((entry.path(), entry.file_type().ok()?))) {
        if kind.is_dir() && !path.ends_with("target") && !path.ends_with("tests") {
            list_sources(&path, files);
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Row {
    /// Whether it came out as it should.
    fn is_good(&self) -> bool {
        self.hunt == if self.bug.is_some() { Hunt::Found } else { Hunt::NothingFound }
    }

    fn text(&self, name_width: usize) -> String {
        let name = self.bug.as_deref().unwrap_or("(no bug)");
        let (seeds, by) = (self.seeds, self.found_by.as_deref().unwrap_or_default());
        let outcome = match (self.hunt, &self.bug) {
            (Hunt::Found, Some(_)) => format!("found after {seeds:>4} by {by:<5}"),
            (Hunt::Found, None) => format!("WRONGLY found after {seeds} by {by}"),
            (Hunt::NothingFound, Some(_)) => format!("NOT FOUND in {seeds} seeds"),
            (Hunt::NothingFound, None) => format!("nothing found in {seeds} seeds, as it should be"),
            (Hunt::CutShort, _) => format!("CUT SHORT: nothing found in {seeds} seeds"),
            (Hunt::NotHunted, _) => "NOT HUNTED".to_owned(),
        };
        let mut text = format!("{name:<name_width$}  {outcome}  {}", self.planted_in.join(", "));
        if let Some(account) = &self.account {
            let cut: String = account.chars().take(ACCOUNT_CHARS_MAX).collect();
            let _ = write!(text, "\n{:name_width$}    {cut}", "");
        }
        text
    }
}

impl Table {
    /// Whether all bugs were found, and nothing without one.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(Row::is_good)
    }

    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        let names = self.rows.iter().filter_map(|row| row.bug.as_ref().map(String::len));
        let width = names.max().unwrap_or(0);
        let mut text = String::new();
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.text(width));
        }
        let Table { bugs, found, left, seeds_median, wall_s, .. } = self;
        let left = match left {
            0 => String::new(),
            left => format!("; the time was up or it was interrupted, with {left} not hunted to the end"),
        };
        let _ = writeln!(
            text,
            "{found} of {bugs} planted bugs found, in {wall_s:.0} s; median of these {seeds_median} seeds{left}"
        );
        text
    }
}
