//! The receiving half of a bench: answers of stored batches, taken apart into records, and each record looked at.

use mq_client::v1::FetchedPartition;
use mq_types::batch::{BatchError, next_batch};

use super::{
    payload::Stamp,
    sequences::{Arrival, Sequences},
    tally::Tally,
};

/// The largest batch taken apart, in bytes after decompression.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// What is in one value.
pub(super) enum Value {
    /// A record of a bench, as it was sent; the first time it is met.
    Sent(Stamp),
    /// One that was met before.
    Repeated,
    /// Not one of a bench, or of another run than asked for, or a damaged one.
    Other,
}

/// A batch that is not as it was stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadBatch {
    #[error(transparent)]
    Form(#[from] BatchError),
    #[error("the batch at offset {offset} does not fit its checksum")]
    Checksum { offset: i64 },
}

/// Calls `each` with the offset, the bytes of key and value, and the value of every record from `from` on, until it
/// has had enough (false).
pub(super) fn for_each(
    fetched: &FetchedPartition,
    from: i64,
    mut each: impl FnMut(i64, usize, &[u8]) -> bool,
) -> Result<(), BadBatch> {
    let mut bytes = fetched.kafka_batches.clone();
    while let Some(batch) = next_batch(&mut bytes)? {
        if !batch.checksum_matches() {
            return Err(BadBatch::Checksum { offset: batch.base_offset().0.cast_signed() });
        }
        for record in batch.records(BATCH_BYTES_MAX)? {
            let record = record?;
            let (key, value) = (record.key.unwrap_or_default(), record.value.unwrap_or_default());
            let offset = record.offset.0.cast_signed();
            if offset >= from && !each(offset, key.len() + value.len(), &value) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Looks at one value, and counts what is wrong with it. With a `run`, the records of others are nothing to us.
pub(super) fn verify(
    value: &[u8],
    place: (&str, i32, i64),
    run: Option<u32>,
    sequences: &mut Sequences,
    tally: &Tally,
) -> Value {
    let (topic, partition, offset) = place;
    let stamp = match Stamp::read(value) {
        None => return Value::Other,
        Some(Err(damaged)) => {
            tally.lock().error("DAMAGED", 1, || format!("{topic}/{partition} @ {offset}: {damaged}"));
            return Value::Other;
        }
        Some(Ok(stamp)) if run.is_some_and(|run| run != stamp.run) => return Value::Other,
        Some(Ok(stamp)) => stamp,
    };
    let which = || format!("{topic}/{partition} @ {offset}: record {} of its connection", stamp.sequence);
    if stamp.partition.cast_signed() != partition {
        let told = || format!("{} was sent to partition {}", which(), stamp.partition);
        tally.lock().error("WRONG_PARTITION", 1, told);
        return Value::Other;
    }
    match sequences.arrived(&stamp) {
        Arrival::InOrder => {}
        Arrival::Late => {
            tally.lock().error("OUT_OF_ORDER", 1, || format!("{} came after a later one", which()));
        }
        Arrival::Repeated => {
            tally.lock().error("REPEATED", 1, || format!("{} came again", which()));
            return Value::Repeated;
        }
    }
    Value::Sent(stamp)
}
