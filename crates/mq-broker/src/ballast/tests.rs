//! What the ballast holds, gives up, and takes back.

use super::{Ballast, NAME};
use mq_log::{Disk, DiskFile, MemDisk};
use std::io::ErrorKind;
use std::path::Path;

fn ballast(disk: &MemDisk, size_bytes: u64) -> Ballast<MemDisk> {
    Ballast::open(disk.clone(), size_bytes).expect("it can be looked at")
}

/// Whether this much more can be reserved.
fn has_space(disk: &MemDisk, bytes: u64) -> bool {
    let path = Path::new("probe");
    let file = disk.create(path).expect("names take no space");
    let reserved = file.allocate(bytes).is_ok();
    disk.unlink(path).expect("it was just made");
    reserved
}

#[test]
fn it_takes_its_space_gives_up_all_but_a_part_and_is_filled_up_again() {
    let disk = MemDisk::new();
    disk.set_capacity_bytes(1_000);
    let mut ballast = ballast(&disk, 400);
    assert_eq!((ballast.held_bytes(), ballast.missing_bytes()), (0, 400));
    ballast.restore().expect("there is room");
    assert_eq!((ballast.held_bytes(), ballast.missing_bytes()), (400, 0));
    assert!(has_space(&disk, 600) && !has_space(&disk, 601));

    assert_eq!(ballast.give_up().expect("a file can be cut"), 300);
    assert!(has_space(&disk, 900) && !has_space(&disk, 901), "a part is kept for the next start");
    assert_eq!(ballast.give_up().expect("a file can be cut"), 0, "that part is not given up twice");
    ballast.restore().expect("there is room");
    assert_eq!(ballast.missing_bytes(), 0);
    assert!(!has_space(&disk, 601));
}

#[test]
fn a_start_gives_up_what_the_run_before_has_kept() {
    let disk = MemDisk::new();
    let mut before = ballast(&disk, 400);
    before.restore().expect("there is room");
    before.give_up().expect("a file can be cut");
    let mut after = ballast(&disk, 400);
    assert_eq!(after.held_bytes(), 100);
    assert_eq!(after.give_up_all().expect("a file can be cut"), 100);
    disk.set_capacity_bytes(10);
    assert!(has_space(&disk, 10));
}

#[test]
fn without_room_it_stays_as_small_as_it_was() {
    let disk = MemDisk::new();
    disk.set_capacity_bytes(399);
    let mut ballast = ballast(&disk, 400);
    assert_eq!(ballast.restore().expect_err("there is no room").kind(), ErrorKind::StorageFull);
    assert_eq!(ballast.held_bytes(), 0);
    assert!(has_space(&disk, 399), "nothing is left of the attempt");
    disk.set_capacity_bytes(400);
    ballast.restore().expect("there is room now");
}

#[test]
fn a_smaller_size_gives_back_the_difference_at_the_next_start() {
    let disk = MemDisk::new();
    disk.set_capacity_bytes(1_000);
    ballast(&disk, 800).restore().expect("there is room");
    let mut smaller = ballast(&disk, 100);
    assert_eq!((smaller.held_bytes(), smaller.missing_bytes()), (100, 0));
    assert!(has_space(&disk, 900));
    let mut none = ballast(&disk, 0);
    none.restore().expect("there is nothing to do");
    assert_eq!(none.give_up().expect("there is nothing to do"), 0);
    assert_eq!(smaller.give_up_all().expect("a file can be cut"), 100);
}

#[test]
fn a_copy_that_is_nothing_but_a_hole_does_not_count() {
    let disk = MemDisk::new();
    let file = disk.create(Path::new(NAME)).expect("it is new");
    file.set_len(400).expect("a length is no space");
    // On this disk a length is space; a disk that has less than that refuses to reserve it, as for a hole.
    disk.plan_fault(disk.operations() + 1, mq_log::disk::Fault::Full);
    let ballast = ballast(&disk, 400);
    assert_eq!((ballast.held_bytes(), ballast.missing_bytes()), (0, 400));
}
