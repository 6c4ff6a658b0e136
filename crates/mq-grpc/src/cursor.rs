//! A position in one partition and the reading from there, as Read, Fetch and FetchStream all need it.

use crate::consumer::Consumer;
use crate::outlet::{Answers, COPIES, Room};
use crate::position::{answer_partition, failed_partition};
use crate::record;
use crate::status::item_error;
use bytes::BytesMut;
use mq_broker::Broker;
use mq_broker::api::Error;
use mq_broker::controller::TopicConfig;
use mq_broker::{Fetched, OffsetSpec, Resolved, TopicPartition};
use mq_proto::v1;
use mq_types::Offset;
use prost::Message;

/// What is filled into an answer after its size was planned: numbers, tags and lengths, in bytes.
const LATER_BYTES: usize = 64;

/// What one read gave.
pub(crate) struct Read {
    pub(crate) answer: v1::FetchedPartition,
    /// What it takes of the room for answers, in bytes.
    pub(crate) held_bytes: usize,
}

/// Where a reader of one partition stands.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// The partition.
    pub(crate) at: Resolved,
    /// The next offset it wants.
    pub(crate) next: i64,
}

impl Cursor {
    /// Finds the partition and the point to begin from.
    pub(crate) async fn open(
        broker: &Broker,
        to: &TopicPartition,
        start: OffsetSpec,
    ) -> Result<Cursor, Error> {
        let at = broker.resolve(to).inspect_err(|error| broker.refused(error))?;
        let next = match start {
            OffsetSpec::Offset(offset) => offset,
            other => broker.find_offset(&at, other).await?.offset.as_i64(),
        };
        Ok(Cursor { at, next })
    }

    /// What the next read may hold at the most, in bytes; 0 if there is nothing to read. A batch is larger only if the
    /// topic once allowed more than it does now.
    pub(crate) fn room_bytes(&self, broker: &Broker, bytes_max: usize) -> usize {
        let has_more =
            broker.view(self.at.quorum).is_some_and(|view| self.next < view.high_watermark.as_i64());
        let batch_bytes_max = TopicConfig::of(&self.at.topic).max_message_bytes;
        let batch_bytes_max = usize::try_from(batch_bytes_max).unwrap_or(usize::MAX);
        if has_more { bytes_max.max(batch_bytes_max).saturating_mul(COPIES) } else { 0 }
    }

    /// As [`Cursor::read`], with room that was waited for.
    pub(crate) async fn read_with_room(
        &mut self,
        consumer: &Consumer,
        answers: &Answers,
        format: v1::BatchFormat,
        bytes_max: usize,
    ) -> Result<(v1::FetchedPartition, Room), Error> {
        let mut wanted_bytes = self.room_bytes(&consumer.broker, bytes_max);
        loop {
            let mut room = answers.room(wanted_bytes).await;
            let mut ahead = self.clone();
            let Read { answer, held_bytes } = ahead.read(consumer, format, bytes_max).await?;
            if room.fits(held_bytes, answers) {
                room.shrink(held_bytes);
                *self = ahead;
                return Ok((answer, room));
            }
            // More came than was thought. It is read again, once there is room for it.
            wanted_bytes = held_bytes;
        }
    }

    /// Reads what is there now and moves on. The answer has `bytes_max` at most, unless one record (or one raw batch)
    /// is larger.
    pub(crate) async fn read(
        &mut self,
        consumer: &Consumer,
        format: v1::BatchFormat,
        bytes_max: usize,
    ) -> Result<Read, Error> {
        let topic_partition = Some(answer_partition(&self.at));
        let envelope = v1::FetchedPartition { topic_partition, ..Default::default() };
        let bytes_max = bytes_max.saturating_sub(envelope.encoded_len() + LATER_BYTES);
        let fetched = consumer.broker.fetch(&self.at, self.next, bytes_max).await?;
        let mut answer = v1::FetchedPartition {
            log_start_offset: fetched.log_start.as_i64(),
            high_watermark: fetched.high_watermark.as_i64(),
            last_stable_offset: fetched.high_watermark.as_i64(),
            ..envelope
        };
        let held_bytes = match format {
            v1::BatchFormat::KafkaV2 => {
                answer.next_offset = fetched.next_offset.as_i64();
                answer.leader_epoch = fetched.batches.last().map_or(0, mq_types::Batch::leader_epoch);
                answer.kafka_batches = concatenate(&fetched);
                answer.kafka_batches.len()
            }
            _ => {
                let decoded =
                    record::decode(&fetched, self.next, bytes_max, consumer.options.decompressed_bytes_max)?;
                answer.records = decoded.records;
                answer.next_offset = decoded.next_offset;
                answer.leader_epoch = decoded.leader_epoch;
                decoded.held_bytes
            }
        };
        assert!(
            answer.next_offset >= self.next,
            "a reader never steps back: {} < {}",
            answer.next_offset,
            self.next
        );
        self.next = answer.next_offset;
        Ok(Read { answer, held_bytes: held_bytes.saturating_mul(COPIES) })
    }

    /// Whether reading could go on, without reading: the topic is live, and retention has not overtaken the position.
    pub(crate) fn check(&self, broker: &Broker) -> Result<(), Error> {
        let (topic, partition) = (self.at.topic.name.clone(), i64::from(self.at.partition));
        broker.resolve(&TopicPartition { topic, partition, topic_id: Some(self.at.topic.id) })?;
        match broker.view(self.at.quorum) {
            Some(view) if self.next < view.log_start.as_i64() => Err(Error::OffsetOutOfRange {
                asked: self.next,
                log_start: view.log_start,
                high_watermark: view.high_watermark,
            }),
            _ => Ok(()),
        }
    }

    /// The offset it stands at, for waiting; a negative one waits for nothing.
    pub(crate) fn offset(&self) -> Offset {
        Offset(u64::try_from(self.next).unwrap_or(0))
    }
}

/// The answer for a partition that could not be read from `next_offset` (-1: not known).
pub(crate) fn failed(
    broker: &Broker,
    asked: &TopicPartition,
    next_offset: i64,
    error: &Error,
) -> v1::FetchedPartition {
    v1::FetchedPartition {
        topic_partition: Some(failed_partition(broker, asked)),
        error: Some(item_error(error)),
        next_offset,
        log_start_offset: -1,
        high_watermark: -1,
        last_stable_offset: -1,
        ..Default::default()
    }
}

/// The offset that a start names itself; -1 if it has to be found.
pub(crate) fn named_offset(start: OffsetSpec) -> i64 {
    match start {
        OffsetSpec::Offset(offset) => offset,
        _ => -1,
    }
}

/// The payload bytes of an answer: what min_bytes and credit count.
pub(crate) fn payload_bytes(answer: &v1::FetchedPartition) -> usize {
    answer.kafka_batches.len() + answer.records.iter().map(record::size_bytes).sum::<usize>()
}

fn concatenate(fetched: &Fetched) -> bytes::Bytes {
    let mut out = BytesMut::with_capacity(fetched.batches.iter().map(mq_types::Batch::len_bytes).sum());
    for batch in &fetched.batches {
        batch.write_to(&mut out);
    }
    out.freeze()
}
