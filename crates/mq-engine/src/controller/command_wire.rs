//! The bytes of commands.
//!
//! Whether a command makes sense is not decided here: the image does that.

use super::Command;
use super::wire::{
    BrokerWire, DecodeError, FORMAT_VERSION, check_version, directory_id, health_from_wire, health_to_wire,
    topic_id,
};
use bytes::Bytes;
use mq_types::{BrokerId, QuorumId, ReplicaId};
use prost::Message;
use std::collections::BTreeMap;

impl Command {
    /// The bytes that entries of quorum 0 carry.
    pub fn encode(&self) -> Bytes {
        CommandWire { version: FORMAT_VERSION, change: Some(Change::from(self)) }.encode_to_vec().into()
    }

    /// Reads what [`Command::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are no command of this version.
    pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
        let wire = CommandWire::decode(bytes)?;
        check_version(wire.version)?;
        wire.change.ok_or(DecodeError::Missing { field: "the change" })?.try_into()
    }
}

#[derive(Clone, PartialEq, Message)]
struct CommandWire {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(oneof = "Change", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17")]
    change: Option<Change>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Change {
    #[prost(string, tag = "2")]
    Found(String),
    #[prost(message, tag = "3")]
    RegisterBroker(BrokerWire),
    #[prost(message, tag = "4")]
    CreateTopic(CreateTopic),
    #[prost(message, tag = "5")]
    AlterTopicConfigs(AlterTopicConfigs),
    #[prost(message, tag = "6")]
    AddPartitions(AddPartitions),
    #[prost(bytes = "vec", tag = "7")]
    DeleteTopic(Vec<u8>),
    #[prost(bytes = "vec", tag = "8")]
    RestoreTopic(Vec<u8>),
    #[prost(message, tag = "9")]
    PurgeTopic(PurgeTopic),
    #[prost(message, tag = "10")]
    OpenReplica(OpenReplica),
    #[prost(message, tag = "11")]
    ReplicaRemoved(ReplicaRemoved),
    #[prost(message, tag = "12")]
    FoundedBy(FoundedBy),
    #[prost(message, tag = "13")]
    JoinBroker(BrokerWire),
    #[prost(message, tag = "14")]
    ReplicaFailed(ReplicaFailed),
    #[prost(message, tag = "15")]
    ReplaceReplica(ReplicaRemoved),
    #[prost(message, tag = "16")]
    ReassignPartition(ReassignPartition),
    #[prost(message, tag = "17")]
    MembersLeft(MembersLeft),
}

#[derive(Clone, PartialEq, Message)]
struct FoundedBy {
    #[prost(string, tag = "1")]
    cluster_id: String,
    #[prost(uint64, tag = "2")]
    replica: u64,
    #[prost(bytes = "vec", tag = "3")]
    directory: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ReplicaFailed {
    #[prost(uint64, tag = "1")]
    quorum: u64,
    #[prost(uint64, tag = "2")]
    replica: u64,
    #[prost(uint32, tag = "3")]
    health: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ReassignPartition {
    #[prost(uint64, tag = "1")]
    quorum: u64,
    #[prost(uint32, repeated, tag = "2")]
    brokers: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct MembersLeft {
    #[prost(uint64, tag = "1")]
    quorum: u64,
    #[prost(uint64, repeated, tag = "2")]
    replicas: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateTopic {
    #[prost(bytes = "vec", tag = "1")]
    topic_id: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(btree_map = "string, string", tag = "3")]
    configs: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "4")]
    placement: Vec<Brokers>,
}

#[derive(Clone, PartialEq, Message)]
struct AlterTopicConfigs {
    #[prost(bytes = "vec", tag = "1")]
    topic_id: Vec<u8>,
    #[prost(btree_map = "string, string", tag = "2")]
    set: BTreeMap<String, String>,
    #[prost(string, repeated, tag = "3")]
    unset: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct AddPartitions {
    #[prost(bytes = "vec", tag = "1")]
    topic_id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    first_partition: u32,
    #[prost(message, repeated, tag = "3")]
    placement: Vec<Brokers>,
}

#[derive(Clone, PartialEq, Message)]
struct PurgeTopic {
    #[prost(bytes = "vec", tag = "1")]
    topic_id: Vec<u8>,
    #[prost(int64, optional, tag = "2")]
    in_trash_since_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct OpenReplica {
    #[prost(uint64, tag = "1")]
    quorum: u64,
    #[prost(uint64, tag = "2")]
    replica: u64,
    #[prost(bytes = "vec", tag = "3")]
    directory: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ReplicaRemoved {
    #[prost(uint64, tag = "1")]
    quorum: u64,
    #[prost(uint64, tag = "2")]
    replica: u64,
}

/// The brokers of one partition's replicas.
#[derive(Clone, PartialEq, Message)]
struct Brokers {
    #[prost(uint32, repeated, tag = "1")]
    brokers: Vec<u32>,
}

fn placement_to_wire(placement: &[Vec<BrokerId>]) -> Vec<Brokers> {
    placement
        .iter()
        .map(|brokers| Brokers { brokers: brokers.iter().map(|broker| broker.0).collect() })
        .collect()
}

fn placement_from_wire(placement: Vec<Brokers>) -> Vec<Vec<BrokerId>> {
    placement.into_iter().map(|brokers| brokers.brokers.into_iter().map(BrokerId).collect()).collect()
}

impl From<&Command> for Change {
    fn from(command: &Command) -> Change {
        match command {
            Command::Found { cluster_id, founder: None } => Change::Found(cluster_id.clone()),
            Command::Found { cluster_id, founder: Some((replica, directory)) } => {
                Change::FoundedBy(FoundedBy {
                    cluster_id: cluster_id.clone(),
                    replica: replica.0,
                    directory: directory.0.to_vec(),
                })
            }
            Command::JoinBroker { broker, info } => Change::JoinBroker(BrokerWire::new(*broker, info)),
            Command::RegisterBroker { broker, info } => {
                Change::RegisterBroker(BrokerWire::new(*broker, info))
            }
            Command::CreateTopic { topic_id, name, configs, placement } => Change::CreateTopic(CreateTopic {
                topic_id: topic_id.0.to_vec(),
                name: name.clone(),
                configs: configs.clone(),
                placement: placement_to_wire(placement),
            }),
            Command::AlterTopicConfigs { topic_id, set, unset } => {
                Change::AlterTopicConfigs(AlterTopicConfigs {
                    topic_id: topic_id.0.to_vec(),
                    set: set.clone(),
                    unset: unset.clone(),
                })
            }
            Command::AddPartitions { topic_id, first_partition, placement } => {
                Change::AddPartitions(AddPartitions {
                    topic_id: topic_id.0.to_vec(),
                    first_partition: *first_partition,
                    placement: placement_to_wire(placement),
                })
            }
            Command::DeleteTopic { topic_id } => Change::DeleteTopic(topic_id.0.to_vec()),
            Command::RestoreTopic { topic_id } => Change::RestoreTopic(topic_id.0.to_vec()),
            Command::PurgeTopic { topic_id, in_trash_since_ms } => Change::PurgeTopic(PurgeTopic {
                topic_id: topic_id.0.to_vec(),
                in_trash_since_ms: *in_trash_since_ms,
            }),
            Command::OpenReplica { quorum, replica, directory } => Change::OpenReplica(OpenReplica {
                quorum: quorum.0,
                replica: replica.0,
                directory: directory.0.to_vec(),
            }),
            Command::ReplicaRemoved { quorum, replica } => {
                Change::ReplicaRemoved(ReplicaRemoved { quorum: quorum.0, replica: replica.0 })
            }
            Command::ReplicaFailed { quorum, replica, health } => Change::ReplicaFailed(ReplicaFailed {
                quorum: quorum.0,
                replica: replica.0,
                health: health_to_wire(*health),
            }),
            Command::ReplaceReplica { quorum, replica } => {
                Change::ReplaceReplica(ReplicaRemoved { quorum: quorum.0, replica: replica.0 })
            }
            Command::ReassignPartition { quorum, brokers } => Change::ReassignPartition(ReassignPartition {
                quorum: quorum.0,
                brokers: brokers.iter().map(|broker| broker.0).collect(),
            }),
            Command::MembersLeft { quorum, replicas } => Change::MembersLeft(MembersLeft {
                quorum: quorum.0,
                replicas: replicas.iter().map(|replica| replica.0).collect(),
            }),
        }
    }
}

impl TryFrom<Change> for Command {
    type Error = DecodeError;

    fn try_from(change: Change) -> Result<Command, DecodeError> {
        Ok(match change {
            Change::Found(cluster_id) => Command::Found { cluster_id, founder: None },
            Change::FoundedBy(wire) => Command::Found {
                cluster_id: wire.cluster_id,
                founder: Some((ReplicaId(wire.replica), directory_id(&wire.directory)?)),
            },
            Change::JoinBroker(wire) => {
                let (broker, info) = wire.into_parts()?;
                Command::JoinBroker { broker, info }
            }
            Change::RegisterBroker(wire) => {
                let (broker, info) = wire.into_parts()?;
                Command::RegisterBroker { broker, info }
            }
            Change::CreateTopic(wire) => Command::CreateTopic {
                topic_id: topic_id(&wire.topic_id)?,
                name: wire.name,
                configs: wire.configs,
                placement: placement_from_wire(wire.placement),
            },
            Change::AlterTopicConfigs(wire) => Command::AlterTopicConfigs {
                topic_id: topic_id(&wire.topic_id)?,
                set: wire.set,
                unset: wire.unset,
            },
            Change::AddPartitions(wire) => Command::AddPartitions {
                topic_id: topic_id(&wire.topic_id)?,
                first_partition: wire.first_partition,
                placement: placement_from_wire(wire.placement),
            },
            Change::DeleteTopic(id) => Command::DeleteTopic { topic_id: topic_id(&id)? },
            Change::RestoreTopic(id) => Command::RestoreTopic { topic_id: topic_id(&id)? },
            Change::PurgeTopic(wire) => Command::PurgeTopic {
                topic_id: topic_id(&wire.topic_id)?,
                in_trash_since_ms: wire.in_trash_since_ms,
            },
            Change::OpenReplica(wire) => Command::OpenReplica {
                quorum: QuorumId(wire.quorum),
                replica: ReplicaId(wire.replica),
                directory: directory_id(&wire.directory)?,
            },
            Change::ReplicaRemoved(wire) => {
                Command::ReplicaRemoved { quorum: QuorumId(wire.quorum), replica: ReplicaId(wire.replica) }
            }
            Change::ReplicaFailed(wire) => Command::ReplicaFailed {
                quorum: QuorumId(wire.quorum),
                replica: ReplicaId(wire.replica),
                health: health_from_wire(wire.health)?,
            },
            Change::ReplaceReplica(wire) => {
                Command::ReplaceReplica { quorum: QuorumId(wire.quorum), replica: ReplicaId(wire.replica) }
            }
            Change::ReassignPartition(wire) => Command::ReassignPartition {
                quorum: QuorumId(wire.quorum),
                brokers: wire.brokers.into_iter().map(BrokerId).collect(),
            },
            Change::MembersLeft(wire) => Command::MembersLeft {
                quorum: QuorumId(wire.quorum),
                replicas: wire.replicas.into_iter().map(ReplicaId).collect(),
            },
        })
    }
}
