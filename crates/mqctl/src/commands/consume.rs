//! `mqctl consume`: prints records of many partitions as they come, up to an end or for ever.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    time::SystemTime,
};

use anyhow::Context;
use mq_client::{
    ReaderOptions,
    v1::{
        Anchor, FetchedPartition, OffsetSpec, PartitionOffsetSpec, Record, TopicPartition, offset_spec::Spec,
    },
};

use crate::{
    cli::{Consume, Globals},
    exit::{Exit, usage},
    json,
    offset_range::Point,
    output::{NOT_PRINTED, Output},
    record_format::RecordFormat,
    session::Session,
};

/// Output gathered before it is written, in bytes; a shorter answer is written at once.
const WRITE_BYTES: usize = 256 << 10;
/// The exit code after a second ctrl-C, as shells have it.
const EXIT_AT_ONCE: i32 = 130;

/// Prints records until the range ends, the count is reached, or ctrl-C.
pub(super) async fn run(globals: &Globals, output: Output, args: Consume) -> anyhow::Result<Exit> {
    if let Some(group) = &args.group {
        return Err(usage(format!("-g {group}: consuming as a group is not available yet; read without -g")));
    }
    if args.follow && args.offset.to.is_some() {
        return Err(usage("--follow waits for ever and a range FROM:TO ends: leave one of them out"));
    }
    let format =
        RecordFormat::parse(&args.format).map_err(|error| usage(format!("-f {}: {error}", args.format)))?;
    let session = Session::open(globals, output).await?;
    let mut plan = Plan::default();
    for topic in &args.topics {
        plan.add(&session, topic, &args).await?;
    }
    let mut printer = Printer::new(output, format, args.count);
    tokio::spawn(end_at_second_ctrl_c());
    // Ctrl-C is how following ends; what has an end of its own is incomplete then.
    let has_end = args.offset.to.is_some() || args.count.is_some();
    let reading = read(&session, plan, &mut printer);
    let interrupted = tokio::select! {
        read = reading => read.map(|()| false)?,
        pressed = tokio::signal::ctrl_c() => pressed.map(|()| true)?,
    };
    printer.flush().context(NOT_PRINTED)?;
    if interrupted && has_end {
        session.say("interrupted before the end");
        return Ok(Exit::Error);
    }
    Ok(Exit::Ok)
}

/// While nobody reads what is printed, printing waits, and what hears of the first ctrl-C waits with it.
async fn end_at_second_ctrl_c() {
    for _ in 0..2 {
        if tokio::signal::ctrl_c().await.is_err() {
            return;
        }
    }
    eprintln!("mqctl: interrupted while nobody read what was printed");
    std::process::exit(EXIT_AT_ONCE);
}

/// Which partitions are read, from where, and before which offset each stops (none: never).
#[derive(Default)]
struct Plan {
    starts: Vec<PartitionOffsetSpec>,
    stops: BTreeMap<(String, i32), Option<i64>>,
}

impl Plan {
    async fn add(&mut self, session: &Session, name: &str, args: &Consume) -> anyhow::Result<()> {
        let topic = match session.client.describe_topic(name).await {
            Ok(topic) => topic,
            Err(error) => return Err(session.explain(error, name).await),
        };
        let partitions: Vec<i32> = match args.partitions.is_empty() {
            true => (0..topic.partition_count).collect(),
            false => args.partitions.clone(),
        };
        let froms = offsets(session, name, &partitions, args.offset.from).await?;
        let stops: Vec<Option<i64>> = match args.offset.to {
            None => vec![None; partitions.len()],
            // A range never waits: it stops at the end as it is now, at the latest.
            Some(to) => {
                let ends = offsets(session, name, &partitions, Point::End).await?;
                let tos = offsets(session, name, &partitions, to).await?;
                tos.into_iter().zip(ends).map(|(to, end)| Some(to.min(end))).collect()
            }
        };
        for ((partition, from), stop) in partitions.into_iter().zip(froms).zip(stops) {
            if stop.is_some_and(|stop| from >= stop) {
                continue;
            }
            let named =
                TopicPartition { topic: name.to_owned(), partition, topic_id: topic.topic_id.clone() };
            let spec = Some(OffsetSpec { spec: Some(Spec::Offset(from)) });
            self.starts.push(PartitionOffsetSpec { topic_partition: Some(named), spec });
            self.stops.insert((name.to_owned(), partition), stop);
        }
        Ok(())
    }
}

/// The offset of a point in each partition.
pub(super) async fn offsets(
    session: &Session,
    topic: &str,
    partitions: &[i32],
    point: Point,
) -> anyhow::Result<Vec<i64>> {
    let anchor = |anchor: Anchor| OffsetSpec { spec: Some(Spec::Anchor(anchor.into())) };
    let client = &session.client;
    let spec = match (point, point.timestamp(SystemTime::now())) {
        (Point::At(offset), _) => return Ok(vec![offset; partitions.len()]),
        (Point::Last(count), _) => {
            let starts = client.offsets_of(topic, partitions, anchor(Anchor::Earliest)).await?;
            let ends = client.offsets_of(topic, partitions, anchor(Anchor::Latest)).await?;
            return Ok(starts.into_iter().zip(ends).map(|(start, end)| start.max(end - count)).collect());
        }
        (Point::Start, _) => anchor(Anchor::Earliest),
        (_, Some(time)) => OffsetSpec { spec: Some(Spec::Time(time)) },
        (_, None) => anchor(Anchor::Latest),
    };
    Ok(client.offsets_of(topic, partitions, spec).await?)
}

async fn read(session: &Session, plan: Plan, printer: &mut Printer) -> anyhow::Result<()> {
    let Plan { starts, mut stops } = plan;
    if starts.is_empty() {
        return Ok(());
    }
    let mut reader = session.client.reader(starts, ReaderOptions::default()).await?;
    while !stops.is_empty() {
        let fetched = match reader.next().await {
            Ok(fetched) => fetched,
            Err(error) => {
                printer.flush().context(NOT_PRINTED)?; // what came before it is good
                return Err(error.into());
            }
        };
        let FetchedPartition { topic_partition, records, next_offset, .. } = fetched;
        let TopicPartition { topic, partition, .. } = topic_partition.unwrap_or_default();
        let key = (topic, partition);
        let Some(&stop) = stops.get(&key) else { continue };
        if printer.print(&key.0, partition, &records, stop).context(NOT_PRINTED)?.is_break() {
            return Ok(());
        }
        if stop.is_some_and(|stop| next_offset >= stop) {
            reader.remove(&key.0, partition);
            stops.remove(&key);
        }
        // Printing never awaits: without this, ctrl-C is heard of only when the next answer is not there yet.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Writes records to stdout, and knows when there have been enough.
struct Printer {
    out: BufWriter<io::Stdout>,
    format: RecordFormat,
    as_json: bool,
    left: Option<u64>,
}

impl Printer {
    fn new(output: Output, format: RecordFormat, count: Option<u64>) -> Printer {
        let out = BufWriter::with_capacity(WRITE_BYTES, io::stdout());
        Printer { out, format, as_json: output.is_json(), left: count }
    }

    /// One answer's records, those before `stop`; break: that was the last one wanted.
    fn print(
        &mut self,
        topic: &str,
        partition: i32,
        records: &[Record],
        stop: Option<i64>,
    ) -> io::Result<ControlFlow<()>> {
        let wanted = records.iter().take_while(|record| stop.is_none_or(|stop| record.offset < stop));
        for record in wanted {
            if self.as_json {
                serde_json::to_writer(&mut self.out, &json::Record::new(topic, partition, record))?;
                self.out.write_all(b"\n")?;
            } else {
                self.format.write(&mut self.out, topic, partition, record)?;
            }
            if let Some(left) = &mut self.left {
                *left -= 1;
                if *left == 0 {
                    self.out.flush()?;
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        self.out.flush()?;
        Ok(ControlFlow::Continue(()))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
