//! C10: the log start.

use crate::story::{Story, part};
use mq_checker::Check::C10;

#[test]
fn c10_the_log_start_moves_although_nobody_asked() {
    let mut story = Story::new();
    story.policy(false);
    let a = story.produce(1, 2, 0);
    story.end(1, &[&part(&a, 1..2)]);
    story.breaks(C10, "a final log says that the log starts at 1");
}

#[test]
fn c10_more_is_deleted_than_was_asked_for() {
    let mut story = Story::new();
    let a = story.produce(1, 4, 0);
    let call = story.ask_delete(2);
    story.delete_done(call, 3);
    story.end(3, &[&part(&a, 3..4)]);
    story.breaks(C10, "the answer to a deletion says that the log starts at 3");
}

#[test]
fn c10_data_is_returned_from_below_the_log_start() {
    let mut story = Story::new();
    story.policy(true);
    let a = story.produce(1, 3, 0);
    story.log_start = 2;
    story.read(1, 0, &[&a], 3);
    story.end(2, &[&part(&a, 2..3)]);
    story.breaks(C10, "instead of OFFSET_OUT_OF_RANGE");
}

#[test]
fn c10_a_reader_sees_the_log_start_go_back() {
    let mut story = Story::new();
    story.policy(true);
    let a = story.produce(1, 3, 0);
    story.log_start = 2;
    story.read(1, 2, &[&part(&a, 2..3)], 3);
    story.log_start = 1;
    story.read(1, 3, &[], 3);
    story.end(2, &[&part(&a, 2..3)]);
    story.breaks(C10, "the log starts at 1, and before at 2");
}

#[test]
fn c10_what_is_deleted_is_read_by_who_asked_later() {
    let mut story = Story::new();
    let a = story.produce(1, 3, 0);
    let call = story.ask_delete(2);
    story.delete_done(call, 2);
    story.read(1, 0, &[&a], 3);
    story.end(2, &[&part(&a, 2..3)]);
    story.breaks(C10, "what is below 2 was deleted in term 2");
}

#[test]
fn c10_what_is_deleted_is_back_in_the_end() {
    let mut story = Story::new();
    let a = story.produce(1, 3, 0);
    let call = story.ask_delete(2);
    story.delete_done(call, 2);
    story.end(0, &[&a]);
    story.breaks(C10, "starts at 0, what is below 2 was deleted");
}

#[test]
fn c10_less_is_deleted_than_is_acknowledged() {
    let mut story = Story::new();
    let a = story.produce(1, 3, 0);
    let call = story.ask_delete(2);
    story.delete_done(call, 1);
    story.end(2, &[&part(&a, 2..3)]);
    story.breaks(C10, "said to be deleted, but the log starts at 1");
}

#[test]
fn c10_what_is_there_is_called_out_of_range() {
    let mut story = Story::new();
    let a = story.produce(1, 3, 0);
    let call = story.ask(1, 1);
    story.answer_out_of_range(call, 3);
    story.end(0, &[&a]);
    story.breaks(C10, "offset 1 is out of range");
}

#[test]
fn c10_a_replica_publishes_a_log_start_that_goes_back() {
    let mut story = Story::of_three_with_records();
    story.policy(true);
    story.publish_from(2, 1);
    story.publish_from(2, 0);
    story.breaks(C10, "the log start goes from 1 to 0");
}

#[test]
fn c10_a_replica_publishes_a_log_start_above_its_end() {
    let mut story = Story::of_three_with_records();
    story.policy(true);
    story.publish_from(2, 3);
    story.breaks(C10, "log start 3 above its end 2");
}

#[test]
fn c10_a_replica_publishes_a_log_start_that_nobody_asked_for() {
    let mut story = Story::of_three_with_records();
    story.publish_from(2, 1);
    story.breaks(C10, "a replica says that the log starts at 1");
}

#[test]
fn c10_legal_a_deletion_without_an_answer_comes_true() {
    let mut story = Story::new();
    let a = story.produce(1, 3, 0);
    story.ask_delete(2);
    story.read(1, 0, &[&part(&a, 0..1)], 3);
    story.log_start = 2;
    let call = story.ask(1, 1);
    story.answer_out_of_range(call, 3);
    story.end(2, &[&part(&a, 2..3)]);
    story.is_legal();
}

#[test]
fn c10_legal_a_leader_of_an_earlier_term_does_not_know_of_the_deletion() {
    let mut story = Story::new();
    let a = story.produce(1, 3, 0);
    let call = story.ask_delete(2);
    story.term = 3;
    story.delete_done(call, 2);
    story.term = 2;
    story.read(1, 0, &[&a], 3);
    story.end(2, &[&part(&a, 2..3)]);
    story.is_legal();
}

#[test]
fn c10_legal_retention_was_allowed_once() {
    let mut story = Story::new();
    story.policy(true);
    let a = story.produce(1, 3, 0);
    story.policy(false);
    story.end(2, &[&part(&a, 2..3)]);
    story.is_legal();
}

#[test]
fn c10_legal_a_position_beyond_the_end_is_out_of_range() {
    let mut story = Story::new();
    let a = story.produce(1, 3, 0);
    let call = story.ask(1, 7);
    story.answer_out_of_range(call, 3);
    story.seek(1, 0);
    story.read(1, 0, &[&a], 3);
    story.end(0, &[&a]);
    story.is_legal();
}
