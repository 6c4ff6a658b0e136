//! Batches from the network: decoded, validated, read, built anew. What the parts say of one batch must agree.
//!
//! The first byte of an input says how the rest becomes a batch: as it is, or with header and checksum put right, or
//! with records compressed here, so that mutations get past the checksum and into the codecs.

use bytes::{Bytes, BytesMut};
use mq_types::batch::{
    self, BatchBuilder, HEADER_BYTES, NewRecord, PREFIX_BYTES, PushError, Record, RecordError,
    ValidateOptions, next_batch, validate,
};
use mq_types::crc32c::crc32c;
use mq_types::{Batch, BatchError, Compression, Offset, Term};
use std::io::Read;

/// Length, magic and checksum are put right.
const FIX_HEADER: u8 = 1;
/// The records are compressed as the attributes say.
const COMPRESS: u8 = 2;

/// The longest message to a client, in bytes.
const MESSAGE_BYTES_MAX: usize = 200;
const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;
const LIMITS: ValidateOptions =
    ValidateOptions { size_bytes_max: 1 << 20, decompressed_bytes_max: DECOMPRESSED_BYTES_MAX };

/// Checks everything that holds for any bytes.
pub fn check(data: &[u8]) {
    let Some((mode, bytes)) = data.split_first() else { return };
    let bytes = prepare(*mode, bytes);
    let batch = match Batch::decode(bytes.clone()) {
        Ok(batch) => batch,
        Err(error) => return check_message(&error),
    };
    assert_eq!(batch.to_bytes(), bytes, "a batch is its bytes");
    assert_eq!(Batch::from_parts(*batch.prefix(), batch.rest().clone()), Some(batch.clone()));
    check_sequence(&batch, &bytes);
    let read = read_all(&batch);
    match validate(&batch, &LIMITS) {
        Ok(checked) => {
            let records = read.expect("what is valid can be read");
            check_sound(&batch, &records, checked.records_bytes());
        }
        Err(error) => {
            check_message(&error);
            check_refusal(&error, &read);
        }
    }
}

/// Inputs to begin with: real batches in every codec and both modes, and some that are nearly right.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new(), vec![0; 62], vec![FIX_HEADER; 80]];
    let text = "so that codecs find something to do, ".repeat(20);
    let headers: &[(&str, Option<&[u8]>)] = &[("name", Some(b"value")), ("naïve", None)];
    for codec in Compression::ALL {
        for (count, value) in [(1, None), (3, Some(&b"short"[..])), (7, Some(text.as_bytes()))] {
            let mut builder = BatchBuilder::new();
            for number in 0..count {
                let key = number.to_string();
                let key = (number % 2 == 1).then_some(key.as_bytes());
                let headers = if number % 3 == 1 { headers } else { &[] };
                let record = NewRecord { timestamp_ms: 1_000 + number, key, value, headers };
                builder.push(&record).expect("it fits");
            }
            let plain = builder.clone().finish(Compression::None).to_bytes();
            let real = builder.finish(codec).to_bytes();
            seeds.push([&[0], &real[..]].concat());
            seeds.push([&[FIX_HEADER], &real[..]].concat());
            let mut compressed_here = [&[FIX_HEADER | COMPRESS], &plain[..]].concat();
            compressed_here[1 + 22] = codec.number();
            seeds.push(compressed_here);
        }
    }
    seeds
}

/// The bytes of a batch, made as the mode says.
fn prepare(mode: u8, bytes: &[u8]) -> Bytes {
    let mut bytes = BytesMut::from(bytes);
    if bytes.len() < HEADER_BYTES {
        return bytes.freeze();
    }
    if mode & COMPRESS != 0
        && let Some(codec) = Compression::from_number(bytes[22] & 0b111)
    {
        let data = codec.compress(&bytes[HEADER_BYTES..]).expect("it is small");
        bytes.truncate(HEADER_BYTES);
        bytes.extend_from_slice(&data);
    }
    if mode & FIX_HEADER != 0 {
        let length = (bytes.len() - 12) as u32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        let crc = crc32c(&bytes[PREFIX_BYTES..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    bytes.freeze()
}

/// What a client is told fits on a line.
fn check_message(error: &BatchError) {
    let message = error.to_string();
    assert!(message.len() <= MESSAGE_BYTES_MAX && !message.contains(char::is_control), "{message:?}");
    let _ = error.code();
}

/// Two of them after each other are taken off one by one.
fn check_sequence(batch: &Batch, bytes: &Bytes) {
    let mut two = Bytes::from([&bytes[..], &bytes[..]].concat());
    for _ in 0..2 {
        assert_eq!(next_batch(&mut two).as_ref(), Ok(&Some(batch.clone())));
    }
    assert_eq!(next_batch(&mut two), Ok(None));
}

/// The records as a consumer gets them, of any batch that decodes; what holds for them even if it is not valid.
fn read_all(batch: &Batch) -> Result<Vec<Record>, BatchError> {
    let mut records = Vec::new();
    let mut next_offset = batch.base_offset();
    let mut iterator = batch.records(DECOMPRESSED_BYTES_MAX)?;
    while let Some(record) = iterator.next() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                assert!(iterator.next().is_none(), "the first error is the end");
                check_message(&error);
                return Err(error);
            }
        };
        assert!(record.offset >= next_offset && record.offset < batch.end_offset(), "{}", record.offset);
        next_offset = record.offset.plus(1);
        records.push(record);
    }
    assert_eq!(records.len(), batch.record_count() as usize, "without an error, none is missing");
    Ok(records)
}

/// A valid batch: dense offsets, the size that was said, and the same when built anew.
fn check_sound(batch: &Batch, records: &[Record], records_bytes: u64) {
    let offsets = records.iter().map(|record| record.offset);
    assert!(offsets.eq((0..batch.span()).map(|delta| batch.base_offset().plus(delta))), "dense offsets");
    let codec = batch.compression().expect("a valid batch has a known codec");
    let mut data = Vec::new();
    codec
        .decompress(&batch.records_data(), DECOMPRESSED_BYTES_MAX as u64)
        .and_then(|mut reader| reader.read_to_end(&mut data))
        .expect("what is valid decompresses within the cap");
    assert_eq!(data.len() as u64, records_bytes);

    for compression in [Compression::None, codec] {
        let Some(mut built) = build(records, compression) else { continue };
        built.stamp(batch.base_offset(), Term(7));
        assert_eq!(read_all(&built).as_deref(), Ok(records), "built anew with {compression}");
        let limits = ValidateOptions { size_bytes_max: usize::MAX, ..LIMITS };
        validate(&built, &limits).expect("what is built here is valid");
    }

    let mut stamped = batch.clone();
    stamped.stamp(Offset(1 << 40), Term(3));
    assert!(stamped.checksum_matches() && stamped.rest() == batch.rest(), "a stamp changes no record");
    stamped.set_log_append_time(99);
    assert!(stamped.checksum_matches());
    let timed = read_all(&stamped).expect("a broker's time changes no record");
    assert!(timed.iter().all(|record| record.timestamp_ms == 99));
}

/// The same records in a new batch; `None` if their times are too far from each other for one.
fn build(records: &[Record], compression: Compression) -> Option<Batch> {
    let mut builder = BatchBuilder::new();
    for record in records {
        let headers: Vec<_> =
            record.headers.iter().map(|header| (header.key.as_str(), header.value.as_deref())).collect();
        let new = NewRecord {
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        let foreseen_bytes = builder.size_bytes_with(&new);
        match builder.push(&new) {
            Ok(()) => assert_eq!(builder.size_bytes(), foreseen_bytes),
            Err(PushError::Timestamp { .. }) => return None,
            Err(error) => panic!("{error}"),
        }
    }
    Some(builder.finish(compression))
}

/// What no producer may send because of its records, no reader takes either: both find the same batches bad.
fn check_refusal(error: &BatchError, read: &Result<Vec<Record>, BatchError>) {
    let unreadable = match error {
        // Compaction makes gaps, and older versions took more headers: readers accept both.
        BatchError::Record {
            error:
                RecordError::OffsetDelta { .. }
                | RecordError::TooManyHeaders { .. }
                | RecordError::HeadersTooLarge { .. },
            ..
        } => false,
        BatchError::Record { .. }
        | BatchError::Compressed { .. }
        | BatchError::DecompressedTooLarge { .. }
        | BatchError::BytesAfterRecords { .. }
        | BatchError::UnknownCompression { .. } => true,
        _ => false,
    };
    assert!(!unreadable || read.is_err(), "readers accept what {error} says");
}

const _: () = assert!(batch::HEADER_BYTES == 61, "the seeds above name bytes of the header");
