//! Finding a replica's log on open: which segments are there, where the newest one ends, and whether that end can be
//! trusted. It writes nothing but the sparse index (to look at a log, not even that); what follows from what it found
//! is `recovery`'s business.

use crate::Options;
use crate::active::Active;
use crate::disk::{Disk, DiskFile};
use crate::frame::{FrameHeader, HEADER_BYTES, MAGIC, MAGIC_AT, Seed};
use crate::head::{self, BadHead, Head};
use crate::paths;
use crate::recovery::{OpenError, io_failed};
use crate::segment::{self, Segment, SegmentEnd};
use crate::sparse_index::{self, Found, POINT_BYTES, Point, Points};
use crate::state_record::{ReplicaState, SegmentState};
use crate::state_recovery::Purpose;
use crate::walk::{Depth, SCAN_PAYLOAD_BYTES_MAX, Step, Walker};
use mq_types::persist::LostReason;
use mq_types::{Index, TermRuns};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// How much is read at once while walking.
const READ_AHEAD_BYTES: usize = 256 << 10;
/// How much is looked at at once behind a bad frame.
const SCAN_CHUNK_BYTES: usize = 1 << 20;

/// The newest segment.
type Newest<F> = (Head, Active<F>);

/// A log as it was found.
pub(crate) struct FoundLog<F: DiskFile> {
    /// The sealed segments that can be read, oldest first.
    pub(crate) sealed: Vec<Arc<Segment<F>>>,
    /// The newest segment, up to its last good frame; `None` if it cannot be read.
    pub(crate) newest: Option<Newest<F>>,
    /// The terms up to the last entry.
    pub(crate) runs: Option<TermRuns>,
    /// Behind the last good frame of the newest segment lies something that is neither a frame nor zeros.
    pub(crate) is_torn: bool,
    /// Why the replica is lost, if it is.
    pub(crate) lost: Option<LostReason>,
}

/// Looks for the log that a record lists.
pub(crate) fn find<D: Disk>(
    disk: &D,
    state: &ReplicaState,
    evidence: Option<Index>,
    options: &Options,
    purpose: Purpose,
) -> Result<FoundLog<D::File>, OpenError> {
    let dir = paths::replica_dir(state.quorum, state.replica);
    let mut found = FoundLog { sealed: Vec::new(), newest: None, runs: None, is_torn: false, lost: None };
    let there = match purpose {
        Purpose::Recovery => disk.sync_dir(&dir),
        Purpose::Inspection => disk.list(&dir).map(drop),
    };
    match there {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            found.lost = Some(LostReason::MissingSegment);
            return Ok(found);
        }
        other => other.map_err(io_failed("sync", &dir))?,
    }
    let (newest, sealed) = state.segments.split_last().expect("a record lists at least one segment");
    for listed in sealed {
        match find_sealed(disk, &dir, state, listed)? {
            Some(segment) => found.sealed.push(Arc::new(segment)),
            None => {
                found.lost = Some(LostReason::MissingSegment);
                break;
            }
        }
    }
    match find_newest(disk, &dir, state, newest, purpose)? {
        Some((head, active)) => find_end(&mut found, head, active, state, evidence, options, purpose)
            .map_err(io_failed("read", &segment::segment_path(&dir, newest.first_index, newest.number)))?,
        None => found.lost = Some(LostReason::MissingSegment),
    }
    Ok(found)
}

/// Opens a listed segment and reads its head; `None` if it is missing or not the listed one.
fn open_listed<D: Disk>(
    disk: &D,
    path: &Path,
    state: &ReplicaState,
    listed: &SegmentState,
    is_to_be_synced: bool,
) -> Result<Option<(D::File, Head)>, OpenError> {
    let file = match disk.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_failed("open", path))?,
    };
    if is_to_be_synced && !mq_types::planted!("no_sync_on_open") {
        // What is read back must be durable before it counts.
        file.sync_data().map_err(io_failed("sync", path))?;
        file.drop_cached(0..u64::MAX).map_err(io_failed("drop the cache of", path))?;
    }
    let head = match Head::read(&file).map_err(io_failed("read", path))? {
        Ok(head) => head,
        Err(BadHead::Newer(version)) => {
            return Err(OpenError::NewerFormat { file: path.to_owned(), version, known: head::VERSION });
        }
        Err(BadHead::Corrupt) => return Ok(None),
    };
    let is_listed = (head.quorum, head.replica, head.number) == (state.quorum, state.replica, listed.number)
        && head.prev_index.next() == listed.first_index
        && head.prev_term == listed.prev_term
        && head.base_offset == listed.base_offset;
    Ok(is_listed.then_some((file, head)))
}

fn find_sealed<D: Disk>(
    disk: &D,
    dir: &Path,
    state: &ReplicaState,
    listed: &SegmentState,
) -> Result<Option<Segment<D::File>>, OpenError> {
    let path = segment::segment_path(dir, listed.first_index, listed.number);
    let Some((file, head)) = open_listed(disk, &path, state, listed, false)? else { return Ok(None) };
    let end: SegmentEnd = listed.end.expect("a record gives the end of every sealed segment");
    if file.len_bytes().map_err(io_failed("read", &path))? < end.position {
        return Ok(None);
    }
    Ok(Some(Segment {
        number: listed.number,
        head: head.header(),
        frames_at: head::frame_bytes(head.runs.runs().len()),
        salt: head.salt,
        seed: Seed::of_salt(&head.salt),
        end,
        file: None,
        points: Points::Sealed(Arc::new(OnceLock::new())),
    }))
}

fn find_newest<D: Disk>(
    disk: &D,
    dir: &Path,
    state: &ReplicaState,
    listed: &SegmentState,
    purpose: Purpose,
) -> Result<Option<Newest<D::File>>, OpenError> {
    let path = segment::segment_path(dir, listed.first_index, listed.number);
    let is_to_be_synced = purpose == Purpose::Recovery;
    let Some((file, head)) = open_listed(disk, &path, state, listed, is_to_be_synced)? else {
        return Ok(None);
    };
    let index_path: PathBuf = segment::index_path(dir, listed.first_index, listed.number);
    let index_file = match (disk.open(&index_path), purpose) {
        (Err(error), Purpose::Recovery) if error.kind() == io::ErrorKind::NotFound => {
            disk.create(&index_path)
        }
        // Nothing is made for a look: the segment's file stands in, which is never taken for an index.
        (Err(error), Purpose::Inspection) if error.kind() == io::ErrorKind::NotFound => Ok(file.clone()),
        (other, _) => other,
    };
    let index_file = index_file.map_err(io_failed("open", &index_path))?;
    Ok(Some((head.clone(), Active::found(file, index_file, &head))))
}

/// Where a walk begins, and what is known before it.
struct WalkStart {
    /// The number of points up to there, and the last of them; `None`: from the head.
    points: u64,
    point: Option<Point>,
    /// The highest index known to be durable.
    known: Index,
}

/// Recovery, steps 3 and 4: where the newest segment ends, and whether that can be.
fn find_end<F: DiskFile>(
    found: &mut FoundLog<F>,
    head: Head,
    mut active: Active<F>,
    state: &ReplicaState,
    evidence: Option<Index>,
    options: &Options,
    purpose: Purpose,
) -> io::Result<()> {
    let len = active.file.len_bytes()?;
    let mut start = walk_start(&active, evidence.unwrap_or(Index(0)).max(head.prev_index), len)?;
    let runs = runs_before(&active, &head, &start)?;
    if runs.is_none() {
        // Something before the point is bad. Without the terms from there on, what lies behind it is of no use: the
        // log is walked from its head, and ends where that is.
        start = WalkStart { points: 0, point: None, known: start.known };
    }
    let mut runs = runs.unwrap_or_else(|| head.runs.clone());
    active.points = start.points;
    if purpose == Purpose::Recovery {
        active.index_file.set_len(sparse_index::point_position(start.points))?;
        if start.points == 0 {
            active
                .index_file
                .write_at(0, &mut [io::IoSlice::new(&sparse_index::encode_header(&head.salt))])?;
        }
    }
    let first =
        Walker::new(active.file.clone(), active.seed.clone(), active.frames_at, len, Some(active.head))
            .step()?;
    if let Step::Frame(frame) = &first {
        active.first_appended_at_ms = Some(frame.header.appended_at_ms);
    }
    let (bad, points) = walk_to_end(&mut active, &start, &mut runs, len, options.index_interval_bytes)?;
    if purpose == Purpose::Recovery && !points.is_empty() {
        sparse_index::write_points(&active.index_file, active.points, &points)?;
        active.points += (points.len() / POINT_BYTES) as u64;
    }
    let last = active.last.index;
    let durable = start
        .known
        .max(state.recorded_index())
        .max(state.snapshot_index.unwrap_or(Index(0)))
        .max(state.start.prev_index);
    let behind = match bad {
        true => look_behind(&active.file, &active.seed, active.position, last)?,
        false => Behind::default(),
    };
    found.is_torn = !behind.all_zeros;
    let is_missed = durable > last || behind.synced > last;
    if is_missed && !mq_types::planted!("truncate_on_corruption") {
        found.lost.get_or_insert(LostReason::CorruptEnd);
    }
    found.runs = Some(runs);
    found.newest = Some((head, active));
    Ok(())
}

/// The last index point at or below the highest index known to be durable. A point counts if its frame verifies.
fn walk_start<F: DiskFile>(active: &Active<F>, evidence: Index, len: u64) -> io::Result<WalkStart> {
    let index_len = active.index_file.len_bytes()?;
    let header = active.index_file.read_at(0, sparse_index::HEADER_BYTES)?;
    let mut start = WalkStart { points: 0, point: None, known: evidence };
    if header != sparse_index::encode_header(&active.salt) {
        return Ok(start);
    }
    let count = index_len.saturating_sub(sparse_index::HEADER_BYTES as u64) / POINT_BYTES as u64;
    for at in (0..count).rev() {
        let Some(point) = sparse_index::read_point(&active.index_file, at, &active.seed)? else { continue };
        let frame_at = |depth| {
            let (file, seed) = (active.file.clone(), active.seed.clone());
            Walker::new(file, seed, point.position, len, None).read(depth, READ_AHEAD_BYTES).step()
        };
        let Step::Frame(frame) = frame_at(Depth::Headers)? else { continue };
        if point.position < active.frames_at || !point.names(&frame.header, frame.position) {
            continue;
        }
        start.known = start.known.max(frame.header.synced);
        // A frame with a sound header and damaged records tells what was durable, but the walk begins before it.
        if point.index <= start.known && matches!(frame_at(Depth::Whole)?, Step::Frame(_)) {
            start.points = at + 1;
            start.point = Some(point);
            break;
        }
    }
    Ok(start)
}

/// The terms from the head to where the walk starts. Points have terms too, so only the intervals in which a term
/// begins are walked. `None`: they cannot be known, because a frame there is bad.
fn runs_before<F: DiskFile>(
    active: &Active<F>,
    head: &Head,
    start: &WalkStart,
) -> io::Result<Option<TermRuns>> {
    let mut runs = head.runs.clone();
    let Some(until) = start.point else { return Ok(Some(runs)) };
    while runs.last_term() < until.term {
        let term = runs.last_term();
        let get = |at| sparse_index::read_point(&active.index_file, at, &active.seed);
        let from = match sparse_index::last_where(start.points, get, |point| point.term <= term)? {
            Found::Point(_, point) => (point.position, None),
            Found::Nothing | Found::BadIndex => (active.frames_at, Some(active.head)),
        };
        let end = until.position + HEADER_BYTES as u64;
        let len = active.file.len_bytes()?.max(end);
        let mut walker = Walker::new(active.file.clone(), active.seed.clone(), from.0, len, from.1);
        loop {
            let has_previous = walker.previous().is_some();
            let Step::Frame(frame) = walker.step()? else { return Ok(None) };
            if frame.header.term > term {
                let last = runs.runs().last().expect("a head has the term before its segment");
                // The term begins here if the frame before was seen to be of another one.
                let begins = has_previous
                    && frame.header.index > last.first_index
                    && frame.header.base_offset >= last.base_offset;
                if !begins {
                    return Ok(None);
                }
                runs.append(frame.header.index, frame.header.term, frame.header.base_offset);
                break;
            }
            if frame.position >= until.position {
                return Ok(None);
            }
        }
    }
    let last = runs.runs().last().expect("a head has the term before its segment");
    let goes_on = until.term == last.term
        && until.index >= last.first_index.max(head.prev_index.next())
        && until.base_offset >= last.base_offset;
    Ok(goes_on.then_some(runs))
}

/// Walks to the last good frame. Gives back whether something bad follows, and the index points for what it met.
fn walk_to_end<F: DiskFile>(
    active: &mut Active<F>,
    start: &WalkStart,
    runs: &mut TermRuns,
    len: u64,
    index_interval_bytes: u64,
) -> io::Result<(bool, Vec<u8>)> {
    let (position, previous) = match &start.point {
        Some(point) => (point.position, None),
        None => (active.frames_at, Some(active.head)),
    };
    // Whether there was a point to begin at must make no difference, so records are read wherever the walk passes.
    let mut walker = Walker::new(active.file.clone(), active.seed.clone(), position, len, previous)
        .read(Depth::Whole, READ_AHEAD_BYTES);
    let mut points = Vec::new();
    let mut before_last = (active.last, active.position);
    let mut next_point_at = active.frames_at;
    if let Some(point) = &start.point {
        next_point_at = point.position + index_interval_bytes;
    }
    let bad = loop {
        match walker.step()? {
            Step::End => break false,
            Step::Bad => break true,
            Step::Frame(frame) => {
                if frame.position >= next_point_at {
                    points.extend_from_slice(&Point::of(&frame.header, frame.position).encode(&active.seed));
                    next_point_at = frame.position + index_interval_bytes;
                }
                if runs.runs().last().is_none_or(|run| run.first_index < frame.header.index) {
                    runs.append(frame.header.index, frame.header.term, frame.header.base_offset);
                }
                before_last = (active.last, active.position);
                active.last = frame.header;
                active.position = frame.end_position();
                active.allocated = active.position;
            }
        }
    };
    if mq_types::planted!("tail_entry_dropped_on_open") {
        (active.last, active.position) = before_last;
        runs.cut(active.last.index.next());
    }
    active.next_point_at = next_point_at;
    Ok((bad, points))
}

/// What lies behind the last good frame.
pub(crate) struct Behind {
    pub(crate) all_zeros: bool,
    /// The highest `synced` of a valid frame there.
    pub(crate) synced: Index,
}

impl Default for Behind {
    fn default() -> Behind {
        Behind { all_zeros: true, synced: Index(0) }
    }
}

/// Looks for valid frames of this segment behind the last good one: one that says that more was durable than is
/// here proves a hole.
pub(crate) fn look_behind<F: DiskFile>(
    file: &F,
    seed: &Seed,
    from: u64,
    last_index: Index,
) -> io::Result<Behind> {
    let mut synced = Index(0);
    let all_zeros = scan(
        file,
        seed,
        from,
        |header| {
            let is_short = header.covered_bytes() <= SCAN_PAYLOAD_BYTES_MAX;
            is_short && header.synced > last_index && header.synced < header.index
        },
        |header| synced = synced.max(header.synced),
    )?;
    Ok(Behind { all_zeros, synced })
}

/// Gives every verified frame from a position on to `found`, wherever it begins, if its header `is_wanted`. Returns
/// whether there are nothing but zeros.
pub(crate) fn scan<F: DiskFile>(
    file: &F,
    seed: &Seed,
    from: u64,
    is_wanted: impl Fn(&FrameHeader) -> bool,
    mut found: impl FnMut(&FrameHeader),
) -> io::Result<bool> {
    let len = file.len_bytes()?;
    let mut all_zeros = true;
    let mut position = from;
    while position < len {
        // The chunks overlap, so that no header lies across two of them unseen.
        let chunk = file.read_at(position, SCAN_CHUNK_BYTES + HEADER_BYTES)?;
        all_zeros &= chunk.iter().all(|byte| *byte == 0);
        let starts = chunk.len().saturating_sub(HEADER_BYTES - 1).min(SCAN_CHUNK_BYTES);
        for at in 0..starts {
            if chunk[at + MAGIC_AT..at + MAGIC_AT + 2] != MAGIC {
                continue;
            }
            let bytes = chunk[at..at + HEADER_BYTES].try_into().expect("a header's bytes");
            if FrameHeader::decode(bytes).filter(&is_wanted).is_none() {
                continue;
            }
            let mut walker = Walker::new(file.clone(), seed.clone(), position + at as u64, len, None);
            if let Step::Frame(frame) = walker.step()? {
                found(&frame.header);
            }
        }
        position += SCAN_CHUNK_BYTES as u64;
    }
    Ok(all_zeros)
}
