//! `mqctl bench consume`: how fast records come out, and whether those that a bench made are as they were sent.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Context;
use mq_client::{
    Client, ReaderOptions,
    v1::{BatchFormat, FetchedPartition, OffsetSpec, PartitionOffsetSpec, TopicPartition, offset_spec::Spec},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    conduct, needs_topic,
    progress::Shown,
    records::{self, Value},
    report::{self, Subject},
    sequences::Sequences,
    tally::Tally,
};
use crate::{
    cli::bench::BenchConsume, commands::consume::offsets, exit::Exit, offset_range::Point, session::Session,
};

/// Some of the topic's partitions, read over one connection.
struct Share {
    client: Client,
    topic: String,
    /// From where, and before which offset each stops (none: never).
    partitions: BTreeMap<i32, (i64, Option<i64>)>,
    records_max: u64,
    /// Records counted by all connections.
    taken: Arc<AtomicU64>,
    window_bytes: usize,
    tally: Tally,
    stop: CancellationToken,
}

pub(super) async fn run(session: &Session, args: BenchConsume) -> anyhow::Result<Exit> {
    let (tally, stop) = (Tally::new(), CancellationToken::new());
    let shares = shares(session, &args, &tally, &stop).await?;
    let subject = Subject {
        bench: "consume",
        topic: args.topic.clone(),
        connections: u16::try_from(shares.len()).expect("no more than were asked for"),
        record_size_bytes: None,
        rate: None,
    };
    let work = async {
        tally.lock().began = Instant::now();
        let mut reading: JoinSet<anyhow::Result<()>> = shares.into_iter().map(Share::read).collect();
        while let Some(ended) = reading.join_next().await {
            ended.context("a task of the bench broke down")??;
        }
        Ok(())
    };
    let interrupted = conduct(session, &tally, Shown::Received, &stop, args.lasting, work).await?;
    report::print(session, &tally, &subject, interrupted)
}

/// Deals out the partitions that have something to read; each connection has at least one.
async fn shares(
    session: &Session,
    args: &BenchConsume,
    tally: &Tally,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<Share>> {
    let topic = match session.client.describe_topic(&args.topic).await {
        Ok(topic) => topic,
        Err(error) => {
            let make = format!("mqctl bench produce {} --create makes and fills it", args.topic);
            return Err(needs_topic(session, error, &args.topic, &make).await);
        }
    };
    let partitions: Vec<i32> = (0..topic.partition_count).collect();
    let froms = offsets(session, &args.topic, &partitions, args.from).await?;
    let follows = args.records.is_some() || args.lasting.is_some();
    let ends = offsets(session, &args.topic, &partitions, Point::End).await?;
    let stops = ends.into_iter().map(|end| (!follows).then_some(end));
    let places = partitions.into_iter().zip(froms.into_iter().zip(stops));
    let places: Vec<_> = places.filter(|(_, (from, stop))| stop.is_none_or(|stop| *from < stop)).collect();
    let taken = Arc::new(AtomicU64::new(0));
    let share = |_| Share {
        client: session.client.clone(),
        topic: args.topic.clone(),
        partitions: BTreeMap::new(),
        records_max: args.records.unwrap_or(u64::MAX),
        taken: Arc::clone(&taken),
        window_bytes: args.window,
        tally: tally.clone(),
        stop: stop.clone(),
    };
    let mut shares: Vec<Share> = (0..places.len().min(args.connections.into())).map(share).collect();
    for (turn, (partition, place)) in places.into_iter().enumerate() {
        let connection = turn % shares.len();
        shares[connection].partitions.insert(partition, place);
    }
    Ok(shares)
}

impl Share {
    async fn read(mut self) -> anyhow::Result<()> {
        let options = ReaderOptions {
            credit_bytes: i64::try_from(self.window_bytes).unwrap_or(i64::MAX),
            format: BatchFormat::KafkaV2,
            ..ReaderOptions::default()
        };
        let spec = |(&partition, &(from, _)): (&i32, &(i64, Option<i64>))| PartitionOffsetSpec {
            topic_partition: Some(TopicPartition {
                topic: self.topic.clone(),
                partition,
                ..TopicPartition::default()
            }),
            spec: Some(OffsetSpec { spec: Some(Spec::Offset(from)) }),
        };
        let mut reader = self.client.reader(self.partitions.iter().map(spec).collect(), options).await?;
        let mut sequences = Sequences::new(false);
        while !self.partitions.is_empty() {
            let fetched = tokio::select! {
                fetched = reader.next() => fetched,
                () = self.stop.cancelled() => break,
            };
            let fetched = match fetched {
                Ok(fetched) => fetched,
                Err(error) => {
                    self.tally.lock().error(error.word(), 1, || error.to_string());
                    self.stop.cancel();
                    break;
                }
            };
            let partition = fetched.topic_partition.as_ref().map_or(0, |named| named.partition);
            self.count(partition, &fetched, &mut sequences);
            let Some((from, stop)) = self.partitions.get_mut(&partition) else { continue };
            *from = (*from).max(fetched.next_offset);
            if stop.is_some_and(|stop| *from >= stop) {
                reader.remove(&self.topic, partition);
                self.partitions.remove(&partition);
            }
        }
        let missing = sequences.missing();
        if missing > 0 {
            let told = || {
                format!(
                    "{missing} numbers were passed over: records lost, or refused to the bench that sent them"
                )
            };
            self.tally.lock().error("MISSING", missing, told);
        }
        Ok(())
    }

    /// Counts the records of one answer that are wanted.
    fn count(&self, partition: i32, fetched: &FetchedPartition, sequences: &mut Sequences) {
        let Some(&(from, stop)) = self.partitions.get(&partition) else { return };
        let (mut received, mut verified, mut received_bytes) = (0, 0, 0);
        let read = records::for_each(fetched, from, |offset, bytes, value| {
            if stop.is_some_and(|stop| offset >= stop) {
                return false;
            }
            if self.taken.fetch_add(1, Ordering::Relaxed) >= self.records_max {
                self.stop.cancel();
                return false;
            }
            let place = (self.topic.as_str(), partition, offset);
            let value = records::verify(value, place, None, sequences, &self.tally);
            received += 1;
            received_bytes += bytes;
            verified += u64::from(matches!(value, Value::Sent(_)));
            true
        });
        let mut counts = self.tally.lock();
        if received > 0 {
            counts.received(received, verified, received_bytes);
        }
        if let Err(bad) = read {
            counts.error("DAMAGED", 1, || format!("{}/{partition}: {bad}", self.topic));
        }
        if counts.received >= self.records_max {
            self.stop.cancel();
        }
    }
}
