//! What can be asked of an engine and what it answers, free of any protocol.
//!
//! The shell routes a request to the shard that holds its quorum; names have become ids before.

mod error;

pub use error::Error;

use crate::controller;
use mq_types::batch::Checked;
use mq_types::{Offset, QuorumId, Term};

/// How long a producer wants to wait; never how durable its records become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// Answer when accepted.
    None,
    /// Answer when synced on the leader.
    Leader,
    /// Answer when synced on a majority.
    #[default]
    Quorum,
}

/// What was true when the answer was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Accepted, nothing promised.
    None,
    /// Synced on the leader.
    LeaderFsync,
    /// Synced on a majority.
    QuorumFsync,
}

/// A request to one engine.
#[derive(Debug)]
pub enum Request {
    /// Append a batch to a partition.
    Produce(Produce),
    /// Confirm that this replica still leads, and say where the partition ends now.
    ReadIndex {
        /// The partition's quorum.
        quorum: QuorumId,
    },
    /// Move a partition's log start up.
    DeleteRecords {
        /// The partition's quorum.
        quorum: QuorumId,
        /// The new log start; `None`: the high watermark.
        before: Option<Offset>,
        /// Check only.
        validate_only: bool,
    },
    /// Change the cluster's metadata (shard 0 only).
    Controller(controller::Request),
}

/// A batch to append.
#[derive(Debug)]
pub struct Produce {
    /// The partition's quorum.
    pub quorum: QuorumId,
    /// The batch, validated.
    pub batch: Checked,
    /// When to answer.
    pub acks: Acks,
    /// Append only if this is the partition's next offset.
    pub expected_next_offset: Option<Offset>,
}

/// A request's answer.
pub type Outcome = Result<Reply, Error>;

/// A good answer.
#[derive(Clone, Debug)]
pub enum Reply {
    /// To [`Request::Produce`].
    Produced(Produced),
    /// To [`Request::ReadIndex`].
    ReadIndex {
        /// The first offset still kept.
        log_start: Offset,
        /// The first offset not yet committed; at least what was committed when the request came.
        high_watermark: Offset,
        /// The leader's term.
        term: Term,
    },
    /// To [`Request::DeleteRecords`].
    Deleted {
        /// The log start now (with `validate_only`: as it would be).
        log_start: Offset,
    },
    /// To [`Request::Controller`].
    Controller(controller::Reply),
}

/// A batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// The first record's offset; the others follow without gaps. `None` with [`Acks::None`].
    pub base_offset: Option<Offset>,
    /// How many records.
    pub record_count: u32,
    /// The leader's term.
    pub term: Term,
    /// What this answer guarantees.
    pub durability: Durability,
    /// The first offset still kept.
    pub log_start: Offset,
    /// The first offset not yet committed.
    pub high_watermark: Offset,
}
