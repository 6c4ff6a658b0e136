//! Bringing a quorum's members to what the controller wants: one step at a time, by its leader.
//!
//! A wanted replica becomes a learner, then, once it has caught up, a voter by the same joint change that lets go of
//! those who leave. Nothing is removed because it is absent somewhere: only who is named as leaving goes, and who has
//! left before, and was let in again by a leader that had not heard of it. A leader that leaves hands over before it
//! takes its own vote, so that nobody waits for an election.

mod parting;

pub(super) use parting::Parting;

use super::feeding::Feeding;
use super::{Replica, Serves};
use crate::controller::{Command, Health, Members, ReplicaInfo};
use crate::turn::Turn;
use mq_raft::{MembershipTarget, Peer};
use mq_types::persist::Membership;
use mq_types::{BrokerId, Index, ReplicaId};
use parting::{Handover, Heirs};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// A learner so close to what is committed has caught up, in entries: what it still lacks is on its way.
const CAUGHT_UP_ENTRIES: u64 = 64;
/// How often a leader looks whether another one should lead instead, in ms.
const BETTER_LEADER_INTERVAL_MS: u64 = 5_000;

/// The members that a quorum should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Who should be there, and who should go.
    pub(crate) members: Members,
    /// Those of them that should vote.
    pub(crate) voters: BTreeSet<ReplicaId>,
}

impl Wanted {
    /// A partition's replicas all vote.
    pub(crate) fn all_voting(members: &Members) -> Wanted {
        let voters = members.replicas.iter().map(|info| info.replica).collect();
        Wanted { members: members.clone(), voters }
    }

    /// Whether nobody can wait for this one: it is lost, or cannot be made before another one has left its broker.
    fn is_blocked(&self, replica: ReplicaId) -> bool {
        let Some(info) = self.members.get(replica) else { return true };
        let is_before = |old: &ReplicaInfo| old.replica.broker() == replica.broker();
        let has_predecessor = self.members.leaving.iter().any(is_before);
        info.health == Health::Lost || (info.opened_in.is_none() && has_predecessor)
    }

    fn can_join(info: &ReplicaInfo) -> bool {
        info.opened_in.is_some() && info.health != Health::Lost
    }
}

/// What a leader knows when it decides on a step.
pub(crate) struct Outlook<'a> {
    /// The members as they are.
    pub(crate) current: &'a Membership,
    /// The leader.
    pub(crate) own: ReplicaId,
    /// The others.
    pub(crate) peers: &'a [Peer],
    /// What the leader knows to be committed.
    pub(crate) commit: Index,
    /// So many ticks ago the leader learned who is wanted.
    pub(crate) wanted_ticks: usize,
    /// Members that have left before, as the metadata know.
    pub(crate) returned: &'a BTreeSet<ReplicaId>,
}

impl Outlook<'_> {
    fn has(&self, replica: ReplicaId) -> bool {
        self.current.voters.contains(&replica) || self.current.learners.contains(&replica)
    }

    fn peer(&self, replica: ReplicaId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.replica == replica)
    }

    fn is_active(&self, replica: ReplicaId) -> bool {
        replica == self.own || self.peer(replica).is_some_and(Peer::is_active)
    }

    /// Whether anything was heard of it since it is known who is wanted: that somebody was there a moment before is no
    /// reason to let another one go.
    fn has_answered(&self, replica: ReplicaId) -> bool {
        let has_answered = |peer: &Peer| peer.is_active() && peer.silent_ticks < self.wanted_ticks;
        replica == self.own || self.peer(replica).is_some_and(has_answered)
    }

    fn has_caught_up(&self, replica: ReplicaId) -> bool {
        let near = |peer: &Peer| peer.matched.0.saturating_add(CAUGHT_UP_ENTRIES) >= self.commit.0;
        self.peer(replica).is_some_and(|peer| peer.is_active() && near(peer))
    }

    /// Whether it knows that it votes now. It would not campaign before.
    fn knows_the_members(&self, replica: ReplicaId) -> bool {
        self.peer(replica).is_some_and(|peer| peer.committed >= self.current.conf_index)
    }
}

/// A change of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Leave the joint configuration.
    LeaveJoint,
    /// Have these members next.
    Change(MembershipTarget),
}

impl Step {
    /// The next step towards what is wanted; `None`: there is none to take now.
    fn next(wanted: &Wanted, outlook: &Outlook<'_>) -> Option<Step> {
        if !outlook.current.voters_outgoing.is_empty() {
            return Some(Step::LeaveJoint);
        }
        next_target(wanted, outlook).map(Step::Change)
    }

    /// Whether this one is to vote when the step is taken.
    fn keeps(&self, replica: ReplicaId, current: &Membership) -> bool {
        match self {
            Step::LeaveJoint => current.voters.contains(&replica),
            Step::Change(target) => target.voters.contains(&replica),
        }
    }

    /// Who could lead in the leader's place, before this step and after it.
    fn heirs(&self, wanted: &Wanted, outlook: &Outlook<'_>) -> Heirs {
        let is_heir = |info: &&ReplicaInfo| {
            let votes = outlook.current.voters.contains(&info.replica);
            votes && self.keeps(info.replica, outlook.current) && info.replica != outlook.own
        };
        let answers = |info: &&ReplicaInfo| outlook.is_active(info.replica);
        let heirs: Vec<&ReplicaInfo> =
            wanted.members.replicas.iter().filter(is_heir).filter(answers).collect();
        let is_ready = |info: &&&ReplicaInfo| {
            outlook.has_caught_up(info.replica) && outlook.knows_the_members(info.replica)
        };
        match heirs.iter().filter(is_ready).min_by_key(|info| info.health) {
            Some(heir) => Heirs::Ready(heir.replica),
            None if heirs.is_empty() => Heirs::None,
            None => Heirs::Late,
        }
    }
}

/// The members to have next on the way to what is wanted; `None`: those that there are.
fn next_target(wanted: &Wanted, outlook: &Outlook<'_>) -> Option<MembershipTarget> {
    let voters: BTreeSet<ReplicaId> = outlook.current.voters.iter().copied().collect();
    let learners: BTreeSet<ReplicaId> = outlook.current.learners.iter().copied().collect();
    let missing =
        wanted.members.replicas.iter().find(|info| Wanted::can_join(info) && !outlook.has(info.replica));
    if let Some(missing) = missing {
        return Some(MembershipTarget {
            voters,
            learners: learners.iter().copied().chain([missing.replica]).collect(),
        });
    }
    let leaves = |id: &ReplicaId| wanted.members.leaves(*id) || outlook.returned.contains(id);
    let promoted =
        learners.iter().copied().filter(|id| wanted.voters.contains(id) && outlook.has_caught_up(*id));
    let mut next_voters: BTreeSet<ReplicaId> = voters.iter().copied().chain(promoted).collect();
    // Who leaves, or is to listen only, has a vote until everybody who is to come has one.
    let is_complete = wanted.voters.iter().all(|id| next_voters.contains(id) || wanted.is_blocked(*id));
    let is_to_listen = |id: &ReplicaId| wanted.members.get(*id).is_some() && !wanted.voters.contains(id);
    if is_complete || mq_types::planted!("leaver_goes_first") {
        next_voters.retain(|id| !leaves(id) && !is_to_listen(id));
    }
    let there = next_voters.iter().filter(|id| outlook.has_answered(**id)).count();
    if there * 2 <= next_voters.len() && !mq_types::planted!("leaver_goes_first") {
        return None; // they could not even commit that they are the members
    }
    let listens = |id: &ReplicaId| {
        !next_voters.contains(id) && !leaves(id) && (learners.contains(id) || is_to_listen(id))
    };
    let next_learners = learners.iter().chain(&voters).copied().filter(listens).collect();
    let target = MembershipTarget { voters: next_voters, learners: next_learners };
    (target.voters != voters || target.learners != learners).then_some(target)
}

/// What the leader does about the members.
impl Replica {
    /// The controller wants these members.
    pub(crate) fn want(&mut self, wanted: Wanted) {
        if self.wanted != wanted {
            self.wanted = wanted;
            self.wanted_ticks = 0;
            self.parting = Parting::NotBegun;
        }
    }

    /// Takes one step towards the wanted members, if this replica leads and no other step is under way.
    pub(crate) fn reconcile(&mut self, turn: &mut Turn) {
        let (here, own_health) = (self.here(), self.health());
        let Some(member) = self.member.as_mut().filter(|member| member.is_leader()) else { return };
        let (peers, now_ms) = (member.peers(), turn.now.monotonic_ms);
        if !here.serving {
            let voters = &member.membership().voters;
            if self.feeding.is_stuck(member.term(), voters, &peers, now_ms) {
                // Nobody can be brought up to date and take over in order. Whoever wins holds what was committed.
                let heirs = heirs(&self.wanted.members.replicas, voters, &peers);
                self.feeding.next_heir(&heirs, now_ms).into_iter().for_each(|heir| member.let_campaign(heir));
            }
            return;
        }
        self.feeding = Feeding::default();
        if let Serves::Controller(seat) = &mut self.serves {
            let silent = peers.iter().filter(|peer| !peer.is_active());
            seat.set_silent(silent.map(|peer| peer.replica.broker()).collect());
        }
        if member.is_membership_pending() || self.membership_write.is_some() {
            return;
        }
        let current = member.membership();
        // All metadata are asked only about a member that nobody wants or lets go: there is hardly ever one.
        let unnamed = all_members(current).filter(|id| !self.wanted.members.names(*id));
        let returned = unnamed.filter(|id| turn.image.has_left(self.quorum, *id)).collect();
        let outlook = Outlook {
            current,
            own: self.replica,
            peers: &peers,
            commit: member.commit(),
            wanted_ticks: self.wanted_ticks,
            returned: &returned,
        };
        if let Some(step) = Step::next(&self.wanted, &outlook) {
            let handover = match step.keeps(self.replica, outlook.current) {
                true => Handover::No,
                false => self.parting.next(step.heirs(&self.wanted, &outlook), now_ms),
            };
            match (handover, step) {
                (Handover::To(heir), _) => member.transfer_leader(heir),
                (Handover::Wait, _) => {}
                // Refused only while it leads no more, or hands over: the next leader or a later tick takes the step.
                (Handover::No, Step::LeaveJoint) => drop(member.leave_joint()),
                (Handover::No, Step::Change(target)) => drop(member.propose_membership(&target)),
            }
            return;
        }
        if now_ms >= self.next_better_ms {
            self.next_better_ms = now_ms.saturating_add(BETTER_LEADER_INTERVAL_MS);
            if let Some(better) = better_leader(&self.wanted, &outlook, own_health) {
                member.transfer_leader(better);
            }
        }
    }

    /// Those that should leave and have left, for the controller to know; only its leader can say.
    pub(crate) fn left(&self) -> Option<Command> {
        let member = self.member.as_ref().filter(|_| self.here().serving)?;
        if member.is_membership_pending() || self.membership_write.is_some() {
            return None;
        }
        let membership = member.membership();
        let is_member = |id: &ReplicaId| {
            is_member(membership, *id) && !mq_types::planted!("leaver_removed_while_it_votes")
        };
        let left: Vec<ReplicaId> =
            self.wanted.members.leaving.iter().map(|info| info.replica).filter(|id| !is_member(id)).collect();
        (!left.is_empty()).then_some(Command::MembersLeft { quorum: self.quorum, replicas: left })
    }

    /// Lost replicas in whose place the leader wants others: that it leads shows that the quorum works without them.
    pub(crate) fn replacements(&self) -> Vec<Command> {
        if self.quorum == mq_types::QuorumId::CONTROLLER || !self.here().serving {
            return Vec::new();
        }
        let lost = self.wanted.members.replicas.iter().filter(|info| info.health == Health::Lost);
        lost.map(|info| Command::ReplaceReplica { quorum: self.quorum, replica: info.replica }).collect()
    }

    /// Messages to this broker were lost.
    pub(crate) fn unreachable(&mut self, broker: BrokerId) {
        let Some(member) = &mut self.member else { return };
        for peer in member.peers().into_iter().filter(|peer| peer.replica.broker() == broker) {
            member.unreachable(peer.replica);
        }
    }
}

/// The replica that should lead instead, if there is one that could at once: the first one that is wanted; in place of
/// a damaged leader, the one that lacks least, since what the others lack may be what cannot be read.
fn better_leader(wanted: &Wanted, outlook: &Outlook<'_>, own_health: Health) -> Option<ReplicaId> {
    let replicas = &wanted.members.replicas;
    let considered = if own_health == Health::Sound { 1 } else { replicas.len() };
    let considered = &replicas[..considered.min(replicas.len())];
    let heir = heirs(considered, &outlook.current.voters, outlook.peers).first().copied();
    heir.filter(|heir| outlook.has_caught_up(*heir))
}

/// Of those that are sound, vote and answer, who lacks least of the leader's log first; equals as they stand.
fn heirs(replicas: &[ReplicaInfo], voters: &[ReplicaId], peers: &[Peer]) -> Vec<ReplicaId> {
    let can_lead = |info: &&ReplicaInfo| info.health == Health::Sound && voters.contains(&info.replica);
    let peer =
        |info: &ReplicaInfo| peers.iter().find(|peer| peer.replica == info.replica && peer.is_active());
    let mut heirs: Vec<&Peer> = replicas.iter().filter(can_lead).filter_map(peer).collect();
    heirs.sort_by_key(|peer| Reverse(peer.matched));
    heirs.into_iter().map(|peer| peer.replica).collect()
}

fn all_members(membership: &Membership) -> impl Iterator<Item = ReplicaId> {
    let Membership { voters, learners, voters_outgoing, learners_next, .. } = membership;
    [voters, learners, voters_outgoing, learners_next].into_iter().flatten().copied()
}

fn is_member(membership: &Membership, replica: ReplicaId) -> bool {
    all_members(membership).any(|id| id == replica)
}

/// Whether this replica is the only one with a vote.
pub(super) fn is_sole_voter(membership: &Membership, replica: ReplicaId) -> bool {
    membership.voters == [replica] && membership.voters_outgoing.is_empty()
}

#[cfg(test)]
mod tests;
