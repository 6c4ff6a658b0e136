//! Rot: a bit that changed on the disk is found by the scrub or by a read, told once, remembered, and costs no more
//! than the records it is in.

use crate::running::*;
use mq_broker::api::Error;
use mq_broker::{Broker, Finding, Options, ScrubOptions, Severity};
use mq_types::persist::Standing;
use std::fs;
use std::path::{Path, PathBuf};

const OFF: ScrubOptions = ScrubOptions { bytes_per_second: 0, interval_ms: 1 };
/// One pass after the other.
const ALWAYS: ScrubOptions = ScrubOptions { bytes_per_second: 1 << 40, interval_ms: 1 };

async fn start_with(directory: &Path, scrub: ScrubOptions) -> Broker {
    Broker::start(Options { scrub, ..options(directory) }).await.expect("the broker starts")
}

/// Twenty records of 8 KB, each a batch; a segment holds seven of them.
async fn filled(broker: &Broker) {
    create_with(broker, "orders", 1, &[("segment.bytes", "65536")]).await.expect("the topic is created");
    for number in 0..20 {
        produce(broker, "orders", 0, &[&value(number)]).await;
    }
}

fn value(number: u64) -> String {
    format!("record {number:02} {}", "x".repeat(8_000))
}

/// Changes one bit of the first byte of these bytes, wherever they are stored. Answers the file.
fn rot(directory: &Path, wanted: &[u8]) -> PathBuf {
    let quorums = fs::read_dir(directory.join("quorums")).expect("there are quorums");
    let files = quorums.flat_map(|dir| fs::read_dir(dir.expect("readable").path()).expect("readable"));
    let segments = files.map(|entry| entry.expect("readable").path());
    for path in segments.filter(|path| path.extension().is_some_and(|extension| extension == "seg")) {
        let mut bytes = fs::read(&path).expect("readable");
        if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted) {
            bytes[at] ^= 1;
            // In place: the broker has this file open.
            let file = fs::OpenOptions::new().write(true).open(&path).expect("writable");
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes[at..=at], at as u64).expect("writable");
            return path;
        }
    }
    panic!("it is stored nowhere");
}

/// Waits until the broker says this of itself.
async fn finding(broker: &Broker, is_wanted: impl Fn(&Finding) -> bool) -> Finding {
    let found = async {
        loop {
            if let Some(found) = broker.health().into_iter().find(&is_wanted) {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, found).await.expect("it is found")
}

fn metric(broker: &Broker, name: &str) -> f64 {
    let text = broker.metrics().encode();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().expect("a number")
}

/// Everything but the record at offset 3 is there, and that one is refused.
async fn all_but_offset_3(broker: &Broker, end: u64) {
    let at = resolved(broker, "orders", 0);
    for _ in 0..3 {
        let refused = broker.fetch(&at, 3, 1).await.expect_err("it does not verify");
        assert!(matches!(&refused, Error::CorruptLog { offset, .. } if offset.0 == 3), "{refused}");
    }
    let fetched = broker.fetch(&at, 0, 1 << 20).await.expect("what lies before it is sound");
    assert_eq!(fetched.next_offset.0, 3);
    let rest = read_all(broker, "orders", 0, 4).await;
    assert_eq!(rest.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (4..end).collect::<Vec<_>>());
    assert!(rest.iter().all(|(offset, text)| *text == value(*offset)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scrub_finds_what_rotted_and_the_partition_goes_on_also_after_a_restart() {
    let directory = directory();
    let broker = start_with(directory.path(), ALWAYS).await;
    filled(&broker).await;
    while metric(&broker, "mq_scrub_passes_total") == 0.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(broker.health(), []);
    assert_eq!(metric(&broker, "mq_log_corrupt_frames_total"), 0.0);

    let file = rot(directory.path(), b"record 03");
    let found = finding(&broker, |found| found.code == "DAMAGED_REPLICA").await;
    assert_eq!((found.subject.as_str(), found.severity), ("orders/0", Severity::Error));
    let name = file.strip_prefix(directory.path()).expect("it is below").display().to_string();
    for words in [name.as_str(), "at byte ", "offset 3 ", "mqctl log verify", "mqctl log repair"] {
        assert!(found.message.contains(words), "{words:?} is not in: {}", found.message);
    }
    produce(&broker, "orders", 0, &[&value(20)]).await;
    all_but_offset_3(&broker, 21).await;
    let passes = metric(&broker, "mq_scrub_passes_total");
    while metric(&broker, "mq_scrub_passes_total") < passes + 2.0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        metric(&broker, "mq_log_corrupt_frames_total"),
        1.0,
        "it is one place, however often it is met"
    );
    assert_eq!(metric(&broker, "mq_replicas_damaged"), 1.0);
    assert!(metric(&broker, "mq_scrub_bytes_total") > 160_000.0);
    assert!(metric(&broker, "mq_scrub_last_pass_timestamp_seconds") > 1e9);
    stop(&broker).await;
    drop(broker);

    let broker = start_with(directory.path(), OFF).await;
    served(&broker, "orders", 0).await;
    let view = broker.view(resolved(&broker, "orders", 0).quorum).expect("it is here");
    assert_eq!(view.standing, Standing::Damaged);
    assert_eq!(metric(&broker, "mq_replicas_damaged"), 1.0);
    let found = finding(&broker, |found| found.code == "DAMAGED_REPLICA").await;
    assert!(found.message.contains("found earlier"), "{}", found.message);
    all_but_offset_3(&broker, 21).await;
    let found = finding(&broker, |found| found.message.contains(&name)).await;
    assert_eq!(found.subject, "orders/0");
    produce(&broker, "orders", 0, &[&value(21)]).await;
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_meets_a_bad_place_is_as_good_as_a_scrub() {
    let directory = directory();
    let broker = start_with(directory.path(), OFF).await;
    filled(&broker).await;
    rot(directory.path(), b"record 03");
    assert_eq!(broker.health(), [], "nobody has met it");
    all_but_offset_3(&broker, 20).await;
    let found = finding(&broker, |found| found.code == "DAMAGED_REPLICA").await;
    assert!(found.message.contains("offset 3 "), "{}", found.message);
    assert_eq!(metric(&broker, "mq_log_corrupt_frames_total"), 1.0);
    assert_eq!(metric(&broker, "mq_scrub_bytes_total"), 0.0);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_bad_places_some_are_remembered_and_the_rest_is_said_to_be_there() {
    let directory = directory();
    let broker = start_with(directory.path(), OFF).await;
    filled(&broker).await;
    for number in 0..19 {
        rot(directory.path(), format!("record {number:02}").as_bytes());
    }
    let at = resolved(&broker, "orders", 0);
    for offset in 0..19 {
        broker.fetch(&at, offset, 1).await.expect_err("it does not verify");
    }
    let found = finding(&broker, |found| found.message.contains("and 13 more")).await;
    assert!(found.message.contains("in places beyond those counted"), "{}", found.message);
    assert_eq!(metric(&broker, "mq_log_corrupt_frames_total"), 16.0);
    assert_eq!(read_all(&broker, "orders", 0, 19).await, [(19, value(19))]);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_last_record_is_damage_until_a_restart_finds_the_end_uncertain() {
    let directory = directory();
    let broker = start_with(directory.path(), ALWAYS).await;
    filled(&broker).await;
    rot(directory.path(), b"record 19");
    finding(&broker, |found| found.code == "DAMAGED_REPLICA").await;
    stop(&broker).await;
    drop(broker);
    let broker = start_with(directory.path(), ALWAYS).await;
    let found = finding(&broker, |found| found.code == "LOST_REPLICA").await;
    assert_eq!((found.subject.as_str(), found.severity), ("orders/0", Severity::Error));
    let fetched = broker.fetch(&resolved(&broker, "orders", 0), 0, 1 << 20).await.expect("it is readable");
    assert!(fetched.next_offset.0 > 10, "what is known to be committed is read as before");
    assert_eq!(metric(&broker, "mq_replicas_lost"), 1.0);
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_log_is_scrubbed_too() {
    let directory = directory();
    let broker = start_with(directory.path(), ALWAYS).await;
    filled(&broker).await;
    rot(directory.path(), b"orders");
    let found = finding(&broker, |found| found.subject == "controller").await;
    assert_eq!((found.code, found.severity), ("DAMAGED_REPLICA", Severity::Error));
    create(&broker, "more", 1).await;
    produce(&broker, "more", 0, &["a"]).await;
    stop(&broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metrics_help_is_a_sentence() {
    let directory = directory();
    let broker = start(directory.path()).await;
    create(&broker, "orders", 1).await;
    let text = broker.metrics().encode();
    let helps: Vec<_> = text.lines().filter(|line| line.starts_with("# HELP ")).collect();
    assert!(helps.len() > 20, "{text}");
    for help in helps {
        assert!(help.ends_with('.') && !help.ends_with(".."), "{help}");
    }
    stop(&broker).await;
}
