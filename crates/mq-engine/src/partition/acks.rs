//! Who waits for which entry, and what becomes of them.
//!
//! A ticket is keyed by index and term. The entry committed at its index settles it: of the same term, it is the
//! ticket's own; of another, the ticket's entry was certainly not appended. A replica that steps down before that can
//! say nothing certain.

use crate::{RequestId, WriteNumber, api::Acks};
use mq_types::{EntryMeta, Index, Offset, Term};
use std::collections::VecDeque;

/// One request that waits for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a ticket that is dropped leaves a client without an answer"]
pub(super) struct Ticket {
    /// The request.
    pub(super) id: RequestId,
    /// The entry's index.
    pub(super) index: Index,
    /// The entry's term.
    pub(super) term: Term,
    /// What the answer will be about.
    pub(super) subject: Subject,
}

/// What an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Records that were appended.
    Records {
        /// When to answer.
        acks: Acks,
        /// The first record's offset.
        base_offset: Offset,
        /// How many records.
        record_count: u32,
    },
    /// A new log start.
    LogStart,
}

/// All tickets of one partition, by what they wait for; each list in order of the entries.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    sync: VecDeque<Ticket>,
    commit: VecDeque<Ticket>,
    /// Deletions that are committed and whose trim is not yet durable.
    trim: VecDeque<(WriteNumber, RequestId)>,
}

impl Tickets {
    /// Takes a ticket for an entry that was just proposed.
    pub(super) fn add(&mut self, ticket: Ticket) {
        let list = match ticket.subject {
            Subject::Records { acks: Acks::Leader, .. } => &mut self.sync,
            Subject::Records { .. } | Subject::LogStart => &mut self.commit,
        };
        assert!(
            list.back().is_none_or(|newest| newest.index < ticket.index),
            "tickets come in order of entries"
        );
        list.push_back(ticket);
    }

    /// This deletion is applied, and done when that write is durable.
    pub(super) fn await_trim(&mut self, number: WriteNumber, id: RequestId) {
        self.trim.push_back((number, id));
    }

    /// The tickets whose entry is durable here now.
    pub(super) fn synced(&mut self, last_index: Index) -> Vec<Ticket> {
        let mut released = Vec::new();
        while let Some(ticket) = self.sync.pop_front_if(|ticket| ticket.index <= last_index) {
            released.push(ticket);
        }
        if mq_types::planted!("ack_when_the_leader_has_it") {
            while let Some(ticket) = self.commit.pop_front_if(|ticket| ticket.index <= last_index) {
                released.push(ticket);
            }
        }
        released
    }

    /// The ticket that a committed entry settles; whether it is the ticket's own entry is for the caller to compare.
    pub(super) fn committed(&mut self, meta: &EntryMeta) -> Option<Ticket> {
        let ticket = self.commit.pop_front_if(|ticket| ticket.index <= meta.index)?;
        assert_eq!(ticket.index, meta.index, "entries are committed one after another");
        Some(ticket)
    }

    /// The deletions that are durable now.
    pub(super) fn trimmed(&mut self, number: WriteNumber) -> Vec<RequestId> {
        let mut released = Vec::new();
        while let Some((_, id)) = self.trim.pop_front_if(|waiting| waiting.0 <= number) {
            released.push(id);
        }
        released
    }

    /// The tickets that can no longer be settled, because this replica does not lead in their term any more.
    pub(super) fn abandoned(&mut self, leads_in: Option<Term>) -> Vec<Ticket> {
        let mut abandoned = Vec::new();
        for list in [&mut self.sync, &mut self.commit] {
            while let Some(ticket) = list.pop_front_if(|ticket| Some(ticket.term) != leads_in) {
                abandoned.push(ticket);
            }
        }
        abandoned
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.sync.is_empty() && self.commit.is_empty() && self.trim.is_empty()
    }
}
