//! Appending: what is acknowledged is there, once, in order.

use crate::running::{
    batch, compressed, create, create_with, directory, partition, produce, read_all, request,
};
use crate::running::{start, stop};
use mq_broker::api::{Acks, Durability, Error};
use mq_broker::{Produce, WhenFull};
use mq_types::batch::Batch;
use mq_types::{Compression, Offset};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_appended_is_read_back_with_consecutive_offsets() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    let first = produce(&broker, "orders", 0, &["a", "b"]).await;
    assert_eq!((first.base_offset, first.record_count), (Some(Offset(0)), 2));
    assert_eq!(first.durability, Durability::QuorumFsync);
    let second = produce(&broker, "orders", 0, &["c"]).await;
    assert_eq!(second.base_offset, Some(Offset(2)));
    assert!(second.high_watermark >= Offset(3));
    let all = read_all(&broker, "orders", 0, 0).await;
    assert_eq!(all, [(0, "a".to_owned()), (1, "b".to_owned()), (2, "c".to_owned())]);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_producers_lose_nothing_and_each_keeps_its_order() {
    const TASKS: usize = 8;
    const BATCHES: usize = 50;
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 3).await;
    let tasks = (0..TASKS).map(|task| {
        let broker = broker.clone();
        tokio::spawn(async move {
            let mut tickets = Vec::new();
            for number in 0..BATCHES {
                let value = format!("{task}:{number}");
                let produce = request(partition("orders", (task % 3) as i64), batch([value.as_str()]));
                let ticket = broker.produce(produce, WhenFull::Wait).await.expect("it is accepted");
                tickets.push((value, ticket));
            }
            let mut acknowledged = Vec::new();
            for (value, ticket) in tickets {
                let produced = ticket.answer().await.expect("it is appended");
                acknowledged.push((produced.base_offset.expect("acks=quorum says where").0, value));
            }
            (task, acknowledged)
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        let (task, acknowledged) = task.await.expect("the task ends");
        let all = read_all(&broker, "orders", (task % 3) as i64, 0).await;
        let own: Vec<_> =
            all.into_iter().filter(|(_, value)| value.starts_with(&format!("{task}:"))).collect();
        assert_eq!(own, acknowledged, "task {task}");
    }
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_append_at_another_offset_appends_nothing() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    let at = |expected, value| Produce {
        expected_next_offset: Some(Offset(expected)),
        ..request(partition("orders", 0), batch([value]))
    };
    let ticket = broker.produce(at(0, "a"), WhenFull::Wait).await.expect("it is accepted");
    ticket.answer().await.expect("0 is the next offset");
    let ticket = broker.produce(at(0, "b"), WhenFull::Wait).await.expect("it is accepted");
    let refused = ticket.answer().await.expect_err("1 is the next offset");
    assert_eq!(refused, Error::UnexpectedNextOffset { expected: Offset(0), next_offset: Offset(1) });
    assert_eq!(read_all(&broker, "orders", 0, 0).await, [(0, "a".to_owned())]);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weaker_acks_are_answered_and_the_records_are_there_all_the_same() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    for (acks, value, base_offset) in [(Acks::None, "a", None), (Acks::Leader, "b", Some(Offset(1)))] {
        let produce = Produce { acks, ..request(partition("orders", 0), batch([value])) };
        let ticket = broker.produce(produce, WhenFull::Wait).await.expect("it is accepted");
        let produced = ticket.answer().await.expect("it is appended");
        assert_eq!(produced.base_offset, base_offset);
    }
    produce(&broker, "orders", 0, &["c"]).await;
    let values: Vec<_> =
        read_all(&broker, "orders", 0, 0).await.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["a", "b", "c"]);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_batches_are_refused_before_they_reach_a_log() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create_with(&broker, "orders", 1, &[("max.message.bytes", "1024")]).await.expect("it is created");
    let large = "x".repeat(2_000);
    let mut damaged = batch(["a"]).to_bytes().to_vec();
    *damaged.last_mut().expect("it has bytes") ^= 1;
    let damaged = Batch::decode(damaged.into()).expect("the header is sound");
    let refused = async |batch| {
        let accepted = broker.produce(request(partition("orders", 0), batch), WhenFull::Refuse).await;
        accepted.err().expect("it is refused")
    };
    let error = refused(batch([large.as_str()])).await;
    assert!(matches!(error, Error::BatchTooLarge { max_bytes: 1024, .. }), "{error}");
    let error = refused(damaged).await;
    assert!(matches!(&error, Error::CorruptBatch { problem } if problem.contains("checksum")), "{error}");
    assert_eq!(read_all(&broker, "orders", 0, 0).await, []);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_says_how_its_batches_are_compressed() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create_with(&broker, "orders", 1, &[("compression.type", "zstd")]).await.expect("it is created");
    let value = "again and again ".repeat(100);
    let sent = compressed([value.as_str()], Compression::Gzip);
    let ticket =
        broker.produce(request(partition("orders", 0), sent), WhenFull::Wait).await.expect("accepted");
    ticket.answer().await.expect("it is appended");
    let at = broker.resolve(&partition("orders", 0)).expect("it exists");
    let fetched = broker.fetch(&at, 0, 1 << 20).await.expect("it is readable");
    assert_eq!(fetched.batches[0].compression(), Ok(Compression::Zstd));
    assert_eq!(read_all(&broker, "orders", 0, 0).await, [(0, value)]);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_whose_time_is_over_does_not_know_the_outcome() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    let produce = Produce { timeout: Duration::ZERO, ..request(partition("orders", 0), batch(["a"])) };
    let ticket = broker.produce(produce, WhenFull::Wait).await.expect("it is accepted");
    // An answer that is there already counts, however late it is asked for.
    match ticket.answer().await {
        Err(Error::OutcomeUnknown { .. }) => {}
        Ok(produced) => assert_eq!(produced.base_offset, Some(Offset(0))),
        Err(other) => panic!("{other}"),
    }
    stop(&broker).await;
}
