//! How a log is replaced by a start snapshot.
//!
//! The library wants to hear nothing between accepting a snapshot and having it applied, so the member is deaf from
//! the message that brings it until the write that carries it is durable. What it misses is sent again.

use super::Member;
use mq_types::persist::StartSnapshot;
use mq_types::{Index, Message};
use raft::Ready;

/// A start snapshot that the library has accepted.
pub(super) struct Restoring {
    snapshot: StartSnapshot,
    /// The write that carries it, once it was handed out.
    number: Option<u64>,
}

impl Member {
    /// Whether the log is being replaced by a start snapshot: until that is durable, the member heeds nothing.
    pub fn is_restoring(&self) -> bool {
        self.restoring.is_some()
    }

    /// Whether a start snapshot would replace the log at an awkward moment: with a write in flight, or a change of
    /// the members that waits for its record, it would not be clear what is on disk. It is sent again.
    pub(super) fn must_not_restore(&self, message: &Message) -> bool {
        let log = &self.node.raft.raft_log;
        let is_busy =
            !self.flights.is_empty() || !log.unstable_entries().is_empty() || self.changing.is_some();
        is_busy && message.start.as_deref().is_some_and(|offered| self.would_replace(offered))
    }

    /// Whether the library would accept this snapshot in place of the log.
    pub(super) fn would_replace(&self, offered: &StartSnapshot) -> bool {
        let (index, term) = (offered.start.prev_index, offered.start.prev_term);
        let log = &self.node.raft.raft_log;
        index.0 >= log.committed && !log.match_term(index.0, term.0)
    }

    /// Notes that the library has accepted this snapshot, if it has.
    pub(super) fn note_restore(&mut self, offered: StartSnapshot) {
        if let Some(accepted) = self.node.snap() {
            assert_eq!(accepted.get_metadata().index, offered.start.prev_index.0);
            self.restoring = Some(Restoring { snapshot: offered, number: None });
        }
    }

    /// Whether the write that replaces the log is in flight.
    pub(super) fn is_restore_in_flight(&self) -> bool {
        self.restoring.as_ref().is_some_and(|restoring| restoring.number.is_some())
    }

    /// Replaces the log in memory by the snapshot that the library has ready, if it has one.
    pub(super) fn begin_restore(&mut self, ready: &Ready) -> Option<StartSnapshot> {
        if ready.snapshot().is_empty() {
            return None;
        }
        let restoring = self.restoring.as_mut().expect("a snapshot is noted when it is accepted");
        assert_eq!(ready.snapshot().get_metadata().index, restoring.snapshot.start.prev_index.0);
        assert!(self.flights.is_empty(), "a snapshot was accepted while a write was in flight");
        restoring.number = Some(ready.number());
        let mut snapshot = restoring.snapshot.clone();
        if mq_types::planted!("start_snapshot_ignores_members") {
            snapshot.membership = self.node.store().membership().clone();
        }
        let index = snapshot.start.prev_index;
        assert!(index >= self.handed_out, "a snapshot of {index} takes back entry {}", self.handed_out);
        self.node.mut_store().restore(&snapshot);
        (self.committed, self.handed_out) = (index, index);
        Some(snapshot)
    }

    /// The writes up to this one are durable: if the snapshot is among them, it counts as applied.
    pub(super) fn complete_restore(&mut self, number: u64) {
        let is_durable = |restoring: &mut Restoring| restoring.number.is_some_and(|waits| waits <= number);
        if let Some(restoring) = self.restoring.take_if(is_durable) {
            let index: Index = restoring.snapshot.start.prev_index;
            self.node.advance_apply_to(index.0);
            self.members_changed();
        }
    }
}
