//! One position of a log: what it holds and where it stands.
//!
//! The bytes of an entry on disk are the business of `mq-log`; how Raft carries it, of `mq-raft`.

use crate::{Batch, Index, Offset, Term};
use bytes::Bytes;

/// What an entry holds. The numbers are on disk and never change; 0 is the head of a segment, which is not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// A record batch.
    Data = 1,
    /// Nothing: a new leader's first entry.
    NoOp = 2,
    /// A change of the quorum's members (an encoded `ConfChangeV2`).
    Membership = 3,
    /// A partition's own order to its replicas, e.g. "the log now starts at offset 7".
    Control = 4,
    /// A machine's command, e.g. "create topic".
    Command = 5,
}

impl EntryKind {
    /// The kind with this number, if there is one.
    pub fn from_u8(number: u8) -> Option<EntryKind> {
        Some(match number {
            1 => EntryKind::Data,
            2 => EntryKind::NoOp,
            3 => EntryKind::Membership,
            4 => EntryKind::Control,
            5 => EntryKind::Command,
            _ => return None,
        })
    }
}

/// Where an entry stands, without what it holds.
///
/// In one log: `index` grows by 1, `term` never falls, `base_offset` is the previous entry's end offset, and
/// `appended_at_ms` never falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMeta {
    /// What it holds.
    pub kind: EntryKind,
    /// Its position in the log.
    pub index: Index,
    /// The term of the leader that appended it.
    pub term: Term,
    /// Offsets consumed: those of a batch's records (as many as it had when it was appended), 0 for anything else.
    pub span: u32,
    /// The offset of its first record; for anything but data, the offset that the next record will have.
    pub base_offset: Offset,
    /// Milliseconds since the Unix epoch, stamped by the leader.
    pub appended_at_ms: i64,
}

impl EntryMeta {
    /// The first offset after this entry.
    pub fn end_offset(&self) -> Offset {
        self.base_offset.plus(self.span)
    }
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A record batch, stamped with its base offset and its term.
    Data(Batch),
    /// Nothing.
    NoOp,
    /// An encoded `ConfChangeV2`. Empty: leave the joint configuration.
    Membership(Bytes),
    /// A partition's order, encoded by the engine.
    Control(Bytes),
    /// A machine's command, encoded by the engine.
    Command(Bytes),
}

impl Body {
    /// What this is.
    pub fn kind(&self) -> EntryKind {
        match self {
            Body::Data(_) => EntryKind::Data,
            Body::NoOp => EntryKind::NoOp,
            Body::Membership(_) => EntryKind::Membership,
            Body::Control(_) => EntryKind::Control,
            Body::Command(_) => EntryKind::Command,
        }
    }

    /// Offsets consumed.
    pub fn span(&self) -> u32 {
        match self {
            Body::Data(batch) => batch.span(),
            _ => 0,
        }
    }

    /// The size of the payload in bytes, as stored.
    pub fn len_bytes(&self) -> usize {
        match self {
            Body::Data(batch) => batch.len_bytes(),
            Body::NoOp => 0,
            Body::Membership(bytes) | Body::Control(bytes) | Body::Command(bytes) => bytes.len(),
        }
    }
}

/// One position of a log with what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position in the log.
    pub index: Index,
    /// The term of the leader that appended it.
    pub term: Term,
    /// See [`EntryMeta::base_offset`].
    pub base_offset: Offset,
    /// See [`EntryMeta::appended_at_ms`].
    pub appended_at_ms: i64,
    /// What it holds.
    pub body: Body,
}

impl Entry {
    /// The entry without what it holds.
    pub fn meta(&self) -> EntryMeta {
        EntryMeta {
            kind: self.body.kind(),
            index: self.index,
            term: self.term,
            span: self.body.span(),
            base_offset: self.base_offset,
            appended_at_ms: self.appended_at_ms,
        }
    }
}
