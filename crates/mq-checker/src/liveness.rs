//! C13: after the faults have ended everything works again, in time.

use crate::history::SessionId;
use crate::violation::{Check, Findings};
use mq_types::{Offset, QuorumId};
use std::collections::BTreeMap;

/// How long it may take until everything works again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Until each partition has acknowledged something that was sent since, in microseconds.
    pub acknowledged_us_max: u64,
    /// Until each reader was at the end, in microseconds.
    pub read_us_max: u64,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines { acknowledged_us_max: 10_000_000, read_us_max: 30_000_000 }
    }
}

/// Who still owes what.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    healed_at_us: u64,
    healed_event: u32,
    /// Partitions that have acknowledged nothing yet.
    silent: Vec<QuorumId>,
    /// Readers that were not at the end yet, and the end that they must reach at least.
    behind: BTreeMap<(SessionId, QuorumId), Offset>,
}

impl Liveness {
    /// The faults end.
    pub(crate) fn heal(
        &mut self,
        partitions: &[QuorumId],
        readers: impl Iterator<Item = ((SessionId, QuorumId), Offset)>,
        findings: &Findings,
    ) {
        *self = Liveness {
            healed_at_us: findings.at_us,
            healed_event: findings.event,
            silent: partitions.to_vec(),
            behind: readers.collect(),
        };
    }

    /// A partition acknowledged what was sent at this event.
    pub(crate) fn acknowledge(&mut self, quorum: QuorumId, sent_event: u32) {
        if sent_event > self.healed_event {
            self.silent.retain(|silent| *silent != quorum);
        }
    }

    /// A reader is at the end, as far as its answer knew.
    pub(crate) fn at_end(&mut self, session: SessionId, quorum: QuorumId, position: Offset) {
        let key = (session, quorum);
        if self.behind.get(&key).is_some_and(|end| position >= *end) {
            self.behind.remove(&key);
        }
    }

    /// Nothing is expected of this partition any more.
    pub(crate) fn forget(&mut self, quorum: QuorumId) {
        self.silent.retain(|silent| *silent != quorum);
        self.behind.retain(|(_, partition), _| *partition != quorum);
    }

    /// Time has passed; `is_over`: and no more will.
    pub(crate) fn check(&mut self, deadlines: &Deadlines, is_over: bool, findings: &mut Findings) {
        if self.silent.is_empty() && self.behind.is_empty() {
            return;
        }
        let passed_us = findings.at_us - self.healed_at_us;
        let (event, passed_s) = (self.healed_event, passed_us as f64 / 1e6);
        if is_over || passed_us > deadlines.acknowledged_us_max {
            for quorum in self.silent.drain(..) {
                findings.quorum = Some(quorum);
                let text = format!(
                    "the partition has acknowledged nothing that was sent since the faults ended (event {event}), \
                     {passed_s:.1} s ago"
                );
                findings.add(Check::C13, text);
            }
        }
        if is_over || passed_us > deadlines.read_us_max {
            for ((session, quorum), end) in std::mem::take(&mut self.behind) {
                findings.quorum = Some(quorum);
                let text = format!(
                    "reader {} has not reached the end ({end} or more) since the faults ended \
                     (event {event}), {passed_s:.1} s ago",
                    session.0
                );
                findings.add(Check::C13, text);
            }
        }
    }
}
