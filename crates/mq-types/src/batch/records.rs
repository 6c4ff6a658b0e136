//! The records of a batch, one by one. Uncompressed, they are slices of the batch; otherwise of what it decompresses to.
//!
//! Gaps between offsets are accepted, since compaction makes them.

use super::record::{self, Input};
use super::{Batch, BatchError, Record, RecordError, RecordHeader, TimestampType};
use crate::compression::CapExceeded;
use crate::{Compression, Offset};
use bytes::Bytes;
use std::io::{self, Read};

impl Batch {
    /// Its records, in the order of their offsets. Compressed records are decompressed here, as a whole.
    ///
    /// # Errors
    /// The codec is unknown, the data is not of that codec, or it decompresses to more than `decompressed_bytes_max`.
    /// The iterator ends after its first error.
    pub fn records(&self, decompressed_bytes_max: usize) -> Result<Records, BatchError> {
        let compression = self.compression()?;
        let data = self.records_data();
        let data = match compression {
            Compression::None => data,
            // Compaction may leave a batch without records, and then without data.
            _ if self.record_count() == 0 => Bytes::new(),
            _ => decompress_all(compression, &data, decompressed_bytes_max)?,
        };
        let (base_timestamp_ms, fixed_timestamp_ms) = match self.attributes().timestamp_type() {
            TimestampType::CreateTime => (self.base_timestamp_ms(), None),
            TimestampType::LogAppendTime => (0, Some(self.max_timestamp_ms())),
        };
        Ok(Records {
            input: Slices { data, at: 0, end: None, headers: Vec::new() },
            base_offset: self.base_offset(),
            base_timestamp_ms,
            fixed_timestamp_ms,
            next_number: 0,
            record_count: self.record_count(),
            next_offset_delta: 0,
            offset_deltas: self.span(),
        })
    }
}

fn decompress_all(compression: Compression, data: &[u8], bytes_max: usize) -> Result<Bytes, BatchError> {
    let mut records = Vec::new();
    let outcome = compression
        .decompress(data, bytes_max as u64)
        .and_then(|mut decompressor| decompressor.read_to_end(&mut records));
    match outcome {
        Ok(_) => Ok(Bytes::from(records)),
        Err(error) => Err(decompression_error(&error, compression, records.len() as u64)),
    }
}

/// The batch's error for one of a decompressor, which came `decompressed_bytes` far.
pub(super) fn decompression_error(
    error: &io::Error,
    compression: Compression,
    decompressed_bytes: u64,
) -> BatchError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<CapExceeded>()) {
        Some(exceeded) => BatchError::DecompressedTooLarge { max_bytes: exceeded.cap_bytes },
        None => BatchError::Compressed { compression, decompressed_bytes },
    }
}

/// Iterates over the records of a batch. See [`Batch::records`].
#[derive(Clone, Debug)]
pub struct Records {
    input: Slices,
    base_offset: Offset,
    base_timestamp_ms: i64,
    /// With `LogAppendTime`, the timestamp of every record.
    fixed_timestamp_ms: Option<i64>,
    /// Counts the records that were read.
    next_number: u32,
    record_count: u32,
    /// Offsets grow: the least that the next record may have, and where they end.
    next_offset_delta: u32,
    offset_deltas: u32,
}

impl Records {
    /// The size of the buffer that keys and values are slices of, in bytes: each of them keeps all of it.
    pub fn data_bytes(&self) -> usize {
        self.input.data.len()
    }

    fn read(&mut self) -> Result<Record, RecordError> {
        let parsed = record::read(&mut self.input)?;
        let (found, expected) = (parsed.offset_delta, self.next_offset_delta);
        let offset_delta = u32::try_from(found)
            .ok()
            .filter(|delta| (expected..self.offset_deltas).contains(delta))
            .ok_or(RecordError::OffsetDelta { found, expected })?;
        self.next_offset_delta = offset_delta + 1;
        let delta_ms = parsed.timestamp_delta_ms;
        let timestamp_ms = match self.fixed_timestamp_ms {
            Some(fixed) => fixed,
            None => {
                self.base_timestamp_ms.checked_add(delta_ms).ok_or(RecordError::Timestamp { delta_ms })?
            }
        };
        Ok(Record {
            offset: self.base_offset.plus(offset_delta),
            timestamp_ms,
            key: parsed.key,
            value: parsed.value,
            headers: std::mem::take(&mut self.input.headers),
        })
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next_number == self.record_count {
            let record_count = self.record_count;
            let excess = std::mem::take(&mut self.input.data).len() > self.input.at;
            self.input.at = 0;
            return excess.then_some(Err(BatchError::BytesAfterRecords { record_count }));
        }
        let number = self.next_number;
        let outcome = self.read().map_err(|error| BatchError::Record { number, error });
        self.next_number += 1;
        if outcome.is_err() {
            self.next_number = self.record_count;
            self.input.data.clear();
            self.input.at = 0;
        }
        Some(outcome)
    }
}

/// Records in memory, of which slices are taken.
#[derive(Clone, Debug)]
struct Slices {
    data: Bytes,
    /// What is read next.
    at: usize,
    /// Within a record: where it ends.
    end: Option<usize>,
    /// The headers of the present record.
    headers: Vec<RecordHeader>,
}

impl Input for Slices {
    type Error = RecordError;
    type Piece = Bytes;

    fn byte(&mut self) -> Result<u8, RecordError> {
        if self.end == Some(self.at) {
            return Err(RecordError::Overrun);
        }
        let byte = *self.data.get(self.at).ok_or(RecordError::CutOff)?;
        self.at += 1;
        Ok(byte)
    }

    fn enter(&mut self, length: u32) -> Result<(), RecordError> {
        let end = self.at + length as usize;
        if end > self.data.len() {
            return Err(RecordError::CutOff);
        }
        self.end = Some(end);
        Ok(())
    }

    fn left_bytes(&self) -> u64 {
        (self.end.unwrap_or(self.at) - self.at) as u64
    }

    fn leave(&mut self) {
        self.end = None;
    }

    fn piece(&mut self, length: u32) -> Result<Bytes, RecordError> {
        let begin = self.at;
        self.at += length as usize;
        Ok(self.data.slice(begin..self.at))
    }

    fn header_key(&mut self, key_length: u32) -> Result<(), RecordError> {
        let begin = self.at;
        self.at += key_length as usize;
        let key = str::from_utf8(&self.data[begin..self.at]).map_err(|_| RecordError::HeaderKeyText)?;
        self.headers.push(RecordHeader { key: key.to_owned(), value: None });
        Ok(())
    }

    fn header_value(&mut self, value: Option<Bytes>) {
        let header = self.headers.last_mut().expect("a header's key comes before its value");
        header.value = value;
    }
}
