//! Opening with state files that are bad: one good copy is enough, and what both have lost is never passed over.

mod fixture;

use fixture::*;
use mq_log::disk::Disk;
use mq_log::{MemDisk, OpenError};
use mq_types::persist::ReplicaWrite;
use std::path::{Path, PathBuf};

fn state_files(disk: &MemDisk) -> [PathBuf; 2] {
    let directory = Path::new("state/0");
    let names: Vec<_> =
        disk.list(directory).expect("it exists").into_iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    [directory.join(&names[0]), directory.join(&names[1])]
}

/// A partition whose state file has several batches.
fn several_batches(disk: &MemDisk) -> Model {
    let mut store = fresh(disk);
    let mut model = create_partition(&mut store);
    for term in 2..6 {
        let write = ReplicaWrite { vote: Some(vote(term)), ..model.write() };
        persist(&mut store, &mut model, &write);
        append(&mut store, &mut model, term, &[1]);
    }
    model
}

#[test]
fn a_flip_in_one_copy_of_the_state_is_healed() {
    let disk = MemDisk::new();
    let model = several_batches(&disk);
    let disk = crash_process(&disk);
    for file in state_files(&disk) {
        for bit in (0..bytes_of(&disk, &file).len() as u64 * 8).step_by(5) {
            let disk = disk.fork();
            disk.flip_bit(&file, bit).expect("it exists");
            recover(&disk, &model);
            let [a, b] = state_files(&disk);
            assert_eq!(bytes_of(&disk, &a), bytes_of(&disk, &b), "bit {bit}");
        }
        let disk = disk.fork();
        disk.unlink(&file).expect("it exists");
        recover(&disk, &model);
    }
}

#[test]
fn a_flip_in_both_copies_of_the_state_is_never_passed_over() {
    let disk = MemDisk::new();
    let model = several_batches(&disk);
    let disk = crash_process(&disk);
    let [a, b] = state_files(&disk);
    let bytes = bytes_of(&disk, &a);
    // The last batch may be a torn end: nothing later says that it was durable.
    let last = bytes.windows(4).rposition(|window| window == b"mqst").expect("there is one");
    for byte in 0..bytes.len() as u64 {
        let disk = disk.fork();
        disk.flip_bit(&a, byte * 8).expect("it exists");
        disk.flip_bit(&b, byte * 8 + 3).expect("it exists");
        match mq_log::open(disk.clone(), small_options(1, 9)) {
            Err(OpenError::StateUnknown { files, position }) => {
                assert_eq!(files, [a.clone(), b.clone()]);
                assert!(position <= byte && byte < last as u64);
            }
            Ok(shards) => {
                assert!(byte >= last as u64, "byte {byte} of {last}");
                // The last batch was the vote of term 5; its term is in a frame too.
                let found = &shards[0].recovered[0];
                assert_eq!((found.vote.term, found.last_index), (model.vote.term, model.last_index()));
            }
            other => panic!("byte {byte}: {other:?}"),
        }
    }
}

#[test]
fn replicas_without_any_state_are_never_taken_for_an_empty_directory() {
    let disk = MemDisk::new();
    several_batches(&disk);
    let disk = crash_process(&disk);
    for file in state_files(&disk) {
        disk.unlink(&file).expect("it exists");
    }
    let refused = mq_log::open(disk.clone(), small_options(1, 9));
    assert!(matches!(refused, Err(OpenError::StateMissing { replicas: 1, .. })), "{refused:?}");
}
