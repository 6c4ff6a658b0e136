//! Stopping: nothing is left unanswered.

use crate::running::{LONG, batch, create, directory, partition, request, resolved, start, stop};
use mq_broker::WhenFull;
use mq_broker::api::Error;
use mq_types::Offset;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_answered_before_the_end() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 2).await;
    let mut tickets = Vec::new();
    for number in 0..200 {
        let produce = request(partition("orders", number % 2), batch(["a"]));
        tickets.push(broker.produce(produce, WhenFull::Wait).await.expect("it is accepted"));
    }
    stop(&broker).await;
    for ticket in tickets {
        ticket.answer().await.expect("it was appended before the end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_is_refused_and_waiting_readers_go_home() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    let at = resolved(&broker, "orders", 0);
    let reader = tokio::spawn({
        let (broker, at) = (broker.clone(), at.clone());
        async move { broker.readable_after(&at, Offset(0), LONG * 60).await }
    });
    stop(&broker).await;
    // Home with nothing, or, if it came too late, refused: in any case not after an hour.
    let _ = reader.await.expect("the reader ends");
    let late = broker.produce(request(partition("orders", 0), batch(["a"])), WhenFull::Wait).await;
    assert!(matches!(late.err(), Some(Error::NoLeader { .. })));
    assert!(matches!(broker.fetch(&at, 0, 1).await, Err(Error::NoLeader { .. })));
    stop(&broker).await;
}
