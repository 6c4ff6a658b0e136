//! Taking a batch: checked on the caller's task, then handed to its shard with a ticket for the answer.
//!
//! Offsets, leadership and acknowledgement are the engine's business.

use crate::api::{self, Error, Produced, Reply};
use crate::broker::{Inner, Produce, RETRY_SOON_MS, WhenFull};
use crate::metrics::Metrics;
use crate::routing;
use mq_engine::controller::TopicConfig;
use mq_types::Compression;
use mq_types::batch::{Batch, BatchBuilder, BatchError, Checked, NewRecord, ValidateOptions, validate};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// The longest that a ticket waits.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// An accepted produce; its answer must be awaited.
#[must_use = "the answer says whether the records were appended"]
pub struct ProduceTicket {
    answer: oneshot::Receiver<api::Outcome>,
    deadline: Instant,
    metrics: Arc<Metrics>,
}

impl ProduceTicket {
    /// Waits for the answer.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`]: the records may have been appended. Any other: they were not, and will not be.
    pub async fn answer(self) -> Result<Produced, Error> {
        let outcome = match timeout_at(self.deadline, self.answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Error::OutcomeUnknown { why: "the broker stopped before it could answer" }),
            Err(_) => Err(Error::OutcomeUnknown { why: "the batch was not acknowledged before the timeout" }),
        };
        let produced = outcome.and_then(|reply| match reply {
            Reply::Produced(produced) => Ok(produced),
            _ => Err(Error::Internal { what: "a produce was answered by something else" }),
        });
        produced.inspect_err(|error| self.metrics.failed(error.code()))
    }
}

impl Inner {
    pub(crate) async fn produce(
        &self,
        produce: Produce,
        when_full: WhenFull,
    ) -> Result<ProduceTicket, Error> {
        let deadline = Instant::now() + produce.timeout.min(TIMEOUT_MAX);
        self.check_running()?;
        let at = routing::resolve(&self.images.current(), &produce.to)?;
        let batch = self.stored_form(&produce.batch, &TopicConfig::of(&at.topic))?;
        // Nothing awaits between taking the permits and handing over, so batches keep the order in which one caller
        // brings them.
        let permits = self.permits(at.quorum, batch.batch().len_bytes(), when_full);
        let permits = timeout_at(deadline, permits).await.unwrap_or_else(|_| {
            let what = "no room for another batch before the timeout".to_owned();
            Err(Error::Overloaded { what, retry_after_ms: RETRY_SOON_MS })
        })?;
        self.check_running()?;
        let request = api::Request::Produce(api::Produce {
            quorum: at.quorum,
            batch,
            acks: produce.acks,
            expected_next_offset: produce.expected_next_offset,
        });
        let answer = self.ask(at.quorum, request, permits);
        Ok(ProduceTicket { answer, deadline, metrics: Arc::clone(&self.metrics) })
    }

    /// Checks all of a batch, and compresses it as the topic wants it stored. The work of one client, done on its
    /// task: shards see only what is sound.
    fn stored_form(&self, batch: &Batch, topic: &TopicConfig) -> Result<Checked, Error> {
        let options = ValidateOptions {
            size_bytes_max: usize::try_from(topic.max_message_bytes).unwrap_or(usize::MAX),
            decompressed_bytes_max: self.limits.decompressed_bytes_max,
        };
        let checked = validate(batch, &options).map_err(refused)?;
        let Some(compression) = topic.compression else { return Ok(checked) };
        if batch.compression().map_err(refused)? == compression {
            return Ok(checked);
        }
        let batch = compress(batch, compression, options.decompressed_bytes_max)?;
        validate(&batch, &options).map_err(refused)
    }
}

/// The same records, compressed otherwise.
fn compress(batch: &Batch, compression: Compression, decompressed_bytes_max: usize) -> Result<Batch, Error> {
    let mut builder = BatchBuilder::new();
    for record in batch.records(decompressed_bytes_max).map_err(refused)? {
        let record = record.map_err(refused)?;
        let headers = record.headers.iter().map(|header| (header.key.as_str(), header.value.as_deref()));
        let headers: Vec<_> = headers.collect();
        let pushed = builder.push(&NewRecord {
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        });
        // Timestamps may lie further apart than the builder, which counts from the first one, can say.
        pushed.map_err(|error| Error::CorruptBatch { problem: error.to_string() })?;
    }
    Ok(builder.finish(compression))
}

fn refused(error: BatchError) -> Error {
    match error {
        BatchError::TooLarge { size_bytes, max_bytes } => Error::BatchTooLarge { size_bytes, max_bytes },
        BatchError::ProducerId { .. } => {
            Error::Unimplemented { what: "producing with a producer id".to_owned() }
        }
        other => Error::CorruptBatch { problem: other.to_string() },
    }
}
