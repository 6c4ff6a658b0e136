//! What an operator may want to see in a log: changes of state, one event each.
//!
//! Nothing depends on an event being read, and none is given per request.

use mq_types::persist::LostReason;
use mq_types::{BrokerId, Index, Offset, QuorumId, ReplicaId, Term};

/// One change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This replica leads.
    BecameLeader {
        /// The quorum.
        quorum: QuorumId,
        /// Since this term.
        term: Term,
    },
    /// This replica led and does not any more.
    SteppedDown {
        /// The quorum.
        quorum: QuorumId,
        /// The term that ended it.
        term: Term,
        /// Who leads now, if that is known.
        leader: Option<BrokerId>,
    },
    /// The members of a quorum have changed, and that is on record here.
    MembersChanged {
        /// The quorum.
        quorum: QuorumId,
        /// Who votes now.
        voters: Vec<ReplicaId>,
        /// Who receives the log without a vote.
        learners: Vec<ReplicaId>,
    },
    /// A replica was too far behind for the leader's log, and begins anew where that does.
    Restored {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
        /// The last index before its log.
        index: Index,
    },
    /// A replica was made; it waits for the controller's word.
    Created {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
    },
    /// The controller has accepted a replica: it takes part.
    Opened {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
    },
    /// A replica is in the trash.
    Removed {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
    },
    /// Records were deleted, by retention or by request.
    Trimmed {
        /// The partition.
        quorum: QuorumId,
        /// The first offset still kept.
        log_start: Offset,
    },
    /// A replica may not be trusted any more.
    Lost {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
        /// Why.
        reason: LostReason,
    },
    /// A replica's log has a bad place below an intact end, and that is on record.
    Damaged {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
    },
    /// A peer's message was refused; it changed nothing.
    MessageRefused {
        /// The quorum.
        quorum: QuorumId,
        /// Who sent it.
        from: ReplicaId,
        /// What was wrong with it.
        problem: String,
    },
    /// The wall clock jumped: nothing is deleted by age until it has been steady for a while.
    RetentionPaused {
        /// How far it jumped, in ms; negative: back.
        jumped_ms: i64,
    },
}
