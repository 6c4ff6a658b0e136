//! A record batch: the bytes of a Kafka RecordBatch v2, stored and sent as they are.
//!
//! Source: the Kafka protocol documentation, "Record Batch". All integers are big endian.
//!
//! ```text
//!  0 baseOffset i64      8 batchLength i32    12 partitionLeaderEpoch i32   16 magic i8   17 crc u32
//! 21 attributes i16     23 lastOffsetDelta i32   27 baseTimestamp i64   35 maxTimestamp i64
//! 43 producerId i64     51 producerEpoch i16     53 baseSequence i32    57 recordCount i32   61 records
//! ```
//!
//! The checksum (CRC-32C) covers everything from byte 21 on. A leader stamps base offset and leader epoch into the
//! first 21 bytes without touching the rest, so a [`Batch`] keeps those 21 bytes apart from the shared remainder.

mod attributes;
mod builder;
mod error;
mod record;
mod records;
mod validate;
mod varint;

pub use attributes::{Attributes, TimestampType};
pub use builder::{BatchBuilder, PushError};
pub use error::{BatchError, RecordError, RecordField};
pub use record::{NewRecord, Record, RecordHeader};
pub use records::Records;
pub use validate::{
    Checked, HEADERS_PER_RECORD_BYTES_MAX, HEADERS_PER_RECORD_MAX_COUNT, ValidateOptions, validate,
};

use crate::{Compression, Offset, Term, crc32c::crc32c};
use bytes::{Bytes, BytesMut};

/// Bytes before the part that the batch's own checksum covers.
pub const PREFIX_BYTES: usize = 21;
/// Bytes of the whole header.
pub const HEADER_BYTES: usize = 61;
/// Bytes up to and with `batchLength`, which it does not count.
const LENGTH_END: usize = 12;
/// The version of the format.
const MAGIC: u8 = 2;

/// One well-formed batch header with its records; whether the records are sound is [`validate`]'s business.
///
/// Invariant: magic is 2, `batchLength` is the true length, `0 <= recordCount <= lastOffsetDelta + 1`, and the offsets
/// of all records lie below 2^63.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    prefix: [u8; PREFIX_BYTES],
    rest: Bytes,
}

/// In and out.
impl Batch {
    /// Takes one batch, which must be all of `bytes`; the records are shared, not copied. Checks the header's form,
    /// not the checksum nor the records: see [`validate`].
    ///
    /// # Errors
    /// The bytes are not exactly one batch of version 2.
    pub fn decode(mut bytes: Bytes) -> Result<Batch, BatchError> {
        let available_bytes = bytes.len() as u64;
        let nothing = BatchError::Truncated { needed_bytes: HEADER_BYTES as u64, available_bytes };
        let batch = next_batch(&mut bytes)?.ok_or(nothing)?;
        match bytes.len() as u64 {
            0 => Ok(batch),
            excess_bytes => Err(BatchError::TrailingBytes { excess_bytes }),
        }
    }

    /// Takes a batch's bytes back from the log or a peer. Checks what memory safety and offsets rest on (length,
    /// magic, counts), not the checksum: see [`Batch::checksum_matches`].
    pub fn from_parts(prefix: [u8; PREFIX_BYTES], rest: Bytes) -> Option<Batch> {
        Batch::check_form(prefix, rest).ok()
    }

    fn check_form(prefix: [u8; PREFIX_BYTES], rest: Bytes) -> Result<Batch, BatchError> {
        let (needed_bytes, available_bytes) = (HEADER_BYTES as u64, (PREFIX_BYTES + rest.len()) as u64);
        if available_bytes < needed_bytes {
            return Err(BatchError::Truncated { needed_bytes, available_bytes });
        }
        let batch = Batch { prefix, rest };
        let needed_bytes = whole_bytes(&batch.prefix)?;
        if needed_bytes > available_bytes {
            return Err(BatchError::Truncated { needed_bytes, available_bytes });
        }
        if needed_bytes < available_bytes {
            return Err(BatchError::TrailingBytes { excess_bytes: available_bytes - needed_bytes });
        }
        let record_count = i32::from_be_bytes(batch.rest_field::<57, 4>());
        let last_offset_delta = i32::from_be_bytes(batch.rest_field::<23, 4>());
        if last_offset_delta < 0 || record_count < 0 || batch.record_count() > batch.span() {
            return Err(batch.counts_error());
        }
        let base_offset = i64::from_be_bytes(batch.prefix_field::<0, 8>());
        if base_offset < 0 || base_offset.checked_add(i64::from(batch.span())).is_none() {
            return Err(BatchError::BaseOffset { base_offset });
        }
        Ok(batch)
    }

    /// The first 21 bytes, where the stamp is.
    pub fn prefix(&self) -> &[u8; PREFIX_BYTES] {
        &self.prefix
    }

    /// Everything from byte 21 on, shared.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }

    /// The size of the whole batch in bytes.
    pub fn len_bytes(&self) -> usize {
        PREFIX_BYTES + self.rest.len()
    }

    /// Appends all of its bytes to `buffer`.
    pub fn write_to(&self, buffer: &mut BytesMut) {
        buffer.reserve(self.len_bytes());
        buffer.extend_from_slice(&self.prefix);
        buffer.extend_from_slice(&self.rest);
    }

    /// All of its bytes in one piece, copied.
    pub fn to_bytes(&self) -> Bytes {
        let mut buffer = BytesMut::new();
        self.write_to(&mut buffer);
        buffer.freeze()
    }
}

/// The header.
impl Batch {
    /// The offset of the first record.
    pub fn base_offset(&self) -> Offset {
        Offset(u64::from_be_bytes(self.prefix_field::<0, 8>()))
    }

    /// The leader epoch as it was stamped; -1 before that. The term it was made of may be larger than 31 bits.
    pub fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(self.prefix_field::<12, 4>())
    }

    /// The checksum as it is written.
    pub fn checksum(&self) -> u32 {
        u32::from_be_bytes(self.prefix_field::<17, 4>())
    }

    /// Whether the checksum is that of the bytes.
    pub fn checksum_matches(&self) -> bool {
        self.checksum() == crc32c(&self.rest)
    }

    /// Compression and flags.
    pub fn attributes(&self) -> Attributes {
        Attributes(u16::from_be_bytes(self.rest_field::<21, 2>()))
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`BatchError::UnknownCompression`] if no codec has the number.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        self.attributes().compression()
    }

    /// The last record's offset less the first one's, as they were when the batch was appended.
    pub fn last_offset_delta(&self) -> u32 {
        u32::from_be_bytes(self.rest_field::<23, 4>())
    }

    /// Offsets consumed: compaction takes records out of a batch, and never an offset.
    pub fn span(&self) -> u32 {
        self.last_offset_delta() + 1
    }

    /// The first offset after this batch.
    pub fn end_offset(&self) -> Offset {
        self.base_offset().plus(self.span())
    }

    /// What the records' timestamps count from, in ms since the Unix epoch.
    pub fn base_timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(self.rest_field::<27, 8>())
    }

    /// The greatest timestamp, in ms since the Unix epoch: the client's word for it, unless the type is
    /// [`TimestampType::LogAppendTime`].
    pub fn max_timestamp_ms(&self) -> i64 {
        i64::from_be_bytes(self.rest_field::<35, 8>())
    }

    /// The idempotent producer that sent it; -1: none.
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.rest_field::<43, 8>())
    }

    /// The epoch of that producer; -1: none.
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.rest_field::<51, 2>())
    }

    /// The sequence number of the first record; -1: none.
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.rest_field::<53, 4>())
    }

    /// The number of records; at most the span.
    pub fn record_count(&self) -> u32 {
        u32::from_be_bytes(self.rest_field::<57, 4>())
    }

    /// The records as they are, compressed or not; shared.
    pub fn records_data(&self) -> Bytes {
        self.rest.slice(HEADER_BYTES - PREFIX_BYTES..)
    }

    /// The field of `N` bytes at byte `AT` of the batch, before the part that the checksum covers.
    fn prefix_field<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= PREFIX_BYTES) };
        self.prefix[AT..AT + N].try_into().expect("the range has N bytes")
    }

    /// The same within the part that the checksum covers.
    fn rest_field<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(PREFIX_BYTES <= AT && AT + N <= HEADER_BYTES) };
        let at = AT - PREFIX_BYTES;
        self.rest[at..at + N].try_into().expect("the range has N bytes")
    }

    fn counts_error(&self) -> BatchError {
        BatchError::Counts {
            record_count: self.record_count().cast_signed(),
            last_offset_delta: i32::from_be_bytes(self.rest_field::<23, 4>()),
        }
    }
}

/// What a leader changes.
impl Batch {
    /// Stamps base offset and leader epoch; nothing that the checksum covers changes.
    pub fn stamp(&mut self, base_offset: Offset, leader_epoch: Term) {
        assert!(
            base_offset.as_i64().checked_add(i64::from(self.span())).is_some(),
            "no offsets are left after {base_offset}"
        );
        self.prefix[..8].copy_from_slice(&base_offset.as_i64().to_be_bytes());
        self.prefix[12..16].copy_from_slice(&(leader_epoch.0 as i32).to_be_bytes());
    }

    /// Gives every record the broker's time (`message.timestamp.type=LogAppendTime`): rewrites attributes, greatest
    /// timestamp and checksum. Copies the batch if its bytes are shared.
    pub fn set_log_append_time(&mut self, now_ms: i64) {
        let attributes = self.attributes().with_log_append_time();
        let rest = std::mem::take(&mut self.rest);
        let mut rest = rest.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        rest[..2].copy_from_slice(&attributes.0.to_be_bytes());
        rest[35 - PREFIX_BYTES..43 - PREFIX_BYTES].copy_from_slice(&now_ms.to_be_bytes());
        self.prefix[17..].copy_from_slice(&crc32c(&rest).to_be_bytes());
        self.rest = rest.freeze();
    }
}

/// Takes the next batch off `bytes`, several of which may follow one another as in an answer to a fetch; `None` at
/// their end. Checks what [`Batch::decode`] checks. After an error, `bytes` is as it was.
///
/// # Errors
/// The bytes do not begin with a whole batch of version 2.
pub fn next_batch(bytes: &mut Bytes) -> Result<Option<Batch>, BatchError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let available_bytes = bytes.len() as u64;
    let truncated = |needed_bytes| BatchError::Truncated { needed_bytes, available_bytes };
    let (prefix, _) =
        bytes.split_first_chunk::<PREFIX_BYTES>().ok_or_else(|| truncated(HEADER_BYTES as u64))?;
    let needed_bytes = whole_bytes(prefix)?;
    if needed_bytes > available_bytes {
        return Err(truncated(needed_bytes));
    }
    let end = needed_bytes as usize;
    let batch = Batch::check_form(*prefix, bytes.slice(PREFIX_BYTES..end))?;
    let _ = bytes.split_to(end);
    Ok(Some(batch))
}

/// The size in bytes of the batch that begins like this.
fn whole_bytes(prefix: &[u8; PREFIX_BYTES]) -> Result<u64, BatchError> {
    // Magic first: older versions have it at the same place, and lengths that would only confuse.
    if prefix[16] != MAGIC {
        return Err(BatchError::Magic { magic: prefix[16].cast_signed() });
    }
    let batch_length = i32::from_be_bytes(prefix[8..LENGTH_END].try_into().expect("the range has 4 bytes"));
    let least = (HEADER_BYTES - LENGTH_END) as i32;
    if batch_length < least {
        return Err(BatchError::Length { batch_length, least });
    }
    Ok(u64::from(batch_length.cast_unsigned()) + LENGTH_END as u64)
}
