//! From what the library has ready to what is to be done: the one place where durability is ordered.
//!
//! Two rules decide when a message leaves:
//! - What a follower or candidate says depends on everything that was handed out to persist so far.
//! - What a leader says depends on nothing but its term and vote: they must be durable. The library forgets this
//!   where a sole voter elects itself, and after a crash the same term could then be led twice.

use super::{Flight, Member};
use crate::options::COMMITTED_ENTRIES_PER_WORK_MAX;
use crate::work::{Committed, Persist, ReadIndex, Role, RoleChange, SendAfterPersist, Work};
use crate::{convert, membership};
use mq_types::persist::Vote;
use mq_types::{Body, Entry, EntryKind, Index, Message, Term};
use raft::{ReadState, Ready, StateRole, eraftpb};

impl Member {
    /// Whether [`Member::take_work`] would give any.
    pub fn has_work(&self) -> bool {
        let has_ready = self.node.has_ready() && !self.is_restore_in_flight();
        has_ready || self.node.store().has_reads() || self.can_hand_out()
    }

    /// Takes what is to be done now; to be called until it is empty. Work may follow from any input, and from work
    /// itself: one call hands over a bounded number of committed entries.
    pub fn take_work(&mut self) -> Work {
        let mut work = Work::default();
        if self.node.has_ready() && !self.is_restore_in_flight() {
            let ready = self.node.ready();
            self.carry_out(ready, &mut work);
        }
        work.read = self.node.mut_store().take_reads();
        self.hand_out(&mut work);
        work
    }

    /// Until the library has its ready back, nothing else may be asked of it.
    fn carry_out(&mut self, mut ready: Ready, work: &mut Work) {
        let number = ready.number();
        let leads = self.is_leader();
        let restore = self.begin_restore(&ready);
        let entries = self.absorb(&ready.take_entries());
        assert!(restore.is_none() || entries.is_empty(), "nothing is heeded after a start snapshot");
        let vote = self.current_vote();
        assert!(vote.term >= self.written.term, "the term falls from {} to {}", self.written.term, vote.term);
        let messages = if leads { ready.take_messages() } else { ready.take_persisted_messages() };
        self.note_committed(&ready.take_committed_entries());
        work.read_indexes = self.own_reads(&ready.take_read_states());
        self.node.advance_append_async(ready);

        let new_vote = (vote != self.written).then_some(vote);
        if new_vote.is_some() || restore.is_some() || !entries.is_empty() {
            self.written = vote;
            self.flights.push_back(Flight { number, vote: new_vote });
            let mut vote = new_vote;
            if mq_types::planted!("vote_not_persisted") {
                vote = vote.map(|vote| Vote { voted_for: None, ..vote });
            }
            work.persist = Some(Persist { number, vote, restore, entries });
        }
        let messages = self.outgoing(messages);
        let term_is_durable = self.durable == vote;
        match self.flights.back() {
            None => {
                assert!(term_is_durable, "nothing is in flight, yet term {} is not durable", vote.term);
                work.send_now = messages;
                self.node.on_persist_ready(number);
            }
            Some(newest) => {
                if leads && term_is_durable || mq_types::planted!("says_what_is_not_durable") {
                    work.send_now = messages;
                } else if !messages.is_empty() {
                    work.send_after_persist = Some(SendAfterPersist { number: newest.number, messages });
                }
            }
        }
        work.role = self.new_role();
    }

    /// Makes new entries readable for the library, and completes those that it made itself.
    fn absorb(&mut self, entries: &[eraftpb::Entry]) -> Vec<Entry> {
        let committed = self.committed;
        let shadow = self.node.mut_store();
        let absorb = |entry: &eraftpb::Entry| {
            assert!(entry.index > committed.0, "entry {} replaces a committed one", entry.index);
            let entry = convert::entry_from_raft(entry)
                .unwrap_or_else(|| convert::entry_made_by_raft(entry, shadow.tip()));
            shadow.append(&entry);
            entry
        };
        entries.iter().map(absorb).collect()
    }

    /// The library has committed these entries, of which it was given no more than it needs.
    fn note_committed(&mut self, stripped: &[eraftpb::Entry]) {
        for entry in stripped {
            let index = Index(entry.index);
            assert_eq!(index, self.committed.next(), "the library commits without a gap");
            let term = self.node.store().term(index);
            assert_eq!(term, Some(Term(entry.term)), "entry {index} is committed in another term");
            self.committed = index;
        }
    }

    fn can_hand_out(&self) -> bool {
        self.changing.is_none() && self.handed_out < self.committed
    }

    /// Hands out committed entries up to a change of the members, and that change after what is before it.
    fn hand_out(&mut self, work: &mut Work) {
        let conf_index = self.membership().conf_index;
        while self.can_hand_out() && work.committed.len() < COMMITTED_ENTRIES_PER_WORK_MAX {
            let index = self.handed_out.next();
            let kept = self.node.store().in_memory(index);
            let (meta, body) = kept.unwrap_or_else(|| panic!("entry {index} is committed but not in memory"));
            let body = if meta.kind == EntryKind::Data { None } else { body.cloned() };
            assert!(
                body.is_some() || meta.kind == EntryKind::Data,
                "entry {index} was recovered without its payload"
            );
            match body {
                Some(Body::Membership(encoded)) if index > conf_index => {
                    let is_stripped = mq_types::planted!("stripped_change_of_members_applied");
                    let encoded = if is_stripped { Default::default() } else { encoded };
                    work.membership = Some(self.begin_change(meta, &encoded));
                }
                body => {
                    work.committed.push(Committed { meta, body });
                    self.handed_out = index;
                }
            }
        }
    }

    /// The read indexes that this member asked for in this run: answers to an earlier one may still arrive.
    fn own_reads(&self, states: &[ReadState]) -> Vec<ReadIndex> {
        let number = |state: &ReadState, at: usize| {
            let bytes = state.request_ctx.get(at * 8..(at + 1) * 8)?;
            Some(u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
        };
        let own = |state: &&ReadState| {
            number(state, 0) == Some(self.options.replica.0) && number(state, 1) == Some(self.options.seed)
        };
        let read_index =
            |state: &ReadState| Some(ReadIndex { context: number(state, 2)?, index: Index(state.index) });
        states.iter().filter(own).filter_map(read_index).collect()
    }

    fn outgoing(&self, messages: Vec<eraftpb::Message>) -> Vec<Message> {
        if self.muted {
            return Vec::new();
        }
        let complete = |entry: &eraftpb::Entry| self.node.store().entry(Index(entry.index), Term(entry.term));
        let offer = |to| {
            let offer = self.node.store().start_snapshot()?;
            membership::names(&offer.membership, to).then_some(offer)
        };
        let outgoing = |message| convert::message_from_raft(self.options.quorum, message, complete, offer);
        messages.into_iter().filter_map(outgoing).collect()
    }

    fn current_vote(&self) -> Vote {
        let raft = &self.node.raft;
        Vote { term: Term(raft.term), voted_for: convert::replica(raft.vote) }
    }

    fn new_role(&mut self) -> Option<RoleChange> {
        let role = match self.node.raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower => Role::Follower,
        };
        let now = RoleChange { role, leader: self.leader(), term: self.term() };
        let changed = now != self.reported;
        self.reported = now;
        changed.then_some(now)
    }
}
