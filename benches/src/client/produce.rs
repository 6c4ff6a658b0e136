//! Pipelined produce: each client keeps its window full until everything is sent, then waits for the rest.

use super::connect;
use crate::payload::{self, RECORD_BYTES};
use crate::task::{Call, Latencies, Load, Sample};
use anyhow::{Context, Result, ensure};
use mq_proto::v1;
use mq_proto::v1::producer_service_client::ProducerServiceClient;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// One client, ready to send.
struct Client {
    /// The first request; others differ in their partition at most.
    request: v1::ProduceRequest,
    load: Load,
    wire: Wire,
}

enum Wire {
    Stream { requests: mpsc::Sender<v1::ProduceStreamRequest>, answers: Streaming<v1::ProduceStreamResponse> },
    Unary(ProducerServiceClient<Channel>),
}

/// Opens all connections, then sends on all of them at once; timed until the last answer.
pub(super) async fn run(server: SocketAddr, load: &Load) -> Result<Sample> {
    ensure!(load.call == Call::Stream || load.window_requests == 1, "a unary call is one request");
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        connections.push(ProducerServiceClient::new(connect(server).await?));
    }
    let mut clients = Vec::new();
    for number in 0..load.clients {
        let connection = connections[(number % load.connections) as usize].clone();
        clients.push(Client::open(connection, number % load.partitions, load.clone()).await?);
    }
    let began = Instant::now();
    let mut running: JoinSet<Result<Latencies>> = clients.into_iter().map(Client::run).collect();
    let mut latencies = Latencies::default();
    while let Some(done) = running.join_next().await {
        latencies.add(&done.context("a client's task panicked")??);
    }
    let seconds = began.elapsed().as_secs_f64();
    let messages = u64::from(load.clients) * u64::from(load.requests);
    let records = messages * u64::from(load.records);
    let bytes = records * RECORD_BYTES as u64;
    Ok(Sample { seconds, records, bytes, messages, latency: latencies.summary() })
}

impl Client {
    async fn open(
        mut connection: ProducerServiceClient<Channel>,
        partition: u32,
        load: Load,
    ) -> Result<Client> {
        let request = payload::request(&load.topic, i32::try_from(partition)?, load.form, load.records)?;
        let wire = match load.call {
            Call::Unary => Wire::Unary(connection),
            Call::Stream => {
                let (requests, receiver) = mpsc::channel(load.window_requests as usize);
                let answers = connection.produce_stream(ReceiverStream::new(receiver)).await?.into_inner();
                Wire::Stream { requests, answers }
            }
        };
        Ok(Client { request, load, wire })
    }

    async fn run(mut self) -> Result<Latencies> {
        match self.wire {
            Wire::Unary(ref mut connection) => {
                let mut latencies = Latencies::default();
                for number in 0..self.load.requests {
                    let began = Instant::now();
                    let answer = connection.produce(self.request.clone()).await?.into_inner();
                    latencies.record(began.elapsed());
                    check(&self.load, &answer.partitions, number.into())?;
                }
                Ok(latencies)
            }
            Wire::Stream { requests, answers } => {
                Pipeline { request: self.request, load: self.load, requests, answers }.run().await
            }
        }
    }
}

struct Pipeline {
    request: v1::ProduceRequest,
    load: Load,
    requests: mpsc::Sender<v1::ProduceStreamRequest>,
    answers: Streaming<v1::ProduceStreamResponse>,
}

impl Pipeline {
    /// Answers for different partitions may overtake each other.
    async fn run(mut self) -> Result<Latencies> {
        let window = self.load.window_requests as usize;
        let mut latencies = Latencies::default();
        let mut waiting = BTreeMap::new();
        let mut sent = 0;
        while sent < self.load.requests || !waiting.is_empty() {
            while sent < self.load.requests && waiting.len() < window {
                let request = self.request(sent)?;
                waiting.insert(request.correlation_id, Instant::now());
                self.requests.send(request).await.context("the server has ended the stream")?;
                sent += 1;
            }
            let answer = self.answers.message().await?.context("the server has ended the stream")?;
            let began = waiting.remove(&answer.correlation_id);
            latencies.record(began.with_context(|| format!("{answer:?} answers nothing"))?.elapsed());
            ensure!(answer.error.is_none(), "a request was answered with {answer:?}");
            let partitions = answer.response.as_ref().map_or(&[][..], |response| &response.partitions);
            check(&self.load, partitions, answer.correlation_id)?;
        }
        Ok(latencies)
    }

    fn request(&self, number: u32) -> Result<v1::ProduceStreamRequest> {
        let mut request = self.request.clone();
        if self.load.round_robin {
            request.partition = Some(i32::try_from(number % self.load.partitions)?);
        }
        Ok(v1::ProduceStreamRequest { correlation_id: i64::from(number), request: Some(request) })
    }
}

/// A figure counts only if every record is where it should be, as durable as was asked for. Where several clients
/// share a partition, nobody knows who comes first.
fn check(load: &Load, partitions: &[v1::ProducedPartition], number: i64) -> Result<()> {
    let records = i64::from(load.records);
    let alone = load.clients == load.partitions && !load.round_robin;
    let good = matches!(partitions, [done] if done.error.is_none()
        && done.durability() == v1::Durability::QuorumFsync
        && i64::from(done.record_count) == records
        && (!alone || done.base_offset == number * records));
    ensure!(good, "request {number} was answered with {partitions:?}");
    Ok(())
}
