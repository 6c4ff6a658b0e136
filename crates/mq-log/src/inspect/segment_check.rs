//! The inspection of one segment and of the sparse index beside it.

use super::{Finding, Inspection, Item, Problem, problem_of};
use crate::disk::{Disk, DiskFile};
use crate::frame::{FrameHeader, HEADER_BYTES, Seed};
use crate::head::{self, BadHead, Head};
use crate::log_recovery::look_behind;
use crate::paths::ReplicaFile;
use crate::sparse_index::{self, POINT_BYTES, Point};
use crate::walk::{Depth, Frame, Step, Walker};
use mq_types::{Body, Index, Position, QuorumId, ReplicaId};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The most that a batch's records may decompress to before they are called damaged, in bytes.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;
const READ_AHEAD_BYTES: usize = 1 << 20;

/// What is known of a segment from elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    pub(super) owner: Option<(QuorumId, ReplicaId)>,
    /// The last frame of the segment before it.
    pub(super) previous: Option<FrameHeader>,
    /// Where its frames end, for a sealed segment.
    pub(super) end_position: Option<u64>,
    /// Where the next segment begins: from there on, its frames are dead.
    pub(super) next_first_index: Option<Index>,
    /// For the newest segment: up to where it is known to be durable. Without it, every bad byte is a finding.
    pub(super) known_durable: Option<Index>,
}

/// One segment under inspection.
pub(super) struct SegmentCheck<'a, 'b, D: Disk> {
    inspection: &'a mut Inspection<'b, D>,
    path: PathBuf,
    expected: Expected,
}

impl<'a, 'b, D: Disk> SegmentCheck<'a, 'b, D> {
    pub(super) fn new(
        inspection: &'a mut Inspection<'b, D>,
        path: &Path,
        expected: Expected,
    ) -> SegmentCheck<'a, 'b, D> {
        SegmentCheck { inspection, path: path.to_owned(), expected }
    }

    /// Inspects it; gives back its last good frame.
    pub(super) fn run(mut self) -> Option<FrameHeader> {
        self.inspection.summary.segments += 1;
        match self.try_run() {
            Ok(last) => last,
            Err(error) => {
                self.finding(0, None, problem_of(&error));
                None
            }
        }
    }

    fn finding(&mut self, position: u64, previous: Option<&FrameHeader>, problem: Problem) {
        let finding = Finding {
            file: self.path.clone(),
            position: Position(position),
            index: previous.map(|previous| previous.index.next()),
            offset: previous.map(FrameHeader::end_offset),
            problem,
        };
        self.inspection.finding(finding);
    }

    fn try_run(&mut self) -> io::Result<Option<FrameHeader>> {
        let file = self.inspection.disk.open(&self.path)?;
        let head = match Head::read(&file)? {
            Ok(head) => head,
            Err(BadHead::Newer(_)) => {
                self.finding(0, None, Problem::NewerFormat);
                return Ok(None);
            }
            Err(BadHead::Corrupt) => {
                self.finding(0, self.expected.previous.as_ref().copied().as_ref(), Problem::BadHead);
                return Ok(None);
            }
        };
        self.check_head(&head);
        let seed = Seed::of_salt(&head.salt);
        let frames_at = head::frame_bytes(head.runs.runs().len());
        self.inspection.summary.bytes += frames_at;
        let len = file.len_bytes()?;
        let until = self.expected.end_position.unwrap_or(len);
        let mut points = self.read_points(&head, &seed);
        let mut last = head.header();
        let mut position = frames_at;
        let mut walker = Walker::new(file.clone(), seed.clone(), frames_at, until, Some(last))
            .read(Depth::Whole, READ_AHEAD_BYTES);
        loop {
            match walker.step()? {
                Step::Frame(frame) => {
                    if self.expected.next_first_index.is_some_and(|next| frame.header.index >= next) {
                        break;
                    }
                    last = frame.header;
                    position = frame.end_position();
                    self.entry(&frame);
                    let named = points.remove(&frame.position);
                    if named.as_ref().is_some_and(|(_, point)| !point.names(&frame.header, frame.position)) {
                        self.bad_points(named.map(|(number, _)| number));
                    }
                }
                Step::End => {
                    self.end(&file, &seed, position, &last, len)?;
                    break;
                }
                Step::Bad => {
                    let problem = explain(&file, &seed, position, &last)?;
                    self.bad_frame(&file, &seed, position, &last, problem)?;
                    break;
                }
            }
        }
        // Points that name no frame, though there are frames behind them.
        let unnamed = points.into_iter().filter(|(named, _)| *named < position);
        self.bad_points(unnamed.map(|(_, (number, _))| number).collect::<Vec<_>>());
        Ok(Some(last))
    }

    fn check_head(&mut self, head: &Head) {
        let name = self.path.file_name().and_then(|name| name.to_str()).and_then(ReplicaFile::parse);
        let named = ReplicaFile::Segment { first_index: head.prev_index.next(), number: head.number };
        let other_owner = self.expected.owner.is_some_and(|owner| owner != (head.quorum, head.replica));
        if other_owner || name.is_some_and(|name| name != named) {
            self.finding(0, None, Problem::WrongSegment);
        }
        if let Some(previous) = self.expected.previous {
            let goes_on = head.prev_index == previous.index
                && head.prev_term == previous.term
                && head.base_offset == previous.end_offset();
            if !goes_on {
                self.finding(0, Some(&previous), Problem::BrokenChain);
            }
        }
        self.inspection.item(Item::Segment {
            file: self.path.clone(),
            quorum: head.quorum,
            replica: head.replica,
            number: head.number,
            prev_index: head.prev_index,
            prev_term: head.prev_term,
            base_offset: head.base_offset,
        });
    }

    fn entry(&mut self, frame: &Frame) {
        let header = &frame.header;
        let summary = &mut self.inspection.summary;
        summary.entries += 1;
        summary.bytes += header.frame_bytes();
        if let Some(Body::Data(batch)) = &frame.body {
            summary.records += u64::from(batch.record_count());
            let records = batch.records(DECOMPRESSED_BYTES_MAX);
            let error = records.map(|mut records| records.find_map(Result::err)).unwrap_or_else(Some);
            if let Some(error) = error {
                let position = Position(frame.position);
                let (index, offset) = (Some(header.index), Some(header.base_offset));
                let problem = Problem::BadRecords(error);
                self.inspection.finding(Finding {
                    file: self.path.clone(),
                    position,
                    index,
                    offset,
                    problem,
                });
            }
        }
        self.inspection.item(Item::Entry {
            file: self.path.clone(),
            position: Position(frame.position),
            meta: header.meta().expect("a walk gives entries"),
            len_bytes: header.len,
            commit: header.commit,
            synced: header.synced,
        });
    }

    /// The end of the frames was reached without a bad one.
    fn end(
        &mut self,
        file: &D::File,
        seed: &Seed,
        position: u64,
        last: &FrameHeader,
        len: u64,
    ) -> io::Result<()> {
        let known = self.expected.known_durable.unwrap_or(Index(0));
        let next = self.expected.next_first_index;
        if known > last.index {
            self.finding(position, Some(last), Problem::EndsEarly { known });
        } else if self.expected.end_position.is_some_and(|end| end > len)
            || next.is_some_and(|next| next > last.index.next())
        {
            self.bad_frame(file, seed, position, last, Problem::NotAFrame)?;
        }
        Ok(())
    }

    /// A bad frame: in the newest segment it may be what a crash has left.
    fn bad_frame(
        &mut self,
        file: &D::File,
        seed: &Seed,
        position: u64,
        last: &FrameHeader,
        problem: Problem,
    ) -> io::Result<()> {
        let behind = look_behind(file, seed, position, last.index)?;
        let is_newest = self.expected.end_position.is_none() && self.expected.next_first_index.is_none();
        let known = self.expected.known_durable.map(|known| known.max(behind.synced));
        let is_torn = is_newest
            && (behind.all_zeros || known.is_some())
            && known.is_none_or(|known| known <= last.index);
        if is_torn && behind.all_zeros {
            // Space that was prepared for what comes next.
        } else if is_torn {
            let len_bytes = file.len_bytes()? - position;
            self.inspection.item(Item::Torn {
                file: self.path.clone(),
                position: Position(position),
                len_bytes,
            });
        } else {
            self.finding(position, Some(last), problem);
        }
        Ok(())
    }

    fn index_path(&self) -> PathBuf {
        self.path.with_extension("idx")
    }

    fn bad_points(&mut self, numbers: impl IntoIterator<Item = u64>) {
        let path = self.index_path();
        for number in numbers {
            let position = sparse_index::point_position(number);
            self.inspection.file_finding(&path, position, Problem::BadIndexPoint);
        }
    }

    /// The points of the index by the position that they name, with their number. A missing index is no finding.
    fn read_points(&mut self, head: &Head, seed: &Seed) -> BTreeMap<u64, (u64, Point)> {
        let path = self.index_path();
        let bytes = match self.inspection.disk.open(&path).and_then(|file| file.read_at(0, usize::MAX)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
            Err(error) => {
                self.inspection.file_finding(&path, 0, problem_of(&error));
                return BTreeMap::new();
            }
        };
        if bytes.get(..sparse_index::HEADER_BYTES) != Some(&sparse_index::encode_header(&head.salt)[..]) {
            self.inspection.file_finding(&path, 0, Problem::BadIndexPoint);
            return BTreeMap::new();
        }
        let mut points = BTreeMap::new();
        for (number, bytes) in bytes[sparse_index::HEADER_BYTES..].chunks(POINT_BYTES).enumerate() {
            match Point::decode(bytes, seed) {
                Some(point) => {
                    points.insert(point.position, (number as u64, point));
                }
                None => {
                    let position = sparse_index::point_position(number as u64);
                    self.inspection.file_finding(&path, position, Problem::BadIndexPoint);
                }
            }
        }
        points
    }
}

/// What is wrong with the frame at this position.
fn explain<F: DiskFile>(file: &F, seed: &Seed, position: u64, previous: &FrameHeader) -> io::Result<Problem> {
    let bytes = file.read_at(position, HEADER_BYTES)?;
    let Ok(header_bytes) = <&[u8; HEADER_BYTES]>::try_from(bytes.as_slice()) else {
        return Ok(Problem::NotAFrame);
    };
    let Some(header) = FrameHeader::decode(header_bytes) else { return Ok(Problem::NotAFrame) };
    let covered = file.read_at(position + HEADER_BYTES as u64, header.covered_bytes())?;
    let whole = covered.len() == header.covered_bytes();
    Ok(if !whole || !FrameHeader::verifies(header_bytes, seed, &covered) {
        Problem::FrameChecksum
    } else if !header.follows(previous) {
        Problem::OutOfOrder
    } else {
        Problem::BatchChecksum
    })
}
