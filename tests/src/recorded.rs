//! A topic of which everything that is sent is in a ledger: one producer, one record at a time.
//!
//! For tests in which the broker or its disk is what gets into trouble. Load comes from elsewhere.

use crate::ledger::{self, Identity, Ledger, Seen};
use mq_proto::v1;
use mq_proto::v1::admin_service_client::AdminServiceClient;
use mq_proto::v1::consumer_service_client::ConsumerServiceClient;
use mq_proto::v1::producer_service_client::ProducerServiceClient;
use std::time::Duration;
use tonic::Status;
use tonic::transport::Channel;

/// How long a read of everything may take. It takes far less; this only ends a hung test.
const READ_LIMIT: Duration = Duration::from_secs(60);
/// What one answer to a client may have.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A topic of one partition, and what was sent to it.
#[derive(Debug)]
pub struct RecordedTopic {
    name: &'static str,
    ledger: Ledger,
    sent: u64,
}

/// Why a call failed, in the broker's words; empty if it did not come from the broker.
pub fn reason(status: &Status) -> &str {
    status.metadata().get("mq-reason").map_or("", |reason| reason.to_str().expect("reasons are ASCII"))
}

impl RecordedTopic {
    /// Creates it, with small segments, so that there is something to trim.
    pub async fn create(channel: &Channel, name: &'static str) -> RecordedTopic {
        RecordedTopic::try_create(channel, name).await.expect("the topic is created")
    }

    /// As [`RecordedTopic::create`].
    ///
    /// # Errors
    /// It was refused.
    pub async fn try_create(channel: &Channel, name: &'static str) -> Result<RecordedTopic, Status> {
        let request = v1::CreateTopicRequest {
            topic: name.to_owned(),
            partition_count: 1,
            configs: [("segment.bytes".to_owned(), "1048576".to_owned())].into(),
            ..Default::default()
        };
        AdminServiceClient::new(channel.clone()).create_topic(request).await?;
        Ok(RecordedTopic { name, ledger: Ledger::default(), sent: 0 })
    }

    /// Changes one of its configs.
    ///
    /// # Errors
    /// It was refused.
    pub async fn alter(&self, channel: &Channel, key: &str, value: &str) -> Result<(), Status> {
        let request = v1::AlterConfigsRequest {
            scope: v1::ConfigScope::Topic.into(),
            name: self.name.to_owned(),
            set: [(key.to_owned(), value.to_owned())].into(),
            ..Default::default()
        };
        AdminServiceClient::new(channel.clone()).alter_configs(request).await.map(drop)
    }

    /// Sends one record of about this size and waits for the answer.
    ///
    /// # Errors
    /// It was refused, or what became of it is not known.
    pub async fn send(&mut self, channel: &Channel, size_bytes: usize) -> Result<(), Status> {
        let identity = Identity { producer: 0, sequence: self.sent };
        self.sent += 1;
        self.ledger.send(identity);
        let value = Some(ledger::value(identity, size_bytes).into());
        let request = v1::ProduceRequest {
            topic: self.name.to_owned(),
            partition: Some(0),
            records: vec![v1::Record { value, ..Default::default() }],
            ..Default::default()
        };
        match ProducerServiceClient::new(channel.clone()).produce(request).await {
            Ok(answer) => {
                let at = answer.into_inner().partitions[0].clone();
                assert_eq!(at.durability(), v1::Durability::QuorumFsync);
                self.ledger.acknowledge(identity, 0, at.base_offset);
                Ok(())
            }
            Err(status) => {
                if !["", "OUTCOME_UNKNOWN"].contains(&reason(&status)) {
                    self.ledger.refuse(identity);
                }
                Err(status)
            }
        }
    }

    /// Reads everything and compares: every acknowledged record is there, once, in order, and nothing that was refused.
    /// Answers how many records were acknowledged.
    pub async fn check(&self, channel: &Channel) -> usize {
        let latest = v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Anchor(v1::Anchor::Latest.into())) };
        let request =
            v1::ReadRequest { topic: self.name.to_owned(), stop: Some(latest), ..Default::default() };
        let mut consumer =
            ConsumerServiceClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let mut seen = Vec::new();
        let reading = async {
            let mut answers = consumer.read(request).await.expect("reading begins").into_inner();
            while let Some(answer) = answers.message().await.expect("reading goes on") {
                seen.extend(answer.records.into_iter().map(|record| Seen {
                    partition: 0,
                    offset: record.offset,
                    value: record.value.map(|value| value.to_vec()).unwrap_or_default(),
                }));
            }
        };
        tokio::time::timeout(READ_LIMIT, reading).await.expect("reading comes to the end");
        let violations = self.ledger.violations(&seen);
        assert!(violations.is_empty(), "{} violations: {:#?}", violations.len(), violations.first());
        self.ledger.acknowledged_count()
    }

    /// Deletes all of its records; what is written from now on is not compared any more.
    ///
    /// # Errors
    /// The broker refused.
    pub async fn trim(&mut self, channel: &Channel) -> Result<(), Status> {
        let latest = v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Anchor(v1::Anchor::Latest.into())) };
        let at = v1::TopicPartition { topic: self.name.to_owned(), ..Default::default() };
        let until = v1::PartitionOffsetSpec { topic_partition: Some(at), spec: Some(latest) };
        let request = v1::DeleteRecordsRequest { partitions: vec![until], validate_only: false };
        let answer = AdminServiceClient::new(channel.clone()).delete_records(request).await?.into_inner();
        assert_eq!(answer.partitions[0].error, None, "nothing was deleted");
        Ok(())
    }

    /// Deletes the topic for good.
    ///
    /// # Errors
    /// The broker refused.
    pub async fn purge(self, channel: &Channel) -> Result<(), Status> {
        let request =
            v1::DeleteTopicRequest { topic: self.name.to_owned(), purge: true, ..Default::default() };
        AdminServiceClient::new(channel.clone()).delete_topic(request).await.map(drop)
    }
}
