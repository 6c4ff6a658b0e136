//! The records of every measurement: 1 KiB of random bytes, no key. Random, so that nothing on the way gains from
//! compressing them.

use crate::task::Form;
use anyhow::{Context, Result};
use bytes::Bytes;
use mq_proto::v1;
use mq_types::Compression;
use mq_types::batch::{BatchBuilder, NewRecord};

/// The value of one record, in bytes.
pub(crate) const RECORD_BYTES: usize = 1024;
/// A full batch is no larger than this.
pub(crate) const BATCH_BYTES_MAX: usize = 256 << 10;
/// The most records that a full batch has room for.
pub(crate) const BATCH_RECORDS: u32 = 253;

/// A Kafka RecordBatch of so many records.
pub(crate) fn batch(records: u32) -> Result<Bytes> {
    let value: [u8; RECORD_BYTES] = rand::random();
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        let record = NewRecord { value: Some(&value), ..NewRecord::default() };
        builder.push(&record).context("a batch of the benchmark is small")?;
    }
    let batch = builder.finish(Compression::None).to_bytes();
    assert!(
        batch.len() <= BATCH_BYTES_MAX,
        "{records} records make a batch of {} bytes, above {BATCH_BYTES_MAX}",
        batch.len()
    );
    Ok(batch)
}

/// So many records as messages.
pub(crate) fn records(count: u32) -> Vec<v1::Record> {
    let value = Bytes::copy_from_slice(&rand::random::<[u8; RECORD_BYTES]>());
    vec![v1::Record { value: Some(value), ..v1::Record::default() }; count as usize]
}

/// A request to append so many records to this partition, acknowledged when a quorum has them on disk.
pub(crate) fn request(topic: &str, partition: i32, form: Form, count: u32) -> Result<v1::ProduceRequest> {
    let mut request = v1::ProduceRequest {
        topic: topic.to_owned(),
        partition: Some(partition),
        acks: v1::Acks::Quorum.into(),
        ..v1::ProduceRequest::default()
    };
    match form {
        Form::Batch => request.kafka_batch = batch(count)?,
        Form::Records => {
            request.records = records(count);
            request.compression = v1::Compression::None.into();
        }
    }
    Ok(request)
}
