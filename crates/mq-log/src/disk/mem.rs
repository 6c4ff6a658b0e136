//! A disk in memory that knows what is durable and fails on demand.
//!
//! # Its fault model
//!
//! * **Crash of the machine** ([`Crash::Machine`]): of every 512-byte block written since the file's last sync, any
//!   version may survive, chosen by the seed; the length is any that the file has had since. Of every name changed
//!   since its directory's last sync, any version may survive, each name by itself. What a crash could lose is told by
//!   [`MemDisk::unsynced`]; [`MemDisk::crash_keeping`] keeps exactly what is chosen of it.
//! * **Crash of the process** ([`Crash::Process`]): nothing is lost. What was not synced is readable, and still not
//!   durable: a crash of the machine right after it loses it.
//! * **A failed sync** ([`Fault::Io`] at a sync): what was to be synced stays readable and will never be durable; a
//!   later sync succeeds and changes nothing about that; [`DiskFile::drop_cached`] shows what the disk holds.
//! * **An error** ([`Fault::Io`] at a write): a part of the write, chosen by the operation's number, was done.
//! * **A read error** ([`MemDisk::plan_read_error`]): that read fails, the next one may succeed.
//! * **A full disk** ([`MemDisk::set_capacity_bytes`], [`Fault::Full`]): `StorageFull`, nothing done.
//! * **Stop** ([`Fault::Stop`]): this operation and all that follow fail until the crash; a write is cut short.
//! * **Decay** ([`MemDisk::damage`], [`MemDisk::flip_bit`]): stored bytes change.
//!
//! Handles from before a crash answer with errors: they belong to a process that is no more. Renaming is not a
//! single step across a crash of the machine (both names, or neither, may survive): harsher than real file systems.

use super::mem_dir::Directory;
use super::mem_file::Content;
use super::{DirEntry, Disk, DiskFile};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What happens to one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An input/output error.
    Io,
    /// No space.
    Full,
    /// The process is stopped here; see the module's documentation.
    Stop,
}

/// The in-memory disk; clones are the same disk.
#[derive(Clone, Debug)]
pub struct MemDisk {
    pub(super) shared: Arc<Mutex<Shared>>,
    pub(super) life: u64,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) nodes: BTreeMap<u64, Node>,
    next_node: u64,
    /// Counts the crashes; handles of an earlier life are dead.
    pub(super) life: u64,
    /// Operations so far that change or sync something.
    operations: u64,
    reads: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) read_faults: BTreeSet<u64>,
    pub(super) stopped: bool,
    capacity_bytes: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Content),
    Dir(Directory),
}

pub(super) const ROOT: u64 = 0;

impl Default for MemDisk {
    fn default() -> MemDisk {
        MemDisk::new()
    }
}

impl MemDisk {
    /// An empty disk.
    pub fn new() -> MemDisk {
        let shared = Shared {
            nodes: BTreeMap::from([(ROOT, Node::Dir(Directory::default()))]),
            next_node: ROOT + 1,
            life: 0,
            operations: 0,
            reads: 0,
            faults: BTreeMap::new(),
            read_faults: BTreeSet::new(),
            stopped: false,
            capacity_bytes: u64::MAX,
        };
        MemDisk { shared: Arc::new(Mutex::new(shared)), life: 0 }
    }

    /// An independent copy with the same contents, readable and durable.
    pub fn fork(&self) -> MemDisk {
        let shared = self.lock();
        let copy = Shared {
            nodes: shared.nodes.clone(),
            faults: BTreeMap::new(),
            read_faults: BTreeSet::new(),
            ..*shared
        };
        MemDisk { shared: Arc::new(Mutex::new(copy)), life: self.life }
    }

    /// How many operations there were that change or sync something.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// How many reads there were.
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// Plans a fault for the operation with this number (the first one ever is 0).
    pub fn plan_fault(&self, operation: u64, fault: Fault) {
        self.lock().faults.insert(operation, fault);
    }

    /// Forgets all planned faults. What has stopped stays so until the crash.
    pub fn forget_faults(&self) {
        let mut shared = self.lock();
        shared.faults.clear();
        shared.read_faults.clear();
    }

    /// Plans an error for the read with this number (the first one ever is 0).
    pub fn plan_read_error(&self, read: u64) {
        self.lock().read_faults.insert(read);
    }

    /// The space that all files together take.
    pub fn space_bytes(&self) -> u64 {
        self.lock().space_bytes()
    }

    /// Limits what all files together may take.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.lock().capacity_bytes = capacity_bytes;
    }

    /// Changes a file's stored bytes.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut shared = self.lock();
        let node = shared.find(path)?;
        shared.content(node)?.damage(change);
        Ok(())
    }

    /// Flips one stored bit: bit `bit % 8` of byte `bit / 8`. It is flipped in whatever a crash may leave of that byte;
    /// what is durable stays what it was.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut shared = self.lock();
        let node = shared.find(path)?;
        shared.content(node)?.flip_bit(bit);
        Ok(())
    }

    /// The names in a directory, for somebody who looks at the disk from outside: it is no read of the process.
    pub fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        Ok(self.lock().directory(directory)?.entries.keys().cloned().collect())
    }

    /// What a file holds, for the same.
    pub fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut shared = self.lock();
        let node = shared.find(path)?;
        Ok(shared.content(node)?.readable().read(0..usize::MAX))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to_read(&self) -> io::Result<MutexGuard<'_, Shared>> {
        let mut shared = self.lock();
        shared.check_alive(self.life)?;
        let number = shared.reads;
        shared.reads += 1;
        if shared.read_faults.contains(&number) {
            return Err(input_output_error());
        }
        Ok(shared)
    }

    /// Counts an operation and gives its number with the fault planned for it.
    fn to_change(&self) -> io::Result<(MutexGuard<'_, Shared>, u64, Option<Fault>)> {
        let mut shared = self.lock();
        shared.check_alive(self.life)?;
        let number = shared.operations;
        shared.operations += 1;
        let fault = shared.faults.get(&number).copied();
        shared.stopped |= fault == Some(Fault::Stop);
        Ok((shared, number, fault))
    }

    /// The same for operations that fail as a whole.
    fn to_change_whole(&self) -> io::Result<MutexGuard<'_, Shared>> {
        let (shared, _, fault) = self.to_change()?;
        match fault {
            None => Ok(shared),
            Some(fault) => Err(error_of(fault)),
        }
    }
}

fn input_output_error() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn error_of(fault: Fault) -> io::Error {
    match fault {
        Fault::Io => input_output_error(),
        Fault::Full => io::ErrorKind::StorageFull.into(),
        Fault::Stop => io::Error::other("the process was stopped here"),
    }
}

impl Shared {
    fn check_alive(&self, life: u64) -> io::Result<()> {
        if self.stopped || life != self.life {
            return Err(io::Error::other("this handle belongs to a process that has crashed"));
        }
        Ok(())
    }

    /// The number of the operation that is being carried out.
    fn operation(&self) -> u64 {
        self.operations - 1
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut node = ROOT;
        for part in path.components() {
            let name = part.as_os_str().to_str().ok_or(io::ErrorKind::InvalidInput)?;
            node = match self.nodes.get(&node) {
                Some(Node::Dir(directory)) => *directory.entries.get(name).ok_or(io::ErrorKind::NotFound)?,
                _ => return Err(io::ErrorKind::NotADirectory.into()),
            };
        }
        Ok(node)
    }

    fn directory(&mut self, path: &Path) -> io::Result<&mut Directory> {
        let node = self.find(path)?;
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(directory)) => Ok(directory),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn content(&mut self, node: u64) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(content)) => Ok(content),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// The directory that holds `path`, and its name in there.
    fn parent<'a>(&mut self, path: &'a Path) -> io::Result<(&mut Directory, &'a str)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.directory(path.parent().unwrap_or(Path::new("")))?, name))
    }

    fn make(&mut self, path: &Path, new: Node) -> io::Result<u64> {
        let (node, operation) = (self.next_node, self.operation());
        let (directory, name) = self.parent(path)?;
        if directory.entries.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        directory.set(name, Some(node), operation);
        self.next_node += 1;
        self.nodes.insert(node, new);
        Ok(node)
    }

    /// The space all reachable files take.
    fn space_bytes(&self) -> u64 {
        let mut space_bytes = 0;
        let mut open = vec![ROOT];
        while let Some(node) = open.pop() {
            match self.nodes.get(&node) {
                Some(Node::Dir(directory)) => open.extend(directory.entries.values()),
                Some(Node::File(content)) => space_bytes += content.space_bytes(),
                None => {}
            }
        }
        space_bytes
    }

    fn check_space(&mut self, node: u64, end: u64) -> io::Result<()> {
        let more = end.saturating_sub(self.content(node)?.space_bytes());
        if more > 0
            && self.capacity_bytes < u64::MAX
            && self.space_bytes().saturating_add(more) > self.capacity_bytes
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl Disk for MemDisk {
    type File = MemFile;

    fn create(&self, path: &Path) -> io::Result<MemFile> {
        let node = self.to_change_whole()?.make(path, Node::File(Content::default()))?;
        Ok(MemFile { disk: self.clone(), node })
    }

    fn open(&self, path: &Path) -> io::Result<MemFile> {
        let mut shared = self.to_read()?;
        let node = shared.find(path)?;
        shared.content(node)?;
        Ok(MemFile { disk: self.clone(), node })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut shared = self.to_change_whole()?;
        let (node, operation) = (shared.find(from)?, shared.operation());
        if shared.directory(to).is_ok_and(|directory| !directory.entries.is_empty()) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (directory, name) = shared.parent(to)?;
        directory.set(name, Some(node), operation);
        let (directory, name) = shared.parent(from)?;
        directory.set(name, None, operation);
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut shared = self.to_change_whole()?;
        let node = shared.find(path)?;
        shared.content(node)?;
        let operation = shared.operation();
        let (directory, name) = shared.parent(path)?;
        directory.set(name, None, operation);
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirEntry>> {
        let mut shared = self.to_read()?;
        let entries = shared.directory(directory)?.entries.clone();
        let is_dir = |node| matches!(shared.nodes.get(&node), Some(Node::Dir(_)));
        Ok(entries.into_iter().map(|(name, node)| DirEntry { name, is_dir: is_dir(node) }).collect())
    }

    fn create_dir(&self, directory: &Path) -> io::Result<()> {
        self.to_change_whole()?.make(directory, Node::Dir(Directory::default()))?;
        Ok(())
    }

    fn remove_dir(&self, directory: &Path) -> io::Result<()> {
        let mut shared = self.to_change_whole()?;
        if !shared.directory(directory)?.entries.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let operation = shared.operation();
        let (parent, name) = shared.parent(directory)?;
        parent.set(name, None, operation);
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.to_change_whole()?.directory(directory)?.sync();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        let (mut shared, _, fault) = self.to_change()?;
        for node in shared.nodes.values_mut() {
            match (node, fault) {
                (Node::File(content), None) => content.sync(),
                (Node::File(content), Some(Fault::Io)) => content.fail_sync(),
                (Node::Dir(directory), None) => directory.sync(),
                (_, Some(_)) => {}
            }
        }
        fault.map_or(Ok(()), |fault| Err(error_of(fault)))
    }
}

/// An open file of a [`MemDisk`].
#[derive(Clone, Debug)]
pub struct MemFile {
    disk: MemDisk,
    node: u64,
}

impl DiskFile for MemFile {
    type Map = MemMap;

    fn read_at(&self, position: u64, len_max: usize) -> io::Result<Vec<u8>> {
        let mut shared = self.disk.to_read()?;
        let from = usize::try_from(position).unwrap_or(usize::MAX);
        Ok(shared.content(self.node)?.readable().read(from..from.saturating_add(len_max)))
    }

    fn write_at(&self, position: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        let (mut shared, number, fault) = self.disk.to_change()?;
        if fault != Some(Fault::Full) {
            shared.check_space(self.node, position + bytes.len() as u64)?;
        }
        match fault {
            Some(Fault::Full) => return Err(error_of(Fault::Full)),
            Some(_) => bytes.truncate(number.wrapping_mul(0x9E37_79B9) as usize % (bytes.len() + 1)),
            None => {}
        }
        if !bytes.is_empty() {
            shared.content(self.node)?.write(position as usize, bytes, number);
        }
        fault.map_or(Ok(()), |fault| Err(error_of(fault)))
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut shared, _, fault) = self.disk.to_change()?;
        let content = shared.content(self.node)?;
        match fault {
            None => content.sync(),
            Some(Fault::Io) => content.fail_sync(),
            Some(_) => {}
        }
        fault.map_or(Ok(()), |fault| Err(error_of(fault)))
    }

    fn allocate(&self, end: u64) -> io::Result<()> {
        let mut shared = self.disk.to_change_whole()?;
        shared.check_space(self.node, end)?;
        shared.content(self.node)?.allocate(end);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut shared = self.disk.to_change_whole()?;
        let operation = shared.operation();
        shared.content(self.node)?.set_len(len as usize, operation);
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        let mut shared = self.disk.to_read()?;
        Ok(shared.content(self.node)?.readable().len() as u64)
    }

    fn drop_cached(&self, _: Range<u64>) -> io::Result<()> {
        let mut shared = self.disk.to_read()?;
        shared.content(self.node)?.drop_cached();
        Ok(())
    }

    fn map(&self) -> io::Result<MemMap> {
        let mut shared = self.disk.to_read()?;
        Ok(MemMap(shared.content(self.node)?.readable().read(0..usize::MAX)))
    }
}

/// A "mapped" file: a copy.
#[derive(Debug)]
pub struct MemMap(Vec<u8>);

impl Deref for MemMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
