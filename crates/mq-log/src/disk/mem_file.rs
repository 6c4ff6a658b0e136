//! What one file of the in-memory disk holds: what is readable, what is durable, and what lies between.
//!
//! It knows nothing of names, operations or faults; [`super::MemDisk`] does.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeMap;

/// A crash of the machine tears writes at multiples of this many bytes (a sector).
pub(super) const BLOCK_BYTES: usize = 512;

/// A change that is readable and not durable.
#[derive(Clone, Debug)]
enum Pending {
    /// These bytes at this position.
    Write { position: usize, bytes: Vec<u8> },
    /// This length.
    Length(usize),
}

/// One file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    /// What a read sees.
    readable: Vec<u8>,
    /// What the disk holds for certain.
    durable: Vec<u8>,
    /// What happened since, in order. Applied to `durable` it gives `readable`, unless a sync has failed.
    pending: Vec<Pending>,
    /// Space is reserved below this position.
    allocated: u64,
}

impl Content {
    pub(super) fn readable(&self) -> &[u8] {
        &self.readable
    }

    /// The space that it takes.
    pub(super) fn space_bytes(&self) -> u64 {
        self.allocated.max(self.readable.len() as u64)
    }

    pub(super) fn write(&mut self, position: usize, bytes: Vec<u8>) {
        apply_write(&mut self.readable, position, &bytes);
        self.pending.push(Pending::Write { position, bytes });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len < self.readable.len() {
            // Blocks that are cut off and written again start from zeros, whichever of their versions survives.
            let bytes = vec![0; self.readable.len() - len];
            self.pending.push(Pending::Write { position: len, bytes });
        }
        self.pending.push(Pending::Length(len));
        self.readable.resize(len, 0);
        self.allocated = len as u64;
    }

    pub(super) fn allocate(&mut self, end: u64) {
        self.allocated = self.allocated.max(end);
    }

    pub(super) fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        apply(&mut self.durable, &pending);
    }

    /// A sync that fails: what was pending stays readable, counts as written back, and is on no disk.
    pub(super) fn fail_sync(&mut self) {
        self.pending.clear();
    }

    /// Reads come from the disk again, except for what still waits to be written back.
    pub(super) fn drop_cached(&mut self) {
        self.readable = self.durable.clone();
        apply(&mut self.readable, &self.pending);
    }

    /// The machine crashes: of every block, any version since the last sync may be the one on disk; the length is
    /// any that the file has had since.
    pub(super) fn crash(&mut self, random: &mut ChaCha8Rng) {
        let pending = std::mem::take(&mut self.pending);
        let mut lengths = vec![self.durable.len()];
        let mut versions: BTreeMap<usize, Vec<(usize, Vec<u8>)>> = BTreeMap::new();
        for change in &pending {
            match change {
                Pending::Length(len) => lengths.push(*len),
                Pending::Write { position, bytes } => {
                    let len_before = *lengths.last().expect("it begins with one");
                    lengths.push(len_before.max(position + bytes.len()));
                    for (at, piece) in pieces(*position, bytes) {
                        versions.entry(at / BLOCK_BYTES).or_default().push((at, piece.to_vec()));
                    }
                }
            }
        }
        for pieces in versions.into_values() {
            let kept = random.next_u32() as usize % (pieces.len() + 1);
            for (at, piece) in pieces.into_iter().take(kept) {
                apply_write(&mut self.durable, at, &piece);
            }
        }
        let len = lengths[random.next_u32() as usize % lengths.len()];
        self.durable.resize(len, 0);
        self.readable = self.durable.clone();
    }

    /// Changes the bytes where they lie, as a failing disk would.
    pub(super) fn damage(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        self.sync();
        self.readable = self.durable.clone();
        change(&mut self.readable);
        self.durable = self.readable.clone();
    }
}

fn apply(bytes: &mut Vec<u8>, pending: &[Pending]) {
    for change in pending {
        match change {
            Pending::Write { position, bytes: written } => apply_write(bytes, *position, written),
            Pending::Length(len) => bytes.resize(*len, 0),
        }
    }
}

fn apply_write(bytes: &mut Vec<u8>, position: usize, written: &[u8]) {
    let end = position + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[position..end].copy_from_slice(written);
}

/// The parts of a write that lie in one block each, with their positions.
fn pieces(position: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = position + at;
        let count = (BLOCK_BYTES - start % BLOCK_BYTES).min(bytes.len() - at);
        at += count;
        (count > 0).then(|| (start, &bytes[at - count..at]))
    })
}
