//! The scrub: it meets everything that is durable, tells of everything that is bad, and keeps to its pace.

mod fixture;

use fixture::*;
use mq_log::disk::{Disk, DiskFile};
use mq_log::{BadPlace, MemDisk, OsDisk, Reader, ScrubOptions, ScrubStep, Scrubber};
use mq_types::persist::{Create, ReplicaWrite, Start, Trim};
use mq_types::{Offset, Position, QuorumId};
use std::io::IoSlice;
use std::path::{Path, PathBuf};

/// Rounds that fill a log.
const ROUNDS: u32 = 12;

const DIRECTORY: &str = "quorums/1024-4294967297";

/// Scrubs all of a log in pieces of this size: what is bad, and how many bytes were read.
fn scrub<D: Disk>(reader: &Reader<D>, piece_bytes: u64) -> (Vec<BadPlace>, u64) {
    let (mut bad, mut read_bytes, mut place) = (Vec::new(), 0, None);
    for _ in 0..1_000_000 {
        let scrubbed = reader.scrub(place, piece_bytes).expect("the disk answers");
        bad.extend(scrubbed.bad);
        read_bytes += scrubbed.read_bytes;
        place = scrubbed.next;
        if place.is_none() {
            return (bad, read_bytes);
        }
    }
    panic!("the scrub does not end");
}

/// The segments' files, oldest first.
fn segments(disk: &MemDisk) -> Vec<PathBuf> {
    let names = disk.list(Path::new(DIRECTORY)).expect("it exists").into_iter().map(|entry| entry.name);
    names.filter(|name| name.ends_with(".seg")).map(|name| Path::new(DIRECTORY).join(name)).collect()
}

fn bytes_of(disk: &MemDisk, path: &Path) -> Vec<u8> {
    disk.open(path).expect("it exists").read_at(0, usize::MAX).expect("it can be read")
}

#[test]
fn a_sound_log_is_read_once_and_nothing_is_found() {
    let (store, _) = filled(&MemDisk::new(), ROUNDS);
    let reader = store.reader(PARTITION).expect("it is here");
    for piece_bytes in [1, 100, 5_000, 1 << 30] {
        assert_eq!(scrub(&reader, piece_bytes), (Vec::new(), reader.size_bytes()), "{piece_bytes}");
    }
}

#[test]
fn every_bad_byte_is_found_where_it_is_and_nothing_else() {
    let disk = MemDisk::new();
    let (store, model) = filled(&disk, ROUNDS);
    let reader = store.reader(PARTITION).expect("it is here");
    let files = segments(&disk);
    assert!(files.len() > 3, "{files:?}");
    for file in &files {
        for at in (0..frames_end(&disk, file) as usize).step_by(7) {
            disk.flip_bit(file, at as u64 * 8 + 3).expect("it exists");
            let (bad, _) = scrub(&reader, 700);
            assert_eq!(bad.len(), 1, "byte {at} of {}: {bad:?}", file.display());
            let place = &bad[0];
            assert!(place.file == *file && place.position <= Position(at as u64), "{at}: {place}");
            // The range is that of whole entries, and holds the byte that was changed.
            let is_border = |offset| {
                offset == model.next_offset() || model.entries.iter().any(|entry| entry.base_offset == offset)
            };
            assert!(
                place.offset <= place.end_offset && is_border(place.offset) && is_border(place.end_offset)
            );
            disk.flip_bit(file, at as u64 * 8 + 3).expect("it exists");
        }
    }
    assert_eq!(scrub(&reader, 700).0, []);
}

#[test]
fn two_bad_batches_are_two_places_and_each_costs_its_own_records_only() {
    let disk = MemDisk::new();
    let (store, model) = filled(&disk, ROUNDS);
    let reader = store.reader(PARTITION).expect("it is here");
    let batches = batches_of(&model, Offset(0), model.next_offset());
    for batch in [&batches[2], &batches[7]] {
        for file in segments(&disk) {
            let bytes = bytes_of(&disk, &file);
            let rest = &batch.rest()[..];
            if let Some(at) = bytes.windows(rest.len()).position(|window| window == rest) {
                disk.flip_bit(&file, (at + 40) as u64 * 8).expect("it exists");
            }
        }
    }
    let ranges = [&batches[2], &batches[7]].map(|b| (b.base_offset(), b.base_offset().plus(b.span())));
    let (bad, read_bytes) = scrub(&reader, 700);
    assert_eq!(bad.iter().map(|place| (place.offset, place.end_offset)).collect::<Vec<_>>(), ranges);
    assert_eq!(read_bytes, reader.size_bytes());
}

#[test]
fn a_hole_larger_than_a_piece_is_one_place() {
    let disk = MemDisk::new();
    let (store, model) = filled(&disk, ROUNDS);
    let reader = store.reader(PARTITION).expect("it is here");
    let file = &segments(&disk)[1];
    let len = bytes_of(&disk, file).len();
    let hole = len / 3..len;
    disk.damage(file, |bytes| bytes[hole.clone()].fill(0)).expect("it exists");
    for piece_bytes in [1, 64, 200, 1 << 20] {
        let (bad, read_bytes) = scrub(&reader, piece_bytes);
        assert_eq!(bad.len(), 1, "{piece_bytes}: {bad:?}");
        assert!(bad[0].position <= Position(hole.start as u64), "{}", bad[0]);
        let next = model.entries.iter().find(|entry| entry.base_offset == bad[0].end_offset);
        assert!(next.is_some(), "the next segment is read as if nothing had been: {}", bad[0]);
        assert_eq!(read_bytes, reader.size_bytes());
    }
}

#[test]
fn a_scrub_goes_on_behind_what_was_trimmed_meanwhile() {
    let (mut store, mut model) = filled(&MemDisk::new(), ROUNDS);
    let reader = store.reader(PARTITION).expect("it is here");
    let first = reader.scrub(None, 200).expect("it is sound");
    let write = ReplicaWrite {
        commit: model.last_index(),
        trim: Some(Trim::Offset(Offset(model.next_offset().0 / 2))),
        ..model.write()
    };
    store.persist_round(vec![write.clone()]).expect("nothing fails");
    model.apply(&write);
    let (mut place, mut read_bytes) = (first.next, 0);
    while let Some(at) = place {
        let scrubbed = reader.scrub(Some(at), 1 << 20).expect("it is sound");
        assert_eq!(scrubbed.bad, []);
        read_bytes += scrubbed.read_bytes;
        place = scrubbed.next;
    }
    assert_eq!(read_bytes, reader.size_bytes());
}

#[test]
fn a_scrub_does_not_go_on_in_another_replica_of_its_quorum_where_it_stood_in_the_one_before() {
    let (mut store, model) = filled(&MemDisk::new(), ROUNDS);
    let reader = store.reader(PARTITION).expect("it is here");
    let mut places = vec![None];
    while let Some(place) =
        reader.scrub(*places.last().expect("there is one"), 100).expect("it is sound").next
    {
        places.push(Some(place));
    }
    assert!(places.len() > 20, "{places:?}");
    store.persist_round(vec![ReplicaWrite { remove: true, ..model.write() }]).expect("nothing fails");
    let create =
        Create { start: Start::BOOTSTRAP, membership: membership(1, &[2]), opened: true, snapshot: None };
    let mut model = Model::of(&create, PARTITION, replica(2));
    let write = ReplicaWrite { create: Some(create), ..ReplicaWrite::new(PARTITION, replica(2)) };
    store.persist_round(vec![write]).expect("nothing fails");
    for records in 1..=30 {
        append(&mut store, &mut model, 2, &[records]);
    }
    let reader = store.reader(PARTITION).expect("it is here");
    let whole = reader.scrub(None, 100).expect("it is sound");
    for place in places {
        assert_eq!(reader.scrub(place, 100).expect("it is sound"), whole, "{place:?}");
    }
}

#[test]
fn what_was_bad_is_not_told_once_the_log_is_cut_before_it() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 1]);
    let file = segments(&disk)[0].clone();
    let from = frames_end(&disk, &file) as usize;
    append(&mut store, &mut model, 2, &[9]);
    let hole = from..frames_end(&disk, &file) as usize;
    disk.damage(&file, |bytes| bytes[hole.clone()].fill(0)).expect("it exists");
    let reader = store.reader(PARTITION).expect("it is here");
    // Up to just before the next good frame would be looked for in vain.
    let mut place = None;
    for _ in 0..100 {
        let scrubbed = reader.scrub(place, 64).expect("the disk answers");
        if !scrubbed.bad.is_empty() {
            break;
        }
        place = scrubbed.next;
    }
    assert!(place.is_some());
    let entries = model.entries_from(model.last_index().0, 3, &[2]);
    let write = ReplicaWrite { entries, ..model.write() };
    persist(&mut store, &mut model, &write);
    while let Some(at) = place {
        let scrubbed = reader.scrub(Some(at), 64).expect("it is sound");
        assert_eq!(scrubbed.bad, []);
        place = scrubbed.next;
    }
}

/// Runs a scrubber over logs of these sizes until a time; every read with its time, and the passes' ends.
fn run(options: ScrubOptions, logs: &[(QuorumId, u64)], until_ms: u64) -> (Vec<(u64, QuorumId)>, Vec<u64>) {
    let disk = MemDisk::new();
    let (store, _) = filled(&disk, ROUNDS);
    let reader = store.reader(PARTITION).expect("it is here");
    let somewhere = reader.scrub(None, 1).expect("it is sound").next;
    let mut scrubber = Scrubber::new(options, 0).expect("it is on");
    let (mut now_ms, mut reads, mut ends) = (0, Vec::new(), Vec::new());
    let mut left = 0;
    while now_ms < until_ms {
        let after = |before: Option<QuorumId>| {
            let mut quorums = logs.iter().map(|(quorum, _)| *quorum);
            quorums.find(|quorum| before.is_none_or(|before| *quorum > before))
        };
        match scrubber.next(now_ms, after) {
            ScrubStep::Wait { until_ms } => {
                assert!(until_ms > now_ms, "a wait ends later than it begins");
                now_ms = until_ms;
            }
            ScrubStep::Read { quorum, from, bytes_max } => {
                let size = logs.iter().find(|log| log.0 == quorum).expect("it is one of them").1;
                left = if from.is_none() { size } else { left };
                let read_bytes = left.min(bytes_max);
                left -= read_bytes;
                reads.push((now_ms, quorum));
                scrubber.read(now_ms, read_bytes, somewhere.filter(|_| left > 0));
            }
            ScrubStep::PassEnded { .. } => ends.push(now_ms),
        }
    }
    (reads, ends)
}

#[test]
fn a_pass_takes_as_long_as_its_bytes_at_the_given_pace_and_begins_once_an_interval() {
    let logs = [(QuorumId(0), 0), (QuorumId(1024), 40 << 20), (QuorumId(1030), 24 << 20)];
    let options = ScrubOptions { bytes_per_second: 4 << 20, interval_ms: 100_000 };
    let (reads, ends) = run(options, &logs, 350_000);
    assert_eq!(reads[0], (60_000, QuorumId(0)), "a start has a minute to itself");
    let quorums: Vec<_> = reads.iter().map(|read| read.1).collect();
    assert_eq!(quorums[..3], [QuorumId(0), QuorumId(1024), QuorumId(1024)]);
    // 64 MiB at 4 MiB/s, and the least that a log counts for.
    assert!((76_000..76_100).contains(&ends[0]), "{ends:?}");
    let begins: Vec<_> = reads.iter().filter(|read| read.1 == QuorumId(0)).map(|read| read.0).collect();
    assert_eq!(begins, [60_000, 160_000, 260_000]);
    assert_eq!(ends.len(), 3);
}

#[test]
fn a_pass_that_takes_longer_than_the_interval_is_followed_by_the_next_at_the_same_pace() {
    let logs = [(QuorumId(1024), 10 << 20)];
    let options = ScrubOptions { bytes_per_second: 1 << 20, interval_ms: 1_000 };
    let (reads, ends) = run(options, &logs, 61_000);
    assert_eq!(reads.len(), 60);
    assert!(reads.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 1_000), "{reads:?}");
    assert_eq!(ends, [11_000, 21_000, 31_000, 41_000, 51_000]);
}

#[test]
fn a_pace_of_nothing_is_no_scrub_and_no_logs_are_an_empty_pass() {
    assert!(Scrubber::new(ScrubOptions { bytes_per_second: 0, interval_ms: 1 }, 0).is_none());
    let options = ScrubOptions { bytes_per_second: 1, interval_ms: 500 };
    let (reads, ends) = run(options, &[], 2_000);
    assert_eq!((reads.len(), ends), (0, vec![500, 1_000, 1_500]));
}

#[test]
fn a_cold_read_gives_what_is_there_and_leaves_nothing_of_it_in_memory() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let disk = OsDisk::new(directory.path());
    let bytes: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
    let file = disk.create(Path::new("file")).expect("it is new");
    file.write_at(0, &mut [IoSlice::new(&bytes)]).expect("there is room");
    file.sync_data().expect("the disk works");
    let is_cached = || {
        let file = std::fs::File::open(directory.path().join("file")).expect("it exists");
        let mut byte = [0; 1];
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        let mut into = [std::io::IoSliceMut::new(&mut byte)];
        rustix::io::preadv2(&file, &mut into, 500_000, flags) == Ok(1)
    };
    let cold = disk.open_cold(Path::new("file")).expect("it exists");
    assert_eq!(cold.read_at(10, 700_000).expect("it can be read"), bytes[10..700_010]);
    if is_cached() {
        // It was in memory before, having been written: there it stays.
        let drop = std::fs::File::open(directory.path().join("file")).expect("it exists");
        rustix::fs::fadvise(&drop, 0, None, rustix::fs::Advice::DontNeed).expect("it is a file");
    }
    if is_cached() {
        eprintln!("skipped: this file system keeps everything in memory");
        return;
    }
    assert_eq!(cold.read_at(10, 700_000).expect("it can be read"), bytes[10..700_010]);
    assert_eq!(cold.read_at(1 << 19, 1 << 20).expect("it can be read"), bytes[1 << 19..]);
    assert!(!is_cached(), "what came from the disk was let go");
}
