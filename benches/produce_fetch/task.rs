//! What the client process is asked to do, and what it found: the words between it and the benchmark.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// How records travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Form {
    /// As a Kafka RecordBatch, opaque to the client side of gRPC.
    Batch,
    /// As one protobuf message each.
    Records,
}

/// One thing to do, alone on the machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    CreateTopic {
        server: SocketAddr,
        topic: String,
        partitions: u32,
    },
    /// Deletes it for good.
    PurgeTopic {
        server: SocketAddr,
        topic: String,
    },
    /// Each connection produces to the partition of its own number.
    Produce {
        server: SocketAddr,
        topic: String,
        form: Form,
        connections: u32,
        /// Of each connection.
        requests: u32,
        /// In one request.
        records: u32,
        /// Requests without an answer at the most, per connection.
        window_requests: u32,
    },
    /// Reads partition 0 from its beginning on, again and again.
    Fetch {
        server: SocketAddr,
        topic: String,
        form: Form,
        /// Requests of a full batch that it was filled with.
        batches: u32,
        passes: u32,
    },
    /// Writes into preallocated files, each write followed by fdatasync, one file and one thread per writer.
    Write {
        dir: PathBuf,
        writers: u32,
        /// Of each writer.
        writes: u32,
        write_bytes: u64,
    },
}

/// What a task found. All of it is 0 for tasks that measure nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// How long it took without its preparations.
    pub(crate) seconds: f64,
    pub(crate) records: u64,
    /// Of the records' values; of a write task, what was written.
    pub(crate) bytes: u64,
    /// The requests, answers or writes that carried them.
    pub(crate) messages: u64,
    /// From the hand-over of a request or write to its answer, in microseconds.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}
