//! What is bounded, and what happens when the disk fails.

use crate::running::stop;
use crate::running::{
    LONG, batch, create, create_with, directory, options, partition, produce, read_all, request,
};
use mq_broker::api::Error;
use mq_broker::{Broker, Limits, Options, Produce, StopError, WhenFull};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::task::Poll;
use std::time::Duration;

/// More than any disk syncs while a task hands over batches without waiting.
const BATCHES_MAX: usize = 10_000;

async fn refused_and_waiting(limits: Limits, what: &str) {
    let directory = directory();
    let broker =
        Broker::start(Options { limits, ..options(directory.path()) }).await.expect("the broker starts");
    create(&broker, "orders", 1).await;
    let mut tickets = Vec::new();
    let refused = loop {
        assert!(tickets.len() < BATCHES_MAX, "the limit was never reached");
        match broker.produce(request(partition("orders", 0), batch(["a"])), WhenFull::Refuse).await {
            Ok(ticket) => tickets.push(ticket),
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, Error::Overloaded { what: found, .. } if found.contains(what)), "{refused}");
    let mut appended = tickets.len();
    for ticket in tickets {
        ticket.answer().await.expect("what was accepted is appended");
    }
    // Whoever waits gets room as the answers go out.
    for _ in 0..10 {
        let ticket = broker.produce(request(partition("orders", 0), batch(["a"])), WhenFull::Wait).await;
        appended += 1;
        // Dropped without waiting: the room comes back all the same.
        drop(ticket.expect("there is room in the end"));
    }
    produce(&broker, "orders", 0, &["z"]).await;
    assert_eq!(read_all(&broker, "orders", 0, 0).await.len(), appended + 1);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_refused_or_wait_for_room() {
    refused_and_waiting(Limits { shard_requests_max: 1, ..Limits::default() }, "1 requests in flight").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_bytes_are_refused_or_wait_for_room_and_no_batch_is_too_large_to_pass() {
    let limits = Limits { produce_bytes_inflight_max: 10, ..Limits::default() };
    refused_and_waiting(limits, "10 bytes of batches in flight").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_waits_for_room_no_longer_than_its_timeout() {
    let directory = directory();
    let limits = Limits { shard_requests_max: 1, ..Limits::default() };
    let broker =
        Broker::start(Options { limits, ..options(directory.path()) }).await.expect("the broker starts");
    create(&broker, "orders", 1).await;
    // Room is given in the order of asking: behind one who waits and is not polled again, nobody gets any.
    let patient = loop {
        let mut asking =
            Box::pin(broker.produce(request(partition("orders", 0), batch(["a"])), WhenFull::Wait));
        match poll_fn(|context| Poll::Ready(asking.as_mut().poll(context))).await {
            Poll::Ready(ticket) => drop(ticket.expect("there is time")),
            Poll::Pending => break asking,
        }
    };
    let hurried = Produce { timeout: Duration::ZERO, ..request(partition("orders", 0), batch(["b"])) };
    let refused = broker.produce(hurried, WhenFull::Wait).await.err();
    assert!(matches!(&refused, Some(Error::Overloaded { .. })), "{refused:?}");
    patient.await.expect("there is time").answer().await.expect("it is appended");
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_disk_is_fatal_and_nothing_is_acknowledged_after_it() {
    let directory = directory();
    let (told, failure) = sync_channel(1);
    let fatal = Arc::new(move |error: mq_broker::FatalError<'_>| {
        // Only the first failure counts; the others follow from it.
        let _ = told.try_send(error.to_string());
    });
    let limits = Limits { create_wait_ms: 50, ..Limits::default() };
    let options = Options { fatal, limits, shards: 1, ..options(directory.path()) };
    let broker = Broker::start(options).await.expect("it starts");
    std::fs::rename(directory.path().join("quorums"), directory.path().join("gone")).expect("it is writable");
    let created = create_with(&broker, "orders", 1, &[]).await;
    let failure = failure.recv_timeout(LONG).expect("the hook is called");
    assert!(failure.contains("quorums"), "the message names the directory: {failure}");
    assert!(
        matches!(created, Ok(_) | Err(Error::OutcomeUnknown { .. })),
        "the topic is in the log of quorum 0, or not: {created:?}"
    );
    let late = create_with(&broker, "late", 1, &[]).await;
    assert!(matches!(late, Err(Error::OutcomeUnknown { .. })), "{late:?}");
    assert!(matches!(broker.stop(LONG).await, Err(StopError::Log(_))));
}
