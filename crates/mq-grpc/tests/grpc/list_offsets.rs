//! ListOffsets: points in partitions.

use crate::running::{
    Running, assert_refused, at_anchor, at_offset, at_time, item_reason, partition_of, start,
};
use mq_proto::v1;
use tonic::Code;

async fn list(running: &Running, asked: Vec<(&str, i32, v1::OffsetSpec)>) -> Vec<v1::PartitionOffset> {
    let partitions = asked.into_iter().map(|(topic, partition, spec)| v1::PartitionOffsetSpec {
        topic_partition: Some(partition_of(topic, partition)),
        spec: Some(spec),
    });
    let request = v1::ListOffsetsRequest { partitions: partitions.collect(), ..Default::default() };
    running.consumer().list_offsets(request).await.expect("the call is good").into_inner().offsets
}

#[tokio::test]
async fn every_kind_of_point_is_found_in_the_order_asked() {
    let running = start().await;
    let topic = running.create("orders", 2).await;
    running.append("orders", 0, &["a", "b", "c"]).await;
    running.delete_records("orders", 1).await;
    let year_3000 = 32_503_680_000;
    let found = list(
        &running,
        vec![
            ("orders", 0, at_anchor(v1::Anchor::Latest)),
            ("orders", 0, at_anchor(v1::Anchor::Earliest)),
            ("orders", 0, at_offset(2)),
            ("orders", 0, at_time(0)),
            ("orders", 0, at_time(year_3000)),
            ("orders", 1, at_anchor(v1::Anchor::Latest)),
        ],
    )
    .await;
    let offsets: Vec<i64> = found.iter().map(|found| found.offset).collect();
    assert_eq!(offsets, [3, 1, 2, 1, 3, 0]);
    for found in &found {
        assert_eq!(found.error, None);
        let at = found.topic_partition.as_ref().expect("it is named");
        assert_eq!(at.topic_id, topic.topic_id);
        assert!(found.leader_epoch > 0);
    }
    let has_record: Vec<bool> = found.iter().map(|found| found.timestamp.is_some()).collect();
    assert_eq!(has_record, [false, true, true, true, false, false], "a timestamp where a record is");
    running.stop().await;
}

#[tokio::test]
async fn an_offset_that_is_not_known_is_minus_one_beside_its_error() {
    let running = start().await;
    running.create("orders", 1).await;
    running.append("orders", 0, &["a"]).await;
    let found = list(
        &running,
        vec![
            ("nope", 0, at_offset(0)),
            ("orders", 3, at_offset(0)),
            ("orders", 0, at_offset(2)),
            ("orders", 0, at_offset(-1)),
            ("orders", 0, at_offset(1)),
        ],
    )
    .await;
    let reasons = [
        v1::ErrorReason::UnknownTopic,
        v1::ErrorReason::UnknownPartition,
        v1::ErrorReason::OffsetOutOfRange,
        v1::ErrorReason::OffsetOutOfRange,
    ];
    for (found, reason) in found.iter().zip(reasons) {
        assert_eq!((item_reason(found.error.as_ref()), found.offset), (reason, -1));
    }
    assert_eq!((found[4].error.clone(), found[4].offset), (None, 1), "the end is a position");
    running.stop().await;
}

#[tokio::test]
async fn an_unset_point_is_refused() {
    let running = start().await;
    running.create("orders", 1).await;
    for spec in [None, Some(v1::OffsetSpec::default()), Some(at_anchor(v1::Anchor::Unspecified))] {
        let asked = v1::PartitionOffsetSpec { topic_partition: Some(partition_of("orders", 0)), spec };
        let request = v1::ListOffsetsRequest { partitions: vec![asked], ..Default::default() };
        let refused = running.consumer().list_offsets(request).await.expect_err("unset means nothing");
        assert_refused(&refused, Code::InvalidArgument, "INVALID_REQUEST");
    }
    running.stop().await;
}
