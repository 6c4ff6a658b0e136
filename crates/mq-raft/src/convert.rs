//! Entries and messages in the Raft library's form, and back. No bytes of a payload are copied.
//!
//! A library entry carries what Raft does not know in its `context`:
//!
//! ```text
//!   kind u8 | appended_at_ms i64 LE | data: the batch's 21 prefix bytes, which hold its base offset
//!                                   | else: base_offset u64 LE
//! ```
//!
//! Only the entries that the library makes itself (a new leader's no-op, leaving a joint configuration) have an empty
//! context; what they lack follows from the entry before them.

use bytes::{Bytes, BytesMut};
use mq_types::batch::PREFIX_BYTES;
use mq_types::message::MessageKind;
use mq_types::persist::{Membership, Start, StartSnapshot};
use mq_types::{Batch, Body, Entry, EntryKind, EntryMeta, Index, Message, Offset, QuorumId, ReplicaId, Term};
use raft::eraftpb::{self, EntryType, MessageType};

/// Bytes of the context before what depends on the kind.
const HEAD_BYTES: usize = 1 + 8;

/// Where the next entry goes on: what an entry inherits from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    /// The offset that the next record will have.
    pub(crate) next_offset: Offset,
    /// When the last entry was appended, in ms since the Unix epoch; 0 if that is not known.
    pub(crate) last_appended_at_ms: i64,
}

impl Tip {
    /// The tip of a log that ends with this entry.
    pub(crate) fn after(meta: &EntryMeta) -> Tip {
        Tip { next_offset: meta.end_offset(), last_appended_at_ms: meta.appended_at_ms }
    }

    /// The tip of an empty log that begins here.
    pub(crate) fn before(start: &Start) -> Tip {
        Tip { next_offset: start.base_offset, last_appended_at_ms: start.prev_appended_at_ms }
    }
}

/// An entry in the library's form.
pub(crate) fn entry_to_raft(entry: &Entry) -> eraftpb::Entry {
    let data = match &entry.body {
        Body::Data(batch) => batch.rest().clone(),
        Body::NoOp => Bytes::new(),
        Body::Membership(bytes) | Body::Control(bytes) | Body::Command(bytes) => bytes.clone(),
    };
    eraftpb::Entry {
        entry_type: entry_type(entry.body.kind()),
        term: entry.term.0,
        index: entry.index.0,
        data,
        context: context(entry),
        ..Default::default()
    }
}

/// The library's word for an entry of this kind.
pub(crate) fn entry_type(kind: EntryKind) -> EntryType {
    match kind {
        EntryKind::Membership => EntryType::EntryConfChangeV2,
        EntryKind::Data | EntryKind::NoOp | EntryKind::Control | EntryKind::Command => EntryType::EntryNormal,
    }
}

fn context(entry: &Entry) -> Bytes {
    let mut context = BytesMut::with_capacity(HEAD_BYTES + PREFIX_BYTES);
    context.extend_from_slice(&[entry.body.kind() as u8]);
    context.extend_from_slice(&entry.appended_at_ms.to_le_bytes());
    match &entry.body {
        Body::Data(batch) => {
            assert_eq!(
                batch.base_offset(),
                entry.base_offset,
                "the batch of entry {} is not stamped",
                entry.index
            );
            context.extend_from_slice(batch.prefix());
        }
        _ => context.extend_from_slice(&entry.base_offset.0.to_le_bytes()),
    }
    context.freeze()
}

/// Takes an entry back. `None`: the library made it, see [`entry_made_by_raft`].
pub(crate) fn entry_from_raft(entry: &eraftpb::Entry) -> Option<Entry> {
    if entry.context.is_empty() {
        return None;
    }
    assert!(entry.context.len() > HEAD_BYTES, "entry {} has a context that is not ours", entry.index);
    let kind = EntryKind::from_u8(entry.context[0]).expect("contexts are written here only");
    let (head, rest) = entry.context.split_at(HEAD_BYTES);
    let appended_at_ms = i64::from_le_bytes(head[1..].try_into().expect("8 bytes"));
    let data = entry.data.clone();
    let (base_offset, body) = if kind == EntryKind::Data {
        let prefix = rest.try_into().expect("contexts are written here only");
        let batch = Batch::from_parts(prefix, data).expect("the batch was one when it was encoded");
        (batch.base_offset(), Body::Data(batch))
    } else {
        let base_offset = Offset(u64::from_le_bytes(rest.try_into().expect("8 bytes")));
        let body = match kind {
            EntryKind::Membership => Body::Membership(data),
            EntryKind::Control => Body::Control(data),
            EntryKind::Command => Body::Command(data),
            EntryKind::NoOp | EntryKind::Data => Body::NoOp,
        };
        (base_offset, body)
    };
    Some(Entry { index: Index(entry.index), term: Term(entry.term), base_offset, appended_at_ms, body })
}

/// Completes an entry that the library made: it consumes no offset, and no time has passed since the one before it.
pub(crate) fn entry_made_by_raft(entry: &eraftpb::Entry, tip: Tip) -> Entry {
    assert!(entry.context.is_empty() && entry.data.is_empty(), "entry {} was not made by Raft", entry.index);
    let body = match entry.get_entry_type() {
        EntryType::EntryNormal => Body::NoOp,
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => Body::Membership(Bytes::new()),
    };
    Entry {
        index: Index(entry.index),
        term: Term(entry.term),
        base_offset: tip.next_offset,
        appended_at_ms: tip.last_appended_at_ms,
        body,
    }
}

/// The members in the library's form.
pub(crate) fn membership_to_raft(membership: &Membership) -> eraftpb::ConfState {
    let numbers = |ids: &[ReplicaId]| ids.iter().map(|id| id.0).collect();
    eraftpb::ConfState {
        voters: numbers(&membership.voters),
        learners: numbers(&membership.learners),
        voters_outgoing: numbers(&membership.voters_outgoing),
        learners_next: numbers(&membership.learners_next),
        auto_leave: membership.auto_leave,
        ..Default::default()
    }
}

/// Takes the members back; they are so since this index. In order of their ids: the library keeps none.
pub(crate) fn membership_from_raft(conf_state: &eraftpb::ConfState, conf_index: Index) -> Membership {
    let replicas = |numbers: &[u64]| {
        let mut replicas: Vec<ReplicaId> = numbers.iter().copied().map(ReplicaId).collect();
        replicas.sort_unstable();
        replicas
    };
    Membership {
        conf_index,
        voters: replicas(&conf_state.voters),
        learners: replicas(&conf_state.learners),
        voters_outgoing: replicas(&conf_state.voters_outgoing),
        learners_next: replicas(&conf_state.learners_next),
        auto_leave: conf_state.auto_leave,
    }
}

/// A start snapshot as far as the library has to know it.
pub(crate) fn snapshot_to_raft(snapshot: &StartSnapshot) -> eraftpb::Snapshot {
    let metadata = eraftpb::SnapshotMetadata {
        conf_state: Some(membership_to_raft(&snapshot.membership)).into(),
        index: snapshot.start.prev_index.0,
        term: snapshot.start.prev_term.0,
        ..Default::default()
    };
    eraftpb::Snapshot { metadata: Some(metadata).into(), ..Default::default() }
}

/// A replica's number as the library uses it: 0 is nobody.
pub(crate) fn replica(number: u64) -> Option<ReplicaId> {
    (number != raft::INVALID_ID).then_some(ReplicaId(number))
}

fn message_type(kind: MessageKind) -> MessageType {
    match kind {
        MessageKind::Append => MessageType::MsgAppend,
        MessageKind::AppendResponse => MessageType::MsgAppendResponse,
        MessageKind::Heartbeat => MessageType::MsgHeartbeat,
        MessageKind::HeartbeatResponse => MessageType::MsgHeartbeatResponse,
        MessageKind::PreVote => MessageType::MsgRequestPreVote,
        MessageKind::PreVoteResponse => MessageType::MsgRequestPreVoteResponse,
        MessageKind::Vote => MessageType::MsgRequestVote,
        MessageKind::VoteResponse => MessageType::MsgRequestVoteResponse,
        MessageKind::TimeoutNow => MessageType::MsgTimeoutNow,
        MessageKind::ReadIndex => MessageType::MsgReadIndex,
        MessageKind::ReadIndexResponse => MessageType::MsgReadIndexResp,
        MessageKind::Snapshot => MessageType::MsgSnapshot,
    }
}

fn message_kind(kind: MessageType) -> MessageKind {
    match kind {
        MessageType::MsgAppend => MessageKind::Append,
        MessageType::MsgAppendResponse => MessageKind::AppendResponse,
        MessageType::MsgHeartbeat => MessageKind::Heartbeat,
        MessageType::MsgHeartbeatResponse => MessageKind::HeartbeatResponse,
        MessageType::MsgRequestPreVote => MessageKind::PreVote,
        MessageType::MsgRequestPreVoteResponse => MessageKind::PreVoteResponse,
        MessageType::MsgRequestVote => MessageKind::Vote,
        MessageType::MsgRequestVoteResponse => MessageKind::VoteResponse,
        MessageType::MsgTimeoutNow => MessageKind::TimeoutNow,
        MessageType::MsgReadIndex => MessageKind::ReadIndex,
        MessageType::MsgReadIndexResp => MessageKind::ReadIndexResponse,
        MessageType::MsgSnapshot => MessageKind::Snapshot,
        local => panic!("{local:?} never leaves a member: proposals are not forwarded"),
    }
}

/// A message in the library's form. Read indexes carry their context as an entry there.
pub(crate) fn message_to_raft(message: Message) -> eraftpb::Message {
    let mut entries: Vec<eraftpb::Entry> = message.entries.iter().map(entry_to_raft).collect();
    let mut context = message.context;
    if matches!(message.kind, MessageKind::ReadIndex | MessageKind::ReadIndexResponse) {
        entries = vec![eraftpb::Entry { data: std::mem::take(&mut context), ..Default::default() }];
    }
    eraftpb::Message {
        msg_type: message_type(message.kind),
        to: message.to.0,
        from: message.from.0,
        term: message.term.0,
        log_term: message.log_term.0,
        index: message.index.0,
        entries: entries.into(),
        commit: message.commit.0,
        commit_term: message.commit_term.0,
        reject: message.reject,
        reject_hint: message.reject_hint.0,
        context,
        priority: message.priority,
        snapshot: message.start.as_deref().map(snapshot_to_raft).into(),
        ..Default::default()
    }
}

/// Takes a message back. `complete` finds an entry that the library made in the log; if it finds none, the log has
/// moved on since the message was built, and the message is dropped as a network may drop it. `offer` is the start
/// snapshot that a peer is given now; the one that the library saw may be older by a trim.
pub(crate) fn message_from_raft(
    quorum: QuorumId,
    mut message: eraftpb::Message,
    complete: impl Fn(&eraftpb::Entry) -> Option<Entry>,
    offer: impl Fn(ReplicaId) -> Option<StartSnapshot>,
) -> Option<Message> {
    let kind = message_kind(message.get_msg_type());
    let mut context = std::mem::take(&mut message.context);
    let mut entries = Vec::new();
    let mut start = None;
    match kind {
        MessageKind::Snapshot => start = Some(Box::new(offer(ReplicaId(message.to))?)),
        MessageKind::ReadIndex | MessageKind::ReadIndexResponse => {
            context = message.entries.first().map(|entry| entry.data.clone()).unwrap_or_default();
        }
        _ => {
            entries.reserve_exact(message.entries.len());
            for entry in message.entries.iter() {
                entries.push(entry_from_raft(entry).or_else(|| complete(entry))?);
            }
        }
    }
    Some(Message {
        quorum,
        from: ReplicaId(message.from),
        to: ReplicaId(message.to),
        kind,
        term: Term(message.term),
        index: Index(message.index),
        log_term: Term(message.log_term),
        commit: Index(message.commit),
        commit_term: Term(message.commit_term),
        entries,
        reject: message.reject,
        reject_hint: Index(message.reject_hint),
        context,
        priority: message.priority,
        start,
    })
}
