//! Many seeds on several threads. A seed that fails does not take the others down.
//!
//! The only place with real time: for progress, and to end when it is up.

use crate::markers;
use crate::run::{self, Outcome};
use crate::swarm::{Scenario, Swarm};
use crate::tally::Tally;
use crate::transcript::{Keep, Transcript};
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Steps of a transcript that are told on either side of a difference.
const WORDS_AROUND_COUNT: usize = 12;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Which faults.
    pub scenario: Scenario,
    /// End after so long, whatever is left.
    pub time_max: Option<Duration>,
    /// Threads.
    pub jobs: usize,
    /// Run each seed twice and compare.
    pub twice: bool,
    /// Print everything that happens.
    pub trace: bool,
    /// Show progress on standard error.
    pub progress: bool,
}

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What its run was like.
    pub options: String,
    /// What was wrong.
    pub what: String,
    /// The arguments that show it again.
    pub replay: String,
}

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What they did.
    pub tally: Tally,
    /// How often each marker was hit, in the order of [`markers::ALL`].
    pub markers: Vec<u64>,
    /// The seeds that failed, by seed.
    pub failures: Vec<Failure>,
    /// How long it took.
    pub wall: Duration,
    /// On how many threads.
    pub jobs: usize,
    /// A number that depends on all transcripts.
    pub hash: u64,
}

thread_local! {
    /// Where and why this thread panicked last.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs the plan.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    with_panics_noted(|| run_all(plan))
}

/// Does this while a panic is noted instead of printed.
pub(crate) fn with_panics_noted<T>(act: impl FnOnce() -> T) -> T {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("a panic without words");
        PANIC.set(Some(format!("panic at {place}: {what}")));
    }));
    let done = act();
    panic::set_hook(hook);
    done
}

fn run_all(plan: &Plan) -> Report {
    let began = Instant::now();
    let next = AtomicU64::new(plan.seeds.start);
    let report =
        Mutex::new(Report { markers: vec![0; markers::ALL.len()], jobs: plan.jobs, ..Report::default() });
    let bar = progress_bar(plan);
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs {
            scope.spawn(|| work(plan, began, &next, &report, &bar));
        }
    });
    bar.finish_and_clear();
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failures.sort_by_key(|failure| failure.seed);
    report.wall = began.elapsed();
    report
}

fn work(plan: &Plan, began: Instant, next: &AtomicU64, report: &Mutex<Report>, bar: &ProgressBar) {
    while plan.time_max.is_none_or(|max| began.elapsed() < max) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= plan.seeds.end {
            return;
        }
        let (outcome, failure) = run_seed(plan, seed);
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = outcome {
            report.tally.add(&outcome.tally);
            report.markers.iter_mut().zip(outcome.markers).for_each(|(sum, hits)| *sum += hits);
            report.hash = report.hash.wrapping_add(outcome.transcript.hash());
        }
        report.failures.extend(failure);
        bar.inc(1);
        let (hours, failures) = (report.tally.simulated_s() / 3600.0, report.failures.len());
        bar.set_message(format!("{hours:.2} h simulated, {failures} violations"));
    }
}

/// Runs one seed. Without an outcome it panicked.
pub(crate) fn run_seed(plan: &Plan, seed: u64) -> (Option<Outcome>, Option<Failure>) {
    let swarm = Swarm::draw(seed, plan.scenario);
    let keep = match (plan.trace, plan.twice) {
        (true, _) => Keep::Print,
        (false, true) => Keep::Hashes,
        (false, false) => Keep::Nothing,
    };
    let failure = |what| {
        let scenario = format!("{:?}", plan.scenario).to_lowercase();
        let replay = format!("--seeds {seed}..{} --scenario {scenario} --trace", seed + 1);
        Failure { seed, options: format!("{swarm:?}"), what, replay }
    };
    let outcome = match caught(&swarm, keep.clone()) {
        Ok(outcome) => outcome,
        Err(what) => return (None, Some(failure(what))),
    };
    if let Some(what) = &outcome.violation {
        let failure = failure(what.clone());
        return (Some(outcome), Some(failure));
    }
    let differs = plan.twice.then(|| compare(&swarm, &outcome.transcript)).flatten();
    let failure = differs.map(failure);
    (Some(outcome), failure)
}

fn caught(swarm: &Swarm, keep: Keep) -> Result<Outcome, String> {
    panic::catch_unwind(AssertUnwindSafe(|| run::run(swarm, keep)))
        .map_err(|_| PANIC.take().unwrap_or_else(|| "a panic without words".to_owned()))
}

/// Runs the seed again. What differs, if anything does.
fn compare(swarm: &Swarm, first: &Transcript) -> Option<String> {
    let second = match caught(swarm, Keep::Hashes) {
        Ok(outcome) => outcome.transcript,
        Err(what) => return Some(format!("the second run of the same seed ends otherwise: {what}")),
    };
    let step = first.first_difference(&second)?;
    let words = || {
        let around = step.saturating_sub(WORDS_AROUND_COUNT)..step + 2;
        let told = caught(swarm, Keep::Words(around)).map(|outcome| outcome.transcript.words().to_owned());
        told.unwrap_or_else(|what| what)
    };
    Some(format!(
        "two runs of the same seed differ at step {step}; two more tell it so:\n{}\nand so:\n{}",
        words(),
        words()
    ))
}

fn progress_bar(plan: &Plan) -> ProgressBar {
    if !plan.progress || plan.trace {
        return ProgressBar::hidden();
    }
    let style = "{elapsed_precise} {bar:30} {pos}/{len} seeds, {msg}, {eta} left";
    let bar = ProgressBar::new(plan.seeds.end - plan.seeds.start);
    bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
