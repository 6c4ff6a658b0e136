//! Reads partitions from their beginning to what is known to be in them, over and over: after the first time it is
//! warm.

use super::{ANSWER_BYTES_MAX, connect};
use crate::payload::{self, RECORD_BYTES};
use crate::task::{Form, Sample};
use anyhow::{Context, Result, ensure};
use mq_proto::v1;
use mq_proto::v1::consumer_service_client::ConsumerServiceClient;
use mq_proto::v1::fetch_stream_request::Action;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// What the server may have under way.
const CREDIT_BYTES: i64 = 8 << 20;
/// The size of one answer, which is also what streams have by default.
pub const FETCH_BYTES: i32 = 1 << 20;
/// Grants that may wait for the connection to take them.
const GRANTS_WAITING_MAX_COUNT: usize = 64;

type Consumer = ConsumerServiceClient<Channel>;

/// What each connection reads.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) topic: String,
    pub(super) form: Form,
    /// In one batch.
    pub(super) records: u32,
    /// Of each partition.
    pub(super) batches: u32,
    pub(super) passes: u32,
}

/// Opens all connections, then reads on all of them at once.
pub(super) async fn run(server: SocketAddr, plan: Plan, connections: u32) -> Result<Sample> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let client = ConsumerServiceClient::new(connect(server).await?);
        clients.push(client.max_decoding_message_size(ANSWER_BYTES_MAX));
    }
    let records_each = u64::from(plan.batches) * u64::from(plan.records);
    let stored_bytes = u64::from(plan.batches) * payload::batch(plan.records)?.len_bytes() as u64;
    let began = Instant::now();
    let mut running = JoinSet::new();
    for (partition, client) in (0..).zip(clients) {
        let plan = plan.clone();
        running.spawn(async move {
            let mut messages = 0;
            for _ in 0..plan.passes {
                messages += match plan.form {
                    Form::Batch => fetch(client.clone(), &plan.topic, partition, stored_bytes).await?,
                    Form::Records => read(client.clone(), &plan.topic, partition, records_each).await?,
                };
            }
            anyhow::Ok(messages)
        });
    }
    let mut messages = 0;
    while let Some(done) = running.join_next().await {
        messages += done.context("a reader's task panicked")??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let records = records_each * u64::from(plan.passes) * u64::from(connections);
    let bytes = records * RECORD_BYTES as u64;
    Ok(Sample { seconds, records, bytes, messages, ..Sample::default() })
}

/// Pushed with credit, as stored, until so many bytes have come. Answers how many messages brought them.
async fn fetch(mut client: Consumer, topic: &str, partition: i32, stored_bytes: u64) -> Result<u64> {
    let (requests, receiver) = mpsc::channel(GRANTS_WAITING_MAX_COUNT);
    requests.send(start(topic, partition)).await.context("nothing has ended yet")?;
    let mut answers = client.fetch_stream(ReceiverStream::new(receiver)).await?.into_inner();
    let (mut read_bytes, mut messages) = (0, 0);
    while read_bytes < stored_bytes {
        let answer = answers.message().await?.context("the server has ended the stream")?;
        let fetched = answer.fetched.context("an answer brings a partition")?;
        ensure!(fetched.error.is_none(), "the partition answered {:?}", fetched.error);
        read_bytes += fetched.kafka_batches.len() as u64;
        messages += 1;
        let credit = v1::Credit { bytes: i64::from(fetched.credit_bytes) };
        let grant = v1::FetchStreamRequest { action: Some(Action::Credit(credit)) };
        requests.send(grant).await.context("the server has ended the stream")?;
    }
    Ok(messages)
}

fn start(topic: &str, partition: i32) -> v1::FetchStreamRequest {
    let partition = v1::FetchPartition {
        topic_partition: Some(v1::TopicPartition {
            topic: topic.to_owned(),
            partition,
            ..Default::default()
        }),
        start: Some(v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Offset(0)) }),
        max_bytes: FETCH_BYTES,
        ..Default::default()
    };
    let start = v1::FetchStart {
        partitions: vec![partition],
        credit_bytes: CREDIT_BYTES,
        format: v1::BatchFormat::KafkaV2.into(),
        ..Default::default()
    };
    v1::FetchStreamRequest { action: Some(Action::Start(start)) }
}

/// Decoded by the broker, until so many records have come. Answers how many messages brought them.
async fn read(mut client: Consumer, topic: &str, partition: i32, records: u64) -> Result<u64> {
    let request =
        v1::ReadRequest { topic: topic.to_owned(), partitions: vec![partition], ..Default::default() };
    let mut answers = client.read(request).await?.into_inner();
    let (mut read_records, mut messages) = (0, 0);
    while read_records < records {
        let answer = answers.message().await?.context("the server has ended the stream")?;
        read_records += answer.records.len() as u64;
        messages += 1;
    }
    Ok(messages)
}
