//! Reading a replica's log beside its writer, which it never waits for longer than it takes to copy a list.
//!
//! A reader sees what was durable at the last round. It holds a segment for one read only, so a trim frees space at
//! once. What may be shown to whom (the high watermark) is the caller's business.

use crate::frame::FrameHeader;
use crate::log::View;
use crate::paths;
use crate::segment::{Segment, SegmentEnd, Target};
use crate::sparse_index::Point;
use crate::walk::{Depth, Frame, Step, Walker};
use crate::{Disk, DiskFile};
use mq_types::{Batch, Body, Entry, EntryMeta, Index, Offset, Position, QuorumId, ReplicaId, Term};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// How far behind a bad frame a read looks for the next good one, in bytes: more than lies between two index points, so
/// that what is behind it can be found without it.
const PASS_BYTES_MAX: u64 = 1 << 20;

/// Reads one replica's log. Cheap to clone; all clones see the same log.
#[derive(Debug)]
pub struct Reader<D: Disk> {
    pub(crate) disk: D,
    quorum: QuorumId,
    replica: ReplicaId,
    pub(crate) dir: PathBuf,
    pub(crate) view: Arc<RwLock<View<D::File>>>,
}

impl<D: Disk> Clone for Reader<D> {
    fn clone(&self) -> Self {
        let (disk, dir, view) = (self.disk.clone(), self.dir.clone(), self.view.clone());
        Reader { disk, quorum: self.quorum, replica: self.replica, dir, view }
    }
}

/// What a read gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadBatches {
    /// Whole batches in order; the first may begin before the offset that was asked for.
    pub batches: Vec<Batch>,
    /// The first offset after them: where to go on. The offset that was asked for if there are none.
    pub next_offset: Offset,
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What was asked for has been trimmed.
    #[error("this lies below the log's start, which is offset {log_start}")]
    BelowStart {
        /// The first offset still kept.
        log_start: Offset,
    },
    /// Stored bytes do not verify: this copy is damaged there.
    #[error("{0}; read another replica, or go on behind it; `mqctl log verify` says more")]
    Corrupt(BadPlace),
    /// The replica has been removed.
    #[error("this replica has been removed")]
    Gone,
    /// The disk refused.
    #[error("could not read {}: {source}", .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

/// A place in a log whose bytes do not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPlace {
    /// The segment's file, below the disk's root.
    pub file: PathBuf,
    /// Where the bad frame begins.
    pub position: Position,
    /// The first offset that cannot be read because of it.
    pub offset: Offset,
    /// The first offset behind it that can; the same as `offset` if it holds no records.
    pub end_offset: Offset,
}

impl fmt::Display for BadPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, end) = (self.offset.0, self.end_offset.0);
        write!(f, "{} is damaged at byte {}: ", self.file.display(), self.position)?;
        match end.saturating_sub(first) {
            0 => write!(f, "an entry without records, before offset {first}"),
            1 => write!(f, "offset {first} cannot be read from it"),
            _ => write!(f, "offsets {first} to {} cannot be read from it", end - 1),
        }
    }
}

/// A frame that a search stands at.
struct Cursor<F: DiskFile> {
    walker: Walker<F>,
    file: PathBuf,
    /// The segment's end.
    end: SegmentEnd,
}

impl<F: DiskFile> Cursor<F> {
    /// The next frame; `None` at the segment's end.
    fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        match self.walker.step().map_err(|source| self.failed(source))? {
            Step::Frame(frame) => Ok(Some(frame)),
            Step::End => self.at_end(),
            Step::Bad => {
                let next = self.behind_bad()?;
                Err(self.corrupt(next.as_ref()))
            }
        }
    }

    /// Nothing more, provided that the frame before is the segment's last: nobody is to miss what should be here.
    fn at_end(&self) -> Result<Option<Frame>, ReadError> {
        let is_last = |header: FrameHeader| header.index == self.end.last_index;
        if self.walker.previous().is_some_and(is_last) { Ok(None) } else { Err(self.corrupt(None)) }
    }

    /// The frame behind a bad one, if it is near.
    fn behind_bad(&self) -> Result<Option<Frame>, ReadError> {
        let found = self.walker.behind_bad().and_then(|from| self.walker.scan(from, from + PASS_BYTES_MAX));
        found.map_err(|source| self.failed(source))
    }

    fn corrupt(&self, next: Option<&Frame>) -> ReadError {
        let offset = self.walker.offset();
        let end_offset = next.map_or(self.end.end_offset, |frame| frame.header.base_offset).max(offset);
        let position = Position(self.walker.position());
        ReadError::Corrupt(BadPlace { file: self.file.clone(), position, offset, end_offset })
    }

    fn failed(&self, source: io::Error) -> ReadError {
        ReadError::Io { file: self.file.clone(), source }
    }

    /// Walks on to the first frame for which `is_wanted`, and stands before it. What is bad on the way is passed over
    /// if the target lies behind it.
    fn seek(
        &mut self,
        target: Target,
        is_wanted: impl Fn(&FrameHeader) -> bool,
    ) -> Result<Option<Frame>, ReadError> {
        loop {
            match self.walker.step().map_err(|source| self.failed(source))? {
                Step::Frame(frame) if is_wanted(&frame.header) => {
                    self.walker.back_to(&frame);
                    return Ok(Some(frame));
                }
                Step::Frame(_) => {}
                Step::End => return self.at_end(),
                Step::Bad => {
                    let next = self.behind_bad()?;
                    let passes =
                        |frame: &&Frame| target.is_at_or_after(&Point::of(&frame.header, frame.position));
                    match next.as_ref().filter(passes) {
                        Some(next) => self.walker.pass_to(next.position),
                        None => return Err(self.corrupt(next.as_ref())),
                    }
                }
            }
        }
    }
}

impl<D: Disk> Reader<D> {
    pub(crate) fn new(
        disk: D,
        quorum: QuorumId,
        replica: ReplicaId,
        view: Arc<RwLock<View<D::File>>>,
    ) -> Reader<D> {
        Reader { disk, quorum, replica, dir: paths::replica_dir(quorum, replica), view }
    }

    /// Whose log it is.
    pub fn quorum(&self) -> QuorumId {
        self.quorum
    }

    /// Which replica of the quorum: ids are never reused.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Whole batches from the one that holds `from` (or the next one) on, all below `until`, at most `max_bytes`
    /// of them but at least one. Each one's checksum has been verified.
    pub fn read(&self, from: Offset, until: Offset, max_bytes: usize) -> Result<ReadBatches, ReadError> {
        let mut found = ReadBatches { batches: Vec::new(), next_offset: from };
        let mut bytes = 0;
        let take = |frame: Frame| {
            let Some(Body::Data(batch)) = frame.body else { return true };
            let end = frame.header.end_offset();
            bytes += batch.len_bytes();
            if end > until || (bytes > max_bytes && !found.batches.is_empty()) {
                return false;
            }
            found.next_offset = end;
            found.batches.push(batch);
            bytes < max_bytes
        };
        if from < until {
            let is_wanted = |header: &FrameHeader| header.span > 0 && header.end_offset() > from;
            self.scan(Target::Offset(from), max_bytes, is_wanted, take)?;
        }
        Ok(found)
    }

    /// The entries from `from` on, all below `to`, at most `max_bytes` of payload but at least one.
    pub fn entries(&self, from: Index, to: Index, max_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let take = |frame: Frame| {
            let header = frame.header;
            let Some(body) = frame.body else { return false };
            bytes += body.len_bytes();
            if header.index >= to || (bytes > max_bytes && !entries.is_empty()) {
                return false;
            }
            entries.push(Entry {
                index: header.index,
                term: header.term,
                base_offset: header.base_offset,
                appended_at_ms: header.appended_at_ms,
                body,
            });
            bytes < max_bytes && header.index.next() < to
        };
        if from < to {
            self.scan(Target::Index(from), max_bytes, |header| header.index >= from, take)?;
        }
        Ok(entries)
    }

    /// The first batch appended at or after this time, if it lies below `until`: its base offset (the log's start,
    /// if that lies inside it), its `appended_at_ms` and its term.
    pub fn offset_for_time(
        &self,
        appended_at_ms: i64,
        until: Offset,
    ) -> Result<Option<(Offset, i64, Term)>, ReadError> {
        let log_start = self.log_start();
        let is_wanted = |header: &FrameHeader| {
            header.span > 0 && header.appended_at_ms >= appended_at_ms && header.end_offset() > log_start
        };
        let found = self.find(Target::Time(appended_at_ms), is_wanted)?;
        Ok(found
            .filter(|header| header.end_offset() <= until)
            .map(|header| (header.base_offset.max(log_start), header.appended_at_ms, header.term)))
    }

    /// The entry that holds this offset; `None` at or beyond the log's end.
    pub fn meta_at(&self, offset: Offset) -> Result<Option<EntryMeta>, ReadError> {
        let is_wanted = |header: &FrameHeader| header.span > 0 && header.end_offset() > offset;
        let found = self.find(Target::Offset(offset), is_wanted)?;
        Ok(found.and_then(|header| header.meta()))
    }

    /// The first offset still kept.
    pub fn log_start(&self) -> Offset {
        self.view.read().unwrap_or_else(PoisonError::into_inner).start.log_start
    }

    /// Bytes of all frames kept.
    pub fn size_bytes(&self) -> u64 {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.segments.iter().map(|segment| segment.end.position).sum()
    }

    /// The segments from the one that may hold the target on.
    fn segments(&self, target: Target) -> Result<Vec<Arc<Segment<D::File>>>, ReadError> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        if view.gone {
            return Err(ReadError::Gone);
        }
        let below = match target {
            Target::Offset(offset) => offset < view.start.log_start,
            Target::Index(index) => index <= view.start.prev_index,
            Target::Time(_) => false,
        };
        if below {
            return Err(ReadError::BelowStart { log_start: view.start.log_start });
        }
        let is_before = |segment: &Segment<_>| match target {
            Target::Offset(offset) => segment.end.end_offset <= offset,
            Target::Index(index) => segment.end.last_index < index,
            Target::Time(time) => segment.end.last_appended_at_ms.is_none_or(|last| last < time),
        };
        let first =
            view.segments.iter().position(|segment| !is_before(segment)).unwrap_or(view.segments.len());
        Ok(view.segments[first..].to_vec())
    }

    /// Opens a segment; `None` if it has been trimmed in the meantime.
    fn cursor(
        &self,
        segment: &Segment<D::File>,
        target: Target,
    ) -> Result<Option<Cursor<D::File>>, ReadError> {
        let file = segment.path(&self.dir);
        match segment.walk_towards(&self.disk, &self.dir, target) {
            Ok(walker) => Ok(Some(Cursor { walker, file, end: segment.end })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ReadError::Io { file, source }),
        }
    }

    /// The error for a segment whose file is not there any more.
    pub(crate) fn missing(&self, segment: &Segment<D::File>) -> ReadError {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let listed = view.segments.iter().any(|other| other.number == segment.number);
        match (view.gone, listed) {
            (true, _) => ReadError::Gone,
            (false, false) => ReadError::BelowStart { log_start: view.start.log_start },
            (false, true) => {
                ReadError::Io { file: segment.path(&self.dir), source: io::ErrorKind::NotFound.into() }
            }
        }
    }

    /// The first frame for which `is_wanted`.
    fn find(
        &self,
        target: Target,
        is_wanted: impl Fn(&FrameHeader) -> bool,
    ) -> Result<Option<FrameHeader>, ReadError> {
        for segment in self.segments(target)? {
            let Some(mut cursor) = self.cursor(&segment, target)? else { return Err(self.missing(&segment)) };
            if let Some(frame) = cursor.seek(target, &is_wanted)? {
                return Ok(Some(frame.header));
            }
        }
        Ok(None)
    }

    /// Gives whole frames to `take` from the first one for which `is_wanted`, until it has enough.
    fn scan(
        &self,
        target: Target,
        max_bytes: usize,
        is_wanted: impl Fn(&FrameHeader) -> bool,
        mut take: impl FnMut(Frame) -> bool,
    ) -> Result<(), ReadError> {
        let mut begun = false;
        let mut taken = false;
        for segment in self.segments(target)? {
            let cursor = self.cursor(&segment, target)?;
            let Some(mut cursor) = cursor else {
                return if taken { Ok(()) } else { Err(self.missing(&segment)) };
            };
            if !begun {
                let Some(frame) = cursor.seek(target, &is_wanted)? else { continue };
                // Enough for what is asked, and for the first one in any case.
                let frames = frame.header.frame_bytes() as usize;
                cursor.walker.set_depth(Depth::Whole, max_bytes.max(frames));
                begun = true;
            } else {
                cursor.walker.set_depth(Depth::Whole, max_bytes);
            }
            loop {
                match cursor.next() {
                    Ok(Some(frame)) => {
                        if !take(frame) {
                            return Ok(());
                        }
                        taken = true;
                    }
                    Ok(None) => break,
                    // What was read so far is good; the next read begins here and hears of it.
                    Err(_) if taken => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
