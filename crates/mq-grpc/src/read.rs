//! The simple way to read: decoded records from a point on, over one or all partitions of a topic.
//!
//! One task a call; HTTP/2 flow control is the only brake, so at most a few answers wait for the client.

use crate::answers::{self, until_stopped};
use crate::consumer::Consumer;
use crate::cursor::Cursor;
use crate::outlet::{Answers, Positions, Room};
use crate::position::{check_isolation, offset_spec, topic_name};
use crate::status::status;
use futures::future::select_all;
use futures::stream::BoxStream;
use mq_broker::api::Error;
use mq_broker::{Broker, OffsetSpec, TopicPartition};
use mq_proto::v1;
use mq_types::{Index, TopicId};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// Answers that may wait for the client to receive them.
const ANSWERS_WAITING_MAX_COUNT: usize = 2;
/// How long one wait for new records lasts before everything is looked at again.
const WAIT: Duration = Duration::from_secs(5);
/// How long a reader rests after a passing failure.
const REST: Duration = Duration::from_millis(50);

/// A call as understood.
struct Read {
    consumer: Consumer,
    topic: String,
    topic_id: TopicId,
    /// All partitions, also those created later (unless the read has a stop, which is fixed at the call).
    grows: bool,
    legs: Vec<Leg>,
    room: Answers,
    /// Places for the legs.
    followed: Positions,
    /// The metadata's revision when the topic was last looked at.
    seen: Index,
}

/// One partition of a read.
struct Leg {
    to: TopicPartition,
    start: OffsetSpec,
    stop: Option<OffsetSpec>,
    /// Set once start and stop were found, which a partition without a leader delays.
    place: Option<Place>,
}

/// Where one partition is being read.
struct Place {
    cursor: Cursor,
    /// Stop before it.
    stop: Option<i64>,
}

/// Begins a read; what is wrong with the request itself is said before the stream begins.
pub(crate) async fn serve(
    consumer: Consumer,
    request: v1::ReadRequest,
    room: Answers,
) -> Result<BoxStream<'static, Result<v1::ReadResponse, Status>>, Error> {
    check_isolation(request.isolation_level)?;
    let start = request.start.map_or(Ok(OffsetSpec::Earliest), |start| offset_spec(Some(start)))?;
    let stop = request.stop.map(|stop| offset_spec(Some(stop))).transpose()?;
    if let Some(OffsetSpec::Offset(stop @ ..0)) = stop {
        let problem = format!("{stop} is no offset; leave it out to read on for ever");
        return Err(Error::InvalidRequest { field: "stop", problem });
    }
    if !request.partitions.is_empty() {
        consumer.check_count(request.partitions.len())?;
    }
    let topic = topic_name(request.topic)?;
    let chosen: BTreeSet<i64> = request.partitions.into_iter().map(i64::from).collect();
    let first = chosen.first().copied().unwrap_or(0);
    let seen = consumer.broker.image().revision;
    let to = TopicPartition { topic: topic.clone(), partition: first, topic_id: None };
    let resolved = consumer.broker.resolve(&to)?.topic;
    let grows = chosen.is_empty() && stop.is_none();
    let mut read = Read {
        consumer,
        topic,
        topic_id: resolved.id,
        grows,
        legs: Vec::new(),
        room: room.clone(),
        followed: Positions::default(),
        seen,
    };
    let partitions = if chosen.is_empty() { (0..resolved.partitions.len() as i64).collect() } else { chosen };
    for partition in partitions {
        read.add(partition, start, stop)?;
        let leg = read.legs.last_mut().expect("it was just added");
        if let Err(error) = leg.find(&read.consumer.broker).await
            && !error.code().retriable()
        {
            return Err(error);
        }
    }
    let stopping = read.consumer.stopping.clone();
    Ok(answers::stream_with_room(ANSWERS_WAITING_MAX_COUNT, room.clone(), |answers| {
        until_stopped(
            stopping,
            async move { read.run(&answers, &room).await.map_err(|error| status(&error)) },
        )
    }))
}

impl Read {
    fn add(&mut self, partition: i64, start: OffsetSpec, stop: Option<OffsetSpec>) -> Result<(), Error> {
        self.room.follow(1, &mut self.followed)?;
        let to = TopicPartition { topic: self.topic.clone(), partition, topic_id: Some(self.topic_id) };
        self.legs.push(Leg { to, start, stop, place: None });
        Ok(())
    }

    async fn run(
        mut self,
        answers: &mpsc::Sender<(v1::ReadResponse, Room)>,
        room: &Answers,
    ) -> Result<(), Error> {
        loop {
            self.look_at_topic()?;
            let mut sent = false;
            let mut rest = None;
            for leg in self.legs.iter_mut().filter(|leg| !leg.done()) {
                match leg.read(&self.consumer, room).await {
                    Ok(None) => {}
                    Ok(Some(answer)) => {
                        sent = true;
                        if answers.send(answer).await.is_err() {
                            return Ok(()); // the client has gone
                        }
                    }
                    // An election, or records not yet known to be readable: a reader does not see it, it waits.
                    Err(error) if error.code().retriable() => rest = Some(REST),
                    Err(error) => return Err(error),
                }
            }
            if sent {
                continue;
            }
            if self.legs.iter().all(Leg::done) {
                return Ok(());
            }
            match rest {
                Some(rest) => tokio::time::sleep(rest).await,
                None => self.wait().await,
            }
        }
    }

    /// A topic that was deleted ends the read with the reason; partitions that it got are read from their beginning.
    fn look_at_topic(&mut self) -> Result<(), Error> {
        let broker = &self.consumer.broker;
        let image = broker.image();
        if image.revision == self.seen {
            return Ok(());
        }
        self.seen = image.revision;
        let to = TopicPartition { topic: self.topic.clone(), partition: 0, topic_id: Some(self.topic_id) };
        let count = broker.resolve(&to)?.topic.partitions.len();
        if self.grows {
            for partition in self.legs.len()..count {
                self.add(partition as i64, OffsetSpec::Earliest, None)?;
            }
        }
        Ok(())
    }

    /// Returns when a partition has more to read, when the metadata changed, or after a while.
    async fn wait(&self) {
        let broker = &self.consumer.broker;
        let places = self.legs.iter().filter(|leg| !leg.done()).filter_map(|leg| leg.place.as_ref());
        let news = places
            .map(|Place { cursor, .. }| Box::pin(broker.readable_after(&cursor.at, cursor.offset(), WAIT)));
        tokio::select! {
            _ = select_all(news) => {}
            _ = broker.image_after(self.seen) => {}
        }
    }
}

impl Leg {
    fn done(&self) -> bool {
        let stop = |place: &Place| place.stop.is_some_and(|stop| place.cursor.next >= stop);
        self.place.as_ref().is_some_and(stop)
    }

    /// Finds where to begin and where to stop, both within the log.
    async fn find(&mut self, broker: &Broker) -> Result<&mut Place, Error> {
        if self.place.is_none() {
            let at = broker.resolve(&self.to)?;
            let stop = match self.stop {
                None => None,
                Some(OffsetSpec::Offset(offset)) => Some(offset),
                Some(spec) => Some(broker.find_offset(&at, spec).await?.offset.as_i64()),
            };
            let next = broker.find_offset(&at, self.start).await?.offset.as_i64();
            self.place = Some(Place { cursor: Cursor { at, next }, stop });
        }
        Ok(self.place.as_mut().expect("it was just set"))
    }

    /// The next records before the stop, if there are any now.
    async fn read(
        &mut self,
        consumer: &Consumer,
        room: &Answers,
    ) -> Result<Option<(v1::ReadResponse, Room)>, Error> {
        let place = self.find(&consumer.broker).await?;
        if place.stop.is_some_and(|stop| place.cursor.next >= stop) {
            return Ok(None);
        }
        let from = place.cursor.next;
        let bytes_max = consumer.stream_bytes_max();
        let read = place.cursor.read_with_room(consumer, room, v1::BatchFormat::Records, bytes_max);
        let (fetched, room) = read.await?;
        let mut records = fetched.records;
        let mut next_offset = fetched.next_offset;
        if let Some(stop) = place.stop.filter(|stop| next_offset > *stop) {
            records.retain(|record| record.offset < stop);
            next_offset = stop;
        }
        if next_offset == from {
            return Ok(None);
        }
        let answer = v1::ReadResponse {
            topic_partition: fetched.topic_partition,
            records,
            next_offset,
            high_watermark: fetched.high_watermark,
        };
        Ok(Some((answer, room)))
    }
}
