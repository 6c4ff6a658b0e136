//! Pipelined produce: each connection keeps its window full until everything is sent, then waits for the rest.

use super::{connect, histogram, quantile_us, record};
use crate::payload::{self, RECORD_BYTES};
use crate::task::{Form, Sample};
use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use mq_proto::v1;
use mq_proto::v1::producer_service_client::ProducerServiceClient;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// What each connection sends.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) topic: String,
    pub(super) form: Form,
    pub(super) requests: u32,
    /// In one request.
    pub(super) records: u32,
    pub(super) window_requests: u32,
}

struct Connection {
    request: v1::ProduceRequest,
    load: Load,
    requests: mpsc::Sender<v1::ProduceStreamRequest>,
    answers: Streaming<v1::ProduceStreamResponse>,
}

/// Opens all connections, then sends on all of them at once; timed until the last answer.
pub(super) async fn run(server: SocketAddr, load: Load, connections: u32) -> Result<Sample> {
    let mut opened = Vec::new();
    for partition in 0..connections {
        opened.push(Connection::open(server, i32::try_from(partition)?, load.clone()).await?);
    }
    let began = Instant::now();
    let mut running: JoinSet<Result<Histogram<u64>>> = opened.into_iter().map(Connection::run).collect();
    let mut latencies = histogram();
    while let Some(done) = running.join_next().await {
        latencies
            .add(done.context("a connection's task panicked")??)
            .expect("all histograms have the same bounds");
    }
    let seconds = began.elapsed().as_secs_f64();
    let messages = u64::from(connections) * u64::from(load.requests);
    let records = messages * u64::from(load.records);
    let bytes = records * RECORD_BYTES as u64;
    let (p50_us, p99_us) = (quantile_us(&latencies, 0.5), quantile_us(&latencies, 0.99));
    Ok(Sample { seconds, records, bytes, messages, p50_us, p99_us })
}

impl Connection {
    async fn open(server: SocketAddr, partition: i32, load: Load) -> Result<Connection> {
        let request = payload::request(&load.topic, partition, load.form, load.records)?;
        let (requests, receiver) = mpsc::channel(load.window_requests as usize);
        let mut client = ProducerServiceClient::new(connect(server).await?);
        let answers = client.produce_stream(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Connection { request, load, requests, answers })
    }

    /// Answers come in the order sent, since all requests are for one partition.
    async fn run(mut self) -> Result<Histogram<u64>> {
        let window = self.load.window_requests as usize;
        let mut latencies = histogram();
        let mut waiting = VecDeque::with_capacity(window);
        let mut unsent = self.load.requests;
        while unsent > 0 || !waiting.is_empty() {
            while unsent > 0 && waiting.len() < window {
                let correlation_id = i64::from(self.load.requests - unsent);
                let request = Some(self.request.clone());
                waiting.push_back((correlation_id, Instant::now()));
                self.requests
                    .send(v1::ProduceStreamRequest { correlation_id, request })
                    .await
                    .context("the server has ended the stream")?;
                unsent -= 1;
            }
            let answer = self.answers.message().await?.context("the server has ended the stream")?;
            let (correlation_id, sent) = waiting.pop_front().expect("at least one request is waiting");
            record(&mut latencies, sent.elapsed());
            self.check(&answer, correlation_id)?;
        }
        Ok(latencies)
    }

    /// A figure counts only if every record is where it should be, as durable as was asked for.
    fn check(&self, answer: &v1::ProduceStreamResponse, correlation_id: i64) -> Result<()> {
        let partitions = answer.response.as_ref().map_or(&[][..], |response| &response.partitions);
        let good = matches!(partitions, [done] if done.error.is_none()
            && done.durability() == v1::Durability::QuorumFsync
            && done.base_offset == correlation_id * i64::from(self.load.records)
            && i64::from(done.record_count) == i64::from(self.load.records));
        ensure!(
            good && answer.error.is_none() && answer.correlation_id == correlation_id,
            "request {correlation_id} was answered with {answer:?}"
        );
        Ok(())
    }
}
