//! Opening what a crash or a failing disk has left: torn ends are cut, corruption is never mistaken for one.

mod fixture;

use fixture::*;
use mq_log::disk::{Crash, Disk, Fault};
use mq_log::{MemDisk, OpenError};
use mq_types::persist::{LostReason, RecoveredReplica, ReplicaWrite, Snapshot, Standing, Start};
use mq_types::{Index, Offset, Term};
use std::path::{Path, PathBuf};

/// As [`recover`], for a replica of which only the standing and the readable entries matter.
fn recover_lost(disk: &MemDisk, reason: LostReason, model: &Model) -> RecoveredReplica {
    let shards = open(disk, small_options(1, 77));
    let (found, entries) = found_on(&shards)[&PARTITION].clone();
    assert_eq!(found.standing, Standing::Lost(reason));
    assert_eq!(entries, model.entries[..entries.len()], "what can be read is what was written");
    assert!(found.commit <= found.last_index && found.high_watermark <= found.next_offset);
    let again = open(disk, small_options(1, 78));
    assert_eq!(again[0].recovered, std::slice::from_ref(&found), "the verdict and its ground stay");
    found
}

/// A partition in one segment: three entries, then some more in rounds of their own.
fn one_segment(disk: &MemDisk, rounds: &[&[u32]]) -> Model {
    let mut store = fresh(disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 0, 2]);
    for sizes in rounds {
        append(&mut store, &mut model, 2, sizes);
    }
    model
}

fn active(disk: &MemDisk) -> PathBuf {
    partition_files(disk, ".seg").pop().expect("there is one")
}

#[test]
fn every_cut_of_the_last_round_recovers_a_beginning_of_it() {
    let disk = MemDisk::new();
    let model = one_segment(&disk, &[]);
    let before = frames_end(&disk, &active(&disk)) as usize;
    let mut full = model.clone();
    let disk = crash_process(&disk);
    let (mut store, _) = reopen(&disk, 2);
    let entries = full.next_entries(2, &[1, 2, 0]);
    let write = ReplicaWrite { entries, segment_size_bytes_max: Some(1 << 20), ..full.write() };
    persist(&mut store, &mut full, &write);
    drop(store);
    let disk = crash_process(&disk);
    let end = frames_end(&disk, &active(&disk)) as usize;
    let mut whole = Vec::new();
    let mut count_before = model.entries.len();
    for len in before..=end {
        let disk = disk.fork();
        disk.damage(&active(&disk), |bytes| bytes.truncate(len)).expect("it exists");
        let shards = open(&disk, small_options(1, 77));
        let (found, entries) = found_on(&shards)[&PARTITION].clone();
        assert_eq!(found.standing, Standing::Sound, "cut at {len}");
        assert_eq!(entries, full.entries[..entries.len()], "cut at {len}");
        assert!(entries.len() >= count_before, "cut at {len}");
        count_before = entries.len();
        // What ends with a whole frame goes on in the same segment.
        if found.segments.len() == 1 {
            whole.push(entries.len());
        }
    }
    assert_eq!(whole, [3, 4, 5, 6]);
}

#[test]
fn garbage_behind_the_end_is_cut_off_by_a_new_segment_and_stays_where_it_is() {
    let disk = MemDisk::new();
    let mut model = one_segment(&disk, &[]);
    let disk = crash_process(&disk);
    let file = active(&disk);
    disk.damage(&file, |bytes| bytes.extend([0xAB; 700])).expect("it exists");
    let torn = bytes_of(&disk, &file);
    let found = recover(&disk, &model);
    assert_eq!(found.segments.len(), 2);
    assert_eq!(bytes_of(&disk, &file), torn, "a torn end is evidence for a person");
    let (mut store, _) = reopen(&disk, 3);
    append(&mut store, &mut model, 2, &[1]);
    drop(store);
    assert_eq!(recover(&disk, &model).segments.len(), 2, "it is cut once");
}

#[test]
fn zeros_behind_the_end_are_written_over() {
    let disk = MemDisk::new();
    let mut model = one_segment(&disk, &[]);
    let disk = crash_process(&disk);
    disk.damage(&active(&disk), |bytes| bytes.extend([0; 700])).expect("it exists");
    assert_eq!(recover(&disk, &model).segments.len(), 1);
    let (mut store, _) = reopen(&disk, 3);
    append(&mut store, &mut model, 2, &[1]);
    drop(store);
    assert_eq!(recover(&disk, &model).segments.len(), 1);
}

#[test]
fn an_end_below_the_evidence_is_corruption() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 1, 1]);
    store.close().expect("nothing fails");
    let end = frames_end(&disk, &active(&disk)) as usize;
    for len in [end - 1, end - 200, 150] {
        let disk = disk.fork();
        disk.damage(&active(&disk), |bytes| bytes.truncate(len)).expect("it exists");
        recover_lost(&disk, LostReason::CorruptEnd, &model);
    }
}

#[test]
fn a_bad_frame_below_a_later_one_that_knew_it_durable_is_corruption() {
    let disk = MemDisk::new();
    let model = one_segment(&disk, &[&[1], &[1]]);
    let disk = crash_process(&disk);
    let intact = recover(&disk.fork(), &model);
    assert_eq!(intact.standing, Standing::Sound);
    // The third entry: the fifth and sixth say that it was durable.
    let file = active(&disk);
    let text = b"4 of term 2";
    disk.damage(&file, |bytes| {
        let at = bytes.windows(text.len()).position(|window| window == text).expect("it is there");
        bytes[at] ^= 1;
    })
    .expect("it exists");
    let found = recover_lost(&disk, LostReason::CorruptEnd, &model);
    assert_eq!((found.last_index, found.commit), (Index(3), Index(1)));
}

/// An index point behind the bad frame was believed: entries of the second term were said to be of the first, and the
/// next open, which had lost the point, found another end.
#[test]
fn a_term_that_begins_in_a_bad_frame_is_not_guessed() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    let write = ReplicaWrite { segment_size_bytes_max: Some(1 << 20), ..model.write() };
    persist(&mut store, &mut model, &write);
    append(&mut store, &mut model, 2, &[1]);
    append(&mut store, &mut model, 3, &[0]);
    for _ in 0..6 {
        append(&mut store, &mut model, 3, &[1]);
    }
    store.close().expect("nothing fails");
    let text = b"3 of term 3";
    disk.damage(&active(&disk), |bytes| {
        let at = bytes.windows(text.len()).position(|window| window == text).expect("it is there");
        bytes[at] ^= 1;
    })
    .expect("it exists");
    let found = recover_lost(&disk, LostReason::CorruptEnd, &model);
    assert_eq!((found.last_index, found.term_runs.last_term()), (Index(2), Term(2)));
}

/// With an index the walk began behind a point and read records; without one it read none that were known to be
/// durable, and took the bad ones for good.
#[test]
fn bad_records_at_a_known_end_are_lost_with_and_without_an_index() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 1, 1]);
    store.close().expect("nothing fails");
    let text = b"4 of term 2";
    disk.damage(&active(&disk), |bytes| {
        let at = bytes.windows(text.len()).position(|window| window == text).expect("it is there");
        bytes[at] ^= 1;
    })
    .expect("it exists");
    let without = disk.fork();
    for file in partition_files(&disk, ".idx") {
        without.unlink(&file).expect("it exists");
    }
    let found = recover_lost(&disk, LostReason::CorruptEnd, &model);
    assert_eq!(recover_lost(&without, LostReason::CorruptEnd, &model), found);
    assert_eq!(found.last_index, Index(3));
}

#[test]
fn a_hole_is_noticed_without_an_index() {
    let disk = MemDisk::new();
    let model = one_segment(&disk, &[&[1], &[1]]);
    let disk = crash_process(&disk);
    for file in partition_files(&disk, ".idx") {
        disk.unlink(&file).expect("it exists");
    }
    let text = b"4 of term 2";
    disk.damage(&active(&disk), |bytes| {
        let at = bytes.windows(text.len()).position(|window| window == text).expect("it is there");
        bytes[at - 60..at].fill(0);
    })
    .expect("it exists");
    recover_lost(&disk, LostReason::CorruptEnd, &model);
}

#[test]
fn a_frame_of_another_segment_is_no_frame() {
    let written = |start, entries| {
        let disk = MemDisk::new();
        let mut store = open(&disk, small_options(1, start)).remove(0).store;
        let mut model = create_partition(&mut store);
        append(&mut store, &mut model, 2, &[1, 2]);
        let end = frames_end(&disk, &active(&disk)) as usize;
        append(&mut store, &mut model, 2, entries);
        (disk, model, end)
    };
    let (mut disk, model, end) = written(1, &[]);
    // The same log in a segment with another salt, and with one entry more, which would follow.
    let (other, _, _) = written(2, &[3]);
    let frame = bytes_of(&other, &active(&other))[end..].to_vec();
    disk = crash_process(&disk);
    let append = |bytes: &mut Vec<u8>| {
        bytes.truncate(end);
        bytes.extend(&frame);
    };
    disk.damage(&active(&disk), append).expect("it exists");
    assert_eq!(recover(&disk, &model).last_index, model.last_index());
    // With the right salt it does.
    let (mut disk, _, _) = written(2, &[]);
    let (_, more, _) = written(2, &[3]);
    disk = crash_process(&disk);
    let append = |bytes: &mut Vec<u8>| {
        bytes.truncate(end);
        bytes.extend(&frame);
    };
    disk.damage(&active(&disk), append).expect("it exists");
    assert_eq!(recover(&disk, &more).last_index, more.last_index());
}

#[test]
fn what_a_failed_sync_has_left_readable_is_not_believed() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1]);
    // The write, then the sync.
    disk.plan_fault(disk.operations() + 1, Fault::Io);
    let write = ReplicaWrite { entries: model.next_entries(2, &[1]), ..model.write() };
    let readable = frames_end(&disk, &active(&disk)) as usize;
    store.persist_round(vec![write]).expect_err("the sync fails");
    drop(store);
    let disk = crash_process(&disk);
    assert!(frames_end(&disk, &active(&disk)) as usize > readable, "it can be read");
    recover(&disk, &model);
    recover(&disk.crash(Crash::Machine { seed: 5 }), &model);
}

#[test]
fn the_evidence_of_an_older_segment_is_not_believed() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 1, 1, 1]);
    store.idle().expect("nothing fails");
    // The log is cut below what the old segment's evidence says.
    let write =
        ReplicaWrite { entries: model.entries_from(3, 3, &[1]), vote: Some(vote(3)), ..model.write() };
    persist(&mut store, &mut model, &write);
    drop(store);
    assert_eq!(recover(&crash_process(&disk), &model).standing, Standing::Sound);
}

#[test]
fn a_missing_or_headless_segment_is_a_lost_replica() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1; 30]);
    let commit = model.last_index();
    persist(&mut store, &mut model, &ReplicaWrite { commit, ..ReplicaWrite::new(PARTITION, replica(1)) });
    append(&mut store, &mut model, 2, &[1]);
    store.close().expect("nothing fails");
    let files = partition_files(&disk, ".seg");
    assert!(files.len() > 4);
    for file in &files {
        for headless in [false, true] {
            let disk = disk.fork();
            match headless {
                true => disk.flip_bit(file, 8 * 70).expect("it exists"),
                false => disk.unlink(file).expect("it exists"),
            }
            let found = recover_lost(&disk, LostReason::MissingSegment, &model);
            let expected = (file != &files[0]).then_some(found.last_index.next());
            let name = file.file_name().and_then(|name| name.to_str()).expect("it has a name");
            let first: u64 = name[..20].parse().expect("it begins with its first index");
            assert_eq!(expected.unwrap_or(Index(2)), Index(first), "what lies before it can be read");
            assert_eq!(partition_files(&disk, ".seg").len(), files.len() - usize::from(!headless));
        }
    }
    let moved = disk.fork();
    moved.rename(&partition_dir(), Path::new("elsewhere")).expect("it exists");
    assert_eq!(recover_lost(&moved, LostReason::MissingSegment, &model).last_index, Index(1));
}

#[test]
fn a_damaged_snapshot_is_a_lost_replica() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[0, 0, 0]);
    let snapshot = Snapshot { index: Index(3), data: "the image".into() };
    let write = ReplicaWrite { commit: Index(3), snapshot: Some(snapshot), ..model.write() };
    persist(&mut store, &mut model, &write);
    drop(store);
    let disk = crash_process(&disk);
    assert_eq!(recover(&disk.fork(), &model).tail.len(), 1);
    let file = partition_files(&disk, ".snap").pop().expect("there is one");
    disk.flip_bit(&file, 8 * 50).expect("it exists");
    recover_lost(&disk, LostReason::BadSnapshot, &model);
}

#[test]
fn terms_are_known_without_a_scan() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    let write = ReplicaWrite { segment_size_bytes_max: Some(1 << 20), ..model.write() };
    persist(&mut store, &mut model, &write);
    for round in 0..200u64 {
        append(&mut store, &mut model, 2 + round / 7 * (round % 3), &[]);
        append(&mut store, &mut model, 2 + round / 9, &[1, 0]);
    }
    store.close().expect("nothing fails");
    let before = disk.reads();
    let found = recover(&disk, &model);
    assert_eq!(found.segments.len(), 1);
    assert_eq!(found.term_runs.runs().len(), 1 + 200usize.div_ceil(9));
    // Recovery, then every entry once more through a reader in small reads.
    let reads = disk.reads() - before;
    assert!(reads < 3000, "{reads} reads");
    // Without the index it is a scan, with the same result.
    for file in partition_files(&disk, ".idx") {
        disk.unlink(&file).expect("it exists");
    }
    assert_eq!(recover(&disk, &model).term_runs, found.term_runs);
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let disk = MemDisk::new();
    one_segment(&disk, &[]);
    let disk = crash_process(&disk);
    let path = active(&disk);
    disk.damage(&path, |bytes| {
        bytes[64] = 9;
        let head = 64 + u32::from_le_bytes(bytes[4..8].try_into().expect("4 bytes")) as usize;
        let crc = crc32fast::hash(&bytes[4..head]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
    })
    .expect("it exists");
    let refused = mq_log::open(disk.clone(), small_options(1, 9));
    assert!(matches!(&refused, Err(OpenError::NewerFormat { file, version: 9, known: 1 }) if *file == path));
}

#[test]
fn what_an_interrupted_round_left_behind_is_removed() {
    let disk = MemDisk::new();
    let model = one_segment(&disk, &[]);
    let disk = crash_process(&disk);
    for name in ["00000000000000000005-9.seg", "00000000000000000005-9.idx", "00000000000000000004.snap"] {
        disk.create(&partition_dir().join(name)).expect("it is new");
    }
    disk.create_dir(Path::new("quorums/1030-4294967300")).expect("it is new");
    recover(&disk, &model);
    assert_eq!(disk.list(&partition_dir()).expect("it exists").len(), 2);
    assert_eq!(disk.list(Path::new("quorums")).expect("it exists").len(), 1);
    // The numbers of files that were there are not used again.
    disk.damage(&active(&disk), |bytes| bytes.extend([0xAB; 70])).expect("it exists");
    disk.create(&partition_dir().join("00000000000000000005-9.seg")).expect("it is new");
    assert_eq!(recover(&disk, &model).segments[1].number.0, 10);
}

#[test]
fn an_error_of_the_disk_is_told_and_nothing_is_taken_for_lost() {
    let disk = MemDisk::new();
    let model = one_segment(&disk, &[&[1]]);
    let disk = crash_process(&disk);
    let trial = disk.fork();
    let (reads, operations) = (trial.reads(), trial.operations());
    drop(open(&trial, small_options(1, 4)));
    let (reads_end, operations_end) = (trial.reads(), trial.operations());
    for read in reads..reads_end {
        let disk = disk.fork();
        disk.plan_read_error(read);
        let refused = mq_log::open(disk.clone(), small_options(1, 5));
        assert!(matches!(refused, Err(OpenError::Io { .. })), "read {read}: {refused:?}");
        recover(&disk, &model);
    }
    for operation in operations..operations_end {
        let disk = disk.fork();
        disk.plan_fault(operation, Fault::Io);
        let refused = mq_log::open(disk.clone(), small_options(1, 5));
        assert!(matches!(refused, Err(OpenError::Io { .. })), "operation {operation}: {refused:?}");
    }
}

#[test]
fn a_sound_log_of_a_lost_replica_is_served_up_to_its_commit() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[2, 2, 2, 2]);
    let write = ReplicaWrite { entries: model.next_entries(2, &[1]), commit: Index(4), ..model.write() };
    persist(&mut store, &mut model, &write);
    append(&mut store, &mut model, 2, &[1]);
    store.close().expect("nothing fails");
    let end = frames_end(&disk, &active(&disk)) as usize;
    disk.damage(&active(&disk), |bytes| bytes.truncate(end - 10)).expect("it exists");
    let found = recover_lost(&disk, LostReason::CorruptEnd, &model);
    assert_eq!((found.last_index, found.commit, found.high_watermark), (Index(6), Index(4), Offset(6)));
}

#[test]
fn members_that_came_with_a_start_snapshot_may_be_ahead_of_the_log() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 1]);
    let start = Start {
        prev_index: Index(10),
        prev_term: Term(3),
        prev_appended_at_ms: 0,
        base_offset: Offset(20),
        log_start: Offset(20),
    };
    // The members of now: the entry that made them so is not in the log yet.
    let members = membership(14, &[1, 2, 3]);
    let write = ReplicaWrite {
        vote: Some(vote(3)),
        reset: Some((start, members.clone())),
        commit: Index(10),
        ..model.write()
    };
    store.persist_round(vec![write]).expect("the disk is sound");
    drop(store);
    let disk = disk.crash(Crash::Machine { seed: 5 });
    let opened = open(&disk, small_options(1, 77));
    let found = &opened[0].recovered[0];
    assert_eq!((found.standing, found.last_index, found.commit), (Standing::Sound, Index(10), Index(10)));
    assert_eq!(found.membership, members);
}
