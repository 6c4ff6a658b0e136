//! What one file of the in-memory disk holds: what is readable, what is durable, and what lies between.
//!
//! It knows nothing of names or faults; [`super::MemDisk`] does.

use super::mem_bytes::FileBytes;
use super::mem_crash::Part;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A crash of the machine tears writes at multiples of this many bytes (a sector).
pub(super) const BLOCK_BYTES: usize = 512;

/// A change that is readable and not durable, and how to take it back.
#[derive(Clone, Debug)]
struct Pending {
    /// The operation that made it.
    operation: u64,
    change: Change,
    /// The bytes that a write replaced: fewer than it wrote where the file ended.
    replaced: Vec<u8>,
    /// How long the file was.
    len_before: usize,
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
    readable: FileBytes,
    /// What happened since the last sync, in order. Without it `readable` is what the disk holds for certain: most
    /// files are written and synced far more often than they are lost, so there is no second copy of their bytes.
    pending: Vec<Pending>,
    /// What the disk holds for certain, if `readable` no longer tells because a sync has failed.
    diverged: Option<FileBytes>,
    /// Space is reserved below this position.
    allocated: u64,
}

impl Content {
    pub(super) fn readable(&self) -> &FileBytes {
        &self.readable
    }

    /// The space that it takes.
    pub(super) fn space_bytes(&self) -> u64 {
        self.allocated.max(self.readable.len() as u64)
    }

    pub(super) fn write(&mut self, position: usize, bytes: Vec<u8>, operation: u64) {
        self.change(Change::Write { position, bytes }, operation);
    }

    pub(super) fn set_len(&mut self, len: usize, operation: u64) {
        if len < self.readable.len() {
            // Blocks that are cut off and written again start from zeros, whichever of their versions survives.
            let bytes = vec![0; self.readable.len() - len];
            self.change(Change::Write { position: len, bytes }, operation);
        }
        self.change(Change::Length(len), operation);
        self.allocated = len as u64;
    }

    fn change(&mut self, change: Change, operation: u64) {
        let len_before = self.readable.len();
        let replaced = match &change {
            Change::Write { position, bytes } => self.readable.read(*position..position + bytes.len()),
            Change::Length(_) => Vec::new(),
        };
        apply(&mut self.readable, &change);
        self.pending.push(Pending { operation, change, replaced, len_before });
    }

    /// What the disk holds for certain.
    fn durable(&self) -> Cow<'_, FileBytes> {
        match &self.diverged {
            Some(durable) => Cow::Borrowed(durable),
            None if self.pending.is_empty() => Cow::Borrowed(&self.readable),
            None => {
                let mut durable = self.readable.clone();
                take_back(&mut durable, &self.pending);
                Cow::Owned(durable)
            }
        }
    }

    /// Forgets what is readable and not durable.
    fn forget_pending(&mut self) -> Vec<Pending> {
        let pending = std::mem::take(&mut self.pending);
        match self.diverged.take() {
            Some(durable) => self.readable = durable,
            None => take_back(&mut self.readable, &pending),
        }
        pending
    }

    pub(super) fn allocate(&mut self, end: u64) {
        self.allocated = self.allocated.max(end);
    }

    pub(super) fn sync(&mut self) {
        if let Some(durable) = &mut self.diverged {
            self.pending.iter().for_each(|pending| apply(durable, &pending.change));
        }
        self.pending.clear();
    }

    /// A sync that fails: what was pending stays readable, counts as written back, and is on no disk.
    pub(super) fn fail_sync(&mut self) {
        if !self.pending.is_empty() {
            self.diverged = Some(self.durable().into_owned());
            self.pending.clear();
        }
    }

    /// Reads come from the disk again, except for what still waits to be written back.
    pub(super) fn drop_cached(&mut self) {
        if self.diverged.is_some() {
            for Pending { operation, change, .. } in self.forget_pending() {
                self.change(change, operation);
            }
        }
    }

    /// Tells every change that is not durable: operation, part, version. What changes nothing is left out.
    pub(super) fn unsynced(&self, tell: &mut dyn FnMut(u64, Part, usize)) {
        let durable = self.durable();
        let versions = Versions::of(&self.pending, durable.len());
        for (block, pieces) in &versions.blocks {
            let from = block * BLOCK_BYTES;
            let mut bytes = durable.read(from..from + BLOCK_BYTES);
            bytes.resize(BLOCK_BYTES, 0);
            for (at, piece) in pieces.iter().enumerate() {
                let before = &mut bytes[piece.position - from..][..piece.bytes.len()];
                if before != piece.bytes {
                    before.copy_from_slice(piece.bytes);
                    tell(piece.operation, Part::Block(*block), at + 1);
                }
            }
        }
        let mut before = durable.len();
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
        let pending = self.forget_pending();
        let versions = Versions::of(&pending, self.readable.len());
        for (block, pieces) in versions.blocks {
            let kept = choose(Part::Block(block), pieces.len());
            for piece in pieces.into_iter().take(kept) {
                self.readable.write(piece.position, piece.bytes);
            }
        }
        let kept = choose(Part::Length, versions.lengths.len());
        let len = kept.checked_sub(1).map_or(versions.durable_len, |last| versions.lengths[last].1);
        self.readable.set_len(len);
    }

    /// Changes the bytes where they lie, as a failing disk would.
    pub(super) fn damage(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        self.sync();
        self.forget_pending();
        let mut bytes = self.readable.read(0..usize::MAX);
        change(&mut bytes);
        self.readable = bytes.into();
    }

    /// One bit of the file flips, whichever version of its byte is to survive.
    pub(super) fn flip_bit(&mut self, bit: u64) {
        let (at, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        assert!(at < self.readable.len(), "byte {at} of a file of {} bytes", self.readable.len());
        self.readable.flip(at, mask);
        if let Some(durable) = &mut self.diverged {
            durable.flip(at, mask);
        }
        for Pending { change, replaced, .. } in &mut self.pending {
            if let Change::Write { position, bytes } = change
                && let Some(within) = at.checked_sub(*position)
            {
                let versions = [bytes.get_mut(within), replaced.get_mut(within)];
                versions.into_iter().flatten().for_each(|byte| *byte ^= mask);
            }
        }
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
        for Pending { operation, change, .. } in pending {
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

fn apply(bytes: &mut FileBytes, change: &Change) {
    match change {
        Change::Write { position, bytes: written } => bytes.write(*position, written),
        Change::Length(len) => bytes.set_len(*len),
    }
}

fn take_back(bytes: &mut FileBytes, pending: &[Pending]) {
    for Pending { change, replaced, len_before, .. } in pending.iter().rev() {
        if let Change::Write { position, .. } = change {
            bytes.write(*position, replaced);
        }
        bytes.set_len(*len_before);
    }
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
