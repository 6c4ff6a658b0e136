//! What a leader notices of its peers' silence, counted in its own ticks.
//!
//! The Raft library keeps how far they are; it forgets every election timeout that it heard of them, and waits for
//! ever for the answer to a start snapshot that was lost.

use crate::options::ELECTION_TICKS;
use mq_types::{Index, ReplicaId};
use std::collections::BTreeMap;

/// How far a peer is, as its leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Which one.
    pub replica: ReplicaId,
    /// Up to where its log is durable and the same as the leader's.
    pub matched: Index,
    /// Up to where it knows entries to be committed, as it said last.
    pub committed: Index,
    /// Ticks since anything was heard of it.
    pub silent_ticks: usize,
}

impl Peer {
    /// Whether anything was heard of it in the last election timeout.
    pub fn is_active(&self) -> bool {
        self.silent_ticks < ELECTION_TICKS
    }
}

/// The silence of each peer. Empty unless this member leads.
#[derive(Default)]
pub(crate) struct Silences(BTreeMap<ReplicaId, Silence>);

struct Silence {
    /// Since anything was heard.
    ticks: usize,
    /// Since it was sent a start snapshot that it has not answered.
    snapshot_ticks: usize,
}

impl Silences {
    /// This peer has said something.
    pub(crate) fn heard(&mut self, peer: ReplicaId) {
        self.0.entry(peer).or_insert(Silence { ticks: 0, snapshot_ticks: 0 }).ticks = 0;
    }

    /// For how many ticks it has said nothing.
    pub(crate) fn silent_ticks(&self, peer: ReplicaId) -> usize {
        self.0.get(&peer).map_or(usize::MAX, |silence| silence.ticks)
    }

    /// Time has passed for these peers, of whom some owe the answer to a start snapshot. Returns those whose
    /// snapshot must be taken for lost.
    pub(crate) fn tick(&mut self, peers: &BTreeMap<ReplicaId, bool>) -> Vec<ReplicaId> {
        self.0.retain(|peer, _| peers.contains_key(peer));
        let mut lost = Vec::new();
        for (&peer, &owes_answer) in peers {
            let never = Silence { ticks: usize::MAX, snapshot_ticks: 0 };
            let silence = self.0.entry(peer).or_insert(never);
            silence.ticks = silence.ticks.saturating_add(1);
            silence.snapshot_ticks = if owes_answer { silence.snapshot_ticks + 1 } else { 0 };
            if silence.snapshot_ticks >= ELECTION_TICKS {
                silence.snapshot_ticks = 0;
                lost.push(peer);
            }
        }
        lost
    }

    /// This member does not lead any more.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}
