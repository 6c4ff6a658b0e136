//! Decoded records: the API's messages to stored batches and back.

use crate::position::{from_ms, to_ms};
use bytes::{Bytes, BytesMut};
use mq_broker::Fetched;
use mq_broker::api::Error;
use mq_proto::v1;
use mq_types::batch::{BatchBuilder, NewRecord, Record};
use mq_types::{Batch, Compression};
use prost::Message;

/// What an answer spends at the most on a message in it beyond that message: its tag and its length, in bytes.
pub(crate) const FRAMING_BYTES: usize = 6;

/// Records that lie in buffers with so many times their bytes are copied out of them, so that a few records do not keep
/// all that a batch decompressed to.
const WASTE_FACTOR_MAX: usize = 2;

/// Records of one partition, and where to go on.
pub(crate) struct Decoded {
    pub(crate) records: Vec<v1::Record>,
    pub(crate) next_offset: i64,
    /// Of the last record; 0 without records.
    pub(crate) leader_epoch: i32,
    /// What all of it keeps in memory, in bytes.
    pub(crate) held_bytes: usize,
}

/// Decodes what was fetched, from `start` on, until `bytes_max` is reached; at least one record if there is one.
/// Counted are the bytes of the answer and the memory of what was decoded, which may be many times larger.
pub(crate) fn decode(
    fetched: &Fetched,
    start: i64,
    bytes_max: usize,
    decompressed_bytes_max: usize,
) -> Result<Decoded, Error> {
    let mut decoded = Decoded {
        records: Vec::new(),
        next_offset: fetched.next_offset.as_i64(),
        leader_epoch: 0,
        held_bytes: 0,
    };
    let mut buffers_bytes = 0;
    'all: for batch in &fetched.batches {
        let corrupt = |what: String| Error::CorruptLog { offset: batch.base_offset(), what };
        let records = batch.records(decompressed_bytes_max).map_err(|error| corrupt(error.to_string()))?;
        buffers_bytes += records.data_bytes();
        for record in records {
            let record = record.map_err(|error| corrupt(error.to_string()))?;
            let offset = record.offset.as_i64();
            if offset < start {
                continue;
            }
            let message = message(record);
            let bytes = size_bytes(&message)
                + size_of::<v1::Record>()
                + message.headers.len() * size_of::<v1::Header>();
            if decoded.held_bytes + bytes > bytes_max && !decoded.records.is_empty() {
                decoded.next_offset = offset;
                break 'all;
            }
            decoded.held_bytes += bytes;
            decoded.leader_epoch = batch.leader_epoch();
            decoded.records.push(message);
        }
    }
    if buffers_bytes > decoded.held_bytes * WASTE_FACTOR_MAX {
        copy_out(&mut decoded.records);
    } else {
        decoded.held_bytes = decoded.held_bytes.max(buffers_bytes);
    }
    Ok(decoded)
}

/// Moves what the records say into one buffer of their own.
fn copy_out(records: &mut [v1::Record]) {
    let fields = |record: &mut v1::Record, act: &mut dyn FnMut(&mut Bytes)| {
        let values = record.headers.iter_mut().filter_map(|header| header.value.as_mut());
        record.key.as_mut().into_iter().chain(record.value.as_mut()).chain(values).for_each(act);
    };
    let mut all = BytesMut::new();
    for record in records {
        fields(record, &mut |field| {
            all.extend_from_slice(field);
            *field = all.split().freeze();
        });
    }
}

/// Builds one batch of records; together they may have `bytes_max` before compression.
pub(crate) fn encode<'a>(
    records: impl Iterator<Item = &'a v1::Record>,
    compression: Compression,
    now_ms: i64,
    bytes_max: u64,
) -> Result<Batch, Error> {
    let mut builder = BatchBuilder::new();
    for record in records {
        let headers: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|header| (header.key.as_str(), header.value.as_deref())).collect();
        let record = NewRecord {
            timestamp_ms: record.timestamp.as_ref().map_or(now_ms, to_ms),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        let size_bytes = builder.size_bytes_with(&record) as u64;
        if size_bytes > bytes_max {
            return Err(Error::BatchTooLarge { size_bytes, max_bytes: bytes_max });
        }
        builder
            .push(&record)
            .map_err(|error| Error::InvalidRequest { field: "records", problem: error.to_string() })?;
    }
    Ok(builder.finish(compression))
}

/// How many bytes a record takes in a message (a few less, at the most).
pub(crate) fn size_bytes(record: &v1::Record) -> usize {
    record.encoded_len() + FRAMING_BYTES
}

fn message(record: Record) -> v1::Record {
    v1::Record {
        key: record.key,
        value: record.value,
        headers: record
            .headers
            .into_iter()
            .map(|header| v1::Header { key: header.key, value: header.value })
            .collect(),
        timestamp: Some(from_ms(record.timestamp_ms)),
        offset: record.offset.as_i64(),
    }
}

#[cfg(test)]
mod tests;
