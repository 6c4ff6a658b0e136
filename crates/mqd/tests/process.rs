//! `mqd` as a process: how it starts, serves, refuses, survives and ends.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod mqd;

use mq_client::v1::{Anchor, CreateTopicRequest, OffsetSpec, ReadRequest, offset_spec::Spec};
use mq_client::{Client, Options, ProducerOptions, ProducerRecord};
use mqd::{Mqd, command, directory, output};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn one_readable_line_says_when_it_is_ready_and_where() {
    let directory = directory();
    let mqd = Mqd::start(directory.path(), &[]);
    let data = directory.path().join("data");
    let expected = format!(
        "mqd {} is ready: gRPC {}, admin http://{}, broker 1, data {}, no partitions yet\n",
        env!("CARGO_PKG_VERSION"),
        mqd.grpc,
        mqd.admin,
        data.display()
    );
    assert_eq!(mqd.ready, expected);
    assert!(mqd.grpc.ip().is_loopback() && mqd.grpc.port() > 0);
}

#[test]
fn a_second_mqd_on_the_same_directory_is_refused() {
    let directory = directory();
    let first = Mqd::start(directory.path(), &[]);
    let (code, _, said) = output(command(directory.path()));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another mqd is using the data directory"), "{said}");
    assert_eq!(first.http("GET", "/readyz", "").0, 200, "the first one is untouched");
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let (one, other) = (directory(), directory());
    let first = Mqd::start(one.path(), &[]);
    for (flag, key, address) in
        [("--grpc-listen", "grpc.listen", first.grpc), ("--admin-listen", "admin.listen", first.admin)]
    {
        let mut second = command(other.path());
        second.args([flag, &address.to_string()]);
        let (code, _, said) = output(second);
        assert_eq!(code, Some(1), "{said}");
        let expected = format!("could not listen on {address} ({key}): the port is in use");
        assert!(said.contains(&expected), "{said}");
        assert!(said.contains("to another port"), "{said}");
    }
}

#[test]
fn sigterm_and_sigint_end_it_cleanly_and_free_the_directory() {
    let directory = directory();
    for signal in [Signal::TERM, Signal::INT] {
        let mut mqd = Mqd::start(directory.path(), &[]);
        let asked = Instant::now();
        mqd.signal(signal);
        assert_eq!(mqd.wait(), Some(0), "{}", mqd.log());
        assert!(asked.elapsed() < Duration::from_secs(30), "it took {:?}", asked.elapsed());
    }
}

#[test]
fn sighup_does_not_end_it() {
    let directory = directory();
    let mut mqd = Mqd::start(directory.path(), &[]);
    mqd.signal(Signal::HUP);
    assert_eq!(mqd.http("GET", "/readyz", "").0, 200);
    mqd.signal(Signal::TERM);
    assert_eq!(mqd.wait(), Some(0), "{}", mqd.log());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let directory = directory();
    let mut mqd = Mqd::start(directory.path(), &[]);
    // A call that never ends: the stop waits for it, for a while.
    let mut half = TcpStream::connect(mqd.grpc).unwrap();
    let head = "POST /mq.v1.ProducerService/Produce HTTP/1.1\r\nHost: mq\r\ncontent-type: application/grpc-web\r\n\
                content-length: 100\r\n\r\nhalf";
    half.write_all(head.as_bytes()).unwrap();
    // Both signals are there when it wakes, so no clock decides which comes in time.
    mqd.signal(Signal::STOP);
    mqd.signal(Signal::TERM);
    mqd.signal(Signal::INT);
    mqd.signal(Signal::CONT);
    assert_eq!(mqd.wait(), Some(130), "{}", mqd.log());
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_kill_9() {
    const RECORDS: usize = 300;
    let directory = directory();
    let mut mqd = Mqd::start(directory.path(), &[]);
    let client = Client::connect([mqd.grpc.to_string()], Options::default()).await.unwrap();
    let topic =
        CreateTopicRequest { topic: "kept".to_owned(), partition_count: 1, ..CreateTopicRequest::default() };
    client.create_topic(topic).await.unwrap();
    let producer = client.producer("kept", ProducerOptions::default()).await.unwrap();
    for number in 0..RECORDS {
        let delivery = producer.send(ProducerRecord::value(format!("record {number}"))).await;
        if number + 1 == RECORDS {
            producer.flush().await;
            assert_eq!(delivery.await.unwrap().offset, RECORDS as i64 - 1);
        }
    }
    mqd.signal(Signal::KILL);
    assert_eq!(mqd.wait(), None, "it was killed, it did not exit");

    let mqd = Mqd::start(directory.path(), &[]);
    assert!(mqd.ready.contains(", 1 partition recovered in "), "{}", mqd.ready);
    assert_eq!(mqd.http("GET", "/readyz", "").0, 200);
    let client = Client::connect([mqd.grpc.to_string()], Options::default()).await.unwrap();
    let anchor = |anchor: Anchor| Some(OffsetSpec { spec: Some(Spec::Anchor(anchor.into())) });
    let (start, stop) = (anchor(Anchor::Earliest), anchor(Anchor::Latest));
    let request = ReadRequest { topic: "kept".to_owned(), start, stop, ..ReadRequest::default() };
    let mut answers = client.read(request).await.unwrap();
    let mut values = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        values.extend(answer.records.into_iter().map(|record| record.value.unwrap()));
    }
    let expected: Vec<_> = (0..RECORDS).map(|number| format!("record {number}")).collect();
    assert_eq!(values, expected);
}

#[test]
fn the_admin_port_tells_that_it_lives_that_it_serves_and_what_is_measured() {
    let directory = directory();
    let mqd = Mqd::start(directory.path(), &[]);
    assert_eq!(mqd.http("GET", "/livez", ""), (200, "alive\n".to_owned()));
    assert_eq!(mqd.http("GET", "/readyz", ""), (200, "ready\n".to_owned()));
    let (status, answer) = mqd.http_with_head("GET", "/metrics", "");
    assert_eq!(status, 200);
    assert!(
        answer.to_lowercase().contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{answer}"
    );
    assert!(answer.contains("\n# TYPE mq_") && answer.ends_with("# EOF\n"), "{answer}");
    assert_eq!(mqd.http("GET", "/etc/passwd", "").0, 404);
    assert_eq!(mqd.http("DELETE", "/livez", "").0, 405);
}

#[test]
fn the_level_of_the_log_is_changed_while_it_runs() {
    let directory = directory();
    let mut mqd = Mqd::start(directory.path(), &[("MQ__TELEMETRY__LEVEL", "error")]);
    assert_eq!(mqd.http("GET", "/log-level", ""), (200, "error\n".to_owned()));
    let (status, said) = mqd.http("PUT", "/log-level", "inof");
    assert_eq!(status, 400);
    assert!(said.starts_with("\"inof\" is not a level; expected error, warn"), "{said}");
    assert_eq!(mqd.http("GET", "/log-level", "").1, "error\n", "what was refused changes nothing");
    assert_eq!(mqd.http("PUT", "/log-level", "warn,mqd=info\n"), (200, "warn,mqd=info\n".to_owned()));
    assert_eq!(mqd.http("GET", "/log-level", "").1, "warn,mqd=info\n");
    assert_eq!(mqd.http("PUT", "/log-level", &"x".repeat(100_000)).0, 413);
    mqd.signal(Signal::TERM);
    assert_eq!(mqd.wait(), Some(0));
    let log = mqd.log();
    assert!(log.contains("INFO") && log.contains("stopping"), "the new level holds until the end: {log}");
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    let directory = directory();
    let mut command = command(directory.path());
    let mut child = command
        .env("MQ__TELEMETRY__FORMAT", "json")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut objects = lines.map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap());
    let ready = objects.find(|object| object["message"] == "ready").unwrap();
    assert_eq!((&ready["level"], &ready["broker"]), (&"INFO".into(), &1.into()));
    assert!(ready["grpc"].as_str().unwrap().starts_with("127.0.0.1:"), "{ready}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn garbage_on_every_port_leaves_it_serving() {
    let directory = directory();
    let mut mqd = Mqd::start(directory.path(), &[]);
    let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let long_head = [&b"GET / HTTP/1.1\r\nx: "[..], &[b'a'; 200_000]].concat();
    let cases: [&[u8]; 7] = [
        b"",
        b"\r\n\r\n\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"PUT /log-level HTTP/1.1\r\ncontent-length: 18446744073709551615\r\n\r\n",
        &noise,
        &[preface, &noise[..]].concat(),
        &long_head,
    ];
    for address in [mqd.grpc, mqd.admin] {
        for case in cases {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            // It may close before it has read everything; both sides are in their right.
            let _ = stream.write_all(case);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    assert_eq!(mqd.http("GET", "/readyz", "").0, 200, "{}", mqd.log());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = runtime.block_on(async {
        let client = Client::connect([mqd.grpc.to_string()], Options::default()).await.unwrap();
        client.describe_cluster(&[]).await.unwrap()
    });
    assert_eq!(cluster.brokers.len(), 1);
    assert_eq!(
        cluster.brokers[0].grpc_endpoint,
        mqd.grpc.to_string(),
        "clients are sent to where it listens"
    );
    mqd.signal(Signal::TERM);
    assert_eq!(mqd.wait(), Some(0), "{}", mqd.log());
}
