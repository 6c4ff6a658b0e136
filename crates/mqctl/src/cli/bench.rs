//! The arguments of `mqctl bench`; a part of the command tree.

use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand, ValueEnum};

use super::{Acks, Codec, OutputArgs};
use crate::{commands::bench::payload::RECORD_BYTES_MIN, examples, offset_range::Point};

/// Connections of one bench, at most.
const CONNECTIONS_MAX: i64 = 256;
/// The largest record that a bench makes: no broker takes a larger one by default.
const RECORD_BYTES_MAX: u64 = 16 << 20;
/// The largest batch and window, in bytes.
const WINDOW_BYTES_MAX: u64 = 512 << 20;
/// Records per second, at most, that may be asked for.
const RATE_RECORDS_PER_SECOND_MAX: i64 = 100_000_000;

/// Measure how fast records go in and come out.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Send records, and measure throughput and the time to each ack
    #[command(after_help = examples::BENCH_PRODUCE)]
    Produce(BenchProduce),
    /// Read records, measure throughput, and verify those that a bench made
    #[command(after_help = examples::BENCH_CONSUME)]
    Consume(BenchConsume),
    /// Send and read at the same time: the time from sending a record to having it, each one verified
    #[command(name = "e2e", after_help = examples::BENCH_END_TO_END)]
    EndToEnd(BenchEndToEnd),
}

/// `bench produce`.
#[derive(Debug, Args)]
pub struct BenchProduce {
    #[command(flatten)]
    pub load: BenchLoad,
    /// Records per second of all connections: sent by the clock, late or not, and timed from when they were due (no
    /// coordinated omission). Without it, as fast as they are taken
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=RATE_RECORDS_PER_SECOND_MAX))]
    pub rate: Option<u32>,
    /// How long a batch waits for more records; without it 5ms, or 0ms with --outstanding
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub linger: Option<Duration>,
    /// How many connections send
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=CONNECTIONS_MAX))]
    pub connections: u16,
    /// Records without an ack at the most, per connection: 1 sends one at a time
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub outstanding: Option<u32>,
    /// Bytes without an ack at the most, per connection
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = window_size)]
    pub window: usize,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `bench e2e`.
#[derive(Debug, Args)]
pub struct BenchEndToEnd {
    #[command(flatten)]
    pub load: BenchLoad,
    /// Records per second: sent by the clock, late or not, and timed from when they were due (no coordinated omission)
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=RATE_RECORDS_PER_SECOND_MAX))]
    pub rate: u32,
    /// How long a batch waits for more records
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = humantime::parse_duration)]
    pub linger: Duration,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What a bench sends, and how much of it.
#[derive(Debug, Args)]
pub struct BenchLoad {
    /// Where to
    pub topic: String,
    /// Make the topic if it does not exist
    #[arg(long)]
    pub create: bool,
    /// How many partitions it is made with; without it, as the broker is configured
    #[arg(short, long, value_name = "COUNT", requires = "create", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// How many copies of each partition it is made with; without it, as the broker is configured
    #[arg(short, long, value_name = "COUNT", requires = "create", value_parser = clap::value_parser!(i32).range(1..))]
    pub replication_factor: Option<i32>,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub records: Option<u64>,
    /// Stop after so long; without --records, 10s
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub lasting: Option<Duration>,
    /// The value of each record, at least 40B; records have no key
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = record_size)]
    pub record_size: usize,
    /// What values are made of
    #[arg(long, value_enum, default_value_t = Payload::Random)]
    pub payload: Payload,
    /// A batch is sent before it grows beyond this
    #[arg(long, value_name = "SIZE", default_value = "256KiB", value_parser = window_size)]
    pub batch_size: usize,
    /// How the broker stores them; without it, as the topic says
    #[arg(short = 'z', long, value_name = "CODEC", value_enum)]
    pub compression: Option<Codec>,
    /// What an ack waits for
    #[arg(long, value_enum, default_value_t = Acks::Quorum)]
    pub acks: Acks,
}

/// What the values of a bench are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Payload {
    /// Random bytes, which no codec makes smaller
    Random,
    /// Random letters out of sixteen, which compress to about half
    Text,
}

/// `bench consume`.
#[derive(Debug, Args)]
pub struct BenchConsume {
    /// What to read
    pub topic: String,
    /// Where to begin: start, end, N, -N (the last N of each partition), @time
    #[arg(long, value_name = "POINT", default_value = "start", allow_hyphen_values = true)]
    pub from: Point,
    /// Stop after so many records, and wait for them; without this and --for, stop at the end as it is now
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub records: Option<u64>,
    /// Stop after so long, and wait for new records until then
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub lasting: Option<Duration>,
    /// How many connections read; each has its share of the partitions
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=CONNECTIONS_MAX))]
    pub connections: u16,
    /// Bytes sent ahead at the most, per connection
    #[arg(long, value_name = "SIZE", default_value = "8MiB", value_parser = window_size)]
    pub window: usize,
    #[command(flatten)]
    pub output: OutputArgs,
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("write more than nothing, e.g. 10s".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write e.g. 10s or 2m")),
    }
}

fn record_size(text: &str) -> Result<usize, String> {
    let least = RECORD_BYTES_MIN as u64; // usize is at most 64 bits wide
    size(text, least, RECORD_BYTES_MAX, "what tells a record apart takes 40 bytes")
}

fn window_size(text: &str) -> Result<usize, String> {
    size(text, 1, WINDOW_BYTES_MAX, "it is held in memory")
}

fn size(text: &str, least: u64, most: u64, because: &str) -> Result<usize, String> {
    let size: ByteSize =
        text.parse().map_err(|_| format!("{text:?} is no size: write e.g. 100B, 64KiB or 1MB"))?;
    if !(least..=most).contains(&size.as_u64()) {
        let (least, most) = (ByteSize(least).display().iec(), ByteSize(most).display().iec());
        return Err(format!("write {least} to {most}: {because}"));
    }
    usize::try_from(size.as_u64()).map_err(|_| "too large for this machine".to_owned())
}
