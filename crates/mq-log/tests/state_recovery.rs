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

/// Writes one batch with a right checksum into both copies of the state.
fn forge_state(disk: &MemDisk, payload: &[u8]) {
    for path in state_files(disk) {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("it has a name");
        let generation: u64 = name.parse().expect("it begins with its generation");
        let mut header = *b"mqst\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        header[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        let shard = 0_u16.to_le_bytes();
        let covered = [&shard[..], &generation.to_le_bytes(), &header[..12], &header[16..], payload].concat();
        header[12..16].copy_from_slice(&crc32fast::hash(&covered).to_le_bytes());
        disk.damage(&path, |bytes| *bytes = [&header[..], payload].concat()).expect("it exists");
    }
}

/// A set of 0 files was complete without any, and every replica that it did not list was removed.
#[test]
fn a_set_of_no_state_files_is_no_state() {
    let disk = MemDisk::new();
    several_batches(&disk);
    let disk = crash_process(&disk);
    // Opening { shards: 0, set: 99 }
    forge_state(&disk, &[0x0a, 2, 0x10, 99]);
    let refused = mq_log::open(disk.clone(), small_options(1, 9));
    assert!(matches!(refused, Err(OpenError::StateMissing { replicas: 1, .. })), "{refused:?}");
    assert!(!partition_files(&disk, ".seg").is_empty());
}

/// Two replicas of one quorum were a panic in the middle of the open, after the old state files were gone.
#[test]
fn two_replicas_of_a_quorum_are_refused_by_their_names() {
    let disk = MemDisk::new();
    several_batches(&disk);
    let disk = crash_process(&disk);
    // Opening { shards: 1, set: 99 }; { quorum: 1024, replica, start, membership, segments: [{ number, first_index }] }
    let mut payload = vec![0x0a, 4, 8, 1, 0x10, 99];
    for replica in [7, 8] {
        payload.extend([0x12, 15, 8, 0x80, 8, 0x10, replica, 0x42, 0, 0x4a, 0, 0x52, 4, 8, 1, 0x10, 1]);
    }
    forge_state(&disk, &payload);
    let before = state_files(&disk);
    let refused = mq_log::open(disk.clone(), small_options(1, 9));
    assert!(matches!(refused, Err(OpenError::TwoReplicas { quorum: PARTITION, .. })), "{refused:?}");
    assert_eq!(state_files(&disk), before);
}
