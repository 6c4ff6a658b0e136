//! Reading the frames of a segment one after the other, verifying each and that it goes on from the one before.
//!
//! It decides nothing about what a bad frame means.

use crate::DiskFile;
use crate::frame::{
    DATA_COVERED_BYTES, FrameHeader, FrameKind, HEADER_BYTES, MAGIC, MAGIC_AT, Seed, decode_body,
};
use bytes::Bytes;
use mq_types::{Body, EntryKind, Offset};
use std::io;

/// How much is looked at once behind a bad frame.
const SCAN_CHUNK_BYTES: u64 = 64 << 10;
/// Behind a bad frame, longer entries without records are not looked for: what looks like one there may be a client's
/// bytes, and is not worth a long read.
pub(crate) const SCAN_PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// How much of a frame is read and verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What the frame's checksum covers: everything but the records of data.
    Headers,
    /// Everything.
    Whole,
}

/// A verified frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) position: u64,
    /// `None` for data, unless it was read whole.
    pub(crate) body: Option<Body>,
}

impl Frame {
    pub(crate) fn end_position(&self) -> u64 {
        self.position + self.header.frame_bytes()
    }
}

/// What stands at the walker's position.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Frame(Frame),
    /// The end that the walker was given.
    End,
    /// Something that does not verify, or does not go on from the frame before.
    Bad,
}

/// Walks over frames.
#[derive(Debug)]
pub(crate) struct Walker<F> {
    file: F,
    seed: Seed,
    position: u64,
    until: u64,
    previous: Option<FrameHeader>,
    /// The offset of the next frame, as far as it is known.
    offset: Offset,
    depth: Depth,
    read_ahead_bytes: usize,
    chunk: Bytes,
    chunk_at: u64,
}

impl<F: DiskFile> Walker<F> {
    /// Walks from `position` to `until`. The first frame must follow `previous`; without one it is taken as it is.
    pub(crate) fn new(
        file: F,
        seed: Seed,
        position: u64,
        until: u64,
        previous: Option<FrameHeader>,
    ) -> Walker<F> {
        Walker {
            file,
            seed,
            position,
            until,
            previous,
            offset: previous.map_or(Offset(0), |previous| previous.end_offset()),
            depth: Depth::Headers,
            read_ahead_bytes: 32 << 10,
            chunk: Bytes::new(),
            chunk_at: 0,
        }
    }

    /// The offset of the first frame, for those who must name it even if it is bad.
    pub(crate) fn beginning_at(mut self, offset: Offset) -> Walker<F> {
        self.offset = offset;
        self
    }

    /// The offset of the next frame, as far as it is known.
    pub(crate) fn offset(&self) -> Offset {
        self.offset
    }

    /// How deep to read from now on, and how many bytes at once.
    pub(crate) fn read(mut self, depth: Depth, read_ahead_bytes: usize) -> Walker<F> {
        self.set_depth(depth, read_ahead_bytes);
        self
    }

    pub(crate) fn set_depth(&mut self, depth: Depth, read_ahead_bytes: usize) {
        self.depth = depth;
        self.read_ahead_bytes = read_ahead_bytes;
    }

    /// Where the next frame begins.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The frame before that.
    pub(crate) fn previous(&self) -> Option<FrameHeader> {
        self.previous
    }

    /// Goes back to a frame that this walker has just given.
    pub(crate) fn back_to(&mut self, frame: &Frame) {
        assert!(frame.position < self.position, "only backwards");
        self.position = frame.position;
        self.offset = frame.header.base_offset;
        self.previous = None;
    }

    /// Where to look for the frame after the bad one on which this walker stands: behind it, if only its records are
    /// bad.
    pub(crate) fn behind_bad(&self) -> io::Result<u64> {
        match self.look(self.position).step()? {
            Step::Frame(frame) => Ok(frame.end_position()),
            Step::End | Step::Bad => Ok(self.position + 1),
        }
    }

    /// The next good frame behind the bad one on which this walker stands, if it begins before `scan_until`.
    pub(crate) fn next_good(&self, scan_until: u64) -> io::Result<Option<Frame>> {
        self.scan(self.behind_bad()?, scan_until)
    }

    /// The first frame that begins in `from..scan_until` and whose own checksum is right. Its salt is this segment's,
    /// so it is no client's bytes, and offsets, indexes and times of a segment only grow.
    pub(crate) fn scan(&self, from: u64, scan_until: u64) -> io::Result<Option<Frame>> {
        let mut position = from;
        while position < scan_until.min(self.until) {
            let starts = SCAN_CHUNK_BYTES.min(scan_until - position);
            // The chunks overlap, so that no header lies across two of them unseen.
            let chunk = self.file.read_at(position, starts as usize + HEADER_BYTES - 1)?;
            for (at, bytes) in chunk.windows(HEADER_BYTES).enumerate() {
                if bytes[MAGIC_AT..MAGIC_AT + MAGIC.len()] != MAGIC {
                    continue;
                }
                let header = FrameHeader::decode(bytes.try_into().expect("a header's bytes"));
                let Some(header) = header else { continue };
                if header.covered_bytes() > SCAN_PAYLOAD_BYTES_MAX {
                    continue;
                }
                if let Step::Frame(frame) = self.look(position + at as u64).step()? {
                    return Ok(Some(frame));
                }
            }
            position += starts;
        }
        Ok(None)
    }

    /// Goes on behind what is bad: at a frame, or where one is still to be looked for.
    pub(crate) fn pass_to(&mut self, position: u64) {
        assert!(position >= self.position, "only forward");
        self.position = position;
        self.previous = None;
    }

    /// Looks at one frame by itself, reading no more than its checksum covers.
    fn look(&self, position: u64) -> Walker<F> {
        let walker = Walker::new(self.file.clone(), self.seed.clone(), position, self.until, None);
        walker.read(Depth::Headers, HEADER_BYTES + DATA_COVERED_BYTES)
    }

    /// Reads the next frame and stands behind it; anything else leaves the walker where it is.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        if self.position >= self.until {
            return Ok(Step::End);
        }
        let Some(frame) = self.frame()? else { return Ok(Step::Bad) };
        if self.previous.is_some_and(|previous| !frame.header.follows(&previous)) {
            return Ok(Step::Bad);
        }
        self.position = frame.end_position();
        self.offset = frame.header.end_offset();
        self.previous = Some(frame.header);
        Ok(Step::Frame(frame))
    }

    fn frame(&mut self) -> io::Result<Option<Frame>> {
        let Some(start) = self.bytes(HEADER_BYTES)? else { return Ok(None) };
        let header_bytes = start[..].try_into().expect("it has the header's size");
        let Some(header) = FrameHeader::decode(header_bytes) else { return Ok(None) };
        if header.kind == FrameKind::Head || self.position + header.frame_bytes() > self.until {
            return Ok(None);
        }
        let is_data = header.kind == FrameKind::Entry(EntryKind::Data);
        let whole = self.depth == Depth::Whole || !is_data;
        let payload_bytes = if whole { header.len as usize } else { header.covered_bytes() };
        let Some(bytes) = self.bytes(HEADER_BYTES + payload_bytes)? else { return Ok(None) };
        let payload = bytes.slice(HEADER_BYTES..);
        if !FrameHeader::verifies(header_bytes, &self.seed, &payload[..header.covered_bytes()]) {
            return Ok(None);
        }
        let body = if whole { decode_body(&header, payload) } else { None };
        if whole && body.is_none() {
            return Ok(None);
        }
        Ok(Some(Frame { header, position: self.position, body }))
    }

    /// The next `count` bytes; `None` if the walk or the file ends before.
    fn bytes(&mut self, count: usize) -> io::Result<Option<Bytes>> {
        let until = self.position + count as u64;
        if until > self.until {
            return Ok(None);
        }
        if self.position < self.chunk_at || until > self.chunk_at + self.chunk.len() as u64 {
            let rest = usize::try_from(self.until - self.position).unwrap_or(usize::MAX);
            let wanted = self.read_ahead_bytes.max(count).min(rest);
            self.chunk = Bytes::from(self.file.read_at(self.position, wanted)?);
            self.chunk_at = self.position;
        }
        let at = (self.position - self.chunk_at) as usize;
        Ok((self.chunk.len() >= at + count).then(|| self.chunk.slice(at..at + count)))
    }
}

#[cfg(test)]
mod tests;
