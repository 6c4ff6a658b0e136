//! A replica's disk in memory: what survives a crash, and what recovery finds on it.

use crate::world::QUORUM;
use mq_raft::{Kind, Persist};
use mq_types::persist::{Membership, RecoveredEntry, RecoveredReplica, Snapshot, Standing, Start, Vote};
use mq_types::{Entry, EntryKind, Index, Offset, ReplicaId, TermRuns};

/// What survives a crash.
#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) vote: Vote,
    pub(crate) start: Start,
    pub(crate) log: Vec<Entry>,
    pub(crate) commit: Index,
    pub(crate) membership: Membership,
    pub(crate) opened: bool,
    pub(crate) standing: Standing,
    /// A machine's snapshot.
    pub(crate) snapshot: Option<Snapshot>,
}

impl Disk {
    /// What a founding replica begins with.
    pub(crate) fn founding(membership: Membership) -> Disk {
        Disk {
            vote: Vote::default(),
            start: Start::BOOTSTRAP,
            log: Vec::new(),
            commit: Start::BOOTSTRAP.prev_index,
            membership,
            opened: true,
            standing: Standing::Sound,
            snapshot: Some(image(Start::BOOTSTRAP.prev_index)),
        }
    }

    /// What a replica begins with that is added later.
    pub(crate) fn added() -> Disk {
        let (start, commit) = (Start::EMPTY, Start::EMPTY.prev_index);
        Disk { start, commit, snapshot: None, ..Disk::founding(Membership::default()) }
    }

    pub(crate) fn last_index(&self) -> Index {
        self.log.last().map_or(self.start.prev_index, |entry| entry.index)
    }

    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        self.log.get(index.0.checked_sub(self.start.prev_index.0 + 1)? as usize)
    }

    pub(crate) fn write(&mut self, persist: &Persist, commit: Index) {
        if let Some(vote) = persist.vote {
            assert!(vote.term >= self.vote.term, "the term on disk falls");
            let changed_mind = vote.term == self.vote.term && self.vote.voted_for.is_some();
            assert!(!changed_mind || vote == self.vote, "two votes in term {}", vote.term);
            self.vote = vote;
        }
        if let Some(restored) = &persist.restore {
            let index = restored.start.prev_index;
            assert!(index >= self.commit, "a start snapshot of {index} takes back what is committed");
            assert!(persist.entries.is_empty(), "nothing else is written with a start snapshot");
            self.start = restored.start;
            self.log.clear();
            self.commit = index;
            self.membership = restored.membership.clone();
            self.snapshot = restored.machine.clone().map(|data| Snapshot { index, data });
            let is_right = self.snapshot.as_ref().is_none_or(|snapshot| *snapshot == image(index));
            assert!(is_right, "the image stands for another entry than {index}");
        }
        for entry in &persist.entries {
            assert!(entry.index > self.commit, "committed entry {} is overwritten", entry.index);
            self.log.truncate((entry.index.0 - self.start.prev_index.0 - 1) as usize);
            assert_eq!(entry.index, self.last_index().next(), "a write leaves a gap");
            self.log.push(entry.clone());
        }
        assert!(commit <= self.last_index(), "a commit index is written before its entry");
        assert!(commit >= self.commit, "the commit index on disk falls");
        self.commit = commit;
    }

    /// The log's beginning goes up to this entry, which is committed.
    pub(crate) fn trim(&mut self, index: Index) {
        let meta = self.entry(index).expect("an entry that is there").meta();
        let snapshot = self.snapshot.as_ref().map_or(Index(0), |snapshot| snapshot.index);
        assert!(index <= self.commit.max(snapshot), "entry {index} may be uncommitted");
        self.start = Start {
            prev_index: index,
            prev_term: meta.term,
            prev_appended_at_ms: meta.appended_at_ms,
            base_offset: meta.end_offset(),
            log_start: meta.end_offset(),
        };
        self.log.retain(|entry| entry.index > index);
    }

    /// The first change of the members, above the recorded one, that is in the log or in what will be written to it.
    pub(crate) fn first_unrecorded<'a>(&'a self, writes: impl Iterator<Item = &'a Persist>) -> Option<Index> {
        let conf_index = self.membership.conf_index;
        let above = |entry: &&Entry| entry.index > conf_index && entry.body.kind() == EntryKind::Membership;
        let entries = self.log.iter().chain(writes.flat_map(|persist| &persist.entries));
        entries.filter(above).map(|entry| entry.index).min()
    }

    pub(crate) fn recover(&self, replica: ReplicaId, kind: Kind) -> RecoveredReplica {
        let mut term_runs =
            TermRuns::starting_at(self.start.prev_index, self.start.prev_term, self.start.base_offset);
        for entry in &self.log {
            term_runs.append(entry.index, entry.term, entry.base_offset);
        }
        // What was recorded of the members was committed; a start snapshot may tell of members beyond the log.
        let mut commit = self.commit.max(self.membership.conf_index.min(self.last_index()));
        let snapshot = self.snapshot.clone().filter(|_| kind == Kind::Machine);
        let mut applied = commit;
        if let Some(snapshot) = &snapshot {
            commit = commit.max(snapshot.index);
            applied = snapshot.index;
        }
        let after_applied = self.log.iter().filter(|entry| entry.index > applied);
        let found = |entry: &Entry| RecoveredEntry {
            meta: entry.meta(),
            body: (entry.body.kind() != EntryKind::Data).then(|| entry.body.clone()),
        };
        let next_offset = self.log.last().map_or(self.start.base_offset, |entry| entry.meta().end_offset());
        let last_appended_at_ms =
            self.log.last().map_or(self.start.prev_appended_at_ms, |entry| entry.appended_at_ms);
        RecoveredReplica {
            quorum: QUORUM,
            replica,
            vote: self.vote,
            opened: self.opened,
            standing: self.standing,
            membership: self.membership.clone(),
            start: self.start,
            term_runs,
            last_index: self.last_index(),
            next_offset,
            last_appended_at_ms,
            commit,
            high_watermark: Offset(0),
            snapshot,
            tail: after_applied.map(found).collect(),
            segments: Vec::new(),
        }
    }
}

/// The image of this world's machine: the index as of which it stands.
pub(crate) fn image(index: Index) -> Snapshot {
    Snapshot { index, data: index.to_string().into() }
}
