//! The thread that runs an engine: all that waits is one turn, and what follows is carried out in order.
//!
//! No rules here: the engine decides what happens, this file does it.

use crate::events;
use crate::inbox::{Ask, ClosedAtEnd, End, Inbox, Permits, Taken};
use crate::metrics::Metrics;
use crate::routing::Images;
use crate::views::Views;
use crate::writer::Numbered;
use mq_engine::api::{self, Reply};
use mq_engine::{Effect, Engine, Input, Now, ReadId, RequestId};
use mq_types::{Index, QuorumId, ShardId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// What a shard works with.
pub(crate) struct Shard {
    pub(crate) shard: ShardId,
    pub(crate) engine: Engine,
    /// The inboxes of all shards, this one's too.
    pub(crate) inboxes: Arc<[Arc<Inbox>]>,
    pub(crate) writer: SyncSender<Vec<Numbered>>,
    pub(crate) views: Arc<Views>,
    pub(crate) images: Arc<Images>,
    pub(crate) metrics: Arc<Metrics>,
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

/// The writer has ended before its shard: the disk failed, and there is nobody to go on with.
struct WriterGone;

impl Shard {
    /// Runs until it is told to end, or until the writer has failed.
    pub(crate) fn run(mut self) {
        let inbox = Arc::clone(&self.inboxes[usize::from(self.shard.0)]);
        let _closed = ClosedAtEnd(Arc::clone(&inbox));
        let mut end: Option<End> = None;
        // The first turn is what follows from recovery.
        let mut taken = Taken::default();
        loop {
            end = taken.end.or(end);
            if self.turn(taken).is_err() || self.has_ended(end) {
                break;
            }
            taken = inbox.take();
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
    fn turn(&mut self, taken: Taken) -> Result<(), WriterGone> {
        self.metrics.turn(self.shard, taken.asks.len() + taken.inputs.len());
        let mut inputs = taken.inputs;
        inputs.extend(taken.asks.into_iter().map(|ask| self.open.register(ask)));
        let effects = self.engine.turn(self.now(), inputs);
        self.carry_out(effects)?;
        if taken.end.is_none() {
            return Ok(());
        }
        // In a turn of its own, so that what was handed over before the end is still carried out.
        let effects = self.engine.turn(self.now(), vec![Input::Stop]);
        self.carry_out(effects)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), WriterGone> {
        let mut writes = Vec::new();
        for effect in effects {
            if let Effect::Persist { number, write } = effect {
                writes.push(Numbered { number, write });
                continue;
            }
            // What was to be written before this is on its way before this happens.
            self.write(&mut writes)?;
            match effect {
                Effect::Persist { .. } => unreachable!("handled above"),
                // There are no other brokers to send to yet; messages may be lost.
                Effect::Send(_) => {}
                Effect::Read { quorum, read, from, until, size_bytes_max } => {
                    self.read(quorum, read, from..until, size_bytes_max);
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
        self.write(&mut writes)
    }

    fn write(&self, writes: &mut Vec<Numbered>) -> Result<(), WriterGone> {
        if writes.is_empty() {
            return Ok(());
        }
        self.writer.send(std::mem::take(writes)).map_err(|_| WriterGone)
    }

    /// Reads entries elsewhere: a cold read takes as long as the disk does, and the other quorums go on meanwhile.
    fn read(&self, quorum: QuorumId, read: ReadId, range: std::ops::Range<Index>, size_bytes_max: usize) {
        let reader = self.views.reader(quorum);
        let inbox = Arc::clone(&self.inboxes[usize::from(self.shard.0)]);
        self.runtime.spawn_blocking(move || {
            let entries = reader.map(|reader| reader.entries(range.start, range.end, size_bytes_max));
            let entries = entries.and_then(|read| {
                read.inspect_err(|error| tracing::error!(%quorum, %error, "could not read log entries")).ok()
            });
            inbox.push([Input::EntriesRead { quorum, read, entries }]);
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
