//! What goes on while the disk is full, and what is made up for when there is room again.

mod fixture;

use fixture::*;
use mq_log::disk::{Crash, Fault};
use mq_log::{MemDisk, ShardStore, trash};
use mq_types::persist::{Create, ReplicaWrite, Start};

/// A store whose partition has been removed, while the disk had no room for its directory's name in the trash.
fn removed_without_room(disk: &MemDisk) -> ShardStore<MemDisk> {
    let mut store = fresh(disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 1]);
    // The record takes two writes and two syncs, and then the directory is moved.
    disk.plan_fault(disk.operations() + 4, Fault::Full);
    store
        .persist_round(vec![ReplicaWrite { remove: true, ..model.write() }])
        .expect("nobody waits for the trash");
    assert!(store.reader(PARTITION).is_none(), "it is gone");
    assert_eq!(trash::list(disk).expect("it can be listed"), [], "the fault was planned for the move");
    store
}

#[test]
fn a_removed_replica_that_finds_no_room_in_the_trash_is_moved_there_later() {
    let disk = MemDisk::new();
    let mut store = removed_without_room(&disk);
    disk.plan_fault(disk.operations(), Fault::Full);
    assert!(!store.idle().expect("a full disk is no failure"), "it is still too full");
    assert!(store.idle().expect("nothing fails"), "now there is room");
    assert_eq!(trash::list(&disk).expect("it can be listed").len(), 1);
    let operations = disk.operations();
    assert!(store.idle().expect("nothing fails"));
    assert_eq!(disk.operations(), operations, "there is nothing left to do");
}

#[test]
fn a_removed_replica_that_is_not_in_the_trash_yet_stays_removed_across_a_crash() {
    let disk = MemDisk::new();
    let store = removed_without_room(&disk);
    drop(store);
    for crash in [Crash::Process, Crash::Machine { seed: 3 }] {
        let disk = disk.crash(crash);
        let (_, found) = reopen(&disk, 2);
        assert_eq!(found, []);
        assert_eq!(trash::list(&disk).expect("it can be listed").len(), 1, "the open has moved it");
    }
}

#[test]
fn nothing_is_reserved_ahead_while_what_is_left_has_to_do_for_all() {
    let room = |reserves_ahead| {
        let disk = MemDisk::new();
        let mut store = fresh(&disk);
        store.set_reserves_ahead(reserves_ahead);
        let mut model = create_partition(&mut store);
        append(&mut store, &mut model, 2, &[1]);
        store.room_bytes(PARTITION)
    };
    assert!(room(true) > 0);
    assert_eq!(room(false), 0);
}

#[test]
fn what_one_replica_would_get_ahead_goes_to_those_that_need_it_now() {
    let fits = |capacity_bytes: u64, reserves_ahead: bool| {
        let disk = MemDisk::new();
        let mut store = fresh(&disk);
        let model = create_partition(&mut store);
        let other =
            Create { start: Start::BOOTSTRAP, membership: membership(1, &[1]), opened: true, snapshot: None };
        store.set_reserves_ahead(reserves_ahead);
        disk.set_capacity_bytes(capacity_bytes);
        let writes = vec![
            ReplicaWrite { entries: model.next_entries(2, &[1; 8]), ..model.write() },
            ReplicaWrite { create: Some(other), ..ReplicaWrite::new(CONTROLLER, replica(1)) },
        ];
        store.persist_round(writes).is_ok()
    };
    let least = |reserves_ahead| (0..1 << 20).step_by(512).find(|&bytes| fits(bytes, reserves_ahead));
    assert_eq!(least(true), least(false));
    assert!(least(true) > Some(0), "it needs some room");
}
