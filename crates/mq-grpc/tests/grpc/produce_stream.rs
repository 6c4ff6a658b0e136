//! ProduceStream: pipelined, in order, and bounded.

use crate::running::{Running, item_reason, reason, start, start_with, to_partition, within};
use mq_proto::v1;
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

type Requests = mpsc::Sender<v1::ProduceStreamRequest>;

async fn open(running: &Running) -> (Requests, Streaming<v1::ProduceStreamResponse>) {
    let (requests, receiver) = mpsc::channel(16);
    let answers = running.producer().produce_stream(ReceiverStream::new(receiver)).await;
    (requests, answers.expect("the stream opens").into_inner())
}

fn numbered(correlation_id: i64, partition: i32) -> v1::ProduceStreamRequest {
    let value = correlation_id.to_string();
    v1::ProduceStreamRequest { correlation_id, request: Some(to_partition("orders", partition, &[&value])) }
}

#[tokio::test]
async fn each_partition_is_appended_and_answered_in_the_order_sent() {
    let running = start().await;
    running.create("orders", 3).await;
    let (requests, mut answers) = open(&running).await;
    let sender = tokio::spawn(async move {
        for n in 0..300 {
            requests.send(numbered(n, (n % 3) as i32)).await.expect("the stream is open");
        }
    });
    let mut next: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
    let mut count = 0;
    while let Some(answer) = within(answers.message()).await.expect("no answer is a failure") {
        assert_eq!(answer.error, None);
        assert_eq!(answer.window_bytes > 0, count == 0, "the window is said once, in the first answer");
        let part = &answer.response.expect("it was appended").partitions[0];
        let partition = part.topic_partition.as_ref().expect("it is named").partition;
        let (offset, id) = next.entry(partition).or_insert((0, i64::from(partition)));
        assert_eq!((part.base_offset, answer.correlation_id), (*offset, *id), "in partition {partition}");
        (*offset, *id) = (*offset + 1, *id + 3);
        count += 1;
    }
    assert_eq!(count, 300, "a half-close ends the stream well, when everything is answered");
    sender.await.expect("everything was sent");
    running.stop().await;
}

#[tokio::test]
async fn a_failed_request_is_answered_and_the_stream_stays_open() {
    let running = start().await;
    running.create("orders", 1).await;
    let (requests, mut answers) = open(&running).await;
    let sent = [
        numbered(1, 0),
        numbered(2, 7),
        v1::ProduceStreamRequest { correlation_id: 3, request: None },
        v1::ProduceStreamRequest { correlation_id: 4, request: Some(to_partition("orders", 0, &[])) },
        numbered(5, 0),
    ];
    for request in sent {
        requests.send(request).await.expect("the stream is open");
    }
    let mut found = Vec::new();
    for _ in 0..5 {
        let answer = within(answers.message()).await.expect("no failure").expect("five answers");
        assert_eq!(answer.response.is_some(), answer.error.is_none(), "an answer is one or the other");
        found.push((answer.correlation_id, answer.error.map(|error| error.reason())));
    }
    let invalid = Some(v1::ErrorReason::InvalidRequest);
    let expected =
        [(1, None), (2, Some(v1::ErrorReason::UnknownPartition)), (3, invalid), (4, invalid), (5, None)];
    assert_eq!(found, expected);
    drop(requests);
    assert_eq!(within(answers.message()).await.expect("it ends well"), None);
    running.stop().await;
}

#[tokio::test]
async fn a_window_that_is_full_holds_requests_back_and_refuses_none() {
    let options = mq_grpc::Options { produce_stream_window_bytes: 1, ..mq_grpc::Options::default() };
    let running = start_with(options).await;
    running.create("orders", 1).await;
    let (requests, mut answers) = open(&running).await;
    let sender = tokio::spawn(async move {
        for n in 0..50 {
            requests.send(numbered(n, 0)).await.expect("the stream is open");
        }
    });
    let mut answered = 0;
    while let Some(answer) = within(answers.message()).await.expect("no failure") {
        assert_eq!((answer.correlation_id, answer.error), (answered, None));
        assert_eq!(answer.window_bytes, i32::from(answered == 0));
        answered += 1;
    }
    assert_eq!(answered, 50);
    sender.await.expect("everything was sent");
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_receive_is_cut_off_and_told_why() {
    // On this runtime, whose tasks can be counted.
    let options =
        mq_grpc::Options { answers_unread_ms_max: 1, threads_count: 0, ..mq_grpc::Options::default() };
    let running = start_with(options).await;
    let (requests, mut answers) = open(&running).await;
    let sender = tokio::spawn(async move {
        for correlation_id in 0.. {
            let request = Some(to_partition(&"x".repeat(200), 0, &["a"]));
            let request = v1::ProduceStreamRequest { correlation_id, request };
            if requests.send(request).await.is_err() {
                break;
            }
        }
    });
    // Nobody receives: the flow-control window and the queue fill, and then the stream's task ends.
    let metrics = tokio::runtime::Handle::current().metrics();
    let open_tasks = metrics.num_alive_tasks();
    within(async {
        while metrics.num_alive_tasks() >= open_tasks {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut answered = 0;
    let ended = loop {
        match within(answers.message()).await {
            Ok(Some(answer)) => {
                assert_eq!(item_reason(answer.error.as_ref()), v1::ErrorReason::UnknownTopic);
                answered += 1;
            }
            Ok(None) => panic!("a stream that was cut off looks like one that ended well"),
            Err(status) => break status,
        }
    };
    assert_eq!((ended.code(), reason(&ended)), (Code::ResourceExhausted, "ANSWERS_NOT_READ"));
    assert!(answered > 0, "what was answered before is still there to be received");
    drop(answers);
    within(sender).await.expect("the client's side ends with the stream");
    running.stop().await;
}
