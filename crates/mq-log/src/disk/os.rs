//! The real disk: files under one directory, by plain system calls. The only file of the project with `unsafe` in
//! it (one memory map), and the only one of this crate that names `std::fs`.

use super::{DirEntry, Disk, DiskFile};
use rustix::fs::{Advice, FallocateFlags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::ops::{Deref, Range};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most slices one call may carry (Linux's IOV_MAX).
const SLICES_MAX: usize = 1024;
/// The unit in which `stat` counts blocks, whatever the file system's own is.
const STAT_BLOCK_BYTES: u64 = 512;

/// What ext4 (and those before it) calls itself in `statfs`.
const EXT4_MAGIC: rustix::fs::FsWord = 0xEF53;
/// The first Linux whose `syncfs` tells of failed writes.
const SYNCFS_TELLS_SINCE: (u32, u32) = (5, 8);

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct OsDisk {
    root: Arc<PathBuf>,
    writable: bool,
    /// The root, open since before its writer wrote anything: a failed write is told through it, once.
    opened: Arc<io::Result<File>>,
    /// Whether a sync of the whole file system does what one of each file does.
    can_sync_all: bool,
}

impl OsDisk {
    /// The disk whose root is this directory, which must exist.
    pub fn new(root: impl Into<PathBuf>) -> OsDisk {
        OsDisk::opened(root.into(), true)
    }

    /// The same, opening files for reading alone and refusing whatever would change something
    /// (`PermissionDenied`).
    pub fn read_only(root: impl Into<PathBuf>) -> OsDisk {
        OsDisk::opened(root.into(), false)
    }

    fn opened(root: PathBuf, writable: bool) -> OsDisk {
        let opened = File::open(&root);
        let can_sync_all = opened.as_ref().is_ok_and(syncs_as_files_do) && is_failed_write_told();
        OsDisk { root: Arc::new(root), writable, opened: Arc::new(opened), can_sync_all }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn to_change(&self, path: &Path) -> io::Result<PathBuf> {
        if !self.writable {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "this disk was opened for reading only",
            ));
        }
        Ok(self.root.join(path))
    }
}

impl Disk for OsDisk {
    type File = OsFile;

    fn create(&self, path: &Path) -> io::Result<OsFile> {
        let path = self.to_change(path)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o640).open(path)?;
        Ok(OsFile { file: Arc::new(file), is_cold: false })
    }

    fn open(&self, path: &Path) -> io::Result<OsFile> {
        let file = OpenOptions::new().read(true).write(self.writable).open(self.root.join(path))?;
        Ok(OsFile { file: Arc::new(file), is_cold: false })
    }

    fn open_cold(&self, path: &Path) -> io::Result<OsFile> {
        let file = OsFile { is_cold: true, ..self.open(path)? };
        // Nothing is read ahead, or it would look as if it had been in memory before.
        rustix::fs::fadvise(&*file.file, 0, None, Advice::Random)?;
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.to_change(from)?, self.to_change(to)?)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.to_change(path)?)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.root.join(directory))? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours; shown with replacement characters it matches none either.
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
        }
        entries.sort();
        Ok(entries)
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir(self.to_change(directory)?)
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        fs::remove_dir(self.to_change(directory)?)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        File::open(self.to_change(directory)?)?.sync_all()
    }

    fn sync_all(&self) -> io::Result<()> {
        match &*self.opened {
            Ok(root) => Ok(rustix::fs::syncfs(root)?),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }

    fn can_sync_all(&self) -> bool {
        self.can_sync_all
    }

    fn for_writer(&self) -> OsDisk {
        OsDisk::opened(self.root.to_path_buf(), self.writable)
    }
}

/// Whether `syncfs` on the file system of this directory flushes the disk's cache even when there is nothing to note in
/// a journal, and tells failed writes. Only what is known to: XFS flushes it with its journal only, overlays tell nothing
/// of what is below them, and FUSE asks nobody to make anything durable.
fn syncs_as_files_do(root: &File) -> bool {
    rustix::fs::fstatfs(root).is_ok_and(|stats| stats.f_type == EXT4_MAGIC)
}

/// Whether `syncfs` of this kernel tells of failed writes: since Linux 5.8.
fn is_failed_write_told() -> bool {
    let Ok(release) = fs::read_to_string("/proc/sys/kernel/osrelease") else { return false };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= SYNCFS_TELLS_SINCE
}

/// An open file.
#[derive(Clone, Debug)]
pub struct OsFile {
    file: Arc<File>,
    /// What is read does not stay in memory.
    is_cold: bool,
}

impl OsFile {
    /// Reads what memory holds from here on; how many bytes that is.
    fn read_cached(&self, position: u64, bytes: &mut [u8]) -> usize {
        let into = IoSliceMut::new(bytes);
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        // Where that cannot be told, nothing is taken to be in memory.
        rustix::io::preadv2(&*self.file, &mut [into], position, flags).unwrap_or(0)
    }

    /// Reads what is in memory, then the rest, and lets go of that: from the first page on that was not in memory.
    fn read_cold(&self, position: u64, wanted: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; wanted];
        let mut count = self.read_cached(position, &mut bytes);
        let dropped_from = position + count as u64;
        while count < wanted {
            let from = position + count as u64;
            match rustix::io::pread(&*self.file, &mut bytes[count..], from) {
                Ok(0) => break,
                Ok(read) => count += read,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let dropped_bytes = position + count as u64 - dropped_from;
        if let Some(len) = NonZeroU64::new(dropped_bytes) {
            rustix::fs::fadvise(&*self.file, dropped_from, Some(len), Advice::DontNeed)?;
        }
        bytes.truncate(count);
        Ok(bytes)
    }
}

impl DiskFile for OsFile {
    type Map = OsMap;

    fn read_at(&self, position: u64, len_max: usize) -> io::Result<Vec<u8>> {
        // Never reserve more than the file can give: lengths come from the disk and may be garbage.
        let there = usize::try_from(self.len_bytes()?.saturating_sub(position)).unwrap_or(usize::MAX);
        let wanted = len_max.min(there);
        if self.is_cold {
            return self.read_cold(position, wanted);
        }
        let mut bytes = Vec::with_capacity(wanted);
        while bytes.len() < wanted {
            let from = position + bytes.len() as u64;
            let missing = wanted - bytes.len();
            // The capacity may be more than was asked for; what is read beyond is cut off below.
            let count = match rustix::io::pread(&*self.file, rustix::buffer::spare_capacity(&mut bytes), from)
            {
                Ok(count) => count,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if count == 0 || count >= missing {
                break;
            }
        }
        bytes.truncate(wanted);
        Ok(bytes)
    }

    fn write_at(&self, position: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut rest = slices;
        let mut position = position;
        IoSlice::advance_slices(&mut rest, 0); // skips leading empty slices: a write of 0 bytes would look stuck
        while !rest.is_empty() {
            let batch = rest.len().min(SLICES_MAX);
            match rustix::io::pwritev(&*self.file, &rest[..batch], position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    position += count as u64;
                    IoSlice::advance_slices(&mut rest, count);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn allocate(&self, end: u64) -> io::Result<()> {
        // KEEP_SIZE: the length stays the end of the frames, so that recovery has no zeros to read through. A sync
        // costs the same either way (the reserved blocks must be marked as written in both cases).
        if end == 0 {
            return Ok(());
        }
        // Half of a reservation would stay reserved when there is no room for the other half.
        let stats = rustix::fs::fstatvfs(&*self.file)?;
        let reserved_bytes = self.file.metadata()?.blocks() * STAT_BLOCK_BYTES;
        // A file system that tells nothing about itself has no blocks at all.
        if stats.f_blocks > 0 && end.saturating_sub(reserved_bytes) > stats.f_bavail * stats.f_frsize {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let allocate = || rustix::fs::fallocate(&*self.file, FallocateFlags::KEEP_SIZE, 0, end);
        match rustix::io::retry_on_intr(allocate) {
            // A file system without reservations: writing may then fail, and a failed write is final.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => Ok(other?),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn drop_cached(&self, range: Range<u64>) -> io::Result<()> {
        let len = NonZeroU64::new(range.end.saturating_sub(range.start).min(i64::MAX as u64));
        let Some(len) = len else { return Ok(()) };
        Ok(rustix::fs::fadvise(&*self.file, range.start, Some(len), Advice::DontNeed)?)
    }

    fn map(&self) -> io::Result<OsMap> {
        if self.len_bytes()? == 0 {
            return Ok(OsMap { map: None }); // an empty file cannot be mapped
        }
        // SAFETY: a mapped file must not be shortened or changed while it is mapped. Only indexes of sealed
        // segments are mapped; nobody in this process writes to them again, and the data directory is locked
        // against other brokers. They are removed by unlinking, which leaves the map intact.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(&*self.file)? };
        Ok(OsMap { map: Some(map) })
    }
}

/// A mapped file.
#[derive(Debug)]
pub struct OsMap {
    map: Option<memmap2::Mmap>,
}

impl Deref for OsMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}
