//! Reading the state files of all shards on open.
//!
//! It knows nothing of logs.

use crate::disk::{Disk, DiskFile};
use crate::paths;
use crate::recovery::{OpenError, io_failed};
use crate::state_log::{self, StateContent, StateReadError};
use crate::state_record::{Opening, ReplicaState, StateBatch};
use mq_types::persist::Standing;
use mq_types::{Index, QuorumId, ReplicaId, SegmentNumber, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// Everything the state files say.
#[derive(Debug, Default)]
pub(crate) struct FoundState {
    /// The winning record of every replica.
    pub(crate) replicas: BTreeMap<(QuorumId, ReplicaId), ReplicaState>,
    /// The highest synced index known of a segment.
    pub(crate) evidence: BTreeMap<(QuorumId, ReplicaId, SegmentNumber), Index>,
    /// Every state file there is.
    pub(crate) files: Vec<PathBuf>,
    /// Those of them that are bad in both copies, and were read past.
    pub(crate) bad_files: Vec<PathBuf>,
    /// The directories that they are in.
    pub(crate) directories: Vec<PathBuf>,
    /// Where one copy is bad and the other one good.
    pub(crate) bad_copies: Vec<(PathBuf, u64)>,
    /// What lies behind the last good batch: file, position, bytes.
    pub(crate) torn: Vec<(PathBuf, u64, u64)>,
    /// The highest generation in use.
    pub(crate) newest_generation: u64,
    /// The highest set in use.
    pub(crate) newest_set: u64,
    /// The number of shards of the set that was taken; 0 if there was none.
    pub(crate) shards: u16,
}

impl FoundState {
    /// Up to where the newest segment of a replica is known to be durable.
    pub(crate) fn evidence_of(&self, record: &ReplicaState) -> Option<Index> {
        let newest = record.segments.last().expect("a record lists at least one segment").number;
        if mq_types::planted!("evidence_of_an_older_segment_believed") {
            let ids = (record.quorum, record.replica);
            let of_any = self.evidence.iter().filter(|((quorum, replica, _), _)| (*quorum, *replica) == ids);
            return of_any.map(|(_, synced)| *synced).max();
        }
        self.evidence.get(&(record.quorum, record.replica, newest)).copied()
    }
}

/// What the files are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To go on from them: they are made durable first.
    Recovery,
    /// To look at them: nothing is touched.
    Inspection,
}

/// One file of a shard, in two copies.
struct Candidate {
    shard: ShardId,
    generation: u64,
    content: Result<StateContent, StateReadError>,
}

impl Candidate {
    /// The error, if it cannot be known what the file held.
    fn unknown(&self) -> Option<OpenError> {
        match self.content {
            Err(StateReadError::Unknown { position, .. }) => {
                let files = paths::state_files(self.shard, self.generation);
                Some(OpenError::StateUnknown { files, position })
            }
            _ => None,
        }
    }

    /// The set that the first batch names, even if what follows it cannot be read.
    fn opening(&self) -> Option<Opening> {
        match &self.content {
            Ok(content) => content.batches.first().and_then(|batch| batch.opening),
            Err(StateReadError::Unknown { opening, .. }) => *opening,
            Err(StateReadError::Newer { .. }) => None,
        }
    }
}

/// Reads all state files. `replicas_present`: how many replicas' directories there are.
pub(crate) fn read<D: Disk>(
    disk: &D,
    replicas_present: usize,
    purpose: Purpose,
) -> Result<FoundState, OpenError> {
    let mut found = FoundState::default();
    let mut candidates = Vec::new();
    for (shard, generation) in list(disk, &mut found, purpose)? {
        let [a, b] = read_copies(disk, shard, generation, purpose)?;
        let content = state_log::read(shard, generation, [&a, &b]);
        if let Err(StateReadError::Newer { version }) = content {
            let file = paths::state_files(shard, generation)[0].clone();
            return Err(OpenError::NewerFormat { file, version, known: state_log::VERSION });
        }
        found.newest_generation = found.newest_generation.max(generation);
        candidates.push(Candidate { shard, generation, content });
    }
    match newest_set(&candidates, &mut found) {
        Some(set) => collect(&candidates, &set, &mut found)?,
        // Without a replica there is nothing that could have been promised: the first open was interrupted.
        None if replicas_present == 0 => {}
        None => {
            let unknown = candidates.iter().rev().find_map(Candidate::unknown);
            return Err(unknown.unwrap_or_else(|| OpenError::StateMissing {
                quorums: PathBuf::from(paths::QUORUMS),
                state: PathBuf::from(paths::STATE),
                replicas: replicas_present,
            }));
        }
    }
    Ok(found)
}

/// What can be known of a state that [`read`] calls unknown.
#[derive(Debug)]
pub(crate) struct Salvaged {
    /// Everything that good batches say; one replica a quorum, the one that was written of last.
    pub(crate) found: FoundState,
    /// The files with a place that is bad in both copies.
    pub(crate) bad_files: Vec<[PathBuf; 2]>,
    /// Replicas whose newest known record may have been overtaken by one in a bad place.
    pub(crate) uncertain: BTreeSet<(QuorumId, ReplicaId)>,
    /// Replicas of which the files with bad places tell: what is known durable of them may be more than is known.
    pub(crate) touched: BTreeSet<(QuorumId, ReplicaId)>,
}

/// Reads past what is bad in both copies. `None`: not even the first batch of a file, which names the set and lists
/// every replica, can be read.
pub(crate) fn salvage<D: Disk>(disk: &D, purpose: Purpose) -> Result<Option<Salvaged>, OpenError> {
    let mut found = FoundState::default();
    let mut candidates = Vec::new();
    for (shard, generation) in list(disk, &mut found, purpose)? {
        let [a, b] = read_copies(disk, shard, generation, purpose)?;
        found.newest_generation = found.newest_generation.max(generation);
        let content = state_log::read(shard, generation, [&a, &b]);
        candidates.push(Candidate { shard, generation, content });
    }
    let Some(set) = newest_set(&candidates, &mut found) else { return Ok(None) };
    let mut salvaged =
        Salvaged { found, bad_files: Vec::new(), uncertain: BTreeSet::new(), touched: BTreeSet::new() };
    let mut latest = BTreeMap::new();
    for at in set {
        let Candidate { shard, generation, content } = &candidates[at];
        let [a, b] = read_copies(disk, *shard, *generation, purpose)?;
        let salvage = state_log::salvage(*shard, *generation, [&a, &b]);
        let is_bad = content.is_err();
        if is_bad {
            let files = paths::state_files(*shard, *generation);
            let there = files.iter().filter(|file| salvaged.found.files.contains(file)).cloned();
            salvaged.found.bad_files.extend(there);
            salvaged.bad_files.push(files);
        }
        for (number, batch) in salvage.batches.iter().enumerate() {
            take_batch(batch, &mut salvaged.found);
            for record in &batch.records {
                let ids = (record.quorum, record.replica);
                latest.insert(record.quorum, record.replica);
                if is_bad {
                    salvaged.touched.insert(ids);
                }
                match is_bad && number < salvage.before_last_hole {
                    true => salvaged.uncertain.insert(ids),
                    false => salvaged.uncertain.remove(&ids),
                };
            }
        }
    }
    salvaged.found.replicas.retain(|ids, _| latest.get(&ids.0) == Some(&ids.1));
    Ok(Some(salvaged))
}

fn read_copies<D: Disk>(
    disk: &D,
    shard: ShardId,
    generation: u64,
    purpose: Purpose,
) -> Result<[Vec<u8>; 2], OpenError> {
    let [a, b] = paths::state_files(shard, generation);
    Ok([read_file(disk, &a, purpose)?, read_file(disk, &b, purpose)?])
}

/// All state files by shard and generation.
fn list<D: Disk>(
    disk: &D,
    found: &mut FoundState,
    purpose: Purpose,
) -> Result<Vec<(ShardId, u64)>, OpenError> {
    let sync = |directory: &Path| match purpose {
        Purpose::Recovery => disk.sync_dir(directory).map_err(io_failed("sync", directory)),
        Purpose::Inspection => Ok(()),
    };
    let state = Path::new(paths::STATE);
    sync(state)?;
    let mut files = Vec::new();
    let shards = match disk.list(state) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io_failed("list", state))?,
    };
    for entry in shards {
        let Some(shard) = entry.name.parse().ok().map(ShardId).filter(|_| entry.is_dir) else { continue };
        let dir = paths::state_dir(shard);
        sync(&dir)?;
        for entry in disk.list(&dir).map_err(io_failed("list", &dir))? {
            if let Some(generation) = paths::parse_state_name(&entry.name) {
                found.files.push(dir.join(&entry.name));
                files.push((shard, generation));
            }
        }
        found.directories.push(dir);
    }
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

/// What a file holds (for recovery: on the disk itself); nothing if there is none.
fn read_file<D: Disk>(disk: &D, path: &Path, purpose: Purpose) -> Result<Vec<u8>, OpenError> {
    let file = match disk.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io_failed("open", path))?,
    };
    if purpose == Purpose::Recovery {
        file.sync_data().map_err(io_failed("sync", path))?;
        file.drop_cached(0..u64::MAX).map_err(io_failed("drop the cache of", path))?;
    }
    file.read_at(0, usize::MAX).map_err(io_failed("read", path))
}

/// The files of the newest set that is complete.
fn newest_set(candidates: &[Candidate], found: &mut FoundState) -> Option<Vec<usize>> {
    let mut sets: Vec<Opening> = candidates.iter().filter_map(Candidate::opening).collect();
    sets.sort_by_key(|opening| std::cmp::Reverse(opening.set));
    found.newest_set = sets.first().map_or(0, |opening| opening.set);
    let (opening, set) =
        sets.iter().find_map(|opening| Some((opening, complete_set(candidates, opening)?)))?;
    found.shards = opening.shards;
    Some(set)
}

/// The newest file of every shard of this set; `None` if one is missing.
fn complete_set(candidates: &[Candidate], opening: &Opening) -> Option<Vec<usize>> {
    let newest = |shard: u16| {
        let of_shard = candidates.iter().enumerate().filter(|(_, candidate)| {
            candidate.shard == ShardId(shard) && candidate.opening().is_some_and(|other| other == *opening)
        });
        of_shard.max_by_key(|(_, candidate)| candidate.generation).map(|(at, _)| at)
    };
    (0..opening.shards).map(newest).collect()
}

/// Takes the winning records and the evidence of a set.
fn collect(candidates: &[Candidate], set: &[usize], found: &mut FoundState) -> Result<(), OpenError> {
    for &at in set {
        let candidate = &candidates[at];
        let content = match &candidate.content {
            Ok(content) => content,
            Err(_) => match candidate.unknown() {
                Some(error) => return Err(error),
                None => continue,
            },
        };
        let files = paths::state_files(candidate.shard, candidate.generation);
        found.bad_copies.extend(content.healed.iter().map(|(copy, at)| (files[*copy].clone(), *at)));
        if content.torn_bytes > 0 {
            found.torn.push((files[0].clone(), content.end, content.torn_bytes));
        }
        for batch in &content.batches {
            take_batch(batch, found);
        }
    }
    check_one_each(found)
}

/// A quorum has one replica on a broker; those that have been removed do not count.
fn check_one_each(state: &FoundState) -> Result<(), OpenError> {
    let mut living = BTreeMap::new();
    for record in state.replicas.values().filter(|record| record.standing != Standing::Gone) {
        if let Some(other) = living.insert(record.quorum, record.replica) {
            return Err(OpenError::TwoReplicas { quorum: record.quorum, replicas: [other, record.replica] });
        }
    }
    Ok(())
}

fn take_batch(batch: &StateBatch, found: &mut FoundState) {
    for record in &batch.records {
        let key = (record.quorum, record.replica);
        if found.replicas.get(&key).is_none_or(|known| known.version < record.version) {
            found.replicas.insert(key, record.clone());
        }
    }
    for evidence in &batch.evidence {
        let key = (evidence.quorum, evidence.replica, evidence.number);
        let known = found.evidence.entry(key).or_default();
        *known = evidence.synced.max(*known);
    }
}
