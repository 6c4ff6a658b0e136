//! What can be asked of the controller, and what it answers.

use super::{BrokerInfo, Topic};
use mq_types::{BrokerId, ReplicaId, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A change of the cluster's metadata. With `validate_only` everything is checked and nothing changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Create a topic.
    CreateTopic {
        /// Its name.
        name: String,
        /// Its id, drawn by the shell.
        topic_id: TopicId,
        /// How many partitions; `None`: the broker's `num.partitions`.
        partition_count: Option<u32>,
        /// How many replicas each; `None`: the broker's `default.replication.factor`.
        replication_factor: Option<u32>,
        /// Its configs, under Kafka's names.
        configs: BTreeMap<String, String>,
        /// Check only.
        validate_only: bool,
    },
    /// Change some of a topic's configs.
    AlterTopicConfigs {
        /// The topic's name.
        name: String,
        /// Keys to set.
        set: BTreeMap<String, String>,
        /// Keys to return to their default.
        unset: Vec<String>,
        /// Check only.
        validate_only: bool,
    },
    /// Raise a topic's number of partitions.
    AddPartitions {
        /// The topic's name.
        name: String,
        /// Another topic of the same name is left alone.
        topic_id: Option<TopicId>,
        /// The new total; the present one changes nothing.
        partition_count: u32,
        /// Check only.
        validate_only: bool,
    },
    /// Delete a topic: into the trash, or for good.
    DeleteTopic {
        /// The topic's name; empty: one in the trash, by its id.
        name: String,
        /// Another topic of the same name is left alone.
        topic_id: Option<TopicId>,
        /// For good, at once.
        purge: bool,
        /// Check only.
        validate_only: bool,
    },
    /// Move a partition's replicas to these brokers.
    ReassignPartition {
        /// The topic's name.
        topic: String,
        /// The partition.
        partition: u32,
        /// The brokers, the preferred leader's first.
        brokers: Vec<BrokerId>,
        /// Check only.
        validate_only: bool,
    },
    /// A broker wants to take part. Asked by its shell ([`crate::Effect::Join`]).
    JoinBroker {
        /// Its id.
        broker: BrokerId,
        /// The rest.
        info: BrokerInfo,
    },
    /// Bring a topic back from the trash.
    RestoreTopic {
        /// Its id.
        topic_id: TopicId,
    },
}

/// The controller's answer, given when the change is committed and in the image.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The topic as it is now (with `validate_only`: as it would be).
    Topic(Arc<Topic>),
    /// The topic is in the trash, or gone.
    Deleted,
    /// The broker takes part with this replica of quorum 0 ([`crate::Input::Joined`]).
    Joined {
        /// The replica.
        replica: ReplicaId,
    },
}
