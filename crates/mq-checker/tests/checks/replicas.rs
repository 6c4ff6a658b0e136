//! C14: all replicas hold the same.

use crate::story::{Batch, Story, all, part, placed};
use mq_checker::Check::C14;
use mq_checker::history::{FinalContent, RunningHash};
use mq_types::Offset;
use std::ops::Range;

#[test]
fn c14_one_replica_differs_in_a_record_that_nobody_read() {
    let mut story = Story::new();
    let (a, b, c) = (story.send(1, 2), story.send(2, 1), story.send(3, 1));
    story.last(1, 0, &[&a, &b]);
    story.last(2, 0, &[&a, &c]);
    story.breaks(C14, "first at offset 2");
}

#[test]
fn c14_one_hash_differs() {
    let mut story = Story::new();
    let (a, b) = (story.send(1, 1), story.send(2, 1));
    story.last(1, 0, &[&a, &b]);
    story.last_hash(2, 0, &[&b, &a]);
    story.breaks(C14, "differ over [0, 2)");
}

#[test]
fn c14_a_shorter_hash_differs() {
    let mut story = Story::new();
    story.policy(true);
    let (a, b, c) = (story.send(1, 1), story.send(2, 1), story.send(3, 1));
    story.last(1, 0, &[&a, &b, &c]);
    story.applied = 90;
    story.last_hash(2, 1, &[&c]);
    story.breaks(C14, "differ over [1, 2)");
}

#[test]
fn c14_replicas_that_applied_the_same_begin_at_different_offsets() {
    let mut story = Story::new();
    story.policy(true);
    let a = story.send(1, 3);
    story.last(1, 0, &[&a]);
    story.last(2, 1, &[&part(&a, 1..3)]);
    story.breaks(C14, "the other [1, 3)");
}

#[test]
fn c14_a_log_has_a_gap() {
    let mut story = Story::new();
    let a = story.send(1, 3);
    let mut records = placed(0, &all(&[&a]));
    records.remove(1);
    story.last_as(1, (0, 3), FinalContent::Records(records));
    story.breaks(C14, "the first fault is at 1");
}

#[test]
fn c14_legal_a_replica_that_applied_less_is_behind_at_both_ends() {
    let mut story = Story::new();
    story.policy(true);
    let a = story.send(1, 4);
    story.last(1, 2, &[&part(&a, 2..4)]);
    story.applied = 90;
    story.last(2, 0, &[&part(&a, 0..3)]);
    story.is_legal();
}

#[test]
fn c14_legal_a_hash_of_a_part() {
    let mut story = Story::new();
    story.policy(true);
    let a = story.send(1, 4);
    story.last(1, 0, &[&a]);
    story.applied = 90;
    story.last_hash(2, 1, &[&part(&a, 1..3)]);
    story.is_legal();
}

#[test]
fn c14_legal_a_replica_has_nothing_in_common_with_the_others() {
    let mut story = Story::new();
    story.policy(true);
    let a = story.send(1, 4);
    story.last(1, 3, &[&part(&a, 3..4)]);
    story.applied = 90;
    story.last_hash(2, 0, &[&part(&a, 0..2)]);
    story.is_legal();
}

#[test]
fn c14_what_can_be_read_of_a_bad_disk_is_not_what_others_have() {
    let mut story = Story::new();
    let a = story.send(1, 5);
    story.last(1, 0, &[&a]);
    let readable = vec![hashed(0, &part(&a, 0..2)), hashed(3, &part(&a, 2..4))];
    story.last_as(2, (0, 5), FinalContent::Parts(readable));
    story.breaks(C14, "differ over [3, 5)");
}

#[test]
fn c14_a_bad_disk_does_not_excuse_where_the_log_begins() {
    let mut story = Story::new();
    story.policy(true);
    let a = story.send(1, 5);
    story.last(1, 0, &[&a]);
    story.last_as(2, (1, 5), FinalContent::Parts(vec![hashed(3, &part(&a, 3..5))]));
    story.breaks(C14, "the other [0, 5)");
}

#[test]
fn c14_legal_what_can_be_read_of_a_bad_disk_is_what_others_have() {
    let mut story = Story::new();
    let a = story.send(1, 5);
    story.last(1, 0, &[&a]);
    let readable = vec![hashed(0, &part(&a, 0..2)), hashed(3, &part(&a, 3..5))];
    story.last_as(2, (0, 5), FinalContent::Parts(readable));
    story.is_legal();
}

fn hashed(from: u64, batch: &Batch) -> (Range<Offset>, RunningHash) {
    let mut hash = RunningHash::default();
    let records = placed(from, &all(&[batch]));
    records.iter().for_each(|placed| hash.add(placed));
    (Offset(from)..Offset(from + records.len() as u64), hash)
}
