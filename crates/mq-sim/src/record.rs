//! What the checker is given: facts as they are certain, taken where they happen.
//!
//! Nothing is judged here.

use mq_checker::history::{EntryFact, Event, Fact, Opened, Placed, RunningHash};
use mq_checker::{Checker, Deadlines, Violation};
use mq_engine::View;
use mq_types::persist::{Create, Membership, RecoveredReplica, ReplicaWrite, Standing, Vote};
use mq_types::{Body, BrokerId, Entry, Index, Message, QuorumId, ReplicaId, TermRuns};
use std::collections::BTreeMap;

/// A run's history, judged as it grows.
#[derive(Debug)]
pub(crate) struct Record {
    checker: Checker,
    /// What the checker has found.
    found: Vec<Violation>,
    /// How far each replica was last said to have committed.
    committed: BTreeMap<(QuorumId, ReplicaId), Index>,
    /// The members that each replica has on record.
    memberships: BTreeMap<(QuorumId, ReplicaId), Membership>,
    /// Facts are printed as they are seen.
    prints: bool,
}

impl Record {
    /// A history without a fact.
    pub(crate) fn new(prints: bool) -> Record {
        let checker = Checker::new(Deadlines::default());
        Record {
            checker,
            found: Vec::new(),
            committed: BTreeMap::new(),
            memberships: BTreeMap::new(),
            prints,
        }
    }

    /// The first broken promise, if one was found.
    pub(crate) fn violation(&self) -> Option<String> {
        self.found.first().map(ToString::to_string)
    }

    /// How many facts there were.
    pub(crate) fn count(&self) -> u64 {
        self.checker.counts().events
    }

    /// No more will be seen. Gives back the first broken promise.
    pub(crate) fn finish(self) -> Option<String> {
        self.checker.finish().first().map(ToString::to_string)
    }

    /// This was seen.
    pub(crate) fn fact(&mut self, at_us: u64, fact: Fact) {
        let event = Event { at_us, fact };
        if self.prints {
            println!("{:>8} fact #{} {:?}", "", self.count(), event.fact);
        }
        self.found.extend_from_slice(self.checker.observe(&event));
    }

    /// The members that this replica has on record.
    pub(crate) fn membership(&self, quorum: QuorumId, replica: ReplicaId) -> Option<&Membership> {
        self.memberships.get(&(quorum, replica))
    }

    /// A replica came up.
    pub(crate) fn opened(&mut self, at_us: u64, found: &RecoveredReplica) {
        self.memberships.insert((found.quorum, found.replica), found.membership.clone());
        let opened = Opened {
            quorum: found.quorum,
            replica: found.replica,
            vote: found.vote,
            standing: found.standing,
            membership: found.membership.clone(),
            start: found.start,
            term_runs: found.term_runs.clone(),
            last_index: found.last_index,
        };
        self.fact(at_us, Fact::Opened(opened));
    }

    /// A replica was made.
    fn created(&mut self, at_us: u64, (quorum, replica): (QuorumId, ReplicaId), create: &Create) {
        self.memberships.insert((quorum, replica), create.membership.clone());
        let start = create.start;
        let term_runs = TermRuns::starting_at(start.prev_index, start.prev_term, start.base_offset);
        let opened = Opened {
            quorum,
            replica,
            vote: Vote { term: start.prev_term, voted_for: None },
            standing: Standing::Sound,
            membership: create.membership.clone(),
            start,
            term_runs,
            last_index: start.prev_index,
        };
        self.fact(at_us, Fact::Opened(opened));
    }

    /// A write goes to the disk.
    pub(crate) fn written(&mut self, at_us: u64, write: &ReplicaWrite) {
        let ReplicaWrite { quorum, replica, .. } = *write;
        let reset = write.reset.as_ref().map(|(start, _)| *start);
        if reset.is_some() || !write.entries.is_empty() {
            let entries = write.entries.iter().map(entry_fact).collect();
            self.fact(at_us, Fact::Written { quorum, replica, reset, entries });
        }
    }

    /// A write is durable.
    pub(crate) fn durable(&mut self, at_us: u64, write: &ReplicaWrite) {
        let ReplicaWrite { quorum, replica, .. } = *write;
        if let Some(create) = &write.create {
            self.created(at_us, (quorum, replica), create);
        }
        if let Some(vote) = write.vote {
            self.fact(at_us, Fact::VoteDurable { quorum, replica, vote });
        }
        if let Some((_, membership)) = &write.reset {
            self.memberships.insert((quorum, replica), membership.clone());
        }
        let reset_to = write.reset.as_ref().map(|(start, _)| (start.prev_index, start.prev_term));
        let appended = write.entries.last().map(|entry| (entry.index, entry.term));
        if let Some((last, term)) = appended.or(reset_to) {
            self.fact(at_us, Fact::LogDurable { quorum, replica, last, term });
        }
        if write.create.is_none() {
            self.committed(at_us, quorum, replica, write.commit);
        }
        if let Some(membership) = &write.membership {
            let membership = membership.clone();
            self.memberships.insert((quorum, replica), membership.clone());
            self.fact(at_us, Fact::MembershipApplied { quorum, replica, membership });
        }
        if write.remove {
            self.fact(at_us, Fact::Removed { quorum, replica });
        }
    }

    /// A broker's disk is gone.
    pub(crate) fn disk_lost(&mut self, at_us: u64, broker: BrokerId) {
        let all = self.memberships.keys().copied();
        let gone: Vec<_> = all.filter(|(_, replica)| replica.broker() == broker).collect();
        for (quorum, replica) in gone {
            self.fact(at_us, Fact::DiskLost { quorum, replica });
        }
    }

    /// A message leaves.
    pub(crate) fn sent(&mut self, at_us: u64, message: &Message) {
        let Message { quorum, from, to, kind, term, index, reject, .. } = *message;
        self.fact(at_us, Fact::MessageSent { quorum, from, to, kind, term, index, reject });
        self.committed(at_us, quorum, from, message.commit);
    }

    /// A replica shows its readers something new.
    pub(crate) fn published(&mut self, at_us: u64, quorum: QuorumId, view: &View) {
        let View { replica, term, leader, serving, log_start, high_watermark, .. } = *view;
        self.fact(
            at_us,
            Fact::Published { quorum, replica, term, leader, serving, log_start, high_watermark },
        );
    }

    fn committed(&mut self, at_us: u64, quorum: QuorumId, replica: ReplicaId, through: Index) {
        let known = self.committed.entry((quorum, replica)).or_default();
        if through > *known {
            *known = through;
            self.fact(at_us, Fact::Committed { quorum, replica, through });
        }
    }
}

/// The hash of a whole log.
pub(crate) fn running_hash(records: &[Placed]) -> RunningHash {
    let mut hash = RunningHash::default();
    records.iter().for_each(|placed| hash.add(placed));
    hash
}

fn entry_fact(entry: &Entry) -> EntryFact {
    let meta = entry.meta();
    let hash = match &entry.body {
        Body::Data(batch) => batch.checksum(),
        Body::NoOp => 0,
        Body::Membership(bytes) | Body::Control(bytes) | Body::Command(bytes) => hash(bytes),
    };
    EntryFact { index: meta.index, term: meta.term, kind: meta.kind, end_offset: meta.end_offset(), hash }
}

/// A hash of bytes (FNV-1a).
pub(crate) fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
