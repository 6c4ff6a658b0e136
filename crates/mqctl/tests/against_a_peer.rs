//! The program against a server whose answers are written down here: what it prints, where, and how it ends.

#[path = "../../mq-client/tests/peer/mod.rs"]
mod peer;

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
};

use mq_client::v1;
use peer::Peer;
use tonic::Status;

/// Runs the program beside the peer, with this on stdin.
async fn mqctl(peer: Peer, args: &[&str], stdin: &'static [u8]) -> Output {
    let endpoint = peer.connect().await.endpoint();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqctl"));
    command.args(args).env("MQ_BROKERS", endpoint);
    let ran = tokio::task::spawn_blocking(move || {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("the program was built");
        child.stdin.take().expect("it is piped").write_all(stdin).expect("it is read");
        child.wait_with_output().expect("it ends by itself")
    });
    ran.await.expect("it ran")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("messages are UTF-8")
}

/// Appends everything to one partition, and keeps the values.
fn keeping(values: &Arc<Mutex<Vec<Vec<u8>>>>) -> Peer {
    let (values, next_offset) = (Arc::clone(values), AtomicI64::new(0));
    Peer::new().on_produce(move |request| {
        let records = request.request.map(|request| request.records).unwrap_or_default();
        let record_count = i32::try_from(records.len()).expect("few");
        let base_offset = next_offset.fetch_add(i64::from(record_count), Ordering::SeqCst);
        let value = |record: v1::Record| record.value.unwrap_or_default().to_vec();
        values.lock().expect("no panic while it is held").extend(records.into_iter().map(value));
        let produced = v1::ProducedPartition { base_offset, record_count, ..Default::default() };
        let response = Some(v1::ProduceResponse { partitions: vec![produced] });
        Ok(v1::ProduceStreamResponse {
            correlation_id: request.correlation_id,
            response,
            ..Default::default()
        })
    })
}

/// Holds the records a, b and c, sent one by one and followed by more that nobody asked for.
fn holding_abc() -> Peer {
    let fetched = |offset: i64| {
        let value = Some(["a", "b", "c"].get(offset as usize).copied().unwrap_or("more").into());
        v1::FetchedPartition {
            topic_partition: Some(v1::TopicPartition { topic: "t".to_owned(), ..Default::default() }),
            records: vec![v1::Record { value, offset, ..Default::default() }],
            next_offset: offset + 1,
            ..Default::default()
        }
    };
    Peer::new().on_fetch(move |start| {
        let spec = start.partitions[0].start.as_ref().and_then(|start| start.spec);
        let Some(v1::offset_spec::Spec::Offset(first)) = spec else { panic!("{spec:?} is no offset") };
        ((first..5).map(fetched).collect(), None)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_stdin_are_produced_in_order_and_accounted_for() {
    let values = Arc::new(Mutex::new(Vec::new()));
    let ran = mqctl(keeping(&values), &["produce", "t"], b"one\n\n\xff\ntwo").await;
    assert_eq!(text(&ran.stderr), "4 records, 7 bytes to t (partition 0: offsets 0-3)\n");
    assert_eq!((ran.status.code(), ran.stdout.len()), (Some(0), 0));
    let expected: [&[u8]; 4] = [b"one", b"", b"\xff", b"two"];
    assert_eq!(*values.lock().expect("no panic while it is held"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_produced_and_verbose_tells_each_ack() {
    let values = Arc::new(Mutex::new(Vec::new()));
    let ran = mqctl(keeping(&values), &["-v", "produce", "t", "a", "b"], b"").await;
    let said = text(&ran.stderr);
    assert!(said.contains("t/0 @ 0 ") && said.contains("t/0 @ 1 "), "{said}");
    assert_eq!(*values.lock().expect("no panic while it is held"), [b"a", b"b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_produce_that_breaks_off_says_that_the_outcome_is_unknown() {
    let peer = Peer::new().on_produce(|_| Err(Status::unavailable("gone")));
    let ran = mqctl(peer, &["produce", "t", "-o", "json"], b"a\nb\n").await;
    assert_eq!(ran.status.code(), Some(1));
    let account: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("it is JSON");
    assert_eq!(account["records"], 0);
    assert!(account["unknown"].as_u64().is_some_and(|unknown| unknown > 0), "{account}");
    assert!(text(&ran.stderr).contains("unknown"), "{}", text(&ran.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_printed_to_its_end_and_no_further() {
    let ran = mqctl(holding_abc(), &["consume", "t", "-o", "start:end", "-f", "%o=%v\\n"], b"").await;
    assert_eq!((ran.status.code(), text(&ran.stdout)), (Some(0), "0=a\n1=b\n2=c\n"), "{}", text(&ran.stderr));
    let ran = mqctl(holding_abc(), &["consume", "t", "-o", "1:2"], b"").await;
    assert_eq!((ran.status.code(), text(&ran.stdout)), (Some(0), "b\n"), "{}", text(&ran.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_n_and_a_count_are_exact() {
    let ran = mqctl(holding_abc(), &["consume", "t", "-o", "-1:end"], b"").await;
    assert_eq!((ran.status.code(), text(&ran.stdout)), (Some(0), "c\n"), "{}", text(&ran.stderr));
    let ran = mqctl(holding_abc(), &["consume", "t", "-n", "2", "--output", "json"], b"").await;
    let offsets: Vec<i64> = text(&ran.stdout)
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line is an object"))
        .map(|record| record["offset"].as_i64().expect("it has an offset"))
        .collect();
    assert_eq!((ran.status.code(), offsets), (Some(0), vec![0, 1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_range_prints_nothing_and_does_not_wait() {
    let ran = mqctl(holding_abc(), &["consume", "t", "-o", "end:end"], b"").await;
    assert_eq!((ran.status.code(), ran.stdout.len()), (Some(0), 0), "{}", text(&ran.stderr));
}

/// Starts `consume` on a topic that has no end, and reads nothing of what it prints but the first byte.
async fn consume_without_end() -> (Child, ChildStdout) {
    let fetched = |offset: i64| v1::FetchedPartition {
        topic_partition: Some(v1::TopicPartition { topic: "t".to_owned(), ..Default::default() }),
        records: vec![v1::Record { value: Some(vec![b'x'; 1 << 10].into()), offset, ..Default::default() }],
        next_offset: offset + 1,
        ..Default::default()
    };
    let peer = Peer::new().on_fetch(move |_| ((0..10_000).map(fetched).collect(), None));
    let endpoint = peer.connect().await.endpoint();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqctl"));
    command.args(["consume", "t"]).env("MQ_BROKERS", endpoint).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program was built");
    let mut stdout = child.stdout.take().expect("it is piped");
    let reading = tokio::task::spawn_blocking(move || {
        stdout.read_exact(&mut [0]).expect("it prints");
        stdout
    });
    (child, reading.await.expect("it ran"))
}

fn interrupt(child: &Child) {
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.expect("kill is there").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_ctrl_c_ends_a_consume_that_nobody_reads() {
    let (mut child, unread) = consume_without_end().await;
    let ended = tokio::task::spawn_blocking(move || {
        for _ in 0..10_000 {
            if let Some(status) = child.try_wait().expect("it is our child") {
                return status;
            }
            interrupt(&child);
        }
        child.kill().expect("it is our child");
        panic!("it does not end");
    });
    assert_eq!(ended.await.expect("it ran").code(), Some(130));
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_says_what_was_acknowledged_although_stdin_is_still_open() {
    let endpoint = keeping(&Arc::default()).connect().await.endpoint();
    let ran = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqctl"));
        let command = command.args(["-v", "produce", "t"]).env("MQ_BROKERS", endpoint);
        let mut child =
            command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program was built");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(b"a\n").expect("it is read");
        let mut messages = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let acknowledged = messages.by_ref().any(|line| line.expect("it is text").starts_with("t/0 @ 0"));
        assert!(acknowledged, "the program ended without an ack");
        let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(interrupted.expect("kill is there").success());
        let rest: Vec<String> = messages.map(|line| line.expect("it is text")).collect();
        let status = child.wait().expect("it ends by itself");
        drop(stdin);
        (status.code(), rest)
    });
    let (code, rest) = ran.await.expect("it ran");
    assert_eq!(
        rest,
        ["1 record, 1 byte to t (partition 0: offset 0)", "interrupted after record 1 of the input"]
    );
    assert_eq!(code, Some(1));
}
