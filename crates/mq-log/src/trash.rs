//! Removed replicas, kept in `trash/` until somebody deletes them. Needs no store: it can run on another thread.

use crate::{Disk, DiskFile, paths};
use mq_types::{QuorumId, ReplicaId};
use std::io;
use std::path::Path;

/// A removed replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trashed {
    /// Its quorum.
    pub quorum: QuorumId,
    /// The replica.
    pub replica: ReplicaId,
}

/// Everything in the trash.
pub fn list<D: Disk>(disk: &D) -> io::Result<Vec<Trashed>> {
    let entries = match disk.list(Path::new(paths::TRASH)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let parse =
        |name: &str| paths::parse_replica_name(name).map(|(quorum, replica)| Trashed { quorum, replica });
    Ok(entries.iter().filter(|entry| entry.is_dir).filter_map(|entry| parse(&entry.name)).collect())
}

/// Deletes one removed replica's files for good and gives back how many bytes they held. A crash inside it leaves
/// a part, which can be deleted again.
pub fn delete<D: Disk>(disk: &D, trashed: Trashed) -> io::Result<u64> {
    let bytes = delete_directory(disk, &paths::trash_dir(trashed.quorum, trashed.replica))?;
    disk.sync_dir(Path::new(paths::TRASH))?;
    Ok(bytes)
}

/// Deletes a directory of files, without a sync. Gives back how many bytes they held.
pub(crate) fn delete_directory<D: Disk>(disk: &D, dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in disk.list(dir)? {
        let path = dir.join(&entry.name);
        bytes += disk.open(&path)?.len_bytes()?;
        disk.unlink(&path)?;
    }
    disk.remove_dir(dir)?;
    Ok(bytes)
}
