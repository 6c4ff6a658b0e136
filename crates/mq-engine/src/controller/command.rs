//! What changes the image: commands, kept in the log of quorum 0.

use super::BrokerInfo;
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
    },
    /// A broker says where it is.
    RegisterBroker {
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
    /// A tombstoned replica has been removed.
    ReplicaRemoved {
        /// Its quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
    },
}
