//! A shard's state file in two copies: batches of records and evidence, appended to both.
//!
//! A batch, little endian:
//!
//! ```text
//!  0 magic     "mqst"
//!  4 version   u16  1
//!  6 zero      u16
//!  8 length    u32  payload bytes
//! 12 checksum  u32  crc32 of shard u16, generation u64, header bytes 0..12 and 16..24, and the payload
//! 16 durable   u64  bytes of this file known synced when this was written
//! 24 payload        see `state_record`
//! ```
//!
//! Every open of the data directory writes a new set of files, one for each shard; a shard may later write its file
//! anew within the set, when it has grown. A file's first batch names its set and how many files that has. Of each
//! shard the newest file with a good first batch counts, and the newest set with a file for every shard is the
//! state. What came before is removed only after that is durable, so a crash in between leaves one or the other.

use crate::disk::{Disk, DiskFile};
use crate::frame::{read_u32, read_u64};
use crate::paths;
use crate::state_record::{Opening, StateBatch};
use mq_types::ShardId;
use std::io::{self, IoSlice};
use std::path::PathBuf;

/// The format that this code writes, and the newest that it reads.
pub(crate) const VERSION: u16 = 1;
/// Bytes of a batch's header.
pub(crate) const HEADER_BYTES: usize = 24;

const MAGIC: &[u8; 4] = b"mqst";
/// How far ahead space is reserved.
const ALLOCATE_STEP_BYTES: u64 = 256 << 10;

/// A failed operation on a state file.
#[derive(Debug)]
pub(crate) struct StateIoError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// The two copies of a shard's state file, open for appending.
#[derive(Debug)]
pub(crate) struct StateLog<F> {
    shard: ShardId,
    generation: u64,
    copies: [F; 2],
    paths: [PathBuf; 2],
    first_bytes: u64,
    end: u64,
    durable: u64,
    allocated: u64,
}

impl<F: DiskFile> StateLog<F> {
    /// Makes a shard's empty files of a new generation: both, or none if there is no room.
    pub(crate) fn create<D: Disk<File = F>>(
        disk: &D,
        shard: ShardId,
        generation: u64,
    ) -> Result<StateLog<F>, StateIoError> {
        let paths = paths::state_files(shard, generation);
        let create = |at: usize| {
            disk.create(&paths[at]).map_err(|source| StateIoError {
                action: "create",
                path: paths[at].clone(),
                source,
            })
        };
        let first = create(0)?;
        let second = match create(1) {
            Ok(second) => second,
            Err(error) => {
                // Nothing is left of an attempt that found no room, so that it can be made again.
                let path = paths[0].clone();
                disk.unlink(&path).map_err(|source| StateIoError { action: "remove", path, source })?;
                return Err(error);
            }
        };
        let copies = [first, second];
        Ok(StateLog { shard, generation, copies, paths, first_bytes: 0, end: 0, durable: 0, allocated: 0 })
    }

    /// Writes the first batch, which names the set that the file belongs to, and makes it durable.
    pub(crate) fn begin(&mut self, first: &StateBatch) -> Result<(), StateIoError> {
        assert!(first.opening.is_some(), "a file's first batch names its set");
        assert_eq!(self.end, 0, "there is one first batch");
        self.append(first)?;
        self.first_bytes = self.end;
        self.sync()
    }

    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn paths(&self) -> &[PathBuf; 2] {
        &self.paths
    }

    /// Whether a new file would be much smaller: this one is larger than `size_bytes_max`, and than a few times
    /// what it began with.
    pub(crate) fn is_overgrown(&self, size_bytes_max: u64) -> bool {
        self.end > size_bytes_max.max(4 * self.first_bytes)
    }

    /// Reserves space for a batch of about this size in both copies.
    pub(crate) fn ensure_room(&mut self, bytes: u64) -> Result<(), StateIoError> {
        if self.end + bytes <= self.allocated {
            return Ok(());
        }
        let target = self.end + bytes + ALLOCATE_STEP_BYTES;
        for (copy, path) in self.copies.iter().zip(&self.paths) {
            copy.allocate(target).map_err(|source| StateIoError {
                action: "reserve space in",
                path: path.clone(),
                source,
            })?;
        }
        self.allocated = target;
        Ok(())
    }

    /// Appends a batch to both copies, without a sync. Gives back how many bytes were written.
    pub(crate) fn append(&mut self, batch: &StateBatch) -> Result<u64, StateIoError> {
        let payload = batch.encode();
        let header = encode_header(self.shard, self.generation, self.durable, &payload);
        for (copy, path) in self.copies.iter().zip(&self.paths) {
            copy.write_at(self.end, &mut [IoSlice::new(&header), IoSlice::new(&payload)])
                .map_err(|source| StateIoError { action: "write to", path: path.clone(), source })?;
        }
        let bytes = (HEADER_BYTES + payload.len()) as u64;
        self.end += bytes;
        Ok(2 * bytes)
    }

    /// Makes everything that was appended durable in both copies.
    pub(crate) fn sync(&mut self) -> Result<(), StateIoError> {
        for (copy, path) in self.copies.iter().zip(&self.paths) {
            if mq_types::planted!("no_state_sync") {
                continue;
            }
            copy.sync_data().map_err(|source| StateIoError { action: "sync", path: path.clone(), source })?;
        }
        self.durable = self.end;
        Ok(())
    }
}

pub(crate) fn encode_header(
    shard: ShardId,
    generation: u64,
    durable: u64,
    payload: &[u8],
) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let len =
        u32::try_from(payload.len()).expect("the state of a shard's replicas is far smaller than 4 GiB");
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[16..24].copy_from_slice(&durable.to_le_bytes());
    let crc = checksum(shard, generation, &bytes, payload);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn checksum(shard: ShardId, generation: u64, header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&shard.0.to_le_bytes());
    hasher.update(&generation.to_le_bytes());
    hasher.update(&header[..12]);
    hasher.update(&header[16..HEADER_BYTES]);
    hasher.update(payload);
    hasher.finalize()
}

/// What one file of a shard's state holds, read from two copies of which either may be bad in places.
#[derive(Debug, Default)]
pub(crate) struct StateContent {
    pub(crate) batches: Vec<StateBatch>,
    /// Where the last good batch ends.
    pub(crate) end: u64,
    /// Where a copy has no good batch although the other one has: copy and position.
    pub(crate) healed: Vec<(usize, u64)>,
    /// Bytes behind the end that are no good batch in either copy.
    pub(crate) torn_bytes: u64,
}

/// Why a state file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateReadError {
    /// Both copies are bad here, and a later batch proves that this was durable.
    Unknown { position: u64, opening: Option<Opening> },
    /// A batch is of this version.
    Newer { version: u16 },
}

enum BatchAt {
    Good { batch: StateBatch, durable: u64, len: usize },
    Newer(u16),
    Bad,
}

/// Reads the two copies. A missing copy is an empty one.
pub(crate) fn read(
    shard: ShardId,
    generation: u64,
    copies: [&[u8]; 2],
) -> Result<StateContent, StateReadError> {
    let mut content = StateContent::default();
    let mut at = 0;
    loop {
        let mut good = None;
        let mut bad = Vec::new();
        for (number, copy) in copies.iter().enumerate() {
            match batch_at(shard, generation, copy, at) {
                BatchAt::Good { batch, len, .. } => good = Some((batch, len)),
                BatchAt::Newer(version) => return Err(StateReadError::Newer { version }),
                BatchAt::Bad => bad.push((number, at as u64)),
            }
        }
        let Some((batch, len)) = good else { break };
        content.batches.push(batch);
        content.healed.append(&mut bad);
        at += len;
    }
    content.end = at as u64;
    content.torn_bytes = copies.iter().map(|copy| copy.len().saturating_sub(at) as u64).max().unwrap_or(0);
    // A later batch that counts more than this as durable proves that this is not just a torn end.
    for copy in copies {
        for later in at + 1..copy.len().saturating_sub(HEADER_BYTES - 1) {
            if let BatchAt::Good { durable, .. } = batch_at(shard, generation, copy, later)
                && durable > content.end
            {
                let opening = content.batches.first().and_then(|batch| batch.opening);
                return Err(StateReadError::Unknown { position: content.end, opening });
            }
        }
    }
    Ok(content)
}

/// What can still be read of a state file with places that are bad in both copies.
#[derive(Debug, Default)]
pub(crate) struct Salvage {
    /// Every good batch, in order.
    pub(crate) batches: Vec<StateBatch>,
    /// The number of batches before the last bad place: what they say may have been overtaken in it.
    pub(crate) before_last_hole: usize,
}

/// Reads past places that are bad in both copies, wherever a good batch follows.
pub(crate) fn salvage(shard: ShardId, generation: u64, copies: [&[u8]; 2]) -> Salvage {
    let mut salvage = Salvage::default();
    let len = copies.iter().map(|copy| copy.len()).max().unwrap_or(0);
    let (mut at, mut is_in_hole) = (0, false);
    while at < len {
        let good = copies.iter().find_map(|copy| match batch_at(shard, generation, copy, at) {
            BatchAt::Good { batch, len, .. } => Some((batch, len)),
            BatchAt::Newer(_) | BatchAt::Bad => None,
        });
        match good {
            Some((batch, len)) => {
                if std::mem::take(&mut is_in_hole) {
                    salvage.before_last_hole = salvage.batches.len();
                }
                salvage.batches.push(batch);
                at += len;
            }
            None => {
                is_in_hole = true;
                at += 1;
            }
        }
    }
    salvage
}

fn batch_at(shard: ShardId, generation: u64, copy: &[u8], at: usize) -> BatchAt {
    let Some(bytes) = copy.get(at..).filter(|bytes| bytes.len() >= HEADER_BYTES) else { return BatchAt::Bad };
    if &bytes[..4] != MAGIC {
        return BatchAt::Bad;
    }
    let len = read_u32(bytes, 8) as usize;
    let Some(payload) = bytes[HEADER_BYTES..].get(..len) else { return BatchAt::Bad };
    if checksum(shard, generation, bytes, payload) != read_u32(bytes, 12) {
        return BatchAt::Bad;
    }
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if version > VERSION {
        return BatchAt::Newer(version);
    }
    match StateBatch::decode(payload) {
        Some(batch) => BatchAt::Good { batch, durable: read_u64(bytes, 16), len: HEADER_BYTES + len },
        None => BatchAt::Bad,
    }
}
