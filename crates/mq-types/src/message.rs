//! A message between two members of one quorum, free of any wire format.
//!
//! `mq-raft` turns it into the Raft library's form and back; the peer protocol gives it bytes. Its meaning is
//! Raft's: see "In Search of an Understandable Consensus Algorithm" and the doc of the `raft` crate.

use crate::persist::StartSnapshot;
use crate::{Entry, Index, QuorumId, ReplicaId, Term};

/// What a message asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// Entries to append, or a probe without any.
    Append,
    /// How far the sender's log is durable, or a rejection with a hint.
    AppendResponse,
    /// "I lead" with the commit index.
    Heartbeat,
    /// The answer to a heartbeat.
    HeartbeatResponse,
    /// "Would you vote for me?", before any term is raised.
    PreVote,
    /// The answer to a pre-vote.
    PreVoteResponse,
    /// "Vote for me".
    Vote,
    /// The answer to a vote.
    VoteResponse,
    /// "Campaign now": leadership is handed over.
    TimeoutNow,
    /// A read index is asked of the leader.
    ReadIndex,
    /// The leader's answer to it.
    ReadIndexResponse,
    /// Where the receiver's log begins anew: what it lacks, the leader has no more. Answered like an append.
    Snapshot,
}

/// One message between two replicas of a quorum. Fields that a kind does not use are 0 or empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The quorum of both.
    pub quorum: QuorumId,
    /// Who sends.
    pub from: ReplicaId,
    /// Who receives.
    pub to: ReplicaId,
    /// What it is.
    pub kind: MessageKind,
    /// The sender's term; 0 for messages that carry none.
    pub term: Term,
    /// Append: the index before the entries. Responses: how far the log matches.
    pub index: Index,
    /// The term of the entry at `index`.
    pub log_term: Term,
    /// The sender's commit index.
    pub commit: Index,
    /// The term of the entry at `commit`, where the protocol carries it.
    pub commit_term: Term,
    /// Append: what to append.
    pub entries: Vec<Entry>,
    /// A response that says no.
    pub reject: bool,
    /// With `reject`: where to try next.
    pub reject_hint: Index,
    /// A read index's context, unique per request.
    pub context: bytes::Bytes,
    /// The sender's Raft priority.
    pub priority: i64,
    /// Snapshot: where the receiver's log begins anew. `None` for every other kind.
    pub start: Option<Box<StartSnapshot>>,
}
