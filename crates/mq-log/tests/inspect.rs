//! Offline inspection: a sound directory has no findings, every flipped bit has one, and nothing is written.

mod fixture;

use fixture::*;
use mq_log::disk::Disk;
use mq_log::inspect::{Finding, Item, Problem, Summary, inspect};
use mq_log::{MemDisk, OsDisk};
use mq_types::persist::{ReplicaWrite, Snapshot, Trim};
use mq_types::{Index, Offset, Position};
use std::path::Path;

fn look<D: Disk>(disk: &D, path: &Path) -> (Summary, Vec<Item>) {
    let mut items = Vec::new();
    let summary = inspect(disk, path, &mut |item| items.push(item)).expect("it can be listed");
    (summary, items)
}

fn findings(items: &[Item]) -> Vec<&Finding> {
    items
        .iter()
        .filter_map(|item| if let Item::Finding(finding) = item { Some(finding) } else { None })
        .collect()
}

/// A partition with several segments, a cut, a snapshot and a trimmed beginning, stopped cleanly.
fn stopped<D: Disk>(disk: &D) -> Model {
    let mut store = fresh(disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 0, 2, 1, 0, 4, 1, 1, 1]);
    let write = ReplicaWrite { entries: model.entries_from(9, 3, &[1, 1, 0, 2]), ..model.write() };
    persist(&mut store, &mut model, &write);
    let snapshot = Some(Snapshot { index: Index(8), data: "producers".into() });
    let write =
        ReplicaWrite { snapshot, commit: Index(10), trim: Some(Trim::Offset(Offset(9))), ..model.write() };
    persist(&mut store, &mut model, &write);
    append(&mut store, &mut model, 3, &[1, 1]);
    store.close().expect("nothing fails");
    model
}

#[test]
fn a_sound_directory_has_no_findings_and_is_not_written_to() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be made");
    let model = stopped(&OsDisk::new(directory.path()));
    let disk = OsDisk::read_only(directory.path());
    let (summary, items) = look(&disk, Path::new(""));
    assert_eq!(findings(&items), Vec::<&Finding>::new());
    let kept: Vec<_> = items
        .iter()
        .filter_map(|item| if let Item::Entry { meta, .. } = item { Some(*meta) } else { None })
        .collect();
    let all: Vec<_> = model.entries.iter().map(mq_types::Entry::meta).collect();
    assert!(kept.len() < all.len() && all.ends_with(&kept), "the trimmed beginning is not there");
    let records: u64 = kept.iter().map(|meta| u64::from(meta.span)).sum();
    assert_eq!((summary.entries, summary.records, summary.findings), (kept.len() as u64, records, 0));
    assert!(items.iter().any(|item| matches!(item, Item::Replica { version, .. } if *version > 0)));
    assert!(!items.iter().any(|item| matches!(item, Item::Torn { .. })), "a clean stop leaves nothing torn");

    let (of_replica, items) = look(&disk, &partition_dir());
    assert_eq!(findings(&items), Vec::<&Finding>::new());
    assert_eq!(of_replica, summary, "a replica's directory by itself says the same");
    let files = partition_files(&disk, ".seg");
    let (of_file, items) = look(&disk, files.last().expect("there is one"));
    assert_eq!((findings(&items).len(), of_file.segments), (0, 1));
}

#[test]
fn every_flipped_bit_is_found_and_named() {
    let disk = MemDisk::new();
    stopped(&disk);
    let operations = disk.operations();
    assert_eq!(look(&disk, Path::new("")).0.findings, 0);
    let files = ["seg", "idx", "snap"].iter().flat_map(|ending| partition_files(&disk, ending));
    let mut flips = 0;
    for file in files.collect::<Vec<_>>() {
        let bytes = bytes_of(&disk, &file).len() as u64;
        // Behind the end that a cut has made, a segment is dead.
        let cut = look(&disk, Path::new("")).1.into_iter().filter_map(|item| match item {
            Item::Entry { file: of, position, len_bytes, .. } if of == file => {
                Some(position.0 + 64 + u64::from(len_bytes))
            }
            _ => None,
        });
        let live = if file.extension().is_some_and(|ending| ending == "seg") { cut.max() } else { None };
        for bit in 0..live.unwrap_or(bytes) * 8 {
            let disk = disk.fork();
            disk.flip_bit(&file, bit).expect("it exists");
            let (_, items) = look(&disk, Path::new(""));
            let found = findings(&items);
            assert!(!found.is_empty(), "{} bit {bit}", file.display());
            assert!(
                found.iter().any(|finding| finding.file == file),
                "{} bit {bit}: {found:?}",
                file.display()
            );
            assert!(found.iter().all(|finding| finding.position.0 <= bit / 8 || finding.file != file));
            flips += 1;
        }
    }
    assert!(flips > 10_000, "{flips} flips");
    assert_eq!(disk.operations(), operations, "looking writes nothing");
}

#[test]
fn a_finding_names_file_position_index_and_offset() {
    let disk = MemDisk::new();
    let model = stopped(&disk);
    let entry = model.entries.iter().rev().find(|entry| entry.meta().span == 2).expect("there is one");
    let items = look(&disk, Path::new("")).1;
    let (file, at, len) = items
        .iter()
        .find_map(|item| match item {
            Item::Entry { file, position, meta, len_bytes, .. } if meta.index == entry.index => {
                Some((file.clone(), *position, *len_bytes))
            }
            _ => None,
        })
        .expect("it is kept");
    for (byte, problem) in
        [(at.0, Problem::FrameChecksum), (at.0 + 63 + u64::from(len), Problem::BatchChecksum)]
    {
        let disk = disk.fork();
        disk.flip_bit(&file, byte * 8).expect("it exists");
        let items = look(&disk, Path::new("")).1;
        let expected = Finding {
            file: file.clone(),
            position: at,
            index: Some(entry.index),
            offset: Some(entry.base_offset),
            problem,
        };
        let found = findings(&items);
        assert_eq!(found.first(), Some(&&expected));
        let text = expected.to_string();
        let place = format!("at byte {at}, index {}, offset {}", entry.index, entry.base_offset);
        assert!(text.contains(&place) && text.contains(".seg"), "{text}");
    }
}

#[test]
fn what_a_crash_has_torn_is_no_finding() {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 1]);
    drop(store);
    let disk = crash_process(&disk);
    let file = partition_files(&disk, ".seg").pop().expect("there is one");
    let end = frames_end(&disk, &file);
    let append = |bytes: &mut Vec<u8>| {
        bytes.truncate(end as usize);
        bytes.extend([0xAB; 100]);
    };
    disk.damage(&file, append).expect("it exists");
    disk.damage(Path::new("state/0/1.a"), |bytes| bytes.extend([0xAB; 10])).expect("it exists");
    let items = look(&disk, Path::new("")).1;
    assert_eq!(findings(&items), Vec::<&Finding>::new());
    let torn = Item::Torn { file: file.clone(), position: Position(end), len_bytes: 100 };
    assert!(items.contains(&torn), "{items:?}");
    // By itself, nothing is known of what was promised.
    assert_eq!(look(&disk, &file).0.findings, 1);
}

#[test]
fn missing_files_and_bad_state_are_findings() {
    let disk = MemDisk::new();
    stopped(&disk);
    for ending in [".seg", ".snap"] {
        let disk = disk.fork();
        let file = partition_files(&disk, ending).remove(0);
        disk.unlink(&file).expect("it exists");
        let items = look(&disk, Path::new("")).1;
        assert!(
            findings(&items)
                .iter()
                .any(|finding| finding.file == file && finding.problem == Problem::Missing)
        );
    }
    let copies = [Path::new("state/0/1.a"), Path::new("state/0/1.b")];
    let one = disk.fork();
    one.flip_bit(copies[1], 300).expect("it exists");
    let items = look(&one, Path::new("")).1;
    let expected = [(copies[1], Problem::BadStateCopy)];
    assert!(findings(&items).iter().map(|finding| (&*finding.file, finding.problem.clone())).eq(expected));
    one.flip_bit(copies[0], 302).expect("it exists");
    let items = look(&one, Path::new("")).1;
    assert_eq!(findings(&items).iter().filter(|finding| finding.problem == Problem::StateUnknown).count(), 2);
    for copy in copies {
        disk.unlink(copy).expect("it exists");
    }
    assert_eq!(findings(&look(&disk, Path::new("")).1)[0].problem, Problem::StateMissing);
}
