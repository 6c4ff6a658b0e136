//! Makes a batch of records: what a producer does, and the broker for a client that sends records one by one.
//!
//! When a batch is full is the caller's decision; the builder only says how large it is.

use super::{Attributes, Batch, HEADER_BYTES, LENGTH_END, MAGIC, NewRecord, PREFIX_BYTES, varint};
use crate::{Compression, crc32c::crc32c};
use bytes::{BufMut, BytesMut};

/// `batchLength` is 31 bits and leaves out the first 12 bytes.
const SIZE_BYTES_MAX: usize = i32::MAX as usize;

/// Why a record does not go into the batch, which stays as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The batch would be larger than its format can say.
    #[error("the batch would have {size_bytes} bytes; the format ends at {SIZE_BYTES_MAX}: begin another")]
    TooLarge {
        /// The size it would have, uncompressed.
        size_bytes: usize,
    },
    /// The timestamps of one batch lie within 64 bits of each other.
    #[error("timestamp {timestamp_ms} ms is too far from the batch's first, {base_timestamp_ms} ms")]
    Timestamp {
        /// That of the record.
        timestamp_ms: i64,
        /// That of the batch's first record.
        base_timestamp_ms: i64,
    },
}

/// A batch in the making.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// Room for the header, then the records, uncompressed.
    bytes: BytesMut,
    record_count: u32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

impl Default for BatchBuilder {
    fn default() -> BatchBuilder {
        BatchBuilder::new()
    }
}

impl BatchBuilder {
    /// A batch without records.
    pub fn new() -> BatchBuilder {
        BatchBuilder {
            bytes: BytesMut::zeroed(HEADER_BYTES),
            record_count: 0,
            base_timestamp_ms: 0,
            max_timestamp_ms: i64::MIN,
        }
    }

    /// The number of records so far.
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Whether there are no records yet.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// The size of the batch in bytes if it were finished now without compression.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The size in bytes that the batch would have with this record, without compression.
    pub fn size_bytes_with(&self, record: &NewRecord<'_>) -> usize {
        let delta_ms = record.timestamp_ms.wrapping_sub(self.first_timestamp_ms(record));
        let body_bytes = record.body_bytes(delta_ms, self.record_count);
        self.bytes.len() + varint::len_bytes(body_bytes as i64) + body_bytes
    }

    /// Adds a record at the next offset.
    ///
    /// # Errors
    /// The format cannot hold it in this batch; a new batch can, unless the record alone is too large.
    pub fn push(&mut self, record: &NewRecord<'_>) -> Result<(), PushError> {
        let base_timestamp_ms = self.first_timestamp_ms(record);
        let timestamp_ms = record.timestamp_ms;
        let delta_ms = timestamp_ms
            .checked_sub(base_timestamp_ms)
            .ok_or(PushError::Timestamp { timestamp_ms, base_timestamp_ms })?;
        let size_bytes = self.size_bytes_with(record);
        if size_bytes > SIZE_BYTES_MAX {
            return Err(PushError::TooLarge { size_bytes });
        }
        let body_bytes = record.body_bytes(delta_ms, self.record_count);
        self.bytes.reserve(size_bytes - self.bytes.len());
        record.put(&mut self.bytes, body_bytes, delta_ms, self.record_count);
        assert_eq!(self.bytes.len(), size_bytes, "a record takes the room that was foreseen");
        self.base_timestamp_ms = base_timestamp_ms;
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        self.record_count += 1;
        Ok(())
    }

    /// The batch, with base offset 0 and no leader epoch: both are the leader's to stamp. The builder begins anew.
    ///
    /// There must be a record. Compression that does not make the records smaller is left out.
    pub fn finish(&mut self, compression: Compression) -> Batch {
        assert!(!self.is_empty(), "a batch has at least one record");
        let BatchBuilder { mut bytes, record_count, base_timestamp_ms, max_timestamp_ms } =
            std::mem::take(self);
        let mut used = Compression::None;
        if compression != Compression::None {
            let compressed = compression
                .compress(&bytes[HEADER_BYTES..])
                .expect("less than 2 GiB in memory is within the limits of every codec");
            if compressed.len() < bytes.len() - HEADER_BYTES {
                bytes.truncate(HEADER_BYTES);
                bytes.extend_from_slice(&compressed);
                used = compression;
            }
        }
        let last_offset_delta = record_count - 1;
        let mut fields = &mut bytes[PREFIX_BYTES..HEADER_BYTES];
        fields.put_u16(Attributes::with_compression(used).0);
        fields.put_u32(last_offset_delta);
        fields.put_i64(base_timestamp_ms);
        fields.put_i64(max_timestamp_ms);
        fields.put_i64(-1); // producer id: none
        fields.put_i16(-1); // producer epoch: none
        fields.put_i32(-1); // base sequence: none
        fields.put_u32(record_count);

        let rest = bytes.split_off(PREFIX_BYTES).freeze();
        let batch_length =
            u32::try_from(PREFIX_BYTES + rest.len() - LENGTH_END).expect("the size is limited to 31 bits");
        let mut prefix = [0; PREFIX_BYTES];
        let mut fields = &mut prefix[..];
        fields.put_u64(0);
        fields.put_u32(batch_length);
        fields.put_i32(-1); // leader epoch: not stamped
        fields.put_u8(MAGIC);
        fields.put_u32(crc32c(&rest));
        Batch::from_parts(prefix, rest).expect("what is built here is well formed")
    }

    /// The timestamp that the batch's deltas count from if `record` comes next.
    fn first_timestamp_ms(&self, record: &NewRecord<'_>) -> i64 {
        if self.is_empty() { record.timestamp_ms } else { self.base_timestamp_ms }
    }
}
