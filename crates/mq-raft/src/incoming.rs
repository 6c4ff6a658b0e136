//! What is checked of a peer's message before the Raft library sees it: the library trusts, and panics.
//!
//! Whether the sender is who it says, and holds the data directory that the controller knows, is the peer
//! connection's business.

use crate::convert::Tip;
use crate::membership;
use crate::options::Kind;
use mq_types::message::MessageKind;
use mq_types::{Body, Index, Message, QuorumId, ReplicaId};

/// Why a message was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// It is for somebody else: drop it.
    #[error("the message is for replica {to} of quorum {quorum}, not for this one; it was dropped")]
    OtherAddressee {
        /// Whom it names.
        to: ReplicaId,
        /// Which quorum it names.
        quorum: QuorumId,
    },
    /// It answers something, but its sender is no member: drop it.
    #[error("replica {from} answered but is no member of this quorum; the answer was dropped")]
    UnknownMember {
        /// Who sent it.
        from: ReplicaId,
    },
    /// It breaks the protocol: drop it, and look at its sender.
    #[error("replica {from} sent a message that breaks the protocol: {malformation}; it was dropped")]
    Malformed {
        /// Who sent it.
        from: ReplicaId,
        /// What is wrong with it.
        malformation: Malformation,
    },
    /// It proves that this replica acknowledged entries which it does not have: the replica is lost.
    #[error(
        "a leader knows that this replica acknowledged entry {acknowledged}, but its log ends at {last_index}: \
         acknowledged entries were lost here, and the replica must be replaced under a new id"
    )]
    ShorterThanAcknowledged {
        /// The index that was acknowledged.
        acknowledged: Index,
        /// The last index that is here.
        last_index: Index,
    },
}

/// How a message breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformation {
    /// It has no term although its kind must have one, or the reverse.
    #[error("it has no term where one is due, or one where none is")]
    Term,
    /// A term or an index is beyond what any quorum reaches.
    #[error("it names {0}, which no term and no index ever reaches")]
    Number(u64),
    /// Its kind carries no entries.
    #[error("it carries entries although it appends nothing")]
    Entries,
    /// The entry at this index does not go on where the one before it ends, or not in its own term or stamp, or holds
    /// a change of the members that nobody can read, or that these members cannot make.
    #[error("its entry {0} does not go on from what is before it")]
    Entry(Index),
    /// It acknowledges or refuses an index that this leader has never sent.
    #[error("it answers for entry {0}, which was never sent")]
    NeverSent(Index),
    /// It has a start snapshot although its kind has none, or the reverse, or one that no leader would send, such as
    /// one that takes back what is committed here.
    #[error("it has a start snapshot where none is due, or none where one is, or an impossible one")]
    Start,
    /// The members that it tells of are not ones that a quorum can have, or this replica is none of them.
    #[error("the members that it tells of are not ones of a quorum to which this replica belongs")]
    Members,
    /// It gives a vote that has not been asked for.
    #[error("it answers to a vote that was not asked for yet")]
    NotAsked,
    /// Its read index context was not made by a member.
    #[error("its read index context is not one of this protocol")]
    Context,
}

/// No term and no index gets so far by counting, and whoever counts on from there overflows.
const NUMBER_MAX: u64 = u64::MAX >> 1;

/// The size of a read index's context: replica, run and number.
pub(crate) const READ_CONTEXT_BYTES: usize = 24;

/// Whether a message of this kind answers another one. Only members may answer.
///
/// Questions are taken from anybody: a replica that lags may not know the newest members yet, among them its own
/// leader, and would never learn of them if it refused to listen.
pub(crate) fn is_response(kind: MessageKind) -> bool {
    match kind {
        MessageKind::AppendResponse
        | MessageKind::HeartbeatResponse
        | MessageKind::PreVoteResponse
        | MessageKind::VoteResponse
        | MessageKind::ReadIndexResponse => true,
        MessageKind::Append
        | MessageKind::Heartbeat
        | MessageKind::PreVote
        | MessageKind::Vote
        | MessageKind::TimeoutNow
        | MessageKind::ReadIndex
        | MessageKind::Snapshot => false,
    }
}

/// Checks what a message says about itself.
pub(crate) fn check_form(message: &Message, kind: Kind) -> Result<(), Malformation> {
    let carries_term = message.kind != MessageKind::ReadIndex;
    if carries_term != (message.term.0 > 0) {
        return Err(Malformation::Term);
    }
    let Message { term, index, log_term, commit, commit_term, reject_hint, .. } = message;
    let numbers = [term.0, index.0, log_term.0, commit.0, commit_term.0, reject_hint.0];
    if let Some(number) = numbers.into_iter().find(|number| *number > NUMBER_MAX) {
        return Err(Malformation::Number(number));
    }
    if message.kind != MessageKind::Append && !message.entries.is_empty() {
        return Err(Malformation::Entries);
    }
    let is_read = matches!(message.kind, MessageKind::ReadIndex | MessageKind::ReadIndexResponse);
    if is_read && message.context.len() != READ_CONTEXT_BYTES {
        return Err(Malformation::Context);
    }
    check_start(message, kind)?;
    check_entries(message)
}

/// Checks that a start snapshot is there where one is due, and can be one of this kind of quorum.
fn check_start(message: &Message, kind: Kind) -> Result<(), Malformation> {
    let (start, membership, machine) = match (&message.start, message.kind) {
        (None, MessageKind::Snapshot) => return Err(Malformation::Start),
        (None, _) => return Ok(()),
        (Some(_), other) if other != MessageKind::Snapshot => return Err(Malformation::Start),
        (Some(offered), _) => (&offered.start, &offered.membership, &offered.machine),
    };
    let numbers = [start.prev_index.0, start.prev_term.0, membership.conf_index.0];
    if let Some(number) = numbers.into_iter().find(|number| *number > NUMBER_MAX) {
        return Err(Malformation::Number(number));
    }
    let is_position = start.prev_index.0 > 0
        && start.prev_term.0 > 0
        && start.prev_term <= message.term
        && start.base_offset <= start.log_start
        && start.log_start.0 <= i64::MAX as u64;
    if !is_position || machine.is_some() != (kind == Kind::Machine) {
        return Err(Malformation::Start);
    }
    if !membership::is_sound(membership) || !membership::names(membership, message.to) {
        return Err(Malformation::Members);
    }
    Ok(())
}

/// Checks that the entries go on from each other: index, term, offset and time.
fn check_entries(message: &Message) -> Result<(), Malformation> {
    let (mut index, mut term) = (message.index, message.log_term);
    let mut tip: Option<Tip> = None;
    for entry in &message.entries {
        index = Index(index.0.checked_add(1).ok_or(Malformation::Entry(index))?);
        let is_sound = match &entry.body {
            Body::Data(batch) => batch.base_offset() == entry.base_offset,
            Body::Membership(encoded) => membership::decode(encoded).is_some(),
            _ => true,
        };
        let end_is_an_offset = entry
            .base_offset
            .0
            .checked_add(u64::from(entry.body.span()))
            .is_some_and(|end| end <= i64::MAX as u64);
        let goes_on = tip.is_none_or(|tip| {
            entry.base_offset == tip.next_offset && entry.appended_at_ms >= tip.last_appended_at_ms
        });
        let in_term = entry.term >= term && entry.term <= message.term;
        if entry.index != index || !in_term || !is_sound || !end_is_an_offset || !goes_on {
            return Err(Malformation::Entry(entry.index));
        }
        term = entry.term;
        tip = Some(Tip::after(&entry.meta()));
    }
    Ok(())
}
