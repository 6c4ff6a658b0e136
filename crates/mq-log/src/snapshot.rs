//! The file of a snapshot: opaque bytes of the engine that stand for the log up to an index.
//!
//! Little endian:
//!
//! ```text
//!  0 magic "mqsn" · 4 version u16 = 1 · 6 zero u16 · 8 crc32 u32 of 0..8, 12..48 and the data · 12 zero u32
//! 16 quorum u64 · 24 replica u64 · 32 index u64 · 40 length u64 · 48 data
//! ```
//!
//! It is written under its final name and counts once a state record names it: a record is written only after the
//! file and its directory are durable. A file that no record names is removed on the next open.

use crate::DiskFile;
use crate::frame::read_u64;
use bytes::Bytes;
use mq_types::persist::Snapshot;
use mq_types::{Index, QuorumId, ReplicaId};
use std::io::{self, IoSlice};

const HEADER_BYTES: usize = 48;
const MAGIC: &[u8; 4] = b"mqsn";
const VERSION: u16 = 1;

/// The size of a snapshot's file.
pub(crate) fn file_bytes(snapshot: &Snapshot) -> u64 {
    (HEADER_BYTES + snapshot.data.len()) as u64
}

pub(crate) fn write<F: DiskFile>(
    file: &F,
    quorum: QuorumId,
    replica: ReplicaId,
    snapshot: &Snapshot,
) -> io::Result<()> {
    let header = encode_header(quorum, replica, snapshot);
    file.write_at(0, &mut [IoSlice::new(&header), IoSlice::new(&snapshot.data)])
}

/// `None`: it is not this snapshot, or it is damaged.
pub(crate) fn read<F: DiskFile>(
    file: &F,
    quorum: QuorumId,
    replica: ReplicaId,
    index: Index,
) -> io::Result<Option<Snapshot>> {
    let bytes = Bytes::from(file.read_at(0, usize::MAX)?);
    if bytes.len() < HEADER_BYTES {
        return Ok(None);
    }
    let data = bytes.slice(HEADER_BYTES..);
    let snapshot = Snapshot { index: Index(read_u64(&bytes, 32)), data };
    let same =
        snapshot.index == index && bytes[..HEADER_BYTES] == encode_header(quorum, replica, &snapshot)[..];
    Ok(same.then_some(snapshot))
}

fn encode_header(quorum: QuorumId, replica: ReplicaId, snapshot: &Snapshot) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&quorum.0.to_le_bytes());
    bytes[24..32].copy_from_slice(&replica.0.to_le_bytes());
    bytes[32..40].copy_from_slice(&snapshot.index.0.to_le_bytes());
    bytes[40..48].copy_from_slice(&(snapshot.data.len() as u64).to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..8]);
    hasher.update(&bytes[12..]);
    hasher.update(&snapshot.data);
    bytes[8..12].copy_from_slice(&hasher.finalize().to_le_bytes());
    bytes
}
