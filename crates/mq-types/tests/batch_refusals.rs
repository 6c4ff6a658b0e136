//! What a stranger may send: lies, cuts, flips, bombs and noise. Each is an error, none a panic or an allocation.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod forge;

use bytes::{Bytes, BytesMut};
use forge::{Forged, LIMITS, one_record, ordinary, with_true_checksum, with_true_length};
use mq_types::batch::{
    BatchBuilder, BatchError, HEADER_BYTES, HEADERS_PER_RECORD_BYTES_MAX, HEADERS_PER_RECORD_MAX_COUNT,
    NewRecord, RecordError, RecordField, ValidateOptions, next_batch, validate,
};
use mq_types::{Batch, Compression, ErrorCode};
use proptest::prelude::*;

/// A record of `one_record(b"x")`: length 7, attributes, timestamp and offset delta 0, key null, value "x", no headers.
const RECORD: [u8; 8] = [14, 0, 0, 0, 1, 2, b'x', 0];

fn check(bytes: Bytes) -> Result<(), BatchError> {
    validate(&Batch::decode(bytes)?, &LIMITS).map(drop)
}

/// Reads as a consumer does, to the end or the first error.
fn read(bytes: Bytes) -> Result<usize, BatchError> {
    let mut count = 0;
    for record in Batch::decode(bytes)?.records(LIMITS.decompressed_bytes_max)? {
        record?;
        count += 1;
    }
    Ok(count)
}

fn record_error(bytes: &[u8]) -> RecordError {
    let forged = Forged::plain(1, bytes).bytes();
    let Err(BatchError::Record { number: 0, error }) = check(forged.clone()) else {
        panic!("{bytes:?} passed, or failed otherwise: {:?}", check(forged))
    };
    error
}

#[test]
fn a_batch_cut_anywhere_is_an_error() {
    for compression in Compression::ALL {
        let whole = ordinary(compression);
        for end in 0..whole.len() {
            let available_bytes = end as u64;
            let mut cut = whole.slice(..end);
            let error = Batch::decode(cut.clone()).unwrap_err();
            assert!(
                matches!(error, BatchError::Truncated { needed_bytes, available_bytes: available }
                    if available == available_bytes && needed_bytes > available_bytes),
                "{compression} cut at {end}: {error}"
            );
            let taken = next_batch(&mut cut);
            assert_eq!(taken, if end == 0 { Ok(None) } else { Err(error) });
            assert_eq!(cut.len(), end, "nothing is taken off after an error");
        }
    }
}

#[test]
fn a_cut_that_the_length_and_the_checksum_hide_is_an_error() {
    for compression in Compression::ALL {
        let whole = ordinary(compression);
        assert_eq!(check(whole.clone()), Ok(()));
        for end in HEADER_BYTES..whole.len() {
            let cut = with_true_length(BytesMut::from(&whole[..end]));
            assert!(check(cut.clone()).is_err(), "{compression} cut at {end}");
            assert!(read(cut).is_err() || compression != Compression::None, "{compression} cut at {end}");
        }
    }
}

#[test]
fn bytes_after_the_records_are_an_error() {
    for compression in Compression::ALL {
        for tail in [&[0][..], &[0; 9], b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"] {
            let mut bytes = BytesMut::from(&ordinary(compression)[..]);
            bytes.extend_from_slice(tail);
            let hidden = with_true_length(bytes.clone());
            assert!(check(hidden.clone()).is_err(), "{compression} with {tail:?}");
            assert!(read(hidden).is_err(), "{compression} with {tail:?}");
            let excess_bytes = tail.len() as u64;
            assert_eq!(Batch::decode(bytes.freeze()), Err(BatchError::TrailingBytes { excess_bytes }));
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_unless_it_lies_in_the_stamp() {
    for compression in Compression::ALL {
        let whole = ordinary(compression);
        for bit in 0..whole.len() * 8 {
            let mut flipped = BytesMut::from(&whole[..]);
            flipped[bit / 8] ^= 1 << (bit % 8);
            let in_stamp = matches!(bit / 8, 0..8 | 12..16);
            let outcome = check(flipped.freeze());
            // The sign bit of the base offset is refused, too: such an offset cannot be.
            assert_eq!(outcome.is_ok(), in_stamp && bit != 7, "{compression}, bit {bit}: {outcome:?}");
        }
    }
}

#[test]
fn what_passes_the_check_can_be_read_whatever_was_changed() {
    for compression in Compression::ALL {
        let whole = ordinary(compression);
        for bit in HEADER_BYTES * 8..whole.len() * 8 {
            let mut flipped = BytesMut::from(&whole[..]);
            flipped[bit / 8] ^= 1 << (bit % 8);
            let flipped = with_true_checksum(flipped);
            if check(flipped.clone()).is_ok() {
                assert_eq!(read(flipped), Ok(4), "{compression}, bit {bit}");
            } else {
                let _ = read(flipped);
            }
        }
    }
}

#[test]
fn headers_that_lie_are_refused_with_the_numbers() {
    let good = Forged::plain(1, &RECORD);
    assert_eq!(check(good.bytes()), Ok(()));
    let max = i32::MAX;
    let cases: Vec<(Forged, BatchError)> = vec![
        (Forged { magic: 1, ..good.clone() }, BatchError::Magic { magic: 1 }),
        (Forged { magic: 0xff, ..good.clone() }, BatchError::Magic { magic: -1 }),
        (
            Forged { record_count: 2, ..good.clone() },
            BatchError::Counts { record_count: 2, last_offset_delta: 0 },
        ),
        (
            Forged { record_count: -1, ..good.clone() },
            BatchError::Counts { record_count: -1, last_offset_delta: 0 },
        ),
        (
            Forged { record_count: 0, ..good.clone() },
            BatchError::Counts { record_count: 0, last_offset_delta: 0 },
        ),
        (
            Forged { last_offset_delta: -1, record_count: 0, ..good.clone() },
            BatchError::Counts { record_count: 0, last_offset_delta: -1 },
        ),
        (
            Forged { last_offset_delta: max, ..good.clone() },
            BatchError::Counts { record_count: 1, last_offset_delta: max },
        ),
        (Forged { base_offset: -1, ..good.clone() }, BatchError::BaseOffset { base_offset: -1 }),
        (Forged { base_offset: i64::MAX, ..good.clone() }, BatchError::BaseOffset { base_offset: i64::MAX }),
        (Forged { attributes: 5, ..good.clone() }, BatchError::UnknownCompression { number: 5 }),
        (Forged { attributes: 7, ..good.clone() }, BatchError::UnknownCompression { number: 7 }),
        (Forged { producer_id: 0, ..good.clone() }, BatchError::ProducerId { producer_id: 0 }),
        (Forged { producer_id: -2, ..good.clone() }, BatchError::ProducerId { producer_id: -2 }),
    ];
    for (forged, error) in cases {
        assert_eq!(check(forged.bytes()), Err(error), "{forged:?}");
    }
    for bit in 3..16 {
        let bits = 1 << bit;
        let forged = Forged { attributes: bits, ..good.clone() };
        assert_eq!(check(forged.bytes()), Err(BatchError::Attributes { bits }));
    }
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    for batch_length in [i32::MIN, -1, 0, 48] {
        let mut bytes = BytesMut::from(&ordinary(Compression::None)[..]);
        bytes[8..12].copy_from_slice(&batch_length.to_be_bytes());
        assert_eq!(Batch::decode(bytes.freeze()), Err(BatchError::Length { batch_length, least: 49 }));
    }
    let mut bytes = BytesMut::from(&ordinary(Compression::None)[..]);
    bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    let available_bytes = bytes.len() as u64;
    let error = BatchError::Truncated { needed_bytes: i32::MAX as u64 + 12, available_bytes };
    assert_eq!(Batch::decode(bytes.freeze()), Err(error));
}

#[test]
fn a_batch_taken_apart_is_put_together_only_if_it_still_fits() {
    let batch = Batch::decode(ordinary(Compression::None)).unwrap();
    let (prefix, rest) = (*batch.prefix(), batch.rest().clone());
    assert_eq!(Batch::from_parts(prefix, rest.clone()), Some(batch));
    assert_eq!(Batch::from_parts(prefix, rest.slice(..rest.len() - 1)), None);
    assert_eq!(Batch::from_parts(prefix, rest.slice(..3)), None);
    assert_eq!(Batch::from_parts(prefix, Bytes::new()), None);
    assert_eq!(Batch::from_parts([0; 21], rest), None);
}

#[test]
fn sixty_one_bytes_that_claim_two_billion_records_are_an_error() {
    let claim = Forged { record_count: i32::MAX, last_offset_delta: i32::MAX - 1, ..Forged::plain(1, &[]) };
    let cut_off = BatchError::Record { number: 0, error: RecordError::CutOff };
    assert_eq!(claim.bytes().len(), 61);
    assert_eq!((check(claim.bytes()), read(claim.bytes())), (Err(cut_off), Err(cut_off)));
    for compression in &Compression::ALL[1..] {
        let claim = Forged { attributes: u16::from(compression.number()), ..claim.clone() };
        assert!(check(claim.bytes()).is_err() && read(claim.bytes()).is_err(), "{compression}");
    }
}

#[test]
fn records_that_lie_are_refused_with_the_numbers() {
    let field = |field, length, left_bytes| RecordError::FieldLength { field, length, left_bytes };
    assert_eq!(record_error(&[]), RecordError::CutOff);
    assert_eq!(record_error(&[1]), RecordError::Length { length: -1 });
    assert_eq!(record_error(&[0]), RecordError::Overrun);
    assert_eq!(record_error(&[0x80, 0x80, 0x80, 0x80, 0x80]), RecordError::Varint);
    assert_eq!(record_error(&[0xff, 0xff, 0xff, 0xff, 0x1f]), RecordError::Varint);
    assert_eq!(record_error(&[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]), RecordError::CutOff);
    assert_eq!(record_error(&[14, 1, 0, 0, 1, 2, b'x', 0]), RecordError::Attributes { bits: 1 });
    assert_eq!(
        record_error(&[14, 0, 0, 2, 1, 2, b'x', 0]),
        RecordError::OffsetDelta { found: 1, expected: 0 }
    );
    assert_eq!(
        record_error(&[14, 0, 0, 1, 1, 2, b'x', 0]),
        RecordError::OffsetDelta { found: -1, expected: 0 }
    );
    assert_eq!(record_error(&[14, 0, 0, 0, 3, 2, b'x', 0]), field(RecordField::Key, -2, 3));
    assert_eq!(record_error(&[14, 0, 0, 0, 1, 6, b'x', 0]), field(RecordField::Value, 3, 2));
    assert_eq!(record_error(&[14, 0, 0, 0, 1, 0, 0, 0]), RecordError::ExcessBytes { excess_bytes: 1 });
    assert_eq!(
        record_error(&[14, 0, 0, 0, 1, 1, 4, 0]),
        RecordError::HeaderCount { count: 2, left_bytes: 1 }
    );
    assert_eq!(
        record_error(&[14, 0, 0, 0, 1, 1, 1, 0]),
        RecordError::HeaderCount { count: -1, left_bytes: 1 }
    );
    assert_eq!(record_error(&[16, 0, 0, 0, 1, 1, 2, 1, 1]), field(RecordField::HeaderKey, -1, 1));
    assert_eq!(record_error(&[16, 0, 0, 0, 1, 1, 2, 0, 2]), field(RecordField::HeaderValue, 1, 0));
    assert_eq!(record_error(&[18, 0, 0, 0, 1, 1, 2, 2, 0xff, 1]), RecordError::HeaderKeyText);
    assert_eq!(record_error(&[18, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]), RecordError::CutOff);
    assert_eq!(record_error(&[6, 0, 0x80, 0x80, 0x80]), RecordError::Overrun);
}

#[test]
fn a_timestamp_beyond_64_bits_is_refused() {
    let forged = Forged { base_timestamp_ms: i64::MAX, ..Forged::plain(1, &[14, 0, 2, 0, 1, 2, b'x', 0]) };
    let error = BatchError::Record { number: 0, error: RecordError::Timestamp { delta_ms: 1 } };
    assert_eq!((check(forged.bytes()), read(forged.bytes())), (Err(error), Err(error)));
}

#[test]
fn a_second_record_with_the_first_ones_offset_is_refused() {
    let forged = Forged::plain(2, &RECORD.repeat(2));
    let error = RecordError::OffsetDelta { found: 0, expected: 1 };
    let error = BatchError::Record { number: 1, error };
    assert_eq!((check(forged.bytes()), read(forged.bytes())), (Err(error), Err(error)));
}

#[test]
fn gaps_are_read_but_not_taken_from_a_client() {
    let mut records = RECORD.repeat(2);
    records[3] = 4; // offset delta 2
    records[11] = 14; // offset delta 7
    let compacted = Forged { base_offset: 100, last_offset_delta: 9, ..Forged::plain(2, &records) };
    let batch = Batch::decode(compacted.bytes()).unwrap();
    let offsets: Vec<u64> = batch.records(0).unwrap().map(|record| record.unwrap().offset.0).collect();
    assert_eq!((offsets, batch.end_offset().0), (vec![102, 107], 110));
    let error = BatchError::Counts { record_count: 2, last_offset_delta: 9 };
    assert_eq!(check(compacted.bytes()), Err(error));

    for compression in Compression::ALL {
        let attributes = u16::from(compression.number());
        let emptied = Forged { attributes, last_offset_delta: 3, ..Forged::plain(0, &[]) };
        assert_eq!(read(emptied.bytes()), Ok(0), "{compression}");
    }
}

#[test]
fn size_is_limited_before_anything_else() {
    let bytes = ordinary(Compression::None);
    let size_bytes = bytes.len() as u64;
    let batch = Batch::decode(bytes).unwrap();
    let limits = |max: u64| ValidateOptions { size_bytes_max: max as usize, ..LIMITS };
    assert!(validate(&batch, &limits(size_bytes)).is_ok());
    let error = BatchError::TooLarge { size_bytes, max_bytes: size_bytes - 1 };
    assert_eq!(validate(&batch, &limits(size_bytes - 1)), Err(error));
    assert_eq!(error.code(), ErrorCode::BatchTooLarge);
}

#[test]
fn bombs_hit_the_cap_in_every_codec() {
    let max_bytes = LIMITS.decompressed_bytes_max as u64;
    let bomb = one_record(&vec![0; 12 << 20]);
    for compression in &Compression::ALL[1..] {
        let data = compression.compress(&bomb).unwrap();
        let forged = Forged::compressed(*compression, 1, &data);
        let error = BatchError::DecompressedTooLarge { max_bytes };
        assert_eq!(check(forged.bytes()), Err(error), "{compression}");
        assert_eq!(read(forged.bytes()), Err(error), "{compression}");
        assert_eq!(error.code(), ErrorCode::BatchTooLarge);
    }
}

#[test]
fn records_of_exactly_the_cap_pass_and_one_byte_more_does_not() {
    let records = one_record(&[7; 100_000]);
    for compression in &Compression::ALL[1..] {
        let data = compression.compress(&records).unwrap();
        let batch = Batch::decode(Forged::compressed(*compression, 1, &data).bytes()).unwrap();
        let limits = |cap| ValidateOptions { decompressed_bytes_max: cap, ..LIMITS };
        let checked = validate(&batch, &limits(records.len())).unwrap();
        assert_eq!(checked.records_bytes(), records.len() as u64, "{compression}");
        let max_bytes = records.len() as u64 - 1;
        let error = BatchError::DecompressedTooLarge { max_bytes };
        assert_eq!(validate(&batch, &limits(records.len() - 1)), Err(error), "{compression}");
    }
}

#[test]
fn a_header_key_is_text_wherever_the_stream_is_cut() {
    // The walk sees compressed records in windows; characters of 1 to 4 bytes fall across their ends.
    for shift in 0..4 {
        let text = "x".repeat(shift) + &"\u{e9}\u{20ac}\u{1d11e}".repeat(8_000);
        for (wrong_at, passes) in [(None, true), (Some(text.len() - 1), false), (Some(40_000), false)] {
            let mut records = headers_of(&text);
            if let Some(at) = wrong_at {
                let begin = records.len() - 1 - text.len();
                records[begin + at] = 0xff;
            }
            for compression in Compression::ALL {
                let data = compression.compress(&records).unwrap();
                let bytes = Forged::compressed(compression, 1, &data).bytes();
                let error = BatchError::Record { number: 0, error: RecordError::HeaderKeyText };
                let expected = if passes { Ok(()) } else { Err(error) };
                assert_eq!(check(bytes), expected, "{compression}, shift {shift}, wrong at {wrong_at:?}");
            }
        }
    }
}

#[test]
fn headers_are_limited_in_number_and_bytes_whatever_the_codec() {
    let (most, bytes_max) = (HEADERS_PER_RECORD_MAX_COUNT as usize, HEADERS_PER_RECORD_BYTES_MAX as usize);
    let value = vec![0; bytes_max];
    let too_many = RecordError::TooManyHeaders { max_count: HEADERS_PER_RECORD_MAX_COUNT };
    let too_large = RecordError::HeadersTooLarge { max_bytes: HEADERS_PER_RECORD_BYTES_MAX };
    // A value of this size has three bytes of length before it; the empty key has none that count.
    for (headers, expected) in [
        (vec![("", None); most], None),
        (vec![("", None); most + 1], Some(too_many)),
        (vec![("", Some(&value[3..])); 1], None),
        (vec![("", Some(&value[2..])); 1], Some(too_large)),
        (vec![("", Some(&value[..bytes_max / 2])); 2], Some(too_large)),
    ] {
        for compression in Compression::ALL {
            let mut builder = BatchBuilder::new();
            // The limits are those of each record: what came before does not count.
            for headers in [&headers[..1], &headers[..]] {
                let record = NewRecord { headers, ..NewRecord::default() };
                builder.push(&record).unwrap();
            }
            let bytes = builder.finish(compression).to_bytes();
            let number = u32::from(headers.len() > 1);
            let expected = expected.map_or(Ok(()), |error| Err(BatchError::Record { number, error }));
            assert_eq!(check(bytes), expected, "{compression}, {} headers", headers.len());
        }
    }
}

/// One record with one header, whose key comes last but for the null value's length.
fn headers_of(key: &str) -> Vec<u8> {
    let mut builder = mq_types::batch::BatchBuilder::new();
    let headers = [(key, None)];
    builder.push(&mq_types::batch::NewRecord { headers: &headers, ..Default::default() }).unwrap();
    builder.finish(Compression::None).records_data().to_vec()
}

/// Noise that looks like a batch: right magic, length and checksum, small counts.
fn noise() -> impl Strategy<Value = Bytes> {
    let records = prop::collection::vec(any::<u8>(), 0..200);
    (records, 0..8_u16, 0..4_i32, any::<i64>(), any::<bool>()).prop_map(
        |(records, attributes, record_count, base_timestamp_ms, near)| {
            // Half of it begins like a record, so that the walk comes further.
            let records =
                if near { [&[records.len() as u8 & 0x7e, 0, 0, 0], &records[..]].concat() } else { records };
            Forged { attributes, base_timestamp_ms, ..Forged::plain(record_count, &records) }.bytes()
        },
    )
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        prop_assert!(check(bytes.clone()).is_err());
        let _ = read(bytes);
    }

    #[test]
    fn noise_in_the_form_of_a_batch_never_panics_and_what_passes_is_readable(bytes in noise()) {
        let outcome = check(bytes.clone());
        let count = read(bytes);
        prop_assert!(outcome.is_err() || count.is_ok(), "{outcome:?} but {count:?}");
    }
}
