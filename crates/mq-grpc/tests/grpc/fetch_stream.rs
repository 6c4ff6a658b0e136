//! FetchStream: push with credit.

use crate::running::{
    Running, assert_refused, at_offset, from, item_reason, partition_of, start, values, within,
};
use mq_proto::v1;
use mq_proto::v1::fetch_stream_request::Action;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

struct Stream {
    actions: Option<mpsc::Sender<v1::FetchStreamRequest>>,
    answers: Streaming<v1::FetchStreamResponse>,
}

impl Stream {
    async fn open(running: &Running) -> Stream {
        let (actions, receiver) = mpsc::channel(16);
        let answers = running.consumer().fetch_stream(ReceiverStream::new(receiver)).await;
        Stream { actions: Some(actions), answers: answers.expect("the stream opens").into_inner() }
    }

    async fn start(running: &Running, credit_bytes: i64, partitions: Vec<v1::FetchPartition>) -> Stream {
        let mut stream = Stream::open(running).await;
        let start = v1::FetchStart { partitions, credit_bytes, ..Default::default() };
        stream.send(Action::Start(start)).await;
        stream
    }

    async fn send(&mut self, action: Action) {
        let actions = self.actions.as_ref().expect("not half-closed");
        let request = v1::FetchStreamRequest { action: Some(action) };
        actions.send(request).await.expect("the stream is open");
    }

    async fn next(&mut self) -> v1::FetchedPartition {
        let answer = within(self.answers.message()).await.expect("no failure").expect("it goes on");
        answer.fetched.expect("the only event there is")
    }

    /// Proves that nothing was sent: an error, which never waits, overtakes nothing, and it is all that comes.
    async fn assert_quiet(&mut self, correlation_id: i64) {
        let nowhere = from("nowhere", 0, at_offset(0));
        self.send(Action::Seek(v1::Seek { correlation_id, partitions: vec![nowhere.clone()] })).await;
        let answer = self.next().await;
        assert_eq!(item_reason(answer.error.as_ref()), v1::ErrorReason::UnknownTopic, "{answer:?}");
        assert_eq!((answer.correlation_id, answer.credit_bytes), (correlation_id, 0));
    }

    async fn ended(mut self) -> Result<(), Status> {
        assert_eq!(within(self.answers.message()).await?, None);
        Ok(())
    }
}

#[tokio::test]
async fn credit_is_overdrawn_by_one_message_and_then_waited_for() {
    let running = start().await;
    running.create("orders", 2).await;
    let large = "x".repeat(10_000);
    for partition in [0, 1] {
        running.append("orders", partition, &[&large, "small"]).await;
    }
    let partitions = vec![from("orders", 0, at_offset(0)), from("orders", 1, at_offset(0))];
    let mut stream = Stream::start(&running, 1, partitions).await;
    let first = stream.next().await;
    assert_eq!((first.records.len(), first.correlation_id), (2, 0), "one message, however large");
    assert!(first.credit_bytes > 10_000, "it says what it cost");
    stream.assert_quiet(1).await;
    // The balance is 1 - cost; granting the cost again makes it 1, which is above 0.
    stream.send(Action::Credit(v1::Credit { bytes: i64::from(first.credit_bytes) - 1 })).await;
    stream.assert_quiet(2).await;
    stream.send(Action::Credit(v1::Credit { bytes: 1 })).await;
    let second = stream.next().await;
    assert_eq!(second.records.len(), 2);
    assert_ne!(second.topic_partition, first.topic_partition, "partitions take turns");
    stream.assert_quiet(3).await;
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn without_a_balance_records_are_pushed_as_they_come() {
    let running = start().await;
    running.create("orders", 1).await;
    let mut stream = Stream::start(&running, 0, vec![from("orders", 0, at_offset(0))]).await;
    for n in 0..5 {
        let value = n.to_string();
        running.append("orders", 0, &[&value]).await;
        let answer = stream.next().await;
        assert_eq!((values(&answer.records), answer.next_offset), (vec![value], n + 1));
    }
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn a_seek_moves_and_adds_partitions_and_its_answers_carry_its_number() {
    let running = start().await;
    running.create("orders", 2).await;
    running.append("orders", 0, &["a", "b"]).await;
    running.append("orders", 1, &["c"]).await;
    let mut stream = Stream::start(&running, 0, vec![from("orders", 0, at_offset(0))]).await;
    assert_eq!(stream.next().await.correlation_id, 0, "of no seek");
    let seek = |correlation_id, partition, offset| {
        Action::Seek(v1::Seek {
            correlation_id,
            partitions: vec![from("orders", partition, at_offset(offset))],
        })
    };
    stream.send(seek(7, 0, 1)).await;
    let moved = stream.next().await;
    assert_eq!((moved.correlation_id, values(&moved.records)), (7, vec!["b".to_owned()]));
    stream.send(seek(8, 1, 0)).await;
    let added = stream.next().await;
    assert_eq!((added.correlation_id, values(&added.records)), (8, vec!["c".to_owned()]));
    running.append("orders", 0, &["d"]).await;
    let after = stream.next().await;
    assert_eq!((after.correlation_id, values(&after.records)), (7, vec!["d".to_owned()]));
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn a_removed_partition_is_not_sent_any_more() {
    let running = start().await;
    running.create("orders", 2).await;
    let partitions = vec![from("orders", 0, at_offset(0)), from("orders", 1, at_offset(0))];
    let mut stream = Stream::start(&running, 0, partitions).await;
    stream.send(Action::Remove(v1::Remove { partitions: vec![partition_of("orders", 0)] })).await;
    stream.assert_quiet(1).await;
    running.append("orders", 0, &["a"]).await;
    running.append("orders", 1, &["b"]).await;
    assert_eq!(values(&stream.next().await.records), ["b"]);
    stream.assert_quiet(2).await;
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn a_failed_partition_rests_until_it_is_sought_and_the_others_go_on() {
    let running = start().await;
    running.create("orders", 2).await;
    running.append("orders", 0, &["a"]).await;
    let partitions = vec![from("orders", 0, at_offset(5)), from("orders", 1, at_offset(0))];
    let mut stream = Stream::start(&running, 1 << 20, partitions).await;
    let failed = stream.next().await;
    assert_eq!(item_reason(failed.error.as_ref()), v1::ErrorReason::OffsetOutOfRange);
    assert_eq!((failed.next_offset, failed.credit_bytes), (5, 0), "errors cost nothing");
    running.append("orders", 0, &["b"]).await;
    running.append("orders", 1, &["c"]).await;
    assert_eq!(values(&stream.next().await.records), ["c"]);
    stream.assert_quiet(1).await;
    let partitions = vec![from("orders", 0, at_offset(0))];
    stream.send(Action::Seek(v1::Seek { correlation_id: 2, partitions })).await;
    assert_eq!(stream.next().await.correlation_id, 2);
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn the_end_of_a_partition_does_not_wait_for_credit() {
    let running = start().await;
    running.create("orders", 1).await;
    running.append("orders", 0, &["a"]).await;
    let mut stream = Stream::start(&running, 1, vec![from("orders", 0, at_offset(0))]).await;
    assert!(stream.next().await.credit_bytes > 1);
    running.append("orders", 0, &["b"]).await;
    running.delete("orders").await;
    let ended = stream.next().await;
    assert_eq!(item_reason(ended.error.as_ref()), v1::ErrorReason::UnknownTopic);
    assert_eq!(ended.next_offset, 1);
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn a_half_closed_stream_goes_on_until_its_credit_is_spent() {
    let running = start().await;
    running.create("orders", 1).await;
    let mut stream = Stream::start(&running, 60, vec![from("orders", 0, at_offset(0))]).await;
    stream.actions = None;
    let mut balance = 60;
    while balance > 0 {
        running.append("orders", 0, &["a value"]).await;
        balance -= stream.next().await.credit_bytes;
    }
    stream.ended().await.expect("it ends well");
    running.stop().await;
}

#[tokio::test]
async fn raw_batches_are_pushed_whole() {
    let running = start().await;
    running.create("orders", 1).await;
    running.append("orders", 0, &["a", "b"]).await;
    let mut stream = Stream::open(&running).await;
    let format = v1::BatchFormat::KafkaV2.into();
    let partitions = vec![from("orders", 0, at_offset(1))];
    stream.send(Action::Start(v1::FetchStart { partitions, format, ..Default::default() })).await;
    let answer = stream.next().await;
    assert_eq!((answer.records.len(), answer.next_offset), (0, 2));
    assert_eq!(answer.credit_bytes as usize, answer.kafka_batches.len());
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn actions_that_cannot_be_carried_out_end_the_stream_with_the_reason() {
    let running = start().await;
    running.create("orders", 1).await;
    let begun = || Action::Start(v1::FetchStart::default());
    let invalid: Vec<Vec<Action>> = vec![
        vec![Action::Credit(v1::Credit { bytes: 1 })],
        vec![begun(), begun()],
        vec![begun(), Action::Credit(v1::Credit { bytes: -1 })],
        vec![begun(), Action::Seek(v1::Seek::default())],
        vec![Action::Start(v1::FetchStart { credit_bytes: -1, ..Default::default() })],
        vec![Action::Start(v1::FetchStart { format: 9, ..Default::default() })],
        vec![Action::Start(v1::FetchStart {
            partitions: vec![v1::FetchPartition::default()],
            ..Default::default()
        })],
    ];
    for actions in invalid {
        let mut stream = Stream::open(&running).await;
        for action in actions {
            stream.send(action).await;
        }
        let refused = stream.ended().await.expect_err("it is refused");
        assert_refused(&refused, Code::InvalidArgument, "INVALID_REQUEST");
    }
    let mut stream = Stream::start(&running, 0, Vec::new()).await;
    let actions = stream.actions.as_mut().expect("it is open");
    actions.send(v1::FetchStreamRequest { action: None }).await.expect("it is open");
    let refused = stream.ended().await.expect_err("an action of a newer client");
    assert_refused(&refused, Code::Unimplemented, "UNIMPLEMENTED");
    running.stop().await;
}

#[tokio::test]
async fn partitions_named_by_their_topics_ids_are_kept_apart() {
    let running = start().await;
    let mut partitions = Vec::new();
    for name in ["orders", "bills"] {
        let topic_id = running.create(name, 1).await.topic_id;
        running.append(name, 0, &[name]).await;
        let mut named = from("", 0, at_offset(0));
        named.topic_partition = Some(v1::TopicPartition { topic_id, ..partition_of("", 0) });
        partitions.push(named);
    }
    let mut stream = Stream::start(&running, 0, partitions).await;
    let mut found = [stream.next().await, stream.next().await];
    found.sort_by_key(|part| values(&part.records));
    let named: Vec<_> =
        found.iter().map(|part| part.topic_partition.as_ref().expect("named").topic.as_str()).collect();
    assert_eq!(named, ["bills", "orders"]);
    drop(stream);
    running.stop().await;
}
