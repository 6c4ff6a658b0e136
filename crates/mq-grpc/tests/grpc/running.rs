//! A broker and its front end on a port of their own, and what the tests say to them.

use mq_broker::Broker;
use mq_grpc::Server;
use mq_proto::v1;
use mq_proto::v1::admin_service_client::AdminServiceClient;
use mq_proto::v1::cluster_service_client::ClusterServiceClient;
use mq_proto::v1::consumer_service_client::ConsumerServiceClient;
use mq_proto::v1::producer_service_client::ProducerServiceClient;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Longer than any test: who waits so long has lost something.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A broker that serves on a loopback port.
pub(crate) struct Running {
    pub(crate) broker: Broker,
    pub(crate) address: String,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    channel: Channel,
    _directory: TempDir,
}

pub(crate) async fn start() -> Running {
    start_with(mq_grpc::Options::default()).await
}

pub(crate) async fn start_with(options: mq_grpc::Options) -> Running {
    start_on(options, 2, mq_broker::Limits::default()).await
}

pub(crate) async fn start_on(options: mq_grpc::Options, shards: u16, limits: mq_broker::Limits) -> Running {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let broker = Broker::start(mq_broker::Options {
        shards,
        limits,
        preallocate_step_bytes: 1 << 20,
        fatal: Arc::new(|error| panic!("{error}")),
        grpc_endpoint: "advertised.example:9650".to_owned(),
        rack: "here".to_owned(),
        ..mq_broker::Options::new(directory.path(), mq_types::BrokerId(1))
    })
    .await
    .expect("the broker starts");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (stop, stopped) = oneshot::channel();
    let server = Server::new(broker.clone(), options);
    let served = tokio::spawn(server.serve(listener, async move {
        let _ = stopped.await;
    }));
    let channel = connect(&address).await;
    Running { broker, address, stop: Some(stop), served, channel, _directory: directory }
}

pub(crate) async fn connect(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(address.to_owned()).expect("an address");
    endpoint.connect().await.expect("the server accepts")
}

impl Running {
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn producer(&self) -> ProducerServiceClient<Channel> {
        ProducerServiceClient::new(self.channel())
    }

    pub(crate) fn consumer(&self) -> ConsumerServiceClient<Channel> {
        ConsumerServiceClient::new(self.channel())
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel())
    }

    pub(crate) fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel())
    }

    /// As a signal would have it: the front end first, then the broker.
    pub(crate) fn begin_stop(&mut self) {
        let stop = self.stop.take().expect("it is stopped once");
        stop.send(()).expect("the server is running");
    }

    /// Waits until the last connection has ended; ours among them.
    pub(crate) async fn stopped(self) {
        drop(self.channel);
        within(self.served).await.expect("the server did not panic");
        self.broker.stop(LONG).await.expect("the broker stops");
    }

    pub(crate) async fn stop(mut self) {
        self.begin_stop();
        self.stopped().await;
    }

    pub(crate) async fn create(&self, topic: &str, partition_count: i32) -> v1::Topic {
        self.create_with(topic, partition_count, &[]).await
    }

    pub(crate) async fn create_with(
        &self,
        topic: &str,
        partition_count: i32,
        configs: &[(&str, &str)],
    ) -> v1::Topic {
        let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let request = v1::CreateTopicRequest {
            topic: topic.to_owned(),
            partition_count,
            configs: configs.collect(),
            ..Default::default()
        };
        let created = self.admin().create_topic(request).await.expect("the topic is created");
        created.into_inner().topic.expect("the topic is described")
    }

    pub(crate) async fn delete(&self, topic: &str) {
        let request = v1::DeleteTopicRequest { topic: topic.to_owned(), ..Default::default() };
        self.admin().delete_topic(request).await.expect("the topic is deleted");
    }

    /// Appends these values to a partition, as one batch.
    pub(crate) async fn append(&self, topic: &str, partition: i32, values: &[&str]) -> v1::ProducedPartition {
        let produced = self.producer().produce(to_partition(topic, partition, values)).await;
        let mut partitions = produced.expect("the records are appended").into_inner().partitions;
        assert_eq!(partitions.len(), 1, "one partition was named");
        partitions.remove(0)
    }

    pub(crate) async fn delete_records(&self, topic: &str, before: i64) {
        let at = v1::PartitionOffsetSpec {
            topic_partition: Some(partition_of(topic, 0)),
            spec: Some(at_offset(before)),
        };
        let request = v1::DeleteRecordsRequest { partitions: vec![at], validate_only: false };
        let deleted = self.admin().delete_records(request).await.expect("answered").into_inner();
        assert_eq!(deleted.partitions[0].error, None);
        assert_eq!(deleted.partitions[0].log_start_offset, before);
    }
}

/// What comes, unless it takes longer than any test.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it takes no longer than any test")
}

pub(crate) fn record(key: Option<&str>, value: &str) -> v1::Record {
    v1::Record {
        key: key.map(|key| key.as_bytes().to_vec().into()),
        value: Some(value.as_bytes().to_vec().into()),
        ..Default::default()
    }
}

pub(crate) fn to_partition(topic: &str, partition: i32, values: &[&str]) -> v1::ProduceRequest {
    v1::ProduceRequest {
        topic: topic.to_owned(),
        partition: Some(partition),
        records: values.iter().map(|value| record(None, value)).collect(),
        ..Default::default()
    }
}

pub(crate) fn partition_of(topic: &str, partition: i32) -> v1::TopicPartition {
    v1::TopicPartition { topic: topic.to_owned(), partition, ..Default::default() }
}

pub(crate) fn at_offset(offset: i64) -> v1::OffsetSpec {
    v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Offset(offset)) }
}

pub(crate) fn at_anchor(anchor: v1::Anchor) -> v1::OffsetSpec {
    v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Anchor(anchor.into())) }
}

pub(crate) fn at_time(seconds: i64) -> v1::OffsetSpec {
    let time = prost_types::Timestamp { seconds, nanos: 0 };
    v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Time(time)) }
}

pub(crate) fn from(topic: &str, partition: i32, start: v1::OffsetSpec) -> v1::FetchPartition {
    v1::FetchPartition {
        topic_partition: Some(partition_of(topic, partition)),
        start: Some(start),
        ..Default::default()
    }
}

pub(crate) fn values(records: &[v1::Record]) -> Vec<String> {
    let text = |record: &v1::Record| {
        let value = record.value.as_ref().expect("every record has a value");
        String::from_utf8(value.to_vec()).expect("values are text")
    };
    records.iter().map(text).collect()
}

/// The reason in the trailers of a failed call.
pub(crate) fn reason(status: &Status) -> &str {
    let reason = status.metadata().get("mq-reason");
    let reason = reason.unwrap_or_else(|| panic!("a failure without a reason: {status:?}"));
    reason.to_str().expect("reasons are ASCII")
}

pub(crate) fn assert_refused(status: &Status, code: Code, expected: &str) {
    assert_eq!((status.code(), reason(status)), (code, expected), "{status:?}");
}

pub(crate) fn item_reason(error: Option<&v1::ItemError>) -> v1::ErrorReason {
    error.expect("an error is expected").reason()
}
