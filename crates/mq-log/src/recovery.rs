//! Opening a data directory: the state, then every replica, then a new set of state files, and only then a store.
//!
//! A crash inside it changes nothing that counts: new segments are listed by no record until the new state files
//! are durable, and old state files go only after that.

use crate::cached_tail::CachedTail;
use crate::disk::Disk;
use crate::replica_recovery::{Recovery, recover};
use crate::salts::Salts;
use crate::shard_store::{Replica, ShardStore};
use crate::state_log::{StateIoError, StateLog};
use crate::state_record::{Opening, StateBatch};
use crate::state_recovery::{FoundState, Purpose};
use crate::{Options, paths, state_recovery, trash};
use mq_types::persist::{RecoveredReplica, Standing};
use mq_types::{Index, QuorumId, ReplicaId, SegmentNumber, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A shard as it was found.
#[derive(Debug)]
pub struct ShardOpen<D: Disk> {
    /// Its store.
    pub store: ShardStore<D>,
    /// Its replicas, by quorum; what was removed is not among them.
    pub recovered: Vec<RecoveredReplica>,
}

/// Why a data directory could not be opened. Nothing was served from it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Both copies of a state file are bad before a place that was known to be on the disk.
    #[error(
        "what this broker promised is not known any more: {} and {} are both bad at byte {position}. The broker must \
         not start from them. Replace the broker (an empty data directory, then move its replicas), or run `mqctl log \
         repair`",
        .files[0].display(), .files[1].display()
    )]
    StateUnknown {
        /// The two copies.
        files: [PathBuf; 2],
        /// Where both are bad.
        position: u64,
    },
    /// There are replicas and no complete set of state files.
    #[error(
        "{} holds {replicas} replicas but {} has no complete set of state files. The broker must not start without \
         them. Put the directory back, or replace the broker (an empty data directory, then move its replicas)",
        .quorums.display(), .state.display()
    )]
    StateMissing {
        /// Where the replicas are.
        quorums: PathBuf,
        /// Where the state files should be.
        state: PathBuf,
        /// How many replicas were found.
        replicas: usize,
    },
    /// The state files say what no broker ever writes.
    #[error(
        "the state files say that replicas {} and {} of quorum {quorum} both live here, and a broker never has two of \
         one quorum. The broker must not start from them. Replace the broker (an empty data directory, then move its \
         replicas)",
        .replicas[0], .replicas[1]
    )]
    TwoReplicas {
        /// The quorum.
        quorum: QuorumId,
        /// Its replicas.
        replicas: [ReplicaId; 2],
    },
    /// A newer version of mq wrote this.
    #[error("{} has format version {version}, and this mq reads up to {known}: start a newer mq", .file.display())]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its version.
        version: u16,
        /// The newest version that this code reads.
        known: u16,
    },
    /// The disk refused.
    #[error("could not {action} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

/// What makes an [`OpenError::Io`].
pub(crate) fn io_failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { action, path: path.to_owned(), source }
}

impl From<StateIoError> for OpenError {
    fn from(error: StateIoError) -> OpenError {
        OpenError::Io { action: error.action, path: error.path, source: error.source }
    }
}

/// Opens all shards of the data directory that is the disk's root, one store each, in order. What comes back is
/// durable.
pub fn open<D: Disk>(disk: D, options: Options) -> Result<Vec<ShardOpen<D>>, OpenError> {
    let present = prepare(&disk)?;
    let state = state_recovery::read(&disk, present.len(), Purpose::Recovery)?;
    open_state(disk, options, &present, state, &BTreeMap::new())
}

/// Makes the directories that must be there, and what is in them durable. Gives back the replicas' directories.
pub(crate) fn prepare<D: Disk>(disk: &D) -> Result<BTreeSet<(QuorumId, ReplicaId)>, OpenError> {
    for directory in [paths::STATE, paths::QUORUMS, paths::TRASH] {
        make_directory(disk, Path::new(directory))?;
    }
    sync(disk, Path::new(""))?;
    sync(disk, Path::new(paths::QUORUMS))?;
    replica_directories(disk)
}

/// Opens what these state files name. `consents`: which lost replicas are to be cut, and after which index.
pub(crate) fn open_state<D: Disk>(
    disk: D,
    options: Options,
    present: &BTreeSet<(QuorumId, ReplicaId)>,
    mut state: FoundState,
    consents: &BTreeMap<(QuorumId, ReplicaId), Index>,
) -> Result<Vec<ShardOpen<D>>, OpenError> {
    let options = Arc::new(options);
    // A removed replica is forgotten once its directory is gone from here.
    state.replicas.retain(|ids, record| record.standing != Standing::Gone || present.contains(ids));

    let mut salts: Vec<Salts> =
        (0..options.shards).map(|shard| Salts::new(options.salt_seed, u64::from(shard))).collect();
    let mut recoveries = BTreeMap::new();
    for (ids, record) in std::mem::take(&mut state.replicas) {
        let evidence = state.evidence_of(&record);
        let salts = &mut salts[usize::from(ids.0.shard(options.shards).0)];
        let recovery = match record.standing {
            Standing::Gone => Recovery::gone(record),
            _ => recover(&disk, record, evidence, salts, &options, consents.get(&ids).copied())?,
        };
        recoveries.insert(ids, recovery);
    }

    let set = state.newest_set + 1;
    let generation = state.newest_generation + 1;
    let state_logs = write_state(&disk, &recoveries, &options, set, generation)?;
    remove_old_state(&disk, &state)?;
    clean_up(&disk, present, &recoveries)?;
    Ok(assemble(disk, &options, salts, state_logs, recoveries, set))
}

pub(crate) fn make_directory<D: Disk>(disk: &D, path: &Path) -> Result<(), OpenError> {
    match disk.create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(io_failed("create", path)),
    }
}

pub(crate) fn sync<D: Disk>(disk: &D, directory: &Path) -> Result<(), OpenError> {
    disk.sync_dir(directory).map_err(io_failed("sync", directory))
}

pub(crate) fn replica_directories<D: Disk>(disk: &D) -> Result<BTreeSet<(QuorumId, ReplicaId)>, OpenError> {
    let path = Path::new(paths::QUORUMS);
    let entries = disk.list(path).map_err(io_failed("list", path))?;
    Ok(entries
        .iter()
        .filter(|entry| entry.is_dir)
        .filter_map(|entry| paths::parse_replica_name(&entry.name))
        .collect())
}

/// Writes every record into new files for the present number of shards, and makes them durable.
fn write_state<D: Disk>(
    disk: &D,
    recoveries: &BTreeMap<(QuorumId, ReplicaId), Recovery<D>>,
    options: &Options,
    set: u64,
    generation: u64,
) -> Result<Vec<StateLog<D::File>>, OpenError> {
    let opening = Some(Opening { shards: options.shards, set });
    let mut batches: Vec<StateBatch> =
        (0..options.shards).map(|_| StateBatch { opening, ..StateBatch::default() }).collect();
    for recovery in recoveries.values() {
        let batch = &mut batches[usize::from(recovery.state.quorum.shard(options.shards).0)];
        batch.records.push(recovery.state.clone());
        batch.evidence.extend(recovery.evidence());
    }
    let mut logs = Vec::new();
    for (shard, batch) in batches.iter().enumerate() {
        let shard = ShardId(shard as u16);
        let dir = paths::state_dir(shard);
        make_directory(disk, &dir)?;
        let mut log = StateLog::create(disk, shard, generation)?;
        log.begin(batch)?;
        logs.push(log);
        sync(disk, &dir)?;
    }
    sync(disk, Path::new(paths::STATE))?;
    Ok(logs)
}

fn remove_old_state<D: Disk>(disk: &D, state: &FoundState) -> Result<(), OpenError> {
    for path in &state.files {
        if state.bad_files.contains(path) {
            let kept = paths::quarantined_state_file(path);
            make_directory(disk, Path::new(paths::QUARANTINE))?;
            disk.rename(path, &kept).map_err(io_failed("move to the quarantine", path))?;
        } else {
            disk.unlink(path).map_err(io_failed("remove", path))?;
        }
    }
    if !state.bad_files.is_empty() {
        sync(disk, Path::new(""))?;
        sync(disk, Path::new(paths::QUARANTINE))?;
    }
    // An old set that came back after a crash could stand in for a newer one that has gone bad.
    for directory in &state.directories {
        sync(disk, directory)?;
    }
    Ok(())
}

/// Removes what no record names: files of an interrupted round, directories of replicas that never came to be or
/// have been removed.
fn clean_up<D: Disk>(
    disk: &D,
    present: &BTreeSet<(QuorumId, ReplicaId)>,
    recoveries: &BTreeMap<(QuorumId, ReplicaId), Recovery<D>>,
) -> Result<(), OpenError> {
    let mut any_gone = false;
    for &(quorum, replica) in present {
        let dir = paths::replica_dir(quorum, replica);
        match recoveries.get(&(quorum, replica)) {
            Some(recovery) if recovery.state.standing != Standing::Gone => {
                // A lost replica's files are left as they are, for a person to look at.
                if recovery.log.is_some() {
                    let quarantine = paths::quarantine_dir(quorum, replica);
                    remove_unlisted(disk, &dir, &recovery.listed_files(), &quarantine)?;
                }
            }
            Some(_) => {
                let trash = paths::trash_dir(quorum, replica);
                disk.rename(&dir, &trash).map_err(io_failed("move to the trash", &dir))?;
                any_gone = true;
            }
            // Not to the trash: what an earlier interruption left of the same replica may lie there already.
            None => {
                trash::delete_directory(disk, &dir).map_err(io_failed("remove", &dir))?;
                any_gone = true;
            }
        }
    }
    if any_gone {
        sync(disk, Path::new(paths::TRASH))?;
        sync(disk, Path::new(paths::QUORUMS))?;
    }
    Ok(())
}

/// Removes what no record names. If the replica was cut by hand and its quarantine is there, it goes there.
fn remove_unlisted<D: Disk>(
    disk: &D,
    dir: &Path,
    listed: &BTreeSet<String>,
    quarantine: &Path,
) -> Result<(), OpenError> {
    let is_kept = match disk.list(quarantine) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        other => other.map_err(io_failed("list", quarantine)).map(|_| true)?,
    };
    let mut any_kept = false;
    for entry in disk.list(dir).map_err(io_failed("list", dir))? {
        if entry.is_dir || listed.contains(&entry.name) {
            continue;
        }
        let path = dir.join(&entry.name);
        match is_kept {
            true => disk
                .rename(&path, &quarantine.join(&entry.name))
                .map_err(io_failed("move to the quarantine", &path))?,
            false => disk.unlink(&path).map_err(io_failed("remove", &path))?,
        }
        any_kept |= is_kept;
    }
    if any_kept {
        sync(disk, quarantine)?;
        sync(disk, dir)?;
    }
    Ok(())
}

fn assemble<D: Disk>(
    disk: D,
    options: &Arc<Options>,
    salts: Vec<Salts>,
    state_logs: Vec<StateLog<D::File>>,
    recoveries: BTreeMap<(QuorumId, ReplicaId), Recovery<D>>,
    set: u64,
) -> Vec<ShardOpen<D>> {
    let disks = std::iter::repeat_n(disk, state_logs.len()).map(|disk| disk.for_writer());
    let mut shards: Vec<ShardOpen<D>> = state_logs
        .into_iter()
        .zip(salts)
        .zip(disks)
        .map(|((state_log, salts), disk)| ShardOpen {
            store: ShardStore {
                disk,
                options: options.clone(),
                salts,
                state_log,
                state_set: set,
                replicas: BTreeMap::new(),
                dirty: BTreeSet::new(),
                cached_tail: CachedTail::new(options.cached_tail_bytes_max),
                untrashed: BTreeSet::new(),
                reserves_ahead: true,
                failed: false,
            },
            recovered: Vec::new(),
        })
        .collect();
    for recovery in recoveries.into_values() {
        let evidence = recovery.evidence();
        let noted =
            evidence.map_or((SegmentNumber(0), Index(0)), |evidence| (evidence.number, evidence.synced));
        let Some(recovered) = recovery.recovered else { continue };
        let shard = &mut shards[usize::from(recovery.state.quorum.shard(options.shards).0)];
        let replica = Replica { state: recovery.state, log: recovery.log, view: recovery.view, noted };
        let before = shard.store.replicas.insert(recovered.quorum, replica);
        assert!(before.is_none(), "quorum {} has two replicas on one broker", recovered.quorum);
        shard.recovered.push(recovered);
    }
    shards
}
