//! One replica's log as its writer holds it: sealed segments, the active one, and where everything stands.
//!
//! It plans what a write does to the segments, and does it. When that is durable, and when files are removed, is
//! the round's business (`round`).

use crate::active::Active;
use crate::frame::FrameHeader;
use crate::head::{self, Head};
use crate::paths;
use crate::segment::{self, Segment, SegmentEnd, Target};
use crate::sparse_index;
use crate::state_record::SegmentState;
use crate::walk::Step;
use crate::{Disk, DiskFile, Options};
use mq_types::persist::{LogStatus, ReplicaWrite, SegmentInfo, Start, Trim};
use mq_types::{Entry, EntryMeta, Index, Offset, QuorumId, ReplicaId, SegmentNumber, Term, TermRuns};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// What readers see: the log as of the last durable round.
#[derive(Debug)]
pub(crate) struct View<F: DiskFile> {
    pub(crate) start: Start,
    /// Oldest first; the last one is the active one.
    pub(crate) segments: Vec<Arc<Segment<F>>>,
    /// The replica has been removed.
    pub(crate) gone: bool,
}

/// One replica's log.
#[derive(Debug)]
pub(crate) struct Log<D: Disk> {
    pub(crate) disk: D,
    pub(crate) dir: PathBuf,
    pub(crate) quorum: QuorumId,
    pub(crate) replica: ReplicaId,
    pub(crate) start: Start,
    pub(crate) sealed: Vec<Arc<Segment<D::File>>>,
    pub(crate) active: Active<D::File>,
    pub(crate) runs: TermRuns,
    /// The highest commit index that this log was told.
    pub(crate) commit: Index,
    /// Everything up to here is durable.
    pub(crate) synced: Index,
    pub(crate) next_number: u64,
    pub(crate) segment_size_bytes_max: u64,
    pub(crate) index_interval_bytes: u64,
    pub(crate) view: Arc<RwLock<View<D::File>>>,
}

/// The entry before a segment's first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Previous {
    pub(crate) index: Index,
    pub(crate) term: Term,
    /// The offset that goes on after it.
    pub(crate) end_offset: Offset,
    /// 0: not known.
    pub(crate) appended_at_ms: i64,
}

impl Previous {
    fn of(header: &FrameHeader) -> Previous {
        Previous {
            index: header.index,
            term: header.term,
            end_offset: header.end_offset(),
            appended_at_ms: header.appended_at_ms,
        }
    }

    fn of_start(start: &Start) -> Previous {
        Previous {
            index: start.prev_index,
            term: start.prev_term,
            end_offset: start.base_offset,
            appended_at_ms: start.prev_appended_at_ms,
        }
    }
}

/// A part of what a write does to a log: perhaps a new segment, then entries into the newest one.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) opening: Option<Opening>,
    /// Which of the write's entries.
    pub(crate) entries: Range<usize>,
    /// Their frames' size, with the head's if there is an opening.
    pub(crate) bytes: u64,
}

/// The beginning of a new segment: every cut is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) number: SegmentNumber,
    pub(crate) previous: Previous,
    /// Where the segment that holds `previous` ends; `None`: where its frames end.
    cut_position: Option<u64>,
    /// The whole log is replaced by one that starts here.
    reset: Option<Start>,
    /// Behind the last frame lies something that is none: it stays where it is, for a person to look at.
    torn: bool,
}

impl Opening {
    /// Goes on after a torn end.
    pub(crate) fn after_torn_end(number: SegmentNumber, last: &FrameHeader) -> Opening {
        Opening { number, previous: Previous::of(last), cut_position: None, reset: None, torn: true }
    }
}

/// What executing an opening leaves behind.
#[derive(Debug)]
pub(crate) struct Sealed<F: DiskFile> {
    /// What of it was written and still counts as cached.
    pub(crate) cached: Option<(F, Range<u64>)>,
    /// The segment that was active until now; it may have been dropped too.
    pub(crate) file: F,
    pub(crate) index_file: F,
    pub(crate) path: PathBuf,
    pub(crate) index_path: PathBuf,
    /// Segments that are no longer part of the log.
    pub(crate) dropped: Vec<Arc<Segment<F>>>,
}

/// The state of a plan: where the log will stand.
struct Planner {
    pieces: Vec<Piece>,
    previous: Previous,
    position: u64,
    is_empty: bool,
    number: u64,
    runs_max: usize,
}

impl Planner {
    fn open(&mut self, previous: Previous, cut_position: Option<u64>, reset: Option<Start>) {
        let at = self.pieces.last().map_or(0, |piece| piece.entries.end);
        let number = SegmentNumber(self.number);
        let opening = Opening { number, previous, cut_position, reset, torn: false };
        self.number += 1;
        self.previous = previous;
        self.position = head::frame_bytes(self.runs_max);
        self.is_empty = true;
        self.pieces.push(Piece { opening: Some(opening), entries: at..at, bytes: self.position });
    }

    fn add(&mut self, meta: &EntryMeta, frame_bytes: u64) {
        let before = self.previous;
        assert_eq!(meta.index, before.index.next(), "entries follow each other");
        assert!(meta.term >= before.term, "term {} at index {} after {}", meta.term, meta.index, before.term);
        assert_eq!(meta.base_offset, before.end_offset, "offsets are dense, at index {}", meta.index);
        assert!(meta.appended_at_ms >= before.appended_at_ms, "time went back at index {}", meta.index);
        self.previous = Previous {
            index: meta.index,
            term: meta.term,
            end_offset: meta.end_offset(),
            appended_at_ms: meta.appended_at_ms,
        };
        self.position += frame_bytes;
        self.is_empty = false;
        let piece = self.pieces.last_mut().expect("there is always one");
        piece.entries.end += 1;
        piece.bytes += frame_bytes;
    }
}

impl<D: Disk> Log<D> {
    /// A new replica's log, whose empty files these are.
    pub(crate) fn create(
        disk: D,
        head: &Head,
        files: (D::File, D::File),
        allocated: u64,
        options: &Options,
    ) -> io::Result<Log<D>> {
        let active = Active::begin(files.0, files.1, head, allocated)?;
        let log = Log::with_active(disk, head, active, options);
        log.publish(true, false);
        Ok(log)
    }

    /// A log that has this one segment and starts where it does.
    pub(crate) fn with_active(disk: D, head: &Head, active: Active<D::File>, options: &Options) -> Log<D> {
        let start = Start {
            prev_index: head.prev_index,
            prev_term: head.prev_term,
            prev_appended_at_ms: head.prev_appended_at_ms,
            base_offset: head.base_offset,
            log_start: head.base_offset,
        };
        Log {
            disk,
            dir: paths::replica_dir(head.quorum, head.replica),
            quorum: head.quorum,
            replica: head.replica,
            start,
            sealed: Vec::new(),
            active,
            runs: head.runs.clone(),
            commit: head.commit,
            synced: head.synced,
            next_number: head.number.0 + 1,
            segment_size_bytes_max: options.segment_size_bytes_max,
            index_interval_bytes: options.index_interval_bytes,
            view: Arc::new(RwLock::new(View { start, segments: Vec::new(), gone: false })),
        }
    }

    pub(crate) fn last_index(&self) -> Index {
        self.active.last.index
    }

    pub(crate) fn next_offset(&self) -> Offset {
        self.active.last.end_offset()
    }

    /// What a write does to the segments. Changes nothing. Without `size_rolls` a full segment is filled further.
    pub(crate) fn plan(&self, write: &ReplicaWrite, size_rolls: bool) -> io::Result<Vec<Piece>> {
        let mut planner = Planner {
            pieces: vec![Piece { opening: None, entries: 0..0, bytes: 0 }],
            previous: Previous::of(&self.active.last),
            position: self.active.position,
            is_empty: self.active.is_empty(),
            number: self.next_number,
            runs_max: self.runs.runs().len() + write.entries.len() + 1,
        };
        if let Some((start, _)) = &write.reset {
            planner.open(Previous::of_start(start), None, Some(*start));
        }
        if let Some(first) = write.entries.first()
            && first.index <= planner.previous.index
        {
            assert!(write.reset.is_none(), "entries after a reset go on from its start");
            assert!(first.index > self.commit, "index {} is committed up to {}", first.index, self.commit);
            let (previous, position) = self.locate_cut(first)?;
            planner.open(previous, position, None);
        }
        let size_max = write.segment_size_bytes_max.unwrap_or(self.segment_size_bytes_max);
        for entry in &write.entries {
            let bytes = frame_bytes(entry);
            if size_rolls && !planner.is_empty && planner.position + bytes > size_max {
                planner.open(planner.previous, None, None);
            }
            planner.add(&entry.meta(), bytes);
        }
        let last = planner.previous;
        let commit =
            write.reset.as_ref().map_or(self.commit, |(start, _)| start.prev_index).max(write.commit);
        let wholly_trimmed = last.index <= commit
            && match write.trim {
                Some(Trim::Offset(offset)) => last.end_offset <= offset,
                Some(Trim::Index(index)) => last.index <= index,
                None => false,
            };
        if !planner.is_empty && (write.roll || wholly_trimmed) {
            planner.open(last, None, None);
        }
        Ok(planner.pieces)
    }

    /// The entry before `first`, and where its frame ends; `None`: at a segment's border, so that no segment is cut.
    ///
    /// What is bad before the cut costs that place alone: it is passed over, and stays to be found by whoever reads it.
    fn locate_cut(&self, first: &Entry) -> io::Result<(Previous, Option<u64>)> {
        let (index, before) = (first.index, first.index.previous());
        let active = self.active.segment();
        let segment = std::iter::once(&active)
            .chain(self.sealed.iter().rev().map(|segment| &**segment))
            .find(|segment| segment.first_index() <= index)
            .ok_or_else(|| io::Error::other(format!("index {index} lies below the log's start")))?;
        if segment.first_index() == index {
            return Ok((Previous::of(&segment.head), None));
        }
        let mut walker = segment.walk_towards(&self.disk, &self.dir, Target::Index(before))?;
        loop {
            match walker.step()? {
                Step::Frame(frame) if frame.header.index == before => {
                    return Ok((Previous::of(&frame.header), Some(walker.position())));
                }
                Step::Frame(frame) if frame.header.index < before => {}
                Step::Bad => match walker.next_good(segment.end.position)? {
                    Some(frame) if frame.header.index < index => walker.pass_to(frame.position),
                    _ => break,
                },
                Step::Frame(_) | Step::End => return Err(damaged_before(index, walker.position())),
            }
        }
        // The frame of the entry before is bad itself. Its term is known, and where it ends, from the one that follows it.
        // The segment ends inside it, so that every walk meets it, and nothing dead behind it.
        let term = self.runs.term(before).expect("what is not trimmed has a term");
        let previous = Previous { index: before, term, end_offset: first.base_offset, appended_at_ms: 0 };
        Ok((previous, Some(walker.position() + 1)))
    }

    /// Begins a new segment, whose empty files these are.
    pub(crate) fn open_segment(
        &mut self,
        opening: &Opening,
        files: (D::File, D::File),
        allocated: u64,
        salt: [u8; 16],
    ) -> io::Result<Sealed<D::File>> {
        let previous = opening.previous;
        let first_index = previous.index.next();
        assert!(opening.number.0 >= self.next_number, "a segment's number is never used again");
        let path = segment::segment_path(&self.dir, self.active.first_index(), self.active.number);
        let index_path = segment::index_path(&self.dir, self.active.first_index(), self.active.number);
        // Gives back what was reserved beyond the frames; never cuts a frame off, not even a dead one.
        if !opening.torn {
            self.active.file.set_len(self.active.position)?;
        }
        self.active.index_file.set_len(sparse_index::point_position(self.active.points))?;
        self.sealed.push(Arc::new(self.active.segment().sealed(self.active.end())));
        let is_dropped =
            |segment: &Segment<_>| opening.reset.is_some() || segment.first_index() >= first_index;
        let (dropped, kept) =
            std::mem::take(&mut self.sealed).into_iter().partition(|segment| is_dropped(segment));
        self.sealed = kept;
        match opening.reset {
            Some(start) => {
                self.runs = TermRuns::starting_at(start.prev_index, start.prev_term, start.base_offset);
                self.start = start;
                self.commit = start.prev_index;
                self.synced = start.prev_index;
            }
            None => self.end_log_at(&previous, opening.cut_position),
        }
        let commit = self.commit.min(self.synced).min(previous.index);
        let head = Head {
            quorum: self.quorum,
            replica: self.replica,
            number: opening.number,
            salt,
            prev_index: previous.index,
            prev_term: previous.term,
            base_offset: previous.end_offset,
            commit,
            synced: self.synced.min(previous.index),
            prev_appended_at_ms: previous.appended_at_ms,
            runs: self.runs.clone(),
        };
        let mut old = std::mem::replace(&mut self.active, Active::begin(files.0, files.1, &head, allocated)?);
        self.next_number = opening.number.0 + 1;
        let cached = old.take_cached(0);
        Ok(Sealed { cached, file: old.file, index_file: old.index_file, path, index_path, dropped })
    }

    /// Makes `previous` the last entry.
    fn end_log_at(&mut self, previous: &Previous, cut_position: Option<u64>) {
        if let (Some(last), Some(position)) = (self.sealed.last_mut(), cut_position) {
            let has_entries = previous.index >= last.first_index();
            *last = Arc::new(last.sealed(SegmentEnd {
                position,
                last_index: previous.index,
                end_offset: previous.end_offset,
                first_appended_at_ms: last.end.first_appended_at_ms.filter(|_| has_entries),
                // Where it is not known (0), that of an entry which was behind it is not too early.
                last_appended_at_ms: match previous.appended_at_ms {
                    0 => last.end.last_appended_at_ms.filter(|_| has_entries),
                    known => has_entries.then_some(known),
                },
            }));
        }
        if let Some(last) = self.sealed.last() {
            assert_eq!(last.end.last_index, previous.index, "segments join without a gap");
        }
        self.runs.cut(previous.index.next());
        self.synced = self.synced.min(previous.index);
    }

    /// Appends entries to the active segment.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> io::Result<u64> {
        let bytes = self.active.append(entries, self.commit, self.synced, self.index_interval_bytes)?;
        for entry in entries {
            self.runs.append(entry.index, entry.term, entry.base_offset);
        }
        Ok(bytes)
    }

    /// Moves the log's start; whole segments only. Gives back the segments that are no longer part of the log.
    pub(crate) fn trim(&mut self, trim: Trim) -> Vec<Arc<Segment<D::File>>> {
        let is_below = |segment: &Segment<_>| match trim {
            Trim::Offset(offset) => segment.end.end_offset <= offset,
            Trim::Index(index) => segment.end.last_index <= index,
        };
        let commit = self.commit;
        let count = self
            .sealed
            .iter()
            .take_while(|segment| is_below(segment) && segment.end.last_index <= commit)
            .count();
        let dropped: Vec<_> = self.sealed.drain(..count).collect();
        let first = self.sealed.first().map_or(self.active.head, |segment| segment.head);
        self.start.prev_index = first.index;
        self.start.prev_term = first.term;
        self.start.prev_appended_at_ms = first.appended_at_ms;
        self.start.base_offset = first.base_offset;
        let log_start = match trim {
            Trim::Offset(offset) => {
                assert!(
                    offset <= self.next_offset(),
                    "offset {offset} lies beyond the end {}",
                    self.next_offset()
                );
                offset
            }
            Trim::Index(_) => self.start.base_offset,
        };
        self.start.log_start = self.start.log_start.max(log_start).max(self.start.base_offset);
        self.runs.trim(self.start.prev_index);
        dropped
    }

    /// The segments as a record lists them.
    pub(crate) fn segment_states(&self) -> Vec<SegmentState> {
        let sealed = self.sealed.iter().map(|segment| SegmentState {
            number: segment.number,
            first_index: segment.first_index(),
            prev_term: segment.prev_term(),
            base_offset: segment.base_offset(),
            end: Some(segment.end),
        });
        let active = SegmentState {
            number: self.active.number,
            first_index: self.active.first_index(),
            prev_term: self.active.head.term,
            base_offset: self.active.head.base_offset,
            end: None,
        };
        sealed.chain(std::iter::once(active)).collect()
    }

    pub(crate) fn segment_infos(&self) -> Vec<SegmentInfo> {
        let sealed = self.sealed.iter().map(|segment| segment.info());
        sealed.chain(std::iter::once(self.active.segment().info())).collect()
    }

    pub(crate) fn status(&self) -> LogStatus {
        LogStatus { start: self.start, segments: self.segment_infos() }
    }

    /// Shows readers what is durable now. `is_changed`: more than the end of the active segment may be new.
    pub(crate) fn publish(&self, is_changed: bool, gone: bool) {
        let active = Arc::new(self.active.segment());
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        view.gone = gone;
        match view.segments.last_mut() {
            Some(last) if !is_changed && last.number == active.number => *last = active,
            _ => {
                view.start = self.start;
                view.segments = self.sealed.iter().cloned().chain(std::iter::once(active)).collect();
            }
        }
    }
}

fn damaged_before(index: Index, position: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the log is damaged at byte {position}, before index {index}, where it must be cut"),
    )
}

/// The size of an entry's frame.
pub(crate) fn frame_bytes(entry: &Entry) -> u64 {
    (crate::frame::HEADER_BYTES + entry.body.len_bytes()) as u64
}
