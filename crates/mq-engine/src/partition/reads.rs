//! Read indexes: confirming that this replica still leads before saying where the partition ends.
//!
//! All requests of a turn share one confirmation. Raft drops one silently when a message is lost or nothing is
//! committed in the term yet, so it is asked for again until it comes or time is up.

use crate::RequestId;
use mq_types::Index;
use std::collections::BTreeMap;

/// After this long without a confirmation it is asked for again.
const RETRY_MS: u64 = 500;
/// After this long the client is told that nobody leads.
const TIMEOUT_MS: u64 = 5_000;
/// Requests of one partition that may wait at a time.
pub(super) const WAITING_REQUESTS_MAX: usize = 10_000;

/// The read indexes of one partition.
#[derive(Debug, Default)]
pub(crate) struct ReadIndexes {
    /// Asked for in this turn.
    new: Vec<RequestId>,
    /// By the number that Raft was given.
    waiting: BTreeMap<u64, Waiting>,
    waiting_count: usize,
    /// The last number that Raft was given.
    last_context: u64,
}

#[derive(Debug)]
struct Waiting {
    ids: Vec<RequestId>,
    since_ms: u64,
    asked_ms: u64,
    confirmed: Option<Index>,
}

impl ReadIndexes {
    /// Takes a request, or refuses it because too many wait.
    pub(super) fn add(&mut self, id: RequestId) -> bool {
        if self.waiting_count >= WAITING_REQUESTS_MAX {
            return false;
        }
        self.waiting_count += 1;
        self.new.push(id);
        true
    }

    /// The number to ask Raft for on behalf of all new requests, if there are any.
    pub(super) fn ask(&mut self, now_ms: u64) -> Option<u64> {
        if self.new.is_empty() {
            return None;
        }
        self.last_context += 1;
        let ids = std::mem::take(&mut self.new);
        let waiting = Waiting { ids, since_ms: now_ms, asked_ms: now_ms, confirmed: None };
        self.waiting.insert(self.last_context, waiting);
        Some(self.last_context)
    }

    /// The numbers to ask Raft for again.
    pub(super) fn ask_again(&mut self, now_ms: u64) -> Vec<u64> {
        let is_late = |waiting: &Waiting| {
            waiting.confirmed.is_none() && now_ms.saturating_sub(waiting.asked_ms) >= RETRY_MS
        };
        let late: Vec<u64> =
            self.waiting.iter().filter(|(_, w)| is_late(w)).map(|(context, _)| *context).collect();
        let mut again = Vec::new();
        for context in late {
            let Some(waiting) = self.waiting.remove(&context) else { continue };
            self.last_context += 1;
            self.waiting.insert(self.last_context, Waiting { asked_ms: now_ms, ..waiting });
            again.push(self.last_context);
        }
        again
    }

    /// Raft has confirmed one. A number that is not known was asked for again under another.
    pub(super) fn confirm(&mut self, context: u64, index: Index) {
        if let Some(waiting) = self.waiting.get_mut(&context) {
            waiting.confirmed = Some(index);
        }
    }

    /// The requests that can be answered, everything up to `applied` being applied.
    pub(super) fn take_ready(&mut self, applied: Index) -> Vec<RequestId> {
        self.take(|waiting| waiting.confirmed.is_some_and(|index| index <= applied))
    }

    /// The requests whose time is up.
    pub(super) fn take_expired(&mut self, now_ms: u64) -> Vec<RequestId> {
        self.take(|waiting| now_ms.saturating_sub(waiting.since_ms) >= TIMEOUT_MS)
    }

    /// All requests.
    pub(super) fn take_all(&mut self) -> Vec<RequestId> {
        let mut ids = self.take(|_| true);
        self.waiting_count -= self.new.len();
        ids.append(&mut self.new);
        ids
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting_count == 0
    }

    fn take(&mut self, is_wanted: impl Fn(&Waiting) -> bool) -> Vec<RequestId> {
        let mut ids = Vec::new();
        self.waiting.retain(|_, waiting| {
            let wanted = is_wanted(waiting);
            if wanted {
                ids.append(&mut waiting.ids);
            }
            !wanted
        });
        self.waiting_count -= ids.len();
        ids
    }
}
