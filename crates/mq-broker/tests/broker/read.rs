//! Reading: positions, waiting, points in time.

use crate::running::{LONG, create, directory, produce, read_all, resolved, start, stop};
use mq_broker::OffsetSpec;
use mq_broker::api::Error;
use mq_types::Offset;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_position_outside_the_log_is_refused_with_the_bounds() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    produce(&broker, "orders", 0, &["a", "b"]).await;
    let at = resolved(&broker, "orders", 0);
    for asked in [-1, i64::MIN, 3, i64::MAX] {
        let refused = broker.fetch(&at, asked, 1 << 20).await.expect_err("it is out of range");
        let expected = Error::OffsetOutOfRange { asked, log_start: Offset(0), high_watermark: Offset(2) };
        assert_eq!(refused, expected);
        assert_eq!(broker.find_offset(&at, OffsetSpec::Offset(asked)).await, Err(expected));
    }
    let end = broker.fetch(&at, 2, 1 << 20).await.expect("the end is a position");
    assert!(end.batches.is_empty() && end.next_offset == Offset(2));
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_reader_wakes_up_when_a_record_comes() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    let at = resolved(&broker, "orders", 0);
    let reader = tokio::spawn({
        let (broker, at) = (broker.clone(), at.clone());
        async move {
            broker.readable_after(&at, Offset(0), LONG).await.expect("the partition is here");
            broker.fetch(&at, 0, 1 << 20).await.expect("it is readable").batches.len()
        }
    });
    produce(&broker, "orders", 0, &["a"]).await;
    assert_eq!(reader.await.expect("the reader ends"), 1);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_waits_no_longer_than_it_said() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    let at = resolved(&broker, "orders", 0);
    broker
        .readable_after(&at, Offset(0), Duration::from_millis(10))
        .await
        .expect("waiting in vain is no error");
    assert_eq!(broker.view(at.quorum).expect("it is here").high_watermark, Offset(0));
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_reader_is_told_when_its_topic_goes() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    let at = resolved(&broker, "orders", 0);
    let reader = tokio::spawn({
        let (broker, at) = (broker.clone(), at.clone());
        async move { broker.readable_after(&at, Offset(0), LONG).await }
    });
    crate::running::delete(&broker, "orders", false).await;
    let seen = reader.await.expect("the reader ends");
    let read = broker.fetch(&at, 0, 1 << 20).await.expect_err("the topic is gone");
    assert_eq!(read, Error::UnknownTopic { topic: "orders".to_owned() });
    // A change of leadership on the way may have woken it first; then its next read fails as this one did.
    assert!(seen == Ok(()) || seen == Err(read), "{seen:?}");
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_found_by_offset_time_and_anchor() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    let at = resolved(&broker, "orders", 0);
    let empty = broker.find_offset(&at, OffsetSpec::TimeMs(0)).await.expect("an empty log has an end");
    assert_eq!((empty.offset, empty.timestamp_ms), (Offset(0), None));
    produce(&broker, "orders", 0, &["a", "b"]).await;
    produce(&broker, "orders", 0, &["c"]).await;
    let find = async |spec| broker.find_offset(&at, spec).await.expect("it is found");
    let earliest = find(OffsetSpec::Earliest).await;
    assert_eq!(earliest.offset, Offset(0));
    assert_eq!((earliest.log_start, earliest.high_watermark), (Offset(0), Offset(3)));
    let latest = find(OffsetSpec::Latest).await;
    assert_eq!((latest.offset, latest.timestamp_ms), (Offset(3), None));
    let second = find(OffsetSpec::Offset(2)).await;
    let appended_at_ms = second.timestamp_ms.expect("there is a record");
    assert!(appended_at_ms >= earliest.timestamp_ms.expect("there is a record"));
    let by_time = find(OffsetSpec::TimeMs(earliest.timestamp_ms.expect("there is a record"))).await;
    assert_eq!(by_time.offset, Offset(0));
    let beyond = find(OffsetSpec::TimeMs(appended_at_ms + 1)).await;
    assert_eq!((beyond.offset, beyond.timestamp_ms), (Offset(3), None));
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_out_of_range_and_the_rest_stays() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    for value in ["a", "b", "c"] {
        produce(&broker, "orders", 0, &[value]).await;
    }
    let at = resolved(&broker, "orders", 0);
    let asked = broker.delete_records(&at, OffsetSpec::Offset(2), true).await;
    assert_eq!(asked, Ok(Offset(2)), "what would be");
    assert_eq!(read_all(&broker, "orders", 0, 0).await.len(), 3, "a question changes nothing");
    assert_eq!(broker.delete_records(&at, OffsetSpec::Offset(2), false).await, Ok(Offset(2)));
    let refused = broker.fetch(&at, 1, 1 << 20).await.expect_err("it is deleted");
    let expected = Error::OffsetOutOfRange { asked: 1, log_start: Offset(2), high_watermark: Offset(3) };
    assert_eq!(refused, expected);
    assert_eq!(read_all(&broker, "orders", 0, 2).await, [(2, "c".to_owned())]);
    stop(&broker).await;
}
