//! What a member wants done: its only output.
//!
//! The types say what and in which order; doing it is the owner's part.

use crate::ReadRequest;
use mq_types::persist::{Membership, StartSnapshot, Vote};
use mq_types::{Body, Entry, EntryMeta, Index, Message, ReplicaId, Term};

/// Things to do, in the order of the fields.
///
/// "Do" means to hand over, not to finish: a persist is started, never waited for. Several works may be collected
/// into one round as long as each field keeps its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// What must become durable.
    pub persist: Option<Persist>,
    /// Messages that may leave at once: nothing in them depends on a write in flight.
    pub send_now: Vec<Message>,
    /// Messages that must wait for a write.
    pub send_after_persist: Option<SendAfterPersist>,
    /// Entries to read from the log for peers that are far behind; answered by `Member::entries_read`.
    pub read: Vec<ReadRequest>,
    /// Entries to apply, in order. Each is committed, and durable here. Membership entries among them took effect
    /// before they came, and are passed over.
    pub committed: Vec<Committed>,
    /// A committed membership entry, after all that were committed before it. Nothing more is handed out as
    /// committed until [`crate::Member::membership_applied`], which is due when a record with these members is
    /// durable, and everything before this entry is applied.
    pub membership: Option<MembershipChange>,
    /// A new role, leader or term.
    pub role: Option<RoleChange>,
    /// Read indexes that were asked for and are confirmed.
    pub read_indexes: Vec<ReadIndex>,
}

impl Work {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.persist.is_none()
            && self.send_now.is_empty()
            && self.send_after_persist.is_none()
            && self.read.is_empty()
            && self.committed.is_empty()
            && self.membership.is_none()
            && self.role.is_none()
            && self.read_indexes.is_empty()
    }
}

/// One write: everything in it becomes durable together, after every write with a smaller number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// Its number: growing, with gaps. `Member::persisted` takes it back.
    pub number: u64,
    /// A new term or vote.
    pub vote: Option<Vote>,
    /// The whole log is replaced by an empty one that starts here, with these members; and a machine by this image.
    /// Until it is durable the member heeds nothing; then everything up to the new start counts as applied.
    pub restore: Option<StartSnapshot>,
    /// Entries to append. If the first one's index is not after the log's last, the log is cut before it.
    pub entries: Vec<Entry>,
}

/// Messages that may leave when a write is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendAfterPersist {
    /// The write that must be durable, and all earlier ones with it. It may have been given out before.
    pub number: u64,
    /// The messages, in order.
    pub messages: Vec<Message>,
}

/// A committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where it stands.
    pub meta: EntryMeta,
    /// What it holds; `None` for data, which nobody applies by content.
    pub body: Option<Body>,
}

/// A committed membership entry, to be recorded before it takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipChange {
    /// Where it stands.
    pub meta: EntryMeta,
    /// The members that it leads to; `conf_index` is its index.
    pub membership: Membership,
}

/// What a member is to its quorum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It follows, or waits for a leader.
    #[default]
    Follower,
    /// It asks for votes, or asks whether it would get any.
    Candidate,
    /// It leads.
    Leader,
}

/// The role after a change of role, leader or term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleChange {
    /// This member's role.
    pub role: Role,
    /// Who leads, as far as is known.
    pub leader: Option<ReplicaId>,
    /// The term of both. It need not be durable yet.
    pub term: Term,
}

/// A confirmed read index: whoever has applied `index` sees everything that was committed when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadIndex {
    /// As given to `Member::read_index`.
    pub context: u64,
    /// The index.
    pub index: Index,
}
