//! What a state that is partly unknown means for every replica.
//!
//! The rule: what is not certain is not trusted. A replica among others becomes lost, for the others can serve. One
//! without others goes on where its newest state can be proven: by a record behind the bad place, or by files that
//! are exactly those that its last known record names. A newer record would have named other files, or told of
//! another term or vote, which count between members only, or of deleted records inside a segment that is still
//! there: those are readable again.

use super::{Fate, Situation, StatePlan, is_sole_member};
use crate::Options;
use crate::disk::Disk;
use crate::paths::{self, ReplicaFile};
use crate::recovery::{OpenError, io_failed, make_directory, sync};
use crate::replica_recovery::{Examined, examine};
use crate::segment::Target;
use crate::state_record::ReplicaState;
use crate::state_recovery::{Purpose, Salvaged};
use crate::walk::Step;
use mq_types::persist::{LostReason, Standing, Vote};
use mq_types::{EntryKind, Index, QuorumId, ReplicaId, Term};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Decides for every replica that a damaged file tells of, and for every directory of which nothing tells.
pub(super) fn judge<D: Disk>(
    disk: &D,
    salvaged: Salvaged,
    present: &BTreeSet<(QuorumId, ReplicaId)>,
    purpose: Purpose,
) -> Result<Situation, OpenError> {
    let Salvaged { found: mut state, bad_files, uncertain, touched } = salvaged;
    let options = Options::new(state.shards, [0; 32]);
    // A record of a replica that left no directory is of one that was removed meanwhile, or never was.
    state.replicas.retain(|ids, _| present.contains(ids) || !uncertain.contains(ids));
    let mut fates = Vec::new();
    for ids in touched {
        let Some(record) = state.replicas.get(&ids) else { continue };
        if matches!(record.standing, Standing::Lost(_) | Standing::Gone) {
            continue; // it cannot get worse
        }
        let evidence = state.evidence_of(record);
        let fate = match (is_sole_member(record), uncertain.contains(&ids)) {
            (false, _) => Fate::Lost,
            (true, false) => Fate::Known,
            (true, true) => {
                let examined = examine(disk, record.clone(), evidence, &options, purpose)?;
                match confirmed(disk, record, &examined)? {
                    true => Fate::Confirmed { term: Term(examined.state.vote.term.0 + 1) },
                    false => Fate::Lost,
                }
            }
        };
        let record = state.replicas.get_mut(&ids).expect("it was found above");
        match fate {
            Fate::Confirmed { term } => record.vote = Vote { term, voted_for: None },
            Fate::Lost => record.standing = Standing::Lost(LostReason::UnknownState),
            Fate::Known | Fate::SetAside => {}
        }
        if fate != Fate::Known {
            record.version += 1;
        }
        fates.push((ids.0, ids.1, fate));
    }
    let set_aside: BTreeSet<_> =
        present.iter().filter(|ids| !state.replicas.contains_key(ids)).copied().collect();
    fates.extend(set_aside.iter().map(|ids| (ids.0, ids.1, Fate::SetAside)));
    Ok(Situation { state, plan: Some(StatePlan { files: bad_files, fates }), set_aside })
}

/// Whether the files are exactly what this record names, and no newer one can have said anything else.
fn confirmed<D: Disk>(
    disk: &D,
    record: &ReplicaState,
    examined: &Examined<D::File>,
) -> Result<bool, OpenError> {
    if record.standing != Standing::Sound || !record.opened || examined.state.standing != Standing::Sound {
        return Ok(false);
    }
    let dir = paths::replica_dir(record.quorum, record.replica);
    let entries = disk.list(&dir).map_err(io_failed("list", &dir))?;
    let there: BTreeSet<String> = entries
        .into_iter()
        .map(|entry| entry.name)
        .filter(|name| !matches!(ReplicaFile::parse(name), Some(ReplicaFile::Index { .. })))
        .collect();
    let segments = record
        .segments
        .iter()
        .map(|listed| ReplicaFile::Segment { first_index: listed.first_index, number: listed.number });
    let snapshot = record.snapshot_index.map(|index| ReplicaFile::Snapshot { index });
    let named: BTreeSet<String> = segments.chain(snapshot).map(ReplicaFile::name).collect();
    Ok(there == named && !changes_members(disk, &dir, examined, record.membership.conf_index)?)
}

/// Whether there may be a membership entry after this index.
fn changes_members<D: Disk>(
    disk: &D,
    dir: &Path,
    examined: &Examined<D::File>,
    after: Index,
) -> Result<bool, OpenError> {
    for segment in examined.segments.iter().filter(|segment| segment.end.last_index > after) {
        let path = segment.path(dir);
        let first = Target::Index(after.next().max(segment.first_index()));
        let mut walker = segment.walk_towards(disk, dir, first).map_err(io_failed("read", &path))?;
        loop {
            match walker.step().map_err(io_failed("read", &path))? {
                Step::Frame(frame) => {
                    let meta = frame.header.meta().expect("a walk gives entries");
                    if meta.kind == EntryKind::Membership && meta.index > after {
                        return Ok(true);
                    }
                }
                Step::End => break,
                Step::Bad => return Ok(true),
            }
        }
    }
    Ok(false)
}

/// Moves directories that no record tells of out of the way of the next start, which would take them for remains of
/// an interrupted one and delete them.
pub(super) fn set_aside<D: Disk>(
    disk: &D,
    directories: &BTreeSet<(QuorumId, ReplicaId)>,
) -> Result<(), OpenError> {
    if directories.is_empty() {
        return Ok(());
    }
    make_directory(disk, Path::new(paths::QUARANTINE))?;
    sync(disk, Path::new(""))?;
    let quarantine = Path::new(paths::QUARANTINE);
    let taken = disk.list(quarantine).map_err(io_failed("list", quarantine))?;
    for &(quorum, replica) in directories {
        let from = paths::replica_dir(quorum, replica);
        let to = free_name(&paths::replica_name(quorum, replica), |name| {
            taken.iter().any(|entry| entry.name == name)
        });
        disk.rename(&from, &to).map_err(io_failed("move to the quarantine", &from))?;
    }
    sync(disk, Path::new(paths::QUARANTINE))?;
    sync(disk, Path::new(paths::QUORUMS))
}

/// Where a directory goes in the quarantine, in which an earlier one of the same replica may lie already.
fn free_name(name: &str, is_taken: impl Fn(&str) -> bool) -> PathBuf {
    let mut free = name.to_owned();
    let mut number = 1;
    while is_taken(&free) {
        number += 1;
        free = format!("{name}.{number}");
    }
    Path::new(paths::QUARANTINE).join(free)
}
