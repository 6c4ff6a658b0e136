//! Whose directory it is, and who may use it.

use super::{DataDir, DataDirError, META, Meta};
use mq_types::{BrokerId, DirectoryId};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn fresh(broker: u32, byte: u8) -> Meta {
    Meta {
        cluster_id: format!("cluster-{byte}"),
        broker_id: BrokerId(broker),
        directory_id: DirectoryId([byte; 16]),
        founded: false,
    }
}

fn message(result: Result<DataDir, DataDirError>) -> String {
    result.expect_err("it is refused").to_string()
}

#[test]
fn ids_are_drawn_once_and_founding_is_remembered() {
    let directory = directory();
    let path = directory.path().join("made/on/demand");
    let first = DataDir::open(&path, &fresh(1, 1)).expect("an empty directory is taken");
    assert_eq!(*first.meta(), fresh(1, 1));
    drop(first);
    let second = DataDir::open(&path, &fresh(1, 2)).expect("it opens again");
    assert_eq!(*second.meta(), fresh(1, 1));
    second.set_founded().expect("it is writable");
    drop(second);
    let third = DataDir::open(&path, &fresh(1, 3)).expect("it opens again");
    assert_eq!(*third.meta(), Meta { founded: true, ..fresh(1, 1) });
}

#[test]
fn a_directory_in_use_is_refused_by_name() {
    let directory = directory();
    let _held = DataDir::open(directory.path(), &fresh(1, 1)).expect("an empty directory is taken");
    let refused = message(DataDir::open(directory.path(), &fresh(1, 1)));
    assert!(
        refused.contains("another mqd") && refused.contains(&directory.path().display().to_string()),
        "{refused}"
    );
}

#[test]
fn another_brokers_directory_is_refused_and_left_as_it_was() {
    let directory = directory();
    drop(DataDir::open(directory.path(), &fresh(7, 1)).expect("an empty directory is taken"));
    let refused = message(DataDir::open(directory.path(), &fresh(8, 2)));
    assert!(refused.contains("belongs to broker 7, and this is broker 8"), "{refused}");
    assert!(DataDir::open(directory.path(), &fresh(7, 2)).is_ok());
}

#[test]
fn state_without_a_name_is_refused() {
    let directory = directory();
    fs::create_dir_all(directory.path().join("quorums/0-1")).expect("it is writable");
    let refused = message(DataDir::open(directory.path(), &fresh(1, 1)));
    assert!(refused.contains("quorums/ but no broker.meta"), "{refused}");
    assert!(!directory.path().join(META).exists());
}

#[test]
fn a_folder_of_other_files_is_refused_and_left_as_it_was() {
    let directory = directory();
    for name in ["d.txt", "a.txt", "c.txt", "b.txt"] {
        fs::write(directory.path().join(name), "").expect("it is writable");
    }
    let refused = message(DataDir::open(directory.path(), &fresh(1, 1)));
    assert!(refused.contains("holds other files (a.txt, b.txt, c.txt, …)"), "{refused}");
    assert_eq!(fs::read_dir(directory.path()).expect("it is there").count(), 4, "nothing was made");
}

#[test]
fn an_empty_file_system_and_a_start_that_was_cut_short_are_taken() {
    let directory = directory();
    fs::create_dir(directory.path().join("lost+found")).expect("it is writable");
    for name in [".snapshot", "lock", "broker.meta.new"] {
        fs::write(directory.path().join(name), "").expect("it is writable");
    }
    drop(DataDir::open(directory.path(), &fresh(1, 1)).expect("nobody else's files are there"));
    fs::write(directory.path().join("notes.txt"), "").expect("it is writable");
    DataDir::open(directory.path(), &fresh(1, 1)).expect("it is this broker's already");
}

#[test]
fn every_flipped_bit_and_every_cut_of_the_meta_file_is_noticed() {
    let directory = directory();
    drop(DataDir::open(directory.path(), &fresh(1, 1)).expect("an empty directory is taken"));
    let file = directory.path().join(META);
    let good = fs::read(&file).expect("it was written");
    let refused = |bytes: &[u8], path: &Path| {
        fs::write(&file, bytes).expect("it is writable");
        DataDir::open(path, &fresh(1, 1)).is_err()
    };
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(refused(&bad, directory.path()), "bit {bit} flipped unnoticed");
    }
    for length in 0..good.len() {
        assert!(refused(&good[..length], directory.path()), "cut to {length} bytes unnoticed");
    }
}

#[test]
fn a_newer_format_asks_for_a_newer_program() {
    let directory = directory();
    drop(DataDir::open(directory.path(), &fresh(1, 1)).expect("an empty directory is taken"));
    let file = directory.path().join(META);
    let mut bytes = fs::read(&file).expect("it was written");
    bytes[8] = 2;
    fs::write(&file, bytes).expect("it is writable");
    let refused = message(DataDir::open(directory.path(), &fresh(1, 1)));
    assert!(refused.contains("format version 2") && refused.contains("newer mq"), "{refused}");
}

#[test]
fn a_path_through_a_file_is_refused_and_the_system_is_quoted_once() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "").expect("it is writable");
    let refused = message(DataDir::open(&file, &fresh(1, 1)));
    assert!(refused.contains("file is not a directory"), "{refused}");
    let refused = DataDir::open(&file.join("data"), &fresh(1, 1)).expect_err("a file holds no directory");
    assert!(std::error::Error::source(&refused).is_none(), "{refused:?}");
    assert!(refused.to_string().contains("Not a directory"), "{refused}");
}
