//! `mqd demo`: a whole broker in this process, the lines of a file through its API and back, every one compared.
//!
//! Everything goes the way of a real client: gRPC over loopback, acknowledged after the records were synced to disk.

use crate::cli::Demo;
use crate::config::{Config, Format};
use crate::signals::Signals;
use crate::telemetry;
use crate::wire::Running;
use anyhow::{Context, anyhow, bail, ensure};
use bytesize::ByteSize;
use mq_client::v1::{CreateTopicRequest, Durability, OffsetSpec, ReadRequest, offset_spec};
use mq_client::{Client, ProducerOptions, ProducerRecord};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

/// What is produced when no file is named.
const README: &str = include_str!("../../../README.md");
/// The largest file, in bytes: all of it is held in memory, twice.
const FILE_BYTES_MAX: u64 = 64 << 20;
const TOPIC: &str = "demo";
const PARTITION_COUNT: usize = 3;
/// Reading that takes longer has lost something.
const READ_WAIT: Duration = Duration::from_secs(60);
/// How long the broker may take to stop.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// Runs it and prints what happened.
///
/// # Errors
/// Anything but every line read back as it was sent.
pub(crate) async fn run(demo: &Demo) -> anyhow::Result<()> {
    ensure!(
        demo.brokers == 1,
        "this version runs one broker, and {} were asked for; leave --brokers out",
        demo.brokers
    );
    let (name, text) = read_lines_of(demo.file.as_deref())?;
    let lines: Vec<&[u8]> = text.strip_suffix(b"\n").unwrap_or(&text).split(|byte| *byte == b'\n').collect();
    ensure!(!text.is_empty(), "{name} is empty: there is no line to produce");

    // Before there is a directory: a signal would leave it behind.
    let mut signals = Signals::listen().context("the system gave no signal handlers")?;
    let directory = tempfile::Builder::new().prefix("mq-demo-").tempdir();
    let directory = directory.context("could not make a temporary directory; TMPDIR says where")?;
    let config = config(directory.path());
    let switch = telemetry::start(&config.log_level, config.log_format);
    let running = Running::start(&config, switch).await?;
    let address = running.grpc_address();
    say(&format!(
        "{} one broker in this process, gRPC on {address}, on a temporary directory\n",
        strong("mq demo:")
    ));
    let shown = tokio::select! {
        shown = show(address, &name, &lines) => shown,
        signal = signals.stop() => Err(anyhow!("interrupted by {signal}")),
    };
    signals.exit_at_next();
    let stopped = running.stop(STOP_WAIT).await;
    shown?;
    stopped?;
    say(&format!(
        "\n{} Try next:\n  \
           mqd                                              serves; its data lies in ./mq-data\n  \
           mqctl topic create hello --partitions 3          in another terminal\n  \
           echo 'hello, world' | mqctl produce hello\n  \
           mqctl consume hello -o start:end\n",
        good("All was right.")
    ));
    Ok(())
}

/// Ports that are free, and warnings only: what the demonstration has to say is on stdout.
fn config(data_dir: &Path) -> Config {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config {
        data_dir: data_dir.to_owned(),
        grpc_listen: any_port,
        peer_listen: any_port,
        admin_listen: any_port,
        log_level: "warn".parse().expect("a level"),
        log_format: Format::Text,
        // Temporary files may lie in memory.
        disk_ballast_bytes: 0,
        ..Config::default()
    }
}

/// The file's name for people, and all its bytes.
fn read_lines_of(file: Option<&Path>) -> anyhow::Result<(String, Vec<u8>)> {
    let Some(path) = file else { return Ok(("mq's README".to_owned(), README.into())) };
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let opened = File::open(path).with_context(|| format!("could not open {name}"))?;
    opened
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("could not read {name}"))?;
    let size_max = ByteSize(FILE_BYTES_MAX).display().iec();
    ensure!(bytes.len() as u64 <= FILE_BYTES_MAX, "{name} is larger than {size_max}; take a smaller file");
    Ok((name, bytes))
}

async fn show(address: SocketAddr, name: &str, lines: &[&[u8]]) -> anyhow::Result<()> {
    let client = Client::connect([address.to_string()], mq_client::Options::default()).await?;
    let partition_count = i32::try_from(PARTITION_COUNT).expect("a handful");
    let topic =
        CreateTopicRequest { topic: TOPIC.to_owned(), partition_count, ..CreateTopicRequest::default() };
    client.create_topic(topic).await?;
    say_step("created", &format!("topic {TOPIC} with {PARTITION_COUNT} partitions"));

    let begun = Instant::now();
    produce(&client, lines).await?;
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    let (records, size) = (counted(lines.len(), "record"), ByteSize(bytes as u64).display().iec());
    let took = shown(begun.elapsed());
    say_step("produced", &format!("{records}, {size}: the lines of {name}, in {took}"));
    say_step("", "each acknowledged after it was synced to disk");

    let begun = Instant::now();
    let mut counts = Vec::new();
    for partition in 0..PARTITION_COUNT {
        let read = tokio::time::timeout(READ_WAIT, compare(&client, partition, lines)).await;
        let count =
            read.with_context(|| format!("reading partition {partition} took longer than {READ_WAIT:?}"))??;
        counts.push(count.to_string());
    }
    let took = shown(begun.elapsed());
    say_step("read", &format!("{records} by offset, {} by partition, in {took}", counts.join(" + ")));
    say_step(
        "compared",
        &format!("{}, byte for byte, in order: {}", counted(lines.len(), "line"), good("all equal")),
    );
    Ok(())
}

/// Line by line to the partitions in turn. Every one must be acknowledged, with the offset that its place in the
/// partition gives it, and as durable as mq ever promises.
async fn produce(client: &Client, lines: &[&[u8]]) -> anyhow::Result<()> {
    let producer = client.producer(TOPIC, ProducerOptions::default()).await?;
    let mut deliveries = Vec::with_capacity(lines.len());
    for (number, line) in lines.iter().enumerate() {
        let partition = i32::try_from(number % PARTITION_COUNT).expect("a handful");
        let record = ProducerRecord { partition: Some(partition), ..ProducerRecord::value(line.to_vec()) };
        deliveries.push(producer.send(record).await);
    }
    producer.flush().await;
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let ack = delivery.await.with_context(|| format!("line {} was not stored", number + 1))?;
        let (partition, offset) = (number % PARTITION_COUNT, number / PARTITION_COUNT);
        ensure!(
            ack.partition as usize == partition && ack.offset == offset as i64,
            "line {} was stored at {}/{}, not at {partition}/{offset}",
            number + 1,
            ack.partition,
            ack.offset
        );
        let durable = ack.durability == Durability::QuorumFsync;
        ensure!(durable, "line {} was acknowledged as {:?}", number + 1, ack.durability);
    }
    Ok(())
}

/// Reads a partition from its start to its end; each record must be the line that was sent there. How many.
async fn compare(client: &Client, partition: usize, lines: &[&[u8]]) -> anyhow::Result<usize> {
    let number = i32::try_from(partition).expect("a handful");
    let anchor = |anchor| Some(OffsetSpec { spec: Some(offset_spec::Spec::Anchor(anchor)) });
    let request = ReadRequest {
        topic: TOPIC.to_owned(),
        partitions: vec![number],
        start: anchor(mq_client::v1::Anchor::Earliest.into()),
        stop: anchor(mq_client::v1::Anchor::Latest.into()),
        ..ReadRequest::default()
    };
    let mut expected = lines.iter().skip(partition).step_by(PARTITION_COUNT);
    let mut count = 0;
    let mut answers = client.read(request).await?;
    while let Some(answer) = answers.message().await? {
        for record in answer.records {
            let line = expected.next();
            let (Some(value), Some(line)) = (record.value, line) else {
                bail!("partition {partition} has a record at offset {} that nobody sent", record.offset);
            };
            ensure!(
                record.offset == count && value[..] == **line,
                "the record at {partition}/{} is not line {} of what was sent",
                record.offset,
                count as usize * PARTITION_COUNT + partition + 1
            );
            count += 1;
        }
    }
    let missing = expected.count();
    ensure!(missing == 0, "{missing} records are missing at the end of partition {partition}");
    Ok(usize::try_from(count).expect("counted from 0"))
}

/// To stdout. Whoever reads it may have had enough: the exit code tells the rest.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn say_step(what: &str, text: &str) {
    say(&format!("  {what:<10}{text}"));
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn shown(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn strong(text: &str) -> String {
    styled("1", text)
}

fn good(text: &str) -> String {
    styled("32", text)
}

fn styled(style: &str, text: &str) -> String {
    if telemetry::colours(&std::io::stdout()) {
        format!("\x1b[{style}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
