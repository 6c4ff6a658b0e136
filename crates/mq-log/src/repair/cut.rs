//! Cutting a lost log: where its trustworthy part ends, what is known of the rest, and the new segment that goes on.
//!
//! A cut is a roll, like every other one: the old bytes stay as they are, a new segment with a new number and a new
//! salt begins behind the last good frame, and it counts once a record lists it.

use super::Gone;
use crate::Options;
use crate::active::Active;
use crate::disk::{Disk, DiskFile};
use crate::frame::{FrameHeader, Seed};
use crate::head::{self, Head};
use crate::log::{Log, Previous};
use crate::log_recovery::scan;
use crate::paths::{self, ReplicaFile};
use crate::recovery::{OpenError, io_failed, make_directory, sync};
use crate::replica_recovery::{Examined, next_number};
use crate::salts::Salts;
use crate::segment::{self, Segment, SegmentEnd};
use crate::state_record::{ReplicaState, SegmentState};
use crate::sync_plan::SyncPlan;
use crate::walk::{Depth, Step, Walker};
use mq_types::persist::{Standing, Start, Vote};
use mq_types::{Index, Offset, SegmentNumber, Term, TermRuns};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const READ_AHEAD_BYTES: usize = 1 << 20;

/// Where a log is cut: behind the first frame before which everything joins.
pub(crate) struct CutPoint<F: DiskFile> {
    /// The segments that stay, all of them sealed, oldest first.
    kept: Vec<Arc<Segment<F>>>,
    start: Start,
    previous: Previous,
    runs: TermRuns,
    commit: Index,
    /// The file and the place in it that cannot be trusted.
    pub(crate) file: PathBuf,
    pub(crate) position: u64,
}

impl<F: DiskFile> CutPoint<F> {
    /// Looks for it. Of the last segment that joins, every byte is verified; of those before it, nothing: a bad place
    /// in them costs that place alone.
    pub(crate) fn find<D: Disk<File = F>>(
        disk: &D,
        dir: &Path,
        examined: &Examined<F>,
    ) -> Result<CutPoint<F>, OpenError> {
        let state = &examined.state;
        let Some((last, before)) = examined.segments.split_last() else {
            return Ok(CutPoint::at_start(dir, state));
        };
        let path = last.path(dir);
        let (file, head) = read_head(disk, &path)?;
        let mut walker =
            Walker::new(file, last.seed.clone(), last.frames_at, last.end.position, Some(last.head))
                .read(Depth::Whole, READ_AHEAD_BYTES);
        let (mut header, mut first_appended_at_ms, mut runs) = (last.head, None, head.runs);
        while let Step::Frame(frame) = walker.step().map_err(io_failed("read", &path))? {
            header = frame.header;
            first_appended_at_ms.get_or_insert(header.appended_at_ms);
            runs.append(header.index, header.term, header.base_offset);
        }
        let previous = Previous {
            index: header.index,
            term: header.term,
            end_offset: header.end_offset(),
            appended_at_ms: header.appended_at_ms,
        };
        let position = walker.position();
        let mut kept = before.to_vec();
        if header.index >= last.first_index() {
            kept.push(Arc::new(last.sealed(SegmentEnd {
                position,
                last_index: header.index,
                end_offset: header.end_offset(),
                first_appended_at_ms,
                last_appended_at_ms: Some(header.appended_at_ms),
            })));
        }
        runs.trim(state.start.prev_index);
        let mut cut = CutPoint {
            kept,
            start: state.start,
            previous,
            runs,
            commit: header.commit,
            file: path,
            position,
        };
        // The last segment is whole to its end: then it is the next one that cannot be trusted.
        let next = state.segments.iter().find(|listed| listed.first_index == header.index.next());
        if let Some(listed) = next.filter(|listed| listed.number != last.number) {
            cut.file = segment::segment_path(dir, listed.first_index, listed.number);
            cut.position = 0;
        }
        cut.stay_above_log_start();
        Ok(cut)
    }

    /// Nothing at all can be kept.
    fn at_start(dir: &Path, state: &ReplicaState) -> CutPoint<F> {
        let start = state.start;
        let first = state.segments.first().expect("a record lists at least one segment");
        let mut cut = CutPoint {
            kept: Vec::new(),
            start,
            previous: Previous {
                index: start.prev_index,
                term: start.prev_term,
                end_offset: start.base_offset,
                appended_at_ms: start.prev_appended_at_ms,
            },
            runs: TermRuns::starting_at(start.prev_index, start.prev_term, start.base_offset),
            commit: start.prev_index,
            file: segment::segment_path(dir, first.first_index, first.number),
            position: 0,
        };
        cut.stay_above_log_start();
        cut
    }

    /// What was deleted never comes back: if all that is left lies below the log's start, the log begins there anew.
    fn stay_above_log_start(&mut self) {
        if self.previous.end_offset >= self.start.log_start {
            return;
        }
        self.previous.end_offset = self.start.log_start;
        self.kept.clear();
        self.start = Start {
            prev_index: self.previous.index,
            prev_term: self.previous.term,
            prev_appended_at_ms: self.previous.appended_at_ms,
            base_offset: self.start.log_start,
            log_start: self.start.log_start,
        };
        self.runs =
            TermRuns::starting_at(self.start.prev_index, self.start.prev_term, self.start.base_offset);
    }

    /// The last index that stays.
    pub(crate) fn last_index(&self) -> Index {
        self.previous.index
    }

    /// The offset that the next record will have.
    pub(crate) fn next_offset(&self) -> Offset {
        self.previous.end_offset
    }

    /// The listed files that will be set aside.
    pub(crate) fn dropped_files<D: Disk>(
        &self,
        disk: &D,
        dir: &Path,
        state: &ReplicaState,
    ) -> Result<Vec<PathBuf>, OpenError> {
        let is_kept = |number| self.kept.iter().any(|segment| segment.number == number);
        let entries = disk.list(dir).map_err(io_failed("list", dir))?;
        let is_there = |name: &String| entries.iter().any(|entry| entry.name == *name);
        let segments = state.segments.iter().filter(|listed| !is_kept(listed.number)).flat_map(|listed| {
            let (first_index, number) = (listed.first_index, listed.number);
            [ReplicaFile::Segment { first_index, number }, ReplicaFile::Index { first_index, number }]
        });
        Ok(segments.map(ReplicaFile::name).filter(is_there).map(|name| dir.join(name)).collect())
    }

    /// What is known of the part that goes: by evidence, by the record, and by every frame in it that verifies.
    pub(crate) fn gone<D: Disk<File = F>>(
        &self,
        disk: &D,
        dir: &Path,
        state: &ReplicaState,
        evidence: Option<Index>,
    ) -> Result<Gone, OpenError> {
        let last_index = self.last_index();
        let snapshot_index = state.snapshot_index.unwrap_or(Index(0));
        let mut gone = Gone {
            last_index: evidence.unwrap_or(Index(0)).max(state.recorded_index()).max(snapshot_index),
            end_offset: self.next_offset(),
            commit: state.recorded_index().max(snapshot_index).max(self.commit),
            term: state.vote.term,
        };
        for listed in &state.segments {
            let from = self.kept.iter().find(|segment| segment.number == listed.number);
            if from.is_some_and(|segment| segment.end.last_index < last_index) {
                continue;
            }
            gone.note_listed(listed, last_index);
            let path = segment::segment_path(dir, listed.first_index, listed.number);
            let Some((file, head)) = try_read_head(disk, &path, state, listed)? else { continue };
            let from = from.map_or(head::frame_bytes(head.runs.runs().len()), |segment| segment.end.position);
            // What an earlier cut has left behind a sealed segment's end was given up long ago.
            let until = listed.end.map_or(Index(u64::MAX), |end| end.last_index);
            let is_gone = |header: &FrameHeader| header.index > last_index && header.index <= until;
            scan(&file, &Seed::of_salt(&head.salt), from, is_gone, |header| gone.note(header))
                .map_err(io_failed("read", &path))?;
        }
        Ok(gone)
    }

    /// Begins the new segment, and gives back the record that lists it. Everything that it names is durable; what it
    /// no longer names goes to the quarantine, which is there before anything can need it.
    pub(crate) fn make<D: Disk<File = F>>(
        self,
        disk: &D,
        dir: &Path,
        evidence: Option<Index>,
        examined: &Examined<F>,
        salts: &mut Salts,
        options: &Options,
    ) -> Result<ReplicaState, OpenError> {
        let mut state = examined.state.clone();
        let gone = self.gone(disk, dir, &state, evidence)?;
        let quarantine = paths::quarantine_dir(state.quorum, state.replica);
        make_directory(disk, Path::new(paths::QUARANTINE))?;
        make_directory(disk, &quarantine)?;
        sync(disk, Path::new(paths::QUARANTINE))?;
        sync(disk, Path::new(""))?;
        let newest = state.segments.iter().map(|listed| listed.number.0).max().unwrap_or(0);
        let previous = self.previous;
        let commit = gone.commit.min(previous.index);
        let head = Head {
            quorum: state.quorum,
            replica: state.replica,
            number: SegmentNumber(next_number(disk, dir, newest + 1)?),
            salt: salts.draw(),
            prev_index: previous.index,
            prev_term: previous.term,
            base_offset: previous.end_offset,
            commit: commit.max(self.start.prev_index),
            synced: previous.index,
            prev_appended_at_ms: previous.appended_at_ms,
            runs: self.runs,
        };
        let path = segment::segment_path(dir, previous.index.next(), head.number);
        let index_path = segment::index_path(dir, previous.index.next(), head.number);
        let file = disk.create(&path).map_err(io_failed("create", &path))?;
        let index_file = disk.create(&index_path).map_err(io_failed("create", &index_path))?;
        let active =
            Active::begin(file.clone(), index_file.clone(), &head, 0).map_err(io_failed("write", &path))?;
        let mut dirty = SyncPlan::new();
        dirty.add_file(path, file);
        dirty.add_file(index_path, index_file);
        dirty.add_directory(dir.to_owned());
        dirty.run(disk).map_err(|error| OpenError::Io {
            action: "sync",
            path: error.path,
            source: error.source,
        })?;

        let mut log = Log::with_active(disk.clone(), &head, active, options);
        log.sealed = self.kept;
        state.segments = log.segment_states();
        state.start = self.start;
        state.standing = Standing::Sound;
        state.membership.conf_index = state.membership.conf_index.min(previous.index);
        // The next leader's term lies above that of every frame that is gone.
        if gone.term > state.vote.term {
            state.vote = Vote { term: gone.term, voted_for: None };
        }
        if examined.snapshot.is_none() || state.snapshot_index > Some(previous.index) {
            state.snapshot_index = None;
        }
        state.version += 1;
        Ok(state)
    }
}

impl Gone {
    fn note(&mut self, header: &FrameHeader) {
        self.last_index = self.last_index.max(header.index);
        self.end_offset = self.end_offset.max(header.end_offset());
        self.commit = self.commit.max(header.commit);
        self.term = self.term.max(header.term);
    }

    /// A listed segment says where the one before it ended, and a sealed one where it ends itself.
    fn note_listed(&mut self, listed: &SegmentState, last_index: Index) {
        let term: Term = listed.prev_term;
        self.term = self.term.max(term);
        if listed.first_index > last_index.next() {
            self.last_index = self.last_index.max(listed.first_index.previous());
            self.end_offset = self.end_offset.max(listed.base_offset);
        }
        if let Some(end) = listed.end.filter(|end| end.last_index > last_index) {
            self.last_index = self.last_index.max(end.last_index);
            self.end_offset = self.end_offset.max(end.end_offset);
        }
    }
}

/// The head of a segment that was found sound a moment ago.
fn read_head<D: Disk>(disk: &D, path: &Path) -> Result<(D::File, Head), OpenError> {
    let file = disk.open(path).map_err(io_failed("open", path))?;
    let changed = || io::Error::new(io::ErrorKind::InvalidData, "its head reads differently each time");
    let head = Head::read(&file).map_err(io_failed("read", path))?;
    let head = head.map_err(|_| changed()).map_err(io_failed("read", path))?;
    Ok((file, head))
}

/// The head of a listed segment; `None` if it is missing or not the listed one.
fn try_read_head<D: Disk>(
    disk: &D,
    path: &Path,
    state: &ReplicaState,
    listed: &SegmentState,
) -> Result<Option<(D::File, Head)>, OpenError> {
    let file = match disk.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_failed("open", path))?,
    };
    let head = Head::read(&file).map_err(io_failed("read", path))?.ok();
    let ids = (state.quorum, state.replica, listed.number);
    Ok(head.filter(|head| (head.quorum, head.replica, head.number) == ids).map(|head| (file, head)))
}
