//! The words of mq: ids, record batches, entries, and what must become durable together.
//!
//! One word for one thing. The list that the whole project keeps to:
//!
//! - **record**: what a client sends.
//! - **batch**: records stored together (the bytes of a Kafka RecordBatch v2); one log entry.
//! - **entry**: one position in a log.
//! - **index**: an entry's position (Raft's coordinate).
//! - **offset**: a record's number (the client's coordinate; dense when appended, compaction may leave gaps).
//! - **position**: a byte position in a file.
//! - **term**: leader epoch.
//! - **quorum**: one Raft group (never "group").
//! - **replica**: one broker's member of a quorum.
//! - **group**: a consumer group, only.
//! - **high watermark**: the first offset not yet committed.
//! - **log start**: the first offset still kept.
//! - **image**: the cluster metadata as of an index.
//! - **shard**: one engine on one thread.
//! - **broker**: one server process.
//!
//! Index, offset, position and term are newtypes; no arithmetic mixes them. This crate does no I/O, and knows
//! neither clocks nor randomness.

pub mod batch;
pub mod compression;
pub mod crc32c;
pub mod entry;
pub mod error_code;
pub mod ids;
pub mod message;
pub mod name;
pub mod partitioner;
pub mod persist;
pub mod planted;
pub mod term_runs;

pub use batch::{Batch, BatchError};
pub use compression::Compression;
pub use entry::{Body, Entry, EntryKind, EntryMeta};
pub use error_code::ErrorCode;
pub use ids::{
    BrokerId, DirectoryId, Index, Offset, PartitionId, Position, QuorumId, ReplicaId, SegmentNumber, ShardId,
    Term, TopicId,
};
pub use message::Message;
pub use term_runs::TermRuns;
