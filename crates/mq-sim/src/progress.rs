//! How far many runs have come, on standard error: a bar on a terminal, else a line now and then.

use crate::runner::{Failure, Plan, Report};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// The bar's full length.
const WHOLE: u64 = 10_000;
/// How long there is silence where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// How far many runs have come.
pub(crate) struct Progress {
    plan: Plan,
    began: Instant,
    bar: ProgressBar,
    said: Instant,
}

impl Progress {
    /// Of runs that begin.
    pub(crate) fn new(plan: &Plan, began: Instant) -> Progress {
        let bar = match plan.progress && !plan.trace {
            true => ProgressBar::new(WHOLE),
            false => ProgressBar::hidden(),
        };
        let style = "{elapsed_precise} {bar:30} {msg}, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("the template is well-formed"));
        bar.enable_steady_tick(Duration::from_millis(250));
        Progress { plan: plan.clone(), began, bar, said: began }
    }

    /// One more seed was run.
    pub(crate) fn advance(&mut self, report: &Report) {
        let hours = report.tally.simulated_s() / 3600.0;
        let (seeds, failures) = (report.tally.seeds, report.failures.len());
        let of_goal = self.plan.hours.map(|goal| format!(" of {goal}")).unwrap_or_default();
        let message = format!("{hours:.2}{of_goal} h simulated, {seeds} seeds, {failures} violations");
        if self.bar.is_hidden() && self.plan.progress && self.said.elapsed() >= LINE_INTERVAL {
            self.said = Instant::now();
            eprintln!("after {} s: {message}", self.began.elapsed().as_secs());
        }
        self.bar.set_position((self.fraction(seeds, hours) * WHOLE as f64) as u64);
        self.bar.set_message(message);
    }

    /// A seed failed. That is told at once, for the end may be hours away.
    pub(crate) fn failed(&self, failure: &Failure) {
        if self.plan.progress {
            let what = failure.what.lines().next().unwrap_or_default();
            self.bar.suspend(|| eprintln!("seed {} failed: {what}", failure.seed));
        }
    }

    pub(crate) fn finish(self) {
        self.bar.finish_and_clear();
    }

    /// How much of the plan is done: what ends it first counts.
    fn fraction(&self, seeds: u64, hours: f64) -> f64 {
        let of_seeds = seeds as f64 / (self.plan.seeds.end - self.plan.seeds.start) as f64;
        let of_hours = self.plan.hours.map_or(0.0, |goal| hours / goal);
        let passed = self.began.elapsed().as_secs_f64();
        let of_time = self.plan.time_max.map_or(0.0, |max| passed / max.as_secs_f64());
        of_seeds.max(of_hours).max(of_time).min(1.0)
    }
}
