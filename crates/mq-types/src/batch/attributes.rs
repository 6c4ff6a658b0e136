//! The attributes of a batch: 16 bits in its header.
//!
//! ```text
//! bits 0-2 compression   3 timestamp type   4 transactional   5 control   6 delete horizon   7-15 unused
//! ```

use super::BatchError;
use crate::Compression;

const COMPRESSION_MASK: u16 = 0b111;
const LOG_APPEND_TIME: u16 = 1 << 3;
const TRANSACTIONAL: u16 = 1 << 4;
const CONTROL: u16 = 1 << 5;
const DELETE_HORIZON: u16 = 1 << 6;

/// Whose clock the timestamps of a batch come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's: every record has the batch's greatest timestamp.
    LogAppendTime,
}

/// The attributes as they are, known bits or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub u16);

impl Attributes {
    /// Those of a producer's plain batch.
    pub fn with_compression(compression: Compression) -> Attributes {
        Attributes(u16::from(compression.number()))
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`BatchError::UnknownCompression`] if no codec has the number.
    pub fn compression(self) -> Result<Compression, BatchError> {
        let number = (self.0 & COMPRESSION_MASK) as u8;
        Compression::from_number(number).ok_or(BatchError::UnknownCompression { number })
    }

    /// Whose clock the timestamps come from.
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// The same attributes with timestamps of the broker's clock.
    pub fn with_log_append_time(self) -> Attributes {
        Attributes(self.0 | LOG_APPEND_TIME)
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    /// Whether the batch holds a transaction's end instead of a client's records.
    pub fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    /// Whether the base timestamp is the time from which compaction may drop tombstones (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON != 0
    }

    /// Everything that a client may not send: all bits but the compression.
    pub fn not_for_clients(self) -> Attributes {
        Attributes(self.0 & !COMPRESSION_MASK)
    }
}
