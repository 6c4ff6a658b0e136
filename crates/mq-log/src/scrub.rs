//! Reading a log through, slowly, to find what no longer verifies before somebody needs it.
//!
//! [`Scrubber`] decides when which log is read next, given the time: it has no clock, no thread and no disk.
//! [`Reader::scrub`] reads a piece, through the same checks as every other read. What follows from a bad place is not
//! decided here.

use crate::frame::FrameHeader;
use crate::head::Head;
use crate::reader::{BadPlace, ReadError, Reader};
use crate::segment::Segment;
use crate::walk::{Depth, Step, Walker};
use crate::{Disk, DiskFile};
use mq_types::{Offset, Position, QuorumId, ReplicaId, SegmentNumber};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

/// The most that one step reads, in bytes, unless a single entry is larger.
const STEP_BYTES_MAX: u64 = 1 << 20;
/// What one step counts for at least, in bytes: opening a file costs about as much.
const STEP_BYTES_MIN: u64 = 64 << 10;
/// How many bad places one step tells of; the next one goes on behind them.
const STEP_PLACES_MAX: usize = 64;
/// The longest time between a start and its first pass, in ms: a start has enough to do.
const FIRST_PASS_DELAY_MS_MAX: u64 = 60_000;

/// How fast, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubOptions {
    /// Bytes read in a second, at most; 0: nothing is ever read. Default 8 MiB.
    pub bytes_per_second: u64,
    /// A pass begins at most this often, in ms. Default 7 days.
    pub interval_ms: u64,
}

impl Default for ScrubOptions {
    fn default() -> ScrubOptions {
        ScrubOptions { bytes_per_second: 8 << 20, interval_ms: 7 * 24 * 60 * 60 * 1_000 }
    }
}

/// What a scrubber wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubStep {
    /// Nothing before this time, in ms.
    Wait {
        /// Until when.
        until_ms: u64,
    },
    /// Read this piece, then tell [`Scrubber::read`].
    Read {
        /// Of which quorum's log.
        quorum: QuorumId,
        /// From where; `None`: from its beginning.
        from: Option<ScrubPlace>,
        /// About how much, in bytes.
        bytes_max: u64,
    },
    /// All logs were read.
    PassEnded {
        /// How long that took, in ms.
        took_ms: u64,
    },
}

/// Decides what is read next: one log after the other, in the order of their ids, a piece at a time. It remembers a
/// single place, however many logs there are.
#[derive(Debug)]
pub struct Scrubber {
    options: ScrubOptions,
    pass: Option<Pass>,
    /// Nothing is read before.
    ready_ms: u64,
}

#[derive(Debug)]
struct Pass {
    began_ms: u64,
    /// The log that is being read, and from where; `None`: none yet.
    log: Option<(QuorumId, Option<ScrubPlace>)>,
    /// It was read to its end.
    log_ended: bool,
}

impl Scrubber {
    /// Begins its first pass soon. `None`: the options say never.
    pub fn new(options: ScrubOptions, now_ms: u64) -> Option<Scrubber> {
        let ready_ms = now_ms.saturating_add(options.interval_ms.min(FIRST_PASS_DELAY_MS_MAX));
        (options.bytes_per_second > 0).then_some(Scrubber { options, pass: None, ready_ms })
    }

    /// What to do now. `log_after` gives the first quorum behind this one that has a log; the first of all for `None`.
    pub fn next(
        &mut self,
        now_ms: u64,
        log_after: impl FnOnce(Option<QuorumId>) -> Option<QuorumId>,
    ) -> ScrubStep {
        if now_ms < self.ready_ms {
            return ScrubStep::Wait { until_ms: self.ready_ms };
        }
        let pass = self.pass.get_or_insert(Pass { began_ms: now_ms, log: None, log_ended: true });
        if pass.log_ended {
            let before = pass.log.take().map(|(quorum, _)| quorum);
            let Some(quorum) = log_after(before) else { return self.end_pass(now_ms) };
            assert!(before.is_none_or(|before| before < quorum), "quorum {quorum} after {before:?}");
            pass.log = Some((quorum, None));
            pass.log_ended = false;
        }
        let (quorum, from) = pass.log.expect("a log that has not ended is there");
        ScrubStep::Read { quorum, from, bytes_max: STEP_BYTES_MAX.min(self.options.bytes_per_second) }
    }

    /// So many bytes were read, and this is where to go on; `None`: the log was read to its end, or cannot be.
    pub fn read(&mut self, now_ms: u64, read_bytes: u64, next: Option<ScrubPlace>) {
        let pass = self.pass.as_mut().expect("reads are asked for by a pass");
        assert!(!pass.log_ended, "a read that was not asked for");
        let (_, from) = pass.log.as_mut().expect("a log that has not ended is there");
        pass.log_ended = next.is_none();
        *from = next;
        let pause_ms =
            read_bytes.max(STEP_BYTES_MIN).saturating_mul(1_000).div_ceil(self.options.bytes_per_second);
        self.ready_ms = now_ms.saturating_add(pause_ms);
    }

    fn end_pass(&mut self, now_ms: u64) -> ScrubStep {
        let pass = self.pass.take().expect("it is the pass that ends");
        self.ready_ms = pass.began_ms.saturating_add(self.options.interval_ms).max(now_ms);
        ScrubStep::PassEnded { took_ms: now_ms.saturating_sub(pass.began_ms) }
    }
}

/// Where a scrub of one log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubPlace {
    /// Whose log it is. One that takes its place at the same quorum counts its segments from the beginning again.
    replica: ReplicaId,
    at: Place,
}

/// Where in a replica's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// In this segment, or in the first one after it that is still there.
    segment: SegmentNumber,
    /// 0: at its head.
    position: u64,
    /// The offset there, as far as it is known.
    offset: Offset,
    /// The frame before, if it was good.
    previous: Option<FrameHeader>,
    /// The bad frame behind which the next good one is still being looked for.
    gap: Option<(Position, Offset)>,
}

impl Place {
    fn beginning(segment: SegmentNumber) -> Place {
        Place { segment, position: 0, offset: Offset(0), previous: None, gap: None }
    }

    fn behind<F: DiskFile>(segment: &Segment<F>) -> Place {
        Place::beginning(SegmentNumber(segment.number.0 + 1))
    }
}

/// What a piece of a scrub found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// Where to go on; `None`: this was the end of what is durable.
    pub next: Option<ScrubPlace>,
    /// Bytes read.
    pub read_bytes: u64,
    /// What does not verify, in order.
    pub bad: Vec<BadPlace>,
}

impl<D: Disk> Reader<D> {
    /// Reads a piece of about `bytes_max` bytes (but at least one frame) of what is durable and verifies all of it.
    /// What memory did not hold before, it does not hold afterwards.
    ///
    /// # Errors
    /// The replica is gone, or the disk refused.
    pub fn scrub(&self, from: Option<ScrubPlace>, bytes_max: u64) -> Result<Scrubbed, ReadError> {
        assert!(bytes_max > 0, "a piece has a size");
        let from = from.filter(|place| place.replica == self.replica()).map(|place| place.at);
        let place = from.unwrap_or(Place::beginning(SegmentNumber(0)));
        let Some(segment) = self.segment_from(place.segment)? else {
            return Ok(Scrubbed { next: None, read_bytes: 0, bad: Vec::new() });
        };
        let place = match place.segment == segment.number {
            true => place,
            false => Place::beginning(segment.number),
        };
        let path = segment.path(&self.dir);
        match self.disk.open_cold(&path) {
            Ok(file) => {
                let mut piece = Piece::new(&segment, &path, file, bytes_max);
                let next =
                    piece.read(place).map_err(|source| ReadError::Io { file: path.clone(), source })?;
                let Piece { read_bytes, bad, .. } = piece;
                Ok(Scrubbed { next: Some(self.scrub_place(next)), read_bytes, bad })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.missing(&segment) {
                // Trimmed meanwhile: on to what is left.
                ReadError::BelowStart { .. } => {
                    let next = Some(self.scrub_place(Place::behind(&segment)));
                    Ok(Scrubbed { next, read_bytes: 0, bad: Vec::new() })
                }
                error => Err(error),
            },
            Err(source) => Err(ReadError::Io { file: path, source }),
        }
    }

    fn scrub_place(&self, at: Place) -> ScrubPlace {
        ScrubPlace { replica: self.replica(), at }
    }

    /// The first segment with this number or a later one.
    fn segment_from(&self, number: SegmentNumber) -> Result<Option<Arc<Segment<D::File>>>, ReadError> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        if view.gone {
            return Err(ReadError::Gone);
        }
        Ok(view.segments.iter().find(|segment| segment.number >= number).cloned())
    }
}

/// A piece of one segment, being read.
struct Piece<'a, F: DiskFile> {
    segment: &'a Segment<F>,
    path: &'a Path,
    file: F,
    bytes_max: u64,
    read_bytes: u64,
    bad: Vec<BadPlace>,
}

impl<'a, F: DiskFile> Piece<'a, F> {
    fn new(segment: &'a Segment<F>, path: &'a Path, file: F, bytes_max: u64) -> Piece<'a, F> {
        Piece { segment, path, file, bytes_max, read_bytes: 0, bad: Vec::new() }
    }

    /// Gives back where to go on.
    fn read(&mut self, place: Place) -> io::Result<Place> {
        let place = if place.position == 0 { self.head()? } else { place };
        self.frames(place)
    }

    /// Verifies the head, without which the segment cannot be opened again.
    fn head(&mut self) -> io::Result<Place> {
        let segment = self.segment;
        let is_good = |head: Head| head.header() == segment.head && head.salt == segment.salt;
        if !Head::read(&self.file)?.is_ok_and(is_good) {
            self.tell(Position(0), segment.base_offset(), segment.end.end_offset);
        }
        self.read_bytes += segment.frames_at;
        Ok(Place {
            segment: segment.number,
            position: segment.frames_at,
            offset: segment.base_offset(),
            previous: Some(segment.head),
            gap: None,
        })
    }

    /// Verifies frame after frame. Gives back where to go on.
    fn frames(&mut self, place: Place) -> io::Result<Place> {
        let end = self.segment.end;
        let ahead = usize::try_from(self.bytes_max).unwrap_or(usize::MAX);
        let (file, seed) = (self.file.clone(), self.segment.seed.clone());
        let mut walker = Walker::new(file, seed, place.position, end.position, place.previous)
            .beginning_at(place.offset)
            .read(Depth::Whole, ahead);
        // The log may have been cut meanwhile: what lies behind its end is dead, and need not be good.
        let mut gap = place.gap.filter(|(bad, _)| bad.0 < end.position);
        while self.read_bytes < self.bytes_max && self.bad.len() < STEP_PLACES_MAX {
            let position = walker.position();
            let mut scan_from = position;
            if gap.is_none() {
                match walker.step()? {
                    Step::Frame(frame) => {
                        self.read_bytes += frame.header.frame_bytes();
                        continue;
                    }
                    Step::End => return Ok(Place::behind(self.segment)),
                    Step::Bad => {
                        gap = Some((Position(position), walker.offset()));
                        scan_from = walker.behind_bad()?;
                    }
                }
            }
            let (bad, offset) = gap.expect("it was there, or was just made");
            let scan_until = scan_from.saturating_add(self.bytes_max).min(end.position);
            let found = walker.scan(scan_from, scan_until)?;
            let passed = found.as_ref().map_or(scan_until, |frame| frame.position);
            self.read_bytes += passed.max(position + 1) - position;
            match found {
                Some(frame) => {
                    self.tell(bad, offset, frame.header.base_offset);
                    gap = None;
                    walker.pass_to(frame.position);
                }
                None if scan_until >= end.position => {
                    self.tell(bad, offset, end.end_offset);
                    return Ok(Place::behind(self.segment));
                }
                None => walker.pass_to(scan_until),
            }
        }
        let (position, previous) = (walker.position(), walker.previous());
        Ok(Place { segment: self.segment.number, position, offset: walker.offset(), previous, gap })
    }

    fn tell(&mut self, position: Position, offset: Offset, end_offset: Offset) {
        let file = PathBuf::from(self.path);
        self.bad.push(BadPlace { file, position, offset, end_offset: end_offset.max(offset) });
    }
}
