//! The sending half of a bench: connections that hand over numbered records, by the clock or as fast as they are
//! taken, and what follows each record to its ack.
//!
//! By the clock, a record that could not be sent when it was due is sent later and timed from when it was due, so that
//! a broker that stalls is not measured only by the records it let through.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use mq_client::{ClientError, Delivery, Producer, ProducerOptions, ProducerRecord, v1};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{payload::Stamp, tally::Tally};
use crate::{cli::bench::BenchLoad, commands::produce, session::Session};

/// A record that cannot be delivered is given up after this.
pub(super) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Records of one connection to one partition whose acks were not looked at yet, at most.
const UNSETTLED_RECORDS_MAX: usize = 16_384;
/// The longest that a sender sleeps without looking whether it shall stop.
const NAP_MAX: Duration = Duration::from_millis(50);

/// What all connections of a bench have in common.
pub(super) struct Load {
    /// Tells this bench's records from those of others.
    pub(super) run: u32,
    pub(super) args: BenchLoad,
    pub(super) connections: u16,
    /// Records per second of all connections.
    pub(super) rate: Option<u32>,
    pub(super) outstanding: Option<u32>,
    pub(super) linger: Duration,
    pub(super) window_bytes: usize,
    pub(super) tally: Tally,
    pub(super) stop: CancellationToken,
}

/// Connections that are ready to send.
pub(super) struct Senders {
    load: Arc<Load>,
    producers: Vec<Producer>,
}

impl Senders {
    pub(super) async fn open(session: &Session, load: Load) -> anyhow::Result<Senders> {
        let options = ProducerOptions {
            acks: produce::acks(load.args.acks),
            compression: load.args.compression.map_or(v1::Compression::Unspecified, produce::codec),
            linger: load.linger,
            batch_bytes_max: load.args.batch_size,
            window_bytes: load.window_bytes,
            buffer_bytes_max: load.window_bytes + load.args.batch_size,
            delivery_timeout: DELIVERY_TIMEOUT,
        };
        let mut producers = Vec::with_capacity(load.connections.into());
        for _ in 0..load.connections {
            match session.client.producer(&load.args.topic, options.clone()).await {
                Ok(producer) => producers.push(producer),
                Err(error) => return Err(session.explain(error, &load.args.topic).await),
            }
        }
        Ok(Senders { load: Arc::new(load), producers })
    }

    /// Sends until there has been enough or the bench is stopped, and returns when all of it was answered.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut running = JoinSet::new();
        let began = Instant::now();
        self.load.tally.lock().began = began;
        for (connection, producer) in (0..).zip(self.producers) {
            let (load, taken) = (Arc::clone(&self.load), Arc::clone(&taken));
            let connection =
                Connection { load, connection, producer, taken, began, settling: JoinSet::new() };
            match self.load.rate {
                // Its thread sleeps until each record is due: the runtime's timer is a hundred times coarser.
                Some(_) => running.spawn_blocking(|| Handle::current().block_on(connection.run())),
                None => running.spawn(connection.run()),
            };
        }
        while let Some(ended) = running.join_next().await {
            ended.context("a task of the bench broke down")??;
        }
        Ok(())
    }
}

struct Connection {
    load: Arc<Load>,
    connection: u16,
    producer: Producer,
    /// Records begun by all connections.
    taken: Arc<AtomicU64>,
    began: Instant,
    /// One task per partition that was sent to: acks come in order within it, and in any order between two.
    settling: JoinSet<()>,
}

/// A record on its way.
struct Sent {
    due: Instant,
    delivery: Delivery,
    _outstanding: Option<OwnedSemaphorePermit>,
}

/// One partition, as one connection sends to it.
#[derive(Default)]
struct Lane {
    next_sequence: u64,
    settle: Option<mpsc::Sender<Sent>>,
}

impl Connection {
    async fn run(mut self) -> anyhow::Result<()> {
        let load = Arc::clone(&self.load);
        let outstanding = load.outstanding.map(|count| Arc::new(Semaphore::new(count as usize)));
        let mut lanes: Vec<Lane> = (0..self.producer.partition_count()).map(|_| Lane::default()).collect();
        for number in 0.. {
            if load.stop.is_cancelled() || !self.take() {
                break;
            }
            let due = self.due(number);
            if due.is_some_and(|due| !wait_until(due, &load.stop)) {
                break;
            }
            let permit = match &outstanding {
                None => None,
                Some(outstanding) => tokio::select! {
                    biased;
                    permit = Arc::clone(outstanding).acquire_owned() => Some(permit.context("never closed")?),
                    () = load.stop.cancelled() => break,
                },
            };
            let due = due.unwrap_or_else(Instant::now);
            let partition = self.partition(number, lanes.len());
            let lane = &mut lanes[partition];
            let record = self.record(partition, lane.next_sequence, due);
            let delivery = tokio::select! {
                biased;
                delivery = self.producer.send(record) => delivery,
                () = load.stop.cancelled() => break,
            };
            load.tally.lock().sent();
            lane.next_sequence += 1;
            let sent = Sent { due, delivery, _outstanding: permit };
            let settle = lane.settle.get_or_insert_with(|| self.settle());
            settle.send(sent).await.ok().context("the task that counts acks broke down")?;
        }
        drop(lanes);
        let Connection { producer, mut settling, .. } = self;
        producer.close().await;
        while let Some(settled) = settling.join_next().await {
            settled.context("the task that counts acks broke down")?;
        }
        Ok(())
    }

    /// Takes one of the records that are still to be sent. False: there have been enough.
    fn take(&self) -> bool {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        self.load.args.records.is_none_or(|records| taken < records)
    }

    /// When this connection's so-manieth record is to be sent: the connections take turns.
    fn due(&self, number: u64) -> Option<Instant> {
        let rate = f64::from(self.load.rate?);
        let turn = number as f64 * f64::from(self.load.connections) + f64::from(self.connection);
        Some(self.began + Duration::try_from_secs_f64(turn / rate).unwrap_or(Duration::MAX / 2))
    }

    /// Every partition in turn: by the clock after each record, at full speed after each batch.
    fn partition(&self, number: u64, partition_count: usize) -> usize {
        let args = &self.load.args;
        let batch_records = match self.load.rate {
            Some(_) => 1,
            None => (args.batch_size / args.record_size).max(1) as u64,
        };
        ((u64::from(self.connection) + number / batch_records) % partition_count as u64) as usize
    }

    fn record(&self, partition: usize, sequence: u64, due: Instant) -> ProducerRecord {
        let since = due.saturating_duration_since(self.began);
        let partition = u32::try_from(partition).expect("a topic's partitions are counted with 31 bits");
        let stamp = Stamp {
            run: self.load.run,
            connection: self.connection,
            partition,
            sequence,
            due_us: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            payload: self.load.args.payload,
        };
        let value = stamp.value(self.load.args.record_size);
        ProducerRecord { partition: Some(partition.cast_signed()), ..ProducerRecord::value(value) }
    }

    /// Follows the records of one partition to their acks.
    fn settle(&mut self) -> mpsc::Sender<Sent> {
        let (settle, mut queue) = mpsc::channel::<Sent>(UNSETTLED_RECORDS_MAX);
        let load = Arc::clone(&self.load);
        self.settling.spawn(async move {
            while let Some(Sent { due, delivery, _outstanding }) = queue.recv().await {
                match delivery.await {
                    Ok(_) => load.tally.lock().acknowledged(due),
                    Err(error) => {
                        load.tally.lock().failed(&error);
                        if is_for_good(&error) {
                            load.stop.cancel();
                        }
                    }
                }
            }
        });
        settle
    }
}

/// What every further record would meet too.
fn is_for_good(error: &ClientError) -> bool {
    match error {
        ClientError::RecordTooLarge { .. } => true,
        error => error.failure().is_some() && !error.retriable() && !error.outcome_unknown(),
    }
}

/// Sleeps until then, on a thread of its own. False: the bench was stopped meanwhile.
#[expect(
    clippy::disallowed_methods,
    reason = "a record is due by the clock: there is no other event to wait for"
)]
fn wait_until(due: Instant, stop: &CancellationToken) -> bool {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if stop.is_cancelled() || left.is_zero() {
            return !stop.is_cancelled();
        }
        std::thread::sleep(left.min(NAP_MAX));
    }
}
