//! The bytes of one file of the in-memory disk, in chunks: a file that grows a little with every write is not moved as
//! a whole again and again.
//!
//! It knows nothing of what is durable; `mem_file` does.

use std::ops::Range;

const CHUNK_BYTES: usize = 1024;

/// Bytes that end anywhere, and grow and shrink at their end.
#[derive(Clone, Debug, Default)]
pub(super) struct FileBytes {
    /// As many as `len` needs. What the last one has behind `len` is zero.
    #[expect(clippy::vec_box, reason = "a list of chunks that grows must not move what is in them")]
    chunks: Vec<Box<[u8; CHUNK_BYTES]>>,
    len: usize,
}

impl FileBytes {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// These bytes, as far as there are any.
    pub(super) fn read(&self, range: Range<usize>) -> Vec<u8> {
        let mut at = range.start.min(self.len);
        let end = range.end.clamp(at, self.len);
        let mut bytes = Vec::with_capacity(end - at);
        while at < end {
            let within = within_chunk(at, end - at);
            bytes.extend_from_slice(&self.chunks[at / CHUNK_BYTES][within.clone()]);
            at += within.len();
        }
        bytes
    }

    /// Writes there; between the end and there are zeros.
    pub(super) fn write(&mut self, position: usize, mut bytes: &[u8]) {
        self.set_len(self.len.max(position + bytes.len()));
        let mut at = position;
        while !bytes.is_empty() {
            let within = within_chunk(at, bytes.len());
            let (now, later) = bytes.split_at(within.len());
            self.chunks[at / CHUNK_BYTES][within].copy_from_slice(now);
            (at, bytes) = (at + now.len(), later);
        }
    }

    /// Flips bits of the byte at this position, if there is one.
    pub(super) fn flip(&mut self, position: usize, mask: u8) {
        if position < self.len {
            self.chunks[position / CHUNK_BYTES][position % CHUNK_BYTES] ^= mask;
        }
    }

    /// Cuts the end off, or adds zeros to it.
    pub(super) fn set_len(&mut self, len: usize) {
        self.chunks.resize_with(len.div_ceil(CHUNK_BYTES), || Box::new([0; CHUNK_BYTES]));
        if len < self.len
            && let Some(last) = self.chunks.get_mut(len / CHUNK_BYTES)
        {
            last[len % CHUNK_BYTES..].fill(0);
        }
        self.len = len;
    }
}

/// What of these bytes lies in the chunk that they begin in.
fn within_chunk(position: usize, count: usize) -> Range<usize> {
    let from = position % CHUNK_BYTES;
    from..CHUNK_BYTES.min(from + count)
}

impl From<Vec<u8>> for FileBytes {
    fn from(bytes: Vec<u8>) -> FileBytes {
        let mut file = FileBytes::default();
        file.write(0, &bytes);
        file
    }
}
