//! What `Disk` promises, checked against every disk there is; then what only the disk in memory can show: what is
//! lost, torn and refused.

use mq_log::disk::{Crash, Disk, DiskFile, Fault, Part};
use mq_log::{MemDisk, OsDisk};
use std::io::{ErrorKind, IoSlice};
use std::path::Path;

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn write<F: DiskFile>(file: &F, position: u64, bytes: &[u8]) {
    file.write_at(position, &mut [IoSlice::new(bytes)]).expect("there is room");
}

fn read<D: Disk>(disk: &D, name: &str) -> Vec<u8> {
    disk.open(path(name)).expect("it exists").read_at(0, usize::MAX).expect("it can be read")
}

fn names<D: Disk>(disk: &D, directory: &str) -> Vec<String> {
    disk.list(path(directory)).expect("it exists").into_iter().map(|entry| entry.name).collect()
}

/// Runs the suite on a disk that is empty.
fn conforms<D: Disk>(disk: &D) {
    files_hold_what_was_written(disk);
    names_come_and_go(disk);
    lengths_and_reservations_are_apart(disk);
    errors_say_what_is_there(disk);
}

fn files_hold_what_was_written<D: Disk>(disk: &D) {
    let file = disk.create(path("file")).expect("it is new");
    assert_eq!(file.read_at(0, 10).expect("it is open"), b"");
    let pieces: Vec<Vec<u8>> = (0..2500u32).map(|number| number.to_le_bytes().to_vec()).collect();
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    file.write_at(3, &mut slices).expect("more slices than one call may carry");
    assert_eq!(file.len_bytes().expect("it is open"), 10_003);
    assert_eq!(file.read_at(0, 3).expect("it is open"), [0, 0, 0], "a gap reads as zeros");
    assert_eq!(file.read_at(3, 10_000).expect("it is open"), pieces.concat());
    assert_eq!(file.read_at(10_000, 100).expect("it is open").len(), 3, "short at the end");
    assert_eq!(file.read_at(20_000, 100).expect("it is open"), b"", "nothing behind it");
    file.write_at(5, &mut [IoSlice::new(b""), IoSlice::new(b"ab"), IoSlice::new(b"")])
        .expect("empty slices too");
    file.clone().write_at(7, &mut []).expect("nothing at all");
    file.sync_data().expect("it is open");
    file.drop_cached(0..u64::MAX).expect("it is open");
    assert_eq!(&read(disk, "file")[4..8], [0, b'a', b'b', 1]);
    assert_eq!(&disk.open(path("file")).expect("it exists").map().expect("it can be mapped")[5..7], b"ab");
    let empty = disk.create(path("empty")).expect("it is new");
    assert!(empty.map().expect("an empty file can be mapped").is_empty());
    disk.unlink(path("empty")).expect("it exists");
}

fn names_come_and_go<D: Disk>(disk: &D) {
    disk.create_dir(path("dir")).expect("it is new");
    let file = disk.create(path("dir/b")).expect("it is new");
    write(&file, 0, b"content");
    disk.create(path("dir/a")).expect("it is new");
    disk.sync_dir(path("dir")).expect("it exists");
    disk.sync_dir(path("")).expect("the root is a directory");
    disk.sync_all().expect("nothing fails");
    assert_eq!(names(disk, "dir"), ["a", "b"]);
    assert_eq!(names(disk, ""), ["dir", "file"]);
    assert!(disk.list(path("")).expect("it exists")[0].is_dir);
    disk.rename(path("dir/b"), path("dir/a")).expect("a file of that name is replaced");
    assert_eq!(names(disk, "dir"), ["a"]);
    assert_eq!(read(disk, "dir/a"), b"content");
    disk.rename(path("dir"), path("other")).expect("directories too");
    disk.unlink(path("other/a")).expect("it exists");
    assert_eq!(file.read_at(0, 7).expect("an open file stays"), b"content");
    disk.remove_dir(path("other")).expect("it is empty");
    assert_eq!(names(disk, ""), ["file"]);
}

fn lengths_and_reservations_are_apart<D: Disk>(disk: &D) {
    let file = disk.create(path("sized")).expect("it is new");
    file.allocate(0).expect("nothing is reserved");
    file.allocate(8192).expect("there is room");
    assert_eq!(file.len_bytes().expect("it is open"), 0, "what is reserved does not count");
    write(&file, 0, b"abcdef");
    file.set_len(3).expect("it is open");
    file.set_len(6).expect("it is open");
    assert_eq!(read(disk, "sized"), b"abc\0\0\0", "what was cut off does not come back");
    disk.unlink(path("sized")).expect("it exists");
}

fn errors_say_what_is_there<D: Disk>(disk: &D) {
    let kind = |result: std::io::Result<()>| result.expect_err("it must fail").kind();
    disk.create_dir(path("full")).expect("it is new");
    disk.create(path("full/file")).expect("it is new");
    assert_eq!(kind(disk.create(path("file")).map(drop)), ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.create_dir(path("full"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.open(path("missing")).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(disk.list(path("missing")).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(disk.list(path("file")).map(drop)), ErrorKind::NotADirectory);
    assert_eq!(kind(disk.sync_dir(path("missing"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.unlink(path("missing"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.rename(path("missing"), path("x"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.create(path("missing/x")).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(disk.remove_dir(path("full"))), ErrorKind::DirectoryNotEmpty);
    disk.create_dir(path("other")).expect("it is new");
    assert_eq!(kind(disk.rename(path("other"), path("full"))), ErrorKind::DirectoryNotEmpty);
}

#[test]
fn the_disk_in_memory_conforms() {
    conforms(&MemDisk::new());
}

#[test]
fn the_real_disk_conforms() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be made");
    conforms(&OsDisk::new(directory.path()).for_writer());
}

#[test]
fn a_disk_for_reading_refuses_every_change() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be made");
    let writable = OsDisk::new(directory.path());
    write(&writable.create(path("file")).expect("it is new"), 0, b"kept");
    let disk = OsDisk::read_only(directory.path());
    let file = disk.open(path("file")).expect("reading is allowed");
    assert_eq!(file.read_at(0, 9).expect("it is open"), b"kept");
    assert!(file.write_at(0, &mut [IoSlice::new(b"lost")]).is_err());
    assert!(file.set_len(0).is_err());
    let kind = |result: std::io::Result<()>| result.expect_err("it must fail").kind();
    assert_eq!(kind(disk.create(path("new")).map(drop)), ErrorKind::PermissionDenied);
    assert_eq!(kind(disk.unlink(path("file"))), ErrorKind::PermissionDenied);
    assert_eq!(kind(disk.rename(path("file"), path("new"))), ErrorKind::PermissionDenied);
    assert_eq!(kind(disk.create_dir(path("new"))), ErrorKind::PermissionDenied);
    assert_eq!(names(&disk, ""), ["file"]);
}

#[test]
fn a_crash_of_the_machine_keeps_any_part_of_what_was_not_synced() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let disk = MemDisk::new();
        let file = disk.create(path("file")).expect("it is new");
        disk.sync_dir(path("")).expect("it exists");
        write(&file, 0, &[1; 1024]);
        file.sync_data().expect("nothing fails");
        write(&file, 512, &[2; 1024]);
        let disk = disk.crash(Crash::Machine { seed });
        assert!(file.read_at(0, 1).is_err(), "handles of a dead process are dead");
        let bytes = read(&disk, "file");
        assert_eq!(bytes[..512], [1; 512], "what was synced is kept");
        assert!(
            bytes.chunks(512).all(|block| block.iter().all(|byte| *byte == block[0])),
            "blocks are whole"
        );
        seen.insert(bytes.chunks(512).map(|block| block[0]).collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), 6, "each block alone, and the length: {seen:?}");
}

#[test]
fn a_crash_of_the_machine_may_lose_names_that_were_not_synced() {
    let outcomes: std::collections::BTreeSet<_> = (0..64)
        .map(|seed| {
            let disk = MemDisk::new();
            disk.create(path("old")).expect("it is new");
            disk.sync_dir(path("")).expect("it exists");
            disk.unlink(path("old")).expect("it exists");
            disk.create(path("new")).expect("it is new");
            names(&disk.crash(Crash::Machine { seed }), "")
        })
        .collect();
    assert_eq!(outcomes.len(), 4, "each name by itself: {outcomes:?}");
}

#[test]
fn a_crash_keeps_exactly_what_it_is_told_to_keep() {
    let disk = MemDisk::new();
    let file = disk.create(path("file")).expect("it is new");
    disk.sync_dir(path("")).expect("it exists");
    write(&file, 0, &[1; 1024]);
    file.sync_data().expect("nothing fails");
    assert!(disk.unsynced().is_empty(), "all is durable");
    write(&file, 0, &[1; 600]);
    assert!(disk.unsynced().is_empty(), "and what was written again is the same");
    write(&file, 512, &[2; 1024]);
    write(&file, 512, &[3; 10]);
    disk.create(path("new")).expect("it is new");
    let unsynced = disk.unsynced();
    let parts: Vec<Part> = unsynced.iter().map(|change| change.part.clone()).collect();
    let name = Part::Name("new".to_owned());
    let expected = [Part::Block(1), Part::Block(2), Part::Length, Part::Block(1), name];
    assert_eq!(parts, expected, "the oldest first: {unsynced:?}");
    let kept = |numbers: &[usize]| {
        let disk = disk.fork().crash_keeping(numbers.iter().map(|number| &unsynced[*number]));
        let bytes = read(&disk, "file");
        let blocks: Vec<u8> = bytes.chunks(512).map(|block| block[0]).collect();
        (blocks, names(&disk, "").len())
    };
    assert_eq!(kept(&[]), (vec![1, 1], 1));
    assert_eq!(kept(&[0]), (vec![1, 2], 1));
    assert_eq!(kept(&[1]), (vec![1, 1], 1), "a block behind the end is not there");
    assert_eq!(kept(&[1, 2]), (vec![1, 1, 2], 1));
    assert_eq!(kept(&[2, 4]), (vec![1, 1, 0], 2));
    assert_eq!(kept(&[3]), (vec![1, 3], 1), "a version of a block has those before it in it");
    assert_eq!(kept(&[0, 1, 2, 3, 4]), (vec![1, 3, 2], 2));
}

#[test]
fn one_sync_of_the_disk_makes_all_files_and_names_durable() {
    for seed in 0..16 {
        let disk = MemDisk::new();
        disk.create_dir(path("dir")).expect("it is new");
        for name in ["a", "dir/b"] {
            write(&disk.create(path(name)).expect("it is new"), 0, &[7; 1024]);
        }
        disk.sync_all().expect("nothing fails");
        let disk = disk.crash(Crash::Machine { seed });
        assert_eq!((read(&disk, "a"), read(&disk, "dir/b")), (vec![7; 1024], vec![7; 1024]));
    }
}

#[test]
fn a_crash_of_the_process_loses_nothing_and_makes_nothing_durable() {
    let disk = MemDisk::new();
    let file = disk.create(path("file")).expect("it is new");
    disk.sync_dir(path("")).expect("it exists");
    write(&file, 0, b"readable");
    let disk = disk.crash(Crash::Process);
    assert_eq!(read(&disk, "file"), b"readable");
    let lost = (0..20).any(|seed| read(&disk.fork().crash(Crash::Machine { seed }), "file") != b"readable");
    assert!(lost, "it was on no disk");
    disk.open(path("file")).expect("it exists").sync_data().expect("nothing fails");
    assert_eq!(read(&disk.crash(Crash::Machine { seed: 1 }), "file"), b"readable");
}

#[test]
fn after_a_failed_sync_the_bytes_are_readable_and_will_never_be_durable() {
    let disk = MemDisk::new();
    let file = disk.create(path("file")).expect("it is new");
    disk.sync_dir(path("")).expect("it exists");
    write(&file, 0, b"lost");
    disk.plan_fault(disk.operations(), Fault::Io);
    assert!(file.sync_data().is_err());
    assert_eq!(read(&disk, "file"), b"lost");
    file.sync_data().expect("a retry says that all is well");
    file.drop_cached(0..u64::MAX).expect("it is open");
    assert_eq!(read(&disk, "file"), b"");
}

#[test]
fn a_full_disk_refuses_and_changes_nothing() {
    let disk = MemDisk::new();
    let file = disk.create(path("file")).expect("it is new");
    disk.set_capacity_bytes(1000);
    file.allocate(900).expect("there is room");
    let other = disk.create(path("other")).expect("a name takes no room");
    let refused = other.write_at(0, &mut [IoSlice::new(&[1; 101])]).expect_err("there is no room");
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    assert_eq!(other.allocate(101).expect_err("there is no room").kind(), ErrorKind::StorageFull);
    write(&file, 0, &[1; 900]);
    disk.unlink(path("file")).expect("it exists");
    write(&other, 0, &[1; 1000]);
}

#[test]
fn a_stopped_disk_answers_nothing_until_the_crash() {
    let disk = MemDisk::new();
    let file = disk.create(path("file")).expect("it is new");
    disk.plan_fault(disk.operations(), Fault::Stop);
    assert!(file.write_at(0, &mut [IoSlice::new(&[7; 100])]).is_err());
    assert!(file.read_at(0, 1).is_err() && disk.list(path("")).is_err());
    let bytes = read(&disk.crash(Crash::Process), "file");
    assert!(bytes.len() < 100 && bytes.iter().all(|byte| *byte == 7), "a beginning of the write was done");
}

#[test]
fn a_flipped_bit_is_in_whatever_a_crash_leaves_and_makes_nothing_durable() {
    let disk = MemDisk::new();
    let file = disk.create(path("file")).expect("it is new");
    write(&file, 0, &[0; 600]);
    file.sync_data().expect("nothing fails");
    disk.sync_dir(path("")).expect("it exists");
    write(&file, 10, &[0xF0; 550]);
    disk.flip_bit(path("file"), 20 * 8).expect("it exists");
    disk.flip_bit(path("file"), 599 * 8 + 7).expect("it exists");
    assert_eq!(read(&disk, "file")[20], 0xF1);
    let crashed = |seed| read(&disk.fork().crash(Crash::Machine { seed }), "file");
    let left: Vec<Vec<u8>> = (0..40).map(crashed).collect();
    assert!(left.iter().any(|bytes| bytes[20] == 1 && bytes[30] == 0), "the write may still be lost");
    assert!(left.iter().any(|bytes| bytes[20] == 0xF1 && bytes[30] == 0xF0), "and may survive");
    assert!(left.iter().all(|bytes| bytes[20] & 1 == 1 && bytes[599] == 0x80));
    assert_eq!(disk.bytes(path("file")).expect("it exists"), read(&disk, "file"));
    assert_eq!(disk.names(path("")).expect("it exists"), ["file"]);
}
