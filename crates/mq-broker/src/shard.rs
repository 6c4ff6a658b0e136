//! The thread that runs an engine: all that waits is one turn, and what follows is carried out in order.
//!
//! No rules here: the engine decides what happens, this file does it.

use crate::bad_places::BadPlaces;
use crate::events;
use crate::inbox::{Ask, ClosedAtEnd, End, Inbox, Permits, Taken};
use crate::metrics::Metrics;
use crate::options::{FatalError, FatalHook};
use crate::routing::Images;
use crate::views::Views;
use crate::writer::{Numbered, Writer};
use mq_engine::api::{self, Reply};
use mq_engine::{Effect, Engine, Input, Now, ReadId, RequestId};
use mq_log::{OsDisk, PersistError, ReadError, Reader};
use mq_types::{Index, QuorumId, ReplicaId, ShardId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// What a shard works with.
pub(crate) struct Shard {
    pub(crate) shard: ShardId,
    pub(crate) engine: Engine,
    /// The inboxes of all shards, this one's too.
    pub(crate) inboxes: Arc<[Arc<Inbox>]>,
    pub(crate) writer: Writer,
    /// Called when the disk failed.
    pub(crate) fatal: FatalHook,
    pub(crate) views: Arc<Views>,
    pub(crate) images: Arc<Images>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) bad_places: Arc<BadPlaces>,
    /// Where log reads run that the engine asks for.
    pub(crate) runtime: Handle,
    /// What monotonic time is counted from.
    pub(crate) epoch: Instant,
    pub(crate) open: Open,
}

/// What was asked and not yet answered.
#[derive(Default)]
pub(crate) struct Open {
    last_request: u64,
    requests: BTreeMap<RequestId, Waiter>,
}

struct Waiter {
    answer: oneshot::Sender<api::Outcome>,
    /// The size of the batch to append; 0 for other requests.
    batch_bytes: u64,
    _permits: Permits,
}

impl Shard {
    /// Runs until it is told to end and everything is durable, or until the disk fails.
    pub(crate) fn run(mut self) -> Result<(), PersistError> {
        let inbox = Arc::clone(&self.inboxes[usize::from(self.shard.0)]);
        let _closed = ClosedAtEnd(Arc::clone(&inbox));
        let result = self.work(&inbox);
        let result = result.and_then(|()| self.writer.close());
        if let Err(error) = &result {
            // Nothing that depends on this write is ever answered: the inbox stays shut from here on.
            inbox.close();
            (self.fatal)(FatalError { shard: self.shard, error });
        }
        result
    }

    /// Turn after turn, and after each of them a round with what it wants written. What comes while the disk is at work
    /// waits for the next turn, and goes into one round. A second thread for the rounds would save the time of a turn,
    /// which is short, and cost two hops between cores for every answer, which are not.
    fn work(&mut self, inbox: &Inbox) -> Result<(), PersistError> {
        let mut end: Option<End> = None;
        // The first turn is what follows from recovery.
        let mut taken = Taken::default();
        loop {
            end = taken.end.or(end);
            self.turn(taken);
            if self.has_ended(end) {
                return Ok(());
            }
            let done = self.writer.round()?;
            taken = if done.is_empty() { inbox.take() } else { inbox.take_now() };
            taken.inputs.splice(0..0, done);
        }
    }

    fn has_ended(&self, end: Option<End>) -> bool {
        match end {
            None => false,
            Some(End::Now) => true,
            Some(End::Drain(_)) if self.engine.is_quiet() => {
                let requests = self.open.requests.len();
                assert_eq!(requests, 0, "a quiet engine has answered everything");
                true
            }
            Some(End::Drain(deadline)) if Instant::now() >= deadline => {
                let requests = self.open.requests.len();
                tracing::warn!(shard = %self.shard, requests, "stopping before everything was answered");
                true
            }
            Some(End::Drain(_)) => false,
        }
    }

    /// One turn of the engine, and one more if it is to stop.
    fn turn(&mut self, taken: Taken) {
        self.metrics.turn(self.shard, taken.asks.len() + taken.inputs.len());
        let mut inputs = taken.inputs;
        inputs.extend(taken.asks.into_iter().map(|ask| self.open.register(ask)));
        let effects = self.engine.turn(self.now(), inputs);
        self.carry_out(effects);
        if taken.end.is_none() {
            return;
        }
        // In a turn of its own, so that what was handed over before the end is still carried out.
        let effects = self.engine.turn(self.now(), vec![Input::Stop]);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                // Written after the turn. Nothing else in this turn rests on it: what does waits for `Persisted`.
                Effect::Persist { number, write } => self.writer.take(Numbered { number, write }),
                // There are no other brokers to send to yet; messages may be lost.
                Effect::Send(_) | Effect::Join(_) => {}
                Effect::Read { quorum, replica, read, from, until, size_bytes_max } => {
                    self.read((quorum, replica), read, from..until, size_bytes_max);
                }
                Effect::Publish { quorum, view } => self.views.publish(quorum, view),
                Effect::Reply { id, outcome } => self.reply(id, outcome),
                Effect::Image(image) => {
                    self.images.publish(Arc::clone(&image));
                    for (shard, inbox) in self.inboxes.iter().enumerate() {
                        if shard != usize::from(self.shard.0) {
                            inbox.image(Arc::clone(&image));
                        }
                    }
                }
                Effect::Command(command) => {
                    let controller = QuorumId::CONTROLLER.shard(self.shards());
                    self.inboxes[usize::from(controller.0)].offer(Input::Command(command));
                }
                Effect::Closed { quorum } => self.views.close(quorum),
                Effect::Event(event) => events::log(&event, &self.images.current()),
            }
        }
    }

    /// Reads entries elsewhere: a cold read takes as long as the disk does, and the other quorums go on meanwhile.
    fn read(
        &self,
        (quorum, replica): (QuorumId, ReplicaId),
        read: ReadId,
        range: std::ops::Range<Index>,
        size_bytes_max: usize,
    ) {
        let reader = self.views.reader(quorum).filter(|reader| reader.replica() == replica);
        let inbox = Arc::clone(&self.inboxes[usize::from(self.shard.0)]);
        let bad_places = Arc::clone(&self.bad_places);
        self.runtime.spawn_blocking(move || {
            let read_entries = |reader: Reader<OsDisk>| {
                let entries = reader.entries(range.start, range.end, size_bytes_max);
                match &entries {
                    Err(ReadError::Corrupt(place)) => bad_places.found(&reader, place),
                    Err(error) => tracing::error!(%quorum, %error, "could not read log entries"),
                    Ok(_) => {}
                }
                entries.ok()
            };
            let entries = reader.and_then(read_entries);
            inbox.push([Input::EntriesRead { quorum, replica, read, entries }]);
        });
    }

    fn reply(&mut self, id: RequestId, outcome: api::Outcome) {
        let waiter = self.open.requests.remove(&id);
        let waiter = waiter.unwrap_or_else(|| panic!("request {} was answered twice or never asked", id.0));
        if let Ok(Reply::Produced(produced)) = &outcome {
            self.metrics.produced(produced.record_count, waiter.batch_bytes);
        }
        // Whoever asked may have gone: a timeout, or a closed connection.
        let _ = waiter.answer.send(outcome);
    }

    fn now(&self) -> Now {
        let monotonic_ms =
            u64::try_from(self.epoch.elapsed().as_millis()).expect("a process lives no 2^64 ms");
        // A clock before 1970 is as wrong as any other; wall time decides retention only.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic_ms, wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX) }
    }

    fn shards(&self) -> u16 {
        u16::try_from(self.inboxes.len()).expect("options allow no more shards")
    }
}

impl Open {
    fn register(&mut self, ask: Ask) -> Input {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        let batch_bytes = match &ask.request {
            api::Request::Produce(produce) => produce.batch.batch().len_bytes() as u64,
            _ => 0,
        };
        self.requests.insert(id, Waiter { answer: ask.answer, batch_bytes, _permits: ask.permits });
        Input::Request { id, request: ask.request }
    }
}
