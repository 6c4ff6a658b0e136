//! The active segment: the one file of a log that is written to.
//!
//! It encodes frames and writes them, and the index beside them. When they are durable is the round's business.

use crate::DiskFile;
use crate::frame::{FrameHeader, HEADER_BYTES, Seed};
use crate::head::{self, Head};
use crate::segment::{Segment, SegmentEnd};
use crate::sparse_index::{self, Point, Points};
use bytes::Bytes;
use mq_types::{Body, Entry, Index, SegmentNumber};
use std::io::{self, IoSlice};
use std::ops::Range;

/// Payloads up to this size are copied into one buffer rather than given to the kernel as a slice of their own.
const COPIED_BYTES_MAX: usize = 2 << 10;
/// The encoding buffer is given back when it has grown beyond this.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// Writes up to this size go where zeros were written before, so that making them durable changes nothing but data:
/// a sync that must also note a new length, or blocks written for the first time, takes half as long again. For larger
/// writes that matters less than writing everything twice.
const WRITE_INTO_ZEROS_BYTES_MAX: u64 = 64 << 10;
/// The most zeros that are written ahead at once; a small segment gets as much as a quarter of itself.
const ZEROS_BYTES_MAX: u64 = 256 << 10;
/// The fewest.
const ZEROS_BYTES_MIN: u64 = 16 << 10;
static ZEROS: [u8; ZEROS_BYTES_MAX as usize] = [0; ZEROS_BYTES_MAX as usize];

/// The active segment.
#[derive(Debug)]
pub(crate) struct Active<F> {
    pub(crate) file: F,
    pub(crate) index_file: F,
    pub(crate) number: SegmentNumber,
    pub(crate) head: FrameHeader,
    pub(crate) salt: [u8; 16],
    pub(crate) seed: Seed,
    pub(crate) frames_at: u64,
    /// Where the next frame goes.
    pub(crate) position: u64,
    /// Space is reserved below this position.
    pub(crate) allocated: u64,
    /// Below this position lies nothing but frames and, behind them, zeros that were written ahead.
    zeros_end: u64,
    /// The last frame's header; the head's if there is none.
    pub(crate) last: FrameHeader,
    pub(crate) first_appended_at_ms: Option<i64>,
    /// How many points the index file holds.
    pub(crate) points: u64,
    /// The position from which on the next frame gets a point.
    pub(crate) next_point_at: u64,
    /// From here on, what was written since the file was opened still counts as cached.
    cached_from: Option<u64>,
    scratch: Vec<u8>,
}

/// What one vectored write is made of.
enum Part<'a> {
    Copied(Range<usize>),
    Shared(&'a Bytes),
}

impl<F: DiskFile> Active<F> {
    /// Writes a new segment's head.
    pub(crate) fn begin(file: F, index_file: F, head: &Head, allocated: u64) -> io::Result<Active<F>> {
        let frame = head.encode();
        file.write_at(0, &mut [IoSlice::new(&frame)])?;
        index_file.write_at(0, &mut [IoSlice::new(&sparse_index::encode_header(&head.salt))])?;
        let mut active = Active::found(file, index_file, head);
        active.allocated = allocated;
        Ok(active)
    }

    /// A segment that has this head and, as far as is known yet, nothing else.
    pub(crate) fn found(file: F, index_file: F, head: &Head) -> Active<F> {
        let header = head.header();
        let frames_at = head::frame_bytes(head.runs.runs().len());
        Active {
            file,
            index_file,
            number: head.number,
            head: header,
            salt: head.salt,
            seed: Seed::of_salt(&head.salt),
            frames_at,
            position: frames_at,
            allocated: frames_at,
            zeros_end: frames_at,
            last: header,
            first_appended_at_ms: None,
            points: 0,
            next_point_at: frames_at,
            cached_from: None,
            scratch: Vec::new(),
        }
    }

    pub(crate) fn first_index(&self) -> Index {
        self.head.index.next()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.last.index == self.head.index
    }

    /// Appends entries by one vectored write; gives back how many bytes it wrote. `commit` and `synced`: what is
    /// known now; a frame never says less than the one before.
    pub(crate) fn append(
        &mut self,
        entries: &[Entry],
        commit: Index,
        synced: Index,
        index_interval_bytes: u64,
    ) -> io::Result<u64> {
        let commit = commit.min(synced).max(self.last.commit);
        let begin = self.position;
        self.cached_from.get_or_insert(begin);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let mut parts = Vec::new();
        let mut points = Vec::new();
        for entry in entries {
            let header = FrameHeader::of_entry(entry, commit, synced);
            assert!(header.follows(&self.last), "entry {} does not follow {:?}", entry.index, self.last);
            self.encode(&header, &entry.body, &mut scratch, &mut parts);
            if self.position >= self.next_point_at {
                points.extend_from_slice(&Point::of(&header, self.position).encode(&self.seed));
                self.next_point_at = self.position + index_interval_bytes;
            }
            self.first_appended_at_ms.get_or_insert(entry.appended_at_ms);
            self.position += header.frame_bytes();
            self.last = header;
        }
        let mut slices: Vec<IoSlice<'_>> = parts
            .iter()
            .map(|part| match part {
                Part::Copied(range) => IoSlice::new(&scratch[range.clone()]),
                Part::Shared(bytes) => IoSlice::new(bytes),
            })
            .collect();
        let zeros = self.zeros_ahead(self.position - begin);
        slices.extend((!zeros.is_empty()).then(|| IoSlice::new(zeros)));
        self.file.write_at(begin, &mut slices)?;
        self.zeros_end = self.zeros_end.max(self.position + zeros.len() as u64);
        if !points.is_empty() {
            sparse_index::write_points(&self.index_file, self.points, &points)?;
            self.points += (points.len() / sparse_index::POINT_BYTES) as u64;
        }
        if scratch.capacity() <= SCRATCH_BYTES_MAX {
            self.scratch = scratch;
        }
        assert!(self.position >= begin + (entries.len() * HEADER_BYTES) as u64);
        Ok(self.position - begin + points.len() as u64)
    }

    /// What is to be written behind the frames of a write of this size.
    fn zeros_ahead(&self, write_bytes: u64) -> &'static [u8] {
        if write_bytes > WRITE_INTO_ZEROS_BYTES_MAX || self.position <= self.zeros_end {
            return &[];
        }
        let wanted = (self.position / 4).clamp(ZEROS_BYTES_MIN, ZEROS_BYTES_MAX);
        let room = self.allocated.saturating_sub(self.position);
        &ZEROS[..wanted.min(room) as usize]
    }

    fn encode<'a>(
        &self,
        header: &FrameHeader,
        body: &'a Body,
        scratch: &mut Vec<u8>,
        parts: &mut Vec<Part<'a>>,
    ) {
        let from = scratch.len();
        let mut shared = None;
        let mut put = |covered: &[u8], rest: Option<&'a Bytes>| {
            scratch.extend_from_slice(&header.encode(&self.seed, covered));
            scratch.extend_from_slice(covered);
            match rest {
                Some(rest) if rest.len() > COPIED_BYTES_MAX => shared = Some(rest),
                Some(rest) => scratch.extend_from_slice(rest),
                None => {}
            }
        };
        match body {
            Body::Data(batch) => put(batch.prefix(), Some(batch.rest())),
            Body::NoOp => put(&[], None),
            Body::Membership(bytes) | Body::Control(bytes) | Body::Command(bytes) => put(bytes, None),
        }
        match parts.last_mut() {
            Some(Part::Copied(range)) if range.end == from => range.end = scratch.len(),
            _ => parts.push(Part::Copied(from..scratch.len())),
        }
        parts.extend(shared.map(Part::Shared));
    }

    /// What was written since this was last asked, if it is at least so much.
    pub(crate) fn take_cached(&mut self, bytes_min: u64) -> Option<(F, Range<u64>)> {
        let from = self.cached_from.filter(|from| self.position - from >= bytes_min)?;
        self.cached_from = Some(self.position);
        Some((self.file.clone(), from..self.position))
    }

    /// Where it ends now.
    pub(crate) fn end(&self) -> SegmentEnd {
        SegmentEnd {
            position: self.position,
            last_index: self.last.index,
            end_offset: self.last.end_offset(),
            first_appended_at_ms: self.first_appended_at_ms,
            last_appended_at_ms: (!self.is_empty()).then_some(self.last.appended_at_ms),
        }
    }

    /// It as readers see it.
    pub(crate) fn segment(&self) -> Segment<F> {
        Segment {
            number: self.number,
            head: self.head,
            frames_at: self.frames_at,
            salt: self.salt,
            seed: self.seed.clone(),
            end: self.end(),
            file: Some(self.file.clone()),
            points: Points::Growing { file: self.index_file.clone(), count: self.points },
        }
    }
}
