//! What the client process is asked to do, and what it found: the words between it and the benchmark.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How records travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// As a Kafka RecordBatch, opaque to the client side of gRPC.
    Batch,
    /// As one protobuf message each.
    Records,
}

/// By which call a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// `ProduceStream`.
    Stream,
    /// `Produce`.
    Unary,
}

/// Requests to produce, from several clients at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Where to.
    pub topic: String,
    /// Its partitions. Client *n* produces to the partition *n*, counted round.
    pub partitions: u32,
    /// Every request of a client goes to the next partition instead.
    pub round_robin: bool,
    /// How records travel.
    pub form: Form,
    /// By which call.
    pub call: Call,
    /// Clients, each with a stream of its own.
    pub clients: u32,
    /// Connections that they share.
    pub connections: u32,
    /// Of each client.
    pub requests: u32,
    /// In one request.
    pub records: u32,
    /// Requests without an answer at the most, per client. Unary calls: 1.
    pub window_requests: u32,
}

/// How plain files are prepared before they are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Space {
    /// Space is reserved and the length stays, as in the log: new files each time.
    Reserved,
    /// Written with zeros once, so that no write changes anything but data. Writes are whole pages.
    Zeroed,
}

/// One thing to do, alone on the machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    /// Makes a topic.
    CreateTopic {
        /// The broker.
        server: SocketAddr,
        /// Its name.
        topic: String,
        /// How many it has.
        partitions: u32,
    },
    /// Deletes it for good.
    PurgeTopic {
        /// The broker.
        server: SocketAddr,
        /// Its name.
        topic: String,
    },
    /// Produces as fast as answers come.
    Produce {
        /// The broker or who stands in for it.
        server: SocketAddr,
        /// What, and how.
        load: Load,
    },
    /// Produces single records to partition 0 at a fixed rate, whatever the server does.
    OpenLoop {
        /// The broker or who stands in for it.
        server: SocketAddr,
        /// Where to.
        topic: String,
        /// Records a second.
        per_second: u32,
        /// All in all.
        requests: u32,
    },
    /// Reads from the beginning on, again and again; each connection the partition of its own number.
    Fetch {
        /// The broker or who stands in for it.
        server: SocketAddr,
        /// What is read.
        topic: String,
        /// How records travel.
        form: Form,
        /// Each with a partition of its own.
        connections: u32,
        /// Records in one batch, as they were produced.
        records: u32,
        /// Batches of each partition.
        batches: u32,
        /// How often.
        passes: u32,
    },
    /// Reads a little at random offsets of partition 0, one after the other.
    FetchAnywhere {
        /// The broker.
        server: SocketAddr,
        /// What is read.
        topic: String,
        /// Offsets below it.
        end_offset: i64,
        /// How often.
        fetches: u32,
    },
    /// Produces one record, again and again until a broker is there and acknowledges it.
    FirstAck {
        /// The broker.
        server: SocketAddr,
        /// Where to.
        topic: String,
    },
    /// Writes to plain files, each write followed by fdatasync, one file and one thread per writer.
    Write {
        /// Where the files are made.
        dir: PathBuf,
        /// How they are prepared.
        space: Space,
        /// Threads and files.
        writers: u32,
        /// Of each writer.
        writes: u32,
        /// In bytes.
        write_bytes: u64,
    },
}

/// What a task found. All of it is 0 for tasks that measure nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// How long it took without its preparations.
    pub seconds: f64,
    /// Records that were acknowledged or read.
    pub records: u64,
    /// Of the records' values; of a write task, what was written.
    pub bytes: u64,
    /// The requests, answers or writes that carried them.
    pub messages: u64,
    /// From the hand-over of a request or write (in an open loop: from when it was due) to its answer.
    pub latency: Latency,
}

/// Percentiles, in µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of all did not exceed it.
    pub p50_us: f64,
    /// 99 % did not.
    pub p99_us: f64,
    /// 99.9 % did not.
    pub p999_us: f64,
    /// None did.
    pub max_us: f64,
}

/// Latencies from 1 µs to a minute, exact to half a µs or to three digits.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Latencies {
        let histogram = Histogram::new_with_bounds(1_000, 60_000_000_000, 3);
        Latencies { histogram: histogram.expect("the bounds are in order") }
    }
}

impl Latencies {
    /// One more.
    pub fn record(&mut self, latency: Duration) {
        self.histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// All of the other's too.
    pub fn add(&mut self, other: &Latencies) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
    }

    /// Its percentiles.
    pub fn summary(&self) -> Latency {
        let quantile = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Latency {
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: self.histogram.max() as f64 / 1_000.0,
        }
    }
}
