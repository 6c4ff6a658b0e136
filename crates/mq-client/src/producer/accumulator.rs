//! What a producer holds and has not sent: one open batch per partition, and closed batches in the order in which
//! they were closed. It decides when a batch may go; it sends nothing and reads no clock but for stamping arrivals.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::Duration,
};

use bytes::Bytes;
use mq_proto::v1::Record;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::{BatchAck, Outcome, ProducerRecord};
use crate::{error::ClientError, partitioner::Partitioner};

/// What a request carries.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    Records(Vec<Record>),
    KafkaBatch(Bytes),
}

/// One batch that has no outcome yet. Its room in the buffer is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Pending {
    /// The order of closing, 0 while open; also its correlation id on the stream. Unique within a producer.
    pub(super) sequence: i64,
    pub(super) partition: i32,
    pub(super) payload: Payload,
    pub(super) record_count: u32,
    pub(super) size_bytes: usize,
    /// When its first record came.
    pub(super) since: Instant,
    /// Set when it was refused for now.
    pub(super) not_before: Option<Instant>,
    /// Why it was refused last.
    pub(super) last: Option<ClientError>,
    outcome: watch::Sender<Outcome>,
    room: OwnedSemaphorePermit,
}

impl Pending {
    fn new(
        partition: i32,
        payload: Payload,
        record_count: u32,
        size_bytes: usize,
        room: OwnedSemaphorePermit,
    ) -> Pending {
        let (outcome, _) = watch::channel(None);
        let since = Instant::now();
        let (not_before, last) = (None, None);
        Pending {
            sequence: 0,
            partition,
            payload,
            record_count,
            size_bytes,
            since,
            not_before,
            last,
            outcome,
            room,
        }
    }

    pub(super) fn resolve(self, outcome: Result<BatchAck, ClientError>) {
        self.outcome.send_replace(Some(outcome));
    }
}

#[derive(Debug)]
pub(super) struct Accumulator {
    partitioner: Partitioner,
    batch_bytes_max: usize,
    linger: Duration,
    open: BTreeMap<i32, Pending>,
    closed: BTreeMap<i64, Pending>,
    next_sequence: i64,
    /// Flushes under way: while there is one, nothing lingers.
    pub(super) flushes: usize,
    closing: bool,
}

impl Accumulator {
    pub(super) fn new(partitioner: Partitioner, batch_bytes_max: usize, linger: Duration) -> Accumulator {
        let (open, closed) = (BTreeMap::new(), BTreeMap::new());
        let next_sequence = 1;
        Accumulator {
            partitioner,
            batch_bytes_max,
            linger,
            open,
            closed,
            next_sequence,
            flushes: 0,
            closing: false,
        }
    }

    /// Adds a record to its partition's open batch. Gives its place in the batch, and whether the sender has
    /// something new to look at (a batch that was opened or closed).
    pub(super) fn push(
        &mut self,
        record: ProducerRecord,
        size_bytes: usize,
        room: OwnedSemaphorePermit,
    ) -> (watch::Receiver<Outcome>, u32, bool) {
        assert!(!self.closing, "nothing is handed over after the producer is gone");
        let mut changed = false;
        // Closing a batch sends records without a key on to the next partition, whose batch may be full as well.
        let partition = loop {
            let partition =
                record.partition.unwrap_or_else(|| self.partitioner.partition(record.key.as_deref()));
            let fits = |open: &Pending| open.size_bytes + size_bytes <= self.batch_bytes_max;
            if self.open.get(&partition).is_none_or(fits) {
                break partition;
            }
            self.close_batch(partition);
            changed = true;
        };
        let record = record.into_record();
        let open = match self.open.entry(partition) {
            Entry::Occupied(open) => {
                let open = open.into_mut();
                let Payload::Records(records) = &mut open.payload else {
                    unreachable!("open batches hold records")
                };
                records.push(record);
                open.record_count += 1;
                open.size_bytes += size_bytes;
                open.room.merge(room);
                open
            }
            Entry::Vacant(place) => {
                changed = true;
                place.insert(Pending::new(partition, Payload::Records(vec![record]), 1, size_bytes, room))
            }
        };
        let (outcome, index) = (open.outcome.subscribe(), open.record_count - 1);
        if open.size_bytes >= self.batch_bytes_max {
            self.close_batch(partition);
            changed = true;
        }
        (outcome, index, changed)
    }

    /// Adds a batch as it is, behind what its partition already has.
    pub(super) fn push_batch(
        &mut self,
        partition: i32,
        payload: Payload,
        record_count: u32,
        size_bytes: usize,
        room: OwnedSemaphorePermit,
    ) -> watch::Receiver<Outcome> {
        assert!(!self.closing, "nothing is handed over after the producer is gone");
        self.close_batch(partition);
        let batch = Pending::new(partition, payload, record_count, size_bytes, room);
        let outcome = batch.outcome.subscribe();
        self.put_last(batch);
        outcome
    }

    /// The producer is gone: what is left goes without lingering.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// Nothing waits here.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.closed.is_empty()
    }

    /// Nothing waits, and nothing will come.
    pub(super) fn is_finished(&self) -> bool {
        self.closing && self.is_empty()
    }

    /// Takes batches that may go now, in order, up to `window_bytes` together; `at_least_one` lets the first pass
    /// whatever its size. A batch that was refused for now holds up its partition, not the others.
    pub(super) fn take_ready(
        &mut self,
        now: Instant,
        window_bytes: usize,
        at_least_one: bool,
    ) -> Vec<Pending> {
        self.close_lingered(now);
        let mut held_up = BTreeSet::new();
        let (mut chosen, mut left_bytes) = (Vec::new(), window_bytes);
        for (&sequence, batch) in &self.closed {
            if held_up.contains(&batch.partition) {
                continue;
            }
            if batch.not_before.is_some_and(|instant| instant > now) {
                held_up.insert(batch.partition);
                continue;
            }
            if batch.size_bytes > left_bytes && !(at_least_one && chosen.is_empty()) {
                break;
            }
            left_bytes = left_bytes.saturating_sub(batch.size_bytes);
            chosen.push(sequence);
        }
        chosen.iter().filter_map(|sequence| self.closed.remove(sequence)).collect()
    }

    /// Takes back a batch that was refused for now; it keeps its place.
    pub(super) fn put_back(&mut self, batch: Pending) {
        assert!(
            batch.sequence > 0 && batch.sequence < self.next_sequence,
            "batch {} was never closed",
            batch.sequence
        );
        let before = self.closed.insert(batch.sequence, batch);
        assert!(before.is_none(), "a batch is in one place only");
    }

    /// Takes the closed batches whose first record came before `limit`.
    pub(super) fn take_expired(&mut self, limit: Instant) -> Vec<Pending> {
        self.closed.extract_if(.., |_, batch| batch.since < limit).map(|(_, batch)| batch).collect()
    }

    /// When the next batch may go that may not go at `now`. What may go already waits for the window, not for time.
    pub(super) fn next_ready_at(&self, now: Instant) -> Option<Instant> {
        let lingering = self.open.values().map(|batch| batch.since + self.linger);
        let refused = self.closed.values().filter_map(|batch| batch.not_before);
        lingering.chain(refused).filter(|&instant| instant > now).min()
    }

    fn close_lingered(&mut self, now: Instant) {
        let hurry = self.closing || self.flushes > 0;
        let lingered = self.open.values().filter(|batch| hurry || batch.since + self.linger <= now);
        for partition in lingered.map(|batch| batch.partition).collect::<Vec<_>>() {
            self.close_batch(partition);
        }
    }

    fn close_batch(&mut self, partition: i32) {
        if let Some(batch) = self.open.remove(&partition) {
            self.partitioner.batch_closed(partition);
            self.put_last(batch);
        }
    }

    fn put_last(&mut self, mut batch: Pending) {
        batch.sequence = self.next_sequence;
        self.next_sequence += 1;
        self.closed.insert(batch.sequence, batch);
    }
}
