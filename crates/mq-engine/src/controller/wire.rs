//! What the bytes of commands and of snapshots have in common: a version, shared parts, and why bytes are refused.
//!
//! Both are protobuf: tags are never renumbered or reused, and fields that hold a default value take no room.

use super::{BrokerInfo, Health, image::Inconsistent};
use mq_types::{BrokerId, DirectoryId, TopicId};

/// The version of both layouts. Raised when a reader of this version would misunderstand what is written.
pub(super) const FORMAT_VERSION: u32 = 1;

/// Why bytes are not a command or a snapshot of the image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not protobuf, or with fields of other types.
    #[error("the bytes are not the message they should be: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// Another version wrote them.
    #[error(
        "they have format version {found}; this broker reads {FORMAT_VERSION}: run the version that wrote them"
    )]
    Version {
        /// Theirs.
        found: u32,
    },
    /// A part is absent, or of a kind that only a newer version knows.
    #[error("{field} is missing, or of a kind that this version does not know")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A random id of another length.
    #[error("{field} has {length_bytes} bytes; it must have 16")]
    IdLength {
        /// Which.
        field: &'static str,
        /// How many bytes there are.
        length_bytes: usize,
    },
    /// Something that must be there once is there twice.
    #[error("{what} {id} is there twice")]
    Twice {
        /// What it is.
        what: &'static str,
        /// Which.
        id: String,
    },
    /// Every part is well formed, the whole is not.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
}

pub(super) fn check_version(found: u32) -> Result<(), DecodeError> {
    if found == FORMAT_VERSION { Ok(()) } else { Err(DecodeError::Version { found }) }
}

pub(super) fn topic_id(bytes: &[u8]) -> Result<TopicId, DecodeError> {
    TopicId::from_slice(bytes).ok_or(DecodeError::IdLength { field: "topic id", length_bytes: bytes.len() })
}

pub(super) fn directory_id(bytes: &[u8]) -> Result<DirectoryId, DecodeError> {
    DirectoryId::from_slice(bytes)
        .ok_or(DecodeError::IdLength { field: "directory id", length_bytes: bytes.len() })
}

pub(super) fn health_to_wire(health: Health) -> u32 {
    match health {
        Health::Sound => 0,
        Health::Damaged => 1,
        Health::Lost => 2,
    }
}

pub(super) fn health_from_wire(number: u32) -> Result<Health, DecodeError> {
    match number {
        0 => Ok(Health::Sound),
        1 => Ok(Health::Damaged),
        2 => Ok(Health::Lost),
        _ => Err(DecodeError::Missing { field: "the health of a replica" }),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BrokerWire {
    #[prost(uint32, tag = "1")]
    pub(super) broker: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) directory: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(super) grpc_endpoint: String,
    #[prost(string, tag = "4")]
    pub(super) peer_endpoint: String,
    #[prost(string, tag = "5")]
    pub(super) rack: String,
    #[prost(string, tag = "6")]
    pub(super) version: String,
}

impl BrokerWire {
    pub(super) fn new(broker: BrokerId, info: &BrokerInfo) -> BrokerWire {
        BrokerWire {
            broker: broker.0,
            directory: info.directory.0.to_vec(),
            grpc_endpoint: info.grpc_endpoint.clone(),
            peer_endpoint: info.peer_endpoint.clone(),
            rack: info.rack.clone(),
            version: info.version.clone(),
        }
    }

    pub(super) fn into_parts(self) -> Result<(BrokerId, BrokerInfo), DecodeError> {
        let info = BrokerInfo {
            directory: directory_id(&self.directory)?,
            grpc_endpoint: self.grpc_endpoint,
            peer_endpoint: self.peer_endpoint,
            rack: self.rack,
            version: self.version,
        };
        Ok((BrokerId(self.broker), info))
    }
}
