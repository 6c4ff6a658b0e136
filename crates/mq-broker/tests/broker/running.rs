//! A broker on a directory of its own, and what the tests say to it.

use mq_broker::api::{Acks, Error, Produced};
use mq_broker::controller::{Reply, Request, Topic};
use mq_broker::{Broker, Options, Produce, Resolved, TopicPartition, WhenFull};
use mq_types::batch::{Batch, BatchBuilder, NewRecord};
use mq_types::{BrokerId, Compression, TopicId};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than any test: who waits so long has lost something.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

/// Two shards, small reservations, and a failed disk that fails the test.
pub(crate) fn options(directory: &Path) -> Options {
    Options {
        shards: 2,
        preallocate_step_bytes: 1 << 20,
        fatal: Arc::new(|error| panic!("{error}")),
        ..Options::new(directory, BrokerId(1))
    }
}

pub(crate) async fn start(directory: &Path) -> Broker {
    Broker::start(options(directory)).await.expect("the broker starts")
}

pub(crate) async fn stop(broker: &Broker) {
    broker.stop(LONG).await.expect("the broker stops");
}

pub(crate) async fn create(broker: &Broker, name: &str, partitions: u32) -> Arc<Topic> {
    create_with(broker, name, partitions, &[]).await.expect("the topic is created")
}

pub(crate) async fn create_with(
    broker: &Broker,
    name: &str,
    partitions: u32,
    configs: &[(&str, &str)],
) -> Result<Arc<Topic>, Error> {
    let configs: BTreeMap<_, _> =
        configs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let request = Request::CreateTopic {
        name: name.to_owned(),
        topic_id: broker.new_topic_id(),
        partition_count: Some(partitions),
        replication_factor: Some(1),
        configs,
        validate_only: false,
    };
    match broker.control(request).await? {
        Reply::Topic(topic) => Ok(topic),
        other => panic!("a creation answered by {other:?}"),
    }
}

pub(crate) async fn delete(broker: &Broker, name: &str, purge: bool) {
    let request = Request::DeleteTopic { name: name.to_owned(), topic_id: None, purge, validate_only: false };
    match broker.control(request).await.expect("the topic is deleted") {
        Reply::Deleted => {}
        other => panic!("a deletion answered by {other:?}"),
    }
}

pub(crate) fn partition(topic: &str, partition: i64) -> TopicPartition {
    TopicPartition { topic: topic.to_owned(), partition, topic_id: None }
}

pub(crate) fn with_id(topic: &str, id: TopicId) -> TopicPartition {
    TopicPartition { topic_id: Some(id), ..partition(topic, 0) }
}

pub(crate) fn resolved(broker: &Broker, topic: &str, number: i64) -> Resolved {
    broker.resolve(&partition(topic, number)).expect("the partition exists")
}

pub(crate) fn batch<'value>(values: impl IntoIterator<Item = &'value str>) -> Batch {
    compressed(values, Compression::None)
}

pub(crate) fn compressed<'value>(values: impl IntoIterator<Item = &'value str>, by: Compression) -> Batch {
    let mut builder = BatchBuilder::new();
    for value in values {
        let record = NewRecord { timestamp_ms: 1, value: Some(value.as_bytes()), ..NewRecord::default() };
        builder.push(&record).expect("it fits");
    }
    builder.finish(by)
}

pub(crate) fn request(to: TopicPartition, batch: Batch) -> Produce {
    Produce { to, batch, acks: Acks::Quorum, expected_next_offset: None, timeout: LONG }
}

pub(crate) async fn produce(broker: &Broker, topic: &str, number: i64, values: &[&str]) -> Produced {
    let produce = request(partition(topic, number), batch(values.iter().copied()));
    let ticket = broker.produce(produce, WhenFull::Wait).await.expect("it is accepted");
    ticket.answer().await.expect("it is appended")
}

/// Every value of a partition with its offset, read from `from` to the high watermark.
pub(crate) async fn read_all(broker: &Broker, topic: &str, number: i64, from: i64) -> Vec<(u64, String)> {
    let at = resolved(broker, topic, number);
    let (mut values, mut next) = (Vec::new(), from);
    loop {
        let fetched = broker.fetch(&at, next, 1 << 16).await.expect("it is readable");
        for batch in &fetched.batches {
            assert!(batch.checksum_matches(), "a batch arrives as it was sent");
            let records =
                batch.records(1 << 20).expect("the batch is sound").map(|record| record.expect("sound"));
            let wanted = records.filter(|record| record.offset.as_i64() >= from);
            values.extend(wanted.map(|record| {
                let value = record.value.expect("every record has a value");
                (record.offset.0, String::from_utf8(value.to_vec()).expect("values are text"))
            }));
        }
        if fetched.next_offset == fetched.high_watermark {
            return values;
        }
        assert!(fetched.next_offset.as_i64() > next, "reading moves on from {next}");
        next = fetched.next_offset.as_i64();
    }
}

/// Waits until a partition has its leader, which after a start takes a moment.
pub(crate) async fn served(broker: &Broker, topic: &str, number: i64) {
    let at = resolved(broker, topic, number);
    let serving = async {
        while !broker.view(at.quorum).is_some_and(|view| view.serving) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, serving).await.expect("the partition gets its leader");
}
