//! ProducerService: one request, one answer; the pipelined form is in `produce_stream`.

use crate::deadline::time_left;
use crate::outlet::Answers;
use crate::position::{topic_id, topic_name};
use crate::produce_stream;
use crate::record;
use crate::server::Options;
use crate::status::{item_error, partly_appended, refused, status, unimplemented};
use futures::stream::BoxStream;
use mq_broker::api::{Acks, Durability, Error, Produced};
use mq_broker::controller::TopicConfig;
use mq_broker::{Broker, ProduceTicket};
use mq_broker::{Produce, Resolved, TopicPartition, WhenFull};
use mq_proto::v1;
use mq_proto::v1::producer_service_server::ProducerService;
use mq_types::{Batch, Compression, ErrorCode, Offset, partitioner};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// When to try again after there was no room for a batch in all its time, in ms.
const RETRY_AFTER_MS: u32 = 100;

/// The service.
#[derive(Clone)]
pub(crate) struct Producer {
    pub(crate) broker: Broker,
    pub(crate) options: Arc<Options>,
    /// Streams take nothing more.
    pub(crate) stopping: CancellationToken,
    /// Turns on with every request that leaves the choice of partition to the broker and has records without keys.
    keyless_turn: Arc<AtomicU32>,
}

/// Batches of one request that were handed to the broker, each with what its answer needs.
pub(crate) struct Submitted {
    parts: Vec<Part>,
}

/// One partition's share of a request.
struct Part {
    to: v1::TopicPartition,
    record_indexes: Vec<i32>,
    record_count: u32,
    outcome: Result<ProduceTicket, Error>,
}

impl Producer {
    pub(crate) fn new(broker: Broker, options: Arc<Options>, stopping: CancellationToken) -> Producer {
        Producer { broker, options, stopping, keyless_turn: Arc::new(AtomicU32::new(0)) }
    }

    /// Checks a request and hands its batches to the broker. An error here means that nothing was. `time_left`: how
    /// long the caller waits, if it says so.
    pub(crate) async fn submit(
        &self,
        request: v1::ProduceRequest,
        when_full: WhenFull,
        time_left: Option<Duration>,
    ) -> Result<Submitted, Error> {
        if request.producer.is_some() {
            return Err(Error::Unimplemented { what: "idempotent produce (`producer`)".to_owned() });
        }
        let acks = acks(request.acks)?;
        let timeout = self.timeout(request.timeout_ms)?;
        let timeout = time_left.map_or(timeout, |left| left.min(timeout));
        let expected_next_offset = expected(&request)?;
        let topic_id = topic_id(&request.topic_id)?;
        let topic = topic_name(request.topic.clone())?;
        let to = |partition: i64| TopicPartition { topic: topic.clone(), partition, topic_id };
        let shares = self.shares(request, &to)?;
        let mut parts = Vec::with_capacity(shares.len());
        for Share { at, batch, record_indexes } in shares {
            let record_count = batch.record_count();
            let produce =
                Produce { to: to(i64::from(at.partition)), batch, acks, expected_next_offset, timeout };
            // A batch that is still waiting for room when its time is over was not handed over.
            let handed_over = tokio::time::timeout(timeout, self.broker.produce(produce, when_full)).await;
            let outcome = handed_over.unwrap_or_else(|_| {
                let what = format!("had no room for this batch for {} ms", timeout.as_millis());
                let error = Error::Overloaded { what, retry_after_ms: RETRY_AFTER_MS };
                self.broker.refused(&error);
                Err(error)
            });
            parts.push(Part {
                to: crate::position::answer_partition(&at),
                record_indexes,
                record_count,
                outcome,
            });
        }
        Ok(Submitted { parts })
    }

    fn timeout(&self, timeout_ms: i32) -> Result<Duration, Error> {
        let asked = u64::try_from(timeout_ms).map_err(|_| Error::InvalidRequest {
            field: "timeout_ms",
            problem: format!("{timeout_ms} is negative; give 0 for the broker's limit, or milliseconds"),
        })?;
        let most = self.options.produce_timeout_ms_max;
        Ok(Duration::from_millis(if asked == 0 { most } else { asked.min(most) }))
    }

    /// Splits a request into one batch a partition.
    fn shares(
        &self,
        request: v1::ProduceRequest,
        to: &impl Fn(i64) -> TopicPartition,
    ) -> Result<Vec<Share>, Error> {
        match (request.records.is_empty(), request.kafka_batch.is_empty()) {
            (true, true) => Err(field("records", "give records, or one kafka_batch; both are empty")),
            (false, false) => Err(field("kafka_batch", "give either records or a kafka_batch, not both")),
            (true, false) => {
                let partition = request.partition.ok_or_else(|| {
                    field("partition", "a kafka_batch needs one; the broker does not take it apart")
                })?;
                let at = self.broker.resolve(&to(i64::from(partition)))?;
                let batch = Batch::decode(request.kafka_batch)
                    .map_err(|error| Error::CorruptBatch { problem: error.to_string() })?;
                Ok(vec![Share { at, batch, record_indexes: Vec::new() }])
            }
            (false, true) => self.shares_of_records(&request, to),
        }
    }

    fn shares_of_records(
        &self,
        request: &v1::ProduceRequest,
        to: &impl Fn(i64) -> TopicPartition,
    ) -> Result<Vec<Share>, Error> {
        let compression = compression(request.compression)?;
        let now_ms = now_ms();
        if let Some(partition) = request.partition {
            let at = self.broker.resolve(&to(i64::from(partition)))?;
            let batch = self.build(&at, request.records.iter(), compression, now_ms)?;
            return Ok(vec![Share { at, batch, record_indexes: Vec::new() }]);
        }
        let first = self.broker.resolve(&to(0))?;
        let partition_count = first.topic.partitions.len() as u32;
        let has_keyless = request.records.iter().any(|record| record.key.is_none());
        let turn = self.keyless_turn.fetch_add(u32::from(has_keyless), Ordering::Relaxed);
        let keyless = turn % partition_count;
        let mut indexes: BTreeMap<u32, Vec<i32>> = BTreeMap::new();
        for (i, record) in request.records.iter().enumerate() {
            let partition = record
                .key
                .as_ref()
                .map_or(keyless, |key| partitioner::partition_for_key(key, partition_count).0);
            indexes.entry(partition).or_default().push(i as i32);
        }
        let one_partition = indexes.len() == 1;
        let share = |(partition, chosen): (u32, Vec<i32>)| {
            let at = self.broker.resolve(&to(i64::from(partition)))?;
            let records = chosen.iter().map(|&i| &request.records[i as usize]);
            let batch = self.build(&at, records, compression, now_ms)?;
            Ok(Share { at, batch, record_indexes: if one_partition { Vec::new() } else { chosen } })
        };
        indexes.into_iter().map(share).collect()
    }

    /// Builds the batch of one partition, within the topic's limit before compression.
    fn build<'a>(
        &self,
        at: &Resolved,
        records: impl Iterator<Item = &'a v1::Record>,
        compression: Option<Compression>,
        now_ms: i64,
    ) -> Result<Batch, Error> {
        let config = TopicConfig::of(&at.topic);
        let compression = compression.unwrap_or(config.compression.unwrap_or_default());
        record::encode(records, compression, now_ms, config.max_message_bytes)
    }
}

/// One partition's share of a request, before it is handed over.
struct Share {
    at: Resolved,
    batch: Batch,
    record_indexes: Vec<i32>,
}

impl Submitted {
    /// Waits for all answers. The request has failed unless every part was appended.
    pub(crate) async fn answer(self) -> (v1::ProduceResponse, Option<Error>) {
        let mut partitions = Vec::with_capacity(self.parts.len());
        let mut worst = None;
        let mut appended = 0;
        for part in self.parts {
            let outcome = match part.outcome {
                Ok(ticket) => ticket.answer().await,
                Err(error) => Err(error),
            };
            let count = i32::try_from(part.record_count).unwrap_or(i32::MAX);
            partitions.push(match outcome {
                Ok(produced) => {
                    appended += 1;
                    produced_partition(part.to, part.record_indexes, &produced)
                }
                Err(error) => {
                    let failed = failed_partition(part.to, part.record_indexes, count, &error);
                    worst = Some(worse(worst, error));
                    failed
                }
            });
        }
        let error = match worst {
            Some(_) if appended > 0 => {
                Some(Error::PartlyAppended { appended, failed: partitions.len() - appended })
            }
            other => other,
        };
        (v1::ProduceResponse { partitions }, error)
    }
}

/// Of two failures the one that promises less: where something may have been appended, or sending again does not help,
/// the whole request must not be called certainly refused and worth sending again.
fn worse(before: Option<Error>, error: Error) -> Error {
    let badness = |error: &Error| match error.code() {
        ErrorCode::OutcomeUnknown => 2,
        code => u8::from(!code.retriable()),
    };
    match before {
        Some(before) if badness(&before) >= badness(&error) => before,
        _ => error,
    }
}

#[tonic::async_trait]
impl ProducerService for Producer {
    async fn produce(
        &self,
        request: Request<v1::ProduceRequest>,
    ) -> Result<Response<v1::ProduceResponse>, Status> {
        let time_left = time_left(request.metadata());
        let submitted = self.submit(request.into_inner(), WhenFull::Refuse, time_left).await;
        let submitted = submitted.map_err(|error| refused(&self.broker, &error))?;
        match submitted.answer().await {
            (response, None) => Ok(Response::new(response)),
            (response, Some(error)) if error.code() == ErrorCode::PartlyAppended => {
                Err(partly_appended(&error, &response))
            }
            (_, Some(error)) => Err(status(&error)),
        }
    }

    type ProduceStreamStream = BoxStream<'static, Result<v1::ProduceStreamResponse, Status>>;

    async fn produce_stream(
        &self,
        request: Request<Streaming<v1::ProduceStreamRequest>>,
    ) -> Result<Response<Self::ProduceStreamStream>, Status> {
        let room = Answers::of(&request);
        Ok(Response::new(produce_stream::serve(self.clone(), request.into_inner(), room)))
    }

    async fn init_producer(
        &self,
        _: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        Err(unimplemented("idempotent produce (InitProducer)"))
    }
}

fn field(field: &'static str, problem: &str) -> Error {
    Error::InvalidRequest { field, problem: problem.to_owned() }
}

fn acks(acks: i32) -> Result<Acks, Error> {
    match v1::Acks::try_from(acks) {
        Ok(v1::Acks::None) => Ok(Acks::None),
        Ok(v1::Acks::Leader) => Ok(Acks::Leader),
        Ok(v1::Acks::Unspecified | v1::Acks::Quorum) => Ok(Acks::Quorum),
        Err(_) => Err(Error::InvalidRequest {
            field: "acks",
            problem: format!("{acks} is none of ACKS_NONE (1), ACKS_LEADER (2), ACKS_QUORUM (3)"),
        }),
    }
}

/// The compression a client asks for; `None`: the topic's.
fn compression(asked: i32) -> Result<Option<Compression>, Error> {
    match v1::Compression::try_from(asked) {
        Ok(v1::Compression::Unspecified) => Ok(None),
        Ok(v1::Compression::None) => Ok(Some(Compression::None)),
        Ok(v1::Compression::Gzip) => Ok(Some(Compression::Gzip)),
        Ok(v1::Compression::Snappy) => Ok(Some(Compression::Snappy)),
        Ok(v1::Compression::Lz4) => Ok(Some(Compression::Lz4)),
        Ok(v1::Compression::Zstd) => Ok(Some(Compression::Zstd)),
        Err(_) => Err(Error::InvalidRequest {
            field: "compression",
            problem: format!(
                "{asked} is unknown; expected none (1), gzip (2), snappy (3), lz4 (4) or zstd (5)"
            ),
        }),
    }
}

fn expected(request: &v1::ProduceRequest) -> Result<Option<Offset>, Error> {
    let Some(expected) = request.expected_next_offset else { return Ok(None) };
    if request.partition.is_none() {
        return Err(field("expected_next_offset", "it needs `partition`: offsets are a partition's own"));
    }
    u64::try_from(expected).map(|offset| Some(Offset(offset))).map_err(|_| Error::InvalidRequest {
        field: "expected_next_offset",
        problem: format!("{expected} is negative; offsets begin at 0"),
    })
}

fn produced_partition(
    to: v1::TopicPartition,
    record_indexes: Vec<i32>,
    produced: &Produced,
) -> v1::ProducedPartition {
    let durability = match produced.durability {
        Durability::None => v1::Durability::None,
        Durability::LeaderFsync => v1::Durability::LeaderFsync,
        Durability::QuorumFsync => v1::Durability::QuorumFsync,
    };
    v1::ProducedPartition {
        topic_partition: Some(to),
        error: None,
        record_indexes,
        base_offset: produced.base_offset.map_or(-1, Offset::as_i64),
        record_count: i32::try_from(produced.record_count).unwrap_or(i32::MAX),
        durability: durability.into(),
        log_start_offset: produced.log_start.as_i64(),
        high_watermark: produced.high_watermark.as_i64(),
    }
}

fn failed_partition(
    to: v1::TopicPartition,
    record_indexes: Vec<i32>,
    record_count: i32,
    error: &Error,
) -> v1::ProducedPartition {
    v1::ProducedPartition {
        topic_partition: Some(to),
        error: Some(item_error(error)),
        record_indexes,
        base_offset: -1,
        record_count,
        log_start_offset: -1,
        high_watermark: -1,
        ..Default::default()
    }
}

/// The clock that stamps records which bring no timestamp.
fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
