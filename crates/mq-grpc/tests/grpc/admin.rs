//! AdminService: topics from creation to the trash and back, and their configs.

use crate::running::{Running, assert_refused, at_anchor, at_offset, item_reason, partition_of, start};
use mq_proto::v1;
use tonic::Code;

async fn names(running: &Running, request: v1::ListTopicsRequest) -> (Vec<String>, String) {
    let listed = running.admin().list_topics(request).await.expect("the call is good").into_inner();
    (listed.topics.into_iter().map(|topic| topic.name).collect(), listed.next_page_token)
}

fn trash() -> v1::ListTopicsRequest {
    v1::ListTopicsRequest { deleted: true, ..Default::default() }
}

async fn describe(running: &Running, topic: &str) -> Result<v1::Topic, tonic::Status> {
    let request = v1::DescribeTopicRequest { topic: topic.to_owned() };
    let described = running.admin().describe_topic(request).await?;
    Ok(described.into_inner().topic.expect("a topic"))
}

#[tokio::test]
async fn a_topic_is_created_once_and_described() {
    let running = start().await;
    let created = running.create_with("orders", 3, &[("retention.ms", "1000")]).await;
    assert_eq!((created.partition_count, created.replication_factor), (3, 1));
    assert_eq!((created.topic_id.len(), created.configs["retention.ms"].as_str()), (16, "1000"));
    let described = describe(&running, "orders").await.expect("it exists");
    assert_eq!(described.topic_id, created.topic_id);
    assert_eq!(described.partitions, created.partitions, "a creation answers what there is from then on");
    for (number, partition) in described.partitions.iter().enumerate() {
        assert_eq!((partition.id, partition.leader_id), (number as i32, 1));
        assert_eq!((partition.replicas.len(), partition.replicas[0].in_sync), (1, true));
    }
    let again = v1::CreateTopicRequest { topic: "orders".to_owned(), ..Default::default() };
    let refused = running.admin().create_topic(again).await.expect_err("the name is taken");
    assert_refused(&refused, Code::AlreadyExists, "TOPIC_EXISTS");
    let refusals = [
        v1::CreateTopicRequest { topic: "a/b".to_owned(), ..Default::default() },
        v1::CreateTopicRequest { topic: "a".to_owned(), partition_count: -1, ..Default::default() },
        v1::CreateTopicRequest { topic: "a".to_owned(), replication_factor: 2, ..Default::default() },
        v1::CreateTopicRequest {
            topic: "a".to_owned(),
            configs: [("retention.msec".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        },
    ];
    for request in refusals {
        let refused = running.admin().create_topic(request).await.expect_err("it cannot be");
        assert_refused(&refused, Code::InvalidArgument, "INVALID_REQUEST");
    }
    running.stop().await;
}

#[tokio::test]
async fn pages_hold_every_topic_once_in_the_order_of_the_names() {
    let running = start().await;
    let all = ["a", "a-b", "a.b", "a0", "b", "b_", "c"];
    for name in all {
        running.create(name, 1).await;
    }
    for page_size in [1, 2, 3, 7, 8, 0] {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        for _ in 0..=all.len() {
            let request = v1::ListTopicsRequest { page_size, page_token, ..Default::default() };
            let (page, next) = names(&running, request).await;
            assert!(page_size == 0 || page.len() <= page_size as usize);
            found.extend(page);
            page_token = next;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(found, all, "in pages of {page_size}");
    }
    for page_size in [-1, 1_001] {
        let request = v1::ListTopicsRequest { page_size, ..Default::default() };
        let refused = running.admin().list_topics(request).await.expect_err("no page has that size");
        assert_refused(&refused, Code::InvalidArgument, "INVALID_REQUEST");
    }
    let listed =
        running.admin().list_topics(v1::ListTopicsRequest::default()).await.expect("good").into_inner();
    assert!(listed.topics.iter().all(|topic| topic.partitions.is_empty() && topic.partition_count == 1));
    running.stop().await;
}

#[tokio::test]
async fn a_pattern_matches_whole_names() {
    let running = start().await;
    for name in ["orders", "orders.eu", "bills"] {
        running.create(name, 1).await;
    }
    let matching = async |pattern: &str| {
        let request = v1::ListTopicsRequest { name_pattern: pattern.to_owned(), ..Default::default() };
        names(&running, request).await.0
    };
    assert_eq!(matching("orders").await, ["orders"]);
    assert_eq!(matching("orders.*").await, ["orders", "orders.eu"]);
    assert_eq!(matching("bills|orders").await, ["bills", "orders"]);
    assert_eq!(matching("order").await, [""; 0]);
    for pattern in ["(", "a)|(orders", &"a".repeat(2_000), "(\\w{1000}){1000}"] {
        let request = v1::ListTopicsRequest { name_pattern: pattern.to_owned(), ..Default::default() };
        let refused = running.admin().list_topics(request).await.expect_err(pattern);
        assert_refused(&refused, Code::InvalidArgument, "INVALID_REQUEST");
    }
    running.stop().await;
}

#[tokio::test]
async fn adding_partitions_twice_adds_them_once() {
    let running = start().await;
    let topic = running.create("orders", 1).await;
    let total = |partition_count| v1::AddPartitionsRequest {
        topic: "orders".to_owned(),
        partition_count,
        ..Default::default()
    };
    for _ in 0..2 {
        let added = running.admin().add_partitions(total(3)).await.expect("they are added").into_inner();
        assert_eq!(added.topic.expect("a topic").partition_count, 3);
    }
    running.append("orders", 2, &["served at once"]).await;
    for wrong in [total(2), total(0), total(-1)] {
        let refused = running.admin().add_partitions(wrong).await.expect_err("it cannot be");
        assert_refused(&refused, Code::InvalidArgument, "INVALID_REQUEST");
    }
    let other = v1::AddPartitionsRequest { topic_id: vec![9; 16].into(), ..total(4) };
    let refused = running.admin().add_partitions(other).await.expect_err("another topic is left alone");
    assert_refused(&refused, Code::FailedPrecondition, "TOPIC_ID_MISMATCH");
    let guarded = v1::AddPartitionsRequest { topic_id: topic.topic_id, ..total(4) };
    running.admin().add_partitions(guarded).await.expect("it is that topic");
    running.stop().await;
}

#[tokio::test]
async fn a_deleted_topic_waits_in_the_trash_and_comes_back_with_its_records() {
    let running = start().await;
    let topic = running.create("orders", 1).await;
    running.append("orders", 0, &["kept"]).await;
    running.delete("orders").await;
    assert_refused(
        &describe(&running, "orders").await.expect_err("it is gone"),
        Code::NotFound,
        "UNKNOWN_TOPIC",
    );
    let listed = running.admin().list_topics(trash()).await.expect("good").into_inner().topics;
    assert_eq!((listed.len(), &listed[0].topic_id), (1, &topic.topic_id));
    assert!(listed[0].deleted_at.is_some());
    assert_eq!(names(&running, v1::ListTopicsRequest::default()).await.0, [""; 0]);
    let request = v1::RestoreTopicRequest { topic_id: topic.topic_id.clone() };
    let restored = running.admin().restore_topic(request).await.expect("it is there").into_inner();
    assert_eq!(restored.topic.expect("a topic").deleted_at, None);
    assert_eq!(running.append("orders", 0, &["more"]).await.base_offset, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_purged_topic_is_gone_for_good() {
    let running = start().await;
    let purge = async |topic: &str, topic_id: bytes::Bytes| {
        let request =
            v1::DeleteTopicRequest { topic: topic.to_owned(), topic_id, purge: true, ..Default::default() };
        running.admin().delete_topic(request).await.map(|_| ())
    };
    let topic = running.create("orders", 1).await;
    let refused = purge("", topic.topic_id.clone()).await.expect_err("a live topic is purged by its name");
    assert_refused(&refused, Code::InvalidArgument, "INVALID_REQUEST");
    running.delete("orders").await;
    purge("", topic.topic_id.clone()).await.expect("out of the trash by its id");
    running.create("orders", 1).await;
    purge("orders", bytes::Bytes::new()).await.expect("at once by its name");
    assert_eq!(names(&running, trash()).await.0, [""; 0]);
    let request = v1::RestoreTopicRequest { topic_id: topic.topic_id };
    let refused = running.admin().restore_topic(request).await.expect_err("it is gone");
    assert_refused(&refused, Code::NotFound, "UNKNOWN_TOPIC");
    let nothing = running.admin().delete_topic(v1::DeleteTopicRequest::default()).await;
    assert_refused(&nothing.expect_err("nothing is named"), Code::InvalidArgument, "INVALID_REQUEST");
    let nothing = running.admin().restore_topic(v1::RestoreTopicRequest::default()).await;
    assert_refused(&nothing.expect_err("nothing is named"), Code::InvalidArgument, "INVALID_REQUEST");
    running.stop().await;
}

#[tokio::test]
async fn configs_are_described_and_only_the_named_ones_change() {
    let running = start().await;
    running.create_with("orders", 1, &[("retention.ms", "1000")]).await;
    let topics = || v1::AlterConfigsRequest {
        scope: v1::ConfigScope::Topic.into(),
        name: "orders".to_owned(),
        ..Default::default()
    };
    let described = async |keys: &[&str]| {
        let request = v1::DescribeConfigsRequest {
            scope: v1::ConfigScope::Topic.into(),
            name: "orders".to_owned(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        running.admin().describe_configs(request).await.map(|answer| answer.into_inner().configs)
    };
    let all = described(&[]).await.expect("it exists");
    assert!(all.len() >= 8 && all.iter().all(|config| !config.documentation.is_empty()));
    let one = described(&["retention.ms"]).await.expect("it exists");
    assert_eq!((one.len(), one[0].value.as_str(), one[0].source()), (1, "1000", v1::ConfigSource::Self_));
    assert_ne!(one[0].default_value, "1000");
    assert_refused(
        &described(&["retention.msec"]).await.expect_err("there is none"),
        Code::InvalidArgument,
        "INVALID_REQUEST",
    );
    let change = v1::AlterConfigsRequest {
        set: [("segment.ms".to_owned(), "5000".to_owned())].into(),
        unset: vec!["retention.ms".to_owned()],
        ..topics()
    };
    let changed = running.admin().alter_configs(change).await.expect("it is good").into_inner().configs;
    let changed: Vec<_> = changed.iter().map(|config| (config.key.as_str(), config.source())).collect();
    assert_eq!(
        changed,
        [("retention.ms", v1::ConfigSource::Default), ("segment.ms", v1::ConfigSource::Self_)]
    );
    let wrong = [("segment.msec", "1"), ("segment.ms", "soon"), ("segment.ms", "0")];
    for (key, value) in wrong {
        let set = [(key.to_owned(), value.to_owned()), ("retention.ms".to_owned(), "7".to_owned())].into();
        let refused = running.admin().alter_configs(v1::AlterConfigsRequest { set, ..topics() }).await;
        assert_refused(&refused.expect_err("it cannot be"), Code::InvalidArgument, "INVALID_REQUEST");
    }
    let kept = described(&["retention.ms"]).await.expect("it exists");
    assert_eq!(kept[0].source(), v1::ConfigSource::Default, "a refused change changes nothing");
    let scopes = [
        (v1::ConfigScope::Unspecified, Code::InvalidArgument, "INVALID_REQUEST"),
        (v1::ConfigScope::Broker, Code::Unimplemented, "UNIMPLEMENTED"),
    ];
    for (scope, code, reason) in scopes {
        let request = v1::AlterConfigsRequest { scope: scope.into(), ..topics() };
        let refused = running.admin().alter_configs(request).await.expect_err("not this scope");
        assert_refused(&refused, code, reason);
    }
    running.stop().await;
}

#[tokio::test]
async fn validating_changes_nothing() {
    let running = start().await;
    running.create("orders", 1).await;
    running.append("orders", 0, &["a", "b"]).await;
    let before = running.broker.image();
    let (topic, validate_only) = ("orders".to_owned(), true);
    let mut admin = running.admin();
    let create = v1::CreateTopicRequest {
        topic: "bills".to_owned(),
        partition_count: 2,
        validate_only,
        ..Default::default()
    };
    let created = admin.create_topic(create).await.expect("it could be").into_inner();
    assert_eq!(created.topic.expect("as it would be").partition_count, 2);
    let add = v1::AddPartitionsRequest {
        topic: topic.clone(),
        partition_count: 5,
        validate_only,
        ..Default::default()
    };
    admin.add_partitions(add).await.expect("it could be");
    for purge in [false, true] {
        let delete =
            v1::DeleteTopicRequest { topic: topic.clone(), purge, validate_only, ..Default::default() };
        admin.delete_topic(delete).await.expect("it could be");
    }
    let alter = v1::AlterConfigsRequest {
        scope: v1::ConfigScope::Topic.into(),
        name: topic,
        set: [("retention.ms".to_owned(), "1".to_owned())].into(),
        validate_only,
        ..Default::default()
    };
    let altered = admin.alter_configs(alter).await.expect("it could be").into_inner();
    assert_eq!(altered.configs[0].value, "1", "as it would be");
    let trim = v1::DeleteRecordsRequest {
        partitions: vec![v1::PartitionOffsetSpec {
            topic_partition: Some(partition_of("orders", 0)),
            spec: Some(at_offset(1)),
        }],
        validate_only,
    };
    let trimmed = admin.delete_records(trim).await.expect("it could be").into_inner();
    assert_eq!(trimmed.partitions[0].log_start_offset, 1, "as it would be");
    assert_eq!(running.append("orders", 0, &["c"]).await.log_start_offset, 0);
    assert_eq!(*running.broker.image(), *before);
    running.stop().await;
}

#[tokio::test]
async fn records_are_deleted_up_to_each_point_and_a_call_that_is_refused_deletes_none() {
    let running = start().await;
    running.create("orders", 2).await;
    for partition in [0, 1] {
        running.append("orders", partition, &["a", "b", "c"]).await;
    }
    let at = |topic: &str, partition, spec| v1::PartitionOffsetSpec {
        topic_partition: Some(partition_of(topic, partition)),
        spec,
    };
    let delete = async |partitions| {
        let request = v1::DeleteRecordsRequest { partitions, validate_only: false };
        running.admin().delete_records(request).await.map(|answer| answer.into_inner().partitions)
    };
    let refused = delete(vec![at("orders", 0, Some(at_offset(3))), at("orders", 1, None)]).await;
    assert_refused(&refused.expect_err("one of them says nothing"), Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(running.append("orders", 0, &["d"]).await.log_start_offset, 0, "the other one is untouched");
    let deleted = delete(vec![
        at("orders", 1, Some(at_anchor(v1::Anchor::Latest))),
        at("nope", 0, Some(at_offset(1))),
        at("orders", 0, Some(at_offset(2))),
        at("orders", 0, Some(at_offset(99))),
    ]);
    let deleted = deleted.await.expect("the call is good");
    let starts: Vec<i64> = deleted.iter().map(|part| part.log_start_offset).collect();
    assert_eq!(starts, [3, -1, 2, -1], "in the order asked");
    assert_eq!(item_reason(deleted[1].error.as_ref()), v1::ErrorReason::UnknownTopic);
    assert_eq!(item_reason(deleted[3].error.as_ref()), v1::ErrorReason::OffsetOutOfRange);
    let named = deleted[0].topic_partition.as_ref().expect("it is named");
    assert_eq!((named.partition, named.topic_id.len()), (1, 16));
    running.stop().await;
}
