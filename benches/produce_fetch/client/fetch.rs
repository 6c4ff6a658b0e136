//! Reads a partition from its beginning to what is known to be in it, over and over: after the first time it is warm.

use super::{ANSWER_BYTES_MAX, connect};
use crate::payload::{self, BATCH_RECORDS, RECORD_BYTES};
use crate::task::{Form, Sample};
use anyhow::{Context, Result, ensure};
use mq_proto::v1;
use mq_proto::v1::consumer_service_client::ConsumerServiceClient;
use mq_proto::v1::fetch_stream_request::Action;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// What the server may have under way.
const CREDIT_BYTES: i64 = 8 << 20;
/// The size of one answer, which is also what streams have by default.
pub(crate) const FETCH_BYTES: i32 = 1 << 20;
/// Grants that may wait for the connection to take them.
const GRANTS_WAITING_MAX_COUNT: usize = 64;

type Consumer = ConsumerServiceClient<Channel>;

/// Reads so many full batches, so many times.
pub(super) async fn run(
    server: SocketAddr,
    topic: &str,
    form: Form,
    batches: u32,
    passes: u32,
) -> Result<Sample> {
    let client =
        ConsumerServiceClient::new(connect(server).await?).max_decoding_message_size(ANSWER_BYTES_MAX);
    let records = u64::from(batches) * u64::from(BATCH_RECORDS);
    let stored_bytes = u64::from(batches) * payload::batch(BATCH_RECORDS)?.len() as u64;
    let began = Instant::now();
    let mut messages = 0;
    for _ in 0..passes {
        messages += match form {
            Form::Batch => fetch(client.clone(), topic, stored_bytes).await?,
            Form::Records => read(client.clone(), topic, records).await?,
        };
    }
    let seconds = began.elapsed().as_secs_f64();
    let records = records * u64::from(passes);
    let bytes = records * RECORD_BYTES as u64;
    Ok(Sample { seconds, records, bytes, messages, ..Sample::default() })
}

/// Pushed with credit, as stored, until so many bytes have come. Answers how many messages brought them.
async fn fetch(mut client: Consumer, topic: &str, stored_bytes: u64) -> Result<u64> {
    let (requests, receiver) = mpsc::channel(GRANTS_WAITING_MAX_COUNT);
    requests.send(start(topic)).await.context("nothing has ended yet")?;
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

fn start(topic: &str) -> v1::FetchStreamRequest {
    let partition = v1::FetchPartition {
        topic_partition: Some(v1::TopicPartition { topic: topic.to_owned(), ..Default::default() }),
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
async fn read(mut client: Consumer, topic: &str, records: u64) -> Result<u64> {
    let request = v1::ReadRequest { topic: topic.to_owned(), partitions: vec![0], ..Default::default() };
    let mut answers = client.read(request).await?.into_inner();
    let (mut read_records, mut messages) = (0, 0);
    while read_records < records {
        let answer = answers.message().await?.context("the server has ended the stream")?;
        read_records += answer.records.len() as u64;
        messages += 1;
    }
    Ok(messages)
}
