//! The first frame of a segment: whose it is, where it goes on from, and the salt of all other frames in it.
//!
//! Its header is a frame's (see `frame`); the payload, little endian:
//!
//! ```text
//!  0 version      u16  1
//!  2 zero         u16
//!  4 term runs    u32  how many
//!  8 quorum       u64
//! 16 replica      u64
//! 24 number       u64  of the segment
//! 32 salt         16 bytes
//! 48 term runs         each: term u64 · first index u64 · base offset u64; from the log's start to this segment,
//!                      so that the term of any index is known without a scan
//! ```

use crate::DiskFile;
use crate::frame::{FrameHeader, FrameKind, HEADER_BYTES, Seed, read_u32, read_u64};
use mq_types::persist::Start;
use mq_types::term_runs::TermRun;
use mq_types::{Index, Offset, QuorumId, ReplicaId, SegmentNumber, Term, TermRuns};
use std::io;

/// The segment format that this code writes, and the newest that it reads.
pub(crate) const VERSION: u16 = 1;

const FIXED_BYTES: usize = 48;
const RUN_BYTES: usize = 24;

/// A segment's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) quorum: QuorumId,
    pub(crate) replica: ReplicaId,
    pub(crate) number: SegmentNumber,
    pub(crate) salt: [u8; 16],
    pub(crate) prev_index: Index,
    pub(crate) prev_term: Term,
    pub(crate) base_offset: Offset,
    pub(crate) commit: Index,
    pub(crate) synced: Index,
    /// Of the entry before the first one; 0: not known.
    pub(crate) prev_appended_at_ms: i64,
    pub(crate) runs: TermRuns,
}

/// Why there is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHead {
    /// It does not verify.
    Corrupt,
    /// It verifies, and is of this version.
    Newer(u16),
}

/// The size of a head's frame with this many term runs.
pub(crate) fn frame_bytes(runs: usize) -> u64 {
    (HEADER_BYTES + FIXED_BYTES + runs * RUN_BYTES) as u64
}

impl Head {
    /// The head of a new replica's first segment.
    pub(crate) fn of_new_replica(
        quorum: QuorumId,
        replica: ReplicaId,
        start: &Start,
        salt: [u8; 16],
    ) -> Head {
        Head {
            quorum,
            replica,
            number: SegmentNumber(1),
            salt,
            prev_index: start.prev_index,
            prev_term: start.prev_term,
            base_offset: start.base_offset,
            commit: start.prev_index,
            synced: start.prev_index,
            prev_appended_at_ms: start.prev_appended_at_ms,
            runs: TermRuns::starting_at(start.prev_index, start.prev_term, start.base_offset),
        }
    }

    /// The head as the frame before the segment's first one.
    pub(crate) fn header(&self) -> FrameHeader {
        FrameHeader {
            len: (FIXED_BYTES + self.runs.runs().len() * RUN_BYTES) as u32,
            kind: FrameKind::Head,
            span: 0,
            index: self.prev_index,
            term: self.prev_term,
            commit: self.commit,
            synced: self.synced,
            base_offset: self.base_offset,
            appended_at_ms: self.prev_appended_at_ms,
        }
    }

    /// The whole frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        assert_eq!(self.runs.last_term(), self.prev_term, "the runs end with the entry before the segment");
        assert!(
            self.commit <= self.synced && self.synced <= self.prev_index,
            "nothing beyond is known to be durable"
        );
        let runs = self.runs.runs();
        let mut payload = Vec::with_capacity(FIXED_BYTES + runs.len() * RUN_BYTES);
        payload.extend_from_slice(&VERSION.to_le_bytes());
        payload.extend_from_slice(&[0; 2]);
        payload.extend_from_slice(&(runs.len() as u32).to_le_bytes());
        payload.extend_from_slice(&self.quorum.0.to_le_bytes());
        payload.extend_from_slice(&self.replica.0.to_le_bytes());
        payload.extend_from_slice(&self.number.0.to_le_bytes());
        payload.extend_from_slice(&self.salt);
        for run in runs {
            payload.extend_from_slice(&run.term.0.to_le_bytes());
            payload.extend_from_slice(&run.first_index.0.to_le_bytes());
            payload.extend_from_slice(&run.base_offset.0.to_le_bytes());
        }
        let mut frame = self.header().encode(&Seed::of_head(), &payload).to_vec();
        frame.append(&mut payload);
        frame
    }

    /// Reads a segment's head.
    pub(crate) fn read<F: DiskFile>(file: &F) -> io::Result<Result<Head, BadHead>> {
        let bytes = file.read_at(0, HEADER_BYTES)?;
        let Ok(header_bytes) = <&[u8; HEADER_BYTES]>::try_from(bytes.as_slice()) else {
            return Ok(Err(BadHead::Corrupt));
        };
        let Some(header) = FrameHeader::decode(header_bytes).filter(|header| header.kind == FrameKind::Head)
        else {
            return Ok(Err(BadHead::Corrupt));
        };
        let payload = file.read_at(HEADER_BYTES as u64, header.len as usize)?;
        let whole = payload.len() == header.len as usize;
        if !whole || !FrameHeader::verifies(header_bytes, &Seed::of_head(), &payload) {
            return Ok(Err(BadHead::Corrupt));
        }
        Ok(Head::decode(&header, &payload))
    }

    fn decode(header: &FrameHeader, payload: &[u8]) -> Result<Head, BadHead> {
        let version = payload.get(..2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
        match version {
            Some(VERSION) => {}
            Some(newer) if newer > VERSION => return Err(BadHead::Newer(newer)),
            _ => return Err(BadHead::Corrupt),
        }
        if payload.len() < FIXED_BYTES
            || payload.len() != FIXED_BYTES + read_u32(payload, 4) as usize * RUN_BYTES
        {
            return Err(BadHead::Corrupt);
        }
        let runs = payload[FIXED_BYTES..].chunks_exact(RUN_BYTES).map(|run| TermRun {
            term: Term(read_u64(run, 0)),
            first_index: Index(read_u64(run, 8)),
            base_offset: Offset(read_u64(run, 16)),
        });
        let runs = TermRuns::from_stored(runs.collect()).ok_or(BadHead::Corrupt)?;
        let consistent = runs.last_term() == header.term
            && runs
                .runs()
                .last()
                .is_some_and(|run| run.first_index <= header.index && run.base_offset <= header.base_offset)
            && header.commit <= header.synced
            && header.synced <= header.index;
        if !consistent {
            return Err(BadHead::Corrupt);
        }
        Ok(Head {
            quorum: QuorumId(read_u64(payload, 8)),
            replica: ReplicaId(read_u64(payload, 16)),
            number: SegmentNumber(read_u64(payload, 24)),
            salt: payload[32..48].try_into().expect("16 bytes"),
            prev_index: header.index,
            prev_term: header.term,
            base_offset: header.base_offset,
            commit: header.commit,
            synced: header.synced,
            prev_appended_at_ms: header.appended_at_ms,
            runs,
        })
    }
}
