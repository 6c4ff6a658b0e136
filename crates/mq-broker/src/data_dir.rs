//! The data directory: who may use it, and whose it is.
//!
//! Holds the lock for as long as the broker runs, and keeps `broker.meta`. The log below `state/` and `quorums/` is
//! the business of `mq-log`.
//!
//! ```text
//! broker.meta, little endian
//!  0 magic "mqbroker"      8 version u16     10 founded u8 (0, 1)    11 length of the cluster id u8
//! 12 crc32 u32 of all other bytes            16 broker id u32        20 directory id, 16 bytes
//! 36 cluster id, UTF-8
//! ```
//!
//! `founded` is what makes founding a cluster safe to repeat: the file is written with 0 before quorum 0 is made and
//! with 1 after it is durable, so a directory that lost its quorum 0 is never taken for a new one.

use mq_types::{BrokerId, DirectoryId};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
const META: &str = "broker.meta";
const META_NEW: &str = "broker.meta.new";
/// What a broker without `broker.meta` must not have.
const STATE: [&str; 2] = ["state", "quorums"];
/// What else a broker makes in its directory.
const MADE_LATER: [&str; 3] = ["ballast", "trash", "quarantine"];
/// What a new file system has at its root.
const LOST_AND_FOUND: &str = "lost+found";
/// Names of strangers that a message shows.
const STRANGERS_SHOWN_MAX_COUNT: usize = 3;

const MAGIC: &[u8; 8] = b"mqbroker";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 36;
const CLUSTER_ID_BYTES_MAX: usize = u8::MAX as usize;

/// Why a data directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system refused.
    #[error(
        "could not {action} {}: {error}; the directory must exist or be creatable, and be writable by this user",
        .path.display()
    )]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said. Part of the message, so not named `source`: whoever prints causes prints it once.
        error: io::Error,
    },
    /// Something else has the name.
    #[error("{} is not a directory; the data directory must be one, or not be there yet", .path.display())]
    NotADirectory {
        /// What was to be the data directory.
        path: PathBuf,
    },
    /// Somebody else's files lie where a new broker would make its own.
    #[error(
        "{} holds other files ({found}) and no broker's data; give mqd a directory of its own: an empty one, or one \
         that is not there yet",
        .path.display()
    )]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// Some of what was found in it.
        found: String,
    },
    /// Another process holds the lock.
    #[error(
        "another mqd is using the data directory {}; stop it first, or give this one a directory of its own",
        .path.display()
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// There is state, but nothing says whose.
    #[error(
        "{} has a {found}/ but no broker.meta, so it is not known whose data this is; put broker.meta back, or start \
         with an empty directory",
        .path.display()
    )]
    MetaMissing {
        /// The data directory.
        path: PathBuf,
        /// What was found in it.
        found: &'static str,
    },
    /// Not a file of ours, or damaged.
    #[error("{} is damaged ({problem}); put it back from a copy, or replace the broker", .path.display())]
    MetaDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// A newer version of mq wrote this.
    #[error("{} has format version {version}, and this mq reads up to {VERSION}: start a newer mq", .path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u16,
    },
    /// The directory belongs to another broker.
    #[error(
        "{} belongs to broker {recorded}, and this is broker {asked}; start it with --broker-id {recorded}, or give it \
         another directory",
        .path.display()
    )]
    OtherBroker {
        /// The data directory.
        path: PathBuf,
        /// The id it was made for.
        recorded: BrokerId,
        /// The id of this broker.
        asked: BrokerId,
    },
}

/// What `broker.meta` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) cluster_id: String,
    pub(crate) broker_id: BrokerId,
    pub(crate) directory_id: DirectoryId,
    /// Quorum 0 is durable: it is never made again.
    pub(crate) founded: bool,
}

/// The data directory of a running broker; nobody else uses it until this is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    meta: Meta,
    /// Unlocked by the system when it is closed, however this process ends.
    _lock: File,
}

impl DataDir {
    /// Locks the directory, which is made if it is not there, and reads whose it is. An empty one becomes this
    /// broker's: with the ids in `fresh`, which are the caller's to draw.
    pub(crate) fn open(path: &Path, fresh: &Meta) -> Result<DataDir, DataDirError> {
        assert!(!fresh.founded, "a cluster is founded by its quorum, not by its directory");
        create(path)?;
        refuse_strangers(path)?;
        let lock = lock(path)?;
        let meta = match fs::read(path.join(META)) {
            Ok(bytes) => decode(&path.join(META), &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                refuse_state(path)?;
                write_meta(path, fresh)?;
                fresh.clone()
            }
            Err(error) => return Err(failed("read", &path.join(META))(error)),
        };
        if meta.broker_id != fresh.broker_id {
            let (recorded, asked) = (meta.broker_id, fresh.broker_id);
            return Err(DataDirError::OtherBroker { path: path.to_owned(), recorded, asked });
        }
        Ok(DataDir { path: path.to_owned(), meta, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Notes that quorum 0 is durable.
    pub(crate) fn set_founded(&self) -> Result<(), DataDirError> {
        let meta = Meta { founded: true, ..self.meta.clone() };
        write_meta(&self.path, &meta)
    }
}

/// Makes the directory, and those above it that are not there, durably: what is synced in a directory that has no
/// name after a power cut is lost.
fn create(path: &Path) -> Result<(), DataDirError> {
    // A relative path of one part has the empty path above it, which is the working directory.
    let above = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    };
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    if fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
        return Err(DataDirError::NotADirectory { path: path.to_owned() });
    }
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(path).map_err(failed("create", path))?;
    for made in missing.into_iter().rev() {
        let parent = above(made);
        let directory = File::open(&parent).map_err(failed("open", &parent))?;
        directory.sync_all().map_err(failed("sync", &parent))?;
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let file = path.join(LOCK);
    let mut options = OpenOptions::new();
    let lock = options.read(true).write(true).create(true).truncate(false).open(&file);
    let lock = lock.map_err(failed("open", &file))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DataDirError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed("lock", &file)(error)),
    }
}

/// Nobody means a folder of documents to become a broker's data directory, where deleting a file loses records. What a
/// broker makes itself is none of a stranger's, nor is what a file system has at its root, nor what is hidden.
fn refuse_strangers(path: &Path) -> Result<(), DataDirError> {
    if path.join(META).exists() {
        return Ok(());
    }
    let ours = [LOCK, META, META_NEW, LOST_AND_FOUND].into_iter().chain(STATE).chain(MADE_LATER);
    let ours: Vec<&str> = ours.collect();
    let mut strangers = Vec::new();
    for entry in fs::read_dir(path).map_err(failed("read", path))? {
        let name = entry.map_err(failed("read", path))?.file_name().to_string_lossy().into_owned();
        if !ours.contains(&name.as_str()) && !name.starts_with('.') {
            strangers.push(name);
        }
    }
    if strangers.is_empty() {
        return Ok(());
    }
    strangers.sort();
    let more = strangers.len() > STRANGERS_SHOWN_MAX_COUNT;
    strangers.truncate(STRANGERS_SHOWN_MAX_COUNT);
    let found = strangers.join(", ") + if more { ", …" } else { "" };
    Err(DataDirError::Occupied { path: path.to_owned(), found })
}

/// A directory that has state without a name is not an empty one: a cluster founded over it would deny its data.
fn refuse_state(path: &Path) -> Result<(), DataDirError> {
    for found in STATE {
        let directory = path.join(found);
        match fs::read_dir(&directory) {
            Ok(mut entries) => match entries.next() {
                Some(_) => return Err(DataDirError::MetaMissing { path: path.to_owned(), found }),
                None => continue,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("read", &directory)(error)),
        }
    }
    Ok(())
}

/// New file, sync, rename, directory sync: a crash leaves the old one or the new one.
fn write_meta(path: &Path, meta: &Meta) -> Result<(), DataDirError> {
    let (new, file) = (path.join(META_NEW), path.join(META));
    let mut written = File::create(&new).map_err(failed("create", &new))?;
    written.write_all(&encode(meta)).map_err(failed("write", &new))?;
    written.sync_all().map_err(failed("sync", &new))?;
    fs::rename(&new, &file).map_err(failed("rename", &new))?;
    let directory = File::open(path).map_err(failed("open", path))?;
    directory.sync_all().map_err(failed("sync", path))
}

fn encode(meta: &Meta) -> Vec<u8> {
    let cluster_id = meta.cluster_id.as_bytes();
    let length = u8::try_from(cluster_id.len()).expect("we draw cluster ids of 36 bytes");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + cluster_id.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[u8::from(meta.founded), length]);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&meta.broker_id.0.to_le_bytes());
    bytes.extend_from_slice(&meta.directory_id.0);
    bytes.extend_from_slice(cluster_id);
    let checksum = checksum(&bytes);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    assert!(bytes.len() <= HEAD_BYTES + CLUSTER_ID_BYTES_MAX);
    bytes
}

fn decode(path: &Path, bytes: &[u8]) -> Result<Meta, DataDirError> {
    let damaged = |problem| DataDirError::MetaDamaged { path: path.to_owned(), problem };
    let (head, cluster_id) = bytes.split_at_checked(HEAD_BYTES).ok_or(damaged("it is too short"))?;
    if head[..8] != MAGIC[..] {
        return Err(damaged("it does not begin with \"mqbroker\""));
    }
    let version = u16::from_le_bytes([head[8], head[9]]);
    if version > VERSION {
        return Err(DataDirError::NewerFormat { path: path.to_owned(), version });
    }
    if u32::from_le_bytes([head[12], head[13], head[14], head[15]]) != checksum(bytes) {
        return Err(damaged("its checksum does not match"));
    }
    if cluster_id.len() != usize::from(head[11]) {
        return Err(damaged("its length is wrong"));
    }
    let cluster_id = std::str::from_utf8(cluster_id).map_err(|_| damaged("its cluster id is not text"))?;
    let broker_id = BrokerId(u32::from_le_bytes([head[16], head[17], head[18], head[19]]));
    let directory_id = DirectoryId::from_slice(&head[20..HEAD_BYTES]).expect("the range has 16 bytes");
    Ok(Meta { cluster_id: cluster_id.to_owned(), broker_id, directory_id, founded: head[10] == 1 })
}

/// Of all bytes but the checksum's own four.
fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..12]);
    hasher.update(&bytes[16..]);
    hasher.finalize()
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError + use<> {
    let path = path.to_owned();
    move |error| DataDirError::Io { action, path, error }
}

#[cfg(test)]
mod tests;
