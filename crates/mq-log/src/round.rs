//! The one order in which a round becomes durable.
//!
//! 1. Space is reserved for everything (`reserve`); a full disk ends the round here, with nothing done.
//! 2. The data of all replicas is written: frames, heads of new segments, snapshots.
//! 3. One sync round makes it durable. A round without a change of state ends here, at one sync a dirty segment.
//! 4. The records of what changed go to both copies of the state file, and are synced: **a record is written only
//!    after everything it names is durable.**
//! 5. Readers see the new state.
//! 6. What no record names any more is removed: **nothing goes before the record that no longer names it is
//!    durable.**
//!
//! An error anywhere after 1 is final: nobody knows what the disk holds.

use crate::cached_tail;
use crate::head::Head;
use crate::log::{Log, Opening};
use crate::paths::{self, ReplicaFile};
use crate::reserve::{NewFiles, Reserved, failed, is_full};
use crate::segment;
use crate::shard_store::{PersistError, Replica, RoundReport, ShardStore, severity};
use crate::state_record::{ReplicaState, StateBatch};
use crate::sync_plan::{SyncError, SyncPlan};
use crate::{Disk, snapshot};
use mq_types::persist::{Membership, ReplicaWrite, Snapshot, Standing, Start, Vote};
use mq_types::{Index, QuorumId};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is left to do once the data is written.
struct Pending<F> {
    dirty: SyncPlan<F>,
    /// Replicas whose segments or start changed.
    changed: BTreeSet<QuorumId>,
    /// Files that no record will name.
    unnamed: Vec<PathBuf>,
    /// Replicas to be moved to the trash.
    removed: Vec<QuorumId>,
    /// What was written to files that are sealed now.
    cached: Vec<(PathBuf, F, Range<u64>)>,
}

impl<D: Disk> ShardStore<D> {
    /// Carries out a round for which everything is reserved.
    pub(crate) fn carry_out(
        &mut self,
        round: Vec<Reserved<D::File>>,
        report: &mut RoundReport,
    ) -> Result<(), PersistError> {
        let mut pending = Pending {
            dirty: SyncPlan::new(),
            changed: BTreeSet::new(),
            unnamed: Vec::new(),
            removed: Vec::new(),
            cached: Vec::new(),
        };
        let mut writes = Vec::with_capacity(round.len());
        for reserved in round {
            writes.push(self.write_data(reserved, &mut pending, report)?);
        }
        let dirty = std::mem::replace(&mut pending.dirty, SyncPlan::new());
        let sync_failed =
            |error: SyncError| PersistError::Io { action: "sync", path: error.path, source: error.source };
        let mut late = None;
        if mq_types::planted!("record_before_what_it_names") {
            late = Some(dirty);
        } else {
            report.syncs += dirty.run(&self.disk).map_err(sync_failed)?;
        }

        let mut records = Vec::new();
        for write in &writes {
            records.extend(self.next_record(write, &mut pending));
        }
        if mq_types::planted!("files_go_before_their_record") {
            pending.unnamed.drain(..).for_each(|path| drop(self.disk.unlink(&path)));
        }
        if !records.is_empty() {
            let evidence = self.take_evidence();
            let batch = StateBatch { opening: None, records, evidence };
            report.written_bytes += self.state_log.append(&batch)?;
            self.state_log.sync()?;
            report.syncs += 2;
            for record in batch.records {
                let replica = self.replicas.get_mut(&record.quorum).expect("its record was just made");
                replica.state = record;
            }
        }
        if let Some(late) = late {
            late.run(&self.disk).map_err(sync_failed)?;
        }
        for write in &writes {
            self.publish(write.quorum, &pending, report);
        }
        for (path, file, range) in std::mem::take(&mut pending.cached) {
            self.cached_tail.push(path, file, range);
        }
        self.remove_unnamed(pending)?;
        self.shrink_state_log()
    }

    /// Step 2 for one replica. Gives back the write without what has been written.
    fn write_data(
        &mut self,
        reserved: Reserved<D::File>,
        pending: &mut Pending<D::File>,
        report: &mut RoundReport,
    ) -> Result<ReplicaWrite, PersistError> {
        let Reserved { mut write, created, pieces, snapshot: snapshot_file } = reserved;
        let dir = paths::replica_dir(write.quorum, write.replica);
        if let Some(files) = created {
            self.create_replica(&mut write, files, pending)?;
            report.written_bytes += crate::head::frame_bytes(1);
        }
        let is_reset = write.reset.is_some();
        if let Some(size) = write.segment_size_bytes_max
            && let Some(log) = &mut self.replica_mut(&write).log
        {
            log.segment_size_bytes_max = size;
        }
        if !is_reset {
            self.raise_commit(&write);
        }
        for (piece, files) in pieces {
            if let (Some(opening), Some(files)) = (&piece.opening, files) {
                report.written_bytes += self.open_segment(&write, opening, files, pending)?;
                self.raise_commit(&write);
            }
            let entries = &write.entries[piece.entries];
            if entries.is_empty() {
                continue;
            }
            self.dirty.insert(write.quorum);
            let log = log_of(&mut self.replicas, write.quorum);
            let path = segment::segment_path(&dir, log.active.first_index(), log.active.number);
            report.written_bytes += log.append(entries).map_err(failed("write to", &path))?;
            pending.dirty.add_file(path, log.active.file.clone());
        }
        if let (Some(file), Some(snapshot)) = (snapshot_file, &write.snapshot) {
            let path = dir.join(ReplicaFile::Snapshot { index: snapshot.index }.name());
            snapshot::write(&file, write.quorum, write.replica, snapshot)
                .map_err(failed("write to", &path))?;
            report.written_bytes += snapshot::file_bytes(snapshot);
            if !mq_types::planted!("snapshot_not_synced") {
                pending.dirty.add_file(path, file);
            }
            pending.dirty.add_directory(dir);
        }
        Ok(write)
    }

    /// Makes a replica, which no record names yet.
    fn create_replica(
        &mut self,
        write: &mut ReplicaWrite,
        files: NewFiles<D::File>,
        pending: &mut Pending<D::File>,
    ) -> Result<(), PersistError> {
        let create = write.create.take().expect("files were reserved for it");
        let dir = paths::replica_dir(write.quorum, write.replica);
        let head = Head::of_new_replica(write.quorum, write.replica, &create.start, self.salts.draw());
        let path = segment::segment_path(&dir, create.start.prev_index.next(), head.number);
        let file = files.file.clone();
        let mut log = Log::create(
            self.disk.clone(),
            &head,
            (files.file, files.index_file),
            files.allocated,
            &self.options,
        )
        .map_err(failed("write to", &path))?;
        log.start = create.start;
        pending.dirty.add_file(path, file);
        pending.dirty.add_directory(dir);
        pending.dirty.add_directory(PathBuf::from(paths::QUORUMS));
        pending.changed.insert(write.quorum);
        write.snapshot = write.snapshot.take().or(create.snapshot);
        let state = ReplicaState {
            quorum: write.quorum,
            replica: write.replica,
            version: 0,
            vote: Vote { term: create.start.prev_term, voted_for: None },
            opened: create.opened,
            standing: Standing::Sound,
            start: create.start,
            membership: create.membership,
            members_are_ahead: false,
            segments: Vec::new(),
            snapshot_index: None,
        };
        let view = log.view.clone();
        let noted = (log.active.number, log.synced);
        self.replicas.insert(write.quorum, Replica { state, log: Some(log), view, noted });
        Ok(())
    }

    fn raise_commit(&mut self, write: &ReplicaWrite) {
        if let Some(log) = &mut self.replica_mut(write).log {
            log.commit = log.commit.max(write.commit);
        }
    }

    fn open_segment(
        &mut self,
        write: &ReplicaWrite,
        opening: &Opening,
        files: NewFiles<D::File>,
        pending: &mut Pending<D::File>,
    ) -> Result<u64, PersistError> {
        let salt = self.salts.draw();
        let log = log_of(&mut self.replicas, write.quorum);
        let dir = log.dir.clone();
        let path = segment::segment_path(&dir, opening.previous.index.next(), opening.number);
        let new_file = files.file.clone();
        let sealed = log
            .open_segment(opening, (files.file, files.index_file), files.allocated, salt)
            .map_err(failed("write to", &path))?;
        pending.cached.extend(sealed.cached.map(|(file, range)| (sealed.path.clone(), file, range)));
        pending.dirty.add_file(sealed.path, sealed.file);
        pending.dirty.add_file(sealed.index_path, sealed.index_file);
        pending.dirty.add_file(path, new_file);
        pending.dirty.add_directory(dir.clone());
        pending.changed.insert(write.quorum);
        for segment in sealed.dropped {
            pending.unnamed.extend([segment.path(&dir), segment.index_path(&dir)]);
        }
        Ok(log.active.frames_at)
    }

    /// A replica's next record, if anything in it changed. Everything that it names is durable.
    fn next_record(&mut self, write: &ReplicaWrite, pending: &mut Pending<D::File>) -> Option<ReplicaState> {
        let replica = self.replica_mut(write);
        if let Some(log) = &mut replica.log {
            log.synced = log.last_index();
            assert!(log.commit <= log.synced, "commit {} beyond the last index {}", log.commit, log.synced);
        }
        if !pending.changed.contains(&write.quorum) && has_only_entries(write) {
            return None;
        }
        let dir = paths::replica_dir(write.quorum, write.replica);
        let mut next = replica.state.clone();
        if let Some(log) = &mut replica.log {
            if let Some(trim) = write.trim {
                for segment in log.trim(trim) {
                    pending.unnamed.extend([segment.path(&dir), segment.index_path(&dir)]);
                }
            }
            if log.start != next.start {
                pending.changed.insert(write.quorum);
            }
            next.start = log.start;
            if pending.changed.contains(&write.quorum) {
                next.segments = log.segment_states();
            }
        }
        if let Some(vote) = write.vote {
            check_vote(&next.vote, &vote);
            next.vote = vote;
        }
        change_membership(&mut next, write);
        change_snapshot(&mut next, write, &dir, pending);
        next.opened |= write.open;
        if write.remove {
            pending.removed.push(write.quorum);
        }
        let standing = if write.remove { Some(Standing::Gone) } else { write.standing };
        if let Some(standing) = standing {
            assert!(severity(standing) >= severity(next.standing), "{standing:?} after {:?}", next.standing);
            next.standing = standing;
        }
        if next == replica.state {
            return None;
        }
        next.version += u64::from(!mq_types::planted!("record_version_not_raised"));
        Some(next)
    }

    /// Step 5 for one replica.
    fn publish(&mut self, quorum: QuorumId, pending: &Pending<D::File>, report: &mut RoundReport) {
        let Some(replica) = self.replicas.get_mut(&quorum) else { return };
        let is_lost = matches!(replica.state.standing, Standing::Lost(_));
        if let Some(log) = &mut replica.log {
            let is_changed = pending.changed.contains(&quorum);
            log.publish(is_changed, replica.state.standing == Standing::Gone);
            if let Some((file, range)) = log.active.take_cached(cached_tail::PIECE_BYTES_MIN) {
                let path = segment::segment_path(&log.dir, log.active.first_index(), log.active.number);
                self.cached_tail.push(path, file, range);
            }
            if is_changed {
                report.changed.push((quorum, log.status()));
            }
        } else if replica.state.standing == Standing::Gone {
            let mut view = replica.view.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            view.gone = true;
        }
        if is_lost {
            // From now on nothing is written to it; readers go on.
            replica.log = None;
        }
    }

    /// Step 6.
    fn remove_unnamed(&mut self, pending: Pending<D::File>) -> Result<(), PersistError> {
        if !pending.unnamed.is_empty() {
            let unnamed: BTreeSet<&Path> = pending.unnamed.iter().map(PathBuf::as_path).collect();
            self.cached_tail.forget(|path| unnamed.contains(path));
        }
        for path in pending.unnamed {
            match self.disk.unlink(&path) {
                // An index is a cache and may be missing.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other.map_err(failed("remove", &path))?,
            }
        }
        for quorum in pending.removed {
            let replica = self.replicas.remove(&quorum).expect("its record was just written");
            self.dirty.remove(&quorum);
            let dir = paths::replica_dir(replica.state.quorum, replica.state.replica);
            self.cached_tail.forget(|path| path.starts_with(&dir));
            self.untrashed.insert((replica.state.quorum, replica.state.replica));
        }
        self.move_to_trash()
    }

    /// Moves the directories of removed replicas to the trash. Their records say that they are gone: where a full disk
    /// has no room for a name in there, the directory stays until `idle` or an open of the store tries again.
    pub(crate) fn move_to_trash(&mut self) -> Result<(), PersistError> {
        let waiting = std::mem::take(&mut self.untrashed);
        let count = waiting.len();
        for (quorum, replica) in waiting {
            let from = paths::replica_dir(quorum, replica);
            match self.disk.rename(&from, &paths::trash_dir(quorum, replica)) {
                Err(error) if is_full(&error) => {
                    self.untrashed.insert((quorum, replica));
                }
                // A replica may have been lost because its directory was.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other.map_err(failed("move to the trash", &from))?,
            }
        }
        if self.untrashed.len() == count {
            return Ok(());
        }
        for directory in [paths::TRASH, paths::QUORUMS] {
            let directory = Path::new(directory);
            self.disk.sync_dir(directory).map_err(failed("sync", directory))?;
        }
        Ok(())
    }
}

fn log_of<D: Disk>(
    replicas: &mut std::collections::BTreeMap<QuorumId, Replica<D>>,
    quorum: QuorumId,
) -> &mut Log<D> {
    replicas
        .get_mut(&quorum)
        .and_then(|replica| replica.log.as_mut())
        .expect("its part of the round was planned")
}

/// Whether a write says nothing that stands in a record, as nearly all do not.
fn has_only_entries(write: &ReplicaWrite) -> bool {
    // Named one by one, so that a new field is not forgotten here.
    let ReplicaWrite {
        quorum: _,
        replica: _,
        entries: _,
        commit: _,
        segment_size_bytes_max: _,
        create,
        vote,
        reset,
        membership,
        open,
        standing,
        snapshot,
        roll,
        trim,
        remove,
    } = write;
    let has_change = create.is_some() || vote.is_some() || reset.is_some() || membership.is_some();
    !(has_change || *open || standing.is_some() || snapshot.is_some() || *roll || trim.is_some() || *remove)
}

fn check_vote(before: &Vote, after: &Vote) {
    assert!(after.term >= before.term, "the term fell from {} to {}", before.term, after.term);
    let changed = before.voted_for.is_some() && after.voted_for != before.voted_for;
    assert!(after.term > before.term || !changed, "a second vote in term {}", after.term);
}

fn change_membership(next: &mut ReplicaState, write: &ReplicaWrite) {
    let reset = write.reset.as_ref().map(|(_, membership): &(Start, Membership)| membership);
    if let Some(membership) = write.membership.as_ref().or(reset) {
        assert!(
            reset.is_some() || membership.conf_index >= next.membership.conf_index,
            "the members of index {} after those of {}",
            membership.conf_index,
            next.membership.conf_index
        );
        next.membership = membership.clone();
        let reset_to = write.reset.as_ref().map(|(start, _)| start.prev_index);
        next.members_are_ahead = reset_to.is_some_and(|index| membership.conf_index > index);
    }
}

fn change_snapshot<F>(next: &mut ReplicaState, write: &ReplicaWrite, dir: &Path, pending: &mut Pending<F>) {
    let index = match (&write.snapshot, &write.reset) {
        (Some(Snapshot { index, .. }), _) => Some(*index),
        // It stands for a log that is no more.
        (None, Some(_)) => None,
        (None, None) => next.snapshot_index,
    };
    if index != next.snapshot_index {
        let old: Option<Index> = next.snapshot_index;
        pending.unnamed.extend(old.map(|index| dir.join(ReplicaFile::Snapshot { index }.name())));
        next.snapshot_index = index;
    }
}
