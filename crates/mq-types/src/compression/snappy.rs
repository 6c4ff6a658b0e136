//! Snappy as Kafka's clients write it: raw, or in blocks behind the header of java-snappy ("xerial").
//!
//! ```text
//! xerial:  0x82 "SNAPPY" 0x00   version i32   compatible version i32   { length i32, raw snappy }*
//! ```
//! The integers are big endian. Raw snappy can only be decompressed whole, so one block is held at a time; the Java
//! client's blocks are 32 KiB, a raw batch is a single block. The other framing, "snappy framed", is not Kafka's.

use super::{cap_exceeded, invalid};
use std::io::{self, Read};

const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;
/// No element of the format turns its bytes into more than 64/3 times as many.
const EXPANSION_FACTOR_MAX: u64 = 22;

pub(super) struct Reader<'a> {
    /// What is not decompressed yet.
    data: &'a [u8],
    /// Whether `data` is a sequence of blocks with lengths, or one raw block.
    framed: bool,
    /// The present block, decompressed, and how much of it has been read.
    block: Vec<u8>,
    read_bytes: usize,
    /// The cap, and how much of it the next blocks may still use.
    cap_bytes: u64,
    left_bytes: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(data: &'a [u8], cap_bytes: u64) -> Reader<'a> {
        let framed = data.len() >= XERIAL_HEADER_BYTES && data.starts_with(XERIAL_MAGIC);
        let data = if framed { &data[XERIAL_HEADER_BYTES..] } else { data };
        Reader { data, framed, block: Vec::new(), read_bytes: 0, cap_bytes, left_bytes: cap_bytes }
    }

    /// Takes the next block's compressed bytes off the data.
    fn next_block(&mut self) -> io::Result<&'a [u8]> {
        if !self.framed {
            return Ok(std::mem::take(&mut self.data));
        }
        let (length, rest) = self
            .data
            .split_first_chunk::<4>()
            .ok_or_else(|| invalid("the data ends in the length of a snappy block"))?;
        let length = usize::try_from(i32::from_be_bytes(*length))
            .map_err(|_| invalid("a snappy block has a negative length"))?;
        let (block, rest) =
            rest.split_at_checked(length).ok_or_else(|| invalid("the data ends within a snappy block"))?;
        self.data = rest;
        Ok(block)
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A block may be empty: the loop ends because each turn takes at least a byte of the data.
        while self.read_bytes == self.block.len() && !self.data.is_empty() {
            let compressed = self.next_block()?;
            let claimed = snap::raw::decompress_len(compressed)? as u64;
            if claimed > self.left_bytes {
                return Err(cap_exceeded(self.cap_bytes));
            }
            if claimed > compressed.len() as u64 * EXPANSION_FACTOR_MAX {
                return Err(invalid("a snappy block claims more bytes than its data can hold"));
            }
            self.block = snap::raw::Decoder::new().decompress_vec(compressed)?;
            self.left_bytes -= claimed;
            self.read_bytes = 0;
        }
        let unread = &self.block[self.read_bytes..];
        let length = unread.len().min(buffer.len());
        buffer[..length].copy_from_slice(&unread[..length]);
        self.read_bytes += length;
        Ok(length)
    }
}
