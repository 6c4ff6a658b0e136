//! Forges batches that no builder would make: any header fields and any records, with the right length and checksum.

use bytes::{BufMut, Bytes, BytesMut};
use mq_types::Compression;
use mq_types::batch::{BatchBuilder, HEADER_BYTES, NewRecord, PREFIX_BYTES, ValidateOptions};
use mq_types::crc32c::crc32c;

/// Limits that only bombs pass.
pub(crate) const LIMITS: ValidateOptions =
    ValidateOptions { size_bytes_max: 16 << 20, decompressed_bytes_max: 1 << 20 };

/// The fields that tests lie about.
#[derive(Clone, Debug)]
pub(crate) struct Forged {
    pub(crate) base_offset: i64,
    pub(crate) magic: u8,
    pub(crate) attributes: u16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp_ms: i64,
    pub(crate) producer_id: i64,
    pub(crate) record_count: i32,
    pub(crate) records: Vec<u8>,
}

impl Forged {
    /// An honest header for `record_count` records that are not compressed.
    pub(crate) fn plain(record_count: i32, records: &[u8]) -> Forged {
        Forged {
            base_offset: 0,
            magic: 2,
            attributes: 0,
            last_offset_delta: record_count - 1,
            base_timestamp_ms: 1_000,
            producer_id: -1,
            record_count,
            records: records.to_vec(),
        }
    }

    /// The same with data that should be of this codec.
    pub(crate) fn compressed(compression: Compression, record_count: i32, data: &[u8]) -> Forged {
        Forged { attributes: u16::from(compression.number()), ..Forged::plain(record_count, data) }
    }

    pub(crate) fn bytes(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_i64(self.base_offset);
        bytes.put_u32((HEADER_BYTES - 12 + self.records.len()) as u32);
        bytes.put_i32(-1);
        bytes.put_u8(self.magic);
        bytes.put_u32(0);
        bytes.put_u16(self.attributes);
        bytes.put_i32(self.last_offset_delta);
        bytes.put_i64(self.base_timestamp_ms);
        bytes.put_i64(2_000);
        bytes.put_i64(self.producer_id);
        bytes.put_i16(-1);
        bytes.put_i32(-1);
        bytes.put_i32(self.record_count);
        bytes.extend_from_slice(&self.records);
        with_true_checksum(bytes)
    }
}

/// The same bytes with the checksum that belongs to them, if they are long enough to have one.
pub(crate) fn with_true_checksum(mut bytes: BytesMut) -> Bytes {
    if bytes.len() >= PREFIX_BYTES {
        let crc = crc32c(&bytes[PREFIX_BYTES..]);
        bytes[17..PREFIX_BYTES].copy_from_slice(&crc.to_be_bytes());
    }
    bytes.freeze()
}

/// The same bytes with the `batchLength` and the checksum that belong to them.
pub(crate) fn with_true_length(mut bytes: BytesMut) -> Bytes {
    let length = u32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    with_true_checksum(bytes)
}

/// The uncompressed bytes of one record with one value.
pub(crate) fn one_record(value: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(&NewRecord { value: Some(value), ..NewRecord::default() }).unwrap();
    builder.finish(Compression::None).records_data().to_vec()
}

/// An ordinary batch of a few records that every codec makes smaller.
pub(crate) fn ordinary(compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new();
    for number in 0..4_u8 {
        builder
            .push(&NewRecord {
                timestamp_ms: 1_000 + i64::from(number),
                key: Some(&[number]),
                value: Some(&[b'v'; 60]),
                headers: &[("trace", Some(b"0123456789")), ("trace", None)],
            })
            .unwrap();
    }
    let batch = builder.finish(compression);
    assert_eq!(batch.compression(), Ok(compression));
    batch.to_bytes()
}
