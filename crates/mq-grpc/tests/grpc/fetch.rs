//! Fetch: the long poll over many partitions.

use crate::running::{
    Running, assert_refused, at_anchor, at_offset, from, item_reason, partition_of, record, start, values,
    within,
};
use mq_proto::v1;
use mq_types::batch::next_batch;
use prost::Message;
use tonic::Code;

const NO_WAIT: Option<i32> = Some(0);
const FOR_EVER: Option<i32> = Some(i32::MAX);

async fn fetch(running: &Running, request: v1::FetchRequest) -> Vec<v1::FetchedPartition> {
    within(running.consumer().fetch(request)).await.expect("the call is good").into_inner().partitions
}

fn asking(partitions: Vec<v1::FetchPartition>) -> v1::FetchRequest {
    v1::FetchRequest { partitions, max_wait_ms: NO_WAIT, ..Default::default() }
}

#[tokio::test]
async fn a_fetch_that_does_not_wait_answers_what_is_there() {
    let running = start().await;
    let topic = running.create("orders", 2).await;
    let orders = || asking(vec![from("orders", 0, at_offset(0)), from("orders", 1, at_offset(0))]);
    assert_eq!(fetch(&running, orders()).await, [], "nothing is there");
    running.append("orders", 1, &["a", "b"]).await;
    let answer = fetch(&running, orders()).await;
    assert_eq!(answer.len(), 1, "a partition without news is left out");
    let part = &answer[0];
    let at = part.topic_partition.clone().expect("it is named");
    assert_eq!((at.partition, at.topic_id), (1, topic.topic_id));
    assert_eq!(values(&part.records), ["a", "b"]);
    assert_eq!((part.next_offset, part.high_watermark, part.last_stable_offset), (2, 2, 2));
    assert!(part.leader_epoch > 0, "of the last record");
    running.stop().await;
}

#[tokio::test]
async fn a_long_poll_wakes_when_records_come_also_at_the_latest_end() {
    let running = start().await;
    running.create("orders", 2).await;
    running.append("orders", 1, &["before"]).await;
    let latest = at_anchor(v1::Anchor::Latest);
    let request = v1::FetchRequest {
        max_wait_ms: FOR_EVER,
        ..asking(vec![from("orders", 0, latest), from("orders", 1, latest)])
    };
    let mut consumer = running.consumer();
    let waiting = tokio::spawn(async move { consumer.fetch(request).await });
    // Whenever the call gets there: it has found the end before one of these, and answers the next one.
    let mut appended = 0;
    while !waiting.is_finished() {
        appended += 1;
        running.append("orders", 1, &[&appended.to_string()]).await;
    }
    let answer = within(waiting).await.expect("no panic").expect("the call is good").into_inner();
    let found = values(&answer.partitions[0].records);
    assert!(!found.is_empty() && !found.contains(&"before".to_owned()), "{found:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_long_poll_waits_for_min_bytes() {
    let running = start().await;
    running.create("orders", 1).await;
    running.append("orders", 0, &["small"]).await;
    let request = v1::FetchRequest {
        min_bytes: 1_000,
        max_wait_ms: FOR_EVER,
        ..asking(vec![from("orders", 0, at_offset(0))])
    };
    let mut consumer = running.consumer();
    let waiting = tokio::spawn(async move { consumer.fetch(request).await });
    let large = "x".repeat(1_000);
    running.append("orders", 0, &[&large]).await;
    let answer = within(waiting).await.expect("no panic").expect("the call is good").into_inner();
    assert_eq!(values(&answer.partitions[0].records), ["small".to_owned(), large]);
    running.stop().await;
}

#[tokio::test]
async fn a_partition_that_is_cut_short_does_not_wait_for_what_it_may_not_carry() {
    let running = start().await;
    running.create("orders", 1).await;
    running.append("orders", 0, &["x".repeat(500).as_str(), "y".repeat(500).as_str()]).await;
    let mut part = from("orders", 0, at_offset(0));
    part.max_bytes = 700;
    let request = v1::FetchRequest { min_bytes: 100_000, max_wait_ms: FOR_EVER, ..asking(vec![part]) };
    assert_eq!(fetch(&running, request).await[0].next_offset, 1);
    running.stop().await;
}

#[tokio::test]
async fn an_answer_is_cut_at_max_bytes_and_a_record_larger_than_that_comes_alone() {
    let running = start().await;
    running.create("orders", 2).await;
    let small = "s".repeat(100);
    let values_small: Vec<&str> = vec![&small; 100];
    running.append("orders", 0, &values_small).await;
    let large = "l".repeat(5_000);
    running.append("orders", 1, &[&small, &large, &small]).await;
    let (mut next, mut records) = ([0, 0], [0, 0]);
    for _ in 0..200 {
        let partitions = (0..2).map(|n| from("orders", n, at_offset(next[n as usize]))).collect();
        let max_bytes = 2_000;
        let request = v1::FetchRequest { max_bytes, ..asking(partitions) };
        let answer = within(running.consumer().fetch(request)).await.expect("the call is good").into_inner();
        let count: usize = answer.partitions.iter().map(|part| part.records.len()).sum();
        assert!(
            answer.encoded_len() <= 2_000 || count == 1,
            "{} bytes with {count} records",
            answer.encoded_len()
        );
        if answer.partitions.is_empty() {
            break;
        }
        for part in answer.partitions {
            let number = part.topic_partition.expect("it is named").partition as usize;
            records[number] += part.records.len();
            next[number] = part.next_offset;
        }
    }
    assert_eq!((next, records), ([100, 3], [100, 3]), "no reader gets stuck");
    running.stop().await;
}

#[tokio::test]
async fn raw_batches_are_what_is_stored() {
    let running = start().await;
    running.create("orders", 1).await;
    running.append("orders", 0, &["a", "b"]).await;
    running.append("orders", 0, &["c"]).await;
    let request = v1::FetchRequest {
        format: v1::BatchFormat::KafkaV2.into(),
        ..asking(vec![from("orders", 0, at_offset(1))])
    };
    let answer = fetch(&running, request).await;
    assert!(answer[0].records.is_empty());
    let mut bytes = answer[0].kafka_batches.clone();
    let mut found = Vec::new();
    while let Some(batch) = next_batch(&mut bytes).expect("whole batches") {
        assert!(batch.checksum_matches(), "the bytes are those that were stored");
        assert_eq!(batch.leader_epoch(), answer[0].leader_epoch);
        found.push((batch.base_offset().0, batch.record_count()));
    }
    assert_eq!(found, [(0, 2), (2, 1)], "the first one begins before the start");
    assert_eq!(answer[0].next_offset, 3);
    running.stop().await;
}

#[tokio::test]
async fn each_partition_has_its_own_error_and_the_others_their_records() {
    let running = start().await;
    running.create("orders", 1).await;
    running.append("orders", 0, &["a", "b", "c"]).await;
    running.delete_records("orders", 1).await;
    let mut elsewhere = from("orders", 0, at_offset(1));
    elsewhere.topic_partition =
        Some(v1::TopicPartition { topic_id: vec![7; 16].into(), ..partition_of("orders", 0) });
    let request = v1::FetchRequest {
        max_wait_ms: FOR_EVER,
        ..asking(vec![
            from("nope", 0, at_offset(5)),
            from("orders", 9, at_anchor(v1::Anchor::Earliest)),
            elsewhere,
            from("orders", 0, at_offset(0)),
            from("orders", 0, at_offset(4)),
            from("orders", 0, at_offset(-1)),
            from("orders", 0, at_offset(2)),
        ])
    };
    let answer = fetch(&running, request).await;
    let told: Vec<_> = answer
        .iter()
        .map(|part| (part.error.as_ref().map(v1::ItemError::reason), part.next_offset))
        .collect();
    let out_of_range = Some(v1::ErrorReason::OffsetOutOfRange);
    assert_eq!(
        told,
        [
            (Some(v1::ErrorReason::UnknownTopic), 5),
            (Some(v1::ErrorReason::UnknownPartition), -1),
            (Some(v1::ErrorReason::TopicIdMismatch), 1),
            (out_of_range, 0),
            (out_of_range, 4),
            (out_of_range, -1),
            (None, 3),
        ]
    );
    let error = answer[3].error.as_ref().expect("it is out of range");
    assert_eq!(error.metadata["log_start_offset"], "1");
    assert_eq!(error.metadata["high_watermark"], "3");
    assert_eq!(item_reason(Some(error)), v1::ErrorReason::OffsetOutOfRange);
    assert!(!error.retriable);
    let at = answer[3].topic_partition.as_ref().expect("it is named");
    assert_eq!(at.topic_id.len(), 16, "answers carry the topic's id where there is a topic");
    assert_eq!(values(&answer[6].records), ["c"]);
    running.stop().await;
}

#[tokio::test]
async fn a_fetch_that_cannot_mean_anything_is_refused() {
    let running = start().await;
    running.create("orders", 1).await;
    let good = || asking(vec![from("orders", 0, at_offset(0))]);
    let unset = v1::FetchPartition { start: None, ..from("orders", 0, at_offset(0)) };
    let refusals = [
        asking(Vec::new()),
        asking(vec![from("orders", 0, at_offset(0)); 10_001]),
        asking(vec![unset]),
        asking(vec![v1::FetchPartition::default()]),
        asking(vec![from(&"x".repeat(250), 0, at_offset(0))]),
        v1::FetchRequest { max_bytes: -1, ..good() },
        v1::FetchRequest { min_bytes: -1, ..good() },
        v1::FetchRequest { max_wait_ms: Some(-1), ..good() },
        v1::FetchRequest { format: 9, ..good() },
        v1::FetchRequest { isolation_level: 9, ..good() },
    ];
    for request in refusals {
        let refused = running.consumer().fetch(request).await.expect_err("it is refused");
        assert_refused(&refused, Code::InvalidArgument, "INVALID_REQUEST");
    }
    running.stop().await;
}

#[tokio::test]
async fn errors_of_very_many_partitions_are_cut_like_records() {
    let running = start().await;
    let partitions = vec![from(&"n".repeat(249), 0, at_offset(0)); 10_000];
    let answer = within(running.consumer().fetch(asking(partitions))).await.expect("the call is good");
    let answer = answer.into_inner();
    assert!(answer.encoded_len() <= 1 << 20, "{} bytes", answer.encoded_len());
    assert!(answer.partitions.len() > 100);
    running.stop().await;
}

#[tokio::test]
async fn a_compressed_batch_is_read_record_by_record() {
    let running = start().await;
    running.create("orders", 1).await;
    let value = "z".repeat(10_000);
    let request = v1::ProduceRequest {
        topic: "orders".to_owned(),
        partition: Some(0),
        records: (0..100).map(|_| record(None, &value)).collect(),
        compression: v1::Compression::Zstd.into(),
        ..Default::default()
    };
    running.producer().produce(request).await.expect("it is appended");
    let (mut next, mut calls) = (0, 0);
    while next < 100 {
        let request =
            v1::FetchRequest { max_bytes: 50_000, ..asking(vec![from("orders", 0, at_offset(next))]) };
        let answer = fetch(&running, request).await;
        assert_eq!(answer[0].records[0].offset, next, "none before the start");
        next = answer[0].next_offset;
        calls += 1;
        assert!(calls <= 100, "each call moves on");
    }
    assert!(calls >= 20, "a small batch that decompresses to much is cut all the same: {calls}");
    running.stop().await;
}
