//! Push with credit, for clients that follow many partitions on one stream.
//!
//! One task a stream. Records cost credit and wait for it; errors and other news do not. A partition that answered
//! an error rests until the next seek; the others go on.

use crate::answers::{self, until_stopped};
use crate::consumer::{Asked, Consumer, asked, format};
use crate::cursor::{self, Cursor};
use crate::outlet::{Answers, Positions, Room};
use crate::position::{check_isolation, partition};
use crate::status::{refused, unreadable};
use futures::future::select_all;
use futures::stream::{BoxStream, StreamExt};
use mq_broker::api::Error;
use mq_broker::{Broker, TopicPartition};
use mq_proto::v1;
use mq_proto::v1::fetch_stream_request::Action;
use mq_types::{ErrorCode, Offset, TopicId};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// Answers that may wait for the client to receive them.
const ANSWERS_WAITING_MAX_COUNT: usize = 2;
/// What an answer takes that says why a partition cannot be read, in bytes.
const ERROR_BYTES: usize = 2 << 10;
/// How long one wait for new records lasts before everything is looked at again.
const WAIT: Duration = Duration::from_secs(5);
/// How long a partition rests after a passing failure.
const REST: Duration = Duration::from_millis(50);

/// What names a leg: the topic, or where a client gives none, its id; and the partition.
type Key = (String, Option<TopicId>, i64);

/// One partition of the stream.
struct Leg {
    asked: Asked,
    /// The seek that this follows; 0: none.
    correlation_id: i64,
    /// Set once the start was found.
    cursor: Option<Cursor>,
    /// It answered an error and waits for a seek.
    resting: bool,
}

struct FetchStream {
    consumer: Consumer,
    /// Room for what is answered.
    room: Answers,
    format: v1::BatchFormat,
    /// The client follows leaders itself and wants to hear of them.
    no_forward: bool,
    /// `None`: not counted.
    credit_bytes: Option<i64>,
    legs: BTreeMap<Key, Leg>,
    /// Places for as many legs as there were at the most.
    followed: Positions,
    /// Whose turn it was last: the next pass begins behind it, so that no partition starves the others.
    turn: Option<Key>,
}

/// Serves one stream until the client cancels it, or can never be sent anything again.
pub(crate) fn serve(
    consumer: Consumer,
    requests: Streaming<v1::FetchStreamRequest>,
    room: Answers,
    no_forward: bool,
) -> BoxStream<'static, Result<v1::FetchStreamResponse, Status>> {
    let stopping = consumer.stopping.clone();
    answers::stream_with_room(ANSWERS_WAITING_MAX_COUNT, room.clone(), |answers| {
        until_stopped(stopping, run(consumer, requests, room, no_forward, answers))
    })
}

async fn run(
    consumer: Consumer,
    mut requests: Streaming<v1::FetchStreamRequest>,
    room: Answers,
    no_forward: bool,
    answers: mpsc::Sender<(v1::FetchStreamResponse, Room)>,
) -> Result<(), Status> {
    let broker = consumer.broker.clone();
    let first = requests
        .message()
        .await
        .map_err(|broken| unreadable(&broker, broken))?
        .and_then(|request| request.action);
    let Some(Action::Start(start)) = first else {
        let problem = "the first message of a FetchStream is `start`".to_owned();
        return Err(refused(&broker, &Error::InvalidRequest { field: "action", problem }));
    };
    let mut stream =
        FetchStream::start(consumer, start, room, no_forward).map_err(|error| refused(&broker, &error))?;
    let mut open = true;
    loop {
        let rest = match stream.next_answer().await {
            Next::Answer(fetched, room) => {
                let answer = v1::FetchStreamResponse { fetched: Some(*fetched) };
                if answers.send((answer, room)).await.is_err() {
                    return Ok(()); // the client has gone
                }
                // Changes that came meanwhile go first: after a seek, answers of before only cost the client.
                while let Some(request) = ready(&broker, &mut requests, &mut open).await? {
                    stream.change(request).map_err(|error| refused(&broker, &error))?;
                }
                continue;
            }
            Next::Wait => None,
            Next::Rest => Some(REST),
        };
        if !open && !stream.has_credit() {
            return Ok(()); // half-closed, and nothing can ever be granted again
        }
        tokio::select! {
            request = requests.message(), if open => match request.map_err(|broken| unreadable(&broker, broken))? {
                Some(request) => stream.change(request).map_err(|error| refused(&broker, &error))?,
                None => open = false,
            },
            () = stream.wait(rest) => {}
        }
    }
}

/// A request that is there already, if there is one.
async fn ready(
    broker: &Broker,
    requests: &mut Streaming<v1::FetchStreamRequest>,
    open: &mut bool,
) -> Result<Option<v1::FetchStreamRequest>, Status> {
    if !*open {
        return Ok(None);
    }
    match futures::poll!(requests.next()) {
        std::task::Poll::Pending => Ok(None),
        std::task::Poll::Ready(Some(request)) => {
            request.map(Some).map_err(|broken| unreadable(broker, broken))
        }
        std::task::Poll::Ready(None) => {
            *open = false;
            Ok(None)
        }
    }
}

/// What a pass over the partitions gave.
enum Next {
    Answer(Box<v1::FetchedPartition>, Room),
    Wait,
    Rest,
}

impl FetchStream {
    fn start(
        consumer: Consumer,
        start: v1::FetchStart,
        room: Answers,
        no_forward: bool,
    ) -> Result<FetchStream, Error> {
        check_isolation(start.isolation_level)?;
        if start.credit_bytes < 0 {
            return Err(Error::InvalidRequest {
                field: "credit_bytes",
                problem: format!("{} is negative; give bytes, or 0 not to count", start.credit_bytes),
            });
        }
        let mut stream = FetchStream {
            consumer,
            room,
            format: format(start.format)?,
            no_forward,
            credit_bytes: (start.credit_bytes > 0).then_some(start.credit_bytes),
            legs: BTreeMap::new(),
            followed: Positions::default(),
            turn: None,
        };
        stream.seek(start.partitions, 0)?;
        Ok(stream)
    }

    fn has_credit(&self) -> bool {
        self.credit_bytes.is_none_or(|credit| credit > 0)
    }

    /// Carries out one action of the client.
    fn change(&mut self, request: v1::FetchStreamRequest) -> Result<(), Error> {
        match request.action {
            Some(Action::Credit(credit)) if credit.bytes >= 0 => {
                self.credit_bytes = self.credit_bytes.map(|balance| balance.saturating_add(credit.bytes));
                Ok(())
            }
            Some(Action::Credit(credit)) => Err(Error::InvalidRequest {
                field: "credit.bytes",
                problem: format!("{} is negative; credit is only ever added", credit.bytes),
            }),
            Some(Action::Seek(seek)) if seek.correlation_id > 0 => {
                self.seek(seek.partitions, seek.correlation_id)
            }
            Some(Action::Seek(_)) => Err(Error::InvalidRequest {
                field: "seek.correlation_id",
                problem: "give a number above 0; answers carry it from then on".to_owned(),
            }),
            Some(Action::Remove(remove)) => self.remove(remove.partitions),
            Some(Action::Start(_)) => Err(Error::InvalidRequest {
                field: "action",
                problem: "`start` comes once; use `seek` to add or move partitions".to_owned(),
            }),
            None => Err(Error::Unimplemented { what: "this action of a FetchStream".to_owned() }),
        }
    }

    fn seek(&mut self, partitions: Vec<v1::FetchPartition>, correlation_id: i64) -> Result<(), Error> {
        let bytes_max = self.consumer.stream_bytes_max();
        for item in partitions {
            let asked = asked(item, bytes_max)?;
            let key = key(&asked.to);
            self.legs.insert(key, Leg { asked, correlation_id, cursor: None, resting: false });
            self.consumer.check_count(self.legs.len())?;
        }
        let more = self.legs.len().saturating_sub(self.followed.count());
        self.room.follow(more, &mut self.followed)
    }

    fn remove(&mut self, partitions: Vec<v1::TopicPartition>) -> Result<(), Error> {
        for item in partitions {
            self.legs.remove(&key(&partition(Some(item))?));
        }
        Ok(())
    }

    /// The next answer that can be sent now; partitions take turns.
    async fn next_answer(&mut self) -> Next {
        let mut passing_failure = false;
        let credit = self.has_credit();
        let ranges = match self.turn.clone() {
            None => vec![(Bound::Unbounded, Bound::Unbounded)],
            Some(last) => vec![
                (Bound::Excluded(last.clone()), Bound::Unbounded),
                (Bound::Unbounded, Bound::Included(last)),
            ],
        };
        for range in ranges {
            for (key, leg) in self.legs.range_mut(range).filter(|(_, leg)| !leg.resting) {
                let read = leg.read(&self.consumer, &self.room, self.format, credit).await;
                let (mut answer, room) = match read {
                    Ok(None) => continue,
                    Ok(Some(answer)) => answer,
                    Err(error) if passes(&error, self.no_forward) => {
                        passing_failure = true;
                        continue;
                    }
                    Err(error) => (leg.fail(&self.consumer, &error), self.room.room(ERROR_BYTES).await),
                };
                let cost = i32::try_from(cursor::payload_bytes(&answer)).unwrap_or(i32::MAX);
                self.credit_bytes = self.credit_bytes.map(|balance| balance - i64::from(cost));
                answer.credit_bytes = cost;
                answer.correlation_id = leg.correlation_id;
                self.turn = Some(key.clone());
                return Next::Answer(Box::new(answer), room);
            }
        }
        if passing_failure { Next::Rest } else { Next::Wait }
    }

    /// Returns when a partition has more that may be sent, or after a while. Without credit that is only the end of a
    /// partition: errors do not wait for credit.
    async fn wait(&self, rest: Option<Duration>) {
        if let Some(rest) = rest {
            return tokio::time::sleep(rest).await;
        }
        let credit = self.has_credit();
        let cursors = self.legs.values().filter(|leg| !leg.resting).filter_map(|leg| leg.cursor.as_ref());
        let news: Vec<_> = cursors
            .map(|cursor| {
                let after = if credit { cursor.offset() } else { Offset(u64::MAX) };
                Box::pin(self.consumer.broker.readable_after(&cursor.at, after, WAIT))
            })
            .collect();
        if news.is_empty() {
            return tokio::time::sleep(WAIT).await;
        }
        if select_all(news).await.0.is_err() {
            tokio::time::sleep(REST).await;
        }
    }
}

impl Leg {
    async fn read(
        &mut self,
        consumer: &Consumer,
        room: &Answers,
        format: v1::BatchFormat,
        credit: bool,
    ) -> Result<Option<(v1::FetchedPartition, Room)>, Error> {
        if self.cursor.is_none() {
            self.cursor = Some(Cursor::open(&consumer.broker, &self.asked.to, self.asked.start).await?);
        }
        let cursor = self.cursor.as_mut().expect("it was just set");
        if !credit {
            return cursor.check(&consumer.broker).map(|()| None);
        }
        let from = cursor.next;
        let (answer, room) = cursor.read_with_room(consumer, room, format, self.asked.bytes_max).await?;
        Ok((answer.next_offset > from).then_some((answer, room)))
    }

    /// Rests, and says why.
    fn fail(&mut self, consumer: &Consumer, error: &Error) -> v1::FetchedPartition {
        self.resting = true;
        let named = cursor::named_offset(self.asked.start);
        let next_offset = self.cursor.as_ref().map_or(named, |cursor| cursor.next);
        cursor::failed(&consumer.broker, &self.asked.to, next_offset, error)
    }
}

/// Whether a failure is over soon and not seen by the client: of changes of leaders it hears if it follows them itself.
fn passes(error: &Error, no_forward: bool) -> bool {
    error.code().retriable() && !(no_forward && error.code() == ErrorCode::NotLeader)
}

fn key(to: &TopicPartition) -> Key {
    (to.topic.clone(), to.topic_id.filter(|_| to.topic.is_empty()), to.partition)
}
