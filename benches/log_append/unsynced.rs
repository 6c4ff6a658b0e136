//! The real disk without its syncs: what is left is what the log itself costs. Nothing written to it is ever durable.

use mq_log::disk::{DirEntry, OsFile, OsMap};
use mq_log::{Disk, DiskFile, OsDisk};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;

#[derive(Clone, Debug)]
pub(crate) struct UnsyncedDisk(pub(crate) OsDisk);

#[derive(Clone, Debug)]
pub(crate) struct UnsyncedFile(OsFile);

impl Disk for UnsyncedDisk {
    type File = UnsyncedFile;

    fn create(&self, path: &Path) -> io::Result<UnsyncedFile> {
        self.0.create(path).map(UnsyncedFile)
    }

    fn open(&self, path: &Path) -> io::Result<UnsyncedFile> {
        self.0.open(path).map(UnsyncedFile)
    }

    fn open_cold(&self, path: &Path) -> io::Result<UnsyncedFile> {
        self.0.open_cold(path).map(UnsyncedFile)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.0.unlink(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.list(directory)
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        self.0.create_dir(directory)
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        self.0.remove_dir(directory)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for UnsyncedFile {
    type Map = OsMap;

    fn read_at(&self, position: u64, len_max: usize) -> io::Result<Vec<u8>> {
        self.0.read_at(position, len_max)
    }

    fn write_at(&self, position: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.0.write_at(position, slices)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, end: u64) -> io::Result<()> {
        self.0.allocate(end)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.0.len_bytes()
    }

    fn drop_cached(&self, range: Range<u64>) -> io::Result<()> {
        self.0.drop_cached(range)
    }

    fn map(&self) -> io::Result<OsMap> {
        self.0.map()
    }
}
