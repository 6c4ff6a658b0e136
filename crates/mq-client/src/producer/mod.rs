//! A producer for one topic: gathers records into batches by partition, keeps a bounded number of bytes in flight on
//! one stream, and tells of each record where it went.
//!
//! What was certainly not appended is sent again until `delivery_timeout`; what may have been appended is an error to
//! the caller, never sent twice behind its back. Requests already in flight for the same partition may overtake one
//! that is sent again: where order must survive a failure, wait for each ack, or set `window_bytes` to 1.

mod accumulator;
mod sender;

use std::{
    future::IntoFuture,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use mq_proto::v1::{Acks, Compression, ConfigScope, DescribeConfigsRequest, Durability, Header, Record};
use prost_types::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use self::accumulator::{Accumulator, Payload};
use crate::{client::Client, error::ClientError, partitioner::Partitioner};

/// What a record costs besides its bytes, at most: counted against every limit, so that many empty records are
/// bounded too.
const RECORD_OVERHEAD_BYTES: usize = 32;
/// What a batch costs besides its records: the head of a RecordBatch v2.
const BATCH_HEAD_BYTES: usize = 61;

/// How a producer batches, how much it holds, and what it asks of the broker.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// What an ack waits for. Unspecified: a quorum.
    pub acks: Acks,
    /// How the broker stores the records. Unspecified: as the topic says.
    pub compression: Compression,
    /// How long a batch that is not full waits for more records. Zero: only while the window is full.
    pub linger: Duration,
    /// A batch is closed before it grows beyond this, in bytes before compression, or beyond the topic's
    /// `max.message.bytes` as it was when the producer was made; one record may be larger and goes alone.
    pub batch_bytes_max: usize,
    /// Bytes sent and not yet answered, at most; one batch always goes. A broker may ask for fewer.
    pub window_bytes: usize,
    /// Bytes held, waiting and in flight; beyond it `send` waits. At most 1 GiB.
    pub buffer_bytes_max: usize,
    /// From `send` until a record that could certainly not be appended is given up.
    pub delivery_timeout: Duration,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        ProducerOptions {
            acks: Acks::Unspecified,
            compression: Compression::Unspecified,
            linger: Duration::from_millis(5),
            batch_bytes_max: 256 << 10,
            window_bytes: 8 << 20,
            buffer_bytes_max: 32 << 20,
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

/// One record on its way.
#[derive(Clone, Debug, Default)]
pub struct ProducerRecord {
    /// Where to; none: by the key, or if there is none, wherever the batch being filled goes.
    pub partition: Option<i32>,
    /// Its key; none is another thing than an empty one.
    pub key: Option<Bytes>,
    /// Its value; none is a tombstone where the topic is compacted.
    pub value: Option<Bytes>,
    /// In order; keys may repeat.
    pub headers: Vec<Header>,
    /// Milliseconds since the Unix epoch; none: the broker's clock.
    pub timestamp_ms: Option<i64>,
}

impl ProducerRecord {
    /// A record with this value and nothing else.
    pub fn value(value: impl Into<Bytes>) -> ProducerRecord {
        ProducerRecord { value: Some(value.into()), ..ProducerRecord::default() }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(self, key: impl Into<Bytes>) -> ProducerRecord {
        ProducerRecord { key: Some(key.into()), ..self }
    }

    /// What it counts against limits, in bytes: never less than it takes in a batch.
    fn size_bytes(&self) -> usize {
        let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|h| h.key.len() + length(&h.value) + 10).sum();
        RECORD_OVERHEAD_BYTES + length(&self.key) + length(&self.value) + headers
    }

    /// The bytes of the caller's own: never more than it takes in a batch.
    fn own_bytes(&self) -> usize {
        let length = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|h| h.key.len() + length(&h.value)).sum();
        length(&self.key) + length(&self.value) + headers
    }

    fn into_record(self) -> Record {
        let timestamp = self.timestamp_ms.map(|ms| Timestamp {
            seconds: ms.div_euclid(1000),
            nanos: (ms.rem_euclid(1000) * 1_000_000) as i32, // below a second, so it fits
        });
        Record { key: self.key, value: self.value, headers: self.headers, timestamp, offset: 0 }
    }
}

/// Where one record went, and what its ack guarantees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The partition.
    pub partition: i32,
    /// Its offset; -1 with `Acks::None`.
    pub offset: i64,
    /// What was true when the broker answered.
    pub durability: Durability,
}

/// Where the records of one batch went, and what its ack guarantees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchAck {
    /// The partition.
    pub partition: i32,
    /// The offset of the first record, the others follow without gaps; -1 with `Acks::None`.
    pub base_offset: i64,
    /// How many records.
    pub record_count: u32,
    /// What was true when the broker answered.
    pub durability: Durability,
}

/// How a batch ended; none: not yet.
type Outcome = Option<Result<BatchAck, ClientError>>;

/// The fate of one record: await it. Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "whether the record was stored is known only by awaiting this"]
pub struct Delivery {
    batch: BatchDelivery,
    index: u32,
}

/// The fate of one batch: await it. Dropping it does not take the batch back.
#[derive(Debug)]
#[must_use = "whether the batch was stored is known only by awaiting this"]
pub struct BatchDelivery {
    outcome: watch::Receiver<Outcome>,
    endpoint: Arc<str>,
}

impl IntoFuture for Delivery {
    type Output = Result<Ack, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let BatchAck { partition, base_offset, durability, record_count } = self.batch.await?;
            assert!(self.index < record_count, "record {} of a batch of {record_count}", self.index);
            let offset = if base_offset < 0 { -1 } else { base_offset + i64::from(self.index) };
            Ok(Ack { partition, offset, durability })
        })
    }
}

impl IntoFuture for BatchDelivery {
    type Output = Result<BatchAck, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            // The sender resolves every batch it was given; it can only be gone if the runtime is shutting down.
            let lost = || ClientError::Transport {
                endpoint: self.endpoint.to_string(),
                code: tonic::Code::Cancelled,
                message: "the producer was stopped before the answer came".to_owned(),
            };
            let outcome = self.outcome.wait_for(Option::is_some).await.map_err(|_| lost())?;
            outcome.clone().unwrap_or_else(|| Err(lost()))
        })
    }
}

/// A producer for one topic. Shared by reference (or in an `Arc`) among tasks; what was sent is still delivered after
/// it was dropped, as long as the runtime lives, but only [`Producer::close`] waits for it.
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
    client: Client,
    topic: String,
    endpoint: Arc<str>,
    partition_count: i32,
    /// The topic's `max.message.bytes` when this producer was made; none: the broker did not say.
    message_bytes_max: Option<usize>,
}

/// What the producer and its sending task have in common.
#[derive(Debug)]
struct Shared {
    accumulator: Mutex<Accumulator>,
    wake: Notify,
    room: Arc<Semaphore>,
    buffer_bytes_max: u32,
}

impl Shared {
    fn accumulator(&self) -> MutexGuard<'_, Accumulator> {
        self.accumulator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `size_bytes` more may be held. What is larger than the whole buffer waits for all of it.
    async fn make_room(&self, size_bytes: usize) -> OwnedSemaphorePermit {
        let permits = u32::try_from(size_bytes).unwrap_or(u32::MAX).min(self.buffer_bytes_max);
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await;
        room.expect("this semaphore is never closed")
    }
}

impl Client {
    /// A producer for an existing topic. Its partition count, id and limits are asked for now: records sent after the
    /// topic was deleted and created again are refused, and partitions added later get none by this producer's choice.
    pub async fn producer(&self, topic: &str, options: ProducerOptions) -> Result<Producer, ClientError> {
        let topic = self.describe_topic(topic).await?;
        if topic.partition_count < 1 {
            return Err(self.unexpected("a topic without partitions"));
        }
        let buffer_bytes_max = options.buffer_bytes_max.clamp(1, 1 << 30);
        let partitioner = Partitioner::new(topic.partition_count);
        let message_bytes_max = self.message_bytes_max(&topic.name).await;
        let batch_bytes_max = message_bytes_max
            .map_or(usize::MAX, |bytes| bytes.saturating_sub(BATCH_HEAD_BYTES))
            .min(options.batch_bytes_max);
        let shared = Arc::new(Shared {
            accumulator: Mutex::new(Accumulator::new(partitioner, batch_bytes_max, options.linger)),
            wake: Notify::new(),
            room: Arc::new(Semaphore::new(buffer_bytes_max)),
            buffer_bytes_max: u32::try_from(buffer_bytes_max).expect("clamped to 1 GiB"),
        });
        let producer = Producer {
            shared: Arc::clone(&shared),
            client: self.clone(),
            topic: topic.name.clone(),
            endpoint: Arc::from(self.endpoint()),
            partition_count: topic.partition_count,
            message_bytes_max,
        };
        tokio::spawn(sender::Sender::new(self.clone(), topic, options, shared).run());
        Ok(producer)
    }

    /// A topic's `max.message.bytes` now. None where it cannot be learned: the broker checks every batch anyway.
    async fn message_bytes_max(&self, topic: &str) -> Option<usize> {
        let request = DescribeConfigsRequest {
            scope: ConfigScope::Topic.into(),
            name: topic.to_owned(),
            keys: vec!["max.message.bytes".to_owned()],
        };
        self.describe_configs(request).await.ok()?.first()?.value.parse().ok()
    }
}

impl Producer {
    /// How many partitions the topic had when this producer was made.
    pub fn partition_count(&self) -> i32 {
        self.partition_count
    }

    /// Hands over one record; waits only while the buffer is full. The answer comes with the [`Delivery`].
    pub async fn send(&self, record: ProducerRecord) -> Delivery {
        if let Some(error) = self.too_large(record.own_bytes()).await {
            let (_, outcome) = watch::channel(Some(Err(error)));
            return Delivery { batch: self.delivery(outcome), index: 0 };
        }
        let size_bytes = record.size_bytes();
        let room = self.shared.make_room(size_bytes).await;
        let (outcome, index, wake) = self.shared.accumulator().push(record, size_bytes, room);
        if wake {
            self.shared.wake.notify_one();
        }
        Delivery { batch: self.delivery(outcome), index }
    }

    /// Hands over one RecordBatch v2 of `record_count` records, to be stored as it is: the fast way for bulk.
    pub async fn send_batch(&self, partition: i32, kafka_batch: Bytes, record_count: u32) -> BatchDelivery {
        let size_bytes = kafka_batch.len();
        let room = self.shared.make_room(size_bytes).await;
        let payload = Payload::KafkaBatch(kafka_batch);
        let outcome =
            self.shared.accumulator().push_batch(partition, payload, record_count, size_bytes, room);
        self.shared.wake.notify_one();
        self.delivery(outcome)
    }

    /// Sends what waits without lingering, and returns when everything handed over before has been answered or given
    /// up. How each record fared is told by its [`Delivery`].
    pub async fn flush(&self) {
        let flushing = Flushing::begin(&self.shared);
        // The whole buffer is free only when nothing is held any more; the semaphore is fair, so later sends cannot
        // keep it busy for ever.
        drop(self.shared.make_room(usize::MAX).await);
        drop(flushing);
    }

    /// Flushes, and ends the producer.
    pub async fn close(self) {
        self.flush().await;
    }

    /// A record that can only be refused is not sent: one beyond the broker's limit of a request would take down the
    /// stream, and with it the answers to what else is in flight. The topic's limit may have been raised since it was
    /// asked for, so a refusal rests on the limit as it is now.
    async fn too_large(&self, size_bytes: usize) -> Option<ClientError> {
        if self.message_bytes_max.is_none_or(|max_bytes| size_bytes <= max_bytes) {
            return None;
        }
        let max_bytes = self.client.message_bytes_max(&self.topic).await?;
        (size_bytes > max_bytes).then_some(ClientError::RecordTooLarge { size_bytes, max_bytes })
    }

    fn delivery(&self, outcome: watch::Receiver<Outcome>) -> BatchDelivery {
        BatchDelivery { outcome, endpoint: Arc::clone(&self.endpoint) }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.accumulator().close();
        self.shared.wake.notify_one();
    }
}

/// While it lives nothing lingers; a cancelled flush ends with it.
struct Flushing<'a>(&'a Shared);

impl<'a> Flushing<'a> {
    fn begin(shared: &'a Shared) -> Flushing<'a> {
        shared.accumulator().flushes += 1;
        shared.wake.notify_one();
        Flushing(shared)
    }
}

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.accumulator().flushes -= 1;
    }
}
