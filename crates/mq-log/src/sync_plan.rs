//! How a round's files become durable. The one place to change when another strategy pays: many dirty files by one
//! `syncfs`, or small rounds through a shared journal.
//!
//! It decides nothing about order between rounds and records.

use crate::{Disk, DiskFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

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

    /// Syncs everything, one after the other; gives back how many syncs it took. None is repeated after a failure.
    pub(crate) fn run<D: Disk<File = F>>(self, disk: &D) -> Result<u32, SyncError> {
        let count = self.files.len() + self.directories.len();
        for (path, file) in self.files {
            file.sync_data().map_err(|source| SyncError { path, source })?;
        }
        for path in self.directories {
            disk.sync_dir(&path).map_err(|source| SyncError { path, source })?;
        }
        Ok(count as u32)
    }
}
