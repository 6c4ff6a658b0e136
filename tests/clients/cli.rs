//! The two programs together, as a person uses them: mqctl against a running mqd, typing mistakes included.

use mq_tests::process::{Mqd, pause, program, scratch};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs mqctl against this broker with this input.
fn mqctl(mqd: &Mqd, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(program("mqctl"))
        .env("MQ_BROKERS", mqd.grpc.to_string())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mqctl starts");
    let mut stdin = child.stdin.take().expect("it has an input");
    let input = input.to_vec();
    let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("mqctl ends");
    writing.join().expect("writing ends");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// As [`mqctl`], and it must have succeeded; answers what it printed.
fn ok(mqd: &Mqd, args: &[&str], input: &[u8]) -> String {
    let output = mqctl(mqd, args, input);
    assert!(output.status.success(), "mqctl {args:?}: {}\n{}", output.status, text(&output.stderr));
    text(&output.stdout)
}

/// As [`mqctl`], and it must have failed with this exit code; answers what it said.
fn fails(mqd: &Mqd, code: i32, args: &[&str]) -> String {
    let output = mqctl(mqd, args, b"");
    assert_eq!(output.status.code(), Some(code), "mqctl {args:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

fn lines() -> String {
    (0..2_000)
        .map(|i| format!("{i:05} a line of a log, with \u{fc}mlauts and\ttabs {}\n", "x".repeat(i % 90)))
        .collect()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// A segment file below a data directory that holds these bytes, its content, and where they begin in it. Records
/// without a key stick to one partition for a while, so not every partition has some.
fn a_segment_with(data: &Path, wanted: &[u8]) -> (std::path::PathBuf, Vec<u8>, usize) {
    std::fs::read_dir(data.join("quorums"))
        .expect("there are quorums")
        .flat_map(|dir| std::fs::read_dir(dir.expect("readable").path()).expect("readable"))
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .find_map(|path| {
            let bytes = std::fs::read(&path).expect("a segment can be read");
            let place = bytes.windows(wanted.len()).position(|window| window == wanted)?;
            Some((path, bytes, place))
        })
        .expect("records are stored as they are")
}

#[test]
fn what_goes_in_comes_out_also_after_kill_9_and_verify_names_one_flipped_byte() {
    let dir = scratch();
    let data = dir.path().join("data");
    let input = lines();
    let mut mqd = Mqd::start(&data);
    ok(&mqd, &["topic", "create", "ssh", "--partitions", "3"], b"");
    ok(&mqd, &["produce", "ssh"], input.as_bytes());
    let consume = ["consume", "ssh", "-o", "start:end", "-f", "%v\\n"];
    assert_eq!(sorted(&ok(&mqd, &consume, b"")), sorted(&input));
    assert!(ok(&mqd, &["topic", "describe", "ssh"], b"").contains("ssh"));
    let json = ok(&mqd, &["topic", "describe", "ssh", "-o", "json"], b"");
    assert!(json.trim_start().starts_with('[') && json.contains("\"ssh\""), "{json}");

    mqd.kill();
    let mut mqd = Mqd::start(&data);
    assert_eq!(sorted(&ok(&mqd, &consume, b"")), sorted(&input));
    assert!(mqd.terminate().success());

    let verify = || {
        let command = Command::new(program("mqctl")).args(["log", "verify"]).arg(&data).output();
        command.expect("mqctl starts")
    };
    let clean = verify();
    assert!(clean.status.success(), "{}{}", text(&clean.stdout), text(&clean.stderr));
    let (segment, mut bytes, place) = a_segment_with(&data, b"a line of a log, w");
    bytes[place] ^= 1;
    std::fs::write(&segment, bytes).expect("a segment can be written");
    let damaged = verify();
    let said = format!("{}{}", text(&damaged.stdout), text(&damaged.stderr));
    assert!(!damaged.status.success(), "{said}");
    let name = segment.file_name().expect("a file has a name").to_string_lossy().into_owned();
    for word in [name.as_str(), "position", "offset"] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn records_that_are_too_large_are_named_and_nothing_around_them_is_lost() {
    let dir = scratch();
    let mqd = Mqd::start(&dir.path().join("data"));
    ok(&mqd, &["topic", "create", "small", "-p", "1", "-c", "max.message.bytes=2000"], b"");
    let (short, long) = ("a line\n".repeat(1_000), format!("{}\n", "x".repeat(3_000)));
    let produced = mqctl(&mqd, &["produce", "small"], format!("{short}{long}b\n").as_bytes());
    let said = text(&produced.stderr);
    assert_eq!(produced.status.code(), Some(1), "{said}");
    for words in ["1 not stored", "record 1001: the record has 3000 bytes", "max.message.bytes is 2000"] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    assert_eq!(ok(&mqd, &["consume", "small", "-o", "start:end"], b""), format!("{short}b\n"));

    // One beyond what a request may have takes nothing else with it.
    let huge = format!("{}\n", "x".repeat(20 << 20));
    let produced = mqctl(&mqd, &["produce", "small", "-o", "json"], format!("c\n{huge}d\n").as_bytes());
    let said = text(&produced.stdout);
    for field in ["\"records\": 2,", "\"failed\": 1,", "\"unknown\": 0,", "\"first_record\": 2,"] {
        assert!(said.contains(field), "{field} is not in: {said}");
    }
    assert_eq!(ok(&mqd, &["consume", "small", "-o", "-2:end"], b""), "c\nd\n");
}

#[test]
fn a_deleted_topic_comes_back_from_the_trash_or_is_purged() {
    let dir = scratch();
    let mqd = Mqd::start(&dir.path().join("data"));
    ok(&mqd, &["topic", "create", "t"], b"");
    ok(&mqd, &["produce", "t", "kept"], b"");
    let unasked = fails(&mqd, 2, &["topic", "delete", "t"]);
    assert!(unasked.contains("--yes"), "{unasked}");
    ok(&mqd, &["topic", "delete", "t", "--yes"], b"");
    ok(&mqd, &["topic", "trash", "restore", "t"], b"");
    assert_eq!(ok(&mqd, &["consume", "t", "-o", "start:end"], b""), "kept\n");
    let deleted = ok(&mqd, &["topic", "delete", "t", "--yes", "-o", "json"], b"");
    assert!(deleted.contains("\"t\""), "{deleted}");
    ok(&mqd, &["topic", "trash", "purge", "t", "--dry-run"], b"");
    ok(&mqd, &["topic", "trash", "purge", "t", "--yes"], b"");
    let gone = fails(&mqd, 1, &["topic", "trash", "restore", "t"]);
    assert!(gone.contains("not in the trash"), "{gone}");
}

#[test]
fn a_directory_without_a_log_is_not_clean() {
    let dir = scratch();
    let output = Command::new(program("mqctl")).args(["log", "verify"]).arg(dir.path()).output();
    let output = output.expect("mqctl starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("holds no log"), "{}", text(&output.stderr));
}

#[test]
fn typing_mistakes_are_answered_with_what_was_meant() {
    let dir = scratch();
    let mqd = Mqd::start(&dir.path().join("data"));
    ok(&mqd, &["topic", "create", "orders"], b"");
    let unknown = fails(&mqd, 1, &["topic", "describe", "ordes"]);
    assert!(unknown.contains("orders"), "{unknown}");
    let unknown = fails(&mqd, 1, &["consume", "ordes", "-o", "start:end"]);
    assert!(unknown.contains("orders"), "{unknown}");
    fails(&mqd, 2, &["topic", "describe"]);
    fails(&mqd, 2, &["topik", "list"]);
    let illegal = fails(&mqd, 1, &["topic", "create", "no spaces"]);
    assert!(illegal.contains("topic name") && illegal.contains("byte 2"), "{illegal}");
    let exists = fails(&mqd, 1, &["topic", "create", "orders"]);
    assert!(exists.contains("exists"), "{exists}");
    let json = fails(&mqd, 2, &["consume", "orders", "-o", "json"]);
    assert!(json.contains("--output json"), "{json}");
    let config = fails(&mqd, 1, &["topic", "alter", "orders", "--set", "retention.sm=5"]);
    assert!(config.contains("retention.ms"), "{config}");
}

#[test]
fn a_missing_broker_is_said_in_words() {
    let nobody = mq_tests::process::free_address();
    let output = Command::new(program("mqctl"))
        .args(["--brokers", &nobody.to_string(), "topic", "list"])
        .output()
        .expect("mqctl starts");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&nobody.to_string()) && said.contains("mqd"), "{said}");
}

#[test]
fn health_has_an_exit_code() {
    let dir = scratch();
    let mqd = Mqd::start(&dir.path().join("data"));
    ok(&mqd, &["cluster", "health"], b"");
    ok(&mqd, &["healthcheck"], b"");
    ok(&mqd, &["cluster", "info"], b"");
    ok(&mqd, &["partition", "list"], b"");
    let completion = ok(&mqd, &["generate", "completion", "bash"], b"");
    assert!(completion.contains("mqctl"), "{completion}");
}

/// Waits until `mqctl cluster health` says so.
fn until_health_says(mqd: &Mqd, wanted: &str) -> String {
    let begun = std::time::Instant::now();
    loop {
        let health = mqctl(mqd, &["cluster", "health", "-o", "json"], b"");
        let said = text(&health.stdout);
        if said.contains(wanted) {
            assert_eq!(health.status.code(), Some(10), "{said}");
            return said;
        }
        assert!(begun.elapsed().as_secs() < 60, "{wanted:?} is not in: {said}; its log:\n{}", mqd.log());
        pause();
    }
}

#[test]
fn one_rotten_byte_costs_its_batch_alone_and_everybody_who_asks_is_told() {
    let dir = scratch();
    let data = dir.path().join("data");
    let mut mqd = Mqd::start(&data);
    ok(&mqd, &["topic", "create", "ssh"], b"");
    ok(&mqd, &["produce", "ssh"], lines().as_bytes());
    ok(&mqd, &["produce", "ssh", "the last line"], b"");
    assert!(mqd.terminate().success());
    let (segment, mut bytes, place) = a_segment_with(&data, b"a line of a log, w");
    bytes[place] ^= 1;
    std::fs::write(&segment, bytes).expect("a segment can be written");

    let mut mqd = Mqd::start(&data);
    ok(&mqd, &["cluster", "health"], b"");
    let refused = fails(&mqd, 1, &["consume", "ssh", "-o", "start:end"]);
    assert!(refused.contains("is damaged at byte"), "{refused}");
    let name = segment.file_name().expect("a file has a name").to_string_lossy().into_owned();
    let said = until_health_says(&mqd, "DAMAGED_REPLICA");
    for words in [name.as_str(), "ssh/0", "offset", "mqctl log verify", "mqctl log repair"] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    assert_eq!(ok(&mqd, &["consume", "ssh", "-o", "-1:end"], b""), "the last line\n");
    ok(&mqd, &["produce", "ssh", "one more"], b"");
    let (status, ready) = mqd.admin_get("/readyz");
    assert!(
        status.contains("200") && ready.starts_with("ready\nDAMAGED_REPLICA ssh/0: "),
        "{status} {ready}"
    );
    let (_, metrics) = mqd.admin_get("/metrics");
    assert!(metrics.contains("\nmq_log_corrupt_frames_total 1\n"), "{metrics}");
    assert!(metrics.contains("\nmq_replicas_damaged 1\n"), "{metrics}");
    assert!(mqd.terminate().success());

    let mqd = Mqd::start(&data);
    until_health_says(&mqd, "DAMAGED_REPLICA");
    assert_eq!(ok(&mqd, &["consume", "ssh", "-o", "-2:end"], b""), "the last line\none more\n");
}
