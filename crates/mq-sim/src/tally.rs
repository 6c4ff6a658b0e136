//! What a run did, in numbers.

use crate::fault_kind::FaultKind;
use std::collections::BTreeMap;

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs.
    pub seeds: u64,
    /// Virtual time, in microseconds.
    pub simulated_us: u64,
    /// Things that happened.
    pub events: u64,
    /// Calls of clients: produces, reads, deletions, changes of topics.
    pub operations: u64,
    /// Batches acknowledged as synced on a majority.
    pub acknowledged: u64,
    /// Batches sent, each attempt counted.
    pub sent: u64,
    /// Records that consumers were given.
    pub records_read: u64,
    /// Facts that the checker was given.
    pub facts: u64,
    /// Faults by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Messages lost by the network.
    pub messages_lost: u64,
    /// Messages that arrived twice.
    pub messages_duplicated: u64,
    /// Messages that arrived much later.
    pub messages_late: u64,
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: &Tally) {
        self.seeds += other.seeds;
        self.simulated_us += other.simulated_us;
        self.events += other.events;
        self.operations += other.operations;
        self.acknowledged += other.acknowledged;
        self.sent += other.sent;
        self.records_read += other.records_read;
        self.facts += other.facts;
        for (kind, count) in &other.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
        self.messages_lost += other.messages_lost;
        self.messages_duplicated += other.messages_duplicated;
        self.messages_late += other.messages_late;
    }

    /// All faults.
    #[must_use]
    pub fn faults_count(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Virtual time, in seconds.
    #[must_use]
    pub fn simulated_s(&self) -> f64 {
        self.simulated_us as f64 / 1e6
    }
}
