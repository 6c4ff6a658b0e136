//! What a replica does in a turn: propose what was asked for, carry out what Raft wants done, tell those who wait.

use super::membership::is_sole_voter;
use super::{Phase, Replica, Serves, Stamper};
use crate::turn::Turn;
use crate::{Effect, Event, ReadId};
use mq_raft::{Committed, MembershipChange, Role, RoleChange, Work};
use mq_types::{Body, EntryMeta, ReplicaId};

/// Works that one member may want done in one turn, in works; more is a loop that does not end.
const WORKS_PER_TURN_MAX: usize = 1_000_000;

/// What it does.
impl Replica {
    /// Proposes all that was asked for in this turn, in one append.
    pub(crate) fn propose(&mut self, turn: &mut Turn) {
        self.ask_read_index(turn);
        let has_proposals = match &self.serves {
            Serves::Partition(partition) => partition.has_proposals(),
            Serves::Controller(seat) => seat.has_proposals(),
        };
        if !has_proposals {
            return;
        }
        self.is_stirred = true;
        let here = self.here();
        let leading = self.member.as_mut().filter(|member| member.is_leader());
        let mut stamper = leading.as_deref().map(|member| Stamper::new(member, turn.now.wall_ms));
        match &mut self.serves {
            Serves::Partition(partition) => partition.stamp(&here, &mut stamper, turn),
            Serves::Controller(seat) => seat.stamp(&here, &mut stamper, turn),
        }
        let (Some(stamper), Some(member)) = (stamper, leading) else { return };
        let taken = member.propose(stamper.into_entries()).is_ok();
        match &mut self.serves {
            Serves::Partition(partition) => partition.proposed(taken, &here, turn),
            Serves::Controller(seat) => seat.proposed(taken, &here, turn),
        }
    }

    fn ask_read_index(&mut self, turn: &Turn) {
        let (Serves::Partition(partition), Some(member)) = (&mut self.serves, &mut self.member) else {
            return;
        };
        if let Some(context) = partition.read_index_to_ask(turn.now.monotonic_ms) {
            member.read_index(context);
        }
    }

    /// Carries out all that Raft wants done, then tells readers and those who wait.
    pub(crate) fn drain(&mut self, turn: &mut Turn) {
        let mut works = 0;
        // A log whose loss is being written takes nothing after that verdict.
        while !self.writes.is_losing()
            && let Some(member) = &mut self.member
        {
            let work = member.take_work();
            if work.is_empty() {
                break;
            }
            works += 1;
            assert!(works <= WORKS_PER_TURN_MAX, "quorum {} does not come to rest", self.quorum);
            self.carry_out(work, turn);
        }
        if works == 0 && !std::mem::take(&mut self.is_stirred) && self.writes.is_quiet() {
            return;
        }
        self.is_stirred = false;
        let here = self.here();
        if !matches!(self.phase, Phase::Creating(_) | Phase::Removing | Phase::Gone) {
            match &mut self.serves {
                Serves::Partition(partition) => partition.settle(&here, &self.segments, turn),
                Serves::Controller(seat) => seat.settle(&here, &mut self.writes, turn),
            }
        }
        if let Some(write) = self.writes.give_due(self.applied) {
            turn.push(write);
        }
    }

    /// One work, in Raft's order.
    fn carry_out(&mut self, work: Work, turn: &mut Turn) {
        if let Some(persist) = work.persist {
            if let Some(first) = persist.entries.first() {
                // What gives way now was never committed, so never applied either.
                self.opened_with.1 = self.opened_with.1.min(first.index.previous());
            }
            turn.push(self.writes.give(persist, self.applied));
        }
        turn.send(work.send_now);
        if let Some(send) = work.send_after_persist {
            turn.send(self.writes.hold(send));
        }
        for read in work.read {
            turn.push(Effect::Read {
                quorum: self.quorum,
                replica: self.replica,
                read: ReadId(read.id.0),
                from: read.first_index,
                until: read.end_index,
                size_bytes_max: usize::try_from(read.bytes_max).unwrap_or(usize::MAX),
            });
        }
        if !work.committed.is_empty() {
            self.apply(&work.committed, turn);
        }
        if let Some(change) = work.membership {
            assert!(
                self.membership_write.is_none(),
                "one change of the members takes effect after the other"
            );
            if !mq_types::planted!("members_change_unrecorded") {
                self.writes.change_members(change.membership.clone());
            }
            self.membership_write = Some(change);
            if mq_types::planted!("members_change_unrecorded") {
                self.members_changed(turn);
            }
        }
        if let Some(role) = work.role {
            self.role_changed(role, turn);
        }
        if let Serves::Partition(partition) = &mut self.serves {
            for read in work.read_indexes {
                partition.read_index_confirmed(read.context, read.index);
            }
        }
    }

    fn apply(&mut self, committed: &[Committed], turn: &mut Turn) {
        for entry in committed {
            let meta = &entry.meta;
            assert_eq!(
                meta.index,
                self.applied.next(),
                "entries of quorum {} are applied in order",
                self.quorum
            );
            self.apply_one(meta, entry.body.as_ref(), turn);
        }
        if let Some(member) = &mut self.member {
            member.applied(self.applied);
        }
    }

    fn apply_one(&mut self, meta: &EntryMeta, body: Option<&Body>, turn: &mut Turn) {
        (self.applied, self.applied_term) = (meta.index, meta.term);
        let here = self.here();
        match &mut self.serves {
            Serves::Partition(partition) => partition.apply(meta, body, &here, &mut self.writes, turn),
            Serves::Controller(seat) => seat.apply(meta, body, turn),
        }
    }

    /// The record of a change of the members is durable: it takes effect.
    pub(super) fn members_changed(&mut self, turn: &mut Turn) {
        let Some(MembershipChange { meta, membership }) = self.membership_write.take() else { return };
        let Some(member) = &mut self.member else { return };
        member.membership_applied();
        self.is_sole_voter = is_sole_voter(&membership, self.replica);
        self.apply_one(&meta, None, turn);
        let (quorum, voters, learners) = (self.quorum, membership.voters, membership.learners);
        turn.event(Event::MembersChanged { quorum, voters, learners });
    }

    fn role_changed(&mut self, change: RoleChange, turn: &mut Turn) {
        let leads_in = (change.role == Role::Leader).then_some(change.term);
        let led_in = std::mem::replace(&mut self.led_in, leads_in);
        if led_in == leads_in {
            return;
        }
        let (quorum, term) = (self.quorum, change.term);
        if led_in.is_some() {
            let leader = change.leader.map(ReplicaId::broker);
            turn.event(Event::SteppedDown { quorum, term, leader });
        }
        if leads_in.is_some() {
            turn.event(Event::BecameLeader { quorum, term });
        }
    }
}
