//! The first part of a round: planning, and reserving all the space that it needs before anything is promised.
//!
//! Nothing here is visible to a reader or to recovery; when the disk is full, everything is undone.

use crate::log::Piece;
use crate::paths::{self, ReplicaFile};
use crate::segment;
use crate::shard_store::{PersistError, ShardStore};
use crate::{Disk, DiskFile, Options, snapshot, sparse_index};
use mq_types::persist::{ReplicaWrite, Start};
use mq_types::{Index, QuorumId, SegmentNumber};
use std::io;
use std::path::{Path, PathBuf};

/// The least that is reserved ahead.
const STEP_BYTES_MIN: u64 = 64 << 10;

/// The empty files of a new segment, and how much space they have.
pub(crate) struct NewFiles<F> {
    pub(crate) file: F,
    pub(crate) index_file: F,
    pub(crate) allocated: u64,
}

/// A write with everything it needs.
pub(crate) struct Reserved<F> {
    pub(crate) write: ReplicaWrite,
    /// The first segment of a new replica.
    pub(crate) created: Option<NewFiles<F>>,
    pub(crate) pieces: Vec<(Piece, Option<NewFiles<F>>)>,
    pub(crate) snapshot: Option<F>,
}

/// What must be removed again when the round cannot be carried out.
#[derive(Default)]
struct Undo {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Undo {
    fn run<D: Disk>(self, disk: &D) -> Result<(), PersistError> {
        for path in self.files.iter().rev() {
            disk.unlink(path).map_err(failed("remove", path))?;
        }
        for path in self.directories.iter().rev() {
            disk.remove_dir(path).map_err(failed("remove", path))?;
        }
        Ok(())
    }
}

/// How much is reserved for a segment that will end at `needed`: at least that, and some more ahead unless what is left
/// has to do for everybody.
fn target(needed: u64, options: &Options, reserves_ahead: bool) -> u64 {
    let step_max = options.preallocate_step_bytes;
    if reserves_ahead { needed + needed.clamp(STEP_BYTES_MIN.min(step_max), step_max) } else { needed }
}

pub(crate) fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> PersistError + 'a {
    move |source| PersistError::Io { action, path: path.to_owned(), source }
}

/// The same for a reservation, whose failure for want of space is no harm.
fn full_or_failed(bytes: u64, path: &Path) -> impl FnOnce(io::Error) -> PersistError + '_ {
    move |source| match is_full(&source) {
        true => PersistError::DiskFull { bytes, path: path.to_owned() },
        false => PersistError::Io { action: "reserve space in", path: path.to_owned(), source },
    }
}

impl<D: Disk> ShardStore<D> {
    /// Plans a round and reserves what it needs. `DiskFull`: nothing has changed.
    pub(crate) fn reserve(
        &mut self,
        writes: Vec<ReplicaWrite>,
    ) -> Result<Vec<Reserved<D::File>>, PersistError> {
        self.reserve_state_log(&writes)?;
        let is_full = |result: &Result<_, _>| matches!(result, Err(PersistError::DiskFull { .. }));
        let reserves_ahead = self.reserves_ahead;
        let mut reserved = self.try_reserve(&writes, true);
        if is_full(&reserved) && reserves_ahead {
            // What was reserved ahead for one may be what another lacks.
            self.reserves_ahead = false;
            reserved = self.try_reserve(&writes, true);
        }
        if is_full(&reserved) {
            // There may still be room in the segments as they are.
            reserved = self.try_reserve(&writes, false);
        }
        self.reserves_ahead = reserves_ahead;
        let with_write = |(reserved, write)| Reserved { write, ..reserved };
        Ok(reserved?.into_iter().zip(writes).map(with_write).collect())
    }

    fn try_reserve(
        &mut self,
        writes: &[ReplicaWrite],
        size_rolls: bool,
    ) -> Result<Vec<Reserved<D::File>>, PersistError> {
        let mut undo = Undo::default();
        let mut reserved = Vec::with_capacity(writes.len());
        for write in writes {
            match self.reserve_write(write, size_rolls, &mut undo) {
                Ok(one) => reserved.push(one),
                Err(full @ PersistError::DiskFull { .. }) => {
                    undo.run(&self.disk)?;
                    return Err(full);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(reserved)
    }

    fn reserve_write(
        &mut self,
        write: &ReplicaWrite,
        size_rolls: bool,
        undo: &mut Undo,
    ) -> Result<Reserved<D::File>, PersistError> {
        let dir = paths::replica_dir(write.quorum, write.replica);
        let mut reserved = Reserved {
            write: ReplicaWrite::new(write.quorum, write.replica),
            created: None,
            pieces: Vec::new(),
            snapshot: None,
        };
        let snapshot;
        if let Some(create) = &write.create {
            assert!(!self.replicas.contains_key(&write.quorum), "quorum {} has a replica here", write.quorum);
            undo.directories.push(dir.clone());
            self.disk.create_dir(&dir).map_err(|error| {
                undo.directories.pop();
                full_or_failed(0, &dir)(error)
            })?;
            let bytes = create_bytes(&create.start, write);
            let first_index = create.start.prev_index.next();
            reserved.created = Some(self.new_files(&dir, first_index, SegmentNumber(1), bytes, undo)?);
            reserved.pieces.push((Piece { opening: None, entries: 0..write.entries.len(), bytes }, None));
            snapshot = write.snapshot.as_ref().or(create.snapshot.as_ref());
        } else {
            snapshot = write.snapshot.as_ref();
            self.reserve_pieces(write, size_rolls, &dir, undo, &mut reserved)?;
        }
        let stored = self.replicas.get(&write.quorum).and_then(|replica| replica.state.snapshot_index);
        if let Some(snapshot) = snapshot.filter(|snapshot| Some(snapshot.index) != stored) {
            let path = dir.join(ReplicaFile::Snapshot { index: snapshot.index }.name());
            let file = self.disk.create(&path).map_err(full_or_failed(0, &path))?;
            undo.files.push(path.clone());
            let bytes = snapshot::file_bytes(snapshot);
            file.allocate(bytes).map_err(full_or_failed(bytes, &path))?;
            reserved.snapshot = Some(file);
        }
        Ok(reserved)
    }

    fn reserve_pieces(
        &mut self,
        write: &ReplicaWrite,
        size_rolls: bool,
        dir: &Path,
        undo: &mut Undo,
        reserved: &mut Reserved<D::File>,
    ) -> Result<(), PersistError> {
        let Some(log) = &self.replica(write).log else {
            assert!(is_allowed_when_lost(write), "replica {} is lost and writes no log", write.replica);
            return Ok(());
        };
        for piece in log.plan(write, size_rolls).map_err(failed("read", dir))? {
            let files = match &piece.opening {
                None => {
                    self.reserve_active(write.quorum, piece.bytes)?;
                    None
                }
                Some(opening) => {
                    let first_index = opening.previous.index.next();
                    Some(self.new_files(dir, first_index, opening.number, piece.bytes, undo)?)
                }
            };
            reserved.pieces.push((piece, files));
        }
        Ok(())
    }

    /// Reserves room for this many more bytes in a quorum's active segment.
    pub(crate) fn reserve_active(&mut self, quorum: QuorumId, bytes: u64) -> Result<(), PersistError> {
        let log = self.replicas.get_mut(&quorum).and_then(|replica| replica.log.as_mut());
        let Some(log) = log else { return Ok(()) };
        let needed = log.active.position + bytes;
        if bytes > 0 && needed > log.active.allocated {
            let path = segment::segment_path(&log.dir, log.active.first_index(), log.active.number);
            let active = &mut log.active;
            active.allocated =
                allocate(&active.file, &active.index_file, needed, &self.options, self.reserves_ahead)
                    .map_err(full_or_failed(bytes, &path))?;
        }
        Ok(())
    }

    fn new_files(
        &self,
        dir: &Path,
        first_index: Index,
        number: SegmentNumber,
        bytes: u64,
        undo: &mut Undo,
    ) -> Result<NewFiles<D::File>, PersistError> {
        let path = segment::segment_path(dir, first_index, number);
        let file = self.disk.create(&path).map_err(full_or_failed(bytes, &path))?;
        undo.files.push(path.clone());
        let index_path = segment::index_path(dir, first_index, number);
        let index_file = self.disk.create(&index_path).map_err(full_or_failed(bytes, &index_path))?;
        undo.files.push(index_path);
        let allocated = allocate(&file, &index_file, bytes, &self.options, self.reserves_ahead)
            .map_err(full_or_failed(bytes, &path))?;
        Ok(NewFiles { file, index_file, allocated })
    }

    /// Room for this many bytes in the state file.
    pub(crate) fn reserve_state_bytes(&mut self, bytes: u64) -> Result<(), PersistError> {
        self.state_log.ensure_room(bytes).map_err(|error| full_or_failed(bytes, &error.path)(error.source))
    }

    /// Room for the round's records, so that a full disk is noticed before anything is written.
    fn reserve_state_log(&mut self, writes: &[ReplicaWrite]) -> Result<(), PersistError> {
        let members = |write: &ReplicaWrite| {
            let membership =
                write.membership.as_ref().or(write.reset.as_ref().map(|(_, membership)| membership));
            let created = write.create.as_ref().map(|create| &create.membership);
            membership.or(created).map_or(0, |m| {
                m.voters.len() + m.learners.len() + m.voters_outgoing.len() + m.learners_next.len()
            })
        };
        let bytes: usize = writes
            .iter()
            .map(|write| {
                let replica = self.replicas.get(&write.quorum);
                let known =
                    replica.map_or(0, |replica| 128 * replica.state.segments.len() + 16 * replica.members());
                1024 + known + 16 * members(write) + 128 * write.entries.len().min(64)
            })
            .sum();
        let evidence = 64 * self.dirty.len();
        self.reserve_state_bytes((bytes + evidence) as u64)
    }
}

fn create_bytes(start: &Start, write: &ReplicaWrite) -> u64 {
    let first = write.entries.first().map(|entry| entry.index);
    assert!(write.reset.is_none() && write.trim.is_none(), "a new replica has nothing to reset or to trim");
    assert!(first.is_none_or(|index| index == start.prev_index.next()), "entries go on from the start");
    crate::head::frame_bytes(1) + write.entries.iter().map(crate::log::frame_bytes).sum::<u64>()
}

fn is_allowed_when_lost(write: &ReplicaWrite) -> bool {
    write.entries.is_empty() && write.vote.is_none() && write.reset.is_none() && write.snapshot.is_none()
}

/// Reserves at least `needed` bytes of a segment, and more ahead if there is room for it, with what its index will
/// take. Gives back how much of the segment is reserved.
fn allocate<F: DiskFile>(
    file: &F,
    index_file: &F,
    needed: u64,
    options: &Options,
    reserves_ahead: bool,
) -> io::Result<u64> {
    let both = |end: u64| {
        file.allocate(end)?;
        // One point an interval at most, and one for the frame that crosses the last border.
        index_file.allocate(sparse_index::point_position(end / options.index_interval_bytes + 2))?;
        Ok(end)
    };
    match both(target(needed, options, reserves_ahead)) {
        Err(error) if is_full(&error) => both(needed),
        other => other,
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
