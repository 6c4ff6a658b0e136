//! The records of every measurement: 1 KiB of random bytes, no key. Random, so that nothing on the way gains from
//! compressing them.

use crate::task::Form;
use anyhow::{Context, Result};
use bytes::Bytes;
use mq_proto::v1;
use mq_types::batch::{BatchBuilder, HEADER_BYTES, NewRecord};
use mq_types::{Batch, Compression};

/// The value of one record, in bytes.
pub const RECORD_BYTES: usize = 1024;
/// What a record takes in a batch, in bytes: its value, and at most ten bytes of lengths and zeros.
const STORED_RECORD_BYTES: usize = RECORD_BYTES + 10;

/// The most records that a batch of so many bytes has room for, at least one.
pub fn records_in(batch_bytes: usize) -> u32 {
    let count = (batch_bytes.saturating_sub(HEADER_BYTES) / STORED_RECORD_BYTES).max(1);
    u32::try_from(count).expect("batches are far smaller than 4 TiB")
}

/// A record batch of so many records.
///
/// # Errors
/// They are too many for one.
pub fn batch(records: u32) -> Result<Batch> {
    let value: [u8; RECORD_BYTES] = rand::random();
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        let record = NewRecord { value: Some(&value), ..NewRecord::default() };
        builder.push(&record).context("a batch of the benchmark is small")?;
    }
    let batch = builder.finish(Compression::None);
    let bytes_max = HEADER_BYTES + records as usize * STORED_RECORD_BYTES;
    assert!(
        batch.len_bytes() <= bytes_max,
        "{records} records make a batch of {} bytes, above {bytes_max}",
        batch.len_bytes()
    );
    Ok(batch)
}

/// So many records as messages.
pub fn records(count: u32) -> Vec<v1::Record> {
    let value = Bytes::copy_from_slice(&rand::random::<[u8; RECORD_BYTES]>());
    vec![v1::Record { value: Some(value), ..v1::Record::default() }; count as usize]
}

/// A request to append so many records to this partition, acknowledged when a quorum has them on disk.
///
/// # Errors
/// They are too many for one batch.
pub fn request(topic: &str, partition: i32, form: Form, count: u32) -> Result<v1::ProduceRequest> {
    let mut request = v1::ProduceRequest {
        topic: topic.to_owned(),
        partition: Some(partition),
        acks: v1::Acks::Quorum.into(),
        ..v1::ProduceRequest::default()
    };
    match form {
        Form::Batch => request.kafka_batch = batch(count)?.to_bytes(),
        Form::Records => {
            request.records = records(count);
            request.compression = v1::Compression::None.into();
        }
    }
    Ok(request)
}
