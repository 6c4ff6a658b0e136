//! One replica on open: from what was found of its log to what it may do from now on.

use crate::disk::Disk;
use crate::frame::FrameHeader;
use crate::log::{Log, Opening, View};
use crate::log_recovery::{self, FoundLog};
use crate::paths::{self, ReplicaFile};
use crate::recovery::{OpenError, io_failed};
use crate::repair::cut::CutPoint;
use crate::salts::Salts;
use crate::segment::{self, Segment, Target};
use crate::shard_store::severity;
use crate::state_record::{Evidence, ReplicaState};
use crate::state_recovery::Purpose;
use crate::sync_plan::SyncPlan;
use crate::walk::Step;
use crate::{Options, snapshot};
use mq_types::persist::{LostReason, RecoveredEntry, RecoveredReplica, Snapshot, Standing, Vote};
use mq_types::{Index, Offset, SegmentNumber, Term, TermRuns};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// A replica as it will be written into the new state files.
pub(crate) struct Recovery<D: Disk> {
    pub(crate) state: ReplicaState,
    /// `None`: it has been removed.
    pub(crate) recovered: Option<RecoveredReplica>,
    /// `None`: nothing is written to its log any more.
    pub(crate) log: Option<Log<D>>,
    pub(crate) view: Arc<RwLock<View<D::File>>>,
    /// What was known to be durable of the newest segment when this was opened.
    found_evidence: Option<Index>,
}

impl<D: Disk> Recovery<D> {
    /// A replica that has been removed, and whose directory may still be there.
    pub(crate) fn gone(state: ReplicaState) -> Recovery<D> {
        let view = View { start: state.start, segments: Vec::new(), gone: true };
        let view = Arc::new(RwLock::new(view));
        Recovery { state, recovered: None, log: None, view, found_evidence: None }
    }

    /// What is known to be durable. That of a lost replica stays what it was: it says what is missing.
    pub(crate) fn evidence(&self) -> Option<Evidence> {
        let (number, synced) = match &self.log {
            Some(log) => (log.active.number, log.synced),
            None => (self.state.segments.last()?.number, self.found_evidence?),
        };
        Some(Evidence { quorum: self.state.quorum, replica: self.state.replica, number, synced })
    }

    /// The names of the files that its record names.
    pub(crate) fn listed_files(&self) -> BTreeSet<String> {
        let segments = self.state.segments.iter().flat_map(|segment| {
            let (first_index, number) = (segment.first_index, segment.number);
            [ReplicaFile::Segment { first_index, number }, ReplicaFile::Index { first_index, number }]
        });
        let snapshot = self.state.snapshot_index.map(|index| ReplicaFile::Snapshot { index });
        segments.chain(snapshot).map(ReplicaFile::name).collect()
    }
}

/// What the log's segments say, once they are known.
struct Contents {
    last: FrameHeader,
    commit: Index,
    runs: TermRuns,
}

/// A replica as it was found, before anything is made of it.
pub(crate) struct Examined<F: crate::DiskFile> {
    /// Its record, with what follows from its log: the verdict, the term.
    pub(crate) state: ReplicaState,
    found: FoundLog<F>,
    pub(crate) snapshot: Option<Snapshot>,
    /// The segments that join without a gap from the start on.
    pub(crate) segments: Vec<Arc<Segment<F>>>,
    contents: Option<Contents>,
    tail: Vec<RecoveredEntry>,
    high_watermark: Offset,
}

/// Recovery steps 2 to 5, and the standing that follows.
pub(crate) fn examine<D: Disk>(
    disk: &D,
    mut state: ReplicaState,
    evidence: Option<Index>,
    options: &Options,
    purpose: Purpose,
) -> Result<Examined<D::File>, OpenError> {
    let dir = paths::replica_dir(state.quorum, state.replica);
    let mut found = log_recovery::find(disk, &state, evidence, options, purpose)?;
    let snapshot = match state.snapshot_index {
        Some(index) => read_snapshot(disk, &dir, &state, index)?,
        None => None,
    };
    let segments = readable_segments::<D>(&found, &state);
    let contents = contents(disk, &dir, &found, &segments, &state)?;
    let mut tail = Some(Vec::new());
    let mut high_watermark = state.start.base_offset;
    if let Some(contents) = &contents {
        let from = snapshot.as_ref().map_or(contents.commit, |snapshot| snapshot.index);
        tail = entries_after(disk, &dir, &segments, from)?;
        let next = tail.iter().flatten().find(|entry| entry.meta.index > contents.commit);
        high_watermark = match next {
            Some(next) => next.meta.base_offset,
            None if contents.commit >= contents.last.index => contents.last.end_offset(),
            // Something in the tail is bad, so the replica is lost.
            None => header_at(disk, &dir, &segments, contents.commit)?
                .map_or(high_watermark, |committed| committed.end_offset()),
        };
        high_watermark = high_watermark.max(state.start.base_offset).min(contents.last.end_offset());
    }
    // That there is something of a term proves that it was entered; where no frame can be read, the record's own word.
    let entered = contents.as_ref().map_or(state.start.prev_term, |contents| contents.runs.last_term());
    if entered > state.vote.term {
        state.vote = Vote { term: entered, voted_for: None };
    }
    if tail.is_none() || contents.as_ref().is_none_or(|contents| contents.commit > contents.last.index) {
        found.lost.get_or_insert(LostReason::CorruptEnd);
    }
    if snapshot.is_none() && state.snapshot_index.is_some() {
        // What it stood for is no longer in the log: the replica cannot be rebuilt from what is here.
        found.lost.get_or_insert(LostReason::BadSnapshot);
    }
    if mq_types::planted!("lost_verdict_forgotten")
        && state.standing == Standing::Lost(LostReason::CorruptEnd)
        && tail.is_some()
    {
        (state.standing, found.lost) = (Standing::Sound, None);
    }
    if let Some(reason) = found.lost
        && severity(Standing::Lost(reason)) > severity(state.standing)
    {
        state.standing = Standing::Lost(reason);
    }
    let tail = tail.unwrap_or_default();
    Ok(Examined { state, found, snapshot, segments, contents, tail, high_watermark })
}

/// Recovers one replica. `consent`: the last index that may stay if it is lost and cut, as somebody was told.
pub(crate) fn recover<D: Disk>(
    disk: &D,
    state: ReplicaState,
    evidence: Option<Index>,
    salts: &mut Salts,
    options: &Options,
    consent: Option<Index>,
) -> Result<Recovery<D>, OpenError> {
    let before = state.clone();
    let dir = paths::replica_dir(state.quorum, state.replica);
    let examined = examine(disk, state, evidence, options, Purpose::Recovery)?;
    if let (Standing::Lost(_), Some(last_index)) = (examined.state.standing, consent) {
        let cut = CutPoint::find(disk, &dir, &examined)?;
        if cut.last_index() == last_index {
            let state = cut.make(disk, &dir, evidence, &examined, salts, options)?;
            return recover(disk, state, None, salts, options, None);
        }
    }
    let Examined { mut state, found, snapshot, segments, contents, tail, high_watermark } = examined;
    let log = match state.standing {
        Standing::Sound | Standing::Damaged => {
            Some(go_on(disk, &dir, found, &mut state, contents.as_ref(), salts, options)?)
        }
        Standing::Lost(_) | Standing::Gone => None,
    };
    let view = match &log {
        Some(log) => log.view.clone(),
        None => Arc::new(RwLock::new(View { start: state.start, segments, gone: false })),
    };
    if state != before {
        state.version += 1;
    }
    let recovered = recovered(&state, contents, high_watermark, snapshot, tail, &view);
    Ok(Recovery { state, recovered: Some(recovered), log, view, found_evidence: evidence })
}

/// The segments that join without a gap from the start on.
fn readable_segments<D: Disk>(found: &FoundLog<D::File>, state: &ReplicaState) -> Vec<Arc<Segment<D::File>>> {
    let newest = found.newest.as_ref().map(|(_, active)| Arc::new(active.segment()));
    let mut next = state.start.prev_index.next();
    let mut segments = Vec::new();
    for segment in found.sealed.iter().cloned().chain(newest) {
        if segment.first_index() != next {
            break;
        }
        next = segment.end.last_index.next();
        segments.push(segment);
    }
    segments
}

/// What the readable segments hold up to; `None`: there is none.
fn contents<D: Disk>(
    disk: &D,
    dir: &Path,
    found: &FoundLog<D::File>,
    segments: &[Arc<Segment<D::File>>],
    state: &ReplicaState,
) -> Result<Option<Contents>, OpenError> {
    let Some(end) = segments.last() else { return Ok(None) };
    let floor =
        state.recorded_index().max(state.start.prev_index).max(state.snapshot_index.unwrap_or(Index(0)));
    if let Some((head, active)) = &found.newest {
        let last = active.last;
        let runs = found.runs.clone().unwrap_or_else(|| head.runs.clone());
        if end.number == active.number {
            return Ok(Some(Contents { last, commit: last.commit.max(floor), runs }));
        }
        // A segment in between is missing: what lies before it is what can be served.
        let (last_before, its_runs) = last_good(disk, dir, end)?;
        let mut runs = runs;
        if runs.term(last_before.index) == Some(last_before.term) {
            runs.cut(last_before.index.next());
        } else {
            runs = its_runs;
        }
        let commit = last.commit.max(floor).min(last_before.index);
        return Ok(Some(Contents { last: last_before, commit, runs }));
    }
    let (last, runs) = last_good(disk, dir, end)?;
    Ok(Some(Contents { last, commit: last.commit.max(floor).min(last.index), runs }))
}

/// The last frame of a sealed segment before anything bad in it, or its head, with the terms from the head to there.
fn last_good<D: Disk>(
    disk: &D,
    dir: &Path,
    segment: &Segment<D::File>,
) -> Result<(FrameHeader, TermRuns), OpenError> {
    let path = segment.path(dir);
    let mut last = segment.head;
    let mut runs = TermRuns::starting_at(last.index, last.term, last.base_offset);
    let mut walker = segment.walk_from_head(disk, dir).map_err(io_failed("read", &path))?;
    while let Step::Frame(frame) = walker.step().map_err(io_failed("read", &path))? {
        last = frame.header;
        runs.append(last.index, last.term, last.base_offset);
    }
    Ok((last, runs))
}

/// The frame with this index, or the head before it; `None`: it does not verify.
fn header_at<D: Disk>(
    disk: &D,
    dir: &Path,
    segments: &[Arc<Segment<D::File>>],
    index: Index,
) -> Result<Option<FrameHeader>, OpenError> {
    for segment in segments {
        if segment.head.index == index {
            return Ok(Some(segment.head));
        }
        if segment.end.last_index < index {
            continue;
        }
        let path = segment.path(dir);
        let walker = segment.walk_towards(disk, dir, Target::Index(index));
        let mut walker = walker.map_err(io_failed("read", &path))?;
        while let Step::Frame(frame) = walker.step().map_err(io_failed("read", &path))? {
            if frame.header.index == index {
                return Ok(Some(frame.header));
            }
        }
        return Ok(None);
    }
    Ok(None)
}

/// The entries after `index`, without records; `None`: one does not verify. What is bad up to there is not needed here, and
/// costs that place alone.
fn entries_after<D: Disk>(
    disk: &D,
    dir: &Path,
    segments: &[Arc<Segment<D::File>>],
    index: Index,
) -> Result<Option<Vec<RecoveredEntry>>, OpenError> {
    let mut entries = Vec::new();
    for segment in segments.iter().filter(|segment| segment.end.last_index > index) {
        let path = segment.path(dir);
        let from = Target::Index(index.next().max(segment.first_index()));
        let mut walker = segment.walk_towards(disk, dir, from).map_err(io_failed("read", &path))?;
        loop {
            match walker.step().map_err(io_failed("read", &path))? {
                Step::Bad if entries.is_empty() => {
                    match walker.next_good(segment.end.position).map_err(io_failed("read", &path))? {
                        Some(next) if next.header.index <= index.next() => walker.pass_to(next.position),
                        _ => return Ok(None),
                    }
                }
                Step::Frame(frame) if frame.header.index <= index => {}
                Step::Frame(frame) => {
                    let meta = frame.header.meta().expect("a walk gives entries");
                    entries.push(RecoveredEntry { meta, body: frame.body });
                }
                Step::End => break,
                Step::Bad => return Ok(None),
            }
        }
    }
    Ok(Some(entries))
}

fn read_snapshot<D: Disk>(
    disk: &D,
    dir: &Path,
    state: &ReplicaState,
    index: Index,
) -> Result<Option<Snapshot>, OpenError> {
    let path = dir.join(ReplicaFile::Snapshot { index }.name());
    let file = match disk.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_failed("open", &path))?,
    };
    snapshot::read(&file, state.quorum, state.replica, index).map_err(io_failed("read", &path))
}

/// The log of a replica that goes on; begins a new segment if the end is torn.
fn go_on<D: Disk>(
    disk: &D,
    dir: &Path,
    found: FoundLog<D::File>,
    state: &mut ReplicaState,
    contents: Option<&Contents>,
    salts: &mut Salts,
    options: &Options,
) -> Result<Log<D>, OpenError> {
    let contents = contents.expect("a replica without a readable log is lost");
    let (head, active) = found.newest.expect("a replica without its newest segment is lost");
    let mut log = Log::with_active(disk.clone(), &head, active, options);
    log.sealed = found.sealed;
    log.start = state.start;
    log.runs = contents.runs.clone();
    log.runs.trim(state.start.prev_index);
    log.commit = contents.commit;
    log.synced = contents.last.index;
    log.next_number = next_number(disk, dir, log.next_number)?;
    if found.is_torn {
        let opening = Opening::after_torn_end(SegmentNumber(log.next_number), &log.active.last);
        let first_index = log.active.last.index.next();
        let path = segment::segment_path(dir, first_index, opening.number);
        let index_path = segment::index_path(dir, first_index, opening.number);
        let file = disk.create(&path).map_err(io_failed("create", &path))?;
        let index_file = disk.create(&index_path).map_err(io_failed("create", &index_path))?;
        let sealed = log
            .open_segment(&opening, (file.clone(), index_file), 0, salts.draw())
            .map_err(io_failed("write", &path))?;
        let mut dirty = SyncPlan::new();
        dirty.add_file(path, file);
        dirty.add_file(sealed.index_path, sealed.index_file);
        dirty.add_directory(PathBuf::from(dir));
        dirty.run(disk).map_err(|error| OpenError::Io {
            action: "sync",
            path: error.path,
            source: error.source,
        })?;
    }
    state.segments = log.segment_states();
    log.publish(true, false);
    Ok(log)
}

/// A number that no file in the directory has, listed or left behind by an interrupted round.
pub(crate) fn next_number<D: Disk>(disk: &D, dir: &Path, at_least: u64) -> Result<u64, OpenError> {
    let entries = disk.list(dir).map_err(io_failed("list", dir))?;
    let numbers = entries.iter().filter_map(|entry| match ReplicaFile::parse(&entry.name)? {
        ReplicaFile::Segment { number, .. } | ReplicaFile::Index { number, .. } => Some(number.0),
        ReplicaFile::Snapshot { .. } => None,
    });
    Ok(numbers.max().map_or(at_least, |number| at_least.max(number + 1)))
}

fn recovered<F: crate::DiskFile>(
    state: &ReplicaState,
    contents: Option<Contents>,
    high_watermark: Offset,
    snapshot: Option<Snapshot>,
    tail: Vec<RecoveredEntry>,
    view: &RwLock<View<F>>,
) -> RecoveredReplica {
    let start = state.start;
    let (last_index, next_offset, last_appended_at_ms, commit, mut term_runs) = match contents {
        Some(Contents { last, commit, runs }) => {
            (last.index, last.end_offset(), last.appended_at_ms, commit.min(last.index), runs)
        }
        None => {
            let runs = TermRuns::starting_at(start.prev_index, start.prev_term, start.base_offset);
            (start.prev_index, start.base_offset, start.prev_appended_at_ms, start.prev_index, runs)
        }
    };
    term_runs.trim(start.prev_index);
    assert!(last_index >= start.prev_index && commit >= start.prev_index && commit <= last_index);
    assert!(
        term_runs.last_term() <= state.vote.term || state.vote.term == Term(0),
        "the term covers every frame"
    );
    let view = view.read().unwrap_or_else(PoisonError::into_inner);
    RecoveredReplica {
        quorum: state.quorum,
        replica: state.replica,
        vote: state.vote,
        opened: state.opened,
        standing: state.standing,
        membership: state.membership.clone(),
        start,
        term_runs,
        last_index,
        next_offset,
        last_appended_at_ms,
        commit,
        high_watermark,
        snapshot,
        tail,
        segments: view.segments.iter().map(|segment| segment.info()).collect(),
    }
}
