//! What clients write: records that say who sent them and which one each is, so that a reader can tell.

use mq_checker::history::{Identity, Producer};
use mq_types::batch::{Batch, BatchBuilder, Checked, NewRecord, ValidateOptions, validate};
use mq_types::compression::Compression;
use mq_types::{Offset, batch::BatchError};

/// The smallest value: run, producer, epoch and sequence.
pub(crate) const VALUE_BYTES_MIN: usize = 20;

const LIMITS: ValidateOptions = ValidateOptions { size_bytes_max: 1 << 20, decompressed_bytes_max: 1 << 20 };

/// The value of a record: who, which, and bytes that follow from that.
pub(crate) fn value(producer: Producer, sequence: u64, value_bytes: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(value_bytes.max(VALUE_BYTES_MIN));
    value.extend(producer.run.to_le_bytes());
    value.extend(producer.id.to_le_bytes());
    value.extend(producer.epoch.to_le_bytes());
    value.extend(sequence.to_le_bytes());
    value.resize(value_bytes.max(VALUE_BYTES_MIN), (sequence ^ u64::from(producer.id)) as u8);
    value
}

/// What a value says; one that is too short was sent by nobody.
pub(crate) fn identity(value: &[u8]) -> Identity {
    let number = |at: usize| {
        let bytes = value.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(u32::MAX, u32::from_le_bytes)
    };
    Identity {
        producer: Producer { run: number(0), id: number(4), epoch: number(8) },
        sequence: u64::from(number(12)) | u64::from(number(16)) << 32,
        length_bytes: value.len() as u32,
        hash: crc32fast::hash(value),
    }
}

/// A batch of these values, as a broker's front end hands it on.
pub(crate) fn batch(values: &[Vec<u8>], timestamp_ms: i64) -> Checked {
    let mut builder = BatchBuilder::new();
    for value in values {
        let record = NewRecord { timestamp_ms, key: None, value: Some(value), headers: &[] };
        builder.push(&record).expect("it is small");
    }
    validate(&builder.finish(Compression::None), &LIMITS).expect("it is well-formed")
}

/// The records of a batch with their offsets.
pub(crate) fn records(batch: &Batch) -> Result<Vec<(Offset, Identity)>, BatchError> {
    let records = batch.records(LIMITS.decompressed_bytes_max)?;
    records
        .map(|record| {
            let record = record?;
            Ok((record.offset, identity(record.value.as_deref().unwrap_or_default())))
        })
        .collect()
}
