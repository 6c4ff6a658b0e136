//! What a broker is told when it starts. It reads no configuration itself.

use crate::data_dir::DataDirError;
use mq_engine::controller;
use mq_log::{OpenError, PersistError};
use mq_types::{BrokerId, ShardId};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const MIB: usize = 1 << 20;

/// How a broker is set up.
#[derive(Clone)]
pub struct Options {
    /// Where its data lies; made if it is not there.
    pub data_dir: PathBuf,
    /// This broker's id, 1 or more.
    pub broker_id: BrokerId,
    /// How many engines run side by side. May change between two starts. Default: the cores, at most 4.
    pub shards: u16,
    /// host:port for gRPC clients, as other programs are told.
    pub grpc_endpoint: String,
    /// host:port for other brokers.
    pub peer_endpoint: String,
    /// The rack, or empty.
    pub rack: String,
    /// The version of the program.
    pub version: String,
    /// How topics are made and kept: defaults, limits, the trash. See there for the defaults.
    pub controller: controller::Options,
    /// How often retention looks. Default 30 s.
    pub retention_interval_ms: u64,
    /// The size at which a segment is full, in bytes, before a topic says otherwise. Default 1 GiB.
    pub segment_size_bytes_max: u64,
    /// The most that is reserved for a segment in one step, in bytes. Default 16 MiB.
    pub preallocate_step_bytes: u64,
    /// What was written last and is left in the page cache for readers, in bytes over all partitions; 0: as much as the
    /// kernel likes. Default 64 MiB.
    pub cached_bytes_max: u64,
    /// How fast, and how often, all logs are read through for rotten places. Default: 8 MiB/s, every 7 days.
    pub scrub: mq_log::ScrubOptions,
    /// Bounds on what clients make this broker hold.
    pub limits: Limits,
    /// What to do when the disk failed. Default: log, and abort the process.
    pub fatal: FatalHook,
}

/// Bounds on what clients make a broker hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests that one shard has taken and not yet answered. Default 8192.
    pub shard_requests_max: usize,
    /// Bytes of batches that were taken and not yet answered, in the whole broker. Default 256 MiB.
    pub produce_bytes_inflight_max: usize,
    /// Bytes of one partition's records that may wait for durability. Default 64 MiB.
    pub partition_inflight_bytes_max: usize,
    /// Reads of the log that run at the same time; others wait for their turn. Default 64.
    pub fetch_reads_max: usize,
    /// Bytes that one read of one partition gives, whatever was asked for (but at least one batch). Default 8 MiB.
    pub fetch_bytes_max: usize,
    /// Bytes that the records of one batch may have when decompressed. Default 64 MiB.
    pub decompressed_bytes_max: usize,
    /// How long a request that has no timeout of its own may take. Default 10 s.
    pub request_timeout_ms: u64,
    /// How long the answer to a creation waits for the new partitions to be served. Default 5 s.
    pub create_wait_ms: u64,
    /// Records are refused with DISK_FULL when less of the file system is free, so that what makes room still has some;
    /// at most a twentieth of the file system. Default 256 MiB.
    pub disk_reserve_bytes: u64,
    /// Space that the file `ballast` takes, and gives up when something else has filled the disk, so that deletions,
    /// trims and elections go on; at most a twentieth of the file system. Default 64 MiB.
    pub disk_ballast_bytes: u64,
    /// Partitions with figures of their own in the metrics; beyond it only sums are given. Default 1000.
    pub metrics_partitions_max: usize,
}

impl Options {
    /// The defaults, for this directory and broker.
    pub fn new(data_dir: impl Into<PathBuf>, broker_id: BrokerId) -> Options {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Options {
            data_dir: data_dir.into(),
            broker_id,
            shards: u16::try_from(cores.min(4)).expect("at most 4"),
            grpc_endpoint: String::new(),
            peer_endpoint: String::new(),
            rack: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            controller: controller::Options::default(),
            retention_interval_ms: 30_000,
            segment_size_bytes_max: 1 << 30,
            preallocate_step_bytes: 16 << 20,
            cached_bytes_max: 64 << 20,
            scrub: mq_log::ScrubOptions::default(),
            limits: Limits::default(),
            fatal: Arc::new(abort),
        }
    }

    /// What cannot be.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let limits = &self.limits;
        let positive = [
            ("broker_id", self.broker_id.0 as usize),
            ("shards", usize::from(self.shards)),
            ("limits.shard_requests_max", limits.shard_requests_max),
            ("limits.produce_bytes_inflight_max", limits.produce_bytes_inflight_max),
            ("limits.fetch_reads_max", limits.fetch_reads_max),
            ("limits.fetch_bytes_max", limits.fetch_bytes_max),
        ];
        match positive.into_iter().find(|(_, value)| *value == 0) {
            Some((option, _)) => Err(StartError::Zero { option }),
            None => Ok(()),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            shard_requests_max: 8_192,
            produce_bytes_inflight_max: 256 * MIB,
            partition_inflight_bytes_max: 64 * MIB,
            fetch_reads_max: 64,
            fetch_bytes_max: 8 * MIB,
            decompressed_bytes_max: 64 * MIB,
            request_timeout_ms: 10_000,
            create_wait_ms: 5_000,
            disk_reserve_bytes: 256 << 20,
            disk_ballast_bytes: 64 << 20,
            metrics_partitions_max: 1_000,
        }
    }
}

impl Limits {
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

/// Called on the writer's thread when the disk failed; should not return.
pub type FatalHook = Arc<dyn Fn(FatalError<'_>) + Send + Sync>;

/// The disk failed: what it holds is unknown until it is read again, so the process must end.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard} cannot go on: {error}")]
pub struct FatalError<'error> {
    /// Whose writer it was.
    pub shard: ShardId,
    /// What happened.
    pub error: &'error PersistError,
}

#[expect(clippy::needless_pass_by_value, reason = "the hook's signature")]
fn abort(error: FatalError<'_>) {
    tracing::error!(%error, "the process ends, and trusts only what is on the disk when it starts again");
    std::process::abort();
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An option that must be at least 1.
    #[error("{option} is 0; it must be at least 1")]
    Zero {
        /// Which one.
        option: &'static str,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The file system does not say how much of it is free, or the ballast cannot be used.
    #[error(
        "could not find out what is free in {}, or not use the file \"ballast\" there: {error}; all of the data \
         directory must belong to this user",
        .path.display()
    )]
    Space {
        /// The data directory.
        path: PathBuf,
        /// What the system said. Part of the message, so not named `source`: whoever prints causes prints it once.
        error: std::io::Error,
    },
    /// Opening the log takes a little space, and there is none.
    #[error("the disk is full, to the last byte: {error}; free some space in the file system of {} and start again", .path.display())]
    DiskFull {
        /// The data directory.
        path: PathBuf,
        /// For what there was no space.
        error: OpenError,
    },
    /// The log cannot be opened.
    #[error("could not open the log in {}: {error}", .path.display())]
    Log {
        /// The data directory.
        path: PathBuf,
        /// Why. Part of the message, as above.
        error: OpenError,
    },
    /// An engine refuses what recovery found.
    #[error("what was found on the disk cannot be taken over: {0}")]
    Engine(#[from] mq_engine::OpenError),
    /// The system gave no thread.
    #[error("could not start the thread {name}: {error}; raise the limit on threads")]
    Thread {
        /// Its name.
        name: String,
        /// What the system said. Part of the message, so not named `source`: whoever prints causes prints it once.
        error: std::io::Error,
    },
    /// The new cluster's metadata did not become durable.
    #[error(
        "the new cluster was not founded within {waited_s} s; see the log for what the disk said, and start again"
    )]
    NotFounded {
        /// How long was waited, in s.
        waited_s: u64,
    },
}

/// Why a broker did not stop cleanly. Everything acknowledged is durable all the same.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// Threads were still at work.
    #[error(
        "the broker was still writing after {waited_ms} ms; ending it now loses nothing that was acknowledged"
    )]
    StillBusy {
        /// How long was waited, in ms.
        waited_ms: u128,
    },
    /// The last words could not be written.
    #[error("the log could not be closed: {0}")]
    Log(#[from] PersistError),
    /// A thread ended by a panic.
    #[error("the thread {name} panicked; its message stands in the log")]
    Panicked {
        /// Its name.
        name: String,
    },
}
