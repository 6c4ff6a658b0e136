//! One scenario with everything that a store does, crashed at every operation of the disk: what comes back is what
//! the returned rounds wrote, perhaps with all or a beginning of the round that was cut short, and nothing else.

mod fixture;

use fixture::*;
use mq_log::disk::{Crash, Fault};
use mq_log::{MemDisk, OpenError, PersistError, ShardOpen};
use mq_types::persist::{Create, RecoveredReplica, ReplicaWrite, Snapshot, Standing, Start, Trim};
use mq_types::{Entry, Index, Offset, QuorumId, Term};
use std::collections::BTreeMap;

type Models = BTreeMap<QuorumId, Model>;

/// What is known when a run ends, by a crash or at its end.
#[derive(Clone, Default)]
struct Known {
    durable: Models,
    /// The writes of the round that has not returned.
    in_flight: Vec<ReplicaWrite>,
}

impl Known {
    /// What this quorum is once the round in flight is durable.
    fn after(&self, write: &ReplicaWrite) -> Option<Model> {
        let mut model = match &write.create {
            Some(create) => Model::of(create, write.quorum, write.replica),
            None => self.durable[&write.quorum].clone(),
        };
        model.apply(write);
        (!write.remove).then_some(model)
    }
}

/// A running scenario: the stores, and what is known.
struct Run {
    disk: MemDisk,
    shards: Vec<ShardOpen<MemDisk>>,
    starts: u8,
    known: Known,
}

/// The disk stopped: in an open, or in a round.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Persist(#[from] PersistError),
}

impl Run {
    fn new(disk: &MemDisk) -> Run {
        Run { disk: disk.clone(), shards: Vec::new(), starts: 0, known: Known::default() }
    }

    fn open(&mut self, shards: u16) -> Result<(), Stopped> {
        self.starts += 1;
        self.shards = mq_log::open(self.disk.clone(), small_options(shards, self.starts))?;
        Ok(())
    }

    fn model(&self, quorum: QuorumId) -> &Model {
        &self.known.durable[&quorum]
    }

    fn round(&mut self, writes: &[ReplicaWrite]) -> Result<(), Stopped> {
        let shards = self.shards.len() as u16;
        for shard in &mut self.shards {
            let of_shard = |write: &ReplicaWrite| write.quorum.shard(shards) == shard.store.shard();
            let writes: Vec<_> = writes.iter().filter(|write| of_shard(write)).cloned().collect();
            self.known.in_flight = writes.clone();
            shard.store.persist_round(writes.clone())?;
            for write in &writes {
                match self.known.after(write) {
                    Some(model) => self.known.durable.insert(write.quorum, model),
                    None => self.known.durable.remove(&write.quorum),
                };
            }
            self.known.in_flight.clear();
        }
        Ok(())
    }

    fn append(&mut self, quorum: QuorumId, term: u64, sizes: &[u32]) -> Result<(), Stopped> {
        let model = self.model(quorum);
        let write = ReplicaWrite { entries: model.next_entries(term, sizes), ..model.write() };
        self.round(&[write])
    }

    fn idle(&mut self) -> Result<(), Stopped> {
        for shard in &mut self.shards {
            shard.store.idle()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stopped> {
        for shard in self.shards.drain(..) {
            shard.store.close()?;
        }
        Ok(())
    }
}

fn create(quorum: QuorumId, number: u32, snapshot: Option<Snapshot>) -> ReplicaWrite {
    let opened = quorum == CONTROLLER;
    let create = Create { start: Start::BOOTSTRAP, membership: membership(1, &[1]), opened, snapshot };
    ReplicaWrite { create: Some(create), commit: Index(1), ..ReplicaWrite::new(quorum, replica(number)) }
}

fn snapshot(index: u64) -> Option<Snapshot> {
    Some(Snapshot { index: Index(index), data: format!("the image at {index}").into() })
}

/// The scenario. Every round, every crash.
fn scenario(run: &mut Run) -> Result<(), Stopped> {
    run.open(1)?;
    run.round(&[create(CONTROLLER, 1, snapshot(1)), create(PARTITION, 2, None)])?;
    grow(run)?;
    run.close()?;
    run.open(2)?;
    cut(run)?;
    trim(run)?;
    run.open(1)?;
    replace(run)
}

fn grow(run: &mut Run) -> Result<(), Stopped> {
    let controller = run.model(CONTROLLER).clone();
    let partition = run.model(PARTITION).clone();
    run.round(&[
        ReplicaWrite {
            vote: Some(vote(2)),
            entries: controller.next_entries(2, &[0, 0]),
            ..controller.write()
        },
        ReplicaWrite {
            vote: Some(vote(2)),
            entries: partition.next_entries(2, &[0, 2, 1]),
            ..partition.write()
        },
    ])?;
    let partition = run.model(PARTITION).clone();
    run.round(&[ReplicaWrite { commit: Index(3), open: true, ..partition.write() }])?;
    // One replica twice in a round, as group commit gives it.
    let mut first = ReplicaWrite { entries: partition.next_entries(2, &[1]), ..partition.write() };
    first.commit = Index(4);
    let both = partition.next_entries(2, &[1, 3]);
    let second = ReplicaWrite { entries: both[1..].to_vec(), commit: Index(4), ..partition.write() };
    run.known.in_flight = vec![ReplicaWrite { entries: both.clone(), commit: Index(4), ..partition.write() }];
    run.shards[0].store.persist_round(vec![first, second])?;
    let merged = run.known.in_flight.remove(0);
    let model = run.known.after(&merged).expect("it is there");
    run.known.durable.insert(PARTITION, model);
    run.append(CONTROLLER, 2, &[0, 0, 0])?;
    run.idle()?;
    run.append(PARTITION, 2, &[1, 1, 1, 1, 1, 1, 1, 1])?;
    run.append(PARTITION, 2, &[4, 4])
}

fn cut(run: &mut Run) -> Result<(), Stopped> {
    // In the active segment, then over a sealed one.
    for (term, above) in [(3, 0), (4, 5)] {
        let model = run.model(PARTITION).clone();
        let from = model.last_index().0 - above;
        let entries = model.entries_from(from, term, &[2, 0, 1]);
        run.round(&[ReplicaWrite { vote: Some(vote(term)), entries, ..model.write() }])?;
    }
    // A vote alone, and entries of a later term without one.
    let model = run.model(PARTITION).clone();
    run.round(&[ReplicaWrite { vote: Some(vote(6)), ..model.write() }])?;
    run.append(PARTITION, 7, &[1, 1])?;
    let model = run.model(PARTITION).clone();
    let commit = model.last_index();
    run.round(&[ReplicaWrite { commit, membership: Some(membership(commit.0, &[1, 2])), ..model.write() }])?;
    let model = run.model(PARTITION).clone();
    run.round(&[ReplicaWrite { roll: true, entries: model.next_entries(7, &[1]), ..model.write() }])
}

fn trim(run: &mut Run) -> Result<(), Stopped> {
    let controller = run.model(CONTROLLER).clone();
    let last = controller.last_index();
    run.round(&[ReplicaWrite {
        commit: last,
        snapshot: snapshot(last.0),
        trim: Some(Trim::Index(last)),
        ..controller.write()
    }])?;
    run.append(CONTROLLER, 2, &[0, 0])?;
    run.append(PARTITION, 7, &[5, 5, 5])?;
    let model = run.model(PARTITION).clone();
    run.round(&[ReplicaWrite { trim: Some(Trim::Offset(Offset(7))), ..model.write() }])?;
    // Everything there is, so the active segment goes too.
    let commit = model.last_index();
    run.round(&[ReplicaWrite { commit, trim: Some(Trim::Offset(model.next_offset())), ..model.write() }])?;
    run.append(PARTITION, 7, &[2])
}

fn replace(run: &mut Run) -> Result<(), Stopped> {
    let model = run.model(PARTITION).clone();
    let start = Start {
        prev_index: Index(100),
        prev_term: Term(8),
        base_offset: Offset(500),
        log_start: Offset(500),
    };
    let at_start = Model { entries: Vec::new(), start, ..model.clone() };
    run.round(&[ReplicaWrite {
        reset: Some((start, membership(100, &[1, 2, 3]))),
        vote: Some(vote(8)),
        entries: at_start.next_entries(8, &[1, 2]),
        commit: Index(100),
        ..model.write()
    }])?;
    run.append(PARTITION, 8, &[1])?;
    run.round(&[create(QuorumId(1025), 3, None)])?;
    run.append(QuorumId(1025), 1, &[1, 1])?;
    let other = run.model(QuorumId(1025)).clone();
    let model = run.model(PARTITION).clone();
    run.round(&[
        ReplicaWrite { remove: true, ..other.write() },
        ReplicaWrite {
            standing: Some(Standing::Damaged),
            entries: model.next_entries(9, &[1]),
            ..model.write()
        },
    ])?;
    run.append(PARTITION, 9, &[1])
}

/// Whether what was found is what may be there.
fn check(known: &Known, shards: &[ShardOpen<MemDisk>]) -> Result<(), String> {
    let found = found_on(shards);
    for quorum in known.durable.keys().chain(found.keys()) {
        let before = known.durable.get(quorum);
        let write = known.in_flight.iter().find(|write| write.quorum == *quorum);
        let mut possible: Vec<Option<Model>> = vec![before.cloned()];
        if let Some(write) = write {
            possible.push(known.after(write));
            possible.extend(before.iter().flat_map(|before| partly(before, write)).map(Some));
        }
        let reasons: Vec<String> = possible
            .iter()
            .filter_map(|model| match (model, found.get(quorum)) {
                (None, None) => None,
                (Some(model), Some((replica, entries))) => model.matches(replica, entries).err(),
                _ => Some("there or not there".to_owned()),
            })
            .collect();
        if reasons.len() == possible.len() {
            return Err(format!("quorum {quorum}: {reasons:#?}"));
        }
    }
    Ok(())
}

/// A write that only appends may have left a beginning of its entries.
fn partly(before: &Model, write: &ReplicaWrite) -> Vec<Model> {
    let appends = write.entries.first().is_some_and(|entry| entry.index == before.last_index().next());
    if write.reset.is_some() || !appends {
        return Vec::new();
    }
    let beginning = |count: usize| {
        let mut model = before.clone();
        let entries: Vec<Entry> = write.entries[..count].to_vec();
        let on_disk = before.commit_on_disk;
        model.apply(&ReplicaWrite { entries, commit: write.commit, ..before.write() });
        // The frame that says so may be among those that are missing.
        model.commit_on_disk = on_disk;
        model
    };
    (0..=write.entries.len()).map(beginning).collect()
}

/// Opens what a crash left, twice; the second time nothing may have changed.
fn open_and_check(disk: &MemDisk, known: &Known, context: &str) -> u64 {
    let before = disk.operations();
    let options = || small_options(1 + (before % 2) as u16, 200);
    let shards = mq_log::open(disk.clone(), options()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let operations = disk.operations() - before;
    check(known, &shards).unwrap_or_else(|error| panic!("{context}: {error}"));
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

/// Runs the scenario until it is stopped at this operation; gives back the disk and what is known.
fn run_until(operation: u64) -> (MemDisk, Known) {
    let disk = MemDisk::new();
    disk.plan_fault(operation, Fault::Stop);
    let mut run = Run::new(&disk);
    scenario(&mut run).expect_err("it is stopped before its end");
    (disk, run.known)
}

fn crashes(operation: u64) -> impl Iterator<Item = Crash> {
    let machine = (0..3).map(move |seed| Crash::Machine { seed: operation * 3 + seed });
    std::iter::once(Crash::Process).chain(machine)
}

/// How many operations the whole scenario takes.
fn operations() -> u64 {
    let disk = MemDisk::new();
    let mut run = Run::new(&disk);
    scenario(&mut run).expect("nothing stops it");
    let operations = disk.operations();
    run.known.in_flight.clear();
    open_and_check(&crash_process(&disk), &run.known, "at the end");
    operations
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_returned_and_invents_nothing() {
    let operations = operations();
    assert!(operations > 200, "the scenario has only {operations} operations");
    for operation in 0..operations {
        for crash in crashes(operation) {
            let (disk, known) = run_until(operation);
            let disk = disk.crash(crash);
            open_and_check(&disk, &known, &format!("operation {operation}, {crash:?}"));
        }
    }
}

#[test]
fn a_crash_at_any_operation_of_recovery_changes_nothing() {
    for operation in (0..operations()).step_by(7) {
        let (disk, known) = run_until(operation);
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
