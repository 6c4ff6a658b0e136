//! Bits that flip on a broker's disk: which may, and which have.
//!
//! The log promises to notice a bad frame below an end that is certain. The end of a sealed segment is; that of the
//! newest one is known up to what its last frame says was durable before it (`synced`). What lies behind that looks like
//! a torn tail, which is cut, so no bit of it is flipped here: a disk that forgets what it has just said to have
//! written is not survived by that replica, nor promised to be.
//!
//! The layout of frames is read here a second time, on purpose: what hunts planted bugs must not rest on the code that
//! they are planted in.

use crate::random::Random;
use mq_log::{BadPlace, MemDisk};
use mq_types::{QuorumId, ReplicaId};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes of a frame before what it holds.
const HEADER_BYTES: usize = 64;
/// So many bits flip at once at most.
const BITS_MAX: u64 = 6;

/// All bits that have flipped on a disk.
#[derive(Debug, Default)]
pub(crate) struct Rot {
    flips: Vec<Flip>,
}

/// A bit that has flipped.
#[derive(Clone, Debug)]
struct Flip {
    quorum: QuorumId,
    replica: ReplicaId,
    file: PathBuf,
    bit: u64,
    /// What cannot be read any more.
    offsets: Range<u64>,
}

/// A frame as its header has it.
#[derive(Clone, Debug)]
struct Frame {
    bytes: Range<u64>,
    is_head: bool,
    index: u64,
    synced: u64,
    offsets: Range<u64>,
}

impl Rot {
    /// Whether a bit of this replica's has ever flipped.
    pub(crate) fn has(&self, quorum: QuorumId, replica: ReplicaId) -> bool {
        self.flips.iter().any(|flip| (flip.quorum, flip.replica) == (quorum, replica))
    }

    /// Whether this is bad because of bits that have flipped: each offset of it because of one of its own.
    pub(crate) fn explains(&self, place: &BadPlace) -> bool {
        let here = || self.flips.iter().filter(|flip| flip.file == place.file);
        let is_at_place = here().any(|flip| flip.bit / 8 >= place.position.0);
        let mut offsets = place.offset.0..place.end_offset.0;
        is_at_place && offsets.all(|offset| here().any(|flip| flip.offsets.contains(&offset)))
    }

    /// Flips a few bits of one of the replica's segments, if it has any that may; its process runs, so that everything
    /// in them is durable. Answers how many.
    pub(crate) fn spread(
        &mut self,
        disk: &MemDisk,
        (quorum, replica): (QuorumId, ReplicaId),
        random: &mut Random,
    ) -> usize {
        let dir = Path::new("quorums").join(format!("{quorum}-{replica}"));
        let mut segments: Vec<(u64, PathBuf)> = disk
            .names(&dir)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|name| Some((number(&name)?, dir.join(name))))
            .collect();
        segments.sort_unstable();
        let Some((newest, _)) = segments.last().cloned() else { return 0 };
        let at =
            if random.one_in(2) { segments.len() - 1 } else { random.below(segments.len() as u64) as usize };
        let (number, file) = segments.swap_remove(at);
        let frames = certain(frames(&self.as_written(disk, &file)), number == newest);
        if frames.is_empty() {
            return 0;
        }
        let bits = random.scaled(1..=BITS_MAX) as usize;
        for _ in 0..bits {
            let frame = random.pick(&frames);
            let bit = random.between(frame.bytes.start * 8..=frame.bytes.end * 8 - 1);
            // Flipped twice it would be as it was.
            if self.flips.iter().any(|flip| flip.file == file && flip.bit == bit) {
                continue;
            }
            disk.flip_bit(&file, bit).expect("it was listed just now");
            let offsets = if frame.is_head { 0..u64::MAX } else { frame.offsets.clone() };
            self.flips.push(Flip { quorum, replica, file: file.clone(), bit, offsets });
        }
        bits
    }

    /// What a file holds but for the bits that have flipped.
    fn as_written(&self, disk: &MemDisk, file: &Path) -> Vec<u8> {
        let mut bytes = disk.bytes(file).expect("it was listed just now");
        for flip in self.flips.iter().filter(|flip| flip.file == file) {
            bytes[(flip.bit / 8) as usize] ^= 1 << (flip.bit % 8);
        }
        bytes
    }
}

/// The number of the segment whose file has this name.
fn number(name: &str) -> Option<u64> {
    name.strip_suffix(".seg")?.split_once('-')?.1.parse().ok()
}

/// Those frames that must be missed if they are bad.
fn certain(mut frames: Vec<Frame>, is_newest: bool) -> Vec<Frame> {
    if let Some(last) = frames.last().filter(|_| is_newest) {
        let synced = last.synced;
        frames.retain(|frame| frame.is_head || frame.index <= synced);
    }
    frames
}

/// The frames of a segment, its head the first.
fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + HEADER_BYTES).filter(|header| header[8..10] == *b"mq") {
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let end = at + HEADER_BYTES + u32_at(4) as usize;
        if end > bytes.len() {
            break; // torn, long ago
        }
        frames.push(Frame {
            bytes: at as u64..end as u64,
            is_head: frames.is_empty(),
            index: u64_at(16),
            synced: u64_at(40),
            offsets: u64_at(48)..u64_at(48) + u64::from(u32_at(12)),
        });
        at = end;
    }
    frames
}
