//! Produce: what one request appends, and what it is told.

use crate::running::{assert_refused, item_reason, record, start, start_on, to_partition, within};
use mq_proto::v1;
use mq_types::batch::{BatchBuilder, NewRecord};
use mq_types::{Compression, partitioner};
use prost::Message;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::{Code, Request};
use tonic_types::pb;

fn unpartitioned(topic: &str, records: Vec<v1::Record>) -> v1::ProduceRequest {
    v1::ProduceRequest { topic: topic.to_owned(), records, ..Default::default() }
}

fn kafka_batch(values: &[&str]) -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        let record = NewRecord { timestamp_ms: 1, value: Some(value.as_bytes()), ..NewRecord::default() };
        builder.push(&record).expect("it fits");
    }
    builder.finish(Compression::None).to_bytes()
}

#[tokio::test]
async fn records_for_a_partition_are_appended_to_it_in_order() {
    let running = start().await;
    let topic = running.create("orders", 3).await;
    let first = running.append("orders", 2, &["a", "b"]).await;
    let second = running.append("orders", 2, &["c"]).await;
    let at = first.topic_partition.expect("it is named");
    assert_eq!((at.topic.as_str(), at.partition, at.topic_id), ("orders", 2, topic.topic_id));
    assert_eq!((first.base_offset, first.record_count, first.high_watermark), (0, 2, 2));
    assert_eq!((second.base_offset, second.record_count, second.high_watermark), (2, 1, 3));
    assert!(first.record_indexes.is_empty(), "empty means all");
    running.stop().await;
}

#[tokio::test]
async fn keys_are_spread_as_kafka_does_and_keyless_records_share_one_partition() {
    let running = start().await;
    running.create("orders", 4).await;
    let keys: Vec<Option<String>> = (0..40).map(|n| (n % 5 != 0).then(|| format!("key-{n}"))).collect();
    let records = keys.iter().map(|key| record(key.as_deref(), "v")).collect();
    let produced = running.producer().produce(unpartitioned("orders", records)).await;
    let produced = produced.expect("all are appended").into_inner();
    let mut partition_of_index = BTreeMap::new();
    for part in &produced.partitions {
        let partition = part.topic_partition.as_ref().expect("it is named").partition;
        assert_eq!(part.record_indexes.len(), part.record_count as usize);
        assert!(part.record_indexes.is_sorted(), "the order of the request");
        for index in &part.record_indexes {
            assert_eq!(partition_of_index.insert(*index, partition), None, "a record is appended once");
        }
    }
    assert_eq!(partition_of_index.len(), keys.len());
    let mut keyless = Vec::new();
    for (index, partition) in partition_of_index {
        match &keys[index as usize] {
            Some(key) => assert_eq!(
                partition,
                partitioner::partition_for_key(key.as_bytes(), 4).0 as i32,
                "the partition of {key}"
            ),
            None => keyless.push(partition),
        }
    }
    keyless.dedup();
    assert_eq!(keyless.len(), 1, "records without a key share one partition: {keyless:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_request_that_is_appended_in_part_says_what_was() {
    // Room for one request at a time: of one that goes to eight partitions, only the first is taken.
    let limits = mq_broker::Limits { shard_requests_max: 1, ..mq_broker::Limits::default() };
    let running = start_on(mq_grpc::Options::default(), 1, limits).await;
    running.create("orders", 8).await;
    let records = (0..40).map(|n| record(Some(&format!("key-{n}")), "v")).collect();
    let refused = running.producer().produce(unpartitioned("orders", records)).await;
    let refused = refused.expect_err("not all of it is appended");
    assert_refused(&refused, Code::Aborted, "PARTLY_APPENDED");
    let details = pb::Status::decode(refused.details()).expect("google.rpc.Status").details;
    let response = details.iter().find(|any| any.type_url.ends_with("mq.v1.ProduceResponse"));
    let response =
        v1::ProduceResponse::decode(&*response.expect("it says what was").value).expect("it decodes");
    let (failed, appended): (Vec<_>, Vec<_>) =
        response.partitions.iter().partition(|part| part.error.is_some());
    assert!(!failed.is_empty() && !appended.is_empty(), "{response:?}");
    for part in failed {
        assert_eq!(item_reason(part.error.as_ref()), v1::ErrorReason::Overloaded);
        assert_eq!((part.base_offset, part.high_watermark), (-1, -1), "an offset that is not known is -1");
    }
    for part in appended {
        assert_eq!((part.base_offset, part.durability()), (0, v1::Durability::QuorumFsync));
    }
    let mut indexes: Vec<i32> =
        response.partitions.iter().flat_map(|part| part.record_indexes.clone()).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, (0..40).collect::<Vec<_>>(), "every record is accounted for");
    running.stop().await;
}

#[tokio::test]
async fn an_answer_says_which_durability_was_reached() {
    let running = start().await;
    running.create("orders", 1).await;
    let with = |acks: v1::Acks| v1::ProduceRequest { acks: acks.into(), ..to_partition("orders", 0, &["a"]) };
    let mut producer = running.producer();
    let mut answer = async |acks| {
        let produced = producer.produce(with(acks)).await.expect("it is appended").into_inner();
        produced.partitions.into_iter().next().expect("one partition")
    };
    let none = answer(v1::Acks::None).await;
    assert_eq!((none.durability(), none.base_offset), (v1::Durability::None, -1));
    let leader = answer(v1::Acks::Leader).await;
    let reached = leader.durability();
    assert!(
        matches!(reached, v1::Durability::LeaderFsync | v1::Durability::QuorumFsync),
        "the leader has synced: {reached:?}"
    );
    assert_eq!(leader.base_offset, 1);
    for acks in [v1::Acks::Quorum, v1::Acks::Unspecified] {
        assert_eq!(answer(acks).await.durability(), v1::Durability::QuorumFsync);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_conditional_append_happens_at_the_expected_offset_only() {
    let running = start().await;
    running.create("orders", 1).await;
    let expecting = |offset, partition| v1::ProduceRequest {
        expected_next_offset: Some(offset),
        partition,
        ..to_partition("orders", 0, &["a"])
    };
    let mut producer = running.producer();
    producer.produce(expecting(0, Some(0))).await.expect("0 is the next offset");
    let refused = producer.produce(expecting(0, Some(0))).await.expect_err("now it is 1");
    assert_refused(&refused, Code::FailedPrecondition, "UNEXPECTED_NEXT_OFFSET");
    let info = error_info(&refused);
    assert_eq!(info.metadata["next_offset"], "1");
    for (offset, partition) in [(1, None), (-1, Some(0))] {
        let refused =
            producer.produce(expecting(offset, partition)).await.expect_err("it cannot mean anything");
        assert_refused(&refused, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(error_info(&refused).metadata["field"], "expected_next_offset");
    }
    running.stop().await;
}

fn error_info(status: &tonic::Status) -> pb::ErrorInfo {
    let details = pb::Status::decode(status.details()).expect("google.rpc.Status").details;
    let info = details.iter().find(|any| any.type_url.ends_with("google.rpc.ErrorInfo"));
    pb::ErrorInfo::decode(&*info.expect("an ErrorInfo").value).expect("it decodes")
}

#[tokio::test]
async fn a_kafka_batch_is_stored_as_it_is_and_a_broken_one_is_refused() {
    let running = start().await;
    running.create("orders", 1).await;
    let with = |partition, kafka_batch| v1::ProduceRequest {
        topic: "orders".to_owned(),
        partition,
        kafka_batch,
        ..Default::default()
    };
    let mut producer = running.producer();
    let produced = producer.produce(with(Some(0), kafka_batch(&["a", "b"]))).await.expect("it is appended");
    assert_eq!(produced.into_inner().partitions[0].record_count, 2);
    let mut damaged = kafka_batch(&["a"]).to_vec();
    *damaged.last_mut().expect("it has bytes") ^= 1;
    let mut two = kafka_batch(&["a"]).to_vec();
    two.extend_from_slice(&kafka_batch(&["b"]));
    for broken in [damaged, two, b"no batch".to_vec()] {
        let refused = producer.produce(with(Some(0), broken.into())).await.expect_err("it is broken");
        assert_refused(&refused, Code::InvalidArgument, "CORRUPT_BATCH");
    }
    let refused = producer.produce(with(None, kafka_batch(&["a"]))).await.expect_err("it needs a partition");
    assert_refused(&refused, Code::InvalidArgument, "INVALID_REQUEST");
    running.stop().await;
}

#[tokio::test]
async fn requests_that_contradict_themselves_are_refused() {
    let running = start().await;
    let topic = running.create("orders", 1).await;
    let good = to_partition("orders", 0, &["a"]);
    let refusals: Vec<(v1::ProduceRequest, Code, &str)> = vec![
        (
            v1::ProduceRequest { records: Vec::new(), ..good.clone() },
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (
            v1::ProduceRequest { kafka_batch: kafka_batch(&["a"]), ..good.clone() },
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (v1::ProduceRequest { timeout_ms: -1, ..good.clone() }, Code::InvalidArgument, "INVALID_REQUEST"),
        (v1::ProduceRequest { acks: 9, ..good.clone() }, Code::InvalidArgument, "INVALID_REQUEST"),
        (v1::ProduceRequest { compression: 9, ..good.clone() }, Code::InvalidArgument, "INVALID_REQUEST"),
        (
            v1::ProduceRequest { topic_id: vec![1].into(), ..good.clone() },
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (
            v1::ProduceRequest { topic: "x".repeat(250), ..good.clone() },
            Code::InvalidArgument,
            "INVALID_REQUEST",
        ),
        (
            v1::ProduceRequest { topic_id: vec![1; 16].into(), ..good.clone() },
            Code::FailedPrecondition,
            "TOPIC_ID_MISMATCH",
        ),
        (v1::ProduceRequest { topic: "nope".to_owned(), ..good.clone() }, Code::NotFound, "UNKNOWN_TOPIC"),
        (v1::ProduceRequest { partition: Some(1), ..good.clone() }, Code::NotFound, "UNKNOWN_PARTITION"),
        (v1::ProduceRequest { partition: Some(-1), ..good.clone() }, Code::NotFound, "UNKNOWN_PARTITION"),
        (
            v1::ProduceRequest { producer: Some(v1::ProducerIdentity::default()), ..good.clone() },
            Code::Unimplemented,
            "UNIMPLEMENTED",
        ),
    ];
    for (request, code, reason) in refusals {
        let refused = running.producer().produce(request).await.expect_err(reason);
        assert_refused(&refused, code, reason);
    }
    let guarded = v1::ProduceRequest { topic_id: topic.topic_id, ..good };
    let produced = running.producer().produce(guarded).await.expect("it is that topic").into_inner();
    assert_eq!(produced.partitions[0].base_offset, 0, "nothing that was refused was appended");
    running.stop().await;
}

#[tokio::test]
async fn records_larger_than_the_topic_allows_are_refused_with_the_numbers() {
    let running = start().await;
    running.create_with("orders", 1, &[("max.message.bytes", "2000")]).await;
    let request = to_partition("orders", 0, &["x".repeat(3_000).as_str()]);
    let compressed = v1::ProduceRequest { compression: v1::Compression::Zstd.into(), ..request.clone() };
    for request in [request, compressed] {
        let refused = running.producer().produce(request).await.expect_err("it is too large");
        assert_refused(&refused, Code::InvalidArgument, "BATCH_TOO_LARGE");
        let info = error_info(&refused);
        assert_eq!(info.metadata["max_bytes"], "2000");
        assert!(info.metadata["size_bytes"].parse::<u32>().expect("a number") > 3_000);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_reason_reaches_the_client_however_long_the_name_was() {
    let running = start().await;
    let topic = "ä".repeat(1 << 20);
    let refused = running
        .admin()
        .describe_topic(v1::DescribeTopicRequest { topic })
        .await
        .expect_err("there is no such topic");
    assert_refused(&refused, Code::NotFound, "UNKNOWN_TOPIC");
    running.stop().await;
}

#[tokio::test]
async fn a_deadline_bounds_what_a_fetch_waits() {
    let running = start().await;
    running.create("orders", 1).await;
    let mut request = Request::new(v1::FetchRequest {
        partitions: vec![crate::running::from("orders", 0, crate::running::at_offset(0))],
        max_wait_ms: Some(60_000),
        ..Default::default()
    });
    request.set_timeout(Duration::from_secs(1));
    let answer = within(running.consumer().fetch(request)).await.expect("it answers before the deadline");
    assert!(answer.into_inner().partitions.is_empty());
    running.stop().await;
}
