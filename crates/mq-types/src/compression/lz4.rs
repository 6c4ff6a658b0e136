//! LZ4 frames: exactly one of them, complete.
//!
//! The library's reader takes a frame without an end mark, or an empty block, for the end of the data, and reads blocks
//! that depend on each other; Kafka's own readers fail there. So the frame's outline is walked first.
//! Source: the LZ4 frame format description, version 1.6.

use super::invalid;
use lz4_flex::frame::{BlockMode, FrameDecoder, FrameEncoder, FrameInfo};
use std::io::{self, Read, Write};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const FLAG_INDEPENDENT_BLOCKS: u8 = 1 << 5;
const FLAG_BLOCK_CHECKSUM: u8 = 1 << 4;
const FLAG_CONTENT_SIZE: u8 = 1 << 3;
const FLAG_CONTENT_CHECKSUM: u8 = 1 << 2;
const FLAG_DICTIONARY: u8 = 1;
/// The bit of a block's length that says "stored, not compressed".
const BLOCK_STORED: u32 = 1 << 31;

pub(super) fn compress(data: &[u8]) -> io::Result<Vec<u8>> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(data)?;
    Ok(encoder.finish()?)
}

pub(super) struct Reader<'a> {
    decoder: FrameDecoder<&'a [u8]>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(data: &'a [u8]) -> io::Result<Reader<'a>> {
        check_outline(data)?;
        Ok(Reader { decoder: FrameDecoder::new(data) })
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        // A compressed block of nothing also reads as 0 bytes: then the frame is not over.
        if read == 0 && !buffer.is_empty() && !self.decoder.get_ref().is_empty() {
            return Err(invalid("an lz4 block is empty"));
        }
        Ok(read)
    }
}

/// Walks header, blocks, end mark and checksum of one frame, which must be all of the data.
fn check_outline(data: &[u8]) -> io::Result<()> {
    let mut outline = Outline(data);
    if outline.take::<4>()? != MAGIC {
        return Err(invalid("the data is not an lz4 frame"));
    }
    let [flags, _block_size] = outline.take::<2>()?;
    if flags & FLAG_INDEPENDENT_BLOCKS == 0 {
        return Err(invalid("the blocks of the lz4 frame depend on each other"));
    }
    if flags & FLAG_DICTIONARY != 0 {
        return Err(invalid("the lz4 frame needs a dictionary"));
    }
    outline.skip(if flags & FLAG_CONTENT_SIZE != 0 { 8 } else { 0 })?;
    outline.skip(1)?; // the header's checksum, which the decoder verifies, as it does all others
    loop {
        let block = u32::from_le_bytes(outline.take::<4>()?);
        if block == 0 {
            break;
        }
        let length = block & !BLOCK_STORED;
        if length == 0 {
            return Err(invalid("an lz4 block is empty"));
        }
        outline.skip(length as usize)?;
        outline.skip(if flags & FLAG_BLOCK_CHECKSUM != 0 { 4 } else { 0 })?;
    }
    outline.skip(if flags & FLAG_CONTENT_CHECKSUM != 0 { 4 } else { 0 })?;
    if outline.0.is_empty() { Ok(()) } else { Err(invalid("there are bytes after the lz4 frame")) }
}

struct Outline<'a>(&'a [u8]);

impl Outline<'_> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (bytes, rest) =
            self.0.split_first_chunk::<N>().ok_or_else(|| invalid("the lz4 frame is not complete"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn skip(&mut self, bytes: usize) -> io::Result<()> {
        self.0 = self.0.get(bytes..).ok_or_else(|| invalid("the lz4 frame is not complete"))?;
        Ok(())
    }
}
