//! How a broker's refusals reach the caller, and how a reader comes back.

mod peer;

use std::sync::{Arc, Mutex};

use mq_client::{
    ReaderOptions,
    v1::{
        ErrorReason, FetchStart, FetchedPartition, ItemError, OffsetSpec, PartitionOffsetSpec, Topic,
        TopicPartition, offset_spec::Spec,
    },
};
use peer::Peer;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

fn refusal(code: Code, reason: &'static str, retriable: &'static str, key: &str, value: &str) -> Status {
    let metadata = std::collections::HashMap::from([(key.to_owned(), value.to_owned())]);
    let details = ErrorDetails::with_error_info(reason, "mq", metadata);
    let mut status = Status::with_error_details(code, "no such topic", details);
    status.metadata_mut().insert("mq-reason", reason.parse().expect("ASCII"));
    status.metadata_mut().insert("mq-retriable", retriable.parse().expect("ASCII"));
    status
}

fn named() -> TopicPartition {
    TopicPartition { topic: "t".to_owned(), ..Default::default() }
}

fn from_offset(offset: i64) -> PartitionOffsetSpec {
    PartitionOffsetSpec {
        topic_partition: Some(named()),
        spec: Some(OffsetSpec { spec: Some(Spec::Offset(offset)) }),
    }
}

fn fetched(next_offset: i64) -> FetchedPartition {
    FetchedPartition { topic_partition: Some(named()), next_offset, ..Default::default() }
}

fn first_start(start: &FetchStart) -> Option<Spec> {
    start.partitions[0].start.as_ref().and_then(|start| start.spec)
}

#[tokio::test]
async fn a_refusal_carries_reason_message_and_metadata() {
    let peer =
        Peer::new().on_describe(|_| Err(refusal(Code::NotFound, "UNKNOWN_TOPIC", "false", "topic", "t")));
    let error = peer.connect().await.describe_topic("t").await.expect_err("it is refused");
    assert_eq!(error.reason(), ErrorReason::UnknownTopic);
    assert_eq!(error.to_string(), "no such topic (UNKNOWN_TOPIC)");
    assert_eq!(error.failure().and_then(|failure| failure.metadata("topic")), Some("t"));
    assert!(!error.retriable() && !error.outcome_unknown());
}

#[tokio::test]
async fn a_call_refused_for_now_is_made_again() {
    let mut calls = 0;
    let peer = Peer::new().on_describe(move |_| {
        calls += 1;
        if calls < 3 {
            return Err(refusal(Code::Unavailable, "NO_LEADER", "true", "a", "b"));
        }
        Ok(Topic { name: "t".to_owned(), partition_count: calls, ..Default::default() })
    });
    assert_eq!(peer.connect().await.describe_topic("t").await.expect("the third time").partition_count, 3);
}

#[tokio::test]
async fn a_failure_without_a_reason_has_an_unknown_outcome_and_is_not_repeated() {
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let peer = Peer::new().on_describe(move |_| {
        *counted.lock().unwrap() += 1;
        Err(Status::unavailable("a proxy says no"))
    });
    let error = peer.connect().await.describe_topic("t").await.expect_err("it fails");
    assert!(error.outcome_unknown() && !error.retriable(), "{error}");
    assert_eq!(*calls.lock().unwrap(), 1);
}

#[tokio::test]
async fn every_call_says_which_client_it_is_and_by_when_it_wants_the_answer() {
    let seen = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&seen);
    let peer = Peer::new().on_describe(move |request| {
        let has_deadline = request.metadata().contains_key("grpc-timeout");
        *noted.lock().unwrap() = Some((request.metadata().get("mq-client-id").cloned(), has_deadline));
        Ok(Topic::default())
    });
    peer.connect().await.describe_topic("t").await.expect("it is answered");
    assert_eq!(*seen.lock().unwrap(), Some((Some("test".parse().expect("ASCII")), true)));
}

#[tokio::test]
async fn a_reader_comes_back_where_it_had_got_to() {
    let starts = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&starts);
    let peer = Peer::new().on_fetch(move |start| {
        let mut starts = noted.lock().unwrap();
        starts.push(first_start(&start));
        match starts.len() {
            1 => (vec![fetched(15)], Some(Status::unavailable("broken"))),
            _ => (vec![fetched(20)], None),
        }
    });
    let client = peer.connect().await;
    let mut reader = client.reader(vec![from_offset(10)], ReaderOptions::default()).await.expect("it opens");
    assert_eq!(reader.next().await.expect("the first answer").next_offset, 15);
    assert_eq!(reader.next().await.expect("the answer of the second stream").next_offset, 20);
    assert_eq!(*starts.lock().unwrap(), [Some(Spec::Offset(10)), Some(Spec::Offset(15))]);
    assert_eq!(reader.position("t", 0), Some(20));
}

#[tokio::test]
async fn an_error_of_one_partition_names_it_and_leaves_the_reader_usable() {
    let peer = Peer::new().on_fetch(|_| {
        let reason = ErrorReason::OffsetOutOfRange.into();
        let error = ItemError { reason, message: "no offset 10".to_owned(), ..Default::default() };
        (vec![FetchedPartition { error: Some(error), ..fetched(10) }, fetched(12)], None)
    });
    let client = peer.connect().await;
    let mut reader = client.reader(vec![from_offset(10)], ReaderOptions::default()).await.expect("it opens");
    let error = reader.next().await.expect_err("the first answer is an error");
    assert_eq!(error.reason(), ErrorReason::OffsetOutOfRange);
    assert_eq!(error.to_string(), "t/0: no offset 10 (OFFSET_OUT_OF_RANGE)");
    assert_eq!(reader.next().await.expect("the second answer").next_offset, 12);
}
