//! The simulator is what it says: the same seed is the same run, a world without faults works, and a few seeds with
//! all kinds of faults find nothing wrong.

use mq_sim::runner::{Plan, Report, run as run_plan};
use mq_sim::{Keep, Scenario, Swarm, run};

fn plan(seeds: std::ops::Range<u64>, scenario: Scenario) -> Plan {
    Plan { scenario, ..Plan::new(seeds) }
}

fn check(report: &Report, seeds: u64) {
    if let Some(failure) = report.failures.first() {
        panic!(
            "seed {}: {} (cargo run --release -p mq-sim -- {})",
            failure.seed, failure.what, failure.replay
        );
    }
    assert_eq!(report.tally.seeds, seeds);
}

#[test]
fn the_same_seed_twice_is_the_same_run() {
    let swarm = Swarm::draw(7, Scenario::Swarm);
    let (first, second) = (run(&swarm, Keep::Hashes), run(&swarm, Keep::Hashes));
    assert_eq!(first.violation, None);
    assert_eq!(first.transcript.first_difference(&second.transcript), None);
    assert_eq!(first.transcript.hash(), second.transcript.hash());
    assert!(first.transcript.steps() > 10_000, "{} steps", first.transcript.steps());
}

#[test]
fn different_seeds_are_different_runs() {
    let hash = |seed| run(&Swarm::draw(seed, Scenario::Calm), Keep::Nothing).transcript.hash();
    assert_ne!(hash(1), hash(2));
}

#[test]
fn a_world_without_faults_acknowledges_and_reads_everything() {
    let outcome = run(&Swarm::draw(3, Scenario::Calm), Keep::Nothing);
    assert_eq!(outcome.violation, None);
    let tally = &outcome.tally;
    assert_eq!(tally.faults_count(), 0);
    assert!(tally.acknowledged as f64 > 50.0 * tally.simulated_s(), "{tally:?}");
    assert!(tally.records_read > tally.acknowledged, "{tally:?}");
}

#[test]
fn a_few_seeds_with_all_kinds_of_faults_find_no_violation() {
    let report = run_plan(&plan(0..12, Scenario::Swarm));
    check(&report, 12);
    let tally = &report.tally;
    assert!(tally.faults.len() > 10, "{tally:?}");
    assert!(tally.acknowledged as f64 > 20.0 * tally.simulated_s(), "{tally:?}");
}

#[test]
fn each_scenario_draws_its_own_faults_alone() {
    for (scenario, most) in
        [(Scenario::Network, 6), (Scenario::Disk, 7), (Scenario::Process, 7), (Scenario::Time, 2)]
    {
        let report = run_plan(&plan(40..42, scenario));
        check(&report, 2);
        assert!(report.tally.faults.len() <= most, "{scenario:?}: {:?}", report.tally.faults);
    }
}
