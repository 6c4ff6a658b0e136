//! What goes into a builder comes out of the batch, with every codec.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use bytes::Bytes;
use mq_types::batch::{BatchBuilder, NewRecord, PushError, Record, RecordHeader, ValidateOptions, validate};
use mq_types::{Batch, Compression, Offset, Term};
use proptest::prelude::*;

const LIMITS: ValidateOptions = ValidateOptions { size_bytes_max: 1 << 20, decompressed_bytes_max: 1 << 20 };

fn text() -> impl Strategy<Value = Option<Bytes>> {
    let bytes = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(0..4_u8, 0..3_000),
    ];
    prop::option::of(bytes.prop_map(Bytes::from))
}

fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![
        3 => 1_600_000_000_000..1_800_000_000_000_i64,
        1 => i64::MIN / 2..i64::MAX / 2,
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let header = (".{0,12}", text()).prop_map(|(key, value)| RecordHeader { key, value });
    (timestamp(), text(), text(), prop::collection::vec(header, 0..4)).prop_map(
        |(timestamp_ms, key, value, headers)| Record { offset: Offset(0), timestamp_ms, key, value, headers },
    )
}

fn push(builder: &mut BatchBuilder, record: &Record) {
    let headers: Vec<_> =
        record.headers.iter().map(|header| (header.key.as_str(), header.value.as_deref())).collect();
    let record = NewRecord {
        timestamp_ms: record.timestamp_ms,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
    };
    let foreseen = builder.size_bytes_with(&record);
    builder.push(&record).unwrap();
    assert_eq!(builder.size_bytes(), foreseen);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_survive_every_codec(
        mut records in prop::collection::vec(record(), 1..30),
        base_offset in 0..1_u64 << 62,
    ) {
        for compression in Compression::ALL {
            let mut builder = BatchBuilder::new();
            for (delta, record) in records.iter_mut().enumerate() {
                record.offset = Offset(base_offset + delta as u64);
                push(&mut builder, record);
            }
            let uncompressed_bytes = builder.size_bytes();
            let mut batch = builder.finish(compression);
            prop_assert!(builder.is_empty());
            prop_assert!(batch.len_bytes() <= uncompressed_bytes);
            batch.stamp(Offset(base_offset), Term(5));

            let decoded = Batch::decode(batch.to_bytes()).unwrap();
            prop_assert_eq!(&decoded, &batch);
            prop_assert_eq!(decoded.record_count() as usize, records.len());
            prop_assert_eq!(decoded.max_timestamp_ms(), records.iter().map(|r| r.timestamp_ms).max().unwrap());
            let checked = validate(&decoded, &LIMITS).unwrap();
            let records_bytes = (uncompressed_bytes - mq_types::batch::HEADER_BYTES) as u64;
            prop_assert_eq!(checked.records_bytes(), records_bytes);
            let read: Vec<Record> = decoded.records(1 << 20).unwrap().map(Result::unwrap).collect();
            prop_assert_eq!(&read, &records);
        }
    }
}

#[test]
fn timestamps_too_far_apart_for_one_batch_are_refused_and_change_nothing() {
    let mut builder = BatchBuilder::new();
    let at = |timestamp_ms| NewRecord { timestamp_ms, ..NewRecord::default() };
    builder.push(&at(i64::MIN)).unwrap();
    let before = builder.size_bytes();
    let error = PushError::Timestamp { timestamp_ms: 1, base_timestamp_ms: i64::MIN };
    assert_eq!(builder.push(&at(1)), Err(error));
    assert_eq!((builder.size_bytes(), builder.record_count()), (before, 1));
    builder.push(&at(-1)).unwrap();
    assert_eq!(builder.finish(Compression::None).max_timestamp_ms(), -1);
}

#[test]
fn compression_that_gains_nothing_is_left_out() {
    let mut builder = BatchBuilder::new();
    builder.push(&NewRecord::default()).unwrap();
    assert_eq!(builder.finish(Compression::Zstd).compression(), Ok(Compression::None));
}

#[test]
#[should_panic(expected = "at least one record")]
fn a_batch_without_records_is_not_built() {
    BatchBuilder::new().finish(Compression::None);
}
