//! What `mqctl bench` tells of records: that each value shows every damage, and that the order in which they come is
//! judged rightly. The program itself runs against a peer whose answers are written down here.

#[path = "../../mq-client/tests/peer/mod.rs"]
mod peer;

use std::process::{Command, Output, Stdio};

use bytes::{Bytes, BytesMut};
use mq_client::v1;
use mq_types::{
    Compression,
    batch::{BatchBuilder, NewRecord},
};
use mqctl::{
    cli::bench::Payload,
    commands::bench::{
        payload::{RECORD_BYTES_MIN, Stamp},
        sequences::{Arrival, Sequences},
    },
};
use peer::Peer;
use serde_json::Value;

fn stamp(sequence: u64) -> Stamp {
    Stamp { run: 7, connection: 3, partition: 0, sequence, due_us: 1_000_000, payload: Payload::Random }
}

#[test]
fn a_value_says_which_record_it_is() {
    for payload in [Payload::Random, Payload::Text] {
        for size_bytes in [RECORD_BYTES_MIN, 41, 47, 48, 49, 100, 1024] {
            let stamp = Stamp { payload, due_us: u64::MAX, connection: u16::MAX, ..stamp(u64::MAX) };
            let value = stamp.value(size_bytes);
            assert_eq!(value.len(), size_bytes);
            assert_eq!(Stamp::read(&value), Some(Ok(stamp)), "{size_bytes} bytes");
        }
    }
}

#[test]
fn every_flipped_bit_and_every_other_length_is_damage() {
    let value = stamp(5).value(67);
    for bit in 4 * 8..value.len() * 8 {
        let mut damaged = value.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(Stamp::read(&damaged), Some(Err(_))), "bit {bit}");
    }
    for length in RECORD_BYTES_MIN..value.len() {
        assert!(matches!(Stamp::read(&value[..length]), Some(Err(_))), "cut to {length} bytes");
    }
    assert!(matches!(Stamp::read(&[&value[..], b"x"].concat()), Some(Err(_))), "a byte more");
}

#[test]
fn other_values_are_not_taken_for_records_of_a_bench() {
    for value in [&b""[..], b"mqb1", b"hello", &[0; 100]] {
        assert_eq!(Stamp::read(value), None, "{value:?}");
    }
}

#[test]
fn random_values_do_not_compress_and_text_does_by_half() {
    let compressed = |payload| {
        let value = Stamp { payload, ..stamp(1) }.value(64 << 10);
        let mut builder = BatchBuilder::new();
        builder.push(&NewRecord { value: Some(&value), ..NewRecord::default() }).expect("it is small");
        builder.finish(Compression::Zstd).len_bytes()
    };
    assert!(compressed(Payload::Random) > 64 << 10, "{} bytes", compressed(Payload::Random));
    let text = compressed(Payload::Text);
    assert!((30 << 10..36 << 10).contains(&text), "{text} bytes");
}

#[test]
fn each_record_once_and_in_order_is_told_from_any_other_way() {
    use Arrival::{InOrder, Late, Repeated};

    let arrivals: [(u64, Arrival, u64); 9] = [
        (0, InOrder, 0),
        (1, InOrder, 0),
        (5, InOrder, 3), // 2, 3 and 4 were passed over
        (3, Late, 2),
        (3, Repeated, 2),
        (2, Late, 1),
        (1, Repeated, 1),
        (6, InOrder, 1),
        (4, Late, 0),
    ];
    let mut sequences = Sequences::new(true);
    for (sequence, arrival, missing) in arrivals {
        assert_eq!(sequences.arrived(&stamp(sequence)), arrival, "{sequence}");
        assert_eq!(sequences.missing(), missing, "after {sequence}");
    }
}

#[test]
fn sequences_of_other_runs_connections_and_partitions_are_others() {
    let mut sequences = Sequences::new(false);
    let others = [
        stamp(9),
        Stamp { run: 8, ..stamp(9) },
        Stamp { connection: 4, ..stamp(9) },
        Stamp { partition: 1, ..stamp(9) },
    ];
    for other in others {
        assert_eq!(sequences.arrived(&other), Arrival::InOrder);
    }
    assert_eq!(sequences.missing(), 0, "the first that is met is where reading began");
    let mut from_zero = Sequences::new(true);
    from_zero.arrived(&stamp(9));
    assert_eq!(from_zero.missing(), 9);
}

#[test]
fn memory_stays_bounded_when_every_second_record_is_missing() {
    let mut sequences = Sequences::new(true);
    for sequence in 0..10_000 {
        sequences.arrived(&stamp(sequence * 2 + 1));
    }
    assert_eq!(sequences.missing(), 10_000);
    // The newest gaps are still known, the oldest are not.
    assert_eq!(sequences.arrived(&stamp(19_998)), Arrival::Late);
    assert_eq!(sequences.arrived(&stamp(0)), Arrival::Repeated);
    assert_eq!(sequences.missing(), 9_999);
}

async fn mqctl(peer: Peer, args: &'static [&'static str]) -> Output {
    let endpoint = peer.connect().await.endpoint();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqctl"));
    command.args(args).env("MQ_BROKERS", endpoint).stdin(Stdio::null());
    let ran = tokio::task::spawn_blocking(move || command.output().expect("the program was built"));
    ran.await.expect("it ran")
}

fn json(ran: &Output) -> Value {
    let said = String::from_utf8_lossy(&ran.stderr);
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// The peer's partition ends at offset 3, whatever it holds: one batch of these values.
fn holding(values: &[Bytes]) -> Peer {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(&NewRecord { value: Some(value), ..NewRecord::default() }).expect("it is small");
    }
    let mut batches = BytesMut::new();
    builder.finish(Compression::None).write_to(&mut batches);
    let batches = batches.freeze();
    Peer::new().on_fetch(move |_| {
        let fetched = v1::FetchedPartition {
            topic_partition: Some(v1::TopicPartition { topic: "t".to_owned(), ..Default::default() }),
            kafka_batches: batches.clone(),
            next_offset: 3,
            ..Default::default()
        };
        (vec![fetched], None)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn consume_verifies_what_a_bench_made_and_counts_the_rest() {
    let peer = holding(&[stamp(4).value(100), "hello".into(), stamp(5).value(50)]);
    let ran = mqctl(peer, &["bench", "consume", "t", "-o", "json"]).await;
    let bench = json(&ran);
    assert_eq!((&bench["received"], &bench["verified"]), (&Value::from(3), &Value::from(2)), "{bench}");
    assert_eq!(bench["bytes"], 155);
    assert_eq!(bench["errors"], Value::Array(vec![]));
    assert_eq!(ran.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn consume_tells_missing_repeated_and_damaged_records_by_their_names() {
    let mut damaged = stamp(6).value(100).to_vec();
    damaged[99] ^= 1;
    let peer = holding(&[stamp(4).value(100), damaged.into(), stamp(4).value(100)]);
    let ran = mqctl(peer, &["bench", "consume", "t", "-o", "json"]).await;
    let bench = json(&ran);
    let errors = bench["errors"].as_array().expect("a list");
    let reasons: Vec<&Value> = errors.iter().map(|error| &error["reason"]).collect();
    assert_eq!(reasons, ["DAMAGED", "REPEATED"], "{bench}");
    assert_eq!(errors[0]["example"], "t/0 @ 1: byte 96 of its value is not as it was sent");
    assert_eq!(ran.status.code(), Some(1));

    let peer = holding(&[stamp(4).value(100), stamp(9).value(100), stamp(8).value(100)]);
    let bench = json(&mqctl(peer, &["bench", "consume", "t", "-o", "json"]).await);
    let counts: Vec<(&str, u64)> = bench["errors"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|error| (error["reason"].as_str().expect("text"), error["count"].as_u64().expect("a number")))
        .collect();
    assert_eq!(counts, [("MISSING", 3), ("OUT_OF_ORDER", 1)], "{bench}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_whose_records_are_not_acknowledged_counts_them_by_reason_and_fails() {
    let peer = Peer::new().on_produce(|_| Err(tonic::Status::unavailable("gone")));
    let ran = mqctl(peer, &["bench", "produce", "t", "--records", "10", "-o", "json"]).await;
    let bench = json(&ran);
    assert_eq!((&bench["sent"], &bench["acknowledged"]), (&Value::from(10), &Value::from(0)), "{bench}");
    assert_eq!(bench["errors"][0]["reason"], "TRANSPORT", "{bench}");
    assert_eq!(bench["errors"][0]["count"], 10, "{bench}");
    assert_eq!(bench["ack_latency"], Value::Null);
    assert_eq!(ran.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_larger_than_the_topic_takes_ends_the_bench_at_once() {
    let peer = Peer { message_bytes_max: Some(1000), ..Peer::new() };
    let ran =
        mqctl(peer, &["bench", "produce", "t", "--for", "1h", "--outstanding", "1", "-o", "json"]).await;
    let bench = json(&ran);
    assert_eq!(bench["errors"][0]["reason"], "RECORD_TOO_LARGE", "{bench}");
    assert_eq!(ran.status.code(), Some(1));
}

#[test]
fn arguments_that_make_no_sense_are_usage_errors_that_say_what_to_write() {
    let calls: [(&[&str], &str); 8] = [
        (&["produce", "t", "--record-size", "39B"], "write 40 B to"),
        (&["produce", "t", "--record-size", "much"], "is no size: write e.g."),
        (&["produce", "t", "--for", "0s"], "write more than nothing"),
        (&["produce", "t", "--for", "ten"], "write e.g. 10s"),
        (&["produce", "t", "--partitions", "3"], "--create"),
        (&["produce", "t", "--rate", "0"], "0 is not in 1..="),
        (&["consume", "t", "--from", "here"], "is no offset"),
        (&["consume", "t", "--connections", "257"], "257 is not in 1..=256"),
    ];
    for (args, message) in calls {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqctl"));
        let ran =
            command.args(["--brokers", "127.0.0.1:1", "bench"]).args(args).output().expect("it was built");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(message), "{args:?}: {said}");
    }
}
