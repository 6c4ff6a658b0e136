//! What a replica does in a turn: propose what was asked for, carry out what Raft wants done, tell those who wait.

use super::{Phase, Replica, Serves, Stamper};
use crate::turn::Turn;
use crate::{Effect, Event, ReadId};
use mq_raft::{Committed, Role, RoleChange, Work};
use mq_types::{Body, ReplicaId};

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
            assert!(
                !matches!(entry.body, Some(Body::Membership(_))),
                "entry {} of quorum {} changes the members, which this version cannot",
                meta.index,
                self.quorum
            );
            (self.applied, self.applied_term) = (meta.index, meta.term);
            let here = self.here();
            match &mut self.serves {
                Serves::Partition(partition) => {
                    let body = entry.body.as_ref();
                    partition.apply(meta, body, &here, &mut self.writes, turn);
                }
                Serves::Controller(seat) => seat.apply(meta, entry.body.as_ref(), turn),
            }
        }
        if let Some(member) = &mut self.member {
            member.applied(self.applied);
        }
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
