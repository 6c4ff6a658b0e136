//! What many runs came to, for a person and for a program, and whether that is good.

use crate::markers;
use crate::runner::{End, Failure, Plan, Report};
use crate::swarm::Scenario;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Below these, on average over all simulated time, hours do not count: an idle cluster proves nothing. The aim is 50
/// and 1. Over some hundreds of seeds the averages differ by a few per cent; a fifth less is no chance, but a workload
/// that has come to a stop somewhere.
const ACKNOWLEDGED_BATCHES_PER_S_MIN: f64 = 40.0;
const FAULTS_PER_S_MIN: f64 = 0.8;
/// Failures that are shown in full.
const FAILURES_SHOWN_MAX: usize = 5;

/// The figures of a report.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// There is no violation, and nothing is missing that was asked for.
    pub passed: bool,
    /// What is missing.
    pub missing: Vec<String>,
    /// Why it ended.
    pub ended: &'static str,
    /// Seeds that were run to their end or to a violation.
    pub seeds: u64,
    /// The first of them.
    pub first_seed: u64,
    /// Seeds that failed.
    pub violations: Vec<SeedFailure>,
    /// Simulated hours.
    pub simulated_hours: f64,
    /// How long it took, in seconds.
    pub wall_s: f64,
    /// Simulated seconds for each second on each core.
    pub simulated_s_per_core_s: f64,
    /// Batches acknowledged by a majority, each simulated second.
    pub acknowledged_per_simulated_s: f64,
    /// Faults, each simulated second.
    pub faults_per_simulated_s: f64,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// Messages lost, duplicated and very late, each simulated second.
    pub messages_disturbed_per_simulated_s: f64,
    /// Calls of clients, whose answers were checked.
    pub operations: u64,
    /// Batches sent, each attempt counted.
    pub batches_sent: u64,
    /// Records that consumers were given.
    pub records_read: u64,
    /// Facts that the checker judged.
    pub facts_checked: u64,
    /// Things that happened.
    pub events: u64,
    /// How often each marker was hit.
    pub markers: BTreeMap<&'static str, u64>,
    /// It was busy enough to count.
    pub is_busy: bool,
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
    /// The figures of this report on that plan; if `all_markers`, each must have been hit.
    #[must_use]
    pub fn of(plan: &Plan, report: &Report, all_markers: bool) -> Summary {
        let tally = &report.tally;
        let simulated_s = tally.simulated_s().max(1e-9);
        let per_s = |count: u64| count as f64 / simulated_s;
        let disturbed = tally.messages_lost + tally.messages_duplicated + tally.messages_late;
        let mut summary = Summary {
            passed: false,
            missing: Vec::new(),
            ended: ended(report.end),
            seeds: tally.seeds,
            first_seed: plan.seeds.start,
            violations: report.failures.iter().map(SeedFailure::of).collect(),
            simulated_hours: tally.simulated_s() / 3600.0,
            wall_s: report.wall.as_secs_f64(),
            simulated_s_per_core_s: tally.simulated_s() / (report.wall.as_secs_f64() * report.jobs as f64),
            acknowledged_per_simulated_s: per_s(tally.acknowledged),
            faults_per_simulated_s: per_s(tally.faults_count()),
            faults: tally.faults.iter().map(|(kind, count)| (kind.name(), *count)).collect(),
            messages_disturbed_per_simulated_s: per_s(disturbed),
            operations: tally.operations,
            batches_sent: tally.sent,
            records_read: tally.records_read,
            facts_checked: tally.facts,
            events: tally.events,
            markers: markers::ALL.into_iter().zip(report.markers.iter().copied()).collect(),
            is_busy: per_s(tally.acknowledged) >= ACKNOWLEDGED_BATCHES_PER_S_MIN
                && per_s(tally.faults_count()) >= FAULTS_PER_S_MIN,
            hash: format!("{:016x}", report.hash),
        };
        summary.missing = summary.missing(plan, report.end, all_markers);
        summary.passed = summary.missing.is_empty() && summary.violations.is_empty();
        summary
    }

    /// What is not there that was asked for.
    fn missing(&self, plan: &Plan, end: End, all_markers: bool) -> Vec<String> {
        let mut missing = Vec::new();
        let (reached, ended) = (self.simulated_hours, self.ended);
        match plan.hours {
            Some(goal) if reached < goal => {
                missing.push(format!("{reached:.2} of the {goal} simulated hours were reached: {ended}"));
            }
            None if end == End::Interrupt => {
                missing.push(format!("it was interrupted after {} seeds", self.seeds));
            }
            _ => {}
        }
        if self.seeds == 0 && self.violations.is_empty() {
            missing.push(format!("no seed was run: {ended}"));
        }
        // What was cut off early may have been idle by chance; and only all kinds of faults together are so many.
        let must_count = plan.hours.is_some_and(|goal| reached >= goal) && plan.scenario == Scenario::Swarm;
        if must_count && !self.is_busy {
            missing.push(self.idleness());
        }
        if all_markers {
            let missed = self.markers_never_hit();
            missing.extend(missed.map(|name| format!("it never came to this: {name}")));
        }
        missing
    }

    fn idleness(&self) -> String {
        format!(
            "these hours do not count: {:.1} acknowledged batches and {:.2} faults a simulated second, of which there \
             should be {ACKNOWLEDGED_BATCHES_PER_S_MIN} and {FAULTS_PER_S_MIN}",
            self.acknowledged_per_simulated_s, self.faults_per_simulated_s
        )
    }

    fn markers_never_hit(&self) -> impl Iterator<Item = &'static str> {
        self.markers.iter().filter(|(_, hits)| **hits == 0).map(|(name, _)| *name)
    }

    /// For a person.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.violations_text();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<34} {value}");
        };
        let seeds =
            format!("{}, from {} on, in {:.0} s: {}", self.seeds, self.first_seed, self.wall_s, self.ended);
        line("seeds", seeds);
        line("violations", self.violations.len().to_string());
        line("simulated hours", format!("{:.2}", self.simulated_hours));
        line("simulated seconds per core second", format!("{:.0}", self.simulated_s_per_core_s));
        line("acknowledged batches per second", format!("{:.1}", self.acknowledged_per_simulated_s));
        line("faults per second", format!("{:.2}", self.faults_per_simulated_s));
        line("messages disturbed per second", format!("{:.1}", self.messages_disturbed_per_simulated_s));
        line("operations of clients", self.operations.to_string());
        line("batches sent", self.batches_sent.to_string());
        line("records read", self.records_read.to_string());
        line("facts checked", self.facts_checked.to_string());
        line("events", self.events.to_string());
        line("hash of all transcripts", self.hash.clone());
        line("faults", self.faults.values().sum::<u64>().to_string());
        for (kind, count) in &self.faults {
            let per_hour = *count as f64 / self.simulated_hours;
            line(&format!("  {kind}"), format!("{count}, {per_hour:.0} per hour"));
        }
        let hit = self.markers.values().filter(|hits| **hits > 0).count();
        line("rare situations met", format!("{hit} of {}", self.markers.len()));
        for name in self.markers_never_hit() {
            line("  never", name.to_owned());
        }
        for what in &self.missing {
            let _ = writeln!(text, "FAILED: {what}");
        }
        if !self.is_busy && self.missing.is_empty() {
            let _ = writeln!(text, "{}", self.idleness());
        }
        text
    }

    fn violations_text(&self) -> String {
        let mut text = String::new();
        for failure in self.violations.iter().take(FAILURES_SHOWN_MAX) {
            let SeedFailure { seed, what, replay, options } = failure;
            let _ = writeln!(
                text,
                "VIOLATION in seed {seed}: {what}\n  options: {options}\n  replay:  {replay}\n"
            );
        }
        let others = self.violations.iter().skip(FAILURES_SHOWN_MAX).map(|failure| failure.seed.to_string());
        let others: Vec<String> = others.collect();
        if !others.is_empty() {
            let _ = writeln!(text, "VIOLATIONS in {} more seeds: {}\n", others.len(), others.join(", "));
        }
        text
    }
}

fn ended(end: End) -> &'static str {
    match end {
        End::Seeds => "all seeds were run",
        End::Hours => "the hours asked for were reached",
        End::Time => "the time was up",
        End::Interrupt => "it was interrupted",
        End::Failures => "too many seeds had failed",
    }
}

impl SeedFailure {
    fn of(failure: &Failure) -> SeedFailure {
        let replay = format!("cargo run --release -p mq-sim -- {}", failure.replay);
        let Failure { seed, what, options, .. } = failure.clone();
        SeedFailure { seed, what, replay, options }
    }
}
