//! The scenario stopped inside each operation of the disk, and left as chance has it.

use crate::fixture::known::Known;
use crate::fixture::*;
use crate::scenario::{Shards, run_until, run_whole};
use mq_log::disk::{Crash, Fault};
use mq_log::{MemDisk, ShardOpen};
use mq_types::persist::RecoveredReplica;

const SHARDS: Shards = [1, 2, 1];

/// Opens what a crash left, twice; the second time nothing may have changed.
fn open_and_check(disk: &MemDisk, known: &Known, context: &str) -> u64 {
    let before = disk.operations();
    let options = || small_options(1 + (before % 2) as u16, 200);
    let shards = mq_log::open(disk.clone(), options()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let operations = disk.operations() - before;
    known.settle(&shards).unwrap_or_else(|error| panic!("{context}: {error}"));
    let first = replicas(&shards);
    drop(shards);
    // Whatever it says now must be on the disk.
    let disk = disk.crash(Crash::Machine { seed: before });
    let shards =
        mq_log::open(disk.clone(), options()).unwrap_or_else(|error| panic!("{context}, again: {error}"));
    assert_eq!(first, replicas(&shards), "{context}: a second recovery found something else");
    operations
}

fn replicas(shards: &[ShardOpen<MemDisk>]) -> Vec<RecoveredReplica> {
    shards.iter().flat_map(|shard| shard.recovered.clone()).collect()
}

fn crashes(operation: u64) -> impl Iterator<Item = Crash> {
    let machine = (0..3).map(move |seed| Crash::Machine { seed: operation * 3 + seed });
    std::iter::once(Crash::Process).chain(machine)
}

/// How many operations the whole scenario takes.
fn operations() -> u64 {
    let (disk, known) = run_whole(SHARDS);
    let operations = disk.operations();
    open_and_check(&crash_process(&disk), &known, "at the end");
    operations
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_returned_and_invents_nothing() {
    let operations = operations();
    assert!(operations > 200, "the scenario has only {operations} operations");
    for operation in 0..operations {
        for crash in crashes(operation) {
            let (disk, known) = run_until(operation, SHARDS);
            let disk = disk.crash(crash);
            open_and_check(&disk, &known, &format!("operation {operation}, {crash:?}"));
        }
    }
}

#[test]
fn a_crash_at_any_operation_of_recovery_changes_nothing() {
    for operation in (0..operations()).step_by(7) {
        let (disk, known) = run_until(operation, SHARDS);
        let disk = disk.crash(Crash::Machine { seed: operation });
        let trial = disk.fork();
        let steps = open_and_check(&trial, &known, &format!("operation {operation}"));
        for step in 0..steps {
            for crash in [Crash::Process, Crash::Machine { seed: step }] {
                let disk = disk.fork();
                disk.plan_fault(disk.operations() + step, Fault::Stop);
                let stopped = mq_log::open(disk.clone(), small_options(2, 201));
                assert!(stopped.is_err(), "it is stopped at step {step} of {steps}");
                let context = format!("operation {operation}, step {step} of recovery, {crash:?}");
                open_and_check(&disk.crash(crash), &known, &context);
            }
        }
    }
}
