//! C1 to C4 and C9: which record is where, how often, and whether it stays.

use crate::story::{PARTITION, Story, part};
use mq_checker::Check::{C1, C2, C3, C4, C9, History};
use mq_checker::history::{Durability, Fact};
use mq_types::QuorumId;

#[test]
fn c1_two_batches_acknowledged_at_one_offset() {
    let mut story = Story::new();
    let (a, b) = (story.send(1, 3), story.send(2, 1));
    story.ok(&a, 0);
    story.ok(&b, 2);
    story.end(0, &[&a]);
    story.breaks(
        C1,
        "offset 2: record 0 of producer 1/2.0 (100 bytes, hash 00005eed) is acknowledged; event 2 showed",
    );
}

#[test]
fn c1_a_read_shows_another_record_than_was_acknowledged() {
    let mut story = Story::new();
    let (a, b) = (story.send(1, 1), story.send(2, 1));
    story.ok(&a, 0);
    story.read(1, 0, &[&b], 1);
    story.end(0, &[&a]);
    story.breaks(C1, "is read; event 2 showed");
}

#[test]
fn c1_two_replicas_show_different_records() {
    let mut story = Story::new();
    let (a, b) = (story.send(1, 1), story.send(2, 1));
    story.read(1, 0, &[&a], 1);
    story.read(2, 0, &[&b], 1);
    story.end(0, &[&a]);
    story.breaks(C1, "is read; event 3 showed");
}

#[test]
fn c1_one_disk_holds_another_record() {
    let mut story = Story::new();
    let (a, b) = (story.send(1, 1), story.send(2, 1));
    story.ok(&a, 0);
    story.last(1, 0, &[&a]);
    story.last(2, 0, &[&b]);
    story.breaks(C1, "is on disk; event 2 showed");
}

#[test]
fn c1_legal_an_offset_promised_by_one_disk_alone_goes_to_another_record() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    story.ok_as(&a, 0, Durability::Leader);
    let b = story.produce(2, 1, 0);
    story.end(0, &[&b]);
    story.is_legal();
}

#[test]
fn c1_legal_a_record_is_read_before_it_is_acknowledged_and_often() {
    let mut story = Story::new();
    let a = story.send(1, 2);
    story.read(1, 0, &[&a], 2);
    story.read(2, 0, &[&a], 2);
    story.ok(&a, 0);
    story.end(0, &[&a]);
    story.is_legal();
}

#[test]
fn c1_legal_one_offset_in_two_partitions() {
    let mut story = Story::new();
    let a = story.produce(1, 1, 0);
    story.end(0, &[&a]);
    story.quorum = QuorumId(1025);
    let b = story.produce(2, 1, 0);
    story.end(0, &[&b]);
    story.is_legal();
}

#[test]
fn c2_a_retry_with_idempotence_is_stored_again() {
    let mut story = Story::new();
    story.idempotent = true;
    let a = story.send(1, 1);
    story.info(&a);
    let again = story.resend(&a);
    story.ok(&again, 1);
    story.end(0, &[&a, &a]);
    story.breaks(C2, "2 attempts were made with idempotence");
}

#[test]
fn c2_one_attempt_is_stored_twice() {
    let mut story = Story::new();
    let a = story.produce(1, 2, 0);
    story.end(0, &[&a, &a]);
    story.breaks(C2, "1 attempts were made without idempotence");
}

#[test]
fn c2_two_attempts_are_read_at_three_offsets() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    story.info(&a);
    let again = story.resend(&a);
    story.info(&again);
    story.read(1, 0, &[&a, &a, &a], 3);
    story.end(0, &[&a, &a, &a]);
    story.breaks(C2, "so at 3 offsets: 2 attempts");
}

#[test]
fn c2_an_attempt_that_certainly_failed_does_not_count() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    let again = story.resend(&a);
    story.ok(&again, 1);
    story.read(1, 0, &[&a, &a], 2);
    story.fail(&a);
    story.end(0, &[&a, &a]);
    story.breaks(C2, "1 of which certainly failed");
}

#[test]
fn c2_legal_an_unknown_attempt_and_its_retry_are_both_stored() {
    let mut story = Story::new();
    let a = story.send(1, 2);
    story.info(&a);
    let again = story.resend(&a);
    story.ok(&again, 2);
    story.end(0, &[&a, &a]);
    story.is_legal();
}

#[test]
fn c2_legal_a_first_attempt_arrives_after_its_retry_and_what_followed() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    story.info(&a);
    let again = story.resend(&a);
    story.ok(&again, 0);
    let b = story.produce(1, 1, 1);
    story.end(0, &[&a, &b, &a]);
    story.is_legal();
}

#[test]
fn c2_legal_a_retry_with_idempotence_is_told_the_first_offset() {
    let mut story = Story::new();
    story.idempotent = true;
    let a = story.send(1, 1);
    story.info(&a);
    let b = story.produce(2, 1, 1);
    let again = story.resend(&a);
    story.ok(&again, 0);
    story.end(0, &[&a, &b]);
    story.is_legal();
}

#[test]
fn c3_the_acknowledged_end_is_lost() {
    let mut story = Story::new();
    let a = story.produce(1, 1, 0);
    story.produce(1, 2, 1);
    story.end(0, &[&a]);
    story.breaks(C3, "offset 2 was acknowledged (event 3)");
}

#[test]
fn c3_every_replica_comes_back_empty() {
    let mut story = Story::new();
    story.produce(1, 1, 0);
    story.end(0, &[]);
    story.breaks(C3, "offset 0 was acknowledged (event 1)");
}

#[test]
fn c3_an_acknowledged_record_is_replaced() {
    let mut story = Story::new();
    let a = story.produce(1, 1, 0);
    story.produce(1, 1, 1);
    let b = story.send(2, 1);
    story.info(&b);
    story.end(0, &[&a, &b]);
    story.breaks(C3, "offset 1 was acknowledged (event 3)");
}

#[test]
fn c3_only_half_of_a_batch_is_left() {
    let mut story = Story::new();
    let a = story.produce(1, 4, 0);
    story.end(0, &[&part(&a, 0..2)]);
    story.breaks(C3, "offset 2 was acknowledged (event 1)");
}

#[test]
fn c3_legal_what_was_never_certain_is_lost() {
    let mut story = Story::new();
    let a = story.produce(1, 1, 0);
    let (b, c) = (story.send(1, 1), story.send(1, 1));
    story.info(&b);
    story.ok_as(&c, 2, Durability::None);
    story.end(0, &[&a]);
    story.is_legal();
}

#[test]
fn c3_legal_acknowledged_records_were_deleted_on_request() {
    let mut story = Story::new();
    let a = story.produce(1, 4, 0);
    let call = story.ask_delete(3);
    story.delete_done(call, 3);
    story.end(3, &[&part(&a, 3..4)]);
    story.is_legal();
}

#[test]
fn c3_legal_everything_goes_with_its_topic() {
    let mut story = Story::new();
    story.produce(1, 4, 0);
    story.tell(Fact::Deleted { quorum: PARTITION });
    story.is_legal();
}

#[test]
fn c4_what_nobody_sent_is_read() {
    let mut story = Story::new();
    let a = story.produce(1, 1, 0);
    let mut stranger = a.clone();
    stranger.records[0].sequence = 7;
    story.read(1, 1, &[&stranger], 2);
    story.end(0, &[&a]);
    story.breaks(C4, "offset 1 holds record 7");
}

#[test]
fn c4_altered_bytes_are_read() {
    let mut story = Story::new();
    let a = story.produce(1, 1, 0);
    let mut altered = a.clone();
    altered.records[0].hash ^= 1;
    story.read(1, 0, &[&altered], 1);
    story.end(0, &[&a]);
    story.breaks(C4, "hash 00005eec), which nobody sent here");
}

#[test]
fn c4_what_was_refused_is_read() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    story.fail(&a);
    story.read(1, 0, &[&a], 1);
    story.end(0, &[&a]);
    story.breaks(C4, "at offset 0 although it was refused");
}

#[test]
fn c4_what_was_read_is_refused_afterwards() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    story.read(1, 0, &[&a], 1);
    story.fail(&a);
    story.end(0, &[&a]);
    story.breaks(C4, "is stored although it was refused");
}

#[test]
fn c4_another_partitions_record_is_read() {
    let mut story = Story::new();
    let a = story.produce(1, 1, 0);
    story.end(0, &[&a]);
    story.quorum = QuorumId(1025);
    story.read(1, 0, &[&a], 1);
    story.end(0, &[&a]);
    story.breaks(C4, "which nobody sent here");
}

#[test]
fn c4_legal_an_unknown_outcome_is_read() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    story.info(&a);
    story.read(1, 0, &[&a], 1);
    story.end(0, &[&a]);
    story.is_legal();
}

#[test]
fn c4_legal_one_of_two_attempts_was_refused() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    let again = story.resend(&a);
    story.fail(&again);
    story.read(1, 0, &[&a], 1);
    story.info(&a);
    story.end(0, &[&a]);
    story.is_legal();
}

#[test]
fn c4_legal_a_refused_batch_is_sent_anew() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    story.fail(&a);
    let again = story.resend(&a);
    story.read(1, 0, &[&again], 1);
    story.ok(&again, 0);
    story.end(0, &[&a]);
    story.is_legal();
}

#[test]
fn c9_what_was_read_is_lost() {
    let mut story = Story::new();
    let a = story.send(1, 1);
    story.info(&a);
    story.read(1, 0, &[&a], 1);
    story.end(0, &[]);
    story.breaks(C9, "offset 0 was read (event 3)");
}

#[test]
fn c9_what_was_read_is_another_record_in_the_end() {
    let mut story = Story::new();
    let (a, b) = (story.send(1, 1), story.send(2, 1));
    story.read(1, 0, &[&a], 1);
    story.end(0, &[&b]);
    story.breaks(C9, "offset 0 was read (event 3)");
}

#[test]
fn c9_the_end_of_what_was_read_is_cut() {
    let mut story = Story::new();
    let a = story.send(1, 3);
    story.read(1, 0, &[&a], 3);
    story.end(0, &[&part(&a, 0..1)]);
    story.breaks(C9, "offset 1 was read (event 2)");
}

#[test]
fn c9_legal_retention_took_what_was_read() {
    let mut story = Story::new();
    story.policy(true);
    let (a, b) = (story.produce(1, 2, 0), story.produce(1, 1, 2));
    story.read(1, 0, &[&a], 3);
    story.end(2, &[&b]);
    story.is_legal();
}

#[test]
fn c9_legal_a_reader_saw_only_the_beginning() {
    let mut story = Story::new();
    let (a, b) = (story.produce(1, 2, 0), story.produce(1, 1, 2));
    story.read(1, 0, &[&part(&a, 0..1)], 3);
    story.end(0, &[&a, &b]);
    story.is_legal();
}

#[test]
fn c9_legal_one_replica_lags_in_the_end() {
    let mut story = Story::new();
    let (a, b) = (story.produce(1, 2, 0), story.produce(1, 1, 2));
    story.read(1, 0, &[&a, &b], 3);
    story.last(1, 0, &[&a, &b]);
    story.applied = 90;
    story.last(2, 0, &[&a]);
    story.is_legal();
}

#[test]
fn records_without_a_final_log_are_the_recorders_fault() {
    let mut story = Story::new();
    story.produce(1, 1, 0);
    story.breaks(History, "no final log");
}

#[test]
fn an_answer_without_a_question_is_the_recorders_fault() {
    let mut story = Story::new();
    let a = story.produce(1, 1, 0);
    story.ok(&a, 0);
    story.end(0, &[&a]);
    story.breaks(History, "call 1 ends");
}
