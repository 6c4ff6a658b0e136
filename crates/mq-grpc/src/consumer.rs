//! ConsumerService: long poll and offsets; the streams are in `read` and `fetch_stream`.

use crate::cursor::{self, Cursor};
use crate::deadline::time_left;
use crate::outlet::{Answers, Positions, Room};
use crate::position::{answer_partition, check_isolation, failed_partition, from_ms, offset_spec, partition};
use crate::record::FRAMING_BYTES;
use crate::server::Options;
use crate::status::{item_error, refused, status};
use crate::{fetch_stream, read};
use futures::future::select_all;
use futures::stream::{self, BoxStream, StreamExt};
use mq_broker::Broker;
use mq_broker::api::Error;
use mq_broker::{OffsetSpec, TopicPartition};
use mq_proto::v1;
use mq_proto::v1::consumer_service_server::ConsumerService;
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// What an answer holds if the request does not say.
pub(crate) const FETCH_BYTES_DEFAULT: usize = 1 << 20;
/// How long a fetch waits if the request does not say.
const FETCH_WAIT_DEFAULT_MS: u64 = 500;
/// What the answer for one partition takes without records, in bytes; an error's words are longer, and it is counted
/// among the records' room.
const PARTITION_BYTES: usize = 256;
/// Below this, in bytes, what is left of an answer is not worth a read of another partition.
const WORTH_A_READ_BYTES: usize = 512;
/// Partitions that are asked for an offset at the same time.
const OFFSETS_CONCURRENT_MAX_COUNT: usize = 32;

/// The service.
#[derive(Clone)]
pub(crate) struct Consumer {
    pub(crate) broker: Broker,
    pub(crate) options: Arc<Options>,
    /// Long polls are answered and streams end.
    pub(crate) stopping: CancellationToken,
}

/// One partition of a fetch.
pub(crate) struct Asked {
    pub(crate) to: TopicPartition,
    pub(crate) start: OffsetSpec,
    pub(crate) bytes_max: usize,
}

/// One partition of a fetch, and where it is read from, or why not.
struct Opened {
    asked: Asked,
    cursor: Result<Cursor, Error>,
}

/// What one pass over the partitions of a fetch gave.
#[derive(Default)]
struct Pass {
    answers: Vec<v1::FetchedPartition>,
    /// Of all answers together, as they are sent.
    size_bytes: usize,
    /// Of their records.
    payload_bytes: usize,
    /// A partition failed, which the client should know at once.
    failed: bool,
    /// The answer is full: waiting would not add to it.
    full: bool,
    /// The cursors that reached their end.
    waiting: Vec<Cursor>,
}

/// The bounds of a fetch.
struct Bounds {
    bytes_max: usize,
    bytes_min: usize,
    until: Instant,
    format: v1::BatchFormat,
}

#[tonic::async_trait]
impl ConsumerService for Consumer {
    type ReadStream = BoxStream<'static, Result<v1::ReadResponse, Status>>;

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let answers = Answers::of(&request);
        let stream = read::serve(self.clone(), request.into_inner(), answers).await;
        let stream = stream.map_err(|error| status(&error))?;
        Ok(Response::new(stream))
    }

    async fn fetch(&self, request: Request<v1::FetchRequest>) -> Result<Response<v1::FetchResponse>, Status> {
        let time_left = time_left(request.metadata());
        let answers = Answers::of(&request);
        let answered = self.long_poll(request.into_inner(), time_left, &answers).await;
        let (answer, room) = answered.map_err(|error| refused(&self.broker, &error))?;
        answers.hand_over(room);
        Ok(Response::new(answer))
    }

    type FetchStreamStream = BoxStream<'static, Result<v1::FetchStreamResponse, Status>>;

    async fn fetch_stream(
        &self,
        request: Request<Streaming<v1::FetchStreamRequest>>,
    ) -> Result<Response<Self::FetchStreamStream>, Status> {
        let no_forward = request.metadata().contains_key("mq-no-forward");
        let answers = Answers::of(&request);
        Ok(Response::new(fetch_stream::serve(self.clone(), request.into_inner(), answers, no_forward)))
    }

    async fn list_offsets(
        &self,
        request: Request<v1::ListOffsetsRequest>,
    ) -> Result<Response<v1::ListOffsetsResponse>, Status> {
        let request = request.into_inner();
        self.check_count(request.partitions.len()).map_err(|error| refused(&self.broker, &error))?;
        check_isolation(request.isolation_level).map_err(|error| refused(&self.broker, &error))?;
        let read =
            |item: v1::PartitionOffsetSpec| Ok((partition(item.topic_partition)?, offset_spec(item.spec)?));
        let asked: Result<Vec<_>, Error> = request.partitions.into_iter().map(read).collect();
        let asked = asked.map_err(|error| refused(&self.broker, &error))?;
        let listed = stream::iter(asked).map(|(to, spec)| self.list_one(to, spec));
        let offsets = listed.buffered(OFFSETS_CONCURRENT_MAX_COUNT).collect().await;
        Ok(Response::new(v1::ListOffsetsResponse { offsets }))
    }
}

impl Consumer {
    /// A request may name so many partitions, no more.
    pub(crate) fn check_count(&self, count: usize) -> Result<(), Error> {
        let most = self.options.request_partitions_max_count;
        if (1..=most).contains(&count) {
            return Ok(());
        }
        Err(Error::InvalidRequest {
            field: "partitions",
            problem: format!("{count} are named; expected 1 to {most}"),
        })
    }

    fn bounds(&self, request: &v1::FetchRequest, time_left: Option<Duration>) -> Result<Bounds, Error> {
        let most = self.options.answer_bytes_max;
        let wait_ms = request.max_wait_ms.map_or(Ok(FETCH_WAIT_DEFAULT_MS), u64::try_from);
        let wait_ms = wait_ms.map_err(|_| Error::InvalidRequest {
            field: "max_wait_ms",
            problem: "it is negative; give 0 not to wait".to_owned(),
        })?;
        let wait = Duration::from_millis(wait_ms.min(self.options.fetch_wait_ms_max));
        let bytes_max = bytes("max_bytes", request.max_bytes, FETCH_BYTES_DEFAULT)?.min(most);
        Ok(Bounds {
            bytes_max,
            bytes_min: bytes("min_bytes", request.min_bytes, 1)?.min(bytes_max),
            until: Instant::now() + time_left.map_or(wait, |left| left.min(wait)),
            format: format(request.format)?,
        })
    }

    /// The largest answer of a stream, in bytes.
    pub(crate) fn stream_bytes_max(&self) -> usize {
        FETCH_BYTES_DEFAULT.min(self.options.answer_bytes_max)
    }

    /// Reads everything asked for; while there is too little, waits for more and reads again.
    async fn long_poll(
        &self,
        request: v1::FetchRequest,
        time_left: Option<Duration>,
        answers: &Answers,
    ) -> Result<(v1::FetchResponse, Room), Error> {
        check_isolation(request.isolation_level)?;
        let bounds = self.bounds(&request, time_left)?;
        self.check_count(request.partitions.len())?;
        let mut followed = Positions::default();
        answers.follow(request.partitions.len(), &mut followed)?;
        let mut opened = Vec::with_capacity(request.partitions.len());
        for item in request.partitions {
            let asked = asked(item, bounds.bytes_max)?;
            opened.push(Opened { cursor: Err(Error::Internal { what: "not opened yet" }), asked });
        }
        // Found once: what ANCHOR_LATEST means must not move while the call waits for what comes after it.
        for Opened { asked, cursor } in &mut opened {
            *cursor = Cursor::open(&self.broker, &asked.to, asked.start).await;
        }
        loop {
            let room = answers.room_in_time(self.room_bytes(&opened, &bounds)).await?;
            let pass = self.read_all(&opened, &bounds).await;
            let left = bounds.until.saturating_duration_since(Instant::now());
            let enough = pass.payload_bytes >= bounds.bytes_min || pass.full || pass.failed;
            if enough || left.is_zero() || self.stopping.is_cancelled() {
                return Ok((v1::FetchResponse { partitions: pass.answers }, room));
            }
            drop(room); // who waits for records does not keep others from theirs
            let news = pass
                .waiting
                .iter()
                .map(|cursor| Box::pin(self.broker.readable_after(&cursor.at, cursor.offset(), left)));
            tokio::select! {
                _ = select_all(news) => {}
                () = self.stopping.cancelled() => {}
            }
        }
    }

    /// What a pass may hold at the most, in bytes: the answer, or the one batch that is larger.
    fn room_bytes(&self, opened: &[Opened], bounds: &Bounds) -> usize {
        let cursors = opened.iter().filter_map(|Opened { cursor, .. }| cursor.as_ref().ok());
        let largest = cursors.map(|cursor| cursor.room_bytes(&self.broker, bounds.bytes_max)).max();
        largest.unwrap_or(0) + opened.len() * PARTITION_BYTES
    }

    /// One pass over all partitions, until the answer is full.
    async fn read_all(&self, opened: &[Opened], bounds: &Bounds) -> Pass {
        let mut pass = Pass::default();
        for Opened { asked, cursor } in opened {
            let left = bounds.bytes_max.saturating_sub(pass.size_bytes);
            if pass.size_bytes > 0 && left < WORTH_A_READ_BYTES {
                pass.full = true;
                break;
            }
            let mut failed_at = cursor::named_offset(asked.start);
            let read = match cursor {
                Ok(cursor) => {
                    let mut cursor = cursor.clone();
                    failed_at = cursor.next;
                    let answer = cursor.read(self, bounds.format, asked.bytes_max.min(left)).await;
                    answer.map(|read| (read.answer, cursor))
                }
                Err(error) => Err(error.clone()),
            };
            let answer = match read {
                Ok((answer, cursor)) => {
                    match answer.next_offset >= answer.high_watermark {
                        true => pass.waiting.push(cursor),
                        false => pass.full = true,
                    }
                    if answer.next_offset == failed_at {
                        continue;
                    }
                    answer
                }
                Err(error) => {
                    pass.failed = true;
                    cursor::failed(&self.broker, &asked.to, failed_at, &error)
                }
            };
            let (size_bytes, payload_bytes) =
                (answer.encoded_len() + FRAMING_BYTES, cursor::payload_bytes(&answer));
            // A record larger than the whole answer goes alone (beside errors, which must not hold it up).
            if size_bytes > left && (pass.payload_bytes > 0 || payload_bytes == 0) {
                pass.full = true;
                break;
            }
            pass.size_bytes += size_bytes;
            pass.payload_bytes += payload_bytes;
            pass.answers.push(answer);
        }
        pass
    }

    async fn list_one(&self, to: TopicPartition, spec: OffsetSpec) -> v1::PartitionOffset {
        let found = async {
            let at = self.broker.resolve(&to)?;
            let found = self.broker.find_offset(&at, spec).await?;
            Ok::<_, Error>((at, found))
        };
        match found.await {
            Ok((at, found)) => v1::PartitionOffset {
                topic_partition: Some(answer_partition(&at)),
                error: None,
                offset: found.offset.as_i64(),
                leader_epoch: i32::try_from(found.term.0).unwrap_or(i32::MAX),
                timestamp: found.timestamp_ms.map(from_ms),
            },
            Err(error) => v1::PartitionOffset {
                topic_partition: Some(failed_partition(&self.broker, &to)),
                error: Some(item_error(&error)),
                offset: -1,
                ..Default::default()
            },
        }
    }
}

/// One partition of a fetch as a client names it; its answer may have `bytes_max` at the most.
pub(crate) fn asked(item: v1::FetchPartition, bytes_max: usize) -> Result<Asked, Error> {
    Ok(Asked {
        to: partition(item.topic_partition)?,
        start: offset_spec(item.start)?,
        bytes_max: bytes("partitions.max_bytes", item.max_bytes, bytes_max)?.min(bytes_max),
    })
}

/// A size in bytes as a client gives it; 0 is the default.
fn bytes(field: &'static str, asked: i32, default: usize) -> Result<usize, Error> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(asked) => Ok(asked),
        Err(_) => {
            Err(Error::InvalidRequest { field, problem: format!("{asked} is negative; give bytes, or 0") })
        }
    }
}

/// The format of an answer; unspecified is decoded records.
pub(crate) fn format(asked: i32) -> Result<v1::BatchFormat, Error> {
    match v1::BatchFormat::try_from(asked) {
        Ok(v1::BatchFormat::KafkaV2) => Ok(v1::BatchFormat::KafkaV2),
        Ok(_) => Ok(v1::BatchFormat::Records),
        Err(_) => Err(Error::InvalidRequest {
            field: "format",
            problem: format!("{asked} is unknown; expected records (1) or kafka_v2 (2)"),
        }),
    }
}
