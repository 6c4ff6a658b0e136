//! What many runs came to, for a person and for a program.

use crate::markers;
use crate::runner::{Failure, Report};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Below these, on average over all simulated time, a run was too idle to count.
const ACKNOWLEDGED_BATCHES_PER_S_MIN: f64 = 50.0;
const FAULTS_PER_S_MIN: f64 = 1.0;
/// Failures that are shown in full.
const FAILURES_SHOWN_MAX: usize = 5;

/// The figures of a report.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Seeds that were run to their end or to a violation.
    pub seeds: u64,
    /// Seeds that failed.
    pub violations: Vec<SeedFailure>,
    /// Simulated hours.
    pub simulated_hours: f64,
    /// Simulated seconds for each second on each core.
    pub simulated_s_per_core_s: f64,
    /// Batches acknowledged by a majority, each simulated second.
    pub acknowledged_per_simulated_s: f64,
    /// Faults, each simulated second.
    pub faults_per_simulated_s: f64,
    /// Faults by kind, each simulated hour.
    pub faults_per_simulated_hour: BTreeMap<String, f64>,
    /// Messages lost, duplicated and very late, each simulated second.
    pub messages_disturbed_per_simulated_s: f64,
    /// Batches sent, each attempt counted.
    pub batches_sent: u64,
    /// Records that consumers were given.
    pub records_read: u64,
    /// Facts that the checker judged.
    pub facts_checked: u64,
    /// Things that happened.
    pub events: u64,
    /// Markers that were never hit.
    pub markers_never_hit: Vec<&'static str>,
    /// It was busy enough to count.
    pub counts: bool,
    /// A number that depends on all that happened.
    pub hash: String,
}

/// A seed that failed.
#[derive(Debug, Serialize)]
pub struct SeedFailure {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub what: String,
    /// The command that shows it again.
    pub replay: String,
    /// What the run was like.
    pub options: String,
}

impl Summary {
    /// The figures of this report.
    #[must_use]
    pub fn of(report: &Report) -> Summary {
        let tally = &report.tally;
        let simulated_s = tally.simulated_s().max(1e-9);
        let per_s = |count: u64| count as f64 / simulated_s;
        let kinds = tally.faults.iter();
        let missed = markers::ALL.iter().zip(&report.markers).filter(|(_, hits)| **hits == 0);
        let disturbed = tally.messages_lost + tally.messages_duplicated + tally.messages_late;
        let counts = per_s(tally.acknowledged) >= ACKNOWLEDGED_BATCHES_PER_S_MIN
            && per_s(tally.faults_count()) >= FAULTS_PER_S_MIN;
        Summary {
            seeds: tally.seeds,
            violations: report.failures.iter().map(SeedFailure::of).collect(),
            simulated_hours: simulated_s / 3600.0,
            simulated_s_per_core_s: simulated_s / (report.wall.as_secs_f64() * report.jobs as f64),
            acknowledged_per_simulated_s: per_s(tally.acknowledged),
            faults_per_simulated_s: per_s(tally.faults_count()),
            faults_per_simulated_hour: kinds.map(|(kind, n)| (kind.name(), per_s(*n) * 3600.0)).collect(),
            messages_disturbed_per_simulated_s: per_s(disturbed),
            batches_sent: tally.sent,
            records_read: tally.records_read,
            facts_checked: tally.facts,
            events: tally.events,
            markers_never_hit: missed.map(|(name, _)| *name).collect(),
            counts,
            hash: format!("{:016x}", report.hash),
        }
    }

    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for failure in self.violations.iter().take(FAILURES_SHOWN_MAX) {
            let SeedFailure { seed, what, replay, options } = failure;
            let _ = writeln!(
                text,
                "VIOLATION in seed {seed}: {what}\n  options: {options}\n  replay:  {replay}\n"
            );
        }
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<34} {value}");
        };
        line("seeds", self.seeds.to_string());
        line("violations", self.violations.len().to_string());
        line("simulated hours", format!("{:.2}", self.simulated_hours));
        line("simulated seconds per core second", format!("{:.0}", self.simulated_s_per_core_s));
        line("acknowledged batches per second", format!("{:.1}", self.acknowledged_per_simulated_s));
        line("faults per second", format!("{:.2}", self.faults_per_simulated_s));
        line("messages disturbed per second", format!("{:.1}", self.messages_disturbed_per_simulated_s));
        line("batches sent", self.batches_sent.to_string());
        line("records read", self.records_read.to_string());
        line("facts checked", self.facts_checked.to_string());
        line("events", self.events.to_string());
        line("hash of all transcripts", self.hash.clone());
        for (kind, per_hour) in &self.faults_per_simulated_hour {
            line(&format!("  {kind} per hour"), format!("{per_hour:.0}"));
        }
        for name in &self.markers_never_hit {
            line("never hit", (*name).to_owned());
        }
        if !self.counts {
            let _ = writeln!(
                text,
                "this run does not count: fewer than {ACKNOWLEDGED_BATCHES_PER_S_MIN} acknowledged batches or \
                 {FAULTS_PER_S_MIN} faults a simulated second"
            );
        }
        text
    }
}

impl SeedFailure {
    fn of(failure: &Failure) -> SeedFailure {
        let replay = format!("cargo run --release -p mq-sim -- {}", failure.replay);
        let Failure { seed, what, options, .. } = failure.clone();
        SeedFailure { seed, what, replay, options }
    }
}
