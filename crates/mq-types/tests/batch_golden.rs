//! Golden bytes: what the format is, pinned. One batch by hand, and the same records as another implementation
//! (kafka-python 3.0) wrote them with each codec.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use bytes::{Bytes, BytesMut};
use mq_types::batch::{
    BatchBuilder, NewRecord, Record, RecordHeader, TimestampType, ValidateOptions, next_batch, validate,
};
use mq_types::{Batch, Compression, Offset, Term};

const LIMITS: ValidateOptions = ValidateOptions { size_bytes_max: 1 << 20, decompressed_bytes_max: 1 << 20 };

/// Two records, byte by byte after the protocol's documentation. The checksum was computed bit by bit elsewhere.
#[rustfmt::skip]
const BY_HAND: [u8; 80] = [
    0, 0, 0, 0, 0, 0, 0, 42, // base offset
    0, 0, 0, 68, // batch length
    0, 0, 0, 7, // leader epoch
    2, // magic
    0xbc, 0xd0, 0xef, 0x3e, // crc
    0, 0, // attributes
    0, 0, 0, 1, // last offset delta
    0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00, // base timestamp 1,700,000,000,000
    0x00, 0x00, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x03, // max timestamp
    255, 255, 255, 255, 255, 255, 255, 255, // producer id
    255, 255, // producer epoch
    255, 255, 255, 255, // base sequence
    0, 0, 0, 2, // record count
    22, // record 0: 11 bytes
    0, 6, 0, // attributes, timestamp delta 3, offset delta 0
    2, b'k', 2, b'v', // key, value
    2, 2, b'h', 1, // one header, with the value null
    12, // record 1: 6 bytes
    0, 0, 2, // attributes, timestamp delta 0, offset delta 1
    1, 1, 0, // key and value null, no headers
];

const NONE: &str = "\
    0000000000000000000000dd0000000002abf60b660000000000020000018bcfe568000000018bcfe56805ffffffffffffff\
    ffffffffffffff00000003aa020000000a6b65792d30f00176616c75652076616c75652076616c75652076616c7565207661\
    6c75652076616c75652076616c75652076616c75652076616c75652076616c75652076616c75652076616c75652076616c75\
    652076616c75652076616c75652076616c75652076616c75652076616c75652076616c75652076616c756520040a74726163\
    65066162630a7472616365010c000a020100001a0013040001020ac3a974c3a900";

const GZIP: &str = "\
    00000000000000000000007d000000000299d4865c0001000000020000018bcfe568000000018bcfe56805ffffffffffffff\
    ffffffffffffff000000031f8b08006a12016b02ff5bc5c4c0c0c0959d5aa96bf081b12c31a7345581fe240b57495162722a\
    5b62523284c5c8c3c0c5c4c8c020c520ccc2c0c8c4757865c9e1950c001409a2b9ac000000";

const SNAPPY: &str = "\
    0000000000000000000000870000000002dd1959010002000000020000018bcfe568000000018bcfe56805ffffffffffffff\
    ffffffffffffff0000000382534e4150505900000000010000000100000042ac0148aa020000000a6b65792d30f00176616c\
    756520fe0600c606002c040a7472616365066162630a050a54010c000a020100001a0013040001020ac3a974c3a900";

const LZ4: &str = "\
    0000000000000000000000860000000002423ed9420003000000020000018bcfe568000000018bcfe56805ffffffffffffff\
    ffffffffffffff0000000304224d186840ac00000000000000853e000000ff04aa020000000a6b65792d30f00176616c7565\
    2006005fb2040a7472616365066162630a00f007010c000a020100001a0013040001020ac3a974c3a90000000000";

const ZSTD: &str = "\
    00000000000000000000007800000000024d35eef60004000000020000018bcfe568000000018bcfe56805ffffffffffffff\
    ffffffffffffff0000000328b52ffd20acf501004403aa020000000a6b65792d30f00176616c756520040a74726163650661\
    6263010c000a020100001a0013040001020ac3a974c3a90002002d83ff929630";

fn bytes_of_hex(hex: &str) -> Bytes {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn bytes(text: &[u8]) -> Option<Bytes> {
    Some(Bytes::copy_from_slice(text))
}

fn records_of_the_other_implementation() -> Vec<Record> {
    let header = |key: &str, value| RecordHeader { key: key.to_owned(), value };
    vec![
        Record {
            offset: Offset(0),
            timestamp_ms: 1_700_000_000_000,
            key: bytes(b"key-0"),
            value: bytes(&b"value ".repeat(20)),
            headers: vec![header("trace", bytes(b"abc")), header("trace", None)],
        },
        Record {
            offset: Offset(1),
            timestamp_ms: 1_700_000_000_005,
            key: None,
            value: bytes(b""),
            headers: vec![],
        },
        Record {
            offset: Offset(2),
            timestamp_ms: 1_699_999_999_990,
            key: bytes(b""),
            value: None,
            headers: vec![header("\u{e9}t\u{e9}", bytes(b""))],
        },
    ]
}

fn read_all(batch: &Batch) -> Vec<Record> {
    batch.records(1 << 20).unwrap().map(Result::unwrap).collect()
}

#[test]
fn every_field_of_the_header_is_where_the_documentation_says() {
    let batch = Batch::decode(Bytes::from_static(&BY_HAND)).unwrap();
    assert_eq!(batch.base_offset(), Offset(42));
    assert_eq!(batch.leader_epoch(), 7);
    assert_eq!(batch.checksum(), u32::from_be_bytes(BY_HAND[17..21].try_into().unwrap()));
    assert!(batch.checksum_matches());
    assert_eq!(batch.compression(), Ok(Compression::None));
    assert_eq!(batch.attributes().timestamp_type(), TimestampType::CreateTime);
    assert!(!batch.attributes().is_transactional() && !batch.attributes().is_control());
    assert!(!batch.attributes().has_delete_horizon());
    assert_eq!((batch.last_offset_delta(), batch.span(), batch.record_count()), (1, 2, 2));
    assert_eq!(batch.end_offset(), Offset(44));
    assert_eq!(batch.base_timestamp_ms(), 1_700_000_000_000);
    assert_eq!(batch.max_timestamp_ms(), 1_700_000_000_003);
    assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (-1, -1, -1));
    assert_eq!(batch.len_bytes(), BY_HAND.len());
    assert_eq!(batch.to_bytes(), &BY_HAND[..]);
    let checked = validate(&batch, &LIMITS).unwrap();
    assert_eq!((checked.records_bytes(), checked.into_batch()), (19, batch));
}

#[test]
fn the_records_by_hand_are_read() {
    let batch = Batch::decode(Bytes::from_static(&BY_HAND)).unwrap();
    let header = RecordHeader { key: "h".to_owned(), value: None };
    assert_eq!(
        read_all(&batch),
        [
            Record {
                offset: Offset(42),
                timestamp_ms: 1_700_000_000_003,
                key: bytes(b"k"),
                value: bytes(b"v"),
                headers: vec![header],
            },
            Record {
                offset: Offset(43),
                timestamp_ms: 1_700_000_000_000,
                key: None,
                value: None,
                headers: vec![],
            },
        ]
    );
}

#[test]
fn the_other_implementations_batches_pass_and_are_read_with_every_codec() {
    let codecs = [NONE, GZIP, SNAPPY, LZ4, ZSTD];
    for (hex, compression) in codecs.into_iter().zip(Compression::ALL) {
        let batch = Batch::decode(bytes_of_hex(hex)).unwrap();
        assert_eq!(batch.compression(), Ok(compression));
        assert_eq!(validate(&batch, &LIMITS).unwrap().records_bytes(), 172, "{compression}");
        assert_eq!(read_all(&batch), records_of_the_other_implementation(), "{compression}");
    }
}

#[test]
fn what_is_built_is_byte_for_byte_what_the_other_implementation_builds() {
    let mut builder = BatchBuilder::new();
    for record in records_of_the_other_implementation() {
        let headers: Vec<_> =
            record.headers.iter().map(|header| (header.key.as_str(), header.value.as_deref())).collect();
        let record = NewRecord {
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        builder.push(&record).unwrap();
    }
    let mut batch = builder.finish(Compression::None);
    assert_eq!(batch.leader_epoch(), -1);
    batch.stamp(Offset(0), Term(0));
    assert_eq!(batch.to_bytes(), bytes_of_hex(NONE));
}

#[test]
fn a_stamp_changes_offset_and_epoch_and_nothing_else() {
    let before = Batch::decode(Bytes::from_static(&BY_HAND)).unwrap();
    let mut batch = before.clone();
    batch.stamp(Offset(1 << 40), Term(9));
    assert_eq!((batch.base_offset(), batch.leader_epoch()), (Offset(1 << 40), 9));
    assert_eq!(batch.to_bytes()[8..12], before.to_bytes()[8..12]);
    assert_eq!(batch.to_bytes()[16..], before.to_bytes()[16..]);
    assert!(batch.checksum_matches());
    assert_eq!(read_all(&batch)[1].offset, Offset((1 << 40) + 1));
}

#[test]
fn log_append_time_replaces_every_timestamp_and_the_checksum_of_this_copy_only() {
    for shared in [false, true] {
        let mut batch = Batch::decode(Bytes::copy_from_slice(&BY_HAND)).unwrap();
        let other = shared.then(|| batch.clone());
        batch.set_log_append_time(123);
        assert!(batch.checksum_matches());
        assert_eq!(batch.attributes().timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!((batch.max_timestamp_ms(), batch.base_timestamp_ms()), (123, 1_700_000_000_000));
        assert!(read_all(&batch).iter().all(|record| record.timestamp_ms == 123));
        assert_eq!(Batch::decode(batch.to_bytes()), Ok(batch));
        if let Some(other) = other {
            assert_eq!(other.to_bytes(), &BY_HAND[..]);
        }
    }
}

#[test]
fn batches_that_follow_one_another_are_taken_one_by_one() {
    let golden = [NONE, GZIP, SNAPPY, LZ4, ZSTD].map(|hex| Batch::decode(bytes_of_hex(hex)).unwrap());
    let mut buffer = BytesMut::new();
    for batch in &golden {
        batch.write_to(&mut buffer);
    }
    let mut bytes = buffer.freeze();
    for batch in golden {
        assert_eq!(next_batch(&mut bytes), Ok(Some(batch)));
    }
    assert_eq!(next_batch(&mut bytes), Ok(None));
}

#[test]
fn keys_and_values_of_uncompressed_records_are_slices_of_the_batch() {
    let bytes = bytes_of_hex(NONE);
    let range = bytes.as_ptr_range();
    let batch = Batch::decode(bytes.clone()).unwrap();
    let value = read_all(&batch).remove(0).value.unwrap();
    assert!(range.contains(&value.as_ptr()));
}
