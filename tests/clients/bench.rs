//! `mqctl bench` against a running mqd: the figures fit each other, what went in is verified on its way out, and a
//! bench that is ended early still tells what it measured.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Output, Stdio},
};

use mq_tests::process::{Mqd, program, scratch};
use serde_json::Value;

fn command(mqd: &Mqd, args: &[&str]) -> Command {
    let mut command = Command::new(program("mqctl"));
    command.env("MQ_BROKERS", mqd.grpc.to_string()).arg("bench").args(args).stdin(Stdio::null());
    command
}

fn run(mqd: &Mqd, args: &[&str]) -> Output {
    command(mqd, args).output().expect("mqctl starts")
}

/// As [`run`], and it must have succeeded; its summary.
fn ok(mqd: &Mqd, args: &[&str]) -> Value {
    let ran = run(mqd, &[args, &["-o", "json"]].concat());
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "mqctl bench {args:?}: {}\n{said}", ran.status);
    serde_json::from_slice(&ran.stdout).expect("the summary is JSON")
}

/// Percentiles grow, and there are some.
fn check_latency(latency: &Value) {
    let names = ["p50_us", "p90_us", "p99_us", "p999_us", "max_us"];
    let figures: Vec<u64> = names.iter().map(|name| latency[name].as_u64().expect("a number")).collect();
    assert!(figures[0] > 0 && figures.is_sorted(), "{latency}");
}

#[test]
fn what_a_bench_produced_is_consumed_and_verified() {
    let dir = scratch();
    let mqd = Mqd::start(&dir.path().join("data"));
    let produced = ok(
        &mqd,
        &["produce", "b", "--create", "--partitions", "3", "--records", "5000", "--connections", "2"],
    );
    for field in ["records", "sent", "acknowledged"] {
        assert_eq!(produced[field], 5000, "{produced}");
    }
    assert_eq!(produced["bytes"], 5000 * 1024);
    check_latency(&produced["ack_latency"]);

    // A second run with other bytes, compressed by the broker.
    let args = ["produce", "b", "-n", "1000", "--record-size", "100B", "--payload", "text", "-z", "zstd"];
    assert_eq!(ok(&mqd, &args)["acknowledged"], 1000);

    for connections in ["1", "2", "9"] {
        let consumed = ok(&mqd, &["consume", "b", "--connections", connections]);
        assert_eq!(
            (&consumed["received"], &consumed["verified"]),
            (&6000.into(), &6000.into()),
            "{consumed}"
        );
        assert_eq!(consumed["bytes"], 5000 * 1024 + 1000 * 100);
        assert_eq!(consumed["errors"], Value::Array(vec![]));
    }
    assert_eq!(ok(&mqd, &["consume", "b", "--records", "777"])["received"], 777);
    assert_eq!(ok(&mqd, &["consume", "b", "--from", "end"])["received"], 0);
}

#[test]
fn end_to_end_verifies_each_record_and_times_it_from_when_it_was_due() {
    let dir = scratch();
    let mqd = Mqd::start(&dir.path().join("data"));
    let bench = ok(&mqd, &["e2e", "b", "--create", "-p", "2", "--records", "300", "--rate", "1000"]);
    for field in ["sent", "acknowledged", "received", "verified"] {
        assert_eq!(bench[field], 300, "{bench}");
    }
    // The 300th was due 299 ms after the first.
    assert!(bench["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.299), "{bench}");
    check_latency(&bench["ack_latency"]);
    check_latency(&bench["end_to_end_latency"]);
}

#[test]
fn a_topic_that_does_not_exist_is_answered_with_what_to_type() {
    let dir = scratch();
    let mqd = Mqd::start(&dir.path().join("data"));
    for (bench, hint) in
        [("produce", "--create"), ("consume", "bench produce b --create"), ("e2e", "--create")]
    {
        let ran = run(&mqd, &[bench, "b"]);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{said}");
        assert!(said.contains("no topic \"b\"") && said.contains(hint), "{said}");
    }
}

#[test]
fn ctrl_c_ends_a_bench_early_and_the_summary_is_printed() {
    let dir = scratch();
    let mqd = Mqd::start(&dir.path().join("data"));
    ok(&mqd, &["produce", "b", "--create", "--records", "1"]);
    for bench in
        [["produce", "b", "--rate=100"], ["e2e", "b", "--rate=100"], ["consume", "b", "--records=9999999"]]
    {
        let mut command = command(&mqd, &bench);
        let child = command.args(["--for", "1h", "-o", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().expect("mqctl starts");
        // It is under way as soon as it tells of its progress.
        let mut told = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        told.next().expect("it tells of its progress").expect("in text");
        let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(interrupted.expect("kill is there").success());
        let ran = child.wait_with_output().expect("it ends by itself");
        let summary: Value = serde_json::from_slice(&ran.stdout).expect("the summary is JSON");
        assert_eq!(summary["interrupted"], true, "{summary}");
        assert!(summary["records"].as_u64().is_some_and(|records| records > 0), "{summary}");
        assert_eq!(summary["errors"], Value::Array(vec![]));
        assert_eq!(ran.status.code(), Some(0));
    }
}

#[test]
fn a_broker_that_dies_under_a_bench_is_counted_and_fails_it() {
    let dir = scratch();
    let mut mqd = Mqd::start(&dir.path().join("data"));
    let mut command = command(&mqd, &["produce", "b", "--create", "--rate=200", "--for=6s", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mqctl starts");
    let mut told = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    told.next().expect("it tells of its progress").expect("in text");
    mqd.kill();
    let ran = child.wait_with_output().expect("it ends by itself");
    let summary: Value = serde_json::from_slice(&ran.stdout).expect("the summary is JSON");
    assert_eq!(ran.status.code(), Some(1), "{summary}");
    let number = |value: &Value| value.as_u64().expect("a number");
    let errors = summary["errors"].as_array().expect("a list");
    let failed: u64 = errors.iter().map(|error| number(&error["count"])).sum();
    assert!(number(&summary["acknowledged"]) > 0 && failed > 0, "{summary}");
    assert_eq!(number(&summary["sent"]), number(&summary["acknowledged"]) + failed, "{summary}");
}
