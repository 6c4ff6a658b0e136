//! The log as Raft sees it: terms of all entries, and the recent entries themselves, in memory.
//!
//! It answers the library's `Storage` questions without a disk. Everything that was handed out for persisting is in
//! it at once, durable or not; what is durable is `Member`'s business.
//!
//! ```text
//!   start.prev_index      base            applied             last_index
//!        |  on disk only   |   tail: kept for peers   |  tail: must be kept  |
//!        +-----------------+--------------------------+----------------------+
//! ```

use crate::convert::{self, Tip};
use crate::options::Kind;
use crate::reads::{ReadFailed, ReadId, ReadRequest, Reads};
use bytes::Bytes;
use mq_types::persist::{Membership, RecoveredReplica, Snapshot, Start, StartSnapshot, Vote};
use mq_types::{Body, Entry, EntryKind, EntryMeta, Index, Term, TermRuns};
use raft::eraftpb::{self, ConfState, HardState};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};
use std::cell::RefCell;
use std::collections::VecDeque;

/// What a retained entry costs besides its payload, in bytes, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// An entry in memory.
struct Slot {
    meta: EntryMeta,
    /// `None`: data that recovery found; its bytes are in the log only.
    body: Option<Body>,
}

impl Slot {
    fn size_bytes(&self) -> usize {
        ENTRY_OVERHEAD_BYTES + self.body.as_ref().map_or(0, Body::len_bytes)
    }

    fn entry(&self) -> Option<Entry> {
        let EntryMeta { index, term, base_offset, appended_at_ms, .. } = self.meta;
        Some(Entry { index, term, base_offset, appended_at_ms, body: self.body.clone()? })
    }

    /// What the library needs to know of a committed entry: its payload only if it changes the members. (An empty
    /// membership entry would mean "leave the joint configuration".) A change up to `conf_index` has taken effect
    /// already: it is as good as nothing, and keeps nobody from campaigning.
    fn stripped(&self, conf_index: Index) -> eraftpb::Entry {
        let mut stripped = eraftpb::Entry {
            entry_type: convert::entry_type(self.meta.kind),
            term: self.meta.term.0,
            index: self.meta.index.0,
            ..Default::default()
        };
        if self.meta.kind == EntryKind::Membership && self.meta.index <= conf_index {
            stripped.set_entry_type(convert::entry_type(EntryKind::NoOp));
        } else if self.meta.kind == EntryKind::Membership {
            let Some(Body::Membership(change)) = &self.body else {
                panic!("membership entry {} is in memory without its change", self.meta.index);
            };
            stripped.data = change.clone();
        }
        stripped
    }
}

/// What a machine's peers are given whose entries are trimmed.
struct MachineSnapshot {
    /// Where their logs begin then.
    start: Start,
    image: Bytes,
}

/// The log as Raft sees it.
pub(crate) struct Shadow {
    initial: (HardState, ConfState),
    kind: Kind,
    start: Start,
    /// The members as of the last applied change.
    membership: Membership,
    /// A machine's newest durable snapshot. Entries after it stay in memory: one of them is where the next one ends.
    machine: Option<MachineSnapshot>,
    term_runs: TermRuns,
    last_index: Index,
    /// What the tail's first entry goes on from.
    base: Tip,
    /// The entries up to `last_index`, without a gap; all that are not applied among them.
    tail: VecDeque<Slot>,
    tail_bytes: usize,
    retained_bytes_max: usize,
    applied: Index,
    /// Grows with every cut and with every new beginning: what was read before it may have been replaced.
    generation: u64,
    reads: RefCell<Reads>,
}

impl Shadow {
    /// The log of a recovered replica whose state machine stands at `applied`.
    pub(crate) fn open(
        recovered: &RecoveredReplica,
        kind: Kind,
        vote: Vote,
        commit: Index,
        applied: Index,
    ) -> Shadow {
        let whole =
            Tip { next_offset: recovered.next_offset, last_appended_at_ms: recovered.last_appended_at_ms };
        let base = match recovered.tail.first() {
            None => whole,
            Some(first) if applied == recovered.start.prev_index => {
                Tip { next_offset: first.meta.base_offset, ..Tip::before(&recovered.start) }
            }
            Some(first) => {
                // Nobody knows when the entry before was appended: no later than this one, which is sure to stay.
                let is_certain = first.meta.index <= commit;
                let last_appended_at_ms = if is_certain { first.meta.appended_at_ms } else { 0 };
                Tip { next_offset: first.meta.base_offset, last_appended_at_ms }
            }
        };
        let hard_state = HardState {
            term: vote.term.0,
            vote: vote.voted_for.map_or(raft::INVALID_ID, |voted_for| voted_for.0),
            commit: commit.0,
            ..Default::default()
        };
        let mut shadow = Shadow {
            initial: (hard_state, convert::membership_to_raft(&recovered.membership)),
            kind,
            start: recovered.start,
            membership: recovered.membership.clone(),
            machine: None,
            term_runs: recovered.term_runs.clone(),
            last_index: recovered.last_index,
            base,
            tail: VecDeque::with_capacity(recovered.tail.len()),
            tail_bytes: 0,
            retained_bytes_max: 0,
            applied,
            generation: 0,
            reads: RefCell::default(),
        };
        let mut expected = applied.next();
        for found in &recovered.tail {
            assert_eq!(found.meta.index, expected, "the recovered tail has a gap");
            assert_eq!(Some(found.meta.term), shadow.term(found.meta.index), "the recovered terms disagree");
            expected = expected.next();
            shadow.push(Slot { meta: found.meta, body: found.body.clone() });
        }
        let last_index = recovered.last_index;
        assert_eq!(
            expected,
            last_index.next(),
            "the recovered tail ends before the log's last entry {last_index}"
        );
        assert_eq!(shadow.tip(), whole, "the recovered tail does not end where the log does");
        if let (Kind::Machine, Some(snapshot)) = (kind, &recovered.snapshot) {
            shadow.machine_snapshot_stored(snapshot.clone());
        }
        shadow
    }

    /// The members as of the last applied change.
    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    /// A change of the members is applied.
    pub(crate) fn set_membership(&mut self, membership: Membership) {
        let (before, after) = (self.membership.conf_index, membership.conf_index);
        assert!(after > before, "the members of entry {after} come after those of entry {before}");
        self.membership = membership;
    }

    /// Where the log begins.
    pub(crate) fn start(&self) -> Start {
        self.start
    }

    /// The last entry that was handed out to persist.
    pub(crate) fn last_index(&self) -> Index {
        self.last_index
    }

    /// What the next entry goes on from.
    pub(crate) fn tip(&self) -> Tip {
        self.tail.back().map_or(self.base, |slot| Tip::after(&slot.meta))
    }

    /// What goes on after this entry, which is in memory or the one before those that are.
    pub(crate) fn tip_after(&self, index: Index) -> Tip {
        match self.slot(index) {
            Some(slot) => Tip::after(&slot.meta),
            None => {
                let first = self.tail.front().map_or(self.last_index.next(), |slot| slot.meta.index);
                assert_eq!(index.next(), first, "entry {index} is not in memory");
                self.base
            }
        }
    }

    /// The runs of terms from the entry before the first one to the last one.
    pub(crate) fn term_runs(&self) -> &TermRuns {
        &self.term_runs
    }

    /// The term of the entry at this index; `None` outside the log.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        let inside = index >= self.start.prev_index && index <= self.last_index;
        inside.then(|| self.term_runs.term(index).expect("the runs begin where the log does"))
    }

    /// An entry in memory, without its payload if that is not.
    pub(crate) fn in_memory(&self, index: Index) -> Option<(EntryMeta, Option<&Body>)> {
        self.slot(index).map(|slot| (slot.meta, slot.body.as_ref()))
    }

    /// The entry at this index and of this term, if it is in memory with its payload.
    pub(crate) fn entry(&self, index: Index, term: Term) -> Option<Entry> {
        self.slot(index).filter(|slot| slot.meta.term == term)?.entry()
    }

    /// Appends an entry, cutting the log before it first if it is not the next one.
    pub(crate) fn append(&mut self, entry: &Entry) {
        if entry.index <= self.last_index {
            self.cut(entry.index);
        }
        let (index, tip) = (entry.index, self.tip());
        assert_eq!(index, self.last_index.next(), "entry {index} leaves a gap after {}", self.last_index);
        assert_eq!(entry.base_offset, tip.next_offset, "entry {index} does not go on at the next offset");
        assert!(
            entry.appended_at_ms >= tip.last_appended_at_ms,
            "entry {index} was appended at {} ms, before the one before it at {} ms",
            entry.appended_at_ms,
            tip.last_appended_at_ms
        );
        self.term_runs.append(index, entry.term, entry.base_offset);
        self.last_index = index;
        self.push(Slot { meta: entry.meta(), body: Some(entry.body.clone()) });
    }

    /// Forgets everything from `index` on.
    fn cut(&mut self, index: Index) {
        assert!(
            index > self.applied,
            "a cut at {index} would take back entry {}, which is applied",
            self.applied
        );
        while let Some(slot) = self.tail.pop_back_if(|slot| slot.meta.index >= index) {
            self.tail_bytes -= slot.size_bytes();
        }
        self.term_runs.cut(index);
        self.last_index = index.previous();
        self.generation += 1;
    }

    /// Everything up to `index` is applied: it need not be kept for that any more.
    pub(crate) fn applied(&mut self, index: Index) {
        assert!(index >= self.applied, "applied falls from {} to {index}", self.applied);
        assert!(index <= self.last_index, "applied {index} is beyond the last entry {}", self.last_index);
        self.applied = index;
        self.evict();
    }

    /// Up to where everything is applied.
    pub(crate) fn applied_index(&self) -> Index {
        self.applied
    }

    /// How much may be kept for peers, in bytes.
    pub(crate) fn set_retained_bytes_max(&mut self, retained_bytes_max: usize) {
        self.retained_bytes_max = retained_bytes_max;
        self.evict();
    }

    /// The log begins later now.
    pub(crate) fn compacted(&mut self, start: Start) {
        let prev_index = start.prev_index;
        assert!(prev_index >= self.start.prev_index, "the log's start falls to {prev_index}");
        assert!(
            prev_index <= self.applied,
            "trimmed to {prev_index}, but applied only up to {}",
            self.applied
        );
        assert_eq!(self.term(prev_index), Some(start.prev_term), "trimmed to {prev_index} of another term");
        self.term_runs.trim(prev_index);
        self.start = start;
        self.evict();
    }

    /// The log is replaced by an empty one.
    pub(crate) fn restore(&mut self, snapshot: &StartSnapshot) {
        let start = snapshot.start;
        self.start = start;
        self.membership = snapshot.membership.clone();
        self.machine = snapshot.machine.clone().map(|image| MachineSnapshot { start, image });
        self.term_runs = TermRuns::starting_at(start.prev_index, start.prev_term, start.base_offset);
        self.last_index = start.prev_index;
        self.base = Tip::before(&start);
        self.tail.clear();
        self.tail_bytes = 0;
        self.applied = start.prev_index;
        self.generation += 1;
    }

    /// A machine's snapshot is durable. One that is older than the newest is of no use.
    pub(crate) fn machine_snapshot_stored(&mut self, snapshot: Snapshot) {
        let index = snapshot.index;
        assert_eq!(self.kind, Kind::Machine, "a partition is not a machine; it has no snapshot of {index}");
        let newest = self.machine.as_ref().map_or(self.start.prev_index, |machine| machine.start.prev_index);
        if index < newest {
            return;
        }
        assert!(index <= self.applied, "a snapshot of {index}, but applied only up to {}", self.applied);
        let start = match self.machine.take() {
            Some(same) if same.start.prev_index == index => same.start,
            _ => self.start_after(index),
        };
        self.machine = Some(MachineSnapshot { start, image: snapshot.data });
        self.evict();
    }

    /// Where a log begins that lacks everything up to the applied entry at `index`.
    fn start_after(&self, index: Index) -> Start {
        if index == self.start.prev_index {
            return Start { log_start: self.start.base_offset, ..self.start };
        }
        let tip = match self.slot(index) {
            Some(slot) => Tip::after(&slot.meta),
            None => {
                let first = self.tail.front().map_or(self.last_index.next(), |slot| slot.meta.index);
                assert_eq!(index.next(), first, "a machine's entries after its last snapshot are in memory");
                self.base
            }
        };
        Start {
            prev_index: index,
            prev_term: self.term(index).expect("a snapshot stands for what is, or was, in the log"),
            prev_appended_at_ms: tip.last_appended_at_ms,
            base_offset: tip.next_offset,
            log_start: tip.next_offset,
        }
    }

    /// What a peer is given whose entries are trimmed; `None`: a machine has no snapshot that would do.
    pub(crate) fn start_snapshot(&self) -> Option<StartSnapshot> {
        let (start, machine) = match self.kind {
            Kind::Partition => (self.start, None),
            Kind::Machine => {
                let machine = self.machine.as_ref()?;
                (machine.start, Some(machine.image.clone()))
            }
        };
        let joins = start.prev_index >= self.start.prev_index;
        joins.then(|| StartSnapshot { start, membership: self.membership.clone(), machine })
    }

    fn push(&mut self, slot: Slot) {
        self.tail_bytes += slot.size_bytes();
        self.tail.push_back(slot);
        self.evict();
    }

    fn evict(&mut self) {
        let needed_after = match &self.machine {
            Some(machine) => machine.start.prev_index.min(self.applied),
            None => self.applied,
        };
        while let Some(first) = self.tail.front() {
            let too_much = self.tail_bytes > self.retained_bytes_max || first.body.is_none();
            let trimmed = first.meta.index <= self.start.prev_index;
            if first.meta.index > needed_after || !(too_much || trimmed) {
                return;
            }
            self.base = Tip::after(&first.meta);
            self.tail_bytes -= first.size_bytes();
            self.tail.pop_front();
        }
    }

    fn slot(&self, index: Index) -> Option<&Slot> {
        let first = self.tail.front()?.meta.index;
        self.tail.get(usize::try_from(index.0.checked_sub(first.0)?).ok()?)
    }

    /// Takes the reads that the owner has not been told of yet.
    pub(crate) fn take_reads(&mut self) -> Vec<ReadRequest> {
        self.reads.get_mut().take_wanted()
    }

    /// Whether there are any.
    pub(crate) fn has_reads(&self) -> bool {
        self.reads.borrow().has_wanted()
    }

    /// Takes an answer; returns the library's attempts that wait for it. After them: [`Shadow::forget_fetched`].
    pub(crate) fn entries_read(
        &mut self,
        id: ReadId,
        result: Result<Vec<Entry>, ReadFailed>,
    ) -> Vec<GetEntriesContext> {
        self.reads.get_mut().arrived(id, result, self.generation)
    }

    /// Lets go of what was read.
    pub(crate) fn forget_fetched(&mut self) {
        self.reads.get_mut().forget_fetched();
    }

    /// The entries from `low` on that are in memory with their payloads; at most up to `high`.
    fn remembered(&self, low: u64, high: u64, bytes_max: u64) -> Vec<eraftpb::Entry> {
        let entries = (low..high).map_while(|index| self.slot(Index(index))?.entry());
        limited(entries.map(|entry| convert::entry_to_raft(&entry)), bytes_max)
    }

    /// The end of the gap that begins at `low`: where memory goes on, or `high`.
    fn end_of_gap(&self, low: u64, high: u64) -> u64 {
        let known = self.tail.iter().find(|slot| slot.meta.index.0 > low && slot.body.is_some());
        known.map_or(high, |slot| slot.meta.index.0.min(high))
    }
}

/// As many entries as fit, and at least one.
fn limited(entries: impl Iterator<Item = eraftpb::Entry>, bytes_max: u64) -> Vec<eraftpb::Entry> {
    let mut taken = Vec::new();
    let mut bytes = 0u64;
    for entry in entries {
        bytes = bytes.saturating_add((entry.data.len() + entry.context.len()) as u64);
        if bytes > bytes_max && !taken.is_empty() {
            break;
        }
        taken.push(entry);
    }
    taken
}

impl Storage for Shadow {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.initial.0.clone(), self.initial.1.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        assert!(
            low < high && high <= self.last_index.0 + 1,
            "entries {low} to {high} end at {}",
            self.last_index
        );
        if low <= self.start.prev_index.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let bytes_max = max_size.into().unwrap_or(raft::NO_LIMIT);
        if !context.can_async() {
            let stripped = (low..high).map(|index| {
                let slot = self.slot(Index(index));
                slot.unwrap_or_else(|| panic!("entry {index} is not applied, yet not in memory"))
                    .stripped(self.membership.conf_index)
            });
            return Ok(stripped.collect());
        }
        let remembered = self.remembered(low, high, bytes_max);
        if !remembered.is_empty() {
            return Ok(remembered);
        }
        let mut reads = self.reads.borrow_mut();
        let fetched = limited(reads.fetched(low, high).iter().cloned(), bytes_max);
        if !fetched.is_empty() {
            return Ok(fetched);
        }
        reads.want(Index(low), Index(self.end_of_gap(low, high)), bytes_max, self.generation, context);
        Err(Error::Store(StorageError::LogTemporarilyUnavailable))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let missing =
            if index < self.start.prev_index.0 { StorageError::Compacted } else { StorageError::Unavailable };
        self.term(Index(index)).map(|term| term.0).ok_or(Error::Store(missing))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.start.prev_index.next().0)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last_index.0)
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<eraftpb::Snapshot> {
        let offered = self.start_snapshot();
        let offered = offered.ok_or(Error::Store(StorageError::SnapshotTemporarilyUnavailable))?;
        Ok(convert::snapshot_to_raft(&offered))
    }
}
