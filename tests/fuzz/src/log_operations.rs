//! Operations on a store, whatever they are and in whatever order: rounds of any parts for three quorums, faults of the
//! disk, a full disk, crashes that keep any part of what was not durable, restarts with other numbers of shards.
//!
//! What is there afterwards is held against the model of the log's own tests, which is compiled in as source.

use crate::input::Input;
use fixture::known::Known;
use fixture::{CONTROLLER, Model, PARTITION, batches_of, membership, read_batches, replica, small_options};
use mq_log::disk::{Crash, Fault};
use mq_log::{MemDisk, PersistError, ShardOpen};
use mq_types::persist::{Create, LostReason, ReplicaWrite, Snapshot, Standing, Start, Trim, Vote};
use mq_types::{Index, Offset, QuorumId, Term};

#[path = "../../../crates/mq-log/tests/fixture/mod.rs"]
mod fixture;

/// Things that happen to one store.
const STEPS_MAX: usize = 60;
/// The first is a machine, with snapshots and without records.
const QUORUMS: [QuorumId; 3] = [CONTROLLER, PARTITION, QuorumId(1025)];
const SHARDS_MAX: usize = 3;
/// Entries of one write, and records of one entry.
const ENTRIES_MAX: usize = 7;
const RECORDS: [u32; 8] = [0, 1, 1, 2, 3, 5, 12, 40];

/// A store, and what is known of it.
struct Run {
    disk: MemDisk,
    shards: Vec<ShardOpen<MemDisk>>,
    known: Known,
    starts: u8,
    /// The number of the newest replica.
    allocation: u32,
    /// The operation at which the disk fails, if it comes to that.
    fails_at: u64,
    is_full: bool,
}

/// Checks everything that holds whatever is done to a store.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let disk = MemDisk::new();
    let shards = mq_log::open(disk.clone(), small_options(1, 0)).expect("an empty disk can be opened");
    let known = Known::default();
    let mut run = Run { disk, shards, known, starts: 0, allocation: 0, fails_at: u64::MAX, is_full: false };
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        run.step(&mut input);
        run.check_readers();
    }
    run.crash(&mut Input::new(&[]));
    run.restart(&mut Input::new(&[]));
    run.check_readers();
}

/// Inputs to begin with: one for each kind of step in a store that holds something, and some long ones.
pub fn seeds() -> Vec<Vec<u8>> {
    // All three are made, then appended to.
    let begin: &[u8] = &[0, 7, 1, 1, 1, 0, 7, 2, 0, 3, 1, 2, 2, 0, 3, 3, 4, 5, 2, 0, 2, 1, 6];
    let mut seeds = vec![Vec::new(), begin.to_vec()];
    for step in 8..16 {
        seeds.push([begin, &[step, 1, 9, 200, 7, 3, 5], begin].concat());
    }
    for bit in 0..12 {
        let flags = (2_u16 | 1 << bit).to_le_bytes();
        let round = [&[0, 2][..], &flags, &[2, 3, 5, 3, 1, 9, 2]].concat();
        seeds.push([begin, &round, &[13, 3, 20, 0], begin, &round].concat());
    }
    let noise = |seed: u32| (0..300_u32).map(move |at| ((at + seed).wrapping_mul(0x9E37_79B9) >> 24) as u8);
    seeds.extend((0..8).map(|seed| noise(seed * 1_000).collect()));
    seeds
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0..=9 => self.round(input),
            10 => self.idle(input),
            11 => self.close(input),
            12 | 13 => {
                self.crash(input);
                self.restart(input);
            }
            14 => {
                self.is_full = !self.is_full;
                self.disk.set_capacity_bytes(if self.is_full { 0 } else { u64::MAX });
            }
            _ => self.plan_fault(input),
        }
    }

    fn plan_fault(&mut self, input: &mut Input<'_>) {
        let fault = *input.one_of(&[Fault::Stop, Fault::Io]);
        let at = self.disk.operations() + u64::from(input.u8());
        self.fails_at = self.fails_at.min(at);
        self.disk.plan_fault(at, fault);
    }

    fn has_failed(&self) -> bool {
        self.disk.operations() > self.fails_at
    }

    /// A round: some of the quorums, each with parts as the input has them.
    fn round(&mut self, input: &mut Input<'_>) {
        let chosen = input.u8();
        let mut writes = Vec::new();
        for (bit, quorum) in QUORUMS.iter().enumerate() {
            if chosen & (1 << bit) == 0 {
                continue;
            }
            match self.known.durable.get(quorum).cloned() {
                None => writes.push(self.create(*quorum, input)),
                Some(model) => writes.push(write(&model, input)),
            }
        }
        let shards = self.shards.len() as u16;
        for at in 0..self.shards.len() {
            let of_shard = |write: &&ReplicaWrite| usize::from(write.quorum.shard(shards).0) == at;
            let writes: Vec<ReplicaWrite> = writes.iter().filter(of_shard).cloned().collect();
            self.known.begin(writes.clone());
            let split = writes.into_iter().flat_map(|write| split(write, chosen & 64 != 0)).collect();
            match self.shards[at].store.persist_round(split) {
                Ok(_) => self.known.returned(),
                Err(PersistError::DiskFull { .. }) if self.is_full => self.known.refused(),
                Err(error) => return self.failed(&error, input),
            }
        }
    }

    /// Makes a replica that no broker has had before.
    fn create(&mut self, quorum: QuorumId, input: &mut Input<'_>) -> ReplicaWrite {
        self.allocation += 1;
        let flags = input.u8();
        let snapshot = Snapshot { index: Start::BOOTSTRAP.prev_index, data: b"empty"[..].into() };
        let create = Create {
            start: Start::BOOTSTRAP,
            membership: membership(1, &[1]),
            opened: flags & 1 != 0,
            snapshot: (quorum == CONTROLLER).then_some(snapshot),
        };
        let model = Model::of(&create, quorum, replica(self.allocation));
        let entries = match flags & 6 {
            6 => model.next_entries(1, &sizes(quorum, input)),
            _ => Vec::new(),
        };
        ReplicaWrite { create: Some(create), entries, commit: Index(1), ..model.write() }
    }

    fn idle(&mut self, input: &mut Input<'_>) {
        for at in 0..self.shards.len() {
            if let Err(error) = self.shards[at].store.idle() {
                return self.failed(&error, input);
            }
        }
    }

    /// A clean stop, and the next start.
    fn close(&mut self, input: &mut Input<'_>) {
        for shard in std::mem::take(&mut self.shards) {
            if let Err(error) = shard.store.close() {
                return self.failed(&error, input);
            }
        }
        self.disk = self.disk.crash(Crash::Process);
        self.restart(input);
    }

    /// The disk has failed, as was planned: the process ends.
    fn failed(&mut self, error: &PersistError, input: &mut Input<'_>) {
        assert!(self.has_failed(), "on a sound disk: {error}");
        for shard in &mut self.shards {
            let is_failed = shard.store.idle().is_err();
            assert!(is_failed || !matches!(error, PersistError::Failed), "it goes on after {error}");
        }
        self.crash(input);
        self.restart(input);
    }

    /// The process is killed, or the machine crashes and keeps what the input says.
    fn crash(&mut self, input: &mut Input<'_>) {
        self.shards.clear();
        let unsynced = self.disk.unsynced();
        let (kind, bits) = (input.u8(), input.u16());
        let newest_from = unsynced.len().saturating_sub(16);
        let is_kept = |at: usize| match (kind & 4 != 0, at.checked_sub(newest_from)) {
            (_, Some(bit)) => bits & (1 << bit) != 0,
            (older, None) => older,
        };
        self.disk = match kind % 4 {
            0 => self.disk.crash_keeping(&[]),
            1 => self.disk.crash(Crash::Process),
            2 => self.disk.crash(Crash::Machine { seed: u64::from(bits) }),
            _ => {
                let kept = unsynced.iter().enumerate().filter(|(at, _)| is_kept(*at));
                self.disk.crash_keeping(kept.map(|(_, change)| change))
            }
        };
        self.fails_at = u64::MAX;
    }

    /// Opens the store, perhaps in several attempts, and holds what is there against what is known.
    fn restart(&mut self, input: &mut Input<'_>) {
        self.is_full = false;
        self.disk.set_capacity_bytes(u64::MAX);
        self.fails_at = u64::MAX;
        self.starts = self.starts.wrapping_add(1);
        let how = input.u8();
        let shards = 1 + usize::from(how >> 4) % SHARDS_MAX;
        if how & 3 == 3 {
            self.plan_fault(input);
        }
        self.shards = match mq_log::open(self.disk.clone(), small_options(shards as u16, self.starts)) {
            Ok(shards) => shards,
            Err(error) => {
                assert!(self.has_failed(), "on a sound disk: {error}");
                self.crash(input);
                return self.restart(input);
            }
        };
        let mut models = self.known.settle(&self.shards).unwrap_or_else(|what| panic!("{what}"));
        for found in self.shards.iter().flat_map(|shard| &shard.recovered) {
            let model = models.get_mut(&found.quorum).expect("it was held against what was found");
            // What recovery raised is so from now on.
            model.vote = found.vote;
            model.commit = model.commit.max(found.commit).min(found.last_index);
            model.commit_on_disk = found.commit;
        }
        self.known = Known { durable: models, ..Known::default() };
    }

    /// What readers are given is what was written.
    fn check_readers(&self) {
        let shards = self.shards.len() as u16;
        for model in self.known.durable.values() {
            let store = &self.shards[usize::from(model.quorum.shard(shards).0)].store;
            let reader = store.reader(model.quorum).expect("it is here");
            let (from, end) = (model.start.log_start, model.next_offset());
            assert_eq!(reader.log_start(), from);
            if from < end {
                let batches = read_batches(&reader, from, end).expect("nothing is damaged");
                assert_eq!(batches, batches_of(model, from, end));
            }
        }
    }
}

/// A write in two parts, which the store makes one of again.
fn split(mut write: ReplicaWrite, is_split: bool) -> Vec<ReplicaWrite> {
    if !is_split || write.entries.len() < 2 || write.create.is_some() || write.remove {
        return vec![write];
    }
    let later = write.entries.split_off(write.entries.len() / 2);
    let next = ReplicaWrite { entries: later, ..ReplicaWrite::new(write.quorum, write.replica) };
    vec![write, next]
}

fn sizes(quorum: QuorumId, input: &mut Input<'_>) -> Vec<u32> {
    let count = 1 + input.below(ENTRIES_MAX);
    let size = |_| if quorum == CONTROLLER { 0 } else { *input.one_of(&RECORDS) };
    (0..count).map(size).collect()
}

/// The parts of a write, a bit each.
mod part {
    pub(super) const VOTE: u16 = 1;
    pub(super) const APPEND: u16 = 1 << 1;
    pub(super) const CUT: u16 = 1 << 2;
    pub(super) const COMMIT: u16 = 1 << 3;
    pub(super) const MEMBERSHIP: u16 = 1 << 4;
    pub(super) const OPEN: u16 = 1 << 5;
    pub(super) const SNAPSHOT: u16 = 1 << 6;
    pub(super) const ROLL: u16 = 1 << 7;
    pub(super) const TRIM: u16 = 1 << 8;
    pub(super) const SIZE: u16 = 1 << 9;
    pub(super) const RESET: u16 = 1 << 10;
    pub(super) const RARE: u16 = 1 << 11;
}

/// A write of any parts that the engine could give for this replica.
fn write(model: &Model, input: &mut Input<'_>) -> ReplicaWrite {
    let flags = input.u16();
    let has = |part: u16| flags & part != 0;
    let mut write = model.write();
    if matches!(model.standing, Standing::Lost(_)) {
        write.remove = has(part::RARE);
        return write;
    }
    let term = model.last_term().max(model.vote.term);
    if has(part::VOTE) {
        write.vote = Some(Vote { term: Term(term.0 + 1), voted_for: has(part::OPEN).then(|| replica(1)) });
    }
    let mut after = model.clone();
    if has(part::RESET) {
        reset(&mut write, model, term, input);
        after.apply(&write);
    }
    let new_term = write.vote.map_or(term, |vote| vote.term).0;
    if has(part::CUT) && !has(part::RESET) && after.last_index() > after.commit {
        cut(&mut write, model, term, input);
    } else if has(part::APPEND | part::CUT) {
        let raised = new_term + u64::from(input.u8().is_multiple_of(4));
        write.entries = after.next_entries(raised, &sizes(model.quorum, input));
    }
    after.apply(&ReplicaWrite { reset: None, ..write.clone() });
    if has(part::COMMIT) {
        let forward = after.commit.0 + u64::from(input.u8() % 16);
        write.commit = Index(forward).min(after.last_index());
    }
    let commit = write.commit.max(after.commit);
    if has(part::MEMBERSHIP) {
        write.membership = Some(membership(commit.0, &[1, 2]));
    }
    write.open = has(part::OPEN);
    if has(part::SNAPSHOT) && after.snapshot.as_ref().is_none_or(|snapshot| snapshot.index < commit) {
        write.snapshot = Some(Snapshot { index: commit, data: format!("as of {commit}").into() });
    }
    write.roll = has(part::ROLL);
    if has(part::TRIM) {
        write.trim = Some(trim(&after, commit, input));
    }
    if has(part::SIZE) {
        write.segment_size_bytes_max = Some(200 + 16 * u64::from(input.u8()));
    }
    if has(part::RARE) {
        match input.u8() % 8 {
            0 => write.standing = Some(Standing::Lost(LostReason::OpenRefused)),
            1 | 2 => write.standing = Some(Standing::Damaged),
            _ => write.remove = input.u8().is_multiple_of(2),
        }
    }
    write
}

/// The log begins anew, somewhere behind what is committed: a start snapshot.
fn reset(write: &mut ReplicaWrite, model: &Model, term: Term, input: &mut Input<'_>) {
    let prev_index = Index(model.commit.0 + 1 + input.below(20) as u64);
    let base_offset = end_of_committed(model, model.commit).plus(u32::from(input.u8() % 20));
    // Records may have been deleted that are still to come.
    let log_start = base_offset.plus(u32::from(input.u8() % 4));
    let log_start = if model.quorum == CONTROLLER { base_offset } else { log_start };
    let start = Start { prev_index, prev_term: term, prev_appended_at_ms: 0, base_offset, log_start };
    write.reset = Some((start, membership(prev_index.0, &[1, 3])));
    write.commit = prev_index;
    if model.quorum == CONTROLLER {
        write.snapshot = Some(Snapshot { index: prev_index, data: format!("from {prev_index}").into() });
    }
}

/// What is not committed gives way to another leader's entries.
fn cut(write: &mut ReplicaWrite, model: &Model, term: Term, input: &mut Input<'_>) {
    let (first, last) = (model.commit.0 + 1, model.last_index().0);
    let from = first + input.below((last + 1 - first) as usize) as u64;
    let before = model.entries.iter().rev().find(|entry| entry.index < Index(from));
    let least = before.map_or(model.start.prev_term, |entry| entry.term);
    // The new leader's entries may be older than those that they replace; its own term is not.
    let new_term = least.0 + input.below((term.0 + 2 - least.0) as usize) as u64;
    let vote = write.vote.map_or(term, |vote| vote.term);
    write.entries = model.entries_from(from, new_term, &sizes(model.quorum, input));
    if vote > model.vote.term {
        write.vote.get_or_insert(Vote { term: vote, voted_for: None });
    }
}

fn trim(model: &Model, commit: Index, input: &mut Input<'_>) -> Trim {
    if model.quorum == CONTROLLER {
        return Trim::Index(Index(commit.0.min(model.start.prev_index.0 + u64::from(input.u8()))));
    }
    let (from, end) = (model.start.log_start.0, end_of_committed(model, commit).0);
    let part = u64::from(input.u8());
    Trim::Offset(Offset(from.min(end) + end.saturating_sub(from) * part / 255))
}

fn end_of_committed(model: &Model, commit: Index) -> Offset {
    let committed = model.entries.iter().rev().find(|entry| entry.index <= commit);
    committed.map_or(model.start.base_offset, |entry| entry.meta().end_offset())
}
