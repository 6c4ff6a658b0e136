//! Topics come, change and go.

use crate::running::{batch, create, create_with, delete, directory, partition, produce, read_all, request};
use crate::running::{resolved, start, stop, with_id};
use mq_broker::WhenFull;
use mq_broker::api::Error;
use mq_broker::controller::{Reply, Request};
use mq_types::Index;

#[tokio::test(flavor = "multi_thread")]
async fn a_created_topic_is_served_at_once() {
    let directory = directory();
    let broker = start(directory.path()).await;
    let before = broker.image().revision;
    let topic = create(&broker, "orders", 5).await;
    assert_eq!(broker.image().topic("orders").map(|found| found.id), Some(topic.id));
    assert!(broker.image_after(before).await.revision > before);
    let mut replicas = topic.partitions.iter().flat_map(|partition| &partition.members.replicas);
    assert!(replicas.all(|replica| replica.opened_in.is_some()), "the answer is the topic as it is then");
    for number in 0..5 {
        assert!(broker.view(resolved(&broker, "orders", number).quorum).expect("it is here").serving);
        produce(&broker, "orders", number, &["a"]).await;
    }
    assert_eq!(broker.health(), []);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_nowhere_are_refused_with_what_there_is() {
    let directory = directory();
    let broker = start(directory.path()).await;
    let topic = create(&broker, "orders", 2).await;
    let refused = broker.resolve(&partition("order", 0)).expect_err("there is none");
    assert_eq!(refused, Error::UnknownTopic { topic: "order".to_owned() });
    for number in [-1, 2, i64::MAX] {
        let refused = broker.resolve(&partition("orders", number)).expect_err("there is none");
        let expected =
            Error::UnknownPartition { topic: "orders".to_owned(), partition: number, partition_count: 2 };
        assert_eq!(refused, expected);
    }
    let by_id = broker.resolve(&with_id("", topic.id)).expect("an id is enough");
    assert_eq!(by_id.topic.name, "orders");
    let refused = create_with(&broker, "orders", 1, &[]).await.expect_err("the name is taken");
    assert_eq!(refused, Error::TopicExists { topic: "orders".to_owned(), topic_id: topic.id });
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_created_again_does_not_receive_what_was_meant_for_the_old_one() {
    let directory = directory();
    let broker = start(directory.path()).await;
    let old = create(&broker, "orders", 1).await;
    produce(&broker, "orders", 0, &["old"]).await;
    delete(&broker, "orders", true).await;
    let new = create(&broker, "orders", 1).await;
    let produce = request(with_id("orders", old.id), batch(["late"]));
    let refused = broker.produce(produce, WhenFull::Wait).await.err().expect("it is refused");
    let expected = Error::TopicIdMismatch { topic: "orders".to_owned(), asked: old.id, found: new.id };
    assert_eq!(refused, expected);
    assert_eq!(read_all(&broker, "orders", 0, 0).await, []);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_comes_back_from_the_trash_with_its_records() {
    let directory = directory();
    let broker = start(directory.path()).await;
    let topic = create(&broker, "orders", 1).await;
    produce(&broker, "orders", 0, &["a"]).await;
    delete(&broker, "orders", false).await;
    let refused = broker.resolve(&partition("orders", 0)).expect_err("it is in the trash");
    assert_eq!(refused, Error::UnknownTopic { topic: "orders".to_owned() });
    let restored =
        broker.control(Request::RestoreTopic { topic_id: topic.id }).await.expect("it is restored");
    assert!(matches!(restored, Reply::Topic(restored) if restored.id == topic.id));
    assert_eq!(read_all(&broker, "orders", 0, 0).await, [(0, "a".to_owned())]);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_topic_leaves_no_files() {
    let directory = directory();
    let broker = start(directory.path()).await;
    let topic = create(&broker, "orders", 1).await;
    let quorum = topic.partitions[0].quorum;
    produce(&broker, "orders", 0, &["a"]).await;
    delete(&broker, "orders", true).await;
    // The tombstone goes when this broker has reported its replica removed.
    let mut image = broker.image();
    while image.tombstones.contains_key(&quorum) {
        image = broker.image_after(image.revision).await;
    }
    assert_eq!(broker.view(quorum), None);
    stop(&broker).await;
    let quorums = std::fs::read_dir(directory.path().join("quorums")).expect("quorum 0 is there");
    let names = quorums.map(|entry| entry.expect("readable").file_name().into_string().expect("text"));
    assert_eq!(names.filter(|name| name.starts_with(&format!("{quorum}-"))).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_partitions_are_served_beside_the_old_ones() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    produce(&broker, "orders", 0, &["a"]).await;
    let request = Request::AddPartitions {
        name: "orders".to_owned(),
        topic_id: None,
        partition_count: 3,
        validate_only: false,
    };
    broker.control(request).await.expect("they are added");
    produce(&broker, "orders", 2, &["b"]).await;
    assert_eq!(read_all(&broker, "orders", 0, 0).await, [(0, "a".to_owned())]);
    assert_eq!(read_all(&broker, "orders", 2, 0).await, [(0, "b".to_owned())]);
    assert!(broker.image().revision > Index(0));
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_name_the_partitions_and_count_what_happened() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    produce(&broker, "orders", 0, &["a", "b"]).await;
    read_all(&broker, "orders", 0, 0).await;
    let at = resolved(&broker, "orders", 0);
    broker.fetch(&at, -1, 1).await.expect_err("it is out of range");
    let text = broker.metrics().encode();
    for line in [
        "mq_produced_records_total 2",
        "mq_fetched_records_total 2",
        "mq_partition_high_watermark{topic=\"orders\",partition=\"0\"} 2",
        "mq_errors_total{reason=\"OFFSET_OUT_OF_RANGE\"} 1",
        "mq_partitions_led 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    stop(&broker).await;
}
