//! Members that come and go in a random run, and logs whose beginnings are trimmed.

use super::Run;
use crate::world::{World, id};
use mq_raft::{ELECTION_TICKS, Kind, MembershipTarget};
use mq_types::{Index, ReplicaId};
use std::collections::BTreeSet;

/// Replicas of one run, members or not.
const REPLICAS_MAX: u64 = 12;

impl Run {
    /// One step of whoever moves members: any change that may be asked for, sensible or not.
    pub(super) fn change_members(&mut self, leader: ReplicaId) {
        let current = self.world.member(leader).membership().clone();
        if !current.voters_outgoing.is_empty() {
            let _ = self.world.member(leader).leave_joint(); // refused while a change is pending
            return;
        }
        let mut target = MembershipTarget {
            voters: current.voters.iter().copied().collect(),
            learners: current.learners.iter().copied().collect(),
        };
        match self.random.below(8) {
            0..3 => {
                if let Some(new) = self.newcomer() {
                    target.learners.insert(new);
                }
            }
            3..5 => self.promote(&mut target, false),
            5 => self.promote(&mut target, true),
            6 => {
                let leaving = self.one_of(&target.voters);
                target.voters.retain(|voter| Some(*voter) != leaving);
                if self.random.once_in(2) {
                    target.learners.extend(leaving);
                }
            }
            _ => {
                let members: Vec<_> = target.voters.iter().chain(&target.learners).copied().collect();
                target = MembershipTarget::default();
                for member in members {
                    match self.random.below(5) {
                        0 => {}
                        1 => _ = target.learners.insert(member),
                        _ => _ = target.voters.insert(member),
                    }
                }
            }
        }
        let _ = self.world.member(leader).propose_membership(&target); // refused if there is nothing to change
    }

    /// A learner becomes a voter, in some voter's place or beside them.
    fn promote(&mut self, target: &mut MembershipTarget, replaces: bool) {
        let Some(learner) = self.one_of(&target.learners) else { return };
        let leaving = self.one_of(&target.voters).filter(|_| replaces);
        target.learners.remove(&learner);
        target.voters.retain(|voter| Some(*voter) != leaving);
        target.voters.insert(learner);
    }

    fn one_of(&mut self, ids: &BTreeSet<ReplicaId>) -> Option<ReplicaId> {
        if ids.is_empty() {
            return None;
        }
        ids.iter().nth(self.random.below(ids.len())).copied()
    }

    /// A replica that never was a member; who has left never comes back.
    fn newcomer(&mut self) -> Option<ReplicaId> {
        let was_member =
            |world: &World, id: ReplicaId| world.memberships.values().any(|it| crate::members::names(it, id));
        let spare = self.world.ids().into_iter().find(|id| !was_member(&self.world, *id));
        let next = self.world.replicas.len() as u64 + 1;
        if spare.is_none() && next <= REPLICAS_MAX {
            self.world.add(id(next));
            return Some(id(next));
        }
        spare
    }

    /// The log of this replica begins later, and a machine's image stands for what is gone.
    pub(super) fn trim(&mut self, replica: ReplicaId) {
        let applied = self.world.member(replica).applied_index();
        if self.world.kind == Kind::Machine && self.random.once_in(2) {
            let index = applied.0.saturating_sub(self.random.below(10) as u64);
            self.world.store_snapshot(replica, Index(index));
        }
        let index = applied.0.saturating_sub(self.random.below(20) as u64);
        self.world.trim(replica, Index(index));
    }

    /// The process ends at the worst moment of a change: it is on record, and has not taken effect.
    pub(super) fn record_and_crash(&mut self, replica: ReplicaId) {
        if self.world.is_up(replica) && self.world.write_record(replica) {
            self.world.restart(replica);
        }
    }

    /// Leaves the joint configuration in which the faults may have left the quorum.
    pub(super) fn leave_joint(&mut self) {
        for _ in 0..10 {
            self.world.pass(10 * ELECTION_TICKS);
            let leader = self.world.leader().expect("a leader after all faults have ended");
            if self.world.member(leader).membership().voters_outgoing.is_empty() {
                return;
            }
            let _ = self.world.member(leader).leave_joint();
        }
        panic!("the joint configuration is never left");
    }
}
