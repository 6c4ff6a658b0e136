//! What a client may send: everything about a batch is checked before it enters a log, since a batch that is wrong
//! would fail every later reader.
//!
//! The records stream by once, through the decompressor if they are compressed; nothing of them is kept, and nothing
//! is allocated for what a length field claims. Where the batch may go is not decided here.

use super::record::{self, Input};
use super::records::decompression_error;
use super::{Batch, BatchError, RecordError};
use crate::{Compression, crc32c::crc32c};
use std::io::{self, BufRead, BufReader};

/// Decompressed bytes held at a time.
const WINDOW_BYTES: usize = 16 * 1024;

/// Headers that one record may have. An empty one has two bytes in a batch and some sixty once it is decoded.
pub const HEADERS_PER_RECORD_MAX_COUNT: u32 = 1_024;
/// The bytes that the headers of one record may have together, counted from the first one's key to the end.
pub const HEADERS_PER_RECORD_BYTES_MAX: u64 = 256 * 1024;

/// The limits that a batch is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidateOptions {
    /// The largest batch, in bytes as it was sent (a topic's `max.message.bytes`).
    pub size_bytes_max: usize,
    /// The most that its records may decompress to, in bytes.
    pub decompressed_bytes_max: usize,
}

/// A batch that passed [`validate`]; nothing else makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    batch: Batch,
    records_bytes: u64,
}

impl Checked {
    /// The batch.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The batch, to be stamped.
    pub fn into_batch(self) -> Batch {
        self.batch
    }

    /// The size of its records in bytes, decompressed.
    pub fn records_bytes(&self) -> u64 {
        self.records_bytes
    }
}

/// Checks all of a batch that a client sent. Base offset and leader epoch may be anything: the leader stamps them.
///
/// # Errors
/// The first thing that a client may not send; [`BatchError::code`] has the client's error code for it.
pub fn validate(batch: &Batch, options: &ValidateOptions) -> Result<Checked, BatchError> {
    let (size_bytes, max_bytes) = (batch.len_bytes() as u64, options.size_bytes_max as u64);
    if size_bytes > max_bytes {
        return Err(BatchError::TooLarge { size_bytes, max_bytes });
    }
    let compression = batch.compression()?;
    let forbidden = batch.attributes().not_for_clients();
    if forbidden.0 != 0 {
        return Err(BatchError::Attributes { bits: forbidden.0 });
    }
    if batch.record_count() != batch.span() {
        return Err(batch.counts_error());
    }
    if batch.producer_id() != -1 {
        return Err(BatchError::ProducerId { producer_id: batch.producer_id() });
    }
    let (stored, computed) = (batch.checksum(), crc32c(batch.rest()));
    if stored != computed {
        return Err(BatchError::Checksum { stored, computed });
    }
    let records_bytes = walk_records(batch, compression, options.decompressed_bytes_max as u64)?;
    assert!(batch.record_count() > 0, "a span is at least 1, and the count equals it");
    Ok(Checked { batch: batch.clone(), records_bytes })
}

/// Walks all records and answers how many bytes they have.
fn walk_records(batch: &Batch, compression: Compression, bytes_max: u64) -> Result<u64, BatchError> {
    let data = batch.records_data();
    if compression == Compression::None {
        // The size of the batch is the limit here. No buffer stands between the walk and the bytes.
        return Walk::new(&data[..], compression).all(batch);
    }
    let decompressor = compression
        .decompress(&data, bytes_max)
        .map_err(|error| decompression_error(&error, compression, 0))?;
    Walk::new(BufReader::with_capacity(WINDOW_BYTES, decompressor), compression).all(batch)
}

/// Lets records stream by.
struct Walk<R> {
    input: R,
    compression: Compression,
    /// Bytes that went by.
    read_bytes: u64,
    /// Within a record: the value of `read_bytes` at which it ends.
    end: Option<u64>,
    /// Headers of the present record so far.
    headers_count: u32,
    /// The value of `read_bytes` at which the key of its first header began.
    headers_begin: u64,
}

/// Why the walk stops.
enum WalkError {
    /// A record is wrong.
    Record(RecordError),
    /// The data cannot be decompressed.
    Input(io::Error),
}

impl From<RecordError> for WalkError {
    fn from(error: RecordError) -> WalkError {
        WalkError::Record(error)
    }
}

impl From<io::Error> for WalkError {
    fn from(error: io::Error) -> WalkError {
        WalkError::Input(error)
    }
}

impl<R: BufRead> Walk<R> {
    fn new(input: R, compression: Compression) -> Walk<R> {
        Walk { input, compression, read_bytes: 0, end: None, headers_count: 0, headers_begin: 0 }
    }

    fn all(mut self, batch: &Batch) -> Result<u64, BatchError> {
        let record_count = batch.record_count();
        for number in 0..record_count {
            self.one(number, batch.base_timestamp_ms()).map_err(|error| match error {
                WalkError::Record(error) => BatchError::Record { number, error },
                WalkError::Input(error) => decompression_error(&error, self.compression, self.read_bytes),
            })?;
        }
        // The end of the input is where codecs check their own checksums.
        match self.input.fill_buf() {
            Ok([]) => Ok(self.read_bytes),
            Ok(_) => Err(BatchError::BytesAfterRecords { record_count }),
            Err(error) => Err(decompression_error(&error, self.compression, self.read_bytes)),
        }
    }

    fn one(&mut self, number: u32, base_timestamp_ms: i64) -> Result<(), WalkError> {
        let parsed = record::read(self)?;
        // Nothing of a record is kept here, so its headers may be measured once they have gone by.
        if self.headers_count > 0 && self.read_bytes - self.headers_begin > HEADERS_PER_RECORD_BYTES_MAX {
            return Err(RecordError::HeadersTooLarge { max_bytes: HEADERS_PER_RECORD_BYTES_MAX }.into());
        }
        if u32::try_from(parsed.offset_delta) != Ok(number) {
            return Err(RecordError::OffsetDelta { found: parsed.offset_delta, expected: number }.into());
        }
        let delta_ms = parsed.timestamp_delta_ms;
        if base_timestamp_ms.checked_add(delta_ms).is_none() {
            return Err(RecordError::Timestamp { delta_ms }.into());
        }
        Ok(())
    }

    /// Lets `length` bytes go by, in whatever pieces they come.
    fn pass(
        &mut self,
        length: u32,
        mut see: impl FnMut(&[u8]) -> Result<(), RecordError>,
    ) -> Result<(), WalkError> {
        let mut left = length as usize;
        while left > 0 {
            let available = self.input.fill_buf()?;
            if available.is_empty() {
                return Err(RecordError::CutOff.into());
            }
            let piece = &available[..available.len().min(left)];
            see(piece)?;
            let passed = piece.len();
            self.input.consume(passed);
            self.read_bytes += passed as u64;
            left -= passed;
        }
        Ok(())
    }
}

impl<R: BufRead> Input for Walk<R> {
    type Error = WalkError;
    type Piece = ();

    fn byte(&mut self) -> Result<u8, WalkError> {
        if self.end == Some(self.read_bytes) {
            return Err(RecordError::Overrun.into());
        }
        let byte = *self.input.fill_buf()?.first().ok_or(RecordError::CutOff)?;
        self.input.consume(1);
        self.read_bytes += 1;
        Ok(byte)
    }

    fn enter(&mut self, length: u32) -> Result<(), WalkError> {
        self.end = Some(self.read_bytes + u64::from(length));
        self.headers_count = 0;
        Ok(())
    }

    fn left_bytes(&self) -> u64 {
        self.end.unwrap_or(self.read_bytes) - self.read_bytes
    }

    fn leave(&mut self) {
        self.end = None;
    }

    fn piece(&mut self, length: u32) -> Result<(), WalkError> {
        self.pass(length, |_| Ok(()))
    }

    fn header_key(&mut self, key_length: u32) -> Result<(), WalkError> {
        if self.headers_count == 0 {
            self.headers_begin = self.read_bytes;
        }
        self.headers_count += 1;
        if self.headers_count > HEADERS_PER_RECORD_MAX_COUNT {
            return Err(RecordError::TooManyHeaders { max_count: HEADERS_PER_RECORD_MAX_COUNT }.into());
        }
        let mut text = Utf8::default();
        self.pass(key_length, |piece| text.see(piece))?;
        text.end()?;
        Ok(())
    }

    fn header_value(&mut self, _value: Option<()>) {}
}

/// Checks UTF-8 that comes in pieces; a character may be cut at any byte.
#[derive(Default)]
struct Utf8 {
    /// The bytes of a character that has begun: 3 at most, and the fourth completes it.
    begun: [u8; 4],
    begun_bytes: usize,
}

impl Utf8 {
    fn see(&mut self, mut piece: &[u8]) -> Result<(), RecordError> {
        while self.begun_bytes > 0 {
            let Some((first, rest)) = piece.split_first() else { return Ok(()) };
            piece = rest;
            self.begun[self.begun_bytes] = *first;
            self.begun_bytes += 1;
            match str::from_utf8(&self.begun[..self.begun_bytes]) {
                Ok(_) => self.begun_bytes = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(RecordError::HeaderKeyText),
            }
        }
        if let Err(error) = str::from_utf8(piece) {
            if error.error_len().is_some() {
                return Err(RecordError::HeaderKeyText);
            }
            let tail = &piece[error.valid_up_to()..];
            self.begun[..tail.len()].copy_from_slice(tail);
            self.begun_bytes = tail.len();
        }
        Ok(())
    }

    fn end(&self) -> Result<(), RecordError> {
        if self.begun_bytes == 0 { Ok(()) } else { Err(RecordError::HeaderKeyText) }
    }
}
