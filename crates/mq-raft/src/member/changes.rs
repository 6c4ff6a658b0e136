//! How the members of a quorum change.
//!
//! ```text
//!   propose_membership ─► committed ─► Work.membership ─► (the owner records it) ─► membership_applied
//! ```
//!
//! Between the last two nothing is handed out as committed, so that the record of the members and everything applied
//! always stand at the same index, and a change that was recorded is never applied twice.

use super::Member;
use crate::membership::{self, MembershipTarget, ProposeMembershipError};
use crate::options::LEARNER_APPENDS_IN_FLIGHT_MAX;
use crate::peers::Peer;
use crate::work::MembershipChange;
use crate::{convert, work};
use bytes::Bytes;
use mq_types::persist::{Membership, Snapshot};
use mq_types::{Body, Entry, EntryKind, EntryMeta, Index, Message, ReplicaId};
use raft::eraftpb::ConfChangeV2;
use raft::{ProgressState, SnapshotStatus};
use std::collections::BTreeMap;

/// A change that was handed out and waits for its record.
pub(super) struct Changing {
    change: ConfChangeV2,
    membership: Membership,
}

impl Member {
    /// Proposes that the quorum have these members. A difference of one replica is one step; more lead to a joint
    /// configuration, which is to be left by [`Member::leave_joint`] once it is applied.
    ///
    /// A new member's log begins empty ([`mq_types::persist::Start::EMPTY`]). It should be a learner until it has
    /// caught up: a voter that lacks most of the log counts for the majority and cannot help to reach it.
    pub fn propose_membership(&mut self, target: &MembershipTarget) -> Result<(), ProposeMembershipError> {
        self.check_may_change()?;
        if self.is_joint() {
            return Err(ProposeMembershipError::Joint);
        }
        let change = membership::change_to(self.membership(), target)?;
        self.propose_change(&change);
        Ok(())
    }

    /// Proposes to leave the joint configuration.
    pub fn leave_joint(&mut self) -> Result<(), ProposeMembershipError> {
        self.check_may_change()?;
        if !self.is_joint() {
            return Err(ProposeMembershipError::NotJoint);
        }
        self.propose_change(&ConfChangeV2::default());
        Ok(())
    }

    /// A record of the members last handed out is durable, and everything before their entry is applied: they take
    /// effect, and their entry counts as applied. If this member leads and has no vote any more, it steps down.
    pub fn membership_applied(&mut self) {
        let changing = self.changing.take();
        let Changing { change, membership } = changing.expect("members were handed out to be recorded");
        let index = membership.conf_index;
        let applied = self.applied_index();
        assert_eq!(applied.next(), index, "the members of entry {index} take effect after entry {applied}");
        // First: the library may offer a start snapshot to a new member at once.
        self.node.mut_store().set_membership(membership);
        let conf_state = self.node.apply_conf_change(&change);
        let conf_state = conf_state.expect("it was possible when it was handed out, and nothing has changed");
        assert_eq!(&convert::membership_from_raft(&conf_state, index), self.membership());
        self.handed_out = index;
        self.node.advance_apply_to(index.0);
        self.node.mut_store().applied(index);
        if self.is_leader() && !self.node.raft.promotable() {
            // The library would look for its own progress, which is gone.
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
        }
        self.members_changed();
        self.after_call();
    }

    /// The members as of the last applied change. After a start snapshot they may be ahead of the log.
    pub fn membership(&self) -> &Membership {
        self.node.store().membership()
    }

    /// Whether a change of the members is under way, as far as this member knows. A leader also says so while it
    /// has not applied all that it found when it was elected: a change may be among it.
    pub fn is_membership_pending(&self) -> bool {
        self.changing.is_some() || self.is_leader() && self.node.raft.has_pending_conf()
    }

    /// How far the peers are, in order of their ids. Nobody, unless this member leads.
    pub fn peers(&self) -> Vec<Peer> {
        if !self.is_leader() {
            return Vec::new();
        }
        let own = self.options.replica;
        let progress = self.node.raft.prs().iter().map(|(&id, progress)| (ReplicaId(id), progress));
        let peers = progress.filter(|(replica, _)| *replica != own).map(|(replica, progress)| Peer {
            replica,
            matched: Index(progress.matched),
            committed: Index(progress.committed_index),
            silent_ticks: self.silences.silent_ticks(replica),
        });
        let mut peers: Vec<Peer> = peers.collect();
        peers.sort_unstable_by_key(|peer| peer.replica);
        peers
    }

    /// A machine's snapshot is durable: from now on peers are given this one whose entries are trimmed. It must
    /// cover no more than is applied.
    pub fn machine_snapshot_stored(&mut self, snapshot: Snapshot) {
        if self.restoring.is_none() {
            self.node.mut_store().machine_snapshot_stored(snapshot);
        }
    }

    /// The members that a committed entry leads to, to be recorded.
    pub(super) fn begin_change(&mut self, meta: EntryMeta, encoded: &[u8]) -> work::MembershipChange {
        let change = membership::decode(encoded).expect("it was checked when it came");
        let membership = membership::after(self.node.raft.prs(), &change, meta.index);
        let membership =
            membership.expect("its leader has tried it on the same members before it proposed it");
        self.changing = Some(Changing { change, membership: membership.clone() });
        MembershipChange { meta, membership }
    }

    /// What depends on who the members are.
    pub(super) fn members_changed(&mut self) {
        let has_peers = self.node.raft.prs().iter().any(|(&id, _)| id != self.options.replica.0);
        let retained_bytes_max = if has_peers { self.options.limits.retained_bytes_max } else { 0 };
        self.node.mut_store().set_retained_bytes_max(retained_bytes_max);

        let voter_max = self.options.limits.appends_in_flight_max;
        let learner_max = voter_max.min(LEARNER_APPENDS_IN_FLIGHT_MAX);
        let learners = self.membership().learners.clone();
        let ids: Vec<u64> = self.node.raft.prs().iter().map(|(&id, _)| id).collect();
        for id in ids {
            let max = if learners.contains(&ReplicaId(id)) { learner_max } else { voter_max };
            self.node.raft.adjust_max_inflight_msgs(id, max);
        }
    }

    /// Time has passed for the peers of a leader: a start snapshot that is not answered for too long is lost.
    pub(super) fn tick_peers(&mut self) {
        if !self.is_leader() {
            self.silences.forget();
            return;
        }
        let own = self.options.replica.0;
        let peers = self.node.raft.prs().iter().filter(|(id, _)| **id != own);
        let peers: BTreeMap<ReplicaId, bool> =
            peers.map(|(&id, peer)| (ReplicaId(id), peer.state == ProgressState::Snapshot)).collect();
        for peer in self.silences.tick(&peers) {
            if mq_types::planted!("lost_start_snapshot_never_reported") {
                continue;
            }
            self.node.report_snapshot(peer.0, SnapshotStatus::Failure);
        }
    }

    /// Leaves out of an append what begins with a change of the members that comes after another one which is not on
    /// record here. The leader sends it again; by then the record is there.
    ///
    /// That a leader could propose the second proves that the first is committed. But this is known in memory only:
    /// after a crash both would be in the log, and this member could campaign, and commit, as if neither were.
    /// Members two changes apart need not meet in any majority.
    pub(super) fn leave_out_later_changes(&self, message: &mut Message) {
        let mut changes = self.changes_in(message).map(|(at, ..)| at);
        let Some(first) = changes.next() else { return };
        let second = changes.next();
        drop(changes);
        let left_out = if self.has_unrecorded_change(message.index) { Some(first) } else { second };
        if let Some(at) = left_out {
            message.entries.truncate(at);
        }
    }

    /// The changes of the members in an append that have not taken effect here: place, index and what they hold.
    pub(super) fn changes_in<'m>(
        &self,
        message: &'m Message,
    ) -> impl Iterator<Item = (usize, Index, &'m Bytes)> + use<'m> {
        let conf_index = self.membership().conf_index;
        message.entries.iter().enumerate().filter_map(move |(at, entry)| match &entry.body {
            Body::Membership(change) if entry.index > conf_index => Some((at, entry.index, change)),
            _ => None,
        })
    }

    /// Whether the log has a change of the members up to this entry that has not taken effect.
    pub(super) fn has_unrecorded_change(&self, until: Index) -> bool {
        let shadow = self.node.store();
        let after = self.membership().conf_index.max(shadow.applied_index());
        let unwritten = self.node.raft.raft_log.unstable_entries().iter();
        let mut unwritten = unwritten.filter(|entry| entry.index > after.0 && entry.index <= until.0);
        let written = (after.next().0..=until.0.min(shadow.last_index().0)).map(Index);
        let mut written = written.filter_map(|index| shadow.in_memory(index));
        written.any(|(meta, _)| meta.kind == EntryKind::Membership)
            || unwritten.any(|entry| entry.get_entry_type() == convert::entry_type(EntryKind::Membership))
    }

    fn is_joint(&self) -> bool {
        !self.membership().voters_outgoing.is_empty()
    }

    /// The library would refuse as well, but by proposing an empty entry instead.
    fn check_may_change(&self) -> Result<(), ProposeMembershipError> {
        if !self.is_leader() {
            return Err(ProposeMembershipError::NotLeader { leader: self.leader() });
        }
        if let Some(to) = self.node.raft.lead_transferee {
            return Err(ProposeMembershipError::HandingOver { to: ReplicaId(to) });
        }
        if self.is_membership_pending() {
            return Err(ProposeMembershipError::Pending { until: Index(self.node.raft.pending_conf_index) });
        }
        Ok(())
    }

    /// Proposes a change that is possible. It stands where the entry before it ends, in time too.
    fn propose_change(&mut self, change: &ConfChangeV2) {
        let index = self.last_index().next();
        let possible = membership::after(self.node.raft.prs(), change, index);
        possible.expect("it leads from these members to others that have a voter");
        let tip = self.tip();
        let entry = Entry {
            index,
            term: self.term(),
            base_offset: tip.next_offset,
            appended_at_ms: tip.last_appended_at_ms,
            body: Body::Membership(membership::encode(change).into()),
        };
        self.step_proposal(vec![convert::entry_to_raft(&entry)]);
        assert_eq!(self.node.raft.pending_conf_index, index.0, "the library took the change for one");
    }
}
