//! The client process: does one task at a time and says how long it took.
//!
//! It speaks the generated gRPC code directly, without the client library: the broker is measured, not the library.

mod disk;
mod fetch;
mod open_loop;
mod produce;
mod recovered;

use crate::helper;
use crate::task::{Sample, Task};
use anyhow::{Context, Result};
use mq_proto::v1;
use mq_proto::v1::admin_service_client::AdminServiceClient;
use std::net::SocketAddr;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

pub use disk::{reserved, zeroed};
pub use fetch::FETCH_BYTES;

/// The receiver's frame size decides throughput: the default of 16 KiB costs half of it.
const FRAME_BYTES: u32 = 256 << 10;
/// Flow-control window of one stream.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// Flow-control window of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// An answer may be larger than the 4 MiB that tonic takes by itself.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// A task that takes longer is given up.
const TASK_TIMEOUT: Duration = Duration::from_secs(600);

/// Does tasks until there are no more.
///
/// # Errors
/// The benchmark has ended without closing the pipe.
pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the client's threads")?;
    helper::serve(|task: Task| {
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
        Task::Produce { server, load } => produce::run(server, &load).await,
        Task::OpenLoop { server, topic, per_second, requests } => {
            open_loop::run(server, &topic, per_second, requests).await
        }
        Task::Fetch { server, topic, form, connections, records, batches, passes } => {
            let plan = fetch::Plan { topic, form, records, batches, passes };
            fetch::run(server, plan, connections).await
        }
        Task::FetchAnywhere { server, topic, end_offset, fetches } => {
            recovered::fetch_anywhere(server, &topic, end_offset, fetches).await
        }
        Task::FirstAck { server, topic } => recovered::first_ack(server, &topic).await,
        Task::Write { dir, space, writers, writes, write_bytes } => {
            disk::run(&dir, space, writers, writes, write_bytes)
        }
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
