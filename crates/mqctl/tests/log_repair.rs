//! `mqctl log repair` on a real directory: what it says before, what it asks, and how it ends.

use bytes::Bytes;
use mq_log::inspect::{Item, inspect};
use mq_log::{Options, OsDisk, ShardStore};
use mq_types::persist::{Create, Membership, ReplicaWrite, Start};
use mq_types::{Body, BrokerId, Entry, Index, Offset, QuorumId, ReplicaId, Term};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

const QUORUM: QuorumId = QuorumId(1024);

fn mqctl(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqctl"));
    command.args(["log", "repair"]).arg(dir).args(args).stdin(Stdio::null());
    command.output().expect("the program was built")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("messages are UTF-8")
}

fn options() -> Options {
    Options::new(1, [1; 32])
}

/// A directory with one partition, five entries, stopped cleanly. Gives back its segment.
fn directory() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be made");
    let replica = ReplicaId::new(BrokerId(1), 2);
    let mut store: ShardStore<OsDisk> =
        mq_log::open(OsDisk::new(dir.path()), options()).expect("it is empty").remove(0).store;
    let membership = Membership { conf_index: Index(1), voters: vec![replica], ..Membership::default() };
    let create = Create { start: Start::BOOTSTRAP, membership, opened: true, snapshot: None };
    let create = ReplicaWrite { create: Some(create), ..ReplicaWrite::new(QUORUM, replica) };
    store.persist_round(vec![create]).expect("nothing fails");
    for index in 2..7 {
        let entry = Entry {
            index: Index(index),
            term: Term(2),
            base_offset: Offset(0),
            appended_at_ms: 7,
            body: Body::Command(Bytes::from(vec![b'x'; 100])),
        };
        let write = ReplicaWrite { entries: vec![entry], ..ReplicaWrite::new(QUORUM, replica) };
        store.persist_round(vec![write]).expect("nothing fails");
    }
    store.close().expect("nothing fails");
    let segment = dir.path().join(format!("quorums/{QUORUM}-{replica}/00000000000000000002-1.seg"));
    (dir, segment)
}

/// Cuts off the last bytes of the last entry, which is known to be durable.
fn damage(segment: &Path) {
    let directory = OsDisk::read_only(segment.parent().expect("it is in a directory"));
    let mut end = 0;
    let mut take = |item| {
        if let Item::Entry { position, len_bytes, .. } = item {
            end = position.0 as usize + 64 + len_bytes as usize;
        }
    };
    let name = Path::new(segment.file_name().expect("it has a name"));
    inspect(&directory, name, &mut take).expect("it can be read");
    let bytes = fs::read(segment).expect("it exists");
    fs::write(segment, &bytes[..end - 10]).expect("it can be written");
}

#[test]
fn a_good_directory_needs_no_repair() {
    let (dir, _) = directory();
    for args in [&["--dry-run"][..], &[], &["--yes"]] {
        let ran = mqctl(args, dir.path());
        assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
        assert!(text(&ran.stderr).starts_with("nothing to repair"), "{}", text(&ran.stderr));
    }
}

#[test]
fn a_lost_log_is_cut_by_consent_and_not_before() {
    let (dir, segment) = directory();
    damage(&segment);
    let before = fs::read(&segment).expect("it exists");

    let ran = mqctl(&["--dry-run"], dir.path());
    let plan = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(10), "{plan}");
    assert!(plan.contains("quorum 1024") && plan.contains("index 5 stays the last one"), "{plan}");
    assert!(plan.contains("gone: 1 entry (6 to 6)") && plan.contains("-1.seg"), "{plan}");
    assert!(!dir.path().join("lock").exists() && !dir.path().join("quarantine").exists());

    let ran = mqctl(&[], dir.path());
    assert_eq!(ran.status.code(), Some(2), "nobody can answer");
    assert!(text(&ran.stderr).contains("add --yes, or --dry-run"), "{}", text(&ran.stderr));

    let ran = mqctl(&["--yes", "-o", "json"], dir.path());
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let said: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("it is JSON");
    assert_eq!(said["repaired"], true);
    let cut = &said["replicas"][0]["cut"];
    assert_eq!((&cut["last_index"], &cut["gone_last_index"]), (&5.into(), &6.into()));
    assert_eq!(fs::read(&segment).expect("it exists"), before, "the old bytes stay");

    assert_eq!(mqctl(&[], dir.path()).status.code(), Some(0), "there is nothing left to repair");
    let found = mq_log::open(OsDisk::new(dir.path()), options()).expect("it opens");
    assert_eq!(found[0].recovered[0].last_index, Index(5));
}

#[test]
fn a_state_of_which_nothing_is_left_is_unhealthy_and_says_to_replace_the_broker() {
    let (dir, _) = directory();
    for copy in ["a", "b"] {
        fs::write(dir.path().join(format!("state/0/1.{copy}")), [0; 100]).expect("it can be written");
    }
    let ran = mqctl(&["--yes"], dir.path());
    assert_eq!(ran.status.code(), Some(10));
    assert!(text(&ran.stderr).contains("Replace the broker"), "{}", text(&ran.stderr));
}

#[test]
fn a_directory_in_use_or_of_something_else_is_left_alone() {
    let (dir, segment) = directory();
    damage(&segment);
    let lock = File::create(dir.path().join("lock")).expect("it can be made");
    lock.lock().expect("nobody else has it");
    for args in [&["--dry-run"][..], &["--yes"]] {
        let ran = mqctl(args, dir.path());
        assert_eq!(ran.status.code(), Some(1));
        assert!(text(&ran.stderr).contains("stop it first"), "{}", text(&ran.stderr));
    }
    let ran = mqctl(&["--yes"], &dir.path().join("quorums"));
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).contains("data directory"), "{}", text(&ran.stderr));
    let ran = mqctl(&["--yes"], &dir.path().join("missing"));
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).ends_with("missing: No such file or directory (os error 2)\n"));
}

#[test]
fn a_state_that_cannot_be_read_is_an_error_that_says_so_once() {
    let (dir, _) = directory();
    fs::remove_dir_all(dir.path().join("state")).expect("the broker made it");
    File::create(dir.path().join("state")).expect("it can be made");
    let ran = mqctl(&["--dry-run"], dir.path());
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    assert_eq!(text(&ran.stderr).matches("os error").count(), 1, "{}", text(&ran.stderr));
}
