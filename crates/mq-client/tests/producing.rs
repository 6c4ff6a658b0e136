//! What a producer promises when a broker answers, refuses, or breaks off.

mod peer;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use mq_client::{
    Ack, ClientError, ProducerOptions, ProducerRecord,
    v1::{
        Durability, ErrorReason, ItemError, ProduceResponse, ProduceStreamRequest, ProduceStreamResponse,
        ProducedPartition,
    },
};
use peer::Peer;
use tonic::Status;

/// Appended from this offset on.
fn appended(request: &ProduceStreamRequest, base_offset: i64) -> ProduceStreamResponse {
    let records = &request.request.as_ref().expect("every message has a request").records;
    let produced = ProducedPartition {
        base_offset,
        record_count: i32::try_from(records.len()).expect("few"),
        durability: Durability::QuorumFsync.into(),
        ..Default::default()
    };
    ProduceStreamResponse {
        correlation_id: request.correlation_id,
        response: Some(ProduceResponse { partitions: vec![produced] }),
        ..Default::default()
    }
}

fn refused(request: &ProduceStreamRequest, reason: ErrorReason, retriable: bool) -> ProduceStreamResponse {
    let error =
        ItemError { reason: reason.into(), message: "refused".to_owned(), retriable, ..Default::default() };
    ProduceStreamResponse { correlation_id: request.correlation_id, error: Some(error), ..Default::default() }
}

/// Batches that stay open until they are flushed.
fn patient() -> ProducerOptions {
    ProducerOptions { linger: Duration::from_secs(3600), ..ProducerOptions::default() }
}

#[tokio::test]
async fn records_sent_together_share_a_batch_and_get_offsets_in_order() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let peer = Peer::new().on_produce(move |request| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(appended(&request, 100))
    });
    let producer = peer.connect().await.producer("t", patient()).await.expect("the topic is there");
    let mut deliveries = Vec::new();
    for value in ["a", "b", "c"] {
        deliveries.push(producer.send(ProducerRecord::value(value)).await);
    }
    producer.flush().await;
    for (delivery, offset) in deliveries.into_iter().zip(100..) {
        let ack = delivery.await.expect("it was appended");
        assert_eq!(ack, Ack { partition: 0, offset, durability: Durability::QuorumFsync });
    }
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_batch_refused_for_now_is_sent_again() {
    let mut requests = 0;
    let peer = Peer::new().on_produce(move |request| {
        requests += 1;
        Ok(if requests < 3 { refused(&request, ErrorReason::NoLeader, true) } else { appended(&request, 7) })
    });
    let producer =
        peer.connect().await.producer("t", ProducerOptions::default()).await.expect("the topic is there");
    let ack = producer.send(ProducerRecord::value("a")).await.await.expect("the third time it is appended");
    assert_eq!(ack.offset, 7);
}

#[tokio::test]
async fn a_batch_refused_for_longer_than_the_delivery_timeout_is_certainly_not_appended() {
    let peer = Peer::new().on_produce(|request| Ok(refused(&request, ErrorReason::NoLeader, true)));
    let options =
        ProducerOptions { delivery_timeout: Duration::from_millis(200), ..ProducerOptions::default() };
    let producer = peer.connect().await.producer("t", options).await.expect("the topic is there");
    let error = producer.send(ProducerRecord::value("a")).await.await.expect_err("it is refused for ever");
    let ClientError::DeliveryTimedOut { last: Some(last), .. } = &error else { panic!("{error}") };
    assert_eq!(last.reason(), ErrorReason::NoLeader);
    assert!(!error.outcome_unknown());
}

#[tokio::test]
async fn a_batch_refused_for_good_is_told_at_once_and_the_next_one_goes() {
    let mut requests = 0;
    let peer = Peer::new().on_produce(move |request| {
        requests += 1;
        Ok(if requests == 1 {
            refused(&request, ErrorReason::BatchTooLarge, false)
        } else {
            appended(&request, 0)
        })
    });
    let producer =
        peer.connect().await.producer("t", ProducerOptions::default()).await.expect("the topic is there");
    let error = producer.send(ProducerRecord::value("a")).await.await.expect_err("the first one is refused");
    assert_eq!(error.reason(), ErrorReason::BatchTooLarge);
    producer.send(ProducerRecord::value("b")).await.await.expect("the second one is appended");
}

/// A stream that breaks leaves what was in flight unknown, also when the broker calls the break retriable: that speaks
/// of the stream, and the batch may have been appended.
#[tokio::test]
async fn what_was_in_flight_when_the_stream_broke_is_unknown_and_never_sent_again() {
    let values = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&values);
    let peer = Peer::new().on_produce(move |request| {
        let value =
            request.request.as_ref().and_then(|request| request.records[0].value.clone()).expect("a value");
        seen.lock().unwrap().push(value.clone());
        if value == "good" {
            return Ok(appended(&request, 0));
        }
        let mut status = Status::unavailable("going away");
        status.metadata_mut().insert("mq-reason", "NO_LEADER".parse().expect("ASCII"));
        status.metadata_mut().insert("mq-retriable", "true".parse().expect("ASCII"));
        Err(status)
    });
    let producer =
        peer.connect().await.producer("t", ProducerOptions::default()).await.expect("the topic is there");
    producer.send(ProducerRecord::value("good")).await.await.expect("the stream is up");
    let error = producer.send(ProducerRecord::value("bad")).await.await.expect_err("the stream breaks");
    assert!(error.outcome_unknown() && !error.retriable(), "{error}");
    producer.send(ProducerRecord::value("good")).await.await.expect("a new stream is opened");
    producer.close().await;
    assert_eq!(*values.lock().unwrap(), ["good", "bad", "good"]);
}

#[tokio::test]
async fn the_offset_of_a_record_without_an_ack_is_unknown() {
    let peer = Peer::new().on_produce(|request| Ok(appended(&request, -1)));
    let producer = peer.connect().await.producer("t", patient()).await.expect("the topic is there");
    let (first, second) =
        (producer.send(ProducerRecord::value("a")).await, producer.send(ProducerRecord::value("b")).await);
    producer.flush().await;
    assert_eq!(first.await.expect("it was accepted").offset, -1);
    assert_eq!(second.await.expect("it was accepted").offset, -1);
}

#[tokio::test]
async fn a_full_batch_goes_without_lingering_and_many_batches_keep_their_order() {
    let next_offset = Arc::new(AtomicI64::new(0));
    let offsets = Arc::clone(&next_offset);
    let peer = Peer::new().on_produce(move |request| {
        let count = request.request.as_ref().map_or(0, |request| request.records.len());
        Ok(appended(&request, offsets.fetch_add(count as i64, Ordering::SeqCst)))
    });
    let options = ProducerOptions { batch_bytes_max: 1_000, buffer_bytes_max: 10_000, ..patient() };
    let producer = peer.connect().await.producer("t", options).await.expect("the topic is there");
    let mut deliveries = Vec::new();
    for number in 0..500_i64 {
        deliveries.push(producer.send(ProducerRecord::value(number.to_string())).await);
    }
    producer.close().await;
    for (delivery, offset) in deliveries.into_iter().zip(0..) {
        assert_eq!(delivery.await.expect("it was appended").offset, offset);
    }
}

#[tokio::test]
async fn a_record_over_the_topics_limit_is_not_sent_and_batches_stay_within_it() {
    let sent = Arc::new(Mutex::new(Vec::<usize>::new()));
    let seen = Arc::clone(&sent);
    let peer = Peer::new().on_produce(move |request| {
        let records = &request.request.as_ref().expect("every message has a request").records;
        let bytes = records.iter().map(|record| record.value.as_deref().map_or(0, <[u8]>::len)).sum();
        seen.lock().expect("no panic while it is held").push(bytes);
        Ok(appended(&request, 0))
    });
    let peer = Peer { message_bytes_max: Some(1_000), ..peer };
    let producer = peer.connect().await.producer("t", patient()).await.expect("the topic is there");
    let mut deliveries = Vec::new();
    for size_bytes in [600, 1_001, 600] {
        deliveries.push(producer.send(ProducerRecord::value(vec![b'x'; size_bytes])).await);
    }
    producer.flush().await;
    let mut outcomes = Vec::new();
    for delivery in deliveries {
        outcomes.push(delivery.await);
    }
    let [Ok(_), Err(error), Ok(_)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(
        matches!(error, ClientError::RecordTooLarge { size_bytes: 1_001, max_bytes: 1_000 }),
        "{error:?}"
    );
    assert!(!error.outcome_unknown() && !error.retriable());
    let sent = sent.lock().expect("no panic while it is held").clone();
    assert_eq!(sent, [600, 600], "the values of each batch, in bytes");
}
