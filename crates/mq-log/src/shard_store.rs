//! All replicas of one shard, as the shard's one writer holds them.
//!
//! What a round does, and in which order, is in `round`; how a store comes to be, in `recovery`.

use crate::cached_tail::CachedTail;
use crate::log::{Log, View};
use crate::reader::Reader;
use crate::reserve::{failed, is_full};
use crate::salts::Salts;
use crate::state_log::{StateIoError, StateLog};
use crate::state_record::{Evidence, Opening, ReplicaState, StateBatch};
use crate::{Disk, Options, merge, paths};
use mq_types::persist::ReplicaWrite;
use mq_types::persist::{LogStatus, Standing};
use mq_types::{Index, QuorumId, ReplicaId, SegmentNumber, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

/// All replicas of one shard: what the shard's one writer holds.
#[derive(Debug)]
pub struct ShardStore<D: Disk> {
    pub(crate) disk: D,
    pub(crate) options: Arc<Options>,
    pub(crate) salts: Salts,
    pub(crate) state_log: StateLog<D::File>,
    /// The set of state files that this open of the data directory has written.
    pub(crate) state_set: u64,
    pub(crate) replicas: BTreeMap<QuorumId, Replica<D>>,
    /// Replicas whose evidence is behind what is durable.
    pub(crate) dirty: BTreeSet<QuorumId>,
    /// Removed replicas whose directories are not in the trash yet.
    pub(crate) untrashed: BTreeSet<(QuorumId, ReplicaId)>,
    /// What of all its logs stays in the page cache.
    pub(crate) cached_tail: CachedTail<D::File>,
    /// Whether segments get more space than they need yet.
    pub(crate) reserves_ahead: bool,
    /// A write or a sync has failed: nothing is certain any more.
    pub(crate) failed: bool,
}

/// One replica.
#[derive(Debug)]
pub(crate) struct Replica<D: Disk> {
    /// Its newest durable record.
    pub(crate) state: ReplicaState,
    /// `None`: it is lost, and nothing is written to its log any more.
    pub(crate) log: Option<Log<D>>,
    /// What its readers see.
    pub(crate) view: Arc<RwLock<View<D::File>>>,
    /// The newest evidence that was written.
    pub(crate) noted: (SegmentNumber, Index),
}

impl<D: Disk> Replica<D> {
    /// What is known to be durable of its newest segment, if that is more than was noted; it is noted from now on.
    fn take_evidence(&mut self) -> Option<Evidence> {
        let evidence = self.evidence()?;
        let now = (evidence.number, evidence.synced);
        (std::mem::replace(&mut self.noted, now) != now).then_some(evidence)
    }

    /// What is known to be durable of its newest segment. That of a lost replica stays what it was.
    fn evidence(&self) -> Option<Evidence> {
        let (number, synced) = self.log.as_ref().map_or(self.noted, |log| (log.active.number, log.synced));
        let (quorum, replica) = (self.state.quorum, self.state.replica);
        (number > SegmentNumber(0)).then_some(Evidence { quorum, replica, number, synced })
    }

    /// How many members it has on record.
    pub(crate) fn members(&self) -> usize {
        let membership = &self.state.membership;
        membership.voters.len()
            + membership.learners.len()
            + membership.voters_outgoing.len()
            + membership.learners_next.len()
    }
}

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundReport {
    /// The replicas whose segments or start changed, with what they are now.
    pub changed: Vec<(QuorumId, LogStatus)>,
    /// Bytes written, in all files.
    pub written_bytes: u64,
    /// How many syncs it took.
    pub syncs: u32,
}

/// Why a round was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// No space could be reserved. Nothing of the round was done, and the store goes on working.
    #[error("the disk is full: could not reserve {bytes} bytes in {}; the round was not begun", .path.display())]
    DiskFull {
        /// What was to be reserved.
        bytes: u64,
        /// For which file.
        path: PathBuf,
    },
    /// A write, a sync or a change of a directory failed. What is on the disk is not known; the store refuses
    /// everything from now on, and the process should end.
    #[error("could not {action} {}: {source}; what the disk holds is uncertain, restart the broker", .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// An earlier round failed.
    #[error("an earlier write failed; what the disk holds is uncertain, restart the broker")]
    Failed,
}

impl From<StateIoError> for PersistError {
    fn from(error: StateIoError) -> PersistError {
        PersistError::Io { action: error.action, path: error.path, source: error.source }
    }
}

impl<D: Disk> ShardStore<D> {
    /// The shard.
    pub fn shard(&self) -> ShardId {
        self.state_log.shard()
    }

    /// Makes all of this durable, in the one safe order, and returns when it is. Several writes of one replica are
    /// carried out as one.
    ///
    /// # Panics
    /// If a write breaks what the engine promises: an unknown replica, one that is written to after its removal,
    /// entries that do not follow each other or cut off what is committed, a term that falls.
    pub fn persist_round(&mut self, writes: Vec<ReplicaWrite>) -> Result<RoundReport, PersistError> {
        let mut report = RoundReport::default();
        self.guarded(|store| {
            let reserved = store.reserve(merge::by_replica(writes))?;
            store.carry_out(reserved, &mut report)
        })?;
        Ok(report)
    }

    /// Reads a replica's log beside this writer. `None`: no replica of this quorum is here.
    pub fn reader(&self, quorum: QuorumId) -> Option<Reader<D>> {
        let replica = self.replicas.get(&quorum)?;
        Some(Reader::new(
            self.disk.clone(),
            replica.state.quorum,
            replica.state.replica,
            replica.view.clone(),
        ))
    }

    /// Bytes that can be appended to this quorum's log without asking the file system for space; 0 if there is no
    /// log to append to.
    pub fn room_bytes(&self, quorum: QuorumId) -> u64 {
        let log = self.replicas.get(&quorum).and_then(|replica| replica.log.as_ref());
        log.map_or(0, |log| log.active.allocated.saturating_sub(log.active.position))
    }

    /// Reserves space so that at least `bytes` can be appended (frame headers, 64 bytes an entry, included).
    /// `DiskFull` leaves everything as it was.
    pub fn ensure_room(&mut self, quorum: QuorumId, bytes: u64) -> Result<(), PersistError> {
        self.guarded(|store| store.reserve_active(quorum, bytes))
    }

    /// Whether segments reserve more space than they need yet, as they do at first. To be switched off while the disk is
    /// nearly full, so that one replica does not take ahead what others need.
    pub fn set_reserves_ahead(&mut self, reserves_ahead: bool) {
        self.reserves_ahead = reserves_ahead;
    }

    /// To be called after about a second without a round: notes, without a sync, what is known to be durable, and moves
    /// to the trash what found no room there before. False: the disk is still too full for some of it, and this is
    /// worth another call later.
    pub fn idle(&mut self) -> Result<bool, PersistError> {
        self.guarded(|store| {
            store.move_to_trash()?;
            if store.dirty.is_empty() {
                return Ok(store.untrashed.is_empty());
            }
            match store.reserve_state_bytes(64 * (1 + store.dirty.len() as u64)) {
                Err(PersistError::DiskFull { .. }) => return Ok(false),
                other => other?,
            }
            let evidence = store.take_evidence();
            if !evidence.is_empty() {
                let batch = StateBatch { opening: None, records: Vec::new(), evidence };
                store.state_log.append(&batch)?;
            }
            Ok(store.untrashed.is_empty())
        })
    }

    /// A clean stop: notes, with a sync, what is known to be durable.
    pub fn close(mut self) -> Result<(), PersistError> {
        self.idle()?;
        self.guarded(|store| Ok(store.state_log.sync()?))
    }

    /// Everything after a failure is refused; a full disk is no failure.
    fn guarded<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, PersistError>,
    ) -> Result<T, PersistError> {
        if self.failed {
            return Err(PersistError::Failed);
        }
        // Set before, so that a panic in between leaves it set.
        self.failed = true;
        let result = act(self);
        self.failed = matches!(result, Err(PersistError::Io { .. } | PersistError::Failed));
        result
    }

    /// The replica that a write is for; it must be here.
    pub(crate) fn replica(&self, write: &ReplicaWrite) -> &Replica<D> {
        let replica = self.replicas.get(&write.quorum);
        let found = replica.filter(|replica| replica.state.replica == write.replica);
        found.unwrap_or_else(|| panic!("replica {} of quorum {} is not here", write.replica, write.quorum))
    }

    /// The same, to change it.
    pub(crate) fn replica_mut(&mut self, write: &ReplicaWrite) -> &mut Replica<D> {
        let replica = self.replicas.get_mut(&write.quorum);
        let found = replica.filter(|replica| replica.state.replica == write.replica);
        found.unwrap_or_else(|| panic!("replica {} of quorum {} is not here", write.replica, write.quorum))
    }

    /// The evidence that is due; it counts as noted from now on.
    pub(crate) fn take_evidence(&mut self) -> Vec<Evidence> {
        let mut due = Vec::new();
        for quorum in std::mem::take(&mut self.dirty) {
            due.extend(self.replicas.get_mut(&quorum).and_then(Replica::take_evidence));
        }
        due
    }

    /// Writes the state file anew when it has grown too large: everything that counts into a new file, and the old
    /// one goes once that is durable. Without room for a new file, the old one goes on growing.
    pub(crate) fn shrink_state_log(&mut self) -> Result<(), PersistError> {
        if !self.state_log.is_overgrown(self.options.state_log_size_bytes_max) {
            return Ok(());
        }
        let opening = Opening { shards: self.options.shards, set: self.state_set };
        let mut batch = StateBatch { opening: Some(opening), ..StateBatch::default() };
        for replica in self.replicas.values() {
            batch.records.push(replica.state.clone());
            batch.evidence.extend(replica.evidence());
        }
        let dir = paths::state_dir(self.shard());
        let new = StateLog::create(&self.disk, self.shard(), self.state_log.generation() + 1);
        let mut new = match new {
            Err(error) if is_full(&error.source) => return Ok(()),
            other => other?,
        };
        match new.ensure_room(batch.encoded_bytes()) {
            Err(error) if is_full(&error.source) => {
                return self.remove_state_files(&new);
            }
            other => other?,
        }
        new.begin(&batch)?;
        self.disk.sync_dir(&dir).map_err(failed("sync", &dir))?;
        let old = std::mem::replace(&mut self.state_log, new);
        self.take_evidence(); // it is all in the new file
        self.remove_state_files(&old)?;
        self.disk.sync_dir(&dir).map_err(failed("sync", &dir))
    }

    fn remove_state_files(&self, log: &StateLog<D::File>) -> Result<(), PersistError> {
        log.paths().iter().try_for_each(|path| self.disk.unlink(path).map_err(failed("remove", path)))
    }
}

/// How bad a standing is: it only ever gets worse.
pub(crate) fn severity(standing: Standing) -> u8 {
    match standing {
        Standing::Sound => 0,
        Standing::Damaged => 1,
        Standing::Lost(_) => 2,
        Standing::Gone => 3,
    }
}
