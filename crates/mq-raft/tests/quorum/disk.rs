//! A replica's disk in memory: what survives a crash, and what recovery finds on it.

use crate::world::QUORUM;
use mq_raft::Persist;
use mq_types::persist::{Membership, RecoveredEntry, RecoveredReplica, Standing, Start, Vote};
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
}

impl Disk {
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

    pub(crate) fn recover(&self, replica: ReplicaId) -> RecoveredReplica {
        let mut term_runs =
            TermRuns::starting_at(self.start.prev_index, self.start.prev_term, self.start.base_offset);
        for entry in &self.log {
            term_runs.append(entry.index, entry.term, entry.base_offset);
        }
        let after_commit = self.log.iter().filter(|entry| entry.index > self.commit);
        let found = |entry: &Entry| RecoveredEntry {
            meta: entry.meta(),
            body: (entry.body.kind() != EntryKind::Data).then(|| entry.body.clone()),
        };
        let next_offset = self.log.last().map_or(self.start.base_offset, |entry| entry.meta().end_offset());
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
            last_appended_at_ms: self.log.last().map_or(0, |entry| entry.appended_at_ms),
            commit: self.commit,
            high_watermark: Offset(0),
            snapshot: None,
            tail: after_commit.map(found).collect(),
            segments: Vec::new(),
        }
    }
}
