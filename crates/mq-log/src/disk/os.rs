//! The real disk: files under one directory, by plain system calls. The only file of the project with `unsafe` in
//! it (one memory map), and the only one of this crate that names `std::fs`.

use super::{DirEntry, Disk, DiskFile};
use rustix::fs::{Advice, FallocateFlags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most slices one call may carry (Linux's IOV_MAX).
const SLICES_MAX: usize = 1024;

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct OsDisk {
    root: Arc<PathBuf>,
    writable: bool,
}

impl OsDisk {
    /// The disk whose root is this directory, which must exist.
    pub fn new(root: impl Into<PathBuf>) -> OsDisk {
        OsDisk { root: Arc::new(root.into()), writable: true }
    }

    /// The same, opening files for reading alone and refusing whatever would change something
    /// (`PermissionDenied`).
    pub fn read_only(root: impl Into<PathBuf>) -> OsDisk {
        OsDisk { root: Arc::new(root.into()), writable: false }
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
        Ok(OsFile { file: Arc::new(file) })
    }

    fn open(&self, path: &Path) -> io::Result<OsFile> {
        let file = OpenOptions::new().read(true).write(self.writable).open(self.root.join(path))?;
        Ok(OsFile { file: Arc::new(file) })
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
}

/// An open file.
#[derive(Clone, Debug)]
pub struct OsFile {
    file: Arc<File>,
}

impl DiskFile for OsFile {
    type Map = OsMap;

    fn read_at(&self, position: u64, len_max: usize) -> io::Result<Vec<u8>> {
        // Never reserve more than the file can give: lengths come from the disk and may be garbage.
        let there = usize::try_from(self.len_bytes()?.saturating_sub(position)).unwrap_or(usize::MAX);
        let wanted = len_max.min(there);
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

    fn drop_cached(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&*self.file, 0, None, Advice::DontNeed)?)
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
