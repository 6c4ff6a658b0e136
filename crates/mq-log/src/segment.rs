//! One segment of a log: what a reader needs to know of it, and how to find a place in it.
//!
//! A value of [`Segment`] never changes; the writer replaces it by a newer one when a round is durable.

use crate::frame::{FrameHeader, Seed};
use crate::paths::ReplicaFile;
use crate::sparse_index::{self, Found, Point, Points, SealedPoints};
use crate::walk::{Depth, Step, Walker};
use crate::{Disk, DiskFile};
use mq_types::persist::SegmentInfo;
use mq_types::{Index, Offset, SegmentNumber, Term};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The bytes between two points of an index that had to be made anew.
const REBUILD_INTERVAL_BYTES: u64 = 16 << 10;

/// A segment as of a durable round.
#[derive(Debug)]
pub(crate) struct Segment<F: DiskFile> {
    pub(crate) number: SegmentNumber,
    /// Its head, as the frame before its first one.
    pub(crate) head: FrameHeader,
    /// Where its first frame begins.
    pub(crate) frames_at: u64,
    pub(crate) salt: [u8; 16],
    pub(crate) seed: Seed,
    pub(crate) end: SegmentEnd,
    /// The open file of the active segment; that of a sealed one is opened for each read.
    pub(crate) file: Option<F>,
    pub(crate) points: Points<F>,
}

/// Where a segment ends. What lies behind it in the file is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentEnd {
    pub(crate) position: u64,
    pub(crate) last_index: Index,
    pub(crate) end_offset: Offset,
    /// `None`: it has no entries.
    pub(crate) first_appended_at_ms: Option<i64>,
    pub(crate) last_appended_at_ms: Option<i64>,
}

/// What a place in a segment is searched by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// The entry with this index.
    Index(Index),
    /// The entry that holds this offset, or the next one that holds records.
    Offset(Offset),
    /// The first entry appended at or after this time (ms since the Unix epoch).
    Time(i64),
}

impl Target {
    /// Whether it is certain that a walk from this point passes the target.
    pub(crate) fn is_at_or_after(self, point: &Point) -> bool {
        match self {
            Target::Index(index) => point.index <= index,
            Target::Offset(offset) => point.base_offset <= offset,
            Target::Time(time) => point.appended_at_ms < time,
        }
    }
}

impl<F: DiskFile> Segment<F> {
    pub(crate) fn first_index(&self) -> Index {
        self.head.index.next()
    }

    pub(crate) fn base_offset(&self) -> Offset {
        self.head.base_offset
    }

    pub(crate) fn prev_term(&self) -> Term {
        self.head.term
    }

    pub(crate) fn info(&self) -> SegmentInfo {
        SegmentInfo {
            number: self.number,
            first_index: self.first_index(),
            base_offset: self.base_offset(),
            end_offset: self.end.end_offset,
            size_bytes: self.end.position,
            first_appended_at_ms: self.end.first_appended_at_ms,
            last_appended_at_ms: self.end.last_appended_at_ms,
        }
    }

    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        segment_path(dir, self.first_index(), self.number)
    }

    pub(crate) fn index_path(&self, dir: &Path) -> PathBuf {
        index_path(dir, self.first_index(), self.number)
    }

    /// The same segment, sealed at this end.
    pub(crate) fn sealed(&self, end: SegmentEnd) -> Segment<F> {
        Segment {
            number: self.number,
            head: self.head,
            frames_at: self.frames_at,
            salt: self.salt,
            seed: self.seed.clone(),
            end,
            file: None,
            points: Points::Sealed(Arc::new(OnceLock::new())),
        }
    }

    /// A walker that stands at or before the target, and that walks no further than the segment's end.
    pub(crate) fn walk_towards<D: Disk<File = F>>(
        &self,
        disk: &D,
        dir: &Path,
        target: Target,
    ) -> io::Result<Walker<F>> {
        let file = self.open(disk, dir)?;
        let holds = |point: &Point| {
            target.is_at_or_after(point)
                && point.position < self.end.position
                && point.position >= self.frames_at
        };
        let found = match &self.points {
            Points::Growing { file, count } => {
                sparse_index::last_where(*count, |at| sparse_index::read_point(file, at, &self.seed), holds)?
            }
            Points::Sealed(points) => {
                let points = match points.get() {
                    Some(points) => points,
                    None => {
                        let found = self.find_points(disk, dir, &file)?;
                        points.get_or_init(|| found)
                    }
                };
                let get = |at| Ok::<_, io::Error>(points.get(at, &self.seed));
                sparse_index::last_where(points.count(), get, holds)?
            }
        };
        if let Found::Point(_, point) = found {
            let mut walker = self.walker(file.clone(), point.position, None).beginning_at(point.base_offset);
            match walker.step()? {
                Step::Frame(frame) if point.names(&frame.header, frame.position) => {
                    walker.back_to(&frame);
                    return Ok(walker);
                }
                Step::Bad | Step::End => return Ok(walker),
                Step::Frame(_) => {} // a point that names another frame does not count
            }
        }
        // From the segment's beginning: slow, and right whatever the index says.
        Ok(self.walker(file, self.frames_at, Some(self.head)))
    }

    /// A walker over all of it.
    pub(crate) fn walk_from_head<D: Disk<File = F>>(&self, disk: &D, dir: &Path) -> io::Result<Walker<F>> {
        Ok(self.walker(self.open(disk, dir)?, self.frames_at, Some(self.head)))
    }

    fn open<D: Disk<File = F>>(&self, disk: &D, dir: &Path) -> io::Result<F> {
        match &self.file {
            Some(file) => Ok(file.clone()),
            None => disk.open(&self.path(dir)),
        }
    }

    fn walker(&self, file: F, position: u64, previous: Option<FrameHeader>) -> Walker<F> {
        Walker::new(file, self.seed.clone(), position, self.end.position, previous)
    }

    /// The points of a sealed segment: mapped if every one of them is good, otherwise made anew.
    fn find_points<D: Disk<File = F>>(
        &self,
        disk: &D,
        dir: &Path,
        file: &F,
    ) -> io::Result<SealedPoints<F::Map>> {
        match disk.open(&self.index_path(dir)) {
            Ok(index) => {
                let points = SealedPoints::Mapped(index.map()?);
                let good = |at| points.get(at, &self.seed).is_some();
                if points.fits(&self.salt) && (0..points.count()).all(good) {
                    return Ok(points);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let walker = self.walker(file.clone(), self.frames_at, Some(self.head));
        let points = rebuild(walker, &self.seed, self.end.position)?;
        let mut bytes = sparse_index::encode_header(&self.salt).to_vec();
        bytes.extend_from_slice(&points);
        Ok(SealedPoints::Rebuilt(bytes))
    }
}

/// Makes the points for what a walker still meets below `until`; what is bad is passed over.
pub(crate) fn rebuild<F: DiskFile>(walker: Walker<F>, seed: &Seed, until: u64) -> io::Result<Vec<u8>> {
    let mut walker = walker.read(Depth::Headers, 1 << 20);
    let mut points = Vec::new();
    let mut next_at = 0;
    loop {
        match walker.step()? {
            Step::Frame(frame) if frame.position >= next_at => {
                points.extend_from_slice(&Point::of(&frame.header, frame.position).encode(seed));
                next_at = frame.position + REBUILD_INTERVAL_BYTES;
            }
            Step::Frame(_) => {}
            Step::End => return Ok(points),
            Step::Bad => {
                // The next good frame gets a point, so that nobody must pass this place again to reach it.
                let Some(frame) = walker.next_good(until)? else { return Ok(points) };
                walker.pass_to(frame.position);
                next_at = frame.position;
            }
        }
    }
}

pub(crate) fn segment_path(dir: &Path, first_index: Index, number: SegmentNumber) -> PathBuf {
    dir.join(ReplicaFile::Segment { first_index, number }.name())
}

pub(crate) fn index_path(dir: &Path, first_index: Index, number: SegmentNumber) -> PathBuf {
    dir.join(ReplicaFile::Index { first_index, number }.name())
}
