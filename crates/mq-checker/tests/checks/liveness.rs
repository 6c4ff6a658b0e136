//! C13: everything works again after the faults have ended.

use crate::story::{PARTITION, Story};
use mq_checker::Check::C13;
use mq_checker::history::Fact;

#[test]
fn c13_a_partition_never_acknowledges_again() {
    let mut story = Story::new();
    let a = story.produce(1, 1, 0);
    story.heal(1);
    story.read(1, 0, &[&a], 1);
    story.wait_s(11);
    story.end(0, &[&a]);
    story.breaks(C13, "has acknowledged nothing");
}

#[test]
fn c13_a_partition_acknowledges_too_late() {
    let mut story = Story::new();
    story.heal(1);
    let a = story.send(1, 1);
    story.wait_s(11);
    story.ok(&a, 0);
    story.read(1, 0, &[&a], 1);
    story.end(0, &[&a]);
    story.breaks(C13, "has acknowledged nothing");
}

#[test]
fn c13_only_what_was_sent_before_is_acknowledged() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    story.heal(1);
    story.ok(&a, 0);
    story.read(1, 0, &[&a], 1);
    story.end(0, &[&a]);
    story.breaks(C13, "has acknowledged nothing");
}

#[test]
fn c13_a_reader_gets_stuck() {
    let mut story = Story::new();
    let a = story.produce(1, 2, 0);
    story.heal(1);
    let b = story.produce(1, 1, 2);
    story.read(1, 0, &[&a], 3);
    story.wait_s(31);
    story.read(1, 2, &[&b], 3);
    story.end(0, &[&a, &b]);
    story.breaks(C13, "has not reached the end");
}

#[test]
fn c13_a_reader_hears_only_from_a_leader_that_is_behind() {
    let mut story = Story::new();
    let (a, b) = (story.produce(1, 2, 0), story.produce(1, 1, 2));
    story.heal(1);
    let c = story.produce(1, 1, 3);
    story.read(1, 0, &[&a], 2);
    story.end(0, &[&a, &b, &c]);
    story.breaks(C13, "has not reached the end");
}

#[test]
fn c13_legal_all_is_well_at_the_last_moment() {
    let mut story = Story::new();
    story.heal(1);
    let a = story.send(1, 1);
    story.wait_s(9);
    story.ok(&a, 0);
    story.wait_s(19);
    story.read(1, 0, &[&a], 1);
    story.end(0, &[&a]);
    story.is_legal();
}

#[test]
fn c13_legal_the_end_moves_on_behind_a_reader_that_was_there() {
    let mut story = Story::new();
    story.heal(1);
    let a = story.produce(1, 1, 0);
    story.read(1, 0, &[&a], 1);
    let b = story.produce(1, 1, 1);
    story.wait_s(60);
    story.end(0, &[&a, &b]);
    story.is_legal();
}

#[test]
fn c13_legal_nothing_is_expected_of_a_deleted_topic() {
    let mut story = Story::new();
    story.produce(1, 1, 0);
    story.heal(1);
    story.tell(Fact::Deleted { quorum: PARTITION });
    story.wait_s(60);
    story.policy(false);
    story.is_legal();
}
