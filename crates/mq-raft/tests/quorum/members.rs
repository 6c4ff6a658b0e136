//! How the members of a world's quorum change, and what their owners write for it.

use crate::disk::{Disk, image};
use crate::world::{Replica, World};
use mq_raft::{Kind, MembershipChange, MembershipTarget, Persist};
use mq_types::persist::Membership;
use mq_types::{Body, Index, ReplicaId};

/// These voters and learners.
pub(crate) fn target(voters: &[u64], learners: &[u64]) -> MembershipTarget {
    let replicas = |ids: &[u64]| ids.iter().copied().map(ReplicaId).collect();
    MembershipTarget { voters: replicas(voters), learners: replicas(learners) }
}

/// Whether the replica is one of the members.
pub(crate) fn names(membership: &Membership, replica: ReplicaId) -> bool {
    let Membership { voters, learners, voters_outgoing, .. } = membership;
    [voters, learners, voters_outgoing].iter().any(|ids| ids.contains(&replica))
}

impl World {
    /// A replica that is not a member yet, and knows of none.
    pub(crate) fn add(&mut self, replica: ReplicaId) {
        let before = self.replicas.insert(replica, Replica::on(Disk::added()));
        assert!(before.is_none(), "a replica id is never used again");
        self.start(replica);
    }

    /// Proposes these members, lets that come about, and leaves the joint configuration if it leads to one.
    pub(crate) fn change(&mut self, leader: ReplicaId, voters: &[u64], learners: &[u64]) {
        let proposed = self.member(leader).propose_membership(&target(voters, learners));
        assert_eq!(proposed, Ok(()), "{voters:?} {learners:?}");
        self.settle();
        if !self.member(leader).membership().voters_outgoing.is_empty() {
            self.member(leader).leave_joint().expect("it is joint");
            self.settle();
        }
    }

    /// A write is given out, with the commit index that it may carry: never at or past a change of the members that
    /// is not on record.
    pub(crate) fn begin_write(&mut self, replica: ReplicaId, persist: Persist) {
        let state = self.replica(replica);
        let is_empty = persist.vote.is_none() && persist.entries.is_empty() && persist.restore.is_none();
        assert!(!is_empty, "an empty write");
        let mut commit = state.commit;
        if let Some(restored) = &persist.restore {
            assert!(state.writes.is_empty(), "a start snapshot is accepted while a write is in flight");
            assert!(state.change.is_none(), "a start snapshot is accepted before a change is on record");
            assert_eq!(restored.start.prev_index, commit);
            state.applied.clear();
            state.restores += 1;
        } else {
            let writes = state.writes.iter().map(|(persist, _)| persist).chain([&persist]);
            if let Some(index) = state.disk.first_unrecorded(writes) {
                commit = commit.min(index.previous());
            }
            let before = state.writes.back().map_or(state.disk.commit, |(_, commit)| *commit);
            commit = commit.max(before);
        }
        state.writes.push_back((persist, commit));
    }

    /// Members are handed out to be recorded.
    pub(crate) fn note_change(&mut self, replica: ReplicaId, change: MembershipChange) {
        self.note_committed(replica, change.meta, Some(&Body::NoOp));
        let handed_out = self.replica(replica).applied.pop();
        assert_eq!(handed_out, Some(change.meta), "it counts as handed out when it takes effect");
        assert_eq!(change.membership.conf_index, change.meta.index);
        let recorded = self.disk(replica).membership.conf_index;
        assert!(change.meta.index > recorded, "entry {} is applied a second time", change.meta.index);
        let known = self.memberships.entry(change.meta.index).or_insert(change.membership.clone());
        assert_eq!(*known, change.membership, "replica {replica} has other members");
        let before = self.replica(replica).change.replace(change);
        assert_eq!(before, None, "one change is handed out at a time");
    }

    /// The members that were handed out become durable, if everything before them is applied. They do not take
    /// effect yet.
    pub(crate) fn write_record(&mut self, replica: ReplicaId) -> bool {
        let applied = self.member(replica).applied_index();
        let state = self.replica(replica);
        let Some(change) = &state.change else { return false };
        let is_due = applied.next() == change.meta.index;
        if is_due {
            state.disk.membership = change.membership.clone();
        }
        is_due
    }

    /// The same, and they take effect.
    pub(crate) fn record(&mut self, replica: ReplicaId) {
        if !self.write_record(replica) {
            return;
        }
        let state = self.replica(replica);
        let change = state.change.take().expect("it was recorded");
        state.applied.push(change.meta);
        let member = self.member(replica);
        member.membership_applied();
        assert_eq!(member.applied_index(), change.meta.index);
        assert_eq!(member.membership(), &change.membership);
    }

    /// The log's beginning is trimmed up to this entry, if that may be.
    pub(crate) fn trim(&mut self, replica: ReplicaId, index: Index) {
        let applied = self.member(replica).applied_index();
        let (kind, state) = (self.kind, self.replica(replica));
        let snapshot = state.disk.snapshot.as_ref().map(|snapshot| snapshot.index);
        let floor = match kind {
            Kind::Partition => applied.min(state.disk.commit),
            Kind::Machine => snapshot.unwrap_or_default(),
        };
        let index = index.min(floor);
        if index > state.disk.start.prev_index && !self.member(replica).is_restoring() {
            let disk = self.disk(replica);
            disk.trim(index);
            let start = disk.start;
            self.member(replica).compacted(start);
        }
    }

    /// The machine's image as of this applied entry becomes durable.
    pub(crate) fn store_snapshot(&mut self, replica: ReplicaId, index: Index) {
        let disk = self.disk(replica);
        let newest = disk.snapshot.as_ref().map_or(Index(0), |snapshot| snapshot.index);
        if index > newest {
            disk.snapshot = Some(image(index));
            self.member(replica).machine_snapshot_stored(image(index));
        }
    }
}
