//! The task behind a producer: takes batches that may go, keeps the stream's window full, and resolves each batch by
//! its answer. It owns the only stream; when that breaks, what was in flight has an unknown outcome, and a new one is
//! opened for what comes next.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use mq_proto::v1::{ErrorReason, ProduceRequest, ProduceStreamRequest, ProduceStreamResponse, Topic};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    BatchAck, ProducerOptions, Shared,
    accumulator::{Payload, Pending},
};
use crate::{client::Client, error::ClientError};

/// Requests on the stream without an answer, at most.
const IN_FLIGHT_REQUESTS_MAX: usize = 4_096;
/// The pause before a refused batch goes again when the broker names none.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How long an answer may be late, beyond the time the request gives the broker, before its outcome counts as unknown.
const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// How often timeouts are looked at while anything is held.
const TIMEOUT_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How long the task sleeps when nothing is held.
const IDLE_PAUSE: Duration = Duration::from_secs(3600);

pub(super) struct Sender {
    client: Client,
    topic: Topic,
    options: ProducerOptions,
    shared: Arc<Shared>,
    link: Link,
    /// By sequence, with the time of sending.
    in_flight: BTreeMap<i64, (Instant, Pending)>,
    in_flight_bytes: usize,
    window_bytes: usize,
    next_timeout_check: Instant,
}

/// The stream: batches can be put in as soon as it is being opened.
enum Link {
    Down,
    Opening {
        requests: mpsc::Sender<ProduceStreamRequest>,
        opened: BoxFuture<'static, Result<Box<Answers>, ClientError>>,
    },
    Up {
        requests: mpsc::Sender<ProduceStreamRequest>,
        answers: Box<Answers>,
    },
}

struct Answers {
    endpoint: Arc<str>,
    stream: Streaming<ProduceStreamResponse>,
}

impl Sender {
    pub(super) fn new(client: Client, topic: Topic, options: ProducerOptions, shared: Arc<Shared>) -> Sender {
        let window_bytes = options.window_bytes;
        Sender {
            client,
            topic,
            options,
            shared,
            link: Link::Down,
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            window_bytes,
            next_timeout_check: Instant::now(),
        }
    }

    /// Ends when the producer is gone and every batch has its outcome.
    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            if now >= self.next_timeout_check {
                self.give_up_late(now);
                self.next_timeout_check = now + TIMEOUT_CHECK_INTERVAL;
            }
            self.fill_window(now);
            if self.in_flight.is_empty() && self.shared.accumulator().is_finished() {
                return;
            }
            let wake_at = self.wake_at(now);
            tokio::select! {
                answer = next_answer(&mut self.link) => match answer {
                    Ok(answer) => self.on_answer(answer),
                    Err(error) => self.on_broken(error),
                },
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    /// With nothing in hand only a record can wake us, so the pause may be long.
    fn wake_at(&self, now: Instant) -> Instant {
        let accumulator = self.shared.accumulator();
        let holds_any = !self.in_flight.is_empty() || !accumulator.is_empty();
        let check_at = if holds_any { self.next_timeout_check } else { now + IDLE_PAUSE };
        accumulator.next_ready_at(now).map_or(check_at, |ready_at| ready_at.min(check_at))
    }

    fn fill_window(&mut self, now: Instant) {
        if self.in_flight.len() >= IN_FLIGHT_REQUESTS_MAX {
            return;
        }
        let left_bytes = self.window_bytes.saturating_sub(self.in_flight_bytes);
        let mut ready = self.shared.accumulator().take_ready(now, left_bytes, self.in_flight.is_empty());
        // The stream's queue holds exactly as many requests as may be unanswered, so it is never full below.
        let count_max = IN_FLIGHT_REQUESTS_MAX - self.in_flight.len();
        for batch in ready.split_off(ready.len().min(count_max)) {
            self.shared.accumulator().put_back(batch);
        }
        for batch in ready {
            self.send(now, batch);
        }
    }

    fn send(&mut self, now: Instant, mut batch: Pending) {
        let request = self.request(&batch);
        if let Err(refused) = self.requests().try_send(request) {
            // The stream has broken, which its answers are about to tell; this batch never got into it.
            assert!(matches!(refused, TrySendError::Closed(_)), "the queue holds all that may be in flight");
            batch.not_before = Some(now + RETRY_PAUSE);
            self.shared.accumulator().put_back(batch);
            return;
        }
        self.in_flight_bytes += batch.size_bytes;
        let before = self.in_flight.insert(batch.sequence, (now, batch));
        assert!(before.is_none(), "a sequence is in flight once");
    }

    fn request(&self, batch: &Pending) -> ProduceStreamRequest {
        let timeout_ms = i32::try_from(self.client.options().request_timeout.as_millis()).unwrap_or(i32::MAX);
        let mut request = ProduceRequest {
            topic: self.topic.name.clone(),
            topic_id: self.topic.topic_id.clone(),
            partition: Some(batch.partition),
            acks: self.options.acks.into(),
            timeout_ms,
            ..ProduceRequest::default()
        };
        match &batch.payload {
            Payload::Records(records) => {
                request.records.clone_from(records);
                request.compression = self.options.compression.into();
            }
            Payload::KafkaBatch(bytes) => request.kafka_batch = bytes.clone(),
        }
        ProduceStreamRequest { correlation_id: batch.sequence, request: Some(request) }
    }

    /// The stream's queue; opens a stream if there is none.
    fn requests(&mut self) -> &mpsc::Sender<ProduceStreamRequest> {
        if matches!(self.link, Link::Down) {
            let (requests, queue) = mpsc::channel(IN_FLIGHT_REQUESTS_MAX);
            let opened = Box::pin(open(self.client.clone(), queue));
            self.link = Link::Opening { requests, opened };
        }
        match &self.link {
            Link::Opening { requests, .. } | Link::Up { requests, .. } => requests,
            Link::Down => unreachable!("it was opened above"),
        }
    }

    fn on_answer(&mut self, answer: ProduceStreamResponse) {
        if let Ok(window_bytes @ 1..) = usize::try_from(answer.window_bytes) {
            self.window_bytes = window_bytes.min(self.options.window_bytes);
        }
        // One that was given up before has no place here any more.
        let Some((_, batch)) = self.take_in_flight(answer.correlation_id) else { return };
        let outcome = self.outcome(answer, &batch);
        self.settle(batch, outcome);
    }

    fn outcome(&self, answer: ProduceStreamResponse, batch: &Pending) -> Result<BatchAck, ClientError> {
        if let Some(error) = answer.error {
            return Err(error.into());
        }
        let partitions = answer.response.map(|response| response.partitions).unwrap_or_default();
        let [produced] = <[_; 1]>::try_from(partitions).map_err(|_| {
            self.client.unexpected("a produce to one partition, answered for another number of them")
        })?;
        if let Some(error) = produced.error {
            return Err(error.into());
        }
        if produced.record_count != i32::try_from(batch.record_count).unwrap_or(-1) {
            return Err(self
                .client
                .unexpected("a produce answered with another number of records than sent"));
        }
        Ok(BatchAck {
            partition: batch.partition,
            base_offset: produced.base_offset,
            record_count: batch.record_count,
            durability: produced.durability(),
        })
    }

    /// Resolves a batch, unless it was certainly not appended and there is time to send it again.
    fn settle(&mut self, mut batch: Pending, outcome: Result<BatchAck, ClientError>) {
        match outcome {
            Err(error) if error.retriable() => {
                batch.not_before = Some(Instant::now() + error.retry_after().max(RETRY_PAUSE));
                batch.last = Some(error);
                self.shared.accumulator().put_back(batch);
            }
            outcome => batch.resolve(outcome),
        }
    }

    /// The stream is gone. While it was being opened the error says whether anything was carried out; afterwards
    /// nobody knows what became of what was in flight, whatever the broker says about the stream as a whole.
    fn on_broken(&mut self, mut error: ClientError) {
        let was_up = matches!(self.link, Link::Up { .. });
        if let (true, ClientError::Refused(failure)) = (was_up, &mut error) {
            failure.reason = ErrorReason::OutcomeUnknown;
            failure.retriable = false;
        }
        assert!(
            !was_up || error.outcome_unknown(),
            "a stream that was up leaves an unknown outcome, not: {error}"
        );
        self.link = Link::Down;
        self.in_flight_bytes = 0;
        for (_, (_, batch)) in std::mem::take(&mut self.in_flight) {
            self.settle(batch, Err(error.clone()));
        }
    }

    fn give_up_late(&mut self, now: Instant) {
        let delivery_timeout = self.options.delivery_timeout;
        if let Some(limit) = now.checked_sub(delivery_timeout) {
            let expired = self.shared.accumulator().take_expired(limit);
            for mut batch in expired {
                let last = batch.last.take().map(Box::new);
                let waited = now.duration_since(batch.since);
                batch.resolve(Err(ClientError::DeliveryTimedOut { waited, last }));
            }
        }
        let answer_timeout = self.client.options().request_timeout + ANSWER_GRACE;
        let late = |sent: &Instant| now.duration_since(*sent) > answer_timeout;
        let late: Vec<i64> =
            self.in_flight.iter().filter(|(_, (sent, _))| late(sent)).map(|(&s, _)| s).collect();
        for sequence in late {
            let Some((sent, batch)) = self.take_in_flight(sequence) else { continue };
            let (endpoint, waited) = (self.client.endpoint(), now.duration_since(sent));
            batch.resolve(Err(ClientError::TimedOut { endpoint, waited }));
        }
    }

    fn take_in_flight(&mut self, sequence: i64) -> Option<(Instant, Pending)> {
        let taken = self.in_flight.remove(&sequence)?;
        let size_bytes = taken.1.size_bytes;
        assert!(
            size_bytes <= self.in_flight_bytes,
            "{size_bytes} bytes of {} in flight",
            self.in_flight_bytes
        );
        self.in_flight_bytes -= size_bytes;
        Some(taken)
    }
}

/// On a connection of its own, so that bulk does not hold up the client's other calls.
async fn open(
    client: Client,
    queue: mpsc::Receiver<ProduceStreamRequest>,
) -> Result<Box<Answers>, ClientError> {
    let connection = client.bulk_connection().await?;
    let opened = connection.producer().produce_stream(ReceiverStream::new(queue)).await;
    let endpoint = Arc::clone(&connection.endpoint);
    match opened {
        Ok(response) => Ok(Box::new(Answers { endpoint, stream: response.into_inner() })),
        Err(status) => Err(ClientError::from_status(&endpoint, &status, Duration::ZERO)),
    }
}

/// Waits for ever while there is no stream. Safe to drop half way: the stream being opened stays in `link`.
async fn next_answer(link: &mut Link) -> Result<ProduceStreamResponse, ClientError> {
    if let Link::Opening { requests, opened } = link {
        let answers = opened.await?;
        *link = Link::Up { requests: requests.clone(), answers };
    }
    match link {
        Link::Down | Link::Opening { .. } => futures::future::pending().await,
        Link::Up { answers, .. } => match answers.stream.message().await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                let status = tonic::Status::unavailable("the broker ended the stream");
                Err(ClientError::from_status(&answers.endpoint, &status, Duration::ZERO))
            }
            Err(status) => Err(ClientError::from_status(&answers.endpoint, &status, Duration::ZERO)),
        },
    }
}
