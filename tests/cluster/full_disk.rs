//! A disk without a free byte: records are refused, everything else goes on, and nobody has to restart anything.
//!
//! The data directory is a small file system of its own. Needs root and loop devices; says so where they are missing.

use mq_tests::file_system::{FileSystem, Filler};
use mq_tests::process::{Mqd, pause, scratch};
use mq_tests::recorded::{RecordedTopic, reason};
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::Code;
use tonic::transport::Channel;

const SIZE_BYTES: u64 = 96 << 20;
/// A tenth of it would be: what the broker leaves free, and its ballast.
const PART_BYTES_MAX: u64 = SIZE_BYTES / 20;
/// A broker that does what it should takes a second or two; this only ends a hung test.
const LIMIT: Duration = Duration::from_secs(20);
/// More records than the file system can hold.
const RECORDS_MAX: usize = 1_000;
/// A few blocks: what comes free while somebody looks.
const HARDLY_ANY_BYTES: u64 = 64 << 10;
const SMALL_BYTES: usize = 1_000;
const LARGE_BYTES: usize = 400_000;

/// A small file system for a data directory; `None` where there can be none.
fn small_file_system(dir: &Path) -> Option<FileSystem> {
    FileSystem::ext4(&dir.join("image"), &dir.join("data"), SIZE_BYTES)
        .inspect_err(|why| {
            mq_tests::say(&format!("skipped: no small file system can be mounted here: {why}"));
        })
        .ok()
}

/// A figure of the metrics.
fn metric(mqd: &Mqd, name: &str) -> u64 {
    let (_, text) = mqd.admin_get("/metrics");
    let line =
        text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    let value = line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{name} is not among the metrics:\n{text}"))
}

fn ballast_bytes(mqd: &Mqd) -> u64 {
    metric(mqd, "mq_disk_ballast_bytes")
}

/// Waits for the ballast to be whole; answers how large that is.
fn wait_for_ballast(mqd: &Mqd, whole_bytes: Option<u64>) -> u64 {
    let begun = Instant::now();
    loop {
        let bytes = ballast_bytes(mqd);
        if bytes > 0 && whole_bytes.is_none_or(|whole| whole == bytes) {
            return bytes;
        }
        assert!(begun.elapsed() < LIMIT, "the ballast has {bytes} bytes; the log:\n{}", mqd.log());
        pause();
    }
}

/// Sends records until they are refused, and for no other reason than that the disk is full.
async fn send_until_refused(topic: &mut RecordedTopic, channel: &Channel, size_bytes: usize) -> usize {
    let begun = Instant::now();
    for taken in 0.. {
        let Err(status) = topic.send(channel, size_bytes).await else {
            assert!(taken < RECORDS_MAX || size_bytes < LARGE_BYTES, "more than the disk holds was taken");
            assert!(begun.elapsed() < LIMIT, "records are still taken");
            continue;
        };
        assert_eq!((reason(&status), status.code()), ("DISK_FULL", Code::ResourceExhausted), "{status}");
        return taken;
    }
    unreachable!("the loop ends by returning")
}

/// Sends records until one is taken again; until then each is refused because the disk is full.
async fn send_until_taken(topic: &mut RecordedTopic, channel: &Channel, mqd: &Mqd) {
    let begun = Instant::now();
    while let Err(status) = topic.send(channel, SMALL_BYTES).await {
        assert_eq!(reason(&status), "DISK_FULL", "{status}");
        assert!(begun.elapsed() < LIMIT, "writing does not resume; the log:\n{}", mqd.log());
        pause();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_fills_the_disk_and_a_broker_and_its_restart_live_on_the_ballast() {
    let dir = scratch();
    let Some(disk) = small_file_system(dir.path()) else { return };
    let mut mqd = Mqd::start(disk.path());
    let channel = mqd.channel().await;
    let mut kept = RecordedTopic::create(&channel, "kept").await;
    let altered = RecordedTopic::create(&channel, "altered").await;
    let mut trimmed = RecordedTopic::create(&channel, "trimmed").await;
    for _ in 0..20 {
        kept.send(&channel, SMALL_BYTES).await.expect("there is room");
        trimmed.send(&channel, LARGE_BYTES / 4).await.expect("there is room");
    }
    let whole_bytes = wait_for_ballast(&mqd, None);
    assert!(whole_bytes > PART_BYTES_MAX / 2 && whole_bytes <= PART_BYTES_MAX, "{whole_bytes} bytes");

    let mut fillers = vec![disk.fill("somebody-elses-file")];
    send_until_refused(&mut kept, &channel, SMALL_BYTES).await;
    assert!(disk.available_bytes() < HARDLY_ANY_BYTES, "nothing was given up for records");
    assert_eq!(ballast_bytes(&mqd), whole_bytes, "the log:\n{}", mqd.log());
    assert!(mqd.admin_get("/metrics").1.contains("mq_disk_full{shard=\"0\"} 1"), "the metrics tell");
    kept.check(&channel).await;
    let refused = RecordedTopic::try_create(&channel, "more").await.expect_err("topics take room");
    assert_eq!(reason(&refused), "DISK_FULL", "{refused}");
    assert_eq!(ballast_bytes(&mqd), whole_bytes);
    let left_bytes = alter_until_use(&altered, &channel, &mqd, whole_bytes).await;
    assert!(left_bytes > 0, "a part is kept for a start on the full disk");
    trimmed.trim(&channel).await.expect("trims go on");
    altered.purge(&channel).await.expect("deletions go on");

    mqd.kill();
    fillers.push(disk.fill("somebody-elses-second-file"));
    assert!(disk.available_bytes() < HARDLY_ANY_BYTES);
    let mut mqd = Mqd::start(disk.path());
    let channel = mqd.channel().await;
    kept.check(&channel).await;
    assert!(ballast_bytes(&mqd) < left_bytes, "the start needed it");
    let taken = send_until_refused(&mut kept, &channel, SMALL_BYTES).await;
    assert_eq!(taken, 0, "a broker that starts on a full disk knows it from the beginning");
    trimmed.purge(&channel).await.expect("deletions go on");

    fillers.into_iter().for_each(Filler::remove);
    send_until_taken(&mut kept, &channel, &mqd).await;
    wait_for_ballast(&mqd, Some(whole_bytes));
    kept.send(&channel, LARGE_BYTES).await.expect("there is room");
    mqd.kill();
    let mqd = Mqd::start(disk.path());
    let acknowledged = kept.check(&mqd.channel().await).await;
    assert!(acknowledged > 20, "{acknowledged} records were acknowledged");
}

/// Has the controller write, which is not refused, until that needs a part of the ballast; answers what is left of it.
async fn alter_until_use(topic: &RecordedTopic, channel: &Channel, mqd: &Mqd, whole_bytes: u64) -> u64 {
    let begun = Instant::now();
    for segment_ms in 1_000_000_u64.. {
        topic.alter(channel, "segment.ms", &segment_ms.to_string()).await.expect("configs can be changed");
        let bytes = ballast_bytes(mqd);
        if bytes < whole_bytes {
            return bytes;
        }
        assert!(begun.elapsed() < LIMIT, "the ballast is not used; the log:\n{}", mqd.log());
    }
    unreachable!("the loop ends by returning")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_filled_the_disk_itself_takes_records_again_after_a_trim_and_after_a_deletion() {
    let dir = scratch();
    let Some(disk) = small_file_system(dir.path()) else { return };
    let mut mqd = Mqd::start(disk.path());
    let channel = mqd.channel().await;
    let mut kept = RecordedTopic::create(&channel, "kept").await;
    let mut bulk = RecordedTopic::create(&channel, "bulk").await;
    kept.send(&channel, SMALL_BYTES).await.expect("there is room");
    let whole_bytes = wait_for_ballast(&mqd, None);

    let taken = send_until_refused(&mut bulk, &channel, LARGE_BYTES).await;
    assert!(taken * LARGE_BYTES > SIZE_BYTES as usize / 2, "{taken} records is too little for this disk");
    assert!(disk.available_bytes() > 0, "the reserve is not used up by records");
    // Every shard looks for itself after each of its rounds.
    let taken = send_until_refused(&mut kept, &channel, SMALL_BYTES).await;
    assert!(taken < 10, "{taken} records were taken by another partition");
    bulk.check(&channel).await;
    bulk.trim(&channel).await.expect("trims go on");
    send_until_taken(&mut kept, &channel, &mqd).await;

    send_until_refused(&mut bulk, &channel, LARGE_BYTES).await;
    bulk.purge(&channel).await.expect("deletions go on");
    send_until_taken(&mut kept, &channel, &mqd).await;
    assert_eq!(ballast_bytes(&mqd), whole_bytes, "the reserve was enough, all the time");
    mqd.kill();
    let mqd = Mqd::start(disk.path());
    let acknowledged = kept.check(&mqd.channel().await).await;
    assert!(acknowledged >= 3, "{acknowledged} records were acknowledged");
}
