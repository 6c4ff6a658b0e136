//! The cluster's metadata as of an index of quorum 0: what it consists of, and what always holds in it.
//!
//! Nothing changes here: commands do that, in `apply`.

use super::{Members, members::Health};
use mq_types::{BrokerId, DirectoryId, Index, PartitionId, QuorumId, ReplicaId, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The cluster's metadata. Equal on every broker at the same `revision`.
///
/// What always holds, see [`Image::check`]: `names` and the live topics agree; no quorum or replica id is there twice,
/// and every one is below its counter; counters only grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The index of the last command in it.
    pub revision: Index,
    /// The cluster's id, drawn by the founder.
    pub cluster_id: String,
    /// Every broker that ever registered and was not removed.
    pub brokers: BTreeMap<BrokerId, BrokerInfo>,
    /// The members of quorum 0: a replica on every broker. Empty where an older version founded the cluster.
    pub controller: Members,
    /// Every topic, also those in the trash.
    pub topics: BTreeMap<TopicId, Arc<Topic>>,
    /// The live topics (those not in the trash) by name.
    pub names: BTreeMap<String, TopicId>,
    /// Replicas of purged topics, and those that have left their quorums, which their brokers have not yet reported
    /// removed.
    pub tombstones: BTreeMap<QuorumId, Vec<ReplicaId>>,
    /// The next quorum id to give out.
    pub next_quorum: u64,
    /// The next allocation number of each broker's replicas.
    pub next_allocation: BTreeMap<BrokerId, u32>,
}

/// A broker as it registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerInfo {
    /// Its data directory.
    pub directory: DirectoryId,
    /// host:port for gRPC clients.
    pub grpc_endpoint: String,
    /// host:port for other brokers.
    pub peer_endpoint: String,
    /// Its rack, or empty.
    pub rack: String,
    /// Its version.
    pub version: String,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// The configs set on it.
    pub configs: BTreeMap<String, String>,
    /// How many replicas each partition should have.
    pub replication_factor: u32,
    /// Its partitions; a partition's id is its place in this list.
    pub partitions: Vec<PartitionInfo>,
    /// Since when it is in the trash, in ms since the Unix epoch.
    pub deleted_at_ms: Option<i64>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its number in the topic.
    pub id: PartitionId,
    /// Its quorum.
    pub quorum: QuorumId,
    /// Its replicas.
    pub members: Members,
}

/// A rule that an image breaks. Only damaged or foreign bytes can lead to one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the image contradicts itself at {at}: {rule}")]
pub struct Inconsistent {
    /// What must hold.
    pub rule: &'static str,
    /// Of what it does not hold: an id or a name.
    pub at: String,
}

/// Voters of quorum 0 at the most; every other broker's replica is a learner.
const CONTROLLER_VOTERS_MAX: usize = 5;

impl Default for Image {
    /// The image of a cluster that nobody has founded yet.
    fn default() -> Image {
        Image {
            revision: Index(0),
            cluster_id: String::new(),
            brokers: BTreeMap::new(),
            controller: Members::default(),
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            next_quorum: QuorumId::FIRST_PARTITION.0,
            next_allocation: BTreeMap::new(),
        }
    }
}

impl Image {
    /// The allocation number of the replica with which a founder begins quorum 0.
    pub const FOUNDER_ALLOCATION: u32 = 1;
    /// The first allocation number of a broker's replicas: 1 is that of the replica with which a founder begins
    /// quorum 0, before there is an image that could count.
    pub const FIRST_ALLOCATION: u32 = 2;

    /// Whether it is the image of a cluster, and not what stands in its place until the first one comes. What the latter
    /// lacks may be there all the same.
    pub fn is_known(&self) -> bool {
        self.revision > Index(0)
    }

    /// The live topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.names.get(name).map(|id| &self.topics[id])
    }

    /// The partition that this quorum keeps, and its topic (also one in the trash).
    pub fn partition(&self, quorum: QuorumId) -> Option<(&Arc<Topic>, &PartitionInfo)> {
        self.topics
            .values()
            .find_map(|topic| topic.partition(quorum).map(|at| (topic, &topic.partitions[at])))
    }

    /// The members that this quorum should have.
    pub fn members(&self, quorum: QuorumId) -> Option<&Members> {
        if quorum == QuorumId::CONTROLLER {
            return Some(&self.controller);
        }
        self.partition(quorum).map(|(_, partition)| &partition.members)
    }

    /// Whether this was a replica of that quorum once, and is named no more: it has left. One that these metadata do not
    /// know yet has an id that they have not given away.
    pub fn has_left(&self, quorum: QuorumId, replica: ReplicaId) -> bool {
        let next = self.next_allocation.get(&replica.broker()).copied().unwrap_or_default();
        replica.allocation() < next && self.members(quorum).is_some_and(|members| !members.names(replica))
    }

    /// Whether anything is said of this replica of that quorum: that it is wanted, that it leaves, or that it is to go.
    pub(crate) fn names(&self, quorum: QuorumId, replica: ReplicaId) -> bool {
        self.members(quorum).is_some_and(|members| members.names(replica))
            || self.tombstones.get(&quorum).is_some_and(|gone| gone.contains(&replica))
    }

    /// Those of the controller's replicas that should vote: an odd number of the sound ones, at most five, since one
    /// more voter than an odd number makes nothing safer.
    pub fn controller_voters(&self) -> BTreeSet<ReplicaId> {
        let sound = self.controller.replicas.iter().filter(|info| info.health != Health::Lost);
        let ids: BTreeSet<ReplicaId> = sound.map(|info| info.replica).collect();
        let count = ids.len().min(CONTROLLER_VOTERS_MAX);
        ids.into_iter().take(count - usize::from(count > 0 && count.is_multiple_of(2))).collect()
    }

    /// How many partitions there are, those of topics in the trash included.
    pub fn partition_count(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions.len()).sum()
    }

    /// Whether everything that always holds does hold.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Inconsistent> {
        self.check_brokers()?;
        self.check_names()?;
        self.check_partitions()?;
        self.check_ids()
    }

    fn check_brokers(&self) -> Result<(), Inconsistent> {
        for broker in self.brokers.keys() {
            ensure(broker.0 > 0, "broker ids begin at 1", broker)?;
        }
        for (broker, next) in &self.next_allocation {
            ensure(*next >= Image::FIRST_ALLOCATION, "allocation numbers begin at 2", broker)?;
        }
        ensure(self.next_quorum >= QuorumId::FIRST_PARTITION.0, "quorums begin at 1024", &self.next_quorum)
    }

    fn check_names(&self) -> Result<(), Inconsistent> {
        for (id, topic) in &self.topics {
            ensure(topic.id == *id, "a topic stands under its own id", id)?;
            let named = self.names.get(&topic.name) == Some(id);
            let live = topic.deleted_at_ms.is_none();
            ensure(named == live, "a topic has its name exactly while it is not in the trash", &topic.name)?;
        }
        for (name, id) in &self.names {
            let agrees = self.topics.get(id).is_some_and(|topic| topic.name == *name);
            ensure(agrees, "a name leads to the topic of that name", name)?;
        }
        Ok(())
    }

    fn check_partitions(&self) -> Result<(), Inconsistent> {
        for topic in self.topics.values() {
            ensure(!topic.partitions.is_empty(), "a topic has a partition", &topic.id)?;
            ensure(topic.replication_factor > 0, "a partition should have a replica", &topic.id)?;
            let mut previous = QuorumId(0);
            for (at, partition) in topic.partitions.iter().enumerate() {
                ensure(partition.id.0 as usize == at, "a partition's id is its place", &partition.quorum)?;
                ensure(partition.quorum > previous, "the quorums of a topic ascend", &partition.quorum)?;
                let members = &partition.members;
                ensure(!members.replicas.is_empty(), "a partition has a replica", &partition.quorum)?;
                let spread = members.are_spread();
                ensure(spread, "a partition's replicas are on different brokers", &partition.quorum)?;
                previous = partition.quorum;
            }
        }
        Ok(())
    }

    fn check_ids(&self) -> Result<(), Inconsistent> {
        let mut quorums = BTreeSet::new();
        for partition in self.topics.values().flat_map(|topic| &topic.partitions) {
            ensure(quorums.insert(partition.quorum), "a quorum is there once", &partition.quorum)?;
        }
        ensure(
            self.controller.are_spread(),
            "the controller has one replica on a broker",
            &QuorumId::CONTROLLER,
        )?;
        for (quorum, replicas) in &self.tombstones {
            ensure(!replicas.is_empty(), "a tombstone names a replica", quorum)?;
        }
        let mut replicas = BTreeSet::new();
        for (quorum, members) in self.all_members() {
            let is_partition = quorum >= QuorumId::FIRST_PARTITION && quorum.0 < self.next_quorum;
            let counted = is_partition || quorum == QuorumId::CONTROLLER;
            ensure(counted, "a partition's quorum is one that was given out", &quorum)?;
            for replica in members {
                let allocation = replica.0 as u32; // the lower half
                let next = self.next_allocation.get(&replica.broker());
                let founder = quorum == QuorumId::CONTROLLER && allocation == Image::FOUNDER_ALLOCATION;
                let counted = founder
                    || next.is_some_and(|next| (Image::FIRST_ALLOCATION..*next).contains(&allocation));
                ensure(counted, "a replica is one that was given out", &replica)?;
                ensure(replicas.insert(replica), "a replica is there once", &replica)?;
            }
        }
        Ok(())
    }

    /// Every quorum with its replicas, and all tombstones.
    fn all_members(&self) -> impl Iterator<Item = (QuorumId, Vec<ReplicaId>)> + '_ {
        let kept = self.topics.values().flat_map(|topic| &topic.partitions);
        let kept = kept.map(|partition| (partition.quorum, partition.members.ids().collect()));
        let controller = std::iter::once((QuorumId::CONTROLLER, self.controller.ids().collect()));
        kept.chain(controller)
            .chain(self.tombstones.iter().map(|(quorum, replicas)| (*quorum, replicas.clone())))
    }
}

impl Topic {
    /// The place of the partition that this quorum keeps.
    pub(super) fn partition(&self, quorum: QuorumId) -> Option<usize> {
        // A topic's quorums ascend: they come from a counter, and partitions are only ever added behind.
        self.partitions.binary_search_by_key(&quorum, |partition| partition.quorum).ok()
    }
}

impl PartitionInfo {
    /// The ids of the replicas that it should have.
    pub fn replica_ids(&self) -> Vec<ReplicaId> {
        self.members.replicas.iter().map(|info| info.replica).collect()
    }
}

fn ensure(holds: bool, rule: &'static str, at: &impl ToString) -> Result<(), Inconsistent> {
    if holds { Ok(()) } else { Err(Inconsistent { rule, at: at.to_string() }) }
}
