//! The pipelined produce: requests in, answers out in the order sent, at most a window of bytes in flight.
//!
//! One task a stream. It hands requests over in the order they come, so records of one partition keep their order,
//! and stops reading while the window is full. A client that sends but does not receive is cut off.

use crate::answers;
use crate::outlet::Answers;
use crate::producer::{Producer, Submitted};
use crate::status::{item_error, status, stopping, unreadable};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesOrdered, StreamExt};
use mq_broker::WhenFull;
use mq_broker::api::Error;
use mq_proto::v1;
use mq_types::ErrorCode;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// Answers that may wait for the client to receive them.
const ANSWERS_WAITING_MAX_COUNT: usize = 64;
/// Requests in flight on one stream, whatever their size.
const REQUESTS_INFLIGHT_MAX_COUNT: usize = 4096;
/// So many requests in flight take room for their answers together; the first ones need none.
const ANSWERS_PER_ROOM_COUNT: usize = 64;
/// That room, in bytes.
const ROOM_BYTES: usize = ANSWERS_PER_ROOM_COUNT << 10;
/// How long an answer may wait for its client once the broker is stopping.
const STOPPING_PATIENCE: Duration = Duration::from_millis(500);

/// A request in flight: its answer and the bytes that it holds of the window.
type InFlight = BoxFuture<'static, (v1::ProduceStreamResponse, usize)>;

/// Serves one stream until the client half-closes and everything is answered, or until either side breaks. When the
/// broker stops, it takes nothing more and answers what it took.
pub(crate) fn serve(
    producer: Producer,
    requests: Streaming<v1::ProduceStreamRequest>,
    room: Answers,
) -> BoxStream<'static, Result<v1::ProduceStreamResponse, Status>> {
    answers::stream(ANSWERS_WAITING_MAX_COUNT, |answers| run(producer, requests, room, answers))
}

async fn run(
    producer: Producer,
    mut requests: Streaming<v1::ProduceStreamRequest>,
    room_of_answers: Answers,
    answers: mpsc::Sender<v1::ProduceStreamResponse>,
) -> Result<(), Status> {
    let window_bytes = producer.options.produce_stream_window_bytes;
    let mut in_flight: FuturesOrdered<InFlight> = FuturesOrdered::new();
    let mut held_bytes = 0;
    let mut rooms = Vec::new();
    let mut first = true;
    // How the stream will end, once everything is answered; `None` while more requests may come.
    let mut ended: Option<Result<(), Status>> = None;
    loop {
        if in_flight.is_empty()
            && let Some(ended) = ended
        {
            return ended;
        }
        let open = ended.is_none();
        let rooms_wanted = in_flight.len() / ANSWERS_PER_ROOM_COUNT;
        rooms.truncate(rooms_wanted + 1);
        if rooms.len() < rooms_wanted {
            rooms.extend(room_of_answers.room_now(ROOM_BYTES));
        }
        let room = held_bytes < window_bytes
            && in_flight.len() < REQUESTS_INFLIGHT_MAX_COUNT
            && rooms.len() >= rooms_wanted;
        tokio::select! {
            Some((mut answer, bytes)) = in_flight.next(), if !in_flight.is_empty() => {
                held_bytes -= bytes;
                if std::mem::take(&mut first) {
                    answer.window_bytes = i32::try_from(window_bytes).unwrap_or(i32::MAX);
                }
                deliver(&producer, &answers, answer).await?;
            }
            request = requests.message(), if open && room => match request {
                Ok(Some(request)) => {
                    let bytes = payload_bytes(&request);
                    held_bytes += bytes;
                    in_flight.push_back(submit(&producer, request, bytes).await);
                }
                Ok(None) => ended = Some(Ok(())),
                // The transport broke, or a message was malformed.
                Err(broken) => ended = Some(Err(unreadable(&producer.broker, broken))),
            },
            () = producer.stopping.cancelled(), if open => ended = Some(Err(stopping())),
        }
    }
}

/// Hands one request over; its place in the order of answers is taken here.
async fn submit(producer: &Producer, request: v1::ProduceStreamRequest, bytes: usize) -> InFlight {
    let correlation_id = request.correlation_id;
    let submitted = match request.request {
        Some(request) => producer.submit(request, WhenFull::Wait, None).await,
        None => Err(Error::InvalidRequest { field: "request", problem: "it is missing".to_owned() }),
    };
    let submitted = submitted.inspect_err(|error| producer.broker.refused(error));
    Box::pin(async move { (answer(correlation_id, submitted).await, bytes) })
}

async fn answer(correlation_id: i64, submitted: Result<Submitted, Error>) -> v1::ProduceStreamResponse {
    let (response, error) = match submitted {
        Ok(submitted) => {
            let (response, error) = submitted.answer().await;
            let tells_more = error.as_ref().is_none_or(|error| error.code() == ErrorCode::PartlyAppended);
            (tells_more.then_some(response), error)
        }
        Err(error) => (None, Some(error)),
    };
    v1::ProduceStreamResponse {
        correlation_id,
        error: error.as_ref().map(item_error),
        response,
        window_bytes: 0,
    }
}

/// Puts an answer where the client can receive it.
///
/// # Errors
/// The client does not receive: the stream is over, and what of it was not answered is unknown to the client.
async fn deliver(
    producer: &Producer,
    answers: &mpsc::Sender<v1::ProduceStreamResponse>,
    answer: v1::ProduceStreamResponse,
) -> Result<(), Status> {
    let patience = Duration::from_millis(producer.options.answers_unread_ms_max);
    let stopping = async {
        producer.stopping.cancelled().await;
        tokio::time::sleep(STOPPING_PATIENCE).await;
    };
    let error = tokio::select! {
        biased;
        sent = answers.send(answer) => {
            return sent.map_err(|_| Status::cancelled("the client has gone"));
        }
        () = tokio::time::sleep(patience) => Error::AnswersNotRead {
            waiting: answers.max_capacity(),
            waited_ms: producer.options.answers_unread_ms_max,
        },
        () = stopping => Error::OutcomeUnknown { why: "the broker stopped before its answers were read" },
    };
    tracing::warn!(%error, "a produce stream is cut off");
    Err(status(&error))
}

/// The bytes of a request that count against the window.
fn payload_bytes(request: &v1::ProduceStreamRequest) -> usize {
    request.request.as_ref().map_or(0, |request| {
        request.kafka_batch.len() + request.records.iter().map(crate::record::size_bytes).sum::<usize>()
    })
}
