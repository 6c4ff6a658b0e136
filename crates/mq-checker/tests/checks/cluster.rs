//! Tells what happens inside a quorum: three replicas, founded at entry 1 of term 1, unless the story says otherwise.

use crate::story::{PARTITION, Story};
use mq_checker::history::{EntryFact, Fact, Opened};
use mq_types::message::MessageKind;
use mq_types::persist::{Membership, Standing, Start, Vote};
use mq_types::{EntryKind, Index, Offset, ReplicaId, Term, TermRuns};

/// One record is in each entry, and an entry's end offset is its index less this: entry 2 is a leader's no-op.
const FIRST_DATA_INDEX: u64 = 3;

/// A data entry (a no-op below the first data entry), the same for everybody who says these numbers.
pub(crate) fn entry(index: u64, term: u64) -> EntryFact {
    let is_data = index >= FIRST_DATA_INDEX;
    EntryFact {
        index: Index(index),
        term: Term(term),
        kind: if is_data { EntryKind::Data } else { EntryKind::NoOp },
        end_offset: Offset((index + 1).saturating_sub(FIRST_DATA_INDEX)),
        hash: (index << 8 | term) as u32,
    }
}

/// A membership entry.
pub(crate) fn change(index: u64, term: u64) -> EntryFact {
    EntryFact { kind: EntryKind::Membership, ..entry(index, term) }
}

pub(crate) fn members(conf_index: u64, voters: &[u64]) -> Membership {
    let voters = voters.iter().copied().map(ReplicaId).collect();
    Membership { conf_index: Index(conf_index), voters, ..Membership::default() }
}

impl Story {
    /// A story of replicas 1 to 3.
    pub(crate) fn of_three() -> Story {
        let mut story = Story::new();
        for replica in 1..=3 {
            story.open(replica, &[(1, 1)], 1, (0, None));
        }
        story
    }

    /// A replica comes up with a log of these runs (the entry before the log first), and a term and vote.
    pub(crate) fn open(&mut self, replica: u64, runs: &[(u64, u64)], last: u64, vote: (u64, Option<u64>)) {
        self.open_as(replica, runs, last, vote, (Standing::Sound, members(1, &[1, 2, 3])));
    }

    pub(crate) fn open_as(
        &mut self,
        replica: u64,
        runs: &[(u64, u64)],
        last: u64,
        (term, voted_for): (u64, Option<u64>),
        (standing, membership): (Standing, Membership),
    ) {
        let (prev_index, prev_term) = (Index(runs[0].0), Term(runs[0].1));
        let mut term_runs = TermRuns::starting_at(prev_index, prev_term, Offset(0));
        for (index, term) in &runs[1..] {
            term_runs.append(Index(*index), Term(*term), Offset(0));
        }
        let opened = Opened {
            quorum: PARTITION,
            replica: ReplicaId(replica),
            vote: Vote { term: Term(term), voted_for: voted_for.map(ReplicaId) },
            standing,
            membership,
            start: Start { prev_index, prev_term, ..Start::BOOTSTRAP },
            term_runs,
            last_index: Index(last),
        };
        self.tell(Fact::Opened(opened));
    }

    /// A replica hands entries to its disk.
    pub(crate) fn write(&mut self, replica: u64, entries: &[EntryFact]) {
        let (replica, entries) = (ReplicaId(replica), entries.to_vec());
        self.tell(Fact::Written { quorum: PARTITION, replica, reset: None, entries });
    }

    /// A replica's disk has synced the write that ended here.
    pub(crate) fn sync(&mut self, replica: u64, last: u64, term: u64) {
        let (replica, last, term) = (ReplicaId(replica), Index(last), Term(term));
        self.tell(Fact::LogDurable { quorum: PARTITION, replica, last, term });
    }

    /// Replicas write entries durably.
    pub(crate) fn store(&mut self, replicas: &[u64], entries: &[EntryFact]) {
        let last = entries[entries.len() - 1];
        for replica in replicas {
            self.write(*replica, entries);
            self.sync(*replica, last.index.0, last.term.0);
        }
    }

    /// Replicas have voted durably.
    pub(crate) fn vote(&mut self, replicas: &[u64], term: u64, whom: u64) {
        let vote = Vote { term: Term(term), voted_for: Some(ReplicaId(whom)) };
        for replica in replicas.iter().copied().map(ReplicaId) {
            self.tell(Fact::VoteDurable { quorum: PARTITION, replica, vote });
        }
    }

    pub(crate) fn send_message(&mut self, from: u64, to: u64, kind: MessageKind, (term, index): (u64, u64)) {
        let (from, to) = (ReplicaId(from), ReplicaId(to));
        let (term, index) = (Term(term), Index(index));
        self.tell(Fact::MessageSent { quorum: PARTITION, from, to, kind, term, index, reject: false });
    }

    /// A leader says that it leads.
    pub(crate) fn lead(&mut self, leader: u64, term: u64) {
        self.send_message(leader, leader % 3 + 1, MessageKind::Heartbeat, (term, 0));
    }

    pub(crate) fn commit(&mut self, replica: u64, through: u64) {
        let (replica, through) = (ReplicaId(replica), Index(through));
        self.tell(Fact::Committed { quorum: PARTITION, replica, through });
    }

    pub(crate) fn apply(&mut self, replica: u64, membership: &Membership) {
        let (replica, membership) = (ReplicaId(replica), membership.clone());
        self.tell(Fact::MembershipApplied { quorum: PARTITION, replica, membership });
    }

    pub(crate) fn publish(&mut self, replica: u64, term: u64, high_watermark: u64) {
        self.publish_bounds(replica, term, (0, high_watermark));
    }

    /// A replica of `of_three_with_records` shows where its log starts.
    pub(crate) fn publish_from(&mut self, replica: u64, log_start: u64) {
        self.publish_bounds(replica, 2, (log_start, 2));
    }

    /// A replica shows that it leads, and nothing else.
    pub(crate) fn publish_leader(&mut self, replica: u64, term: u64) {
        self.publish_view(replica, (term, Some(ReplicaId(replica))), (0, 0));
    }

    fn publish_bounds(&mut self, replica: u64, term: u64, bounds: (u64, u64)) {
        self.publish_view(replica, (term, None), bounds);
    }

    fn publish_view(
        &mut self,
        replica: u64,
        (term, leader): (u64, Option<ReplicaId>),
        (log_start, high_watermark): (u64, u64),
    ) {
        let published = Fact::Published {
            quorum: PARTITION,
            replica: ReplicaId(replica),
            term: Term(term),
            leader,
            serving: false,
            log_start: Offset(log_start),
            high_watermark: Offset(high_watermark),
        };
        self.tell(published);
    }

    /// Replica 1 leads term 2, and all have committed entries 2 to 4, which are offsets 0 and 1.
    pub(crate) fn of_three_with_records() -> Story {
        let mut story = Story::of_three();
        story.vote(&[1, 2, 3], 2, 1);
        story.lead(1, 2);
        story.store(&[1, 2, 3], &[entry(2, 2), entry(3, 2), entry(4, 2)]);
        for replica in 1..=3 {
            story.commit(replica, 4);
            story.publish(replica, 2, 2);
        }
        story
    }
}
