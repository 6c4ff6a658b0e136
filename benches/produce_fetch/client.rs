//! The client process: does one task at a time and says how long it took.
//!
//! It speaks the generated gRPC code directly, without the client library: the broker is measured, not the library.

mod disk;
mod fetch;
mod produce;

use crate::task::{Sample, Task};
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use mq_proto::v1;
use mq_proto::v1::admin_service_client::AdminServiceClient;
use std::net::SocketAddr;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// The receiver's frame size decides throughput: the default of 16 KiB costs half of it.
const FRAME_BYTES: u32 = 256 << 10;
/// Flow-control window of one stream.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// Flow-control window of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// An answer may be larger than the 4 MiB that tonic takes by itself.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// A task that takes longer is given up.
const TASK_TIMEOUT: Duration = Duration::from_secs(300);

/// Does tasks until there are no more.
pub(crate) fn run() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the client's threads")?;
    mq_benches::helper::serve(|task: Task| {
        let done = runtime.block_on(async { tokio::time::timeout(TASK_TIMEOUT, perform(task)).await });
        done.with_context(|| format!("it was not done after {} s", TASK_TIMEOUT.as_secs()))?
    })
}

async fn perform(task: Task) -> Result<Sample> {
    match task {
        Task::CreateTopic { server, topic, partitions } => {
            let partition_count = i32::try_from(partitions)?;
            let request = v1::CreateTopicRequest { topic, partition_count, ..Default::default() };
            AdminServiceClient::new(connect(server).await?).create_topic(request).await?;
            Ok(Sample::default())
        }
        Task::PurgeTopic { server, topic } => {
            let request = v1::DeleteTopicRequest { topic, purge: true, ..Default::default() };
            AdminServiceClient::new(connect(server).await?).delete_topic(request).await?;
            Ok(Sample::default())
        }
        Task::Produce { server, topic, form, connections, requests, records, window_requests } => {
            let load = produce::Load { topic, form, requests, records, window_requests };
            produce::run(server, load, connections).await
        }
        Task::Fetch { server, topic, form, batches, passes } => {
            fetch::run(server, &topic, form, batches, passes).await
        }
        Task::Write { dir, writers, writes, write_bytes } => disk::run(&dir, writers, writes, write_bytes),
    }
}

/// A connection of its own with the settings for bulk.
async fn connect(server: SocketAddr) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{server}"))?
        .tcp_nodelay(true)
        .http2_adaptive_window(false)
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    endpoint.connect().await.with_context(|| format!("{server} accepts no connection"))
}

/// Latencies from 1 µs to a minute, in nanoseconds, three digits exact.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("the bounds are in order")
}

/// Three digits of a duration, in nanoseconds.
fn record(latencies: &mut Histogram<u64>, latency: Duration) {
    latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
}

/// The latency that this share of all do not exceed, in microseconds.
fn quantile_us(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1_000.0
}
