//! Writes of one shard that wait for its disk, merged as a broker's writer does it, and kept back where there is no
//! room.

use mq_engine::WriteNumber;
use mq_types::QuorumId;
use mq_types::persist::ReplicaWrite;
use std::collections::{BTreeMap, VecDeque};

/// A write with its number within its quorum.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) number: WriteNumber,
    pub(crate) write: Box<ReplicaWrite>,
    /// How many turns' writes are in it.
    pub(crate) merged: u32,
}

/// Writes that wait.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    ready: VecDeque<Numbered>,
    /// For which the disk had no room, in order, by quorum.
    held: BTreeMap<QuorumId, VecDeque<Numbered>>,
}

impl Backlog {
    /// Takes one more.
    pub(crate) fn push(&mut self, number: WriteNumber, write: Box<ReplicaWrite>) {
        if write.remove {
            // What was to be written before the end of the replica needs no room any more.
            self.held.remove(&write.quorum);
        }
        let numbered = Numbered { number, write, merged: 1 };
        match self.held.get_mut(&numbered.write.quorum) {
            Some(held) => held.push_back(numbered),
            None => self.ready.push_back(numbered),
        }
    }

    /// There was no room for this one: it waits, and before all later ones of its quorum.
    pub(crate) fn hold(&mut self, numbered: Numbered) {
        let quorum = numbered.write.quorum;
        let (later, others) =
            std::mem::take(&mut self.ready).into_iter().partition(|n| n.write.quorum == quorum);
        self.ready = others;
        let held = self.held.entry(quorum).or_default();
        assert!(held.is_empty(), "a quorum that waits for room is in no round");
        *held = later;
        held.push_front(numbered);
    }

    /// Everything that waits for room is tried again.
    pub(crate) fn retry(&mut self) {
        for held in std::mem::take(&mut self.held).into_values() {
            self.ready.extend(held);
        }
    }

    /// Whether anything waits for room.
    pub(crate) fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether nothing can be written at once.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Takes what can be written at once: at most one write for each quorum, into which later ones are merged.
    pub(crate) fn next_round(&mut self) -> Vec<Numbered> {
        let mut round: Vec<Numbered> = Vec::new();
        let mut full: Vec<QuorumId> = Vec::new();
        for next in std::mem::take(&mut self.ready) {
            let quorum = next.write.quorum;
            let Some(earlier) = round.iter_mut().find(|earlier| earlier.write.quorum == quorum) else {
                round.push(next);
                continue;
            };
            if full.contains(&quorum) {
                self.ready.push_back(next);
            } else if let Some(next) = earlier.merge(next) {
                full.push(quorum);
                self.ready.push_back(next);
            }
        }
        round
    }
}

impl Numbered {
    /// Gives back what cannot be carried out together with this.
    fn merge(&mut self, next: Numbered) -> Option<Numbered> {
        let Numbered { number, write, merged } = next;
        assert!(
            number > self.number,
            "write {} of quorum {} after {}",
            number.0,
            write.quorum,
            self.number.0
        );
        if write.replica != self.write.replica {
            return Some(Numbered { number, write, merged });
        }
        match self.write.try_merge(*write) {
            Ok(()) => (self.number, self.merged) = (number, self.merged + merged),
            Err(write) => return Some(Numbered { number, write: Box::new(write), merged }),
        }
        None
    }
}
