//! Every bit of a segment is covered by a checksum that is looked at. Here, and not beside the crate's other tests,
//! because eight million flips are checked in seconds only where a walk can begin at the frame that holds the bit.

use super::*;
use crate::head::Head;
use crate::{Disk, MemDisk, Options};
use bytes::BytesMut;
use mq_types::batch::{BatchBuilder, NewRecord};
use mq_types::compression::Compression;
use mq_types::persist::{Create, Membership, ReplicaWrite, Start};
use mq_types::{BrokerId, Entry, Index, QuorumId, ReplicaId, Term};
use std::io::IoSlice;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

const SEGMENT_BYTES: usize = 1 << 20;
const QUORUM: QuorumId = QuorumId(1024);

/// The bytes of a file, to be read only.
#[derive(Clone, Debug)]
struct Bits(Arc<Mutex<Vec<u8>>>);

impl Bits {
    fn flip(&self, bit: usize) {
        self.0.lock().expect("no panic while it is held")[bit / 8] ^= 1 << (bit % 8);
    }
}

impl DiskFile for Bits {
    type Map = Vec<u8>;

    fn read_at(&self, position: u64, len_max: usize) -> io::Result<Vec<u8>> {
        let bytes = self.0.lock().expect("no panic while it is held");
        let from = (position as usize).min(bytes.len());
        Ok(bytes[from..from.saturating_add(len_max).min(bytes.len())].to_vec())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("no panic while it is held").len() as u64)
    }

    fn write_at(&self, _: u64, _: &mut [IoSlice<'_>]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn drop_cached(&self, _: Range<u64>) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn map(&self) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// A segment of 1 MiB as the store writes it: batches of some 1 KiB, and entries of the other kinds between them.
fn segment() -> Vec<u8> {
    let disk = MemDisk::new();
    let mut store = crate::open(disk.clone(), Options::new(1, [3; 32])).expect("it is empty").remove(0).store;
    let replica = ReplicaId::new(BrokerId(1), 2);
    let membership = Membership { conf_index: Index(1), voters: vec![replica], ..Membership::default() };
    let create = Create { start: Start::BOOTSTRAP, membership, opened: true, snapshot: None };
    let write = ReplicaWrite { create: Some(create), ..ReplicaWrite::new(QUORUM, replica) };
    store.persist_round(vec![write]).expect("nothing fails");
    let path = format!("quorums/{QUORUM}-{replica}/00000000000000000002-1.seg");
    let (mut index, mut base_offset, mut random) = (Index(2), Offset(0), 1u64);
    let mut written = 0;
    while written < SEGMENT_BYTES {
        let mut draw = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let body = match index.0 % 16 {
            0 => Body::NoOp,
            1 => Body::Command(Bytes::from(draw().to_le_bytes().repeat(20))),
            2 => Body::Membership(Bytes::from_static(b"members")),
            _ => {
                let mut builder = BatchBuilder::new();
                for _ in 0..4 {
                    let value: Vec<u8> = (0..32).flat_map(|_| draw().to_le_bytes()).collect();
                    let record = NewRecord { timestamp_ms: 7, key: None, value: Some(&value), headers: &[] };
                    builder.push(&record).expect("it fits");
                }
                let mut batch = builder.finish(Compression::None);
                batch.stamp(base_offset, Term(2));
                Body::Data(batch)
            }
        };
        let entry = Entry { index, term: Term(2), base_offset, appended_at_ms: 7, body };
        (index, base_offset) = (index.next(), entry.meta().end_offset());
        written += HEADER_BYTES + entry.body.len_bytes();
        let write = ReplicaWrite { entries: vec![entry], ..ReplicaWrite::new(QUORUM, replica) };
        store.persist_round(vec![write]).expect("nothing fails");
    }
    let file = disk.open(Path::new(&path)).expect("it exists");
    file.read_at(0, usize::MAX).expect("it can be read")
}

/// A walker that stands at a frame as a reader's does.
fn walker(bits: &Bits, seed: &Seed, position: u64, until: u64, previous: FrameHeader) -> Walker<Bits> {
    Walker::new(bits.clone(), seed.clone(), position, until, Some(previous)).read(Depth::Whole, 1)
}

/// Flips every bit of these frames, each by itself; gives back how many flips there were. For the bits of a payload
/// that only the batch's checksum covers, a whole step is taken for one bit of each byte, and for the others what the
/// step does with a payload: that is most of the flips.
fn flip_all(bytes: &[u8], seed: &Seed, frames: &[(u64, FrameHeader, FrameHeader)]) -> u64 {
    let bits = Bits(Arc::new(Mutex::new(bytes.to_vec())));
    let until = bytes.len() as u64;
    let mut flips = 0;
    for (position, previous, header) in frames {
        let step = || walker(&bits, seed, *position, until, *previous).step().expect("it can be read");
        let flip = |bit: usize| {
            bits.flip(bit);
            let stepped = step();
            assert!(matches!(stepped, Step::Bad), "bit {bit} of the frame at {position}: {stepped:?}");
            bits.flip(bit);
        };
        let begin = *position as usize;
        let covered = begin + HEADER_BYTES + header.covered_bytes();
        let end = begin + header.frame_bytes() as usize;
        (begin * 8..covered * 8).for_each(flip);
        (covered..end).for_each(|byte| flip(byte * 8 + byte % 8));
        flips += (end - begin) as u64 * 8;
        let mut payload = BytesMut::from(&bytes[begin + HEADER_BYTES..end]);
        for bit in header.covered_bytes() * 8..payload.len() * 8 {
            payload[bit / 8] ^= 1 << (bit % 8);
            let flipped = payload.freeze();
            assert!(decode_body(header, flipped.clone()).is_none(), "bit {bit} of the payload at {position}");
            payload = flipped.try_into_mut().expect("nobody else has it");
            payload[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(
            matches!(step(), Step::Frame(frame) if frame.header == *header),
            "what was flipped back is good"
        );
    }
    flips
}

#[test]
fn every_flipped_bit_of_a_segment_of_one_mebibyte_is_noticed() {
    let mut bytes = segment();
    let bits = Bits(Arc::new(Mutex::new(bytes.clone())));
    let head = Head::read(&bits).expect("it can be read").expect("it is good");
    let frames_at = crate::head::frame_bytes(head.runs.runs().len());
    for bit in 0..frames_at as usize * 8 {
        bits.flip(bit);
        assert!(Head::read(&bits).expect("it can be read").is_err(), "bit {bit} of the head");
        bits.flip(bit);
    }
    let seed = Seed::of_salt(&head.salt);
    let mut frames = Vec::new();
    let mut walk = walker(&bits, &seed, frames_at, bytes.len() as u64, head.header());
    let mut previous = head.header();
    while let Step::Frame(frame) = walk.step().expect("it can be read") {
        frames.push((frame.position, previous, frame.header));
        previous = frame.header;
    }
    // What is reserved behind the last frame is nobody's.
    let until = walk.position();
    assert!(until >= SEGMENT_BYTES as u64, "{until} bytes of frames");
    bytes.truncate(until as usize);
    let (one, other) = frames.split_at(frames.len() / 2);
    let flips = std::thread::scope(|scope| {
        let other = scope.spawn(|| flip_all(&bytes, &seed, other));
        flip_all(&bytes, &seed, one) + other.join().expect("no flip went unnoticed")
    });
    assert_eq!(flips + frames_at * 8, until * 8);
}
