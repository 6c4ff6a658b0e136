//! Which part of what was written stays in the page cache: the newest bytes of a shard, over all its logs.
//!
//! Whoever reads a log mostly reads its end. What lies further back would push out everything else that the machine
//! caches, and makes the kernel find new memory for every page that is written; given back in time, the same pages
//! are used again and again (several times as fast on a virtual machine whose memory is lent). Reading older data
//! costs a read from the disk. Nothing here is a promise: the kernel may keep less, or more.

use crate::DiskFile;
use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Logs give their bytes in pieces of at least this size; what is less stays cached.
pub(crate) const PIECE_BYTES_MIN: u64 = 1 << 20;
/// The most pieces, since each keeps a file open: closed segments give what is left of them, however little.
const PIECES_MAX_COUNT: usize = 256;

/// The pieces of all logs that are still cached, oldest first.
#[derive(Debug)]
pub(crate) struct CachedTail<F> {
    /// Beyond this, the oldest pieces are given back; 0: the kernel decides alone.
    bytes_max: u64,
    bytes: u64,
    pieces: VecDeque<Piece<F>>,
}

/// A part of a segment.
#[derive(Debug)]
struct Piece<F> {
    path: PathBuf,
    file: F,
    range: Range<u64>,
}

impl<F: DiskFile> CachedTail<F> {
    pub(crate) fn new(bytes_max: u64) -> CachedTail<F> {
        CachedTail { bytes_max, bytes: 0, pieces: VecDeque::new() }
    }

    /// A piece that is durable now: only then can its pages be given back.
    pub(crate) fn push(&mut self, path: PathBuf, file: F, range: Range<u64>) {
        if self.bytes_max == 0 || range.is_empty() {
            return;
        }
        self.bytes += range.end - range.start;
        self.pieces.push_back(Piece { path, file, range });
        while self.bytes > self.bytes_max || self.pieces.len() > PIECES_MAX_COUNT {
            let Piece { file, range, .. } =
                self.pieces.pop_front().expect("the bytes are those of the pieces");
            self.bytes -= range.end - range.start;
            // If it cannot be had, the pages stay a little longer.
            let _ = file.drop_cached(range);
        }
    }

    /// Lets go of files that are removed: their space is free only when nobody has them open any more.
    pub(crate) fn forget(&mut self, is_removed: impl Fn(&Path) -> bool) {
        self.pieces.retain(|piece| !is_removed(&piece.path));
        self.bytes = self.pieces.iter().map(|piece| piece.range.end - piece.range.start).sum();
    }
}

#[cfg(test)]
mod tests;
