//! One replica's writes: their numbers, what waits for them, and what the next one has to carry.
//!
//! Raft numbers its own writes; the shell's numbers grow by 1 per quorum and cover everything that a replica writes.
//! Nothing here knows what a write means beyond what has to wait for it.

use crate::segments::Appended;
use crate::{Effect, WriteNumber};
use mq_raft::{Persist, SendAfterPersist};
use mq_types::persist::{LostReason, Membership, ReplicaWrite, Snapshot, Standing, StartSnapshot, Trim};
use mq_types::{Index, Message, QuorumId, ReplicaId};
use std::collections::VecDeque;

/// The writes of one replica.
#[derive(Debug)]
pub(crate) struct Writes {
    /// The number of the newest write given out.
    last: WriteNumber,
    /// The commit index that the newest write carried. Never falls: a machine applies again, after a restart, what
    /// was committed long before.
    commit: Index,
    /// What the next write carries besides Raft's part.
    next: ReplicaWrite,
    /// Whether `next` is worth a write of its own.
    is_due: bool,
    /// Given out and not known to be durable, oldest first.
    in_flight: VecDeque<InFlight>,
    /// Applied entries whose effect is not durable before this write is, oldest first.
    unsettled: VecDeque<(Index, WriteNumber)>,
}

#[derive(Debug)]
struct InFlight {
    number: WriteNumber,
    settled: Settled,
}

/// What became durable together.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Raft's number of it.
    pub(crate) raft: Option<u64>,
    /// Messages that waited for it.
    pub(crate) messages: Vec<Message>,
    /// Entries that were appended, write by write.
    pub(crate) appended: Vec<Appended>,
    /// The active segment was closed.
    pub(crate) rolled: bool,
    /// The replica is there.
    pub(crate) created: bool,
    /// The controller's acceptance is on record.
    pub(crate) opened: bool,
    /// So is a bad place in its log.
    pub(crate) damaged: bool,
    /// So is its loss.
    pub(crate) lost: Option<LostReason>,
    /// It is gone.
    pub(crate) removed: bool,
    /// Its log begins anew, from a peer's start snapshot.
    pub(crate) restored: Option<StartSnapshot>,
    /// A committed change of the members is on record, and may take effect.
    pub(crate) members_changed: bool,
    /// A machine's snapshot is stored.
    pub(crate) snapshot: Option<Snapshot>,
}

impl Writes {
    /// No writes yet, on top of a log in which this commit index is known.
    pub(crate) fn new(quorum: QuorumId, replica: ReplicaId, commit: Index) -> Writes {
        Writes {
            last: WriteNumber(0),
            commit,
            next: ReplicaWrite::new(quorum, replica),
            is_due: false,
            in_flight: VecDeque::new(),
            unsettled: VecDeque::new(),
        }
    }

    /// What the next write carries; there will be one at the end of this turn.
    pub(crate) fn due(&mut self) -> &mut ReplicaWrite {
        self.is_due = true;
        &mut self.next
    }

    /// The members after a committed change go with the next write.
    pub(crate) fn change_members(&mut self, membership: Membership) {
        self.due().membership = Some(membership);
    }

    /// The log's beginning goes with the next write, down to what any order of that write says.
    pub(crate) fn trim(&mut self, trim: Trim) {
        let due = self.due();
        due.trim = Trim::both(due.trim, Some(trim));
    }

    /// The replica's end, and nothing else, goes with the next write: where there is no room, nothing that was given out
    /// before is ever written.
    pub(crate) fn remove(&mut self) {
        let nothing = ReplicaWrite::new(self.next.quorum, self.next.replica);
        *self.due() = ReplicaWrite { remove: true, ..nothing };
    }

    /// How large a segment may become: goes with the next write, whenever there is one.
    pub(crate) fn set_segment_size(&mut self, bytes_max: u64) {
        self.next.segment_size_bytes_max = Some(bytes_max);
    }

    /// The applied entry at `index` takes effect with the next write. Answers that write's number.
    pub(crate) fn settle_with_next(&mut self, index: Index) -> WriteNumber {
        let number = WriteNumber(self.last.0 + 1);
        assert!(self.unsettled.back().is_none_or(|newest| newest.0 < index), "entries are applied in order");
        self.unsettled.push_back((index, number));
        number
    }

    /// The commit index that the next write will carry: everything up to it has its effect on record.
    pub(crate) fn next_commit(&self, applied: Index) -> Index {
        if mq_types::planted!("commit_before_its_effect") {
            return self.commit.max(applied);
        }
        let settled = self.unsettled.front().map_or(applied, |oldest| applied.min(oldest.0.previous()));
        self.commit.max(settled)
    }

    /// Whether the active segment is about to be closed.
    pub(crate) fn is_rolling(&self) -> bool {
        self.next.roll || self.in_flight.iter().any(|flight| flight.settled.rolled)
    }

    /// Whether the verdict that the replica is lost is being written.
    pub(crate) fn is_losing(&self) -> bool {
        matches!(self.next.standing, Some(Standing::Lost(_)))
            || self.in_flight.iter().any(|flight| flight.settled.lost.is_some())
    }

    /// Whether a worse standing is being written, whichever.
    pub(crate) fn has_verdict(&self) -> bool {
        self.next.standing.is_some()
            || self.in_flight.iter().any(|flight| flight.settled.damaged || flight.settled.lost.is_some())
    }

    /// Whether everything given out is durable and nothing is due.
    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty() && !self.is_due
    }

    /// Raft's write, with all that is due.
    pub(crate) fn give(&mut self, persist: Persist, applied: Index) -> Effect {
        self.next.vote = persist.vote;
        self.next.entries = persist.entries;
        if let Some(restore) = persist.restore {
            return self.give_restore(persist.number, restore);
        }
        self.give_next(Some(persist.number), None, applied)
    }

    /// A write that begins the log anew. What was due for the old log means nothing for the new one.
    fn give_restore(&mut self, raft: u64, restore: StartSnapshot) -> Effect {
        let start = restore.start;
        self.next.reset = Some((start, restore.membership.clone()));
        self.next.snapshot = restore.machine.clone().map(|data| Snapshot { index: start.prev_index, data });
        self.next.trim = None;
        self.next.roll = false;
        self.unsettled.clear();
        self.give_next(Some(raft), Some(restore), start.prev_index)
    }

    /// All that is due, if anything is.
    pub(crate) fn give_due(&mut self, applied: Index) -> Option<Effect> {
        self.is_due.then(|| self.give_next(None, None, applied))
    }

    fn give_next(&mut self, raft: Option<u64>, restored: Option<StartSnapshot>, applied: Index) -> Effect {
        let empty = ReplicaWrite::new(self.next.quorum, self.next.replica);
        let mut write = std::mem::replace(&mut self.next, empty);
        self.is_due = false;
        self.last = WriteNumber(self.last.0 + 1);
        self.commit = self.next_commit(applied);
        if !write.remove {
            write.commit = self.commit;
        }
        let lost = match write.standing {
            Some(Standing::Lost(reason)) => Some(reason),
            _ => None,
        };
        let settled = Settled {
            raft,
            messages: Vec::new(),
            appended: Appended::of(&write.entries).into_iter().collect(),
            rolled: write.roll,
            created: write.create.is_some(),
            opened: write.open,
            damaged: write.standing == Some(Standing::Damaged),
            lost,
            removed: write.remove,
            members_changed: write.membership.is_some(),
            snapshot: write.snapshot.clone(),
            restored,
        };
        self.in_flight.push_back(InFlight { number: self.last, settled });
        Effect::Persist { number: self.last, write: Box::new(write) }
    }

    /// Holds messages back until Raft's write is durable. Gives them back if it is already.
    pub(crate) fn hold(&mut self, send: SendAfterPersist) -> Vec<Message> {
        let waits_for = self.in_flight.iter_mut().find(|flight| flight.settled.raft >= Some(send.number));
        match waits_for {
            Some(flight) => {
                flight.settled.messages.extend(send.messages);
                Vec::new()
            }
            None => send.messages,
        }
    }

    /// Messages that were held back will not be sent: the replica takes no part any more.
    pub(crate) fn drop_messages(&mut self) {
        for flight in &mut self.in_flight {
            flight.settled.messages.clear();
        }
    }

    /// This write and all before it are durable.
    pub(crate) fn persisted(&mut self, number: WriteNumber) -> Settled {
        assert!(
            number <= self.last,
            "write {} became durable but only {} were given out",
            number.0,
            self.last.0
        );
        let mut all = Settled::default();
        while let Some(flight) = self.in_flight.pop_front_if(|flight| flight.number <= number) {
            let settled = flight.settled;
            all.raft = settled.raft.or(all.raft);
            all.messages.extend(settled.messages);
            all.rolled |= settled.rolled;
            all.created |= settled.created;
            all.opened |= settled.opened;
            all.damaged |= settled.damaged;
            all.lost = settled.lost.or(all.lost);
            all.removed |= settled.removed;
            all.members_changed |= settled.members_changed;
            all.snapshot = settled.snapshot.or(all.snapshot);
            if settled.restored.is_some() {
                // What was appended before is in a log that is no more.
                all.appended.clear();
                all.restored = settled.restored;
            }
            all.appended.extend(settled.appended);
        }
        while self.unsettled.pop_front_if(|oldest| oldest.1 <= number).is_some() {}
        match all.removed {
            true => Settled { removed: true, ..Settled::default() },
            false => all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Effect, Settled, Writes};
    use mq_types::persist::{Membership, ReplicaWrite, Standing, Start, StartSnapshot, Trim};
    use mq_types::{BrokerId, Index, QuorumId, ReplicaId};

    fn write_of(effect: Effect) -> ReplicaWrite {
        match effect {
            Effect::Persist { write, .. } => *write,
            other => panic!("it writes nothing: {other:?}"),
        }
    }

    /// A full disk may have held back all that was given out before: the log lacks what it says.
    #[test]
    fn the_end_of_a_replica_rests_on_nothing_that_was_to_be_written_before() {
        let (quorum, replica) = (QuorumId(1024), ReplicaId::new(BrokerId(1), 2));
        let mut writes = Writes::new(quorum, replica, Index(0));
        let start = Start { prev_index: Index(7), ..Start::BOOTSTRAP };
        let restore = StartSnapshot { start, membership: Membership::default(), machine: None };
        assert_eq!(write_of(writes.give_restore(1, restore)).commit, Index(7));
        writes.change_members(Membership::default());
        writes.trim(Trim::Index(Index(7)));
        writes.due().standing = Some(Standing::Damaged);
        writes.remove();
        let removal = write_of(writes.give_due(Index(7)).expect("it is due"));
        assert_eq!(removal, ReplicaWrite { remove: true, ..ReplicaWrite::new(quorum, replica) });

        let settled = writes.persisted(writes.last);
        let Settled { removed, restored, members_changed, damaged, raft, .. } = settled;
        assert!(removed && restored.is_none() && !members_changed && !damaged && raft.is_none());
    }
}
