//! Who votes and who only listens: what the owner asks for, why it may be refused, and what a change leads to.
//!
//! A change is a `ConfChangeV2` of the Raft library, and the library's own `Changer` says what becomes of it. When a
//! change takes effect is `Member`'s business.

use crate::convert;
use mq_types::persist::Membership;
use mq_types::{Index, ReplicaId};
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};
use raft::{Changer, ProgressTracker};
use std::collections::BTreeSet;

/// The members that a quorum shall have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembershipTarget {
    /// Who votes; at least one replica.
    pub voters: BTreeSet<ReplicaId>,
    /// Who receives the log without a vote.
    pub learners: BTreeSet<ReplicaId>,
}

/// Why a change of the members was not proposed. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeMembershipError {
    /// Another member leads, or none: propose there.
    #[error("this replica does not lead its quorum; the leader is {leader:?}")]
    NotLeader {
        /// Who does, if it is known.
        leader: Option<ReplicaId>,
    },
    /// Leadership is being handed over: try again, here or there, in an election timeout at most.
    #[error("this replica is handing leadership over to replica {to}")]
    HandingOver {
        /// To whom.
        to: ReplicaId,
    },
    /// Another change is on its way, or may be: try again when that is applied.
    #[error("the entries up to {until} may change the members and are not all applied yet; try again")]
    Pending {
        /// Up to where everything must be applied first.
        until: Index,
    },
    /// The quorum is in a joint configuration: leave it first.
    #[error("the quorum is in a joint configuration, which must be left first")]
    Joint,
    /// There is no joint configuration to leave.
    #[error("the quorum is in no joint configuration that could be left")]
    NotJoint,
    /// There is nothing to change.
    #[error("the members are as they shall be already")]
    Unchanged,
    /// A quorum without voters could never decide anything: name at least one.
    #[error("the members would have no voter among them; name at least one")]
    NoVoters,
    /// One replica cannot be both: decide.
    #[error("replica {replica} is named as a voter and as a learner; it can be one of them only")]
    VoterAndLearner {
        /// Which one.
        replica: ReplicaId,
    },
}

/// The change that leads from these members, which are not joint, to the target: simple if it is about one replica,
/// else joint and to be left by order.
pub(crate) fn change_to(
    now: &Membership,
    target: &MembershipTarget,
) -> Result<ConfChangeV2, ProposeMembershipError> {
    if target.voters.is_empty() {
        return Err(ProposeMembershipError::NoVoters);
    }
    if let Some(&replica) = target.voters.intersection(&target.learners).next() {
        return Err(ProposeMembershipError::VoterAndLearner { replica });
    }
    let is_target = |id: &&ReplicaId| target.voters.contains(id) || target.learners.contains(id);
    let new_voters = target.voters.iter().filter(|id| !now.voters.contains(id));
    let new_learners = target.learners.iter().filter(|id| !now.learners.contains(id));
    let leaving = now.voters.iter().chain(&now.learners).filter(|id| !is_target(id));
    let singles: Vec<ConfChangeSingle> = new_voters
        .map(|id| (id, ConfChangeType::AddNode))
        .chain(new_learners.map(|id| (id, ConfChangeType::AddLearnerNode)))
        .chain(leaving.map(|id| (id, ConfChangeType::RemoveNode)))
        .map(|(id, change_type)| ConfChangeSingle { change_type, node_id: id.0, ..Default::default() })
        .collect();
    let transition = match singles.len() {
        0 => return Err(ProposeMembershipError::Unchanged),
        1 => ConfChangeTransition::Auto,
        _ => ConfChangeTransition::Explicit,
    };
    Ok(ConfChangeV2 { transition, changes: singles.into(), ..Default::default() })
}

/// What the members are after the change at `index`. Nothing is applied.
pub(crate) fn after(
    tracker: &ProgressTracker,
    change: &ConfChangeV2,
    index: Index,
) -> raft::Result<Membership> {
    let mut changer = Changer::new(tracker);
    let (configuration, _) = match change.enter_joint() {
        _ if change.leave_joint() => changer.leave_joint()?,
        Some(auto_leave) => changer.enter_joint(auto_leave, &change.changes)?,
        None => changer.simple(&change.changes)?,
    };
    Ok(convert::membership_from_raft(&configuration.to_conf_state(), index))
}

/// A change as an entry holds it; empty: leave the joint configuration.
pub(crate) fn decode(bytes: &[u8]) -> Option<ConfChangeV2> {
    let mut change = ConfChangeV2::default();
    change.merge_from_bytes(bytes).ok()?;
    Some(change)
}

/// The reverse of [`decode`].
pub(crate) fn encode(change: &ConfChangeV2) -> Vec<u8> {
    change.write_to_bytes().expect("a change has no required field, and memory takes all of it")
}

/// Whether the replica is one of the members.
pub(crate) fn names(membership: &Membership, replica: ReplicaId) -> bool {
    let Membership { voters, learners, voters_outgoing, .. } = membership;
    [voters, learners, voters_outgoing].iter().any(|ids| ids.contains(&replica))
}

/// Whether members that a peer tells of can be those of a quorum. The library trusts them blindly.
pub(crate) fn is_sound(membership: &Membership) -> bool {
    let Membership { conf_index, voters, learners, voters_outgoing, learners_next, auto_leave } = membership;
    let is_set = |ids: &[ReplicaId]| {
        let distinct: BTreeSet<_> = ids.iter().filter(|id| id.0 != raft::INVALID_ID).collect();
        distinct.len() == ids.len()
    };
    let lists = [voters, learners, voters_outgoing, learners_next];
    let learner_votes = |id: &ReplicaId| voters.contains(id) || voters_outgoing.contains(id);
    let is_staged = |id: &ReplicaId| voters_outgoing.contains(id) && !voters.contains(id);
    conf_index.0 > 0
        && !voters.is_empty()
        && !auto_leave // nobody here proposes such a change
        && lists.iter().all(|ids| is_set(ids))
        && !learners.iter().any(learner_votes)
        && learners_next.iter().all(is_staged)
}
