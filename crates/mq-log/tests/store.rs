//! What a store promises its one writer: what a round costs, what a full disk and a failing one do, what is kept
//! and what goes.

mod fixture;

use fixture::*;
use mq_log::disk::{Crash, Disk, Fault};
use mq_log::{MemDisk, OsDisk, PersistError, ReadError, ShardStore, trash};
use mq_types::persist::{Create, ReplicaWrite, Snapshot, Standing, Start, Trim};
use mq_types::{Index, Offset, QuorumId};
use std::path::Path;

/// A partition's replica, made and told to the model.
fn create<D: Disk>(store: &mut ShardStore<D>, quorum: QuorumId) -> Model {
    let create =
        Create { start: Start::BOOTSTRAP, membership: membership(1, &[1]), opened: false, snapshot: None };
    let model = Model::of(&create, quorum, replica(1));
    let write = ReplicaWrite { create: Some(create), ..ReplicaWrite::new(quorum, replica(1)) };
    store.persist_round(vec![write]).expect("nothing fails");
    model
}

fn files(disk: &MemDisk, directory: &str) -> Vec<String> {
    disk.list(Path::new(directory)).expect("it exists").into_iter().map(|entry| entry.name).collect()
}

const DIRECTORY: &str = "quorums/1024-4294967297";

#[test]
fn a_round_of_entries_costs_one_sync_a_replica() {
    let mut store = fresh(&MemDisk::new());
    let mut one = create(&mut store, PARTITION);
    let mut two = create(&mut store, QuorumId(1025));
    assert_eq!(append(&mut store, &mut one, 2, &[1]).syncs, 1);
    let writes =
        [&one, &two].map(|model| ReplicaWrite { entries: model.next_entries(2, &[1, 1]), ..model.write() });
    one.apply(&writes[0]);
    two.apply(&writes[1]);
    let report = store.persist_round(writes.to_vec()).expect("nothing fails");
    assert_eq!(report.syncs, 2);
    assert!(report.changed.is_empty(), "no segment began or went");
    let idle = store.persist_round(vec![one.write()]).expect("nothing fails");
    assert_eq!((idle.syncs, idle.written_bytes), (0, 0), "nothing to write is nothing to sync");
}

#[test]
fn a_vote_costs_the_two_copies_of_the_state_file() {
    let mut store = fresh(&MemDisk::new());
    let mut model = create(&mut store, PARTITION);
    let write = ReplicaWrite { vote: Some(vote(2)), ..model.write() };
    assert_eq!(persist(&mut store, &mut model, &write).syncs, 2);
    assert_eq!(persist(&mut store, &mut model, &write).syncs, 0, "the same again is no change");
}

#[test]
fn a_roll_reports_the_segments() {
    let mut store = fresh(&MemDisk::new());
    let mut model = create(&mut store, PARTITION);
    append(&mut store, &mut model, 2, &[2, 1]);
    let write = ReplicaWrite { roll: true, ..model.write() };
    let report = persist(&mut store, &mut model, &write);
    let [(PARTITION, status)] = &report.changed[..] else { panic!("{report:?}") };
    let [sealed, active] = &status.segments[..] else { panic!("{status:?}") };
    assert_eq!((sealed.first_index, sealed.base_offset, sealed.end_offset), (Index(2), Offset(0), Offset(3)));
    assert_eq!((sealed.first_appended_at_ms, sealed.last_appended_at_ms), (Some(1002), Some(1003)));
    assert_eq!((active.first_index, active.base_offset, active.end_offset), (Index(4), Offset(3), Offset(3)));
    assert_eq!((active.first_appended_at_ms, active.last_appended_at_ms), (None, None));
    let again = persist(&mut store, &mut model, &write);
    assert!(again.changed.is_empty(), "an empty segment is not rolled");
}

#[test]
fn a_full_disk_refuses_the_round_and_nothing_of_it_was_done() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create(&mut store, PARTITION);
    append(&mut store, &mut model, 2, &[1]);
    disk.set_capacity_bytes(0);
    let room = store.room_bytes(PARTITION);
    let write = ReplicaWrite { entries: model.next_entries(2, &[1; 40]), ..model.write() };
    let before = files(&disk, DIRECTORY);
    let other = ReplicaWrite {
        create: Some(Create {
            start: Start::BOOTSTRAP,
            membership: membership(1, &[1]),
            opened: true,
            snapshot: Some(Snapshot { index: Index(1), data: "image".into() }),
        }),
        ..ReplicaWrite::new(CONTROLLER, replica(1))
    };
    for writes in [vec![write.clone()], vec![other.clone(), write.clone()]] {
        let refused = store.persist_round(writes);
        assert!(matches!(refused, Err(PersistError::DiskFull { .. })), "{refused:?}");
    }
    assert_eq!(files(&disk, DIRECTORY), before);
    assert_eq!(files(&disk, "quorums").len(), 1, "what was made for it is gone again");
    assert!(matches!(store.ensure_room(PARTITION, room + 1), Err(PersistError::DiskFull { .. })));
    store.ensure_room(PARTITION, room).expect("that much is there");
    // What fits into what is reserved is taken, and all else once there is room again.
    append(&mut store, &mut model, 2, &[1]);
    disk.set_capacity_bytes(u64::MAX);
    let again = write_again(&model);
    persist(&mut store, &mut model, &again);
    store.persist_round(vec![other]).expect("there is room");
    let reader = store.reader(PARTITION).expect("it is here");
    assert_eq!(
        read_entries(&reader, Index(2), model.last_index().next()).expect("it is sound"),
        model.entries
    );
}

fn write_again(model: &Model) -> ReplicaWrite {
    ReplicaWrite { entries: model.next_entries(2, &[1; 40]), ..model.write() }
}

#[test]
fn a_full_segment_is_filled_further_while_the_disk_is_full() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create(&mut store, PARTITION);
    append(&mut store, &mut model, 2, &[1, 1, 1, 1]);
    store.ensure_room(PARTITION, 4000).expect("there is room");
    disk.set_capacity_bytes(0);
    let report = append(&mut store, &mut model, 2, &[1; 12]);
    assert!(report.changed.is_empty(), "no new segment could be made: {report:?}");
    disk.set_capacity_bytes(u64::MAX);
    assert_eq!(append(&mut store, &mut model, 2, &[1]).changed.len(), 1, "now it could");
}

#[test]
fn a_state_file_that_finds_no_room_to_be_written_anew_goes_on_growing() {
    let name = |disk: &MemDisk| files(disk, "state/0");
    let vote_until = |disk: &MemDisk, store: &mut ShardStore<MemDisk>, model: &mut Model, votes: u64| {
        for _ in 0..votes {
            let write = ReplicaWrite { vote: Some(vote(model.vote.term.0 + 1)), ..model.write() };
            persist(store, model, &write);
        }
        name(disk)
    };
    let start = || {
        let disk = MemDisk::new();
        let mut store = fresh(&disk);
        let model = create(&mut store, PARTITION);
        (disk, store, model)
    };
    let (disk, mut store, mut model) = start();
    let before = name(&disk);
    let mut votes = 0;
    while vote_until(&disk, &mut store, &mut model, 1) == before {
        votes += 1;
        assert!(votes < 1_000, "it is never written anew");
    }
    // The round takes two writes and two syncs; then both copies are made, and room is reserved in both.
    for nth in 4..8 {
        let (disk, mut store, mut model) = start();
        vote_until(&disk, &mut store, &mut model, votes);
        disk.plan_fault(disk.operations() + nth, Fault::Full);
        assert_eq!(vote_until(&disk, &mut store, &mut model, 1), before, "operation {nth}");
        assert_ne!(vote_until(&disk, &mut store, &mut model, 1), before, "now there is room");
        let (_, found) = reopen(&disk.crash(Crash::Machine { seed: nth }), 2);
        assert_eq!(found[0].vote, model.vote);
    }
    // Nor is anything forgotten that the new file would have held: a clean stop still notes where the log ends.
    store.ensure_room(PARTITION, 4000).expect("there is room");
    disk.set_capacity_bytes(0);
    vote_until(&disk, &mut store, &mut model, 2 * votes);
    append(&mut store, &mut model, 2, &[1]);
    store.close().expect("there is room for that");
    disk.set_capacity_bytes(u64::MAX);
    let disk = disk.crash(Crash::Process);
    let segment = partition_files(&disk, ".seg").pop().expect("there is one");
    let cut = frames_end(&disk, &segment) as usize - 10;
    disk.damage(&segment, |bytes| bytes.truncate(cut)).expect("it exists");
    let (_, found) = reopen(&disk, 2);
    assert_eq!(found[0].standing, Standing::Lost(mq_types::persist::LostReason::CorruptEnd));
}

#[test]
fn a_failed_write_or_sync_is_final() {
    for nth in 0..3 {
        let disk = MemDisk::new();
        let mut store = fresh(&disk);
        let mut model = create(&mut store, PARTITION);
        append(&mut store, &mut model, 2, &[1]);
        disk.plan_fault(disk.operations() + nth, Fault::Io);
        let write =
            ReplicaWrite { vote: Some(vote(2)), entries: model.next_entries(2, &[1]), ..model.write() };
        let failed = store.persist_round(vec![write.clone()]);
        assert!(matches!(failed, Err(PersistError::Io { .. })), "operation {nth}: {failed:?}");
        assert!(matches!(store.persist_round(vec![write]), Err(PersistError::Failed)));
        assert!(matches!(store.idle(), Err(PersistError::Failed)));
        let reader = store.reader(PARTITION).expect("it is here");
        assert_eq!(reader.entries(Index(2), Index(9), 1000).expect("it is sound").len(), 1, "readers go on");
        drop(store);
        // What a failed sync left readable is not believed.
        let (_, found) = reopen(&disk.crash(Crash::Process), 2);
        assert!(found[0].last_index >= model.last_index());
    }
}

#[test]
fn a_trimmed_segment_is_gone_at_once() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create(&mut store, PARTITION);
    append(&mut store, &mut model, 2, &[1; 20]);
    let files_before = files(&disk, DIRECTORY).len();
    let write =
        ReplicaWrite { commit: model.last_index(), trim: Some(Trim::Offset(Offset(15))), ..model.write() };
    let report = persist(&mut store, &mut model, &write);
    assert_eq!(report.changed[0].1.start.log_start, Offset(15));
    assert!(files(&disk, DIRECTORY).len() < files_before);
    let reader = store.reader(PARTITION).expect("it is here");
    let below = reader.read(Offset(14), Offset(20), 100);
    assert!(matches!(below, Err(ReadError::BelowStart { log_start: Offset(15) })), "{below:?}");
    assert_eq!(reader.read(Offset(15), Offset(20), 1).expect("it is kept").batches.len(), 1);
}

#[test]
fn what_is_not_committed_is_not_trimmed() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create(&mut store, PARTITION);
    append(&mut store, &mut model, 2, &[1; 20]);
    let before = files(&disk, DIRECTORY);
    let write = ReplicaWrite { trim: Some(Trim::Index(model.last_index())), ..model.write() };
    let report = store.persist_round(vec![write]).expect("nothing fails");
    assert!(report.changed.is_empty());
    assert_eq!(files(&disk, DIRECTORY), before);
}

#[test]
fn a_removed_replica_lies_in_the_trash_until_it_is_deleted() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create(&mut store, PARTITION);
    append(&mut store, &mut model, 2, &[1, 1]);
    let reader = store.reader(PARTITION).expect("it is here");
    store.persist_round(vec![ReplicaWrite { remove: true, ..model.write() }]).expect("nothing fails");
    assert!(matches!(reader.read(Offset(0), Offset(1), 10), Err(ReadError::Gone)));
    assert!(store.reader(PARTITION).is_none());
    drop(store);
    let disk = disk.crash(Crash::Machine { seed: 1 });
    let (store, found) = reopen(&disk, 2);
    assert!(found.is_empty());
    let trashed = trash::list(&disk).expect("it can be listed");
    assert_eq!((trashed[0].quorum, trashed[0].replica), (PARTITION, replica(1)));
    assert!(trash::delete(&disk, trashed[0]).expect("nothing fails") > 0);
    assert_eq!(trash::list(&disk).expect("it can be listed"), []);
    drop(store);
}

#[test]
fn a_lost_verdict_is_remembered_and_its_log_is_left_alone() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create(&mut store, PARTITION);
    append(&mut store, &mut model, 2, &[1, 1]);
    let lost = Standing::Lost(mq_types::persist::LostReason::ShorterThanAcknowledged);
    let write = ReplicaWrite { standing: Some(lost), commit: Index(2), ..model.write() };
    persist(&mut store, &mut model, &write);
    assert_eq!(store.room_bytes(PARTITION), 0, "nothing can be appended");
    let reader = store.reader(PARTITION).expect("it can be read");
    assert_eq!(reader.read(Offset(0), Offset(1), 10).expect("it is sound").batches.len(), 1);
    drop(store);
    let (store, found) = reopen(&disk.crash(Crash::Machine { seed: 3 }), 2);
    assert_eq!(found[0].standing, lost);
    let reader = store.reader(PARTITION).expect("it can be read");
    assert_eq!(read_entries(&reader, Index(2), Index(4)).expect("it is sound"), model.entries);
}

#[test]
fn opening_does_not_read_sealed_segments() {
    let reads_to_open = |rounds: u32| {
        let disk = MemDisk::new();
        let mut store = fresh(&disk);
        let mut model = create(&mut store, PARTITION);
        for _ in 0..rounds {
            append(&mut store, &mut model, 2, &[30; 10]);
        }
        let last = model.last_index();
        persist(
            &mut store,
            &mut model,
            &ReplicaWrite { commit: last, roll: true, ..ReplicaWrite::new(PARTITION, replica(1)) },
        );
        append(&mut store, &mut model, 2, &[1]);
        let before = disk.reads();
        let (_, found) = reopen(&crash_process(&disk), 2);
        (disk.reads() - before, found[0].segments.len() as u64)
    };
    let (few_reads, few_segments) = reads_to_open(2);
    let (many_reads, many_segments) = reads_to_open(20);
    assert!(many_segments > few_segments + 100);
    // Opening the file, its length, and two reads of its head.
    assert_eq!((many_reads - few_reads) / (many_segments - few_segments), 4);
}

#[test]
fn a_log_of_a_real_disk_comes_back() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be made");
    let disk = OsDisk::new(directory.path());
    let mut store = fresh(&disk);
    let mut model = create(&mut store, PARTITION);
    for _ in 0..10 {
        append(&mut store, &mut model, 2, &[1, 0, 300]);
    }
    let cut = ReplicaWrite { entries: model.entries_from(25, 3, &[2, 2]), ..model.write() };
    persist(&mut store, &mut model, &cut);
    let write = ReplicaWrite { commit: Index(20), trim: Some(Trim::Offset(Offset(700))), ..model.write() };
    persist(&mut store, &mut model, &write);
    store.close().expect("nothing fails");
    for shards in [3, 1] {
        let found = found_on(&open(&disk, small_options(shards, 5)));
        let (replica, entries) = &found[&PARTITION];
        model.matches(replica, entries).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn a_replica_whose_making_is_interrupted_twice_does_not_keep_the_directory_from_opening() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be made");
    let disk = OsDisk::new(directory.path());
    drop(fresh(&disk));
    for _ in 0..2 {
        disk.create_dir(&partition_dir()).expect("it is new");
        disk.create(&partition_dir().join("00000000000000000002-1.seg")).expect("it is new");
        let (_, found) = reopen(&disk, 2);
        assert!(found.is_empty(), "no record names it");
        assert_eq!(disk.list(Path::new("quorums")).expect("it exists"), []);
    }
}
