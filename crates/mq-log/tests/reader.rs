//! Reading: what a reader finds, what it is refused, and that it may read while the writer writes.

mod fixture;

use fixture::*;
use mq_log::disk::Disk;
use mq_log::{MemDisk, OsDisk, ReadError};
use mq_types::persist::{ReplicaWrite, Trim};
use mq_types::{Index, Offset, Position, Term};
use std::path::Path;

/// Rounds that fill a log.
const ROUNDS: u32 = 30;

#[test]
fn every_offset_leads_to_its_batch() {
    let (store, model) = filled(&MemDisk::new(), ROUNDS);
    let reader = store.reader(PARTITION).expect("it is here");
    let end = model.next_offset();
    for offset in (0..=end.0).map(Offset) {
        let read = reader.read(offset, end, usize::MAX >> 1).expect("it is sound");
        assert_eq!(read.batches, batches_of(&model, offset, end), "from {offset}");
        assert_eq!(read.next_offset, end);
        let meta = reader.meta_at(offset).expect("it is sound");
        let entry = model
            .entries
            .iter()
            .map(mq_types::Entry::meta)
            .find(|meta| meta.end_offset() > offset && meta.span > 0);
        assert_eq!(meta, entry, "at {offset}");
    }
}

#[test]
fn a_read_gives_at_least_one_batch_and_at_most_what_was_asked() {
    let (store, model) = filled(&MemDisk::new(), ROUNDS);
    let reader = store.reader(PARTITION).expect("it is here");
    let end = model.next_offset();
    for max_bytes in [0, 1, 100, 1000] {
        let mut next = Offset(0);
        while next < end {
            let read = reader.read(next, end, max_bytes).expect("it is sound");
            let bytes: usize = read.batches.iter().map(mq_types::Batch::len_bytes).sum();
            assert!(!read.batches.is_empty() && (bytes <= max_bytes || read.batches.len() == 1));
            assert!(read.next_offset > next);
            next = read.next_offset;
        }
        assert_eq!(
            read_batches(&reader, Offset(0), end).expect("it is sound"),
            batches_of(&model, Offset(0), end)
        );
    }
}

#[test]
fn nothing_at_or_above_the_limit_is_read() {
    let (store, model) = filled(&MemDisk::new(), ROUNDS);
    let reader = store.reader(PARTITION).expect("it is here");
    for until in (0..=model.next_offset().0).map(Offset) {
        let read = reader.read(Offset(0), until, usize::MAX >> 1).expect("it is sound");
        assert_eq!(read.batches, batches_of(&model, Offset(0), until), "until {until}");
    }
    let beyond = reader.read(model.next_offset(), Offset(1 << 40), 100).expect("it is sound");
    assert_eq!((beyond.batches, beyond.next_offset), (Vec::new(), model.next_offset()));
}

#[test]
fn entries_come_by_index() {
    let (store, model) = filled(&MemDisk::new(), ROUNDS);
    let reader = store.reader(PARTITION).expect("it is here");
    let to = model.last_index().next();
    for from in (2..=model.last_index().0).map(Index) {
        let entries = reader.entries(from, to, usize::MAX >> 1).expect("it is sound");
        assert_eq!(entries, model.entries[from.0 as usize - 2..]);
    }
    assert_eq!(reader.entries(Index(5), Index(7), 1 << 20).expect("it is sound").len(), 2);
    assert_eq!(reader.entries(Index(5), Index(5), 1 << 20).expect("it is sound").len(), 0);
    assert!(matches!(reader.entries(Index(1), to, 1), Err(ReadError::BelowStart { .. })));
}

#[test]
fn a_time_leads_to_the_first_batch_not_older() {
    let (mut store, mut model) = filled(&MemDisk::new(), ROUNDS);
    let end = model.next_offset();
    let write =
        ReplicaWrite { commit: model.last_index(), trim: Some(Trim::Offset(Offset(21))), ..model.write() };
    store.persist_round(vec![write.clone()]).expect("nothing fails");
    model.apply(&write);
    let reader = store.reader(PARTITION).expect("it is here");
    for time in 990..1000 + model.last_index().0 as i64 + 5 {
        let expected = model
            .entries
            .iter()
            .map(mq_types::Entry::meta)
            .find(|meta| meta.span > 0 && meta.appended_at_ms >= time && meta.end_offset() > Offset(21));
        let expected =
            expected.map(|meta| (meta.base_offset.max(Offset(21)), meta.appended_at_ms, meta.term));
        assert_eq!(reader.offset_for_time(time, end).expect("it is sound"), expected, "at {time}");
        let below = expected.filter(|found| {
            model
                .entries
                .iter()
                .any(|entry| entry.appended_at_ms == found.1 && entry.meta().end_offset() <= Offset(40))
        });
        assert_eq!(
            reader.offset_for_time(time, Offset(40)).expect("it is sound"),
            below,
            "below 40, at {time}"
        );
    }
    assert_eq!(reader.offset_for_time(0, end).expect("it is sound").map(|found| found.2), Some(Term(2)));
}

#[test]
fn a_damaged_batch_is_named_and_what_lies_before_it_is_given() {
    let disk = MemDisk::new();
    let (store, model) = filled(&disk, ROUNDS);
    let reader = store.reader(PARTITION).expect("it is here");
    let directory = Path::new("quorums/1024-4294967297");
    let batch = &batches_of(&model, Offset(0), model.next_offset())[5];
    let holds =
        |bytes: &[u8]| bytes.windows(batch.rest().len()).position(|window| window == &batch.rest()[..]);
    let paths = disk.list(directory).expect("it exists").into_iter().map(|entry| directory.join(entry.name));
    let mut damaged = None;
    for path in paths {
        disk.damage(&path, |bytes| {
            if let Some(at) = holds(bytes) {
                bytes[at + 45] ^= 1;
                damaged = Some(path.clone());
            }
        })
        .expect("it exists");
    }
    let path = damaged.expect("the batch is stored somewhere");
    let end = model.next_offset();
    let read = reader.read(Offset(0), end, usize::MAX >> 1).expect("what lies before it is sound");
    let sound = read.batches.len();
    assert!(sound > 0);
    assert_eq!(read.batches, batches_of(&model, Offset(0), end)[..sound]);
    let refused = reader.read(read.next_offset, end, 1000);
    let Err(ReadError::Corrupt(bad)) = refused else { panic!("{refused:?}") };
    let end_offset = batch.base_offset().plus(batch.span());
    assert_eq!((bad.file, bad.offset, bad.end_offset), (path, read.next_offset, end_offset));
    assert!(bad.position > Position(0));
    // All but the bad one can be read, whatever is between them and the index's nearest point.
    for offset in (0..end.0).map(Offset) {
        let read = reader.read(offset, end, 0);
        match batch.base_offset() <= offset && offset < end_offset {
            true => assert!(matches!(read, Err(ReadError::Corrupt(_))), "{offset}: {read:?}"),
            false => assert_eq!(read.expect("it is sound").batches, batches_of(&model, offset, end)[..1]),
        }
    }
}

#[test]
fn a_lost_or_damaged_index_makes_reading_slower_and_not_wrong() {
    let disk = MemDisk::new();
    let (store, model) = filled(&disk, ROUNDS);
    let directory = Path::new("quorums/1024-4294967297");
    for (number, entry) in disk.list(directory).expect("it exists").iter().enumerate() {
        let path = directory.join(&entry.name);
        if entry.name.ends_with(".idx") {
            match number % 3 {
                0 => disk.unlink(&path).expect("it exists"),
                1 => disk.damage(&path, |bytes| bytes.truncate(40)).expect("it exists"),
                _ => disk
                    .damage(&path, |bytes| bytes.iter_mut().skip(32).for_each(|byte| *byte ^= 0x55))
                    .expect("it exists"),
            }
        }
    }
    let reader = store.reader(PARTITION).expect("it is here");
    let end = model.next_offset();
    for offset in (0..end.0).map(Offset) {
        let read = reader.read(offset, end, 200).expect("it is sound");
        assert_eq!(read.batches[0], batches_of(&model, offset, end)[0]);
    }
    drop(store);
    let (store, _) = reopen(&crash_process(&disk), 9);
    let reader = store.reader(PARTITION).expect("it is here");
    assert_eq!(
        read_batches(&reader, Offset(0), end).expect("it is sound"),
        batches_of(&model, Offset(0), end)
    );
}

#[test]
fn a_reader_reads_beside_the_writer() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be made");
    let (mut store, mut model) = filled(&OsDisk::new(directory.path()), ROUNDS);
    let reader = store.reader(PARTITION).expect("it is here");
    let first_end = model.next_offset();
    let writes = 300;
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (reader, stop) = (reader.clone(), &stop);
                scope.spawn(move || {
                    let (mut next, mut batches) = (Offset(0), 0);
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) || batches == 0 {
                        match reader.read(next, Offset(1 << 40), 2000) {
                            Ok(read) => {
                                let ends = read.batches.iter().map(mq_types::Batch::end_offset);
                                let starts = read.batches.iter().map(mq_types::Batch::base_offset);
                                assert!(ends.zip(starts.skip(1)).all(|(end, start)| end == start), "no gap");
                                batches += read.batches.len();
                                next = read.next_offset;
                            }
                            Err(ReadError::BelowStart { log_start }) => next = next.max(log_start),
                            Err(error) => panic!("{error}"),
                        }
                    }
                    batches
                })
            })
            .collect();
        for number in 0..writes {
            let entries = model.next_entries(4, &[1, 0, 2]);
            let mut write = ReplicaWrite { entries, commit: model.last_index(), ..model.write() };
            if number % 20 == 0 {
                write.trim = Some(Trim::Offset(Offset(model.next_offset().0 / 2)));
            }
            store.persist_round(vec![write.clone()]).expect("nothing fails");
            model.apply(&write);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().expect("it does not panic") > 0);
        }
    });
    let from = model.start.log_start;
    assert!(from > first_end.min(Offset(1)));
    let end = model.next_offset();
    assert_eq!(read_batches(&reader, from, end).expect("it is sound"), batches_of(&model, from, end));
}
