//! What is asked of a broker that has a long log, or that has just come back.

use super::{ANSWER_BYTES_MAX, connect};
use crate::payload::{self, RECORD_BYTES};
use crate::task::{Form, Latencies, Sample};
use anyhow::{Context, Result, ensure};
use mq_proto::v1;
use mq_proto::v1::consumer_service_client::ConsumerServiceClient;
use mq_proto::v1::producer_service_client::ProducerServiceClient;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Between two attempts to reach a broker that starts.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(1);
/// It should have come back long before.
const FIRST_ACK_LIMIT: Duration = Duration::from_secs(120);
/// What is fetched at a random offset: one record, but whole batches are sent.
const ANYWHERE_BYTES: i32 = 1;

/// One fetch after the other, each of the batch that holds a random offset.
pub(super) async fn fetch_anywhere(
    server: SocketAddr,
    topic: &str,
    end_offset: i64,
    fetches: u32,
) -> Result<Sample> {
    let mut client =
        ConsumerServiceClient::new(connect(server).await?).max_decoding_message_size(ANSWER_BYTES_MAX);
    let mut latencies = Latencies::default();
    let mut bytes = 0;
    let began = Instant::now();
    for _ in 0..fetches {
        let offset = rand::random_range(0..end_offset);
        let partition = v1::FetchPartition {
            topic_partition: Some(v1::TopicPartition { topic: topic.to_owned(), ..Default::default() }),
            start: Some(v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Offset(offset)) }),
            ..Default::default()
        };
        let request = v1::FetchRequest {
            partitions: vec![partition],
            max_bytes: ANYWHERE_BYTES,
            format: v1::BatchFormat::KafkaV2.into(),
            ..Default::default()
        };
        let asked = Instant::now();
        let answer = client.fetch(request).await?.into_inner();
        latencies.record(asked.elapsed());
        let [fetched] = &answer.partitions[..] else { anyhow::bail!("offset {offset}: {answer:?}") };
        let good =
            fetched.error.is_none() && !fetched.kafka_batches.is_empty() && fetched.next_offset > offset;
        ensure!(good, "offset {offset} gave {} bytes, {:?}", fetched.kafka_batches.len(), fetched.error);
        bytes += fetched.kafka_batches.len() as u64;
    }
    let (seconds, messages) = (began.elapsed().as_secs_f64(), u64::from(fetches));
    Ok(Sample { seconds, records: 0, bytes, messages, latency: latencies.summary() })
}

/// Tries until a record is acknowledged. Refused connections and calls are what is waited out.
pub(super) async fn first_ack(server: SocketAddr, topic: &str) -> Result<Sample> {
    let request = payload::request(topic, 0, Form::Batch, 1)?;
    let began = Instant::now();
    loop {
        let refused = match attempt(server, &request).await {
            Ok(()) => break,
            Err(refused) => refused,
        };
        if began.elapsed() > FIRST_ACK_LIMIT {
            return Err(refused).context("there was no acknowledgement in time");
        }
        tokio::time::sleep(ATTEMPT_INTERVAL).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(Sample { seconds, records: 1, bytes: RECORD_BYTES as u64, messages: 1, ..Sample::default() })
}

async fn attempt(server: SocketAddr, request: &v1::ProduceRequest) -> Result<()> {
    let mut client = ProducerServiceClient::new(connect(server).await?);
    let answer = client.produce(request.clone()).await?.into_inner();
    ensure!(matches!(&answer.partitions[..], [done] if done.error.is_none()), "refused: {answer:?}");
    Ok(())
}
