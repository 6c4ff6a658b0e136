//! The bytes of a frame: one entry (or a segment's head) on disk. No other file knows this layout.
//!
//! A 64-byte header, little endian, then the payload:
//!
//! ```text
//!  0 crc32        u32  over the segment's salt, header bytes 4..64 and, for data, the first 21 bytes of the batch
//!                      (the rest is covered by the batch's own CRC-32C); otherwise the whole payload
//!  4 len          u32  payload bytes, header not counted
//!  8 magic        u16  "mq"
//! 10 kind         u8   0 head · 1 data · 2 no-op · 3 membership · 4 control · 5 command
//! 11 flags        u8   0
//! 12 span         u32  offsets consumed; 0 for anything but data
//! 16 index        u64
//! 24 term         u64
//! 32 commit       u64  commit index known when this was written
//! 40 synced       u64  last index known durable here when this was written
//! 48 base_offset  u64
//! 56 appended_at  i64  ms since the Unix epoch
//! ```
//!
//! The salt makes a frame verify in its own segment alone: neither another replica's frame, nor a stale one, nor
//! one forged inside a client's record does. A head's checksum has no salt in it: the salt stands in the head.

use mq_types::batch::{self, Batch};
use mq_types::{Body, Entry, EntryKind, EntryMeta, Index, Offset, Term};

/// Bytes of a frame's header.
pub(crate) const HEADER_BYTES: usize = 64;
/// The first bytes of a batch, which the frame's checksum covers.
pub(crate) const DATA_COVERED_BYTES: usize = batch::PREFIX_BYTES;
/// Where the magic stands in the header.
pub(crate) const MAGIC_AT: usize = 8;
/// "mq".
pub(crate) const MAGIC: [u8; 2] = *b"mq";

/// What a segment's checksums begin with.
#[derive(Clone, Debug)]
pub(crate) struct Seed(crc32fast::Hasher);

impl Seed {
    /// For a head: nothing.
    pub(crate) fn of_head() -> Seed {
        Seed(crc32fast::Hasher::new())
    }

    /// For everything else in a segment: its salt.
    pub(crate) fn of_salt(salt: &[u8; 16]) -> Seed {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(salt);
        Seed(hasher)
    }

    pub(crate) fn checksum(&self, parts: &[&[u8]]) -> u32 {
        let mut hasher = self.0.clone();
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Head,
    Entry(EntryKind),
}

/// A frame's header.
///
/// A head stands in for the entry before the segment's first one: its index and term are that entry's, its
/// `base_offset` the one that the first record will have, its `appended_at_ms` that entry's (0: not known).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) len: u32,
    pub(crate) kind: FrameKind,
    pub(crate) span: u32,
    pub(crate) index: Index,
    pub(crate) term: Term,
    pub(crate) commit: Index,
    pub(crate) synced: Index,
    pub(crate) base_offset: Offset,
    pub(crate) appended_at_ms: i64,
}

impl FrameHeader {
    /// The header of an entry's frame.
    pub(crate) fn of_entry(entry: &Entry, commit: Index, synced: Index) -> FrameHeader {
        let len = u32::try_from(entry.body.len_bytes()).expect("an entry is far smaller than 4 GiB");
        assert!(
            commit <= synced && synced < entry.index,
            "commit {commit}, synced {synced}, index {}",
            entry.index
        );
        FrameHeader {
            len,
            kind: FrameKind::Entry(entry.body.kind()),
            span: entry.body.span(),
            index: entry.index,
            term: entry.term,
            commit,
            synced,
            base_offset: entry.base_offset,
            appended_at_ms: entry.appended_at_ms,
        }
    }

    /// The first offset after this frame.
    pub(crate) fn end_offset(&self) -> Offset {
        self.base_offset.plus(self.span)
    }

    /// The frame's size in bytes.
    pub(crate) fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.len)
    }

    /// How many bytes of the payload the frame's checksum covers.
    pub(crate) fn covered_bytes(&self) -> usize {
        match self.kind {
            FrameKind::Entry(EntryKind::Data) => DATA_COVERED_BYTES,
            _ => self.len as usize,
        }
    }

    /// The entry's meta; `None` for a head.
    pub(crate) fn meta(&self) -> Option<EntryMeta> {
        let FrameKind::Entry(kind) = self.kind else { return None };
        Some(EntryMeta {
            kind,
            index: self.index,
            term: self.term,
            span: self.span,
            base_offset: self.base_offset,
            appended_at_ms: self.appended_at_ms,
        })
    }

    /// Whether this can be the frame after `previous`.
    pub(crate) fn follows(&self, previous: &FrameHeader) -> bool {
        self.kind != FrameKind::Head
            && self.index == previous.index.next()
            && self.term >= previous.term
            && self.base_offset == previous.end_offset()
            && self.appended_at_ms >= previous.appended_at_ms
            && self.commit >= previous.commit
            && self.commit <= self.synced
            && self.synced < self.index
    }

    /// The header's bytes. `covered`: the part of the payload that the checksum covers.
    pub(crate) fn encode(&self, seed: &Seed, covered: &[u8]) -> [u8; HEADER_BYTES] {
        assert_eq!(covered.len(), self.covered_bytes(), "the checksum covers a fixed part of the payload");
        let mut bytes = [0; HEADER_BYTES];
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..10].copy_from_slice(&MAGIC);
        bytes[10] = match self.kind {
            FrameKind::Head => 0,
            FrameKind::Entry(kind) => kind as u8,
        };
        bytes[12..16].copy_from_slice(&self.span.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.index.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.term.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.commit.0.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.synced.0.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.base_offset.0.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.appended_at_ms.to_le_bytes());
        let crc = seed.checksum(&[&bytes[4..], covered]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header whose checksum has not been looked at yet; `None` if it cannot be one.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<FrameHeader> {
        let kind = match bytes[10] {
            0 => FrameKind::Head,
            number => FrameKind::Entry(EntryKind::from_u8(number)?),
        };
        let header = FrameHeader {
            len: read_u32(bytes, 4),
            kind,
            span: read_u32(bytes, 12),
            index: Index(read_u64(bytes, 16)),
            term: Term(read_u64(bytes, 24)),
            commit: Index(read_u64(bytes, 32)),
            synced: Index(read_u64(bytes, 40)),
            base_offset: Offset(read_u64(bytes, 48)),
            appended_at_ms: read_u64(bytes, 56) as i64,
        };
        let is_data = kind == FrameKind::Entry(EntryKind::Data);
        let plausible = bytes[8..10] == MAGIC
            && bytes[11] == 0
            && (is_data || header.span == 0)
            && (!is_data || header.len as usize >= batch::HEADER_BYTES)
            && header.base_offset.0 <= i64::MAX as u64 - u64::from(u32::MAX)
            && header.index.0 < u64::MAX;
        plausible.then_some(header)
    }

    /// Whether the checksum in these bytes is right.
    pub(crate) fn verifies(bytes: &[u8; HEADER_BYTES], seed: &Seed, covered: &[u8]) -> bool {
        seed.checksum(&[&bytes[4..], covered]) == read_u32(bytes, 0)
    }
}

/// Reads the body of a verified frame, and verifies what the frame's checksum does not cover. `None`: it is bad.
pub(crate) fn decode_body(header: &FrameHeader, payload: bytes::Bytes) -> Option<Body> {
    assert_eq!(payload.len(), header.len as usize, "a body is the whole payload");
    let FrameKind::Entry(kind) = header.kind else { return None };
    Some(match kind {
        EntryKind::Data => {
            let prefix = payload[..DATA_COVERED_BYTES].try_into().expect("a data frame holds a batch header");
            let batch = Batch::from_parts(prefix, payload.slice(DATA_COVERED_BYTES..))?;
            let sound = batch.checksum_matches()
                && batch.base_offset() == header.base_offset
                && batch.span() == header.span;
            return sound.then_some(Body::Data(batch));
        }
        EntryKind::NoOp => return payload.is_empty().then_some(Body::NoOp),
        EntryKind::Membership => Body::Membership(payload),
        EntryKind::Control => Body::Control(payload),
        EntryKind::Command => Body::Command(payload),
    })
}

pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}
