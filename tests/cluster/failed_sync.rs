//! A sync that fails: the broker ends at once, by itself and with a clear message, and what it had acknowledged is there
//! when it starts again.
//!
//! Once for real, on a file system whose disk has no room for what it promised; and once with the error put in place of
//! the system call by `strace`. Each says so where it cannot be done.

use mq_tests::file_system::FileSystem;
use mq_tests::process::{Mqd, command, free_address, scratch};
use mq_tests::recorded::{RecordedTopic, reason};
use std::process::{Command, ExitStatus};
use tonic::transport::Channel;

const RECORD_BYTES: usize = 100_000;
/// The disk below the file system has room for so much, and no more.
const ROOM_BYTES: u64 = 6 << 20;
const DISK_BYTES: u64 = 48 << 20;
/// What the file system on it believes to have.
const CLAIMED_BYTES: u64 = 256 << 20;
/// Far more than there is room for.
const RECORDS_MAX: usize = 500;
/// How many syncs succeed before one fails: more than a start takes.
const GOOD_SYNCS: usize = 60;

/// Sends records until the broker does not answer any more.
async fn send_until_the_end(topic: &mut RecordedTopic, channel: &Channel) {
    for _ in 0..RECORDS_MAX {
        if let Err(status) = topic.send(channel, RECORD_BYTES).await {
            assert!(["", "OUTCOME_UNKNOWN", "SHUTTING_DOWN"].contains(&reason(&status)), "{status}");
            return;
        }
    }
    panic!("{RECORDS_MAX} records were acknowledged on a disk that cannot hold them");
}

fn assert_ended_by_itself(status: ExitStatus, log: &str) {
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(status.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{status}; the log:\n{log}");
    assert!(log.contains("could not sync") || log.contains("could not write"), "it does not say why:\n{log}");
    assert!(log.contains("the process ends"), "it does not say what follows:\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_keep_what_it_was_given_ends_the_broker_and_nothing_acknowledged_is_lost() {
    let dir = scratch();
    let (image, data) = (dir.path().join("disk/image"), dir.path().join("data"));
    let mounted = FileSystem::memory(&dir.path().join("disk"), DISK_BYTES)
        .and_then(|disk| Ok((FileSystem::ext4(&image, &data, CLAIMED_BYTES)?, disk)));
    let (claimed, disk) = match mounted {
        Ok(mounted) => mounted,
        Err(why) => return mq_tests::say(&format!("skipped: no failing disk can be made here: {why}")),
    };
    let filler = disk.fill_but("filler", ROOM_BYTES);
    let mut mqd = Mqd::start(claimed.path());
    let channel = mqd.channel().await;
    let mut topic = RecordedTopic::create(&channel, "kept").await;
    send_until_the_end(&mut topic, &channel).await;
    assert_ended_by_itself(mqd.wait_for_end(), &mqd.log());

    filler.remove();
    drop(claimed);
    let _claimed = FileSystem::ext4_again(&image, &data).expect("it was mounted before");
    let mqd = Mqd::start(&data);
    let acknowledged = topic.check(&mqd.channel().await).await;
    assert!(acknowledged > 5, "{acknowledged} records were acknowledged before the disk failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_one_sync_ends_the_broker_and_nothing_acknowledged_is_lost() {
    let dir = scratch();
    let data = dir.path().join("data");
    if let Err(error) = Command::new("strace").arg("--version").output() {
        return mq_tests::say(&format!("skipped: there is no strace here: {error}"));
    }
    let (grpc, admin) = (free_address(), free_address());
    let broker = command(&data, grpc, admin);
    let mut traced = Command::new("strace");
    // strace as the broker's grandchild, so that the process started here is the broker.
    let inject = format!("inject=fdatasync:error=EIO:when={}+", GOOD_SYNCS + 1);
    traced.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", &inject]);
    traced.arg(broker.get_program()).args(broker.get_args()).env_remove("MQ_BROKERS");
    let mut mqd = Mqd::start_by(traced, &data, grpc, admin);
    let channel = mqd.channel().await;
    let mut topic = RecordedTopic::create(&channel, "kept").await;
    send_until_the_end(&mut topic, &channel).await;
    assert_ended_by_itself(mqd.wait_for_end(), &mqd.log());

    let mqd = Mqd::start(&data);
    let acknowledged = topic.check(&mqd.channel().await).await;
    assert!(acknowledged > 5, "{acknowledged} records were acknowledged before the disk failed");
}
