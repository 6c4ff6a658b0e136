//! The seam between the log and a disk: a handful of positional operations, and what each promises.
//!
//! Two disks exist: [`OsDisk`] is the real one, [`MemDisk`] keeps everything in memory, knows what is durable, and
//! fails on demand. One conformance suite runs against both.
//!
//! # What is durable when
//!
//! * A file's bytes and its length are durable when [`DiskFile::sync_data`] has returned. Before that, a crash of
//!   the machine may keep any part of them, in any order, torn at block boundaries; what was never written reads as
//!   zeros. A crash of the process alone loses nothing that was written, and makes nothing durable either.
//! * A directory's entries (files made, renamed, removed; directories made) are durable when [`Disk::sync_dir`] of
//!   that directory has returned; before that, any of them may be lost, each by itself.
//! * After a failed sync nothing is known, and a later sync that succeeds proves nothing. The caller gives up.
//! * What is read may come from memory. After `sync_data` and [`DiskFile::drop_cached`] it comes from the disk.
//!
//! Paths are relative to the disk's root.

mod mem;
mod mem_bytes;
mod mem_crash;
mod mem_dir;
mod mem_file;
mod os;

pub use mem::{Fault, MemDisk, MemFile, MemMap};
pub use mem_crash::{Crash, Part, Unsynced};
pub use os::{OsDisk, OsFile, OsMap};

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::ops::{Deref, Range};
use std::path::Path;

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Its name, without the directory.
    pub name: String,
    /// Whether it is a directory itself.
    pub is_dir: bool,
}

/// A place for files and directories. See the module's documentation for what is durable when.
pub trait Disk: Clone + Debug + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Makes an empty file, open for reading and writing. There must be none of that name (`AlreadyExists`).
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Opens a file for reading and writing (`NotFound` if there is none).
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// As [`Disk::open`], for reading through once: what memory did not hold before is not kept there.
    fn open_cold(&self, path: &Path) -> io::Result<Self::File> {
        self.open(path)
    }

    /// Gives a file or directory another name, in one step. Replaces a file of that name, or an empty directory;
    /// `DirectoryNotEmpty` if there is one that holds something.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Whoever has it open can go on reading it; its space is free after the last of them.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// The entries of a directory, by name (`NotFound` if there is no such directory).
    fn list(&self, directory: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes a directory whose parent exists (`AlreadyExists` if it is there).
    fn create_dir(&self, directory: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, directory: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable (not those of directories in it, nor the contents of files).
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;

    /// Makes everything durable: the contents of all files and the entries of all directories. On a real disk that is
    /// all of the file system, other programs' files included, which pays when many files are to be synced. Only where
    /// [`Disk::can_sync_all`].
    fn sync_all(&self) -> io::Result<()>;

    /// Whether [`Disk::sync_all`] is worth as much as a sync of every file: that everything is beyond the disk's own
    /// cache afterwards, and that a failed write is told.
    fn can_sync_all(&self) -> bool {
        true
    }

    /// The same disk for one more writer. Whoever calls [`Disk::sync_all`] has one of its own: a failed write is told
    /// once, and with a shared one another writer might be told of it.
    fn for_writer(&self) -> Self {
        self.clone()
    }
}

/// An open file of a [`Disk`]; clones are the same open file.
pub trait DiskFile: Clone + Debug + Send + Sync + 'static {
    /// The bytes of a file mapped into memory.
    type Map: Deref<Target = [u8]> + Debug + Send + Sync + 'static;

    /// Reads up to `len_max` bytes from `position`: fewer only at the end of the file.
    fn read_at(&self, position: u64, len_max: usize) -> io::Result<Vec<u8>>;

    /// Writes all slices one after the other from `position` on, extending the file where needed.
    fn write_at(&self, position: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Makes bytes and length durable. Never repeated after it failed.
    fn sync_data(&self) -> io::Result<()>;

    /// Reserves space for the bytes below `end`, so that writing them cannot fail for want of space. The length
    /// stays as it is. `StorageFull` if there is no room; then nothing has changed.
    fn allocate(&self, end: u64) -> io::Result<()>;

    /// Sets the length and gives back what was reserved beyond it.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The length in bytes; what is merely reserved does not count.
    fn len_bytes(&self) -> io::Result<u64>;

    /// Drops what memory holds of this range of the file and the disk holds too: the next read comes from the disk.
    /// More of the file may be dropped with it.
    fn drop_cached(&self, range: Range<u64>) -> io::Result<()>;

    /// Maps the whole file. Only for files that nobody changes any more: the index of a sealed segment.
    fn map(&self) -> io::Result<Self::Map>;
}
