//! Many seeds on several threads. A seed that fails does not take the others down.
//!
//! The only place with real time: for progress, and to end when it is up.

use crate::markers;
use crate::progress::Progress;
use crate::run::{self, Outcome};
use crate::swarm::{Scenario, Swarm};
use crate::tally::Tally;
use crate::transcript::{Keep, Transcript};
use std::cell::RefCell;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Steps of a transcript that are told on either side of a difference.
const WORDS_AROUND_COUNT: usize = 12;
/// After so many violations no further seed is run: what fails that often is known well enough.
const FAILURES_MAX: usize = 100;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seeds, from the first on; without an end if that is [`u64::MAX`].
    pub seeds: Range<u64>,
    /// Which faults.
    pub scenario: Scenario,
    /// End once so many hours were simulated.
    pub hours: Option<f64>,
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
    /// Somebody else may set it: end with what was reached.
    pub interrupt: Arc<AtomicBool>,
}

impl Plan {
    /// These seeds on one thread, with all kinds of faults.
    #[must_use]
    pub fn new(seeds: Range<u64>) -> Plan {
        Plan {
            seeds,
            scenario: Scenario::default(),
            hours: None,
            time_max: None,
            jobs: 1,
            twice: false,
            trace: false,
            progress: false,
            interrupt: Arc::default(),
        }
    }

    /// Why it is to end although seeds may be left, if it is; it began then.
    pub(crate) fn is_cut_short(&self, began: Instant) -> Option<End> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Some(End::Interrupt);
        }
        self.time_max.is_some_and(|max| began.elapsed() >= max).then_some(End::Time)
    }
}

/// Why no further seed was run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// All were.
    #[default]
    Seeds,
    /// As many hours as asked were simulated.
    Hours,
    /// The time was up.
    Time,
    /// Somebody wanted it to end.
    Interrupt,
    /// Too many seeds had failed.
    Failures,
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
    /// Why it ended.
    pub end: End,
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
    let report = Report { markers: vec![0; markers::ALL.len()], jobs: plan.jobs, ..Report::default() };
    let state = Mutex::new(State { report, end: None, progress: Progress::new(plan, began) });
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs {
            scope.spawn(|| work(plan, began, &next, &state));
        }
    });
    let State { mut report, end, progress } = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    progress.finish();
    report.failures.sort_by_key(|failure| failure.seed);
    report.end = end.unwrap_or_default();
    report.wall = began.elapsed();
    report
}

/// What the threads of a run share.
struct State {
    report: Report,
    /// Why the first thread ended that did so before the seeds.
    end: Option<End>,
    progress: Progress,
}

impl State {
    /// Whether no further seed is to be run.
    fn has_ended(&mut self, plan: &Plan, began: Instant) -> bool {
        let hours = self.report.tally.simulated_s() / 3600.0;
        let end = match () {
            () if plan.hours.is_some_and(|goal| hours >= goal) => Some(End::Hours),
            () if self.report.failures.len() >= FAILURES_MAX => Some(End::Failures),
            () => plan.is_cut_short(began),
        };
        self.end = self.end.or(end);
        self.end.is_some()
    }

    fn add(&mut self, outcome: Option<&Outcome>, failure: Option<Failure>) {
        let report = &mut self.report;
        if let Some(outcome) = outcome {
            report.tally.add(&outcome.tally);
            report.markers.iter_mut().zip(outcome.markers).for_each(|(sum, hits)| *sum += hits);
            report.hash = report.hash.wrapping_add(outcome.transcript.hash());
        }
        if let Some(failure) = &failure {
            self.progress.failed(failure);
        }
        report.failures.extend(failure);
        self.progress.advance(report);
    }
}

fn work(plan: &Plan, began: Instant, next: &AtomicU64, state: &Mutex<State>) {
    while !locked(state).has_ended(plan, began) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= plan.seeds.end {
            return;
        }
        let (outcome, failure) = run_seed(plan, seed);
        locked(state).add(outcome.as_ref(), failure);
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
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
