//! Why a request failed, as a closed list: each variant is one reason that a client may see.
//!
//! Every message says what happened, with the numbers, and what to do. Protocols map [`Error::code`] in one place.

use mq_types::{BrokerId, ErrorCode, Offset, Term, TopicId};
use std::collections::BTreeMap;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field is not as it must be.
    #[error("{field}: {problem}")]
    InvalidRequest {
        /// The field's name as the client knows it.
        field: &'static str,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// Not built yet, or not here.
    #[error("{what} is not available in this version")]
    Unimplemented {
        /// What was asked for.
        what: String,
    },
    /// A bound on what clients make us hold has been reached.
    #[error("the broker has {what} already; try again in {retry_after_ms} ms")]
    Overloaded {
        /// Which bound, with its number.
        what: String,
        /// When to try again.
        retry_after_ms: u32,
    },
    /// The client sends but does not receive.
    #[error("{waiting} answers were not read for {waited_ms} ms; receive while sending")]
    AnswersNotRead {
        /// Answers waiting.
        waiting: usize,
        /// For how long.
        waited_ms: u64,
    },
    /// Another replica leads.
    #[error("this broker does not lead the partition; broker {leader} does, in epoch {term}")]
    NotLeader {
        /// Who leads.
        leader: BrokerId,
        /// Where it listens, if known.
        endpoint: String,
        /// In which term.
        term: Term,
    },
    /// Nobody leads.
    #[error("the partition has no leader now; try again in {retry_after_ms} ms")]
    NoLeader {
        /// When to try again.
        retry_after_ms: u32,
    },
    /// The batch may have been appended, the change may have been made.
    #[error("the outcome is unknown: {why}; it may have been carried out")]
    OutcomeUnknown {
        /// What happened.
        why: &'static str,
    },
    /// No room on the disk.
    #[error(
        "the broker's disk is full; reads and deletions go on, writing resumes by itself when there is room"
    )]
    DiskFull,
    /// A stored record is bad, here and now.
    #[error("the stored log is corrupt at offset {offset}: {what}")]
    CorruptLog {
        /// The offset that could not be read.
        offset: Offset,
        /// What was found, with the file's name where it is known.
        what: String,
    },
    /// No such topic.
    #[error("there is no topic {topic:?}")]
    UnknownTopic {
        /// Its name, or its id where only that was given.
        topic: String,
    },
    /// No such partition.
    #[error("topic {topic:?} has no partition {partition}; it has {partition_count}, numbered from 0")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: i64,
        /// How many there are.
        partition_count: u32,
    },
    /// The topic was deleted and created again.
    #[error("topic {topic:?} now has the id {found}, not {asked}: it was deleted and created again")]
    TopicIdMismatch {
        /// The topic.
        topic: String,
        /// The id asked for.
        asked: TopicId,
        /// The id it has.
        found: TopicId,
    },
    /// The name is taken.
    #[error("topic {topic:?} exists already, with id {topic_id}")]
    TopicExists {
        /// The topic.
        topic: String,
        /// Its id.
        topic_id: TopicId,
    },
    /// No such broker.
    #[error("there is no broker {broker}")]
    UnknownBroker {
        /// What was asked for.
        broker: i64,
    },
    /// The batch is larger than the topic allows.
    #[error("the batch has {size_bytes} bytes; the topic's max.message.bytes is {max_bytes}")]
    BatchTooLarge {
        /// Its size.
        size_bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// The batch is malformed.
    #[error("the batch is refused: {problem}")]
    CorruptBatch {
        /// What is wrong, with the numbers.
        problem: String,
    },
    /// A conditional append found another next offset.
    #[error("the partition's next offset is {next_offset}, not {expected}; nothing was appended")]
    UnexpectedNextOffset {
        /// What the client expected.
        expected: Offset,
        /// What it is.
        next_offset: Offset,
    },
    /// The position is outside the log.
    #[error(
        "offset {asked} is out of range: the log starts at {log_start} and its high watermark is {high_watermark}"
    )]
    OffsetOutOfRange {
        /// What was asked for.
        asked: i64,
        /// The first offset still kept.
        log_start: Offset,
        /// The first offset not yet committed.
        high_watermark: Offset,
    },
    /// The position is not known to be readable yet.
    #[error("offset {asked} is not readable yet; try again in {retry_after_ms} ms")]
    OffsetNotAvailable {
        /// What was asked for.
        asked: Offset,
        /// When to try again.
        retry_after_ms: u32,
    },
    /// A request for several partitions, of which some failed.
    #[error("{appended} of the request's partitions were appended, {failed} were not; the answer says which")]
    PartlyAppended {
        /// Partitions that were appended to.
        appended: usize,
        /// Partitions that were not.
        failed: usize,
    },
    /// A broken promise of our own.
    #[error("internal error: {what}")]
    Internal {
        /// What.
        what: &'static str,
    },
}

impl Error {
    /// The reason's place in the closed list.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::InvalidRequest { .. } => ErrorCode::InvalidRequest,
            Error::Unimplemented { .. } => ErrorCode::Unimplemented,
            Error::Overloaded { .. } => ErrorCode::Overloaded,
            Error::AnswersNotRead { .. } => ErrorCode::AnswersNotRead,
            Error::NotLeader { .. } => ErrorCode::NotLeader,
            Error::NoLeader { .. } => ErrorCode::NoLeader,
            Error::OutcomeUnknown { .. } => ErrorCode::OutcomeUnknown,
            Error::DiskFull => ErrorCode::DiskFull,
            Error::CorruptLog { .. } => ErrorCode::CorruptLog,
            Error::UnknownTopic { .. } => ErrorCode::UnknownTopic,
            Error::UnknownPartition { .. } => ErrorCode::UnknownPartition,
            Error::TopicIdMismatch { .. } => ErrorCode::TopicIdMismatch,
            Error::TopicExists { .. } => ErrorCode::TopicExists,
            Error::UnknownBroker { .. } => ErrorCode::UnknownBroker,
            Error::BatchTooLarge { .. } => ErrorCode::BatchTooLarge,
            Error::CorruptBatch { .. } => ErrorCode::CorruptBatch,
            Error::UnexpectedNextOffset { .. } => ErrorCode::UnexpectedNextOffset,
            Error::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Error::OffsetNotAvailable { .. } => ErrorCode::OffsetNotAvailable,
            Error::PartlyAppended { .. } => ErrorCode::PartlyAppended,
            Error::Internal { .. } => ErrorCode::Internal,
        }
    }

    /// When to try again, in ms; 0: at once, or not at all (see [`ErrorCode::retriable`]).
    pub fn retry_after_ms(&self) -> u32 {
        match self {
            Error::Overloaded { retry_after_ms, .. }
            | Error::NoLeader { retry_after_ms }
            | Error::OffsetNotAvailable { retry_after_ms, .. } => *retry_after_ms,
            Error::DiskFull => 1_000,
            _ => 0,
        }
    }

    /// The facts of this failure under the keys that the public API promises for its reason.
    pub fn metadata(&self) -> BTreeMap<&'static str, String> {
        let pairs: Vec<(&'static str, String)> = match self {
            Error::InvalidRequest { field, .. } => vec![("field", (*field).to_owned())],
            Error::NotLeader { leader, endpoint, term } => vec![
                ("leader_id", leader.to_string()),
                ("leader_endpoint", endpoint.clone()),
                ("leader_epoch", term.to_string()),
            ],
            Error::UnknownTopic { topic } => vec![("topic", topic.clone())],
            Error::UnknownPartition { partition_count, .. } => {
                vec![("partition_count", partition_count.to_string())]
            }
            Error::TopicIdMismatch { found, .. } => vec![("topic_id", found.to_string())],
            Error::TopicExists { topic_id, .. } => vec![("topic_id", topic_id.to_string())],
            Error::UnknownBroker { broker } => vec![("broker_id", broker.to_string())],
            Error::BatchTooLarge { size_bytes, max_bytes } => {
                vec![("size_bytes", size_bytes.to_string()), ("max_bytes", max_bytes.to_string())]
            }
            Error::UnexpectedNextOffset { next_offset, .. } => vec![("next_offset", next_offset.to_string())],
            Error::OffsetOutOfRange { log_start, high_watermark, .. } => vec![
                ("log_start_offset", log_start.to_string()),
                ("high_watermark", high_watermark.to_string()),
            ],
            _ => Vec::new(),
        };
        pairs.into_iter().collect()
    }
}
