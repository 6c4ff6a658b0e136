//! `mqctl bench e2e`: how long it takes from the moment a record is due until it has been read, and whether every
//! record comes once, in order, and as it was sent.

use std::time::{Duration, Instant};

use mq_client::{
    Reader, ReaderOptions,
    v1::{BatchFormat, FetchedPartition, OffsetSpec, PartitionOffsetSpec, TopicPartition, offset_spec::Spec},
};
use tokio_util::sync::CancellationToken;

use super::{
    conduct, create_topic,
    load::{Load, Senders},
    progress::Shown,
    records::{self, Value},
    report::{self, Subject},
    sequences::Sequences,
    tally::Tally,
};
use crate::{
    cli::bench::BenchEndToEnd, commands::consume::offsets, exit::Exit, offset_range::Point, session::Session,
};

/// Bytes without an ack at the most.
const WINDOW_BYTES: usize = 8 << 20;
/// A record that was acknowledged and has not been read after this, with none coming meanwhile, is missing.
const ARRIVAL_GRACE: Duration = Duration::from_secs(10);

pub(super) async fn run(session: &Session, args: BenchEndToEnd) -> anyhow::Result<Exit> {
    create_topic(session, &args.load).await?;
    let (tally, stop) = (Tally::new(), CancellationToken::new());
    let subject = Subject {
        bench: "e2e",
        topic: args.load.topic.clone(),
        connections: 1,
        record_size_bytes: Some(args.load.record_size),
        rate: Some(args.rate),
    };
    let lasting = args.load.lasting();
    let load = Load {
        run: rand::random(),
        connections: 1,
        rate: Some(args.rate),
        outstanding: None,
        linger: args.linger,
        window_bytes: WINDOW_BYTES,
        args: args.load,
        tally: tally.clone(),
        stop: stop.clone(),
    };
    let receiver = Receiver::open(session, &load).await?;
    let senders = Senders::open(session, load).await?;
    let work = async {
        let all_sent = CancellationToken::new();
        let sending = async {
            let sent = senders.run().await;
            all_sent.cancel();
            sent
        };
        let (sent, received) = tokio::join!(sending, receiver.run(&all_sent));
        sent.and(received)
    };
    let interrupted = conduct(session, &tally, Shown::Received, &stop, lasting, work).await?;
    report::print(session, &tally, &subject, interrupted)
}

/// Reads what the bench sends.
struct Receiver {
    reader: Reader,
    topic: String,
    run: u32,
    sequences: Sequences,
    tally: Tally,
    stop: CancellationToken,
}

impl Receiver {
    /// Reads from the end of every partition as it is now.
    async fn open(session: &Session, load: &Load) -> anyhow::Result<Receiver> {
        let name = &load.args.topic;
        let topic = session.client.describe_topic(name).await?;
        let partitions: Vec<i32> = (0..topic.partition_count).collect();
        let ends = offsets(session, name, &partitions, Point::End).await?;
        let spec = |(partition, end)| PartitionOffsetSpec {
            topic_partition: Some(TopicPartition {
                topic: name.clone(),
                partition,
                topic_id: topic.topic_id.clone(),
            }),
            spec: Some(OffsetSpec { spec: Some(Spec::Offset(end)) }),
        };
        let options = ReaderOptions { format: BatchFormat::KafkaV2, ..ReaderOptions::default() };
        let reader =
            session.client.reader(partitions.into_iter().zip(ends).map(spec).collect(), options).await?;
        Ok(Receiver {
            reader,
            topic: name.clone(),
            run: load.run,
            sequences: Sequences::new(true),
            tally: load.tally.clone(),
            stop: load.stop.clone(),
        })
    }

    /// Until everything that was acknowledged has come, or nothing more comes.
    async fn run(mut self, all_sent: &CancellationToken) -> anyhow::Result<()> {
        let mut all_answered = false;
        let mut deadline = Instant::now() + ARRIVAL_GRACE;
        loop {
            if all_answered && (self.outstanding() == 0 || Instant::now() >= deadline) {
                break;
            }
            let fetched = tokio::select! {
                fetched = self.reader.next() => fetched,
                () = all_sent.cancelled(), if !all_answered => {
                    all_answered = true;
                    deadline = Instant::now() + ARRIVAL_GRACE;
                    continue;
                }
                () = tokio::time::sleep_until(deadline.into()), if all_answered => continue,
            };
            match fetched {
                Ok(fetched) => {
                    if self.take(&fetched) > 0 {
                        deadline = Instant::now() + ARRIVAL_GRACE;
                    }
                }
                Err(error) => {
                    self.tally.lock().error(error.word(), 1, || error.to_string());
                    self.stop.cancel();
                    break;
                }
            }
        }
        let missing = self.outstanding();
        if missing > 0 {
            let told = || format!("{missing} acknowledged records were not read");
            self.tally.lock().error("MISSING", missing, told);
        }
        Ok(())
    }

    /// Acknowledged records that have not come.
    fn outstanding(&self) -> u64 {
        let counts = self.tally.lock();
        counts.acknowledged.saturating_sub(counts.received)
    }

    /// Looks at the records of one answer; how many of them are of this bench.
    fn take(&mut self, fetched: &FetchedPartition) -> u64 {
        let partition = fetched.topic_partition.as_ref().map_or(0, |named| named.partition);
        let now = Instant::now();
        let mut arrived = 0;
        let read = records::for_each(fetched, 0, |offset, bytes, value| {
            let place = (self.topic.as_str(), partition, offset);
            let value = records::verify(value, place, Some(self.run), &mut self.sequences, &self.tally);
            if let Value::Sent(stamp) = value {
                let mut counts = self.tally.lock();
                let due = counts.began + Duration::from_micros(stamp.due_us);
                counts.arrived(bytes, now.saturating_duration_since(due));
                arrived += 1;
            }
            true
        });
        if let Err(bad) = read {
            self.tally.lock().error("DAMAGED", 1, || format!("{}/{partition}: {bad}", self.topic));
        }
        arrived
    }
}
