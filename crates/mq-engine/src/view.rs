//! What readers may see of one partition, published by the engine and watched by the shell.

use mq_types::persist::Standing;
use mq_types::{Offset, ReplicaId, Term};

/// What readers may see of one partition on this broker. Offsets in it never go back while the process lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// This broker's replica.
    pub replica: ReplicaId,
    /// The leader as far as this replica knows.
    pub leader: Option<ReplicaId>,
    /// Its term.
    pub term: Term,
    /// This replica leads and has committed in its own term: it may answer for the partition. Also true of a lost
    /// replica that is its quorum's only one: what it knows to be committed may be read, nothing may be written.
    pub serving: bool,
    /// How far this replica may be trusted.
    pub standing: Standing,
    /// The first offset still kept.
    pub log_start: Offset,
    /// The first offset not yet committed; everything below is durable here.
    pub high_watermark: Offset,
    /// Bytes of the log on this broker.
    pub size_bytes: u64,
}
