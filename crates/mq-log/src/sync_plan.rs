//! How a round's files become durable: few by a sync each, many by one sync of the file system. The one place to
//! change when another strategy pays, such as small rounds through a shared journal.
//!
//! It decides nothing about order between rounds and records.

use crate::{Disk, DiskFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

/// So many dirty files are made durable together, by one sync of the whole file system: each sync of a file waits for
/// the disk's journal by itself.
const SYNC_ALL_FILES_MIN_COUNT: usize = 16;

/// What a round has made dirty.
#[derive(Debug)]
pub(crate) struct SyncPlan<F> {
    files: BTreeMap<PathBuf, F>,
    /// A directory is synced once, after the files.
    directories: BTreeSet<PathBuf>,
}

/// A failed sync.
#[derive(Debug)]
pub(crate) struct SyncError {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

impl<F: DiskFile> SyncPlan<F> {
    pub(crate) fn new() -> SyncPlan<F> {
        SyncPlan { files: BTreeMap::new(), directories: BTreeSet::new() }
    }

    pub(crate) fn add_file(&mut self, path: PathBuf, file: F) {
        self.files.insert(path, file);
    }

    pub(crate) fn add_directory(&mut self, path: PathBuf) {
        self.directories.insert(path);
    }

    /// Syncs everything; gives back how many syncs it took. None is repeated after a failure.
    pub(crate) fn run<D: Disk<File = F>>(self, disk: &D) -> Result<u32, SyncError> {
        if self.files.len() >= SYNC_ALL_FILES_MIN_COUNT && disk.can_sync_all() {
            if !mq_types::planted!("no_sync") {
                disk.sync_all().map_err(|source| SyncError { path: PathBuf::from("."), source })?;
            }
            return Ok(1);
        }
        let count = self.files.len() + self.directories.len();
        for (path, file) in self.files {
            if mq_types::planted!("no_sync") {
                continue;
            }
            let mut synced = file.sync_data();
            if mq_types::planted!("sync_tried_again_after_an_error") {
                synced = synced.or_else(|_| file.sync_data());
            }
            synced.map_err(|source| SyncError { path, source })?;
        }
        for path in self.directories {
            if mq_types::planted!("no_directory_sync") {
                continue;
            }
            disk.sync_dir(&path).map_err(|source| SyncError { path, source })?;
        }
        Ok(count as u32)
    }
}
