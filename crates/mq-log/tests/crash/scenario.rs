//! One scenario with everything that a store does.

use crate::fixture::known::Known;
use crate::fixture::*;
use mq_log::disk::Fault;
use mq_log::{MemDisk, OpenError, Options, PersistError, ShardOpen};
use mq_types::persist::{Create, ReplicaWrite, Snapshot, Standing, Start, Trim};
use mq_types::{Index, Offset, QuorumId, Term};

/// How many shards the store has in the three parts of a scenario.
pub(crate) type Shards = [u16; 3];

/// A running scenario: the stores, and what is known.
struct Run {
    disk: MemDisk,
    shards: Vec<ShardOpen<MemDisk>>,
    starts: u8,
    known: Known,
}

/// The disk stopped: in an open, or in a round.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
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
        // So small that the state file is written anew now and then.
        let options = Options { state_log_size_bytes_max: 400, ..small_options(shards, self.starts) };
        self.shards = mq_log::open(self.disk.clone(), options)?;
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
            self.known.begin(writes.clone());
            shard.store.persist_round(writes)?;
            self.known.returned();
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
fn scenario(run: &mut Run, shards: Shards) -> Result<(), Stopped> {
    run.open(shards[0])?;
    run.round(&[create(CONTROLLER, 1, snapshot(1)), create(PARTITION, 2, None)])?;
    grow(run)?;
    run.close()?;
    run.open(shards[1])?;
    cut(run)?;
    trim(run)?;
    run.open(shards[2])?;
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
    run.known.begin(vec![ReplicaWrite { entries: both, commit: Index(4), ..partition.write() }]);
    run.shards[0].store.persist_round(vec![first, second])?;
    run.known.returned();
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
    // A snapshot alone, and records alone.
    let controller = run.model(CONTROLLER).clone();
    let commit = controller.last_index().previous();
    run.round(&[ReplicaWrite { commit, snapshot: snapshot(commit.0), ..controller.write() }])?;
    for term in 10..14 {
        let votes = [CONTROLLER, PARTITION].map(|quorum| {
            let model = run.model(quorum);
            ReplicaWrite { vote: Some(vote(term)), ..model.write() }
        });
        run.round(&votes)?;
    }
    let model = run.model(PARTITION).clone();
    let commit = model.last_index();
    run.round(&[ReplicaWrite { commit, membership: Some(membership(commit.0, &[1, 2])), ..model.write() }])?;
    let model = run.model(PARTITION).clone();
    run.round(&[ReplicaWrite { roll: true, entries: model.next_entries(14, &[1]), ..model.write() }])
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
    run.append(CONTROLLER, 14, &[0, 0])?;
    run.append(PARTITION, 14, &[5, 5, 5])?;
    let model = run.model(PARTITION).clone();
    run.round(&[ReplicaWrite { trim: Some(Trim::Offset(Offset(7))), ..model.write() }])?;
    // Everything there is, so the active segment goes too.
    let commit = model.last_index();
    run.round(&[ReplicaWrite { commit, trim: Some(Trim::Offset(model.next_offset())), ..model.write() }])?;
    run.append(PARTITION, 14, &[2])
}

fn replace(run: &mut Run) -> Result<(), Stopped> {
    let model = run.model(PARTITION).clone();
    let start = Start {
        prev_index: Index(100),
        prev_term: Term(15),
        prev_appended_at_ms: 0,
        base_offset: Offset(500),
        log_start: Offset(500),
    };
    let at_start = Model { entries: Vec::new(), start, ..model.clone() };
    run.round(&[ReplicaWrite {
        reset: Some((start, membership(100, &[1, 2, 3]))),
        vote: Some(vote(15)),
        entries: at_start.next_entries(15, &[1, 2]),
        commit: Index(100),
        ..model.write()
    }])?;
    run.append(PARTITION, 15, &[1])?;
    run.round(&[create(QuorumId(1025), 3, None)])?;
    run.append(QuorumId(1025), 1, &[1, 1])?;
    let other = run.model(QuorumId(1025)).clone();
    let model = run.model(PARTITION).clone();
    run.round(&[
        ReplicaWrite { remove: true, ..other.write() },
        ReplicaWrite {
            standing: Some(Standing::Damaged),
            entries: model.next_entries(16, &[1]),
            ..model.write()
        },
    ])?;
    run.append(PARTITION, 16, &[1])
}

/// Runs the scenario until it is stopped at this operation; gives back the disk and what is known.
pub(crate) fn run_until(operation: u64, shards: Shards) -> (MemDisk, Known) {
    let disk = MemDisk::new();
    disk.plan_fault(operation, Fault::Stop);
    let mut run = Run::new(&disk);
    scenario(&mut run, shards).expect_err("it is stopped before its end");
    (disk, run.known)
}

/// Runs all of the scenario.
pub(crate) fn run_whole(shards: Shards) -> (MemDisk, Known) {
    let disk = MemDisk::new();
    let mut run = Run::new(&disk);
    scenario(&mut run, shards).expect("nothing stops it");
    (disk, run.known)
}
