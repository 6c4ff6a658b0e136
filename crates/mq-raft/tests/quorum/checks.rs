//! What is checked of every step: what leaves before it may, what commits twice, who leads a term.

use crate::disk::Disk;
use crate::world::World;
use mq_raft::{Role, RoleChange};
use mq_types::message::MessageKind;
use mq_types::persist::Start;
use mq_types::{Body, Entry, EntryKind, EntryMeta, Message, ReplicaId};

impl World {
    /// Puts a message on the wire, after checking that it may leave.
    pub(crate) fn send(&mut self, message: Message) {
        let disk = &self.replicas[&message.from].disk;
        let asks_before_the_term = matches!(
            message.kind,
            MessageKind::PreVote | MessageKind::PreVoteResponse | MessageKind::ReadIndex
        );
        if !asks_before_the_term {
            // Term 1 is that of the bootstrap: no vote of it is ever on record.
            let durable = disk.vote.term.max(Start::BOOTSTRAP.prev_term);
            assert!(message.term <= durable, "{message:?} leaves before its term is durable");
        }
        // To a leader who is over, an answer may leave together with what a newer one has put in the place of its
        // entries: that was not possible, had they been committed.
        let is_accepted = message.kind == MessageKind::AppendResponse && !message.reject;
        if is_accepted && message.term >= disk.vote.term {
            assert!(message.index <= disk.last_index(), "{message:?} leaves before its entries are durable");
        }
        // A vote of an earlier term may be repeated together with one of a later term.
        let is_granted = message.kind == MessageKind::VoteResponse && !message.reject;
        if is_granted && message.term == disk.vote.term {
            assert_eq!(
                disk.vote.voted_for,
                Some(message.to),
                "{message:?} leaves before the vote is durable"
            );
        }
        self.wire.push(message);
    }

    pub(crate) fn note_committed(&mut self, replica: ReplicaId, meta: EntryMeta, body: Option<&Body>) {
        assert_eq!(body.is_none(), meta.kind == EntryKind::Data, "payloads are handed out except for data");
        let known = *self.committed.entry(meta.index).or_insert(meta);
        assert_eq!(meta, known, "replica {replica} commits another entry at {}", meta.index);
        let durable = self.replicas[&replica].disk.entry(meta.index).map(Entry::meta);
        assert_eq!(durable, Some(meta), "replica {replica} hands out an entry that is not durable");
        self.replica(replica).applied.push(meta);
    }

    pub(crate) fn note_role(&mut self, replica: ReplicaId, role: RoleChange) {
        assert!(role.term >= self.replicas[&replica].role.term, "the term of replica {replica} falls");
        self.replica(replica).role = role;
        if role.role != Role::Leader {
            return;
        }
        let known = *self.leaders.entry(role.term).or_insert(replica);
        assert_eq!(known, replica, "two leaders in term {}", role.term);
        let member = self.replicas[&replica].member.as_ref().expect("it leads");
        for (&index, meta) in &self.committed {
            let has_it = index <= member.last_index() && member.term_runs().term(index) == Some(meta.term);
            let trimmed = index <= member.start().prev_index;
            assert!(has_it || trimmed, "the leader of term {} lacks committed entry {index}", role.term);
        }
    }

    /// If two logs agree on an entry's index and term, they agree on it and on everything before it.
    pub(crate) fn assert_logs_match(&self) {
        let disks: Vec<&Disk> = self.replicas.values().map(|state| &state.disk).collect();
        for (at, one) in disks.iter().enumerate() {
            for other in &disks[at + 1..] {
                let mut must_agree = false;
                for entry in one.log.iter().rev() {
                    let Some(twin) = other.entry(entry.index) else { continue };
                    must_agree |= entry.term == twin.term;
                    assert!(!must_agree || entry == twin, "logs disagree at entry {}", entry.index);
                }
            }
        }
    }

    /// Every majority of the newest voters has somebody with each committed entry: no other entry can take its place.
    pub(crate) fn assert_committed_is_on_a_majority(&self) {
        let (_, newest) = self.memberships.last_key_value().expect("the first members");
        for (&index, meta) in &self.committed {
            let has_it = |voter: &&ReplicaId| {
                let disk = &self.replicas[voter].disk;
                index <= disk.start.prev_index || disk.entry(index).map(Entry::meta) == Some(*meta)
            };
            let is_held = |voters: &[ReplicaId]| {
                let majority = voters.len() / 2 + 1;
                let copies = voters.iter().filter(has_it).count();
                !voters.is_empty() && voters.len() - copies < majority
            };
            // In a joint configuration a leader needs both majorities.
            let held = is_held(&newest.voters) || is_held(&newest.voters_outgoing);
            assert!(held, "committed entry {index} is on too few disks");
        }
    }

    /// Before the first change of the members: every committed entry is on a majority of the voters' disks.
    pub(crate) fn assert_committed_is_on_a_majority_of_the_founders(&self) {
        let voters = &self.memberships.first_key_value().expect("the first members").1.voters;
        for (&index, meta) in &self.committed {
            let has_it = |voter: &&ReplicaId| {
                let disk = &self.replicas[voter].disk;
                index <= disk.start.prev_index || disk.entry(index).map(Entry::meta) == Some(*meta)
            };
            let copies = voters.iter().filter(has_it).count();
            assert!(copies * 2 > voters.len(), "committed entry {index} is on {copies} disks only");
        }
    }
}
