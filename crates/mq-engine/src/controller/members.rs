//! Who should be the members of one quorum: what the controller wants, and its leader brings about.
//!
//! A replica that is no longer wanted is *leaving* until the quorum's leader says that it is out; only then may its
//! broker remove it. What Raft's membership is at this moment is not known here.

use mq_types::{BrokerId, DirectoryId, ReplicaId};
use std::collections::BTreeSet;

/// The members that one quorum should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The replicas that are wanted, the preferred leader first.
    pub replicas: Vec<ReplicaInfo>,
    /// Those that are not wanted any more and may still be members. Where each was opened stays known: its broker may
    /// learn that it is open and that it leaves at once, and its quorum may need its vote to let go of it.
    pub leaving: Vec<ReplicaInfo>,
}

/// A replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaInfo {
    /// Its id, which also names its broker.
    pub replica: ReplicaId,
    /// The data directory in which it was opened; `None`: not yet.
    pub opened_in: Option<DirectoryId>,
    /// It was not there when the quorum was made: it begins empty, as a learner.
    pub is_added: bool,
    /// What its broker said of it.
    pub health: Health,
}

/// How far a replica may be trusted, as its broker told the controller. It only ever gets worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Nothing is known against it.
    #[default]
    Sound,
    /// A bad place below an intact end: it votes, and should not lead.
    Damaged,
    /// It neither votes nor acknowledges: another one must take its place.
    Lost,
}

impl Members {
    /// The ids of all that hold, or may hold, data of the quorum.
    pub fn ids(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        self.replicas.iter().chain(&self.leaving).map(|info| info.replica)
    }

    /// Whether this one is wanted or leaves.
    pub fn names(&self, replica: ReplicaId) -> bool {
        self.ids().any(|id| id == replica)
    }

    /// The wanted replica of this id.
    pub fn get(&self, replica: ReplicaId) -> Option<&ReplicaInfo> {
        self.replicas.iter().find(|info| info.replica == replica)
    }

    /// Whether this one is not wanted any more and may still be a member.
    pub fn leaves(&self, replica: ReplicaId) -> bool {
        self.leaving.iter().any(|info| info.replica == replica)
    }

    /// Where this one was opened, wanted or not; `None`: nowhere yet, or it is not named.
    pub(crate) fn opened_in(&self, replica: ReplicaId) -> Option<DirectoryId> {
        let mut named = self.replicas.iter().chain(&self.leaving);
        named.find(|info| info.replica == replica).and_then(|info| info.opened_in)
    }

    /// The wanted replica on this broker.
    pub fn on(&self, broker: BrokerId) -> Option<&ReplicaInfo> {
        self.replicas.iter().find(|info| info.replica.broker() == broker)
    }

    /// Whether most of the first replicas have been opened: they can elect a leader, who lets others in.
    pub(super) fn are_founded(&self) -> bool {
        let founders = || self.replicas.iter().filter(|info| !info.is_added);
        let opened = founders().filter(|info| info.opened_in.is_some()).count();
        opened * 2 > founders().count() || founders().next().is_none()
    }

    pub(super) fn get_mut(&mut self, replica: ReplicaId) -> Option<&mut ReplicaInfo> {
        self.replicas.iter_mut().find(|info| info.replica == replica)
    }

    /// Who is not there yet begins empty from now on: a replica that began with other founders than the rest would elect
    /// leaders with them. One that was made before this was decided knows the right ones.
    fn close_founding(&mut self) {
        self.replicas
            .iter_mut()
            .filter(|info| info.opened_in.is_none())
            .for_each(|info| info.is_added = true);
    }

    /// Wants these replicas; all others leave.
    pub(super) fn reassign(&mut self, wanted: Vec<ReplicaInfo>) {
        let old = std::mem::replace(&mut self.replicas, wanted);
        let dropped: Vec<ReplicaInfo> =
            old.into_iter().filter(|info| self.get(info.replica).is_none()).collect();
        self.leaving.extend(dropped);
        self.close_founding();
    }

    /// Puts another replica in the place of a wanted one, which leaves.
    pub(super) fn replace(&mut self, old: ReplicaId, new: ReplicaInfo) {
        let place = self.replicas.iter_mut().find(|info| info.replica == old);
        let replaced = std::mem::replace(place.expect("only a wanted replica is replaced"), new);
        self.leaving.push(replaced);
        self.close_founding();
    }

    /// Whether no broker holds two wanted replicas, and none both is wanted and leaves.
    pub(super) fn are_spread(&self) -> bool {
        let brokers: BTreeSet<BrokerId> = self.replicas.iter().map(|info| info.replica.broker()).collect();
        let ids: BTreeSet<ReplicaId> = self.ids().collect();
        brokers.len() == self.replicas.len() && ids.len() == self.replicas.len() + self.leaving.len()
    }
}
