//! Read: the ten-line client.

use crate::running::{
    Running, assert_refused, at_anchor, at_offset, record, start, start_with, values, within,
};
use mq_proto::v1;
use std::collections::BTreeMap;
use tonic::{Code, Status, Streaming};

async fn read(running: &Running, request: v1::ReadRequest) -> Streaming<v1::ReadResponse> {
    running.consumer().read(request).await.expect("the read begins").into_inner()
}

fn orders() -> v1::ReadRequest {
    v1::ReadRequest { topic: "orders".to_owned(), ..Default::default() }
}

fn until_latest() -> v1::ReadRequest {
    v1::ReadRequest { stop: Some(at_anchor(v1::Anchor::Latest)), ..orders() }
}

/// Everything until the stream ends.
async fn all(mut stream: Streaming<v1::ReadResponse>) -> BTreeMap<i32, Vec<v1::Record>> {
    let mut found: BTreeMap<i32, Vec<v1::Record>> = BTreeMap::new();
    while let Some(answer) = within(stream.message()).await.expect("no failure") {
        let at = answer.topic_partition.expect("it is named");
        found.entry(at.partition).or_default().extend(answer.records);
    }
    found
}

async fn next(stream: &mut Streaming<v1::ReadResponse>) -> v1::ReadResponse {
    within(stream.message()).await.expect("no failure").expect("the stream goes on")
}

async fn failure(stream: &mut Streaming<v1::ReadResponse>) -> Status {
    loop {
        match within(stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended as if all were well"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn a_stop_is_taken_as_it_stands_at_the_call_and_ends_the_read() {
    let running = start().await;
    running.create("orders", 2).await;
    running.append("orders", 0, &["a", "b", "c"]).await;
    running.append("orders", 1, &["d"]).await;
    let stream = read(&running, until_latest()).await;
    running.append("orders", 0, &["later"]).await;
    let found = all(stream).await;
    assert_eq!(values(&found[&0]), ["a", "b", "c"]);
    assert_eq!(values(&found[&1]), ["d"]);
    let request = v1::ReadRequest {
        partitions: vec![0, 0],
        start: Some(at_offset(1)),
        stop: Some(at_offset(2)),
        ..orders()
    };
    let found = all(read(&running, request).await).await;
    assert_eq!((found.len(), values(&found[&0])), (1, vec!["b".to_owned()]), "in the middle of a batch");
    running.stop().await;
}

#[tokio::test]
async fn records_come_back_as_they_were_sent() {
    let running = start().await;
    running.create("orders", 1).await;
    let time = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 123_000_000 };
    let header = |key: &str, value: Option<&str>| v1::Header {
        key: key.to_owned(),
        value: value.map(|value| value.as_bytes().to_vec().into()),
    };
    let sent = vec![
        v1::Record {
            key: Some("key".into()),
            value: Some("value".into()),
            headers: vec![header("h", Some("1")), header("h", None), header("", Some(""))],
            timestamp: Some(time),
            offset: 77,
        },
        v1::Record { timestamp: Some(time), ..Default::default() },
        v1::Record {
            key: Some(Default::default()),
            value: Some(Default::default()),
            timestamp: Some(prost_types::Timestamp { seconds: -1, nanos: 500_000_000 }),
            ..Default::default()
        },
        record(None, "stamped by the broker"),
    ];
    for compression in [v1::Compression::None, v1::Compression::Zstd] {
        let request = v1::ProduceRequest {
            topic: "orders".to_owned(),
            partition: Some(0),
            records: sent.clone(),
            compression: compression.into(),
            ..Default::default()
        };
        running.producer().produce(request).await.expect("it is appended");
    }
    let found = all(read(&running, until_latest()).await).await;
    for (offset, found) in found[&0].iter().enumerate() {
        let mut expected = v1::Record { offset: offset as i64, ..sent[offset % sent.len()].clone() };
        if expected.timestamp.is_none() {
            let stamped = found.timestamp.expect("the broker stamps what has no timestamp");
            assert!(stamped.seconds > time.seconds, "{stamped:?}");
            expected.timestamp = found.timestamp;
        }
        assert_eq!(*found, expected);
    }
    assert_eq!(found[&0].len(), 8);
    running.stop().await;
}

#[tokio::test]
async fn a_read_of_all_partitions_follows_those_created_later() {
    let running = start().await;
    running.create("orders", 1).await;
    running.append("orders", 0, &["a"]).await;
    let mut stream = read(&running, orders()).await;
    assert_eq!(values(&next(&mut stream).await.records), ["a"]);
    let request =
        v1::AddPartitionsRequest { topic: "orders".to_owned(), partition_count: 3, ..Default::default() };
    running.admin().add_partitions(request).await.expect("they are added");
    running.append("orders", 2, &["b"]).await;
    let answer = next(&mut stream).await;
    assert_eq!(answer.topic_partition.expect("it is named").partition, 2);
    assert_eq!(values(&answer.records), ["b"]);
    running.append("orders", 0, &["c"]).await;
    assert_eq!(values(&next(&mut stream).await.records), ["c"]);
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn the_topic_s_deletion_ends_a_read_with_its_reason() {
    let running = start().await;
    running.create("orders", 2).await;
    running.append("orders", 0, &["a"]).await;
    let mut stream = read(&running, orders()).await;
    next(&mut stream).await;
    running.delete("orders").await;
    assert_refused(&failure(&mut stream).await, Code::NotFound, "UNKNOWN_TOPIC");
    running.stop().await;
}

#[tokio::test]
async fn a_position_outside_the_log_is_an_error_also_where_nothing_would_be_read() {
    let running = start().await;
    running.create("orders", 1).await;
    running.append("orders", 0, &["a", "b", "c"]).await;
    running.delete_records("orders", 2).await;
    for (start, stop) in [(1, None), (4, None), (-1, None), (9, Some(at_offset(3)))] {
        let request = v1::ReadRequest { start: Some(at_offset(start)), stop, ..orders() };
        let refused = running.consumer().read(request).await.expect_err("it is out of range");
        assert_refused(&refused, Code::OutOfRange, "OFFSET_OUT_OF_RANGE");
    }
    let request = v1::ReadRequest { stop: Some(at_offset(-1)), ..orders() };
    let refused = running.consumer().read(request).await.expect_err("-1 stands for an unknown offset");
    assert_refused(&refused, Code::InvalidArgument, "INVALID_REQUEST");
    let found = all(read(&running, until_latest()).await).await;
    assert_eq!(values(&found[&0]), ["c"], "the earliest is the log start");
    running.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_read_is_said_at_once() {
    let running = start().await;
    running.create("orders", 1).await;
    let empty = Some(v1::OffsetSpec { spec: None });
    let refusals = [
        (v1::ReadRequest { topic: "nope".to_owned(), ..orders() }, Code::NotFound, "UNKNOWN_TOPIC"),
        (v1::ReadRequest { partitions: vec![0, 5], ..orders() }, Code::NotFound, "UNKNOWN_PARTITION"),
        (v1::ReadRequest { start: empty, ..orders() }, Code::InvalidArgument, "INVALID_REQUEST"),
        (v1::ReadRequest { isolation_level: 9, ..orders() }, Code::InvalidArgument, "INVALID_REQUEST"),
    ];
    for (request, code, reason) in refusals {
        let refused = running.consumer().read(request).await.expect_err(reason);
        assert_refused(&refused, code, reason);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_cancelled_read_leaves_no_task_behind() {
    // On this runtime, whose tasks can be counted.
    let running = start_with(mq_grpc::Options { threads_count: 0, ..mq_grpc::Options::default() }).await;
    running.create("orders", 1).await;
    running.append("orders", 0, &["a"]).await;
    let metrics = tokio::runtime::Handle::current().metrics();
    let settled = async |most: usize| {
        within(async {
            while metrics.num_alive_tasks() > most {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    let before = metrics.num_alive_tasks();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = read(&running, orders()).await;
        next(&mut stream).await;
        streams.push(stream);
    }
    assert!(metrics.num_alive_tasks() >= before + 20, "a task each");
    drop(streams);
    settled(before).await;
    running.stop().await;
}

#[tokio::test]
async fn many_headers_are_cut_by_what_they_take_in_memory() {
    let running = start().await;
    running.create("orders", 1).await;
    let empty = v1::Header { key: String::new(), value: None };
    let heavy = || v1::Record { headers: vec![empty.clone(); 1_000], ..record(None, "v") };
    let request = v1::ProduceRequest {
        topic: "orders".to_owned(),
        partition: Some(0),
        records: (0..200).map(|_| heavy()).collect(),
        ..Default::default()
    };
    running.producer().produce(request).await.expect("it is appended");
    let mut stream = read(&running, until_latest()).await;
    let mut records = 0;
    while let Some(answer) = within(stream.message()).await.expect("no failure") {
        let headers: usize = answer.records.iter().map(|record| record.headers.len()).sum();
        assert!(
            answer.records.len() == 1 || headers * size_of::<v1::Header>() <= 1 << 20,
            "{headers} headers in one answer"
        );
        records += answer.records.len();
    }
    assert_eq!(records, 200);
    running.stop().await;
}
