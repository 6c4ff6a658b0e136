//! What one file of the in-memory disk holds: what is readable, what is durable, and what lies between.
//!
//! It knows nothing of names or faults; [`super::MemDisk`] does.

use super::mem_crash::Part;
use std::collections::BTreeMap;

/// A crash of the machine tears writes at multiples of this many bytes (a sector).
pub(super) const BLOCK_BYTES: usize = 512;

/// A change that is readable and not durable.
#[derive(Clone, Debug)]
struct Pending {
    /// The operation that made it.
    operation: u64,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
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

    pub(super) fn write(&mut self, position: usize, bytes: Vec<u8>, operation: u64) {
        apply_write(&mut self.readable, position, &bytes);
        self.pending.push(Pending { operation, change: Change::Write { position, bytes } });
    }

    pub(super) fn set_len(&mut self, len: usize, operation: u64) {
        if len < self.readable.len() {
            // Blocks that are cut off and written again start from zeros, whichever of their versions survives.
            let bytes = vec![0; self.readable.len() - len];
            self.pending.push(Pending { operation, change: Change::Write { position: len, bytes } });
        }
        self.pending.push(Pending { operation, change: Change::Length(len) });
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

    /// Tells every change that is not durable: operation, part, version. What changes nothing is left out.
    pub(super) fn unsynced(&self, tell: &mut dyn FnMut(u64, Part, usize)) {
        let versions = Versions::of(&self.pending, self.durable.len());
        for (block, pieces) in &versions.blocks {
            let from = block * BLOCK_BYTES;
            let durable = self.durable.get(from..).unwrap_or_default();
            let mut bytes = durable[..durable.len().min(BLOCK_BYTES)].to_vec();
            bytes.resize(BLOCK_BYTES, 0);
            for (at, piece) in pieces.iter().enumerate() {
                let before = &mut bytes[piece.position - from..][..piece.bytes.len()];
                if before != piece.bytes {
                    before.copy_from_slice(piece.bytes);
                    tell(piece.operation, Part::Block(*block), at + 1);
                }
            }
        }
        let mut before = self.durable.len();
        for (at, (operation, len)) in versions.lengths.iter().enumerate() {
            if *len != before {
                tell(*operation, Part::Length, at + 1);
            }
            before = *len;
        }
    }

    /// The machine crashes: of every block, any version since the last sync may be the one on disk; the length is
    /// any that the file has had since.
    pub(super) fn crash(&mut self, choose: &mut dyn FnMut(Part, usize) -> usize) {
        let pending = std::mem::take(&mut self.pending);
        let versions = Versions::of(&pending, self.durable.len());
        for (block, pieces) in versions.blocks {
            let kept = choose(Part::Block(block), pieces.len());
            for piece in pieces.into_iter().take(kept) {
                apply_write(&mut self.durable, piece.position, piece.bytes);
            }
        }
        let kept = choose(Part::Length, versions.lengths.len());
        let len = kept.checked_sub(1).map_or(versions.durable_len, |last| versions.lengths[last].1);
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

/// What one write changes of one block.
struct Piece<'a> {
    operation: u64,
    position: usize,
    bytes: &'a [u8],
}

/// What a crash may find of a file.
struct Versions<'a> {
    /// The writes to each block, in order.
    blocks: BTreeMap<usize, Vec<Piece<'a>>>,
    durable_len: usize,
    /// The lengths since: operation, length.
    lengths: Vec<(u64, usize)>,
}

impl Versions<'_> {
    fn of(pending: &[Pending], durable_len: usize) -> Versions<'_> {
        let mut versions = Versions { blocks: BTreeMap::new(), durable_len, lengths: Vec::new() };
        let mut len = durable_len;
        for Pending { operation, change } in pending {
            match change {
                Change::Length(new) => len = *new,
                Change::Write { position, bytes } => {
                    len = len.max(position + bytes.len());
                    for (position, bytes) in pieces(*position, bytes) {
                        let block = versions.blocks.entry(position / BLOCK_BYTES).or_default();
                        block.push(Piece { operation: *operation, position, bytes });
                    }
                }
            }
            versions.lengths.push((*operation, len));
        }
        versions
    }
}

fn apply(bytes: &mut Vec<u8>, pending: &[Pending]) {
    for Pending { change, .. } in pending {
        match change {
            Change::Write { position, bytes: written } => apply_write(bytes, *position, written),
            Change::Length(len) => bytes.resize(*len, 0),
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
