//! What a client asks of a broker, and what it hears.

use mq_engine::api::{Acks, Error, Outcome};
use mq_engine::controller;
use mq_types::batch::Checked;
use mq_types::{Batch, Offset, QuorumId, Term};

/// A call.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Append a batch.
    Produce {
        /// The partition's quorum.
        quorum: QuorumId,
        /// The batch, validated.
        batch: Checked,
        /// When to answer.
        acks: Acks,
    },
    /// Read from a position on.
    Fetch {
        /// The partition's quorum.
        quorum: QuorumId,
        /// The position.
        from: Offset,
        /// How much, in bytes.
        bytes_max: usize,
        /// Read what this replica has, even if it does not lead.
        from_any: bool,
    },
    /// Where the partition ends now.
    Latest {
        /// The partition's quorum.
        quorum: QuorumId,
    },
    /// Move a partition's log start up.
    DeleteRecords {
        /// The partition's quorum.
        quorum: QuorumId,
        /// The new log start; `None`: the high watermark.
        before: Option<Offset>,
    },
    /// Change the metadata.
    Controller(Box<controller::Request>),
}

/// What was read.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// Whole batches.
    pub(crate) batches: Vec<Batch>,
    /// Where to go on.
    pub(crate) next_offset: Offset,
    /// The replica's term when it was read; 0 if it was read as it is.
    pub(crate) term: Term,
    /// The log start that its broker showed when it was read.
    pub(crate) log_start: Offset,
    /// The high watermark that its broker showed when it was read.
    pub(crate) high_watermark: Offset,
}

/// An answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The engine's.
    Engine(Outcome),
    /// The engine's, of records that were deleted.
    Deleted {
        /// The log start since.
        log_start: Offset,
        /// The term of the leader that answered.
        term: Term,
    },
    /// A fetch's.
    Fetched(Result<Fetched, FetchError>),
    /// Nobody listens there: nothing was sent.
    Refused,
}

/// Why a fetch brought nothing.
#[derive(Debug)]
pub(crate) struct FetchError {
    /// Why.
    pub(crate) error: Error,
    /// The replica's term then; 0 if it was read as it is.
    pub(crate) term: Term,
}
