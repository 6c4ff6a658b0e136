//! How much is kept, and of how many files.

use super::{CachedTail, PIECES_MAX_COUNT};
use crate::disk::MemFile;
use crate::{Disk, MemDisk};
use std::path::PathBuf;

fn push(tail: &mut CachedTail<MemFile>, disk: &MemDisk, number: usize, bytes: u64) {
    let path = PathBuf::from(number.to_string());
    let file = disk.create(&path).expect("it is new");
    tail.push(path, file, 0..bytes);
}

#[test]
fn small_ends_of_many_closed_segments_do_not_keep_their_files_open() {
    let (disk, mut tail) = (MemDisk::new(), CachedTail::new(1 << 30));
    for number in 0..3 * PIECES_MAX_COUNT {
        push(&mut tail, &disk, number, 100);
    }
    assert_eq!(tail.pieces.len(), PIECES_MAX_COUNT);
    assert_eq!(tail.bytes, 100 * PIECES_MAX_COUNT as u64);
    assert_eq!(tail.pieces[0].path, PathBuf::from((2 * PIECES_MAX_COUNT).to_string()), "the oldest go");
}

#[test]
fn the_newest_bytes_are_kept_up_to_the_limit() {
    let (disk, mut tail) = (MemDisk::new(), CachedTail::new(1_000));
    for number in 0..5 {
        push(&mut tail, &disk, number, 400);
    }
    let kept: Vec<_> = tail.pieces.iter().map(|piece| piece.path.clone()).collect();
    assert_eq!((kept, tail.bytes), (vec![PathBuf::from("3"), PathBuf::from("4")], 800));
}
