//! The bytes of the image: what a snapshot of quorum 0 holds.
//!
//! Equal images have equal bytes. `names` is not among them: it follows from the topics.

use super::wire::{
    BrokerWire, DecodeError, FORMAT_VERSION, check_version, directory_id, health_from_wire, health_to_wire,
    topic_id,
};
use super::{Image, Members, PartitionInfo, ReplicaInfo, Topic};
use bytes::Bytes;
use mq_types::{BrokerId, Index, PartitionId, QuorumId, ReplicaId};
use prost::Message;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

impl Image {
    /// The image as a snapshot holds it.
    pub fn encode(&self) -> Bytes {
        ImageWire::from(self).encode_to_vec().into()
    }

    /// Reads what [`Image::encode`] wrote, and checks that it is an image.
    ///
    /// # Errors
    /// The bytes are no image of this version, or one that contradicts itself.
    pub fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
        let wire = ImageWire::decode(bytes)?;
        check_version(wire.version)?;
        let image = Image::try_from(wire)?;
        image.check()?;
        Ok(image)
    }
}

#[derive(Clone, PartialEq, Message)]
struct ImageWire {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(string, tag = "3")]
    cluster_id: String,
    #[prost(message, repeated, tag = "4")]
    brokers: Vec<BrokerWire>,
    #[prost(message, repeated, tag = "5")]
    topics: Vec<TopicWire>,
    #[prost(message, repeated, tag = "6")]
    tombstones: Vec<TombstoneWire>,
    #[prost(uint64, tag = "7")]
    next_quorum: u64,
    #[prost(btree_map = "uint32, uint32", tag = "8")]
    next_allocation: BTreeMap<u32, u32>,
    /// The controller's members; its quorum is not written.
    #[prost(message, optional, tag = "9")]
    controller: Option<PartitionWire>,
}

#[derive(Clone, PartialEq, Message)]
struct TopicWire {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(btree_map = "string, string", tag = "3")]
    configs: BTreeMap<String, String>,
    #[prost(uint32, tag = "4")]
    replication_factor: u32,
    /// In the order of their ids, which are not written.
    #[prost(message, repeated, tag = "5")]
    partitions: Vec<PartitionWire>,
    #[prost(int64, optional, tag = "6")]
    deleted_at_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct PartitionWire {
    #[prost(uint64, tag = "1")]
    quorum: u64,
    #[prost(message, repeated, tag = "2")]
    replicas: Vec<ReplicaWire>,
    #[prost(message, repeated, tag = "4")]
    leaving: Vec<ReplicaWire>,
}

#[derive(Clone, PartialEq, Message)]
struct ReplicaWire {
    #[prost(uint64, tag = "1")]
    replica: u64,
    #[prost(bytes = "vec", optional, tag = "2")]
    opened_in: Option<Vec<u8>>,
    #[prost(bool, tag = "3")]
    is_added: bool,
    #[prost(uint32, tag = "4")]
    health: u32,
}

#[derive(Clone, PartialEq, Message)]
struct TombstoneWire {
    #[prost(uint64, tag = "1")]
    quorum: u64,
    #[prost(uint64, repeated, tag = "2")]
    replicas: Vec<u64>,
}

impl From<&Image> for ImageWire {
    fn from(image: &Image) -> ImageWire {
        let tombstones = image.tombstones.iter().map(|(quorum, replicas)| TombstoneWire {
            quorum: quorum.0,
            replicas: replicas.iter().map(|replica| replica.0).collect(),
        });
        ImageWire {
            version: FORMAT_VERSION,
            revision: image.revision.0,
            cluster_id: image.cluster_id.clone(),
            brokers: image.brokers.iter().map(|(broker, info)| BrokerWire::new(*broker, info)).collect(),
            topics: image.topics.values().map(|topic| TopicWire::from(&**topic)).collect(),
            tombstones: tombstones.collect(),
            next_quorum: image.next_quorum,
            next_allocation: image.next_allocation.iter().map(|(broker, next)| (broker.0, *next)).collect(),
            controller: (image.controller != Members::default())
                .then(|| PartitionWire::of(QuorumId::CONTROLLER, &image.controller)),
        }
    }
}

impl TryFrom<ImageWire> for Image {
    type Error = DecodeError;

    fn try_from(wire: ImageWire) -> Result<Image, DecodeError> {
        let mut image = Image {
            revision: Index(wire.revision),
            cluster_id: wire.cluster_id,
            next_quorum: wire.next_quorum,
            next_allocation: wire.next_allocation.into_iter().map(|(b, next)| (BrokerId(b), next)).collect(),
            controller: wire.controller.map(Members::try_from).transpose()?.unwrap_or_default(),
            ..Image::default()
        };
        for broker in wire.brokers {
            let (broker, info) = broker.into_parts()?;
            once(image.brokers.insert(broker, info).is_none(), "broker", broker)?;
        }
        for topic in wire.topics {
            let topic = Topic::try_from(topic)?;
            if topic.deleted_at_ms.is_none() {
                let new = image.names.insert(topic.name.clone(), topic.id).is_none();
                once(new, "the name of topic", topic.id)?;
            }
            let id = topic.id;
            once(image.topics.insert(id, Arc::new(topic)).is_none(), "topic", id)?;
        }
        for tombstone in wire.tombstones {
            let quorum = QuorumId(tombstone.quorum);
            let replicas = tombstone.replicas.into_iter().map(ReplicaId).collect();
            let new = image.tombstones.insert(quorum, replicas).is_none();
            once(new, "the tombstone of quorum", quorum)?;
        }
        Ok(image)
    }
}

impl PartitionWire {
    fn of(quorum: QuorumId, members: &Members) -> PartitionWire {
        let replica = |info: &ReplicaInfo| ReplicaWire {
            replica: info.replica.0,
            opened_in: info.opened_in.map(|directory| directory.0.to_vec()),
            is_added: info.is_added,
            health: health_to_wire(info.health),
        };
        PartitionWire {
            quorum: quorum.0,
            replicas: members.replicas.iter().map(replica).collect(),
            leaving: members.leaving.iter().map(replica).collect(),
        }
    }
}

impl TryFrom<PartitionWire> for Members {
    type Error = DecodeError;

    fn try_from(wire: PartitionWire) -> Result<Members, DecodeError> {
        let infos =
            |wire: Vec<ReplicaWire>| wire.into_iter().map(ReplicaInfo::try_from).collect::<Result<_, _>>();
        Ok(Members { replicas: infos(wire.replicas)?, leaving: infos(wire.leaving)? })
    }
}

impl From<&Topic> for TopicWire {
    fn from(topic: &Topic) -> TopicWire {
        let partition = |partition: &PartitionInfo| PartitionWire::of(partition.quorum, &partition.members);
        TopicWire {
            id: topic.id.0.to_vec(),
            name: topic.name.clone(),
            configs: topic.configs.clone(),
            replication_factor: topic.replication_factor,
            partitions: topic.partitions.iter().map(partition).collect(),
            deleted_at_ms: topic.deleted_at_ms,
        }
    }
}

impl TryFrom<TopicWire> for Topic {
    type Error = DecodeError;

    fn try_from(wire: TopicWire) -> Result<Topic, DecodeError> {
        let mut partitions = Vec::with_capacity(wire.partitions.len());
        for (id, partition) in (0..).zip(wire.partitions) {
            let quorum = QuorumId(partition.quorum);
            let members = Members::try_from(partition)?;
            partitions.push(PartitionInfo { id: PartitionId(id), quorum, members });
        }
        Ok(Topic {
            id: topic_id(&wire.id)?,
            name: wire.name,
            configs: wire.configs,
            replication_factor: wire.replication_factor,
            partitions,
            deleted_at_ms: wire.deleted_at_ms,
        })
    }
}

impl TryFrom<ReplicaWire> for ReplicaInfo {
    type Error = DecodeError;

    fn try_from(wire: ReplicaWire) -> Result<ReplicaInfo, DecodeError> {
        let opened_in = wire.opened_in.map(|bytes| directory_id(&bytes)).transpose()?;
        let (replica, health) = (ReplicaId(wire.replica), health_from_wire(wire.health)?);
        Ok(ReplicaInfo { replica, opened_in, is_added: wire.is_added, health })
    }
}

fn once(is_new: bool, what: &'static str, id: impl Display) -> Result<(), DecodeError> {
    if is_new { Ok(()) } else { Err(DecodeError::Twice { what, id: id.to_string() }) }
}
