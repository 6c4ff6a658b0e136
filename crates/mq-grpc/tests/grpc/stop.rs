//! What open calls are told when the broker stops.

use crate::running::{Running, assert_refused, at_offset, from, start, to_partition, within};
use mq_proto::v1;
use mq_proto::v1::fetch_stream_request::Action;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

fn assert_come_again(status: &Status) {
    assert_refused(status, Code::Unavailable, "NO_LEADER");
    assert_eq!(status.metadata().get("mq-retriable").expect("it says so"), "true");
}

async fn prepared() -> Running {
    let running = start().await;
    running.create("orders", 1).await;
    running
}

#[tokio::test]
async fn streams_that_only_read_end_at_once_and_are_told_to_come_again() {
    let mut running = prepared().await;
    running.append("orders", 0, &["a"]).await;
    let request = v1::ReadRequest { topic: "orders".to_owned(), ..Default::default() };
    let mut read = running.consumer().read(request).await.expect("it begins").into_inner();
    within(read.message()).await.expect("no failure").expect("the record");
    let (actions, receiver) = mpsc::channel(1);
    let start = v1::FetchStart { partitions: vec![from("orders", 0, at_offset(1))], ..Default::default() };
    actions.send(v1::FetchStreamRequest { action: Some(Action::Start(start)) }).await.expect("it is open");
    let pushed = running.consumer().fetch_stream(ReceiverStream::new(receiver)).await;
    let mut pushed = pushed.expect("it begins").into_inner();
    running.begin_stop();
    assert_come_again(&within(read.message()).await.expect_err("the broker stops"));
    assert_come_again(&within(pushed.message()).await.expect_err("the broker stops"));
    drop((read, pushed, actions));
    running.stopped().await;
}

#[tokio::test]
async fn a_produce_stream_answers_what_it_took_before_it_ends() {
    let mut running = prepared().await;
    let (requests, receiver) = mpsc::channel(1_000);
    let answers = running.producer().produce_stream(ReceiverStream::new(receiver)).await;
    let mut answers = answers.expect("it begins").into_inner();
    for correlation_id in 0..500 {
        let request = Some(to_partition("orders", 0, &["a"]));
        let request = v1::ProduceStreamRequest { correlation_id, request };
        requests.send(request).await.expect("it is open");
    }
    within(answers.message()).await.expect("no failure").expect("the first answer");
    running.begin_stop();
    let mut answered = 1;
    let ended = loop {
        match within(answers.message()).await {
            Ok(Some(answer)) => {
                assert_eq!((answer.correlation_id, answer.error), (answered, None));
                answered += 1;
            }
            Ok(None) => panic!("the client has not half-closed"),
            Err(status) => break status,
        }
    };
    assert_come_again(&ended);
    let at = running.broker.resolve(&mq_broker::TopicPartition {
        topic: "orders".to_owned(),
        partition: 0,
        topic_id: None,
    });
    let view = running.broker.view(at.expect("it exists").quorum).expect("it is here");
    assert_eq!(view.high_watermark.as_i64(), answered, "what was appended was answered, and nothing else");
    drop((requests, answers));
    running.stopped().await;
}

#[tokio::test]
async fn a_long_poll_is_answered_and_health_turns() {
    let mut running = prepared().await;
    let request = HealthCheckRequest { service: "mq.v1.ConsumerService".to_owned() };
    let watched = HealthClient::new(running.channel()).watch(request).await;
    let mut watched = watched.expect("it is watched").into_inner();
    let first = within(watched.message()).await.expect("no failure").expect("a status");
    assert_eq!(first.status(), ServingStatus::Serving);
    let request = v1::FetchRequest {
        partitions: vec![from("orders", 0, at_offset(0))],
        max_wait_ms: Some(i32::MAX),
        ..Default::default()
    };
    let mut consumer = running.consumer();
    let mut poll = Box::pin(consumer.fetch(request));
    // Calls on one connection are taken in the order sent: once the second is answered, the first has begun.
    assert!(futures::poll!(&mut poll).is_pending());
    running.admin().list_topics(v1::ListTopicsRequest::default()).await.expect("it is served");
    running.begin_stop();
    let changed = within(watched.message()).await.expect("no failure").expect("a status");
    assert_eq!(changed.status(), ServingStatus::NotServing);
    let answer = within(poll).await.expect("it is answered with what there is").into_inner();
    assert_eq!(answer.partitions, []);
    drop(watched);
    running.stopped().await;
}

#[tokio::test]
async fn a_client_that_keeps_its_connection_does_not_hold_up_the_stop() {
    let mut running = prepared().await;
    let kept = running.channel();
    let request = v1::ReadRequest { topic: "orders".to_owned(), ..Default::default() };
    let stream = running.consumer().read(request).await.expect("it begins").into_inner();
    let begun = Instant::now();
    running.begin_stop();
    // The stream is not even received from: its end fits into what the connection may carry.
    running.stopped().await;
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    drop((stream, kept));
}
