//! C5, C6 and C7: batches, readers, and real time.

use crate::story::{Story, all, part};
use mq_checker::Check::{C5, C6, C7};
use mq_checker::history::StreamId;

#[test]
fn c5_with_idempotence_a_later_batch_comes_first() {
    let mut story = Story::new();
    story.idempotent = true;
    let (a, b) = (story.send(1, 2), story.send(1, 2));
    story.info(&a);
    story.info(&b);
    story.end(0, &[&b, &a]);
    story.breaks(C5, "after it at offset 2");
}

#[test]
fn c5_with_idempotence_an_old_epoch_comes_after_a_new_one() {
    let mut story = Story::new();
    story.idempotent = true;
    let a = story.send(1, 1);
    story.info(&a);
    story.epoch = 1;
    let b = story.send(1, 1);
    story.info(&b);
    story.end(0, &[&b, &a]);
    story.breaks(C5, "record 0 of producer 1/1.0");
}

#[test]
fn c5_a_stream_is_acknowledged_out_of_order() {
    let mut story = Story::new();
    story.stream = Some(StreamId(1));
    let (a, b) = (story.send(1, 1), story.send(1, 1));
    story.ok(&b, 0);
    story.ok(&a, 1);
    story.end(0, &[&b, &a]);
    story.breaks(C5, "the batch sent at event 0 was given offset 1");
}

#[test]
fn c5_a_stream_of_unknown_outcomes_is_stored_out_of_order() {
    let mut story = Story::new();
    story.stream = Some(StreamId(1));
    let (a, b) = (story.send(1, 1), story.send(1, 1));
    story.info(&a);
    story.info(&b);
    story.end(0, &[&b, &a]);
    story.breaks(C5, "after it at offset 1");
}

#[test]
fn c5_two_batches_are_mixed() {
    let mut story = Story::new();
    let (a, b) = (story.send(1, 2), story.send(2, 2));
    story.info(&a);
    story.info(&b);
    story.end(0, &[&part(&a, 0..1), &part(&b, 0..1), &part(&a, 1..2), &part(&b, 1..2)]);
    story.breaks(C5, "a batch is torn");
}

#[test]
fn c5_the_middle_of_a_batch_is_missing() {
    let mut story = Story::new();
    let a = story.send(1, 3);
    story.info(&a);
    story.read(1, 0, &[&part(&a, 0..1), &part(&a, 2..3)], 2);
    story.end(0, &[&part(&a, 0..1), &part(&a, 2..3)]);
    story.breaks(C5, "a batch is torn");
}

#[test]
fn c5_legal_without_idempotence_a_retry_lands_behind_what_followed() {
    let mut story = Story::new();
    story.stream = Some(StreamId(1));
    let (a, b) = (story.send(1, 1), story.send(1, 1));
    story.fail(&a);
    story.ok(&b, 0);
    let again = story.resend(&a);
    story.ok(&again, 1);
    story.end(0, &[&b, &a]);
    story.is_legal();
}

#[test]
fn c5_legal_calls_of_their_own_have_no_order() {
    let mut story = Story::new();
    let (a, b) = (story.send(1, 1), story.send(1, 1));
    story.ok(&b, 0);
    story.ok(&a, 1);
    story.end(0, &[&b, &a]);
    story.is_legal();
}

#[test]
fn c5_legal_a_retry_packs_the_same_records_differently() {
    let mut story = Story::new();
    let (a, b) = (story.send(1, 2), story.send(1, 2));
    story.info(&a);
    story.info(&b);
    let again = story.attempt(2, all(&[&a, &b]));
    story.ok(&again, 2);
    story.end(0, &[&b, &a, &b]);
    story.is_legal();
}

#[test]
fn c5_legal_a_batch_is_cut_by_the_log_start() {
    let mut story = Story::new();
    let a = story.produce(1, 4, 0);
    story.ask_delete(2);
    story.end(2, &[&part(&a, 2..4)]);
    story.is_legal();
}

#[test]
fn c6_an_answer_leaves_one_out() {
    let mut story = Story::new();
    let a = story.produce(1, 3, 0);
    let call = story.ask(1, 0);
    story.answer(call, 1, &a.records[1..], 3);
    story.end(0, &[&a]);
    story.breaks(C6, "offset 0 was due, 1 came");
}

#[test]
fn c6_an_answer_repeats_what_was_read() {
    let mut story = Story::new();
    let a = story.produce(1, 3, 0);
    let call = story.ask(1, 1);
    story.answer(call, 0, &a.records, 3);
    story.end(0, &[&a]);
    story.breaks(C6, "offset 1 was due, 0 came");
}

#[test]
fn c6_a_reader_steps_back() {
    let mut story = Story::new();
    let a = story.produce(1, 3, 0);
    story.read(1, 0, &[&a], 3);
    story.read(1, 0, &[&a], 3);
    story.end(0, &[&a]);
    story.breaks(C6, "steps back without a seek");
}

#[test]
fn c6_a_reader_skips() {
    let mut story = Story::new();
    let a = story.produce(1, 3, 0);
    story.read(1, 0, &[&part(&a, 0..1)], 3);
    story.read(1, 2, &[&part(&a, 2..3)], 3);
    story.end(0, &[&a]);
    story.breaks(C6, "skips records without a seek");
}

#[test]
fn c6_legal_a_reader_seeks_back() {
    let mut story = Story::new();
    let a = story.produce(1, 3, 0);
    story.read(1, 0, &[&a], 3);
    story.seek(1, 0);
    story.read(1, 0, &[&a], 3);
    story.end(0, &[&a]);
    story.is_legal();
}

#[test]
fn c6_legal_nothing_is_there_yet() {
    let mut story = Story::new();
    story.read(1, 0, &[], 0);
    story.read(1, 0, &[], 0);
    let a = story.produce(1, 1, 0);
    story.read(1, 0, &[&a], 1);
    story.end(0, &[&a]);
    story.is_legal();
}

#[test]
fn c6_legal_an_answer_comes_after_the_reader_asked_again_and_moved_on() {
    let mut story = Story::new();
    let a = story.produce(1, 2, 0);
    let late = story.ask(1, 0);
    story.read(1, 0, &[&a], 2);
    story.answer(late, 0, &a.records[..1], 2);
    story.read(1, 2, &[], 2);
    story.end(0, &[&a]);
    story.is_legal();
}

#[test]
fn c7_what_was_sent_after_an_acknowledgement_is_below_it() {
    let mut story = Story::new();
    let a = story.produce(1, 1, 1);
    let b = story.send(2, 1);
    story.info(&b);
    story.end(0, &[&b, &a]);
    story.breaks(C7, "offset 1 was already acknowledged (event 1)");
}

#[test]
fn c7_acknowledgements_go_back() {
    let mut story = Story::new();
    let a = story.produce(1, 1, 5);
    let b = story.produce(2, 5, 0);
    story.end(0, &[&b, &a]);
    story.breaks(C7, "everything below 6 was already acknowledged");
}

#[test]
fn c7_latest_is_below_what_was_acknowledged() {
    let mut story = Story::new();
    let a = story.produce(1, 2, 0);
    let call = story.ask_latest();
    story.answer_latest(call, 1);
    story.end(0, &[&a]);
    story.breaks(C7, "LATEST answers 1");
}

#[test]
fn c7_a_retry_without_idempotence_is_given_the_offset_of_the_first_attempt() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    story.info(&a);
    let b = story.produce(2, 1, 1);
    let again = story.resend(&a);
    story.ok(&again, 0);
    story.end(0, &[&a, &b]);
    story.breaks(C7, "everything below 2 was already acknowledged");
}

#[test]
fn c7_the_leader_that_acknowledged_shows_less_to_who_asks_later() {
    let mut story = Story::new();
    let a = story.produce(1, 2, 0);
    story.read(1, 0, &[&part(&a, 0..1)], 1);
    story.end(0, &[&a]);
    story.breaks(C7, "everything below 2 was acknowledged in term 2");
}

#[test]
fn c7_a_later_leader_shows_less_to_who_asks_later() {
    let mut story = Story::new();
    let a = story.produce(1, 1, 0);
    story.term = 3;
    let call = story.ask(1, 1);
    story.answer_out_of_range(call, 0);
    story.end(0, &[&a]);
    story.breaks(C7, "the high watermark is 0 in term 3");
}

#[test]
fn c7_legal_a_fetch_overlaps_an_acknowledgement() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    let call = story.ask(1, 0);
    story.ok(&a, 0);
    story.answer(call, 0, &[], 0);
    story.end(0, &[&a]);
    story.is_legal();
}

#[test]
fn c7_legal_two_that_overlap_have_any_order() {
    let mut story = Story::new();
    let (a, b) = (story.send(1, 1), story.send(2, 1));
    story.ok(&b, 1);
    story.ok(&a, 0);
    story.end(0, &[&a, &b]);
    story.is_legal();
}

#[test]
fn c7_legal_latest_overlaps_an_acknowledgement() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    let call = story.ask_latest();
    story.ok(&a, 0);
    story.answer_latest(call, 0);
    story.end(0, &[&a]);
    story.is_legal();
}

#[test]
fn c7_legal_a_plain_fetch_returns_an_older_prefix() {
    let mut story = Story::new();
    let a = story.produce(1, 1, 0);
    story.term = 3;
    let b = story.produce(1, 1, 1);
    story.term = 2;
    story.read(1, 0, &[&a], 1);
    story.end(0, &[&a, &b]);
    story.is_legal();
}

#[test]
fn c7_legal_a_batch_that_was_refused_before_is_only_as_old_as_its_retry() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    story.fail(&a);
    let b = story.produce(2, 1, 0);
    let again = story.resend(&a);
    story.ok(&again, 1);
    story.end(0, &[&b, &a]);
    story.is_legal();
}
