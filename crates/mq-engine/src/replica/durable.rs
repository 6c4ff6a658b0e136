//! What a durable write means for a replica's life: it is there, it takes part, it is lost, it begins anew, it is gone.

use super::membership::is_sole_voter;
use super::{Phase, Replica, Serves};
use crate::segments::Segments;
use crate::turn::Turn;
use crate::writes::Settled;
use crate::{Effect, Event};
use mq_raft::Member;
use mq_types::persist::{Create, RecoveredReplica, Standing, Start, StartSnapshot, Vote};
use mq_types::{QuorumId, ReplicaId, TermRuns};

/// What follows from it.
impl Replica {
    /// The log begins anew where a peer's start snapshot says.
    pub(super) fn restored(&mut self, restored: StartSnapshot, turn: &mut Turn) {
        let (quorum, index) = (self.quorum, restored.start.prev_index);
        assert!(index >= self.applied, "quorum {quorum} would go back from {} to {index}", self.applied);
        (self.applied, self.applied_term) = (index, restored.start.prev_term);
        self.opened_with.1 = self.opened_with.1.min(index);
        self.is_sole_voter = is_sole_voter(&restored.membership, self.replica);
        match (&mut self.serves, restored.machine) {
            (Serves::Partition(partition), None) => partition.restored(&restored.start),
            (Serves::Controller(seat), Some(data)) => seat.restored(index, data, turn),
            _ => panic!("quorum {quorum} was given the start snapshot of something else"),
        }
        turn.event(Event::Restored { quorum, replica: self.replica, index });
    }

    /// What a durable write means for the replica's life.
    pub(super) fn advance(&mut self, settled: &Settled, turn: &mut Turn) {
        let (quorum, replica) = (self.quorum, self.replica);
        if settled.created
            && let Phase::Creating(create) = std::mem::replace(&mut self.phase, Phase::Waiting)
        {
            turn.event(Event::Created { quorum, replica });
            self.member = Some(self.open_member(&as_recovered(quorum, replica, *create, &self.segments)));
            if mq_types::planted!("opened_not_awaited")
                && let Some(member) = &mut self.member
            {
                member.unmute();
            }
            let opened = !self.member.as_ref().is_some_and(Member::is_muted);
            if opened {
                self.phase = Phase::Open;
                self.start();
            }
            if let Some(command) = self.announcement(turn.options.directory) {
                turn.notice(Effect::Command(command));
            }
        }
        if settled.opened && self.phase == Phase::Opening {
            self.phase = Phase::Open;
            turn.event(Event::Opened { quorum, replica });
            if let Some(member) = &mut self.member {
                member.unmute();
            }
            self.start();
        }
        if settled.damaged && self.phase != Phase::Removing {
            assert!(
                !matches!(self.standing, Standing::Lost(_)),
                "replica {replica} of quorum {quorum} was lost"
            );
            self.standing = Standing::Damaged;
            if let Some(member) = &mut self.member {
                member.set_damaged();
            }
            turn.event(Event::Damaged { quorum, replica });
        }
        if let Some(reason) = settled.lost
            && self.phase != Phase::Removing
        {
            self.phase = Phase::Lost;
            self.standing = Standing::Lost(reason);
            self.leave();
            turn.event(Event::Lost { quorum, replica, reason });
        }
        if settled.removed {
            self.phase = Phase::Gone;
        }
    }
}

/// What recovery would find of a replica that was just made.
fn as_recovered(
    quorum: QuorumId,
    replica: ReplicaId,
    create: Create,
    segments: &Segments,
) -> RecoveredReplica {
    let Start { prev_index, prev_term, prev_appended_at_ms, base_offset, log_start } = create.start;
    RecoveredReplica {
        quorum,
        replica,
        vote: Vote { term: prev_term, voted_for: None },
        opened: create.opened,
        standing: Standing::Sound,
        membership: create.membership,
        start: create.start,
        term_runs: TermRuns::starting_at(prev_index, prev_term, base_offset),
        last_index: prev_index,
        next_offset: base_offset,
        last_appended_at_ms: prev_appended_at_ms,
        commit: prev_index,
        high_watermark: log_start,
        snapshot: create.snapshot,
        tail: Vec::new(),
        segments: segments.list().to_vec(),
    }
}
