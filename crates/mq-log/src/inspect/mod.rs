//! Offline inspection of a stopped broker's files: reads everything, verifies everything, writes nothing.
//!
//! It recovers nothing and repairs nothing. What a crash may leave (a torn end that nobody was promised) is told as
//! [`Item::Torn`]; what must not be is a [`Finding`].

mod segment_check;

use crate::disk::Disk;
use crate::paths::{self, ReplicaFile};
use crate::recovery::{OpenError, replica_directories};
use crate::snapshot;
use crate::state_record::ReplicaState;
use crate::state_recovery::{self, FoundState, Purpose};
use mq_types::batch::BatchError;
use mq_types::persist::{Membership, Standing, Start, Vote};
use mq_types::{EntryMeta, Index, Offset, Position, QuorumId, ReplicaId, SegmentNumber, Term};
use segment_check::{Expected, SegmentCheck};
use std::io;
use std::path::{Path, PathBuf};

/// What was met, in the order of the files and of the bytes in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A replica as the state files have it.
    Replica {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
        /// The version of the record.
        version: u64,
        /// Term and vote.
        vote: Vote,
        /// Whether the controller's acceptance is on record.
        opened: bool,
        /// How far it may be trusted.
        standing: Standing,
        /// Where its log begins.
        start: Start,
        /// Its members.
        membership: Membership,
    },
    /// The head of a segment.
    Segment {
        /// The file.
        file: PathBuf,
        /// Its quorum.
        quorum: QuorumId,
        /// Its replica.
        replica: ReplicaId,
        /// Its number.
        number: SegmentNumber,
        /// The index before its first entry.
        prev_index: Index,
        /// The term of that entry.
        prev_term: Term,
        /// The offset that its first record has or will have.
        base_offset: Offset,
    },
    /// An entry.
    Entry {
        /// The file.
        file: PathBuf,
        /// The position of its frame.
        position: Position,
        /// Where it stands.
        meta: EntryMeta,
        /// The size of its payload in bytes.
        len_bytes: u32,
        /// The commit index known when it was written.
        commit: Index,
        /// The last index known durable when it was written.
        synced: Index,
    },
    /// What a crash has left behind the last whole piece of a file. Nobody was promised it; the next start cuts it.
    Torn {
        /// The file.
        file: PathBuf,
        /// Where it begins.
        position: Position,
        /// Its size in bytes.
        len_bytes: u64,
    },
    /// Something is wrong.
    Finding(Finding),
}

/// Something that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} at byte {position}{}{}: {problem}", .file.display(), at("index", .index), at("offset", .offset))]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// The position in it.
    pub position: Position,
    /// The index that the frame has or would have, where it is one.
    pub index: Option<Index>,
    /// The offset that its first record has or would have, where it is a frame.
    pub offset: Option<Offset>,
    /// What is wrong.
    pub problem: Problem,
}

fn at(name: &str, number: &Option<impl std::fmt::Display>) -> String {
    number.as_ref().map_or(String::new(), |number| format!(", {name} {number}"))
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file is not there.
    #[error("the file is missing")]
    Missing,
    /// The file could not be read.
    #[error("the disk could not read it ({0})")]
    Unreadable(io::ErrorKind),
    /// A newer version of mq wrote it.
    #[error("it was written by a newer mq")]
    NewerFormat,
    /// The segment's head does not verify.
    #[error("the segment's head does not verify")]
    BadHead,
    /// The head is not that of the segment that belongs here.
    #[error("this is another segment than the one that belongs here")]
    WrongSegment,
    /// The segment does not go on where the one before it ends.
    #[error("the segment does not go on where the one before it ends")]
    BrokenChain,
    /// There is no frame here, or it is cut off.
    #[error("no frame begins here")]
    NotAFrame,
    /// A frame's checksum does not match.
    #[error("the frame's checksum does not match")]
    FrameChecksum,
    /// A frame does not go on from the one before it.
    #[error("the frame does not go on from the one before it")]
    OutOfOrder,
    /// A batch's checksum or header does not match.
    #[error("the batch's checksum or header does not match")]
    BatchChecksum,
    /// A batch's records are not well formed.
    #[error("the batch's records are damaged: {0}")]
    BadRecords(BatchError),
    /// Entries that were known to be durable are not there.
    #[error("the log ends here although entries up to index {known} were known to be on the disk")]
    EndsEarly {
        /// The last index that was known to be durable.
        known: Index,
    },
    /// The sparse index is damaged. It is a cache: reading is slower, nothing is lost.
    #[error("the sparse index is damaged here (a cache, made anew when it is needed)")]
    BadIndexPoint,
    /// A snapshot does not verify.
    #[error("the snapshot does not verify")]
    BadSnapshot,
    /// One copy of the state is bad, and the other one good: the next start heals it.
    #[error(
        "this copy of the state is damaged here; the other copy is good, and the next start heals this one"
    )]
    BadStateCopy,
    /// Both copies of the state are bad where it was known to be durable.
    #[error("both copies of the state are damaged here: the broker will not start from them")]
    StateUnknown,
    /// There are replicas and no complete set of state files.
    #[error("there is no complete set of state files: the broker will not start")]
    StateMissing,
    /// The state lists two replicas of one quorum.
    #[error("two replicas of quorum {quorum} are said to live here: the broker will not start")]
    TwoReplicas {
        /// The quorum.
        quorum: QuorumId,
    },
}

/// What was inspected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Segment files.
    pub segments: u64,
    /// Entries.
    pub entries: u64,
    /// Records.
    pub records: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// Findings.
    pub findings: u64,
}

/// Inspects `path`, relative to the disk's root: a data directory (the empty path), one replica's directory, or one
/// segment. Every item goes to `sink`. An error is one of listing directories; bad files are findings.
pub fn inspect<D: Disk>(disk: &D, path: &Path, sink: &mut dyn FnMut(Item)) -> io::Result<Summary> {
    let mut inspection = Inspection { disk, sink, summary: Summary::default() };
    match disk.list(path) {
        Ok(entries) if entries.iter().any(|entry| entry.is_dir && entry.name == paths::QUORUMS) => {
            if !path.as_os_str().is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a data directory is inspected as the root of its disk",
                ));
            }
            inspection.data_directory()?;
        }
        Ok(_) => inspection.replica_directory(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            SegmentCheck::new(&mut inspection, path, Expected::default()).run();
        }
        Err(error) => return Err(error),
    }
    Ok(inspection.summary)
}

/// An inspection under way.
struct Inspection<'a, D: Disk> {
    disk: &'a D,
    sink: &'a mut dyn FnMut(Item),
    summary: Summary,
}

impl<D: Disk> Inspection<'_, D> {
    fn item(&mut self, item: Item) {
        (self.sink)(item);
    }

    fn finding(&mut self, finding: Finding) {
        self.summary.findings += 1;
        self.item(Item::Finding(finding));
    }

    /// A finding about a file that is not about a frame.
    fn file_finding(&mut self, file: &Path, position: u64, problem: Problem) {
        let position = Position(position);
        self.finding(Finding { file: file.to_owned(), position, index: None, offset: None, problem });
    }

    fn data_directory(&mut self) -> io::Result<()> {
        let present = match replica_directories(self.disk) {
            Ok(present) => present,
            Err(error) => return self.open_error(error),
        };
        let found = match state_recovery::read(self.disk, present.len(), Purpose::Inspection) {
            Ok(found) => found,
            Err(error) => return self.open_error(error),
        };
        for (file, position) in &found.bad_copies {
            self.file_finding(file, *position, Problem::BadStateCopy);
        }
        for (file, position, len_bytes) in found.torn.clone() {
            self.item(Item::Torn { file, position: Position(position), len_bytes });
        }
        for state in found.replicas.values() {
            self.item(Item::Replica {
                quorum: state.quorum,
                replica: state.replica,
                version: state.version,
                vote: state.vote,
                opened: state.opened,
                standing: state.standing,
                start: state.start,
                membership: state.membership.clone(),
            });
            if state.standing != Standing::Gone {
                self.replica(state, &found);
            }
        }
        Ok(())
    }

    /// What opening would refuse is a finding here, except for an error of the disk.
    fn open_error(&mut self, error: OpenError) -> io::Result<()> {
        match error {
            OpenError::StateUnknown { files, position } => {
                for file in files {
                    self.file_finding(&file, position, Problem::StateUnknown);
                }
            }
            OpenError::StateMissing { state, .. } => self.file_finding(&state, 0, Problem::StateMissing),
            OpenError::TwoReplicas { quorum, .. } => {
                self.file_finding(Path::new(paths::STATE), 0, Problem::TwoReplicas { quorum });
            }
            OpenError::NewerFormat { file, .. } => self.file_finding(&file, 0, Problem::NewerFormat),
            OpenError::Io { source, .. } => return Err(source),
        }
        Ok(())
    }

    /// A replica's files as its record lists them.
    fn replica(&mut self, state: &ReplicaState, found: &FoundState) {
        let dir = paths::replica_dir(state.quorum, state.replica);
        let mut previous = None;
        for (number, listed) in state.segments.iter().enumerate() {
            let is_newest = number + 1 == state.segments.len();
            let evidence = found.evidence.get(&(state.quorum, state.replica, listed.number)).copied();
            let known = evidence
                .unwrap_or(Index(0))
                .max(state.membership.conf_index)
                .max(state.snapshot_index.unwrap_or(Index(0)));
            let expected = Expected {
                owner: Some((state.quorum, state.replica)),
                previous,
                end_position: listed.end.map(|end| end.position),
                next_first_index: None,
                known_durable: is_newest.then_some(known),
            };
            let file = ReplicaFile::Segment { first_index: listed.first_index, number: listed.number };
            previous = SegmentCheck::new(self, &dir.join(file.name()), expected).run();
        }
        if let Some(index) = state.snapshot_index {
            self.snapshot(&dir, state.quorum, state.replica, index);
        }
    }

    fn snapshot(&mut self, dir: &Path, quorum: QuorumId, replica: ReplicaId, index: Index) {
        let path = dir.join(ReplicaFile::Snapshot { index }.name());
        let read = self.disk.open(&path).and_then(|file| snapshot::read(&file, quorum, replica, index));
        match read {
            Ok(Some(_)) => {}
            Ok(None) => self.file_finding(&path, 0, Problem::BadSnapshot),
            Err(error) => self.file_finding(&path, 0, problem_of(&error)),
        }
    }

    /// A replica's directory by itself: which segments belong to the log follows from their names, for a segment
    /// with a higher number cuts off what those with lower numbers hold from its first index on.
    fn replica_directory(&mut self, dir: &Path) -> io::Result<()> {
        let files: Vec<_> =
            self.disk.list(dir)?.iter().filter_map(|entry| ReplicaFile::parse(&entry.name)).collect();
        let mut segments: Vec<_> = files
            .iter()
            .filter_map(|file| match file {
                ReplicaFile::Segment { first_index, number } => Some((*number, *first_index)),
                _ => None,
            })
            .collect();
        segments.sort_unstable();
        let mut chain: Vec<(SegmentNumber, Index)> = Vec::new();
        for segment in segments {
            chain.retain(|(_, first_index)| *first_index < segment.1);
            chain.push(segment);
        }
        let mut previous = None;
        for (at, (number, first_index)) in chain.iter().enumerate() {
            let next_first_index = chain.get(at + 1).map(|(_, first_index)| *first_index);
            let expected = Expected { previous, next_first_index, ..Expected::default() };
            let file = ReplicaFile::Segment { first_index: *first_index, number: *number };
            previous = SegmentCheck::new(self, &dir.join(file.name()), expected).run();
        }
        let ids = dir.file_name().and_then(|name| name.to_str()).and_then(paths::parse_replica_name);
        for file in files {
            if let (ReplicaFile::Snapshot { index }, Some((quorum, replica))) = (file, ids) {
                self.snapshot(dir, quorum, replica, index);
            }
        }
        Ok(())
    }
}

fn problem_of(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => Problem::Missing,
        kind => Problem::Unreadable(kind),
    }
}
