//! Whether the records of benches came once each and in order, told from their numbers alone. Bounded: what is
//! forgotten makes a verdict coarser, never milder.

use std::collections::BTreeMap;

use super::payload::Stamp;

/// Sequences followed at once; beyond it the oldest run's are forgotten, and begin anew where they are met again.
const LANES_MAX: usize = 65_536;
/// Gaps of one sequence that may still be filled; what fills an older one counts as repeated.
const GAPS_MAX: usize = 1_024;

/// How a record came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// After all those that were sent before it and have come.
    InOrder,
    /// After one that was sent later.
    Late,
    /// Not for the first time.
    Repeated,
}

/// The numbers that have come, of every run, connection and partition.
#[derive(Debug, Default)]
pub struct Sequences {
    lanes: BTreeMap<(u32, u16, u32), Lane>,
    from_zero: bool,
    missing: u64,
}

#[derive(Debug, Default)]
struct Lane {
    next: u64,
    /// What was passed over, from each key up to and not including its value.
    gaps: BTreeMap<u64, u64>,
}

impl Sequences {
    /// Nothing has come. With `from_zero`, each sequence is read from its beginning; else from the first number met.
    pub fn new(from_zero: bool) -> Sequences {
        Sequences { from_zero, ..Sequences::default() }
    }

    /// Notes one record.
    pub fn arrived(&mut self, stamp: &Stamp) -> Arrival {
        let key = (stamp.run, stamp.connection, stamp.partition);
        if self.lanes.len() >= LANES_MAX && !self.lanes.contains_key(&key) {
            self.lanes.pop_first();
        }
        let first = if self.from_zero { 0 } else { stamp.sequence };
        let lane = self.lanes.entry(key).or_insert(Lane { next: first, gaps: BTreeMap::new() });
        let sequence = stamp.sequence;
        if sequence >= lane.next {
            if sequence > lane.next {
                self.missing += sequence - lane.next;
                lane.gaps.insert(lane.next, sequence);
                if lane.gaps.len() > GAPS_MAX {
                    lane.gaps.pop_first();
                }
            }
            lane.next = sequence.saturating_add(1);
            return Arrival::InOrder;
        }
        if !lane.fill(sequence) {
            return Arrival::Repeated;
        }
        assert!(self.missing > 0, "{sequence} filled a gap that nobody counted");
        self.missing -= 1;
        Arrival::Late
    }

    /// Numbers passed over that have not come.
    pub fn missing(&self) -> u64 {
        self.missing
    }
}

impl Lane {
    /// Takes a number out of the gap that it lies in. False: it lies in none.
    fn fill(&mut self, sequence: u64) -> bool {
        let before = self.gaps.range(..=sequence).next_back();
        let Some((&from, &to)) = before.filter(|&(_, &to)| sequence < to) else { return false };
        self.gaps.remove(&from);
        if from < sequence {
            self.gaps.insert(from, sequence);
        }
        if sequence + 1 < to {
            self.gaps.insert(sequence + 1, to);
        }
        true
    }
}
