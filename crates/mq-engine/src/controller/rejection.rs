//! Why a command was refused when its turn came, and what a client who waits for it is told.
//!
//! The one place where refusals become errors of the API.

use crate::api;
use mq_types::{BrokerId, DirectoryId, QuorumId, ReplicaId, TopicId};

/// Why a command changed nothing. Every broker refuses the same commands for the same reasons.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A cluster is founded once.
    #[error("the cluster is founded already, as {cluster_id:?}")]
    FoundedAlready {
        /// Its id.
        cluster_id: String,
    },
    /// A cluster's id is not empty.
    #[error("a cluster cannot be founded without an id")]
    NoClusterId,
    /// 0 stands for "none".
    #[error("broker ids begin at 1")]
    BrokerIdZero,
    /// No such topic, or not any more.
    #[error("there is no topic with id {topic_id}")]
    UnknownTopic {
        /// What was asked for.
        topic_id: TopicId,
    },
    /// The topic is in the trash.
    #[error("topic {name:?} ({topic_id}) is in the trash; restore it first")]
    InTrash {
        /// Its name.
        name: String,
        /// Its id.
        topic_id: TopicId,
    },
    /// The topic was in the trash when its purge was planned, and has been taken out since.
    #[error("topic {name:?} ({topic_id}) has been restored since it was to be purged from the trash")]
    Restored {
        /// Its name.
        name: String,
        /// Its id.
        topic_id: TopicId,
    },
    /// A topic's id is drawn once.
    #[error("a topic with id {topic_id} exists already")]
    TopicIdTaken {
        /// The id.
        topic_id: TopicId,
    },
    /// Another live topic has the name.
    #[error("topic {name:?} exists already, with id {topic_id}")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        topic_id: TopicId,
    },
    /// The topic has got partitions since this was planned.
    #[error("topic {name:?} has {found} partitions now, not {planned_on} as when {wanted} were asked for")]
    PartitionCountChanged {
        /// The topic.
        name: String,
        /// How many there were.
        planned_on: u32,
        /// How many there are.
        found: u32,
        /// How many there were to be.
        wanted: u32,
    },
    /// A list of partitions without any.
    #[error("no partition is to be made")]
    NoPartitions,
    /// Partitions of a new topic with different numbers of replicas, or with none.
    #[error("partition {partition} is to have {found} replicas where {expected} are expected")]
    ReplicaCount {
        /// Which of the new ones, from 0.
        partition: usize,
        /// How many it is to have.
        found: usize,
        /// How many it must have; at least 1.
        expected: usize,
    },
    /// Two replicas of a partition on one broker.
    #[error("broker {broker} is to hold two replicas of one partition")]
    BrokerTwice {
        /// The broker.
        broker: BrokerId,
    },
    /// No such broker, or not any more.
    #[error("there is no broker {broker}")]
    UnknownBroker {
        /// What was asked for.
        broker: BrokerId,
    },
    /// No such replica, or not any more.
    #[error("quorum {quorum} has no replica {replica}")]
    UnknownReplica {
        /// The quorum.
        quorum: QuorumId,
        /// What was asked for.
        replica: ReplicaId,
    },
    /// No such quorum, or not any more.
    #[error("there is no quorum {quorum}")]
    UnknownQuorum {
        /// What was asked for.
        quorum: QuorumId,
    },
    /// A replica on this broker has not left the quorum yet.
    #[error(
        "an earlier replica of quorum {quorum} is still leaving broker {broker}; try again when it is gone"
    )]
    StillLeaving {
        /// The quorum.
        quorum: QuorumId,
        /// The broker.
        broker: BrokerId,
    },
    /// Too few of the first replicas take part yet: without them, nobody could elect who lets others in.
    #[error(
        "the first replicas of quorum {quorum} are still being made; try again when most of them are there"
    )]
    StillFounding {
        /// The quorum.
        quorum: QuorumId,
    },
    /// Only a lost replica is replaced, and only one of a partition.
    #[error("replica {replica} of quorum {quorum} is not lost, or the controller's: it stays")]
    NotToBeReplaced {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
    },
    /// A replica lives in one directory for ever: what lies elsewhere under its id is not what was acknowledged.
    #[error("replica {replica} was opened in directory {opened_in}, not {asked}")]
    OpenedElsewhere {
        /// The replica.
        replica: ReplicaId,
        /// Where it was opened.
        opened_in: DirectoryId,
        /// Where it was to be opened now.
        asked: DirectoryId,
    },
}

/// When to try again after two changes of one topic met, in ms: they were both in flight, and one is done now.
const RETRY_AFTER_MEETING_MS: u32 = 10;

/// When to try again while a replica leaves, in ms: it may have much to hand over first.
const RETRY_AFTER_MOVING_MS: u32 = 1_000;

impl From<Rejection> for api::Error {
    fn from(rejection: Rejection) -> api::Error {
        match rejection {
            Rejection::UnknownTopic { topic_id } => api::Error::UnknownTopic { topic: topic_id.to_string() },
            Rejection::InTrash { name, .. } => api::Error::UnknownTopic { topic: name },
            Rejection::NameTaken { name, topic_id } => api::Error::TopicExists { topic: name, topic_id },
            Rejection::PartitionCountChanged { name, planned_on, found, wanted } if found < wanted => {
                api::Error::Overloaded {
                    what: format!("raised topic {name:?} from {planned_on} to {found} partitions meanwhile"),
                    retry_after_ms: RETRY_AFTER_MEETING_MS,
                }
            }
            Rejection::PartitionCountChanged { name, found, wanted, .. } => {
                fewer_partitions(&name, found, wanted)
            }
            Rejection::StillLeaving { broker, .. } => api::Error::Overloaded {
                what: format!("is still moving another replica of this partition off broker {broker}"),
                retry_after_ms: RETRY_AFTER_MOVING_MS,
            },
            Rejection::StillFounding { .. } => api::Error::Overloaded {
                what: "is still making the first replicas of this partition".to_owned(),
                retry_after_ms: RETRY_AFTER_MOVING_MS,
            },
            Rejection::Restored { name, topic_id } => not_in_trash(&name, topic_id),
            Rejection::UnknownBroker { broker } => api::Error::UnknownBroker { broker: i64::from(broker.0) },
            Rejection::TopicIdTaken { .. } => {
                internal("the new topic's id was drawn before; nothing was created")
            }
            Rejection::NoPartitions | Rejection::ReplicaCount { .. } | Rejection::BrokerTwice { .. } => {
                internal("the planned placement is not legal; nothing was changed")
            }
            Rejection::FoundedAlready { .. }
            | Rejection::NoClusterId
            | Rejection::BrokerIdZero
            | Rejection::UnknownReplica { .. }
            | Rejection::UnknownQuorum { .. }
            | Rejection::NotToBeReplaced { .. }
            | Rejection::OpenedElsewhere { .. } => internal("a client waits for a command that brokers send"),
        }
    }
}

/// Partitions cannot be taken away: their records would have nowhere to be.
pub(super) fn fewer_partitions(topic: &str, found: u32, wanted: u32) -> api::Error {
    let problem =
        format!("topic {topic:?} has {found} partitions; there cannot be fewer, as {wanted} would be");
    api::Error::InvalidRequest { field: "partition_count", problem }
}

/// What is live is deleted by its name, so that nobody deletes by mistake what was restored.
pub(super) fn not_in_trash(name: &str, topic_id: TopicId) -> api::Error {
    let problem = format!("is missing: {topic_id} is not in the trash; its name is {name:?}");
    api::Error::InvalidRequest { field: "topic", problem }
}

fn internal(what: &'static str) -> api::Error {
    api::Error::Internal { what }
}
