//! What lies on the disk goes bad: whatever is hit, what is read is what was written, or it is refused by name.
//!
//! That every flipped bit of frames is noticed is shown beside the walk over them, and for a whole directory, in
//! `inspect`; state files that are hit, in `recovery`.

mod fixture;

use fixture::*;
use mq_log::disk::Disk;
use mq_log::inspect::{Item, Problem, inspect};
use mq_log::{MemDisk, Options, ReadError, ShardOpen};
use mq_types::persist::{LostReason, ReplicaWrite, Snapshot, Standing};
use mq_types::{Body, Entry, Index, Offset, Term};
use std::path::{Path, PathBuf};

/// A partition of several small segments, some with an index of several points, stopped cleanly.
fn several_segments(disk: &MemDisk) -> Model {
    let mut store = fresh(disk);
    let mut model = create_partition(&mut store);
    for _ in 0..12 {
        let commit = model.last_index();
        let write = ReplicaWrite { commit, entries: model.next_entries(2, &[1, 0]), ..model.write() };
        persist(&mut store, &mut model, &write);
    }
    store.close().expect("nothing fails");
    model
}

fn open_one(disk: &MemDisk) -> ShardOpen<MemDisk> {
    open(disk, small_options(1, 77)).remove(0)
}

/// What `mqctl log verify` would say of this file.
fn problems_of(disk: &MemDisk, file: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut take = |item| match item {
        Item::Finding(finding) if finding.file == file => problems.push(finding.problem),
        _ => {}
    };
    inspect(disk, Path::new(""), &mut take).expect("it can be listed");
    problems
}

#[test]
fn a_flip_in_any_head_is_a_lost_replica_and_the_file_is_named() {
    let disk = MemDisk::new();
    let model = several_segments(&disk);
    let files = partition_files(&disk, ".seg");
    assert!(files.len() > 2);
    for file in [&files[0], &files[1], &files[files.len() - 1]] {
        let head_bytes = 64 + u32::from_le_bytes(bytes_of(&disk, file)[4..8].try_into().expect("4 bytes"));
        for bit in 0..u64::from(head_bytes) * 8 {
            let disk = disk.fork();
            disk.flip_bit(file, bit).expect("it exists");
            assert_eq!(problems_of(&disk, file)[0], Problem::BadHead, "bit {bit}");
            let shard = open_one(&disk);
            let found = &shard.recovered[0];
            assert_eq!(found.standing, Standing::Lost(LostReason::MissingSegment), "bit {bit}");
            assert!(found.last_index < model.last_index());
        }
    }
}

#[test]
fn a_flip_anywhere_in_the_newest_segment_never_gives_other_entries() {
    let disk = MemDisk::new();
    let model = several_segments(&disk);
    let disk = crash_process(&disk);
    let file = partition_files(&disk, ".seg").pop().expect("there is one");
    let (mut lost, mut refused) = (0, 0);
    for bit in (0..frames_end(&disk, &file) * 8).step_by(3) {
        let disk = disk.fork();
        disk.flip_bit(&file, bit).expect("it exists");
        let shard = open_one(&disk);
        let found = &shard.recovered[0];
        let reader = shard.store.reader(PARTITION).expect("it was recovered");
        let read = read_entries(&reader, Index(2), found.last_index.next());
        match (found.standing, read) {
            // Known to be durable, and not there.
            (Standing::Lost(_), Ok(entries)) => {
                assert_eq!(entries, model.entries[..entries.len()], "bit {bit}");
                lost += 1;
            }
            // Below what is known to be durable nothing but headers is read on open: the reader notices.
            (Standing::Sound | Standing::Lost(_), Err(ReadError::Corrupt(place))) => {
                assert!(place.file == file && place.position.0 <= bit / 8, "bit {bit}: {place}");
                refused += 1;
            }
            (standing, read) => panic!("bit {bit}: {standing:?}, {read:?}"),
        }
    }
    assert!(lost > 100 && refused > 100, "{lost} lost, {refused} refused");
}

#[test]
fn a_flip_in_a_sparse_index_changes_no_answer() {
    let disk = MemDisk::new();
    let model = several_segments(&disk);
    let files = partition_files(&disk, ".idx");
    let mut flips = 0;
    for file in [&files[0], files.last().expect("there is one")] {
        for bit in 0..bytes_of(&disk, file).len() as u64 * 8 {
            let disk = disk.fork();
            disk.flip_bit(file, bit).expect("it exists");
            let shard = open_one(&disk);
            assert_eq!(shard.recovered[0].standing, Standing::Sound, "{} bit {bit}", file.display());
            let reader = shard.store.reader(PARTITION).expect("it was recovered");
            for entry in [&model.entries[1], &model.entries[10], &model.entries[22]] {
                let next = entry.index.next();
                let read = reader.entries(entry.index, next, 1).expect("it is there");
                assert_eq!(read, std::slice::from_ref(entry), "{} bit {bit}", file.display());
            }
            flips += 1;
        }
    }
    assert!(flips > 500, "{flips} flips");
}

#[test]
fn an_index_that_is_gone_or_garbage_is_made_anew() {
    let disk = MemDisk::new();
    let model = several_segments(&disk);
    for garbage in [None, Some(vec![]), Some(vec![0xAB; 4000])] {
        let disk = disk.fork();
        for file in partition_files(&disk, ".idx") {
            match &garbage {
                None => disk.unlink(&file).expect("it exists"),
                Some(bytes) => disk.damage(&file, |stored| stored.clone_from(bytes)).expect("it exists"),
            }
        }
        let shards = open(&disk, small_options(1, 77));
        let (found, entries) = found_on(&shards)[&PARTITION].clone();
        model.matches(&found, &entries).unwrap_or_else(|error| panic!("{error}"));
        // The active one's is on the disk again; a sealed one's is made when it is used, and never on the disk.
        let newest = partition_files(&disk, ".idx").pop().expect("it was made");
        assert_eq!(problems_of(&disk, &newest), []);
    }
}

#[test]
fn a_flip_anywhere_in_a_snapshot_is_a_lost_replica_and_the_file_is_named() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[0, 0, 0]);
    let snapshot = Some(Snapshot { index: Index(3), data: "what stands for the log".into() });
    let write = ReplicaWrite { commit: Index(3), snapshot, ..model.write() };
    persist(&mut store, &mut model, &write);
    store.close().expect("nothing fails");
    let file = partition_files(&disk, ".snap").remove(0);
    let bytes = bytes_of(&disk, &file).len() as u64;
    let is_lost = |disk: &MemDisk| {
        let found = &open_one(disk).recovered[0];
        assert_eq!((found.standing, &found.snapshot), (Standing::Lost(LostReason::BadSnapshot), &None));
    };
    for bit in 0..bytes * 8 {
        let disk = disk.fork();
        disk.flip_bit(&file, bit).expect("it exists");
        assert_eq!(problems_of(&disk, &file), [Problem::BadSnapshot], "bit {bit}");
        is_lost(&disk);
    }
    for len in 0..bytes {
        let disk = disk.fork();
        disk.damage(&file, |stored| stored.truncate(len as usize)).expect("it exists");
        is_lost(&disk);
    }
    disk.unlink(&file).expect("it exists");
    assert_eq!(problems_of(&disk, &file), [Problem::Missing]);
    is_lost(&disk);
}

/// The tail that is cut, in bytes.
const TAIL_BYTES: u64 = 64 << 10;

/// A log whose newest segment ends with frames of about 4 KiB, 64 KiB in all, written in one round that nobody was
/// told of. Gives back the segment, and the position behind every one of the last frames with the index that it has.
fn long_tail(disk: &MemDisk) -> (Model, PathBuf, Vec<(u64, Index)>) {
    let mut store = open(disk, Options::new(1, [1; 32])).remove(0).store;
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 0, 2]);
    let file = partition_files(disk, ".seg").remove(0);
    let mut end = frames_end(disk, &file);
    let mut ends = vec![(end, model.last_index())];
    let mut entries: Vec<Entry> = Vec::new();
    while end < ends[0].0 + TAIL_BYTES {
        let index = Index(model.last_index().0 + 1 + entries.len() as u64);
        let body = Body::Command(vec![index.0 as u8; 4000 + index.0 as usize].into());
        end += 64 + body.len_bytes() as u64;
        ends.push((end, index));
        let base_offset = model.next_offset();
        entries.push(Entry { index, term: model.last_term(), base_offset, appended_at_ms: 2000, body });
    }
    let write = ReplicaWrite { entries, ..model.write() };
    persist(&mut store, &mut model, &write);
    drop(store);
    (model, file, ends)
}

/// Cuts the tail at each of these lengths and opens it.
fn cut_at(disk: &MemDisk, model: &Model, file: &Path, ends: &[(u64, Index)], lens: &[u64]) {
    for len in lens {
        let disk = disk.fork();
        disk.damage(file, |bytes| bytes.truncate(*len as usize)).expect("it exists");
        let shard = open(&disk, Options::new(1, [2; 32])).remove(0);
        let found = &shard.recovered[0];
        let last =
            ends.iter().rev().find(|(end, _)| end <= len).expect("the tail begins with a whole frame").1;
        assert_eq!((found.standing, found.last_index), (Standing::Sound, last), "cut at {len}");
        let whole = ends.iter().any(|(end, _)| end == len);
        assert_eq!(
            found.segments.len(),
            if whole { 1 } else { 2 },
            "cut at {len}: a torn end begins a segment"
        );
        let reader = shard.store.reader(PARTITION).expect("it was recovered");
        // All of it where a frame ends, and everywhere else the last entry, which is the one at the cut.
        let from = if whole { Index(2) } else { last };
        let entries = reader.entries(from, Index(u64::MAX), usize::MAX).expect("all of it is good");
        let expected = &model.entries[from.0 as usize - 2..last.0 as usize - 1];
        assert!(entries == expected, "cut at {len}: other entries");
        assert_eq!(found.next_offset, Offset(3), "cut at {len}");
    }
}

#[test]
fn every_cut_of_a_tail_of_64_kib_gives_the_whole_frames_before_it() {
    let disk = MemDisk::new();
    let (model, file, ends) = long_tail(&disk);
    let disk = crash_process(&disk);
    let (first, last) = (ends[0].0, ends[ends.len() - 1].0);
    let lens: Vec<u64> = (first..=last).collect();
    assert!(lens.len() as u64 > TAIL_BYTES);
    let (one, other) = lens.split_at(lens.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| cut_at(&disk, &model, &file, &ends, one));
        cut_at(&disk, &model, &file, &ends, other);
    });
}

/// Where the entries of a segment are.
fn positions(disk: &MemDisk, file: &Path) -> Vec<u64> {
    let mut positions = Vec::new();
    inspect(disk, file, &mut |item| {
        if let Item::Entry { position, .. } = item {
            positions.push(position.0);
        }
    })
    .expect("it was listed");
    positions
}

/// What is known to be committed ends in an older segment, and entries are looked for from there on, by way of a bad one
/// that nobody needs to go on.
#[test]
fn a_bad_frame_that_is_not_needed_to_go_on_costs_that_place_alone() {
    let disk = MemDisk::new();
    let options = |start| Options {
        index_interval_bytes: 1 << 20,
        segment_size_bytes_max: 1 << 20,
        ..small_options(1, start)
    };
    let mut store = open(&disk, options(1)).remove(0).store;
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 1, 1, 1, 1]);
    let roll = ReplicaWrite { roll: true, ..model.write() };
    persist(&mut store, &mut model, &roll);
    let write = ReplicaWrite { commit: Index(4), entries: model.next_entries(2, &[1, 1]), ..model.write() };
    persist(&mut store, &mut model, &write);
    let sealed = partition_files(&disk, ".seg").remove(0);
    disk.flip_bit(&sealed, (positions(&disk, &sealed)[1] + 20) * 8).expect("it was listed");
    drop(store);

    let shard = open(&crash_process(&disk), options(2)).remove(0);
    let found = &shard.recovered[0];
    assert_eq!((found.standing, found.commit, found.last_index), (Standing::Sound, Index(4), Index(8)));
    assert_eq!(found.tail.first().map(|entry| entry.meta.index), Some(Index(5)));
    let reader = shard.store.reader(PARTITION).expect("it is here");
    assert!(matches!(reader.entries(Index(3), Index(4), 1 << 20), Err(ReadError::Corrupt { .. })));
    assert_eq!(reader.entries(Index(4), Index(9), 1 << 20).expect("they are sound").len(), 5);
}

/// Entries 2 to 6 are committed, 7 to 9 are a leader's who was cut off; another leader replaces them from 7 on. The frame
/// before is bad: what it takes to cut behind it is known without it.
#[test]
fn a_suffix_is_cut_behind_a_bad_frame_which_costs_that_place_alone() {
    // Every frame is a point of the index, as long ones are.
    let options = |start| Options {
        segment_size_bytes_max: 1 << 20,
        index_interval_bytes: 1,
        ..small_options(1, start)
    };
    let mut disk = MemDisk::new();
    let mut store = open(&disk, options(1)).remove(0).store;
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 1, 1, 1, 1]);
    for _ in 0..3 {
        let write = ReplicaWrite { commit: Index(6), entries: model.next_entries(2, &[1]), ..model.write() };
        persist(&mut store, &mut model, &write);
    }
    let file = partition_files(&disk, ".seg").pop().expect("there is one");
    let positions = positions(&disk, &file);
    disk.flip_bit(&file, (positions[4] + 20) * 8).expect("it was listed");

    let write = ReplicaWrite { entries: model.entries_from(7, 3, &[1]), ..model.write() };
    store.persist_round(vec![write]).expect("one bad frame is no reason to stop");
    for life in 2..6 {
        drop(store);
        disk = crash_process(&disk);
        let shard = open(&disk, options(life)).remove(0);
        assert_eq!((shard.recovered[0].standing, shard.recovered[0].last_index), (Standing::Sound, Index(7)));
        store = shard.store;
        let reader = store.reader(PARTITION).expect("it is here");
        assert_eq!(reader.entries(Index(2), Index(6), 1 << 20).expect("they are sound").len(), 4);
        assert!(matches!(reader.entries(Index(6), Index(8), 1 << 20), Err(ReadError::Corrupt { .. })));
        assert_eq!(reader.entries(Index(7), Index(8), 1 << 20).expect("it is sound")[0].term, Term(3));
        let bad = reader.scrub(None, 1 << 20).expect("nothing fails").bad;
        assert_eq!(bad.iter().map(|place| place.position.0).collect::<Vec<_>>(), [positions[4]]);
    }
}
