//! What changes the image: commands, kept in the log of quorum 0.

use super::{BrokerInfo, Health};
use mq_types::{BrokerId, DirectoryId, QuorumId, ReplicaId, TopicId};
use std::collections::BTreeMap;

/// One change of the image. Applying it is deterministic: time comes from the entry, ids from the command or from
/// counters in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The founder names the cluster.
    Found {
        /// The cluster's id.
        cluster_id: String,
        /// The replica with which quorum 0 began, and the data directory it lies in. `None`: an older version.
        founder: Option<(ReplicaId, DirectoryId)>,
    },
    /// A broker says where it is.
    RegisterBroker {
        /// Its id.
        broker: BrokerId,
        /// The rest.
        info: BrokerInfo,
    },
    /// A broker joins, and gets a replica of quorum 0 in its data directory: the one that it has, unless that is in
    /// another directory or lost.
    JoinBroker {
        /// Its id.
        broker: BrokerId,
        /// The rest.
        info: BrokerInfo,
    },
    /// A new topic.
    CreateTopic {
        /// Its id.
        topic_id: TopicId,
        /// Its name.
        name: String,
        /// Its configs.
        configs: BTreeMap<String, String>,
        /// The brokers of each partition's replicas.
        placement: Vec<Vec<BrokerId>>,
    },
    /// Other configs.
    AlterTopicConfigs {
        /// The topic.
        topic_id: TopicId,
        /// Keys to set.
        set: BTreeMap<String, String>,
        /// Keys to return to their default.
        unset: Vec<String>,
    },
    /// More partitions, behind the present ones.
    AddPartitions {
        /// The topic.
        topic_id: TopicId,
        /// How many there were when this was planned: another number refuses the command, unless the topic has
        /// by then just the number that this would have given it.
        first_partition: u32,
        /// The brokers of each new partition's replicas.
        placement: Vec<Vec<BrokerId>>,
    },
    /// Into the trash.
    DeleteTopic {
        /// The topic.
        topic_id: TopicId,
    },
    /// Out of the trash.
    RestoreTopic {
        /// The topic.
        topic_id: TopicId,
    },
    /// Gone for good: its replicas become tombstones.
    PurgeTopic {
        /// The topic.
        topic_id: TopicId,
        /// Only if it is in the trash since then, in ms since the Unix epoch: a topic that somebody has restored
        /// meanwhile is not purged. `None`: wherever it is.
        in_trash_since_ms: Option<i64>,
    },
    /// A replica was made; succeeds once per replica id.
    OpenReplica {
        /// Its quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
        /// The data directory it lies in.
        directory: DirectoryId,
    },
    /// A broker says that one of its replicas may not be trusted as before.
    ReplicaFailed {
        /// Its quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
        /// How far it may be trusted now.
        health: Health,
    },
    /// A quorum works without one of its replicas, which is lost: its leader wants another one in its place.
    ReplaceReplica {
        /// The quorum.
        quorum: QuorumId,
        /// The lost replica.
        replica: ReplicaId,
    },
    /// A partition's replicas are to be on these brokers, the preferred leader's first.
    ReassignPartition {
        /// Its quorum.
        quorum: QuorumId,
        /// The brokers.
        brokers: Vec<BrokerId>,
    },
    /// A quorum's leader says that these are no members any more: their brokers may remove them.
    MembersLeft {
        /// The quorum.
        quorum: QuorumId,
        /// Who has left.
        replicas: Vec<ReplicaId>,
    },
    /// A tombstoned replica has been removed.
    ReplicaRemoved {
        /// Its quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
    },
}
