//! Random writes, crashes and restarts against the model: what a store is, whatever the order of things.

mod fixture;

use fixture::*;
use mq_log::disk::Crash;
use mq_log::{MemDisk, ShardStore};
use mq_types::persist::{ReplicaWrite, Snapshot, Start, Trim, Vote};
use mq_types::{Index, Offset, Term};
use proptest::prelude::*;

/// One thing that may happen. The numbers are taken modulo what is possible.
#[derive(Clone, Debug)]
enum Step {
    Append { raise_term: bool, sizes: Vec<u32> },
    Cut { back: u64, sizes: Vec<u32> },
    Commit { forward: u64 },
    Vote,
    Membership,
    Snapshot { trims: bool },
    Trim { part: u64 },
    Roll,
    Reset { sizes: Vec<u32> },
    Idle,
    Restart { seed: Option<u64>, shards: u16 },
}

fn sizes() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(prop_oneof![Just(0), Just(1), 2..6u32, Just(40)], 1..6)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), sizes()).prop_map(|(raise_term, sizes)| Step::Append { raise_term, sizes }),
        2 => (0..12u64, sizes()).prop_map(|(back, sizes)| Step::Cut { back, sizes }),
        3 => (0..8u64).prop_map(|forward| Step::Commit { forward }),
        1 => Just(Step::Vote),
        1 => Just(Step::Membership),
        1 => any::<bool>().prop_map(|trims| Step::Snapshot { trims }),
        2 => (0..100u64).prop_map(|part| Step::Trim { part }),
        1 => Just(Step::Roll),
        1 => sizes().prop_map(|sizes| Step::Reset { sizes }),
        1 => Just(Step::Idle),
        3 => (proptest::option::of(any::<u64>()), 1..4u16).prop_map(|(seed, shards)| Step::Restart { seed, shards }),
    ]
}

/// The write that a step is, for this model.
fn write_of(step: &Step, model: &Model) -> ReplicaWrite {
    let mut write = model.write();
    let term = model.last_term().0.max(model.vote.term.0);
    match step {
        Step::Append { raise_term, sizes } => {
            write.entries = model.next_entries(term + u64::from(*raise_term), sizes);
        }
        Step::Cut { back, sizes } => {
            let from = model.last_index().0.saturating_sub(*back).max(model.commit.0 + 1);
            write.entries = model.entries_from(from.min(model.last_index().0 + 1), term + 1, sizes);
        }
        Step::Commit { forward } => write.commit = Index(model.commit.0 + forward).min(model.last_index()),
        Step::Vote => write.vote = Some(Vote { term: Term(term + 1), voted_for: Some(replica(1)) }),
        Step::Membership => write.membership = Some(membership(model.commit.0, &[1, 2])),
        Step::Snapshot { trims } => {
            let index = model.commit;
            let known = model.snapshot.as_ref().is_some_and(|snapshot| snapshot.index >= index);
            if !known {
                let data = format!("as of {index}").into();
                write.snapshot = Some(Snapshot { index, data });
            }
            write.trim = trims.then_some(Trim::Index(index));
        }
        Step::Trim { part } => {
            let committed = model.entries.iter().rev().find(|entry| entry.index <= model.commit);
            let end = committed.map_or(model.start.base_offset, |entry| entry.meta().end_offset());
            let from = model.start.log_start.0;
            let offset = from + end.0.saturating_sub(from) * part / 99;
            write.trim = Some(Trim::Offset(Offset(offset)));
        }
        Step::Roll => write.roll = true,
        Step::Reset { sizes } => {
            let base_offset = Offset(model.next_offset().0 + 10);
            let prev_index = Index(model.last_index().0 + 10);
            let prev_appended_at_ms = model.entries.last().map_or(0, |entry| entry.appended_at_ms);
            let (prev_term, log_start) = (Term(term), base_offset);
            let start = Start { prev_index, prev_term, prev_appended_at_ms, base_offset, log_start };
            write.reset = Some((start, membership(prev_index.0, &[1, 3])));
            write.commit = prev_index;
            let at_start = Model { start, entries: Vec::new(), ..model.clone() };
            write.entries = at_start.next_entries(term, sizes);
        }
        Step::Idle | Step::Restart { .. } => {}
    }
    write
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut disk = MemDisk::new();
    let mut store: ShardStore<MemDisk> = fresh(&disk);
    let mut model = create_partition(&mut store);
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Idle => {
                store.idle().expect("nothing fails");
            }
            Step::Restart { seed, shards } => {
                drop(store);
                disk = disk.crash(seed.map_or(Crash::Process, |seed| Crash::Machine { seed }));
                let mut opened = open(&disk, small_options(*shards, number as u8));
                let found = found_on(&opened);
                let (replica, entries) = &found[&PARTITION];
                model.matches(replica, entries).map_err(TestCaseError::fail)?;
                // What recovery raised is so from now on.
                model.vote = replica.vote;
                model.commit = model.commit.max(replica.commit);
                model.commit_on_disk = replica.commit;
                let at = usize::from(PARTITION.shard(*shards).0);
                store = opened.swap_remove(at).store;
            }
            step => {
                let write = write_of(step, &model);
                let trims_by_index = matches!(write.trim, Some(Trim::Index(_)));
                persist(&mut store, &mut model, &write);
                if trims_by_index {
                    // Where segments end is the store's business; what may go is the model's.
                    let log_start = store.reader(PARTITION).expect("it is here").log_start();
                    let gone =
                        model.entries.iter().take_while(|entry| entry.meta().end_offset() <= log_start);
                    prop_assert!(
                        gone.last()
                            .is_none_or(|entry| entry.index <= model.trim_index || entry.meta().span == 0)
                    );
                    prop_assert!(log_start >= model.start.log_start);
                    model.start.log_start = log_start;
                }
            }
        }
        let reader = store.reader(PARTITION).expect("it is here");
        let (from, end) = (model.start.log_start, model.next_offset());
        let batches =
            read_batches(&reader, from, end).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(batches, batches_of(&model, from, end));
        prop_assert_eq!(reader.log_start(), from);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_what_was_written_whatever_happened_to_it(steps in proptest::collection::vec(step(), 1..40)) {
        run(&steps)?;
    }
}
