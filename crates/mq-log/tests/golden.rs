//! The bytes of every file, pinned: what is written today must be readable by every later version. A change here is
//! a change of format: it needs a new version number and a reader for the old one.

mod fixture;

use fixture::*;
use mq_log::MemDisk;
use mq_types::persist::{ReplicaWrite, Snapshot};
use mq_types::{Index, Offset};
use std::path::Path;

/// A segment: its head, a batch, a command and a no-op.
const SEGMENT: &[&str] = &[
    "4859d4ba480000006d7100000000000001000000000000000100000000000000",
    "0100000000000000010000000000000000000000000000000000000000000000",
    "0100000001000000000400000000000001000000010000000100000000000000",
    "023f37203a2476c42566a61cc55c3ca801000000000000000100000000000000",
    "000000000000000010721d8e510000006d710100010000000200000000000000",
    "0200000000000000010000000000000001000000000000000000000000000000",
    "ea030000000000000000000000000000000000450000000202f2907d0a000000",
    "00000000000000000000070000000000000007ffffffffffffffffffffffffff",
    "ff0000000126000000011a32206f66207465726d2032203000c3f2ba790b0000",
    "006d710500000000000300000000000000020000000000000001000000000000",
    "0001000000000000000100000000000000eb0300000000000033206f66207465",
    "726d20326dc35f44000000006d71020000000000040000000000000002000000",
    "00000000030000000000000003000000000000000100000000000000ec030000",
    "00000000",
];

/// The segment's sparse index.
const INDEX: &[&str] = &[
    "6d71697801003000023f37203a2476c42566a61cc55c3ca85d4e6f2300000000",
    "020000000000000000000000000000000200000000000000ea03000000000000",
    "8800000000000000d3192c700000000004000000000000000100000000000000",
    "0200000000000000ec030000000000006401000000000000172f16f500000000",
];

/// A snapshot.
const SNAPSHOT: &[&str] = &[
    "6d71736e0100000065b05ddb0000000000040000000000000100000001000000",
    "0200000000000000090000000000000070726f647563657273",
];

/// A copy of the state file: the set, the new replica, then its change.
const STATE: &[&str] = &[
    "6d71737401000000060000009096862600000000000000000a04080110016d71",
    "7374010000002a000000f5943e031e0000000000000012280880081081808080",
    "101801200130014204080110014a090801120581808080105206080110021801",
    "6d71737401000000460000004e2b3e5760000000000000001235088008108180",
    "8080101802200228818080801030014204080110014a0e0802120a8180808010",
    "8280808010520608011002180158021a0d08800810818080801018012004",
];

/// Bytes as lines of 32, in hexadecimal.
fn lines(bytes: &[u8]) -> Vec<String> {
    let hex = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.chunks(32).map(hex).collect()
}

fn written() -> MemDisk {
    let disk = MemDisk::new();
    let mut store = fresh(&disk);
    let mut model = create_partition(&mut store);
    append(&mut store, &mut model, 2, &[1, 0]);
    let snapshot = Some(Snapshot { index: Index(2), data: "producers".into() });
    let write = ReplicaWrite {
        vote: Some(vote(2)),
        commit: Index(3),
        entries: model.next_entries(2, &[0]),
        snapshot,
        membership: Some(membership(2, &[1, 2])),
        ..model.write()
    };
    persist(&mut store, &mut model, &write);
    disk
}

#[test]
fn a_segment_and_its_frames_have_these_bytes() {
    let disk = written();
    let file = &partition_files(&disk, ".seg")[0];
    let bytes = bytes_of(&disk, file);
    let (frames, ahead) = bytes.split_at(frames_end(&disk, file) as usize);
    assert_eq!(lines(frames), SEGMENT);
    assert!(ahead.iter().all(|byte| *byte == 0), "behind the frames there is nothing yet");
}

#[test]
fn a_sparse_index_has_these_bytes() {
    let disk = written();
    assert_eq!(lines(&bytes_of(&disk, &partition_files(&disk, ".idx")[0])), INDEX);
}

#[test]
fn a_snapshot_has_these_bytes() {
    let disk = written();
    assert_eq!(lines(&bytes_of(&disk, &partition_files(&disk, ".snap")[0])), SNAPSHOT);
}

#[test]
fn a_state_file_has_these_bytes() {
    let disk = written();
    assert_eq!(lines(&bytes_of(&disk, Path::new("state/0/1.a"))), STATE);
}

#[test]
fn what_these_bytes_hold_is_read_back() {
    let disk = crash_process(&written());
    let (_, found) = reopen(&disk, 2);
    assert_eq!((found[0].last_index, found[0].next_offset), (Index(4), Offset(1)));
}
