//! Whether what a peer sends goes on from what is here. The library compares terms alone: offsets and times it does not
//! know, and it takes for granted that nobody answers what it has not asked yet.

use super::Member;
use crate::convert::{self, Tip};
use crate::incoming::Malformation;
use crate::membership;
use mq_types::message::MessageKind;
use mq_types::persist::Start;
use mq_types::{Index, Message, Term};
use raft::StateRole;

impl Member {
    /// Checks a message that is well-formed by itself.
    pub(super) fn check_continuity(&self, message: &Message) -> Result<(), Malformation> {
        match message.kind {
            MessageKind::Append => self.check_append(message),
            MessageKind::VoteResponse => self.check_vote(message),
            MessageKind::Snapshot => self.check_snapshot(message),
            _ => Ok(()),
        }
    }

    /// The first entry that would be appended goes on from the one before it, which is here; and the first change of
    /// the members leads from those that there are here to others that are possible.
    fn check_append(&self, message: &Message) -> Result<(), Malformation> {
        let last_index = self.last_index();
        let has = |index: Index, term: Term| {
            index <= last_index && self.node.raft.raft_log.term(index.0).is_ok_and(|known| known == term.0)
        };
        let is_taken = message.index >= self.commit() && has(message.index, message.log_term);
        let new = message.entries.iter().find(|entry| !has(entry.index, entry.term));
        let Some(new) = new.filter(|_| is_taken) else { return Ok(()) };
        let before = self.tip_after(new.index.previous());
        let goes_on =
            new.base_offset == before.next_offset && new.appended_at_ms >= before.last_appended_at_ms;
        if !goes_on {
            return Err(Malformation::Entry(new.index));
        }
        match self.changes_in(message).next() {
            Some((_, index, change)) if !self.has_unrecorded_change(message.index) => {
                let is_possible = membership::decode(change)
                    .and_then(|change| membership::after(self.node.raft.prs(), &change, index).ok())
                    .is_some_and(|members| membership::is_sound(&members));
                if is_possible { Ok(()) } else { Err(Malformation::Entry(index)) }
            }
            _ => Ok(()), // it is left out, and comes again when it would be the next one
        }
    }

    /// A start snapshot that would replace the log takes back nothing that is committed here.
    fn check_snapshot(&self, message: &Message) -> Result<(), Malformation> {
        let Some(offered) = message.start.as_deref().filter(|offered| self.would_replace(offered)) else {
            return Ok(());
        };
        let Start { prev_index, prev_term, base_offset, .. } = offered.start;
        let commit = self.commit();
        let committed_term = self.node.raft.raft_log.term(commit.0).expect("what is committed is here");
        let goes_on = prev_index > commit
            && prev_term.0 >= committed_term
            && base_offset >= self.tip_after(commit).next_offset;
        if goes_on { Ok(()) } else { Err(Malformation::Start) }
    }

    /// A vote is asked for when everything before it is durable, and given after that. One that comes when the election
    /// is over changes nothing.
    fn check_vote(&self, message: &Message) -> Result<(), Malformation> {
        let log = &self.node.raft.raft_log;
        let is_awaited = self.node.raft.state == StateRole::Candidate && message.term == self.term();
        if is_awaited && log.persisted != log.last_index() { Err(Malformation::NotAsked) } else { Ok(()) }
    }

    /// What goes on after this entry, which is not committed or the last one that is.
    fn tip_after(&self, index: Index) -> Tip {
        let unwritten = self.node.raft.raft_log.unstable_entries();
        let stored = match unwritten.first() {
            Some(first) => index.min(Index(first.index).previous()),
            None => index,
        };
        // An entry that the library made leaves the tip where it is.
        let until = unwritten.iter().rev().filter(|entry| entry.index <= index.0);
        let newest = until.filter_map(convert::entry_from_raft).next();
        newest.map_or_else(|| self.node.store().tip_after(stored), |entry| Tip::after(&entry.meta()))
    }
}
