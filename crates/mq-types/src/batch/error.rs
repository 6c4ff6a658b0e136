//! Why the bytes of a batch are refused.

use crate::{Compression, ErrorCode};

/// Why a batch is refused. Nothing of it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// There are fewer bytes than the batch needs.
    #[error("a batch of {needed_bytes} bytes is cut off after {available_bytes}")]
    Truncated {
        /// What the header, or the length in it, asks for.
        needed_bytes: u64,
        /// What is there.
        available_bytes: u64,
    },
    /// There is more than one batch.
    #[error("{excess_bytes} bytes follow the batch; send batches one by one")]
    TrailingBytes {
        /// How many bytes follow.
        excess_bytes: u64,
    },
    /// The length cannot be one.
    #[error("batchLength is {batch_length}; it counts everything after itself, so it is at least {least}")]
    Length {
        /// The field as it is.
        batch_length: i32,
        /// The length of a batch without records.
        least: i32,
    },
    /// Not version 2 of the format.
    #[error("the batch has magic {magic}; only magic 2 (Kafka 0.11 and later) is known")]
    Magic {
        /// The field as it is.
        magic: i8,
    },
    /// The counts contradict each other.
    #[error("recordCount {record_count} and lastOffsetDelta {last_offset_delta} contradict each other")]
    Counts {
        /// The field as it is.
        record_count: i32,
        /// The field as it is.
        last_offset_delta: i32,
    },
    /// The offsets of its records would pass 2^63.
    #[error("baseOffset {base_offset} is negative, or no room is left above it")]
    BaseOffset {
        /// The field as it is.
        base_offset: i64,
    },
    /// Larger than allowed.
    #[error("the batch has {size_bytes} bytes; at most {max_bytes} are allowed: send fewer records at once")]
    TooLarge {
        /// Its size.
        size_bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// No codec has this number.
    #[error("there is no compression number {number}; 0 is none, 1 gzip, 2 snappy, 3 lz4, 4 zstd")]
    UnknownCompression {
        /// The number in the attributes.
        number: u8,
    },
    /// Attribute bits that a client may not set.
    #[error("attribute bits {bits:#06x} are not a client's to set; only compression (bits 0 to 2) is")]
    Attributes {
        /// Those bits.
        bits: u16,
    },
    /// Producer ids are not served.
    #[error("the batch has producer id {producer_id}; idempotent producers are not supported: send -1")]
    ProducerId {
        /// The field as it is.
        producer_id: i64,
    },
    /// Its content was changed on the way.
    #[error(
        "the batch has checksum {stored:#010x} but its bytes have {computed:#010x}: it was damaged on the way"
    )]
    Checksum {
        /// The field as it is.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The data does not decompress.
    #[error("the records are not valid {compression} data (after {decompressed_bytes} bytes of records)")]
    Compressed {
        /// The codec that the attributes name.
        compression: Compression,
        /// How far decompression came.
        decompressed_bytes: u64,
    },
    /// The data decompresses to too much.
    #[error("the records decompress to more than the {max_bytes} bytes allowed: send fewer records at once")]
    DecompressedTooLarge {
        /// The limit.
        max_bytes: u64,
    },
    /// A record is not what the format demands.
    #[error("record {number} of the batch: {error}")]
    Record {
        /// Which record, from 0.
        number: u32,
        /// What is wrong with it.
        error: RecordError,
    },
    /// More bytes than records.
    #[error("there are bytes after the last of the batch's {record_count} records")]
    BytesAfterRecords {
        /// The number of records in the header.
        record_count: u32,
    },
}

impl BatchError {
    /// What a client that sent the batch is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            BatchError::TooLarge { .. } | BatchError::DecompressedTooLarge { .. } => ErrorCode::BatchTooLarge,
            BatchError::ProducerId { .. } => ErrorCode::Unimplemented,
            _ => ErrorCode::CorruptBatch,
        }
    }
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The batch ends before the record does.
    #[error("the batch ends within it")]
    CutOff,
    /// A number runs on beyond its type.
    #[error("a variable-length number does not end, or is out of range")]
    Varint,
    /// The record's own length is negative.
    #[error("its length is {length}")]
    Length {
        /// The field as it is.
        length: i32,
    },
    /// Its fields need more than its length.
    #[error("its fields go beyond its length")]
    Overrun,
    /// Its fields need less than its length.
    #[error("{excess_bytes} of its bytes belong to no field")]
    ExcessBytes {
        /// How many bytes are left over.
        excess_bytes: u64,
    },
    /// Unknown attribute bits.
    #[error("its attributes are {bits:#04x}; they are reserved and must be 0")]
    Attributes {
        /// The field as it is.
        bits: u8,
    },
    /// The timestamp passes 64 bits.
    #[error("its timestamp delta {delta_ms} leaves the range of a timestamp")]
    Timestamp {
        /// The field as it is, in ms.
        delta_ms: i64,
    },
    /// Its offset is not the one that must come here.
    #[error("its offset delta is {found}; {expected} must come here")]
    OffsetDelta {
        /// The field as it is.
        found: i32,
        /// The offset delta that must come, or the least that may.
        expected: u32,
    },
    /// A field's length cannot be.
    #[error("the length of its {field} is {length}; {left_bytes} bytes are left")]
    FieldLength {
        /// Which field.
        field: RecordField,
        /// The length as it is.
        length: i32,
        /// What is left of the record.
        left_bytes: u64,
    },
    /// The number of headers cannot be.
    #[error("it claims {count} headers in {left_bytes} bytes")]
    HeaderCount {
        /// The field as it is.
        count: i32,
        /// What is left of the record.
        left_bytes: u64,
    },
    /// A header's key is not text.
    #[error("a header key is not valid UTF-8")]
    HeaderKeyText,
    /// More headers than anybody needs: decoded, each costs a reader many times its bytes.
    #[error("it has more than {max_count} headers")]
    TooManyHeaders {
        /// The limit.
        max_count: u32,
    },
    /// Headers that are themselves the message.
    #[error("its headers have more than {max_bytes} bytes; put what is large into the value")]
    HeadersTooLarge {
        /// The limit.
        max_bytes: u64,
    },
}

/// A field of a record that has a length of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordField {
    /// The record's key.
    Key,
    /// The record's value.
    Value,
    /// A header's key.
    HeaderKey,
    /// A header's value.
    HeaderValue,
}

impl std::fmt::Display for RecordField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RecordField::Key => "key",
            RecordField::Value => "value",
            RecordField::HeaderKey => "header key",
            RecordField::HeaderValue => "header value",
        })
    }
}
