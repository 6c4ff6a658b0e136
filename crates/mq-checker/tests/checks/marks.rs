//! C8: the high watermark.

use crate::cluster::{change, entry, members};
use crate::story::Story;
use mq_checker::Check::C8;
use mq_types::message::MessageKind::AppendResponse;
use mq_types::{Index, ReplicaId, persist::Membership};

#[test]
fn c8_the_leader_shows_what_only_its_own_disk_has() {
    let mut story = Story::of_three_with_records();
    story.store(&[1], &[entry(5, 2)]);
    story.publish(1, 2, 3);
    story.breaks(C8, "publishes high watermark 3, but entry 5");
}

#[test]
fn c8_an_entry_is_committed_before_a_majority_has_synced_it() {
    let mut story = Story::of_three_with_records();
    story.store(&[1], &[entry(5, 2)]);
    story.write(2, &[entry(5, 2)]);
    story.commit(1, 5);
    story.breaks(C8, "no majority has it durably");
}

#[test]
fn c8_disks_that_hold_another_term_do_not_count() {
    let mut story = Story::of_three_with_records();
    story.store(&[1], &[entry(5, 2)]);
    story.store(&[2, 3], &[entry(5, 3)]);
    story.publish(1, 2, 3);
    story.breaks(C8, "publishes high watermark 3, but entry 5");
}

#[test]
fn c8_a_published_high_watermark_goes_back() {
    let mut story = Story::of_three_with_records();
    story.publish(2, 2, 1);
    story.breaks(C8, "goes from 2 to 1");
}

#[test]
fn c8_an_append_is_acknowledged_before_it_is_synced() {
    let mut story = Story::of_three_with_records();
    story.vote(&[2], 2, 1);
    story.write(2, &[entry(5, 2)]);
    story.send_message(2, 1, AppendResponse, (2, 5));
    story.breaks(C8, "acknowledges entry 5");
}

#[test]
fn c8_a_session_sees_the_high_watermark_go_back() {
    let mut story = Story::new();
    let a = story.produce(1, 2, 0);
    story.read(1, 0, &[&a], 2);
    story.term = 3;
    story.read(1, 2, &[], 1);
    story.end(0, &[&a]);
    story.breaks(C8, "is 1 in term 3, and was 2 in term 2");
}

#[test]
fn c8_a_record_is_read_that_is_not_below_the_high_watermark() {
    let mut story = Story::new();
    let a = story.produce(1, 2, 0);
    story.read(1, 0, &[&a], 1);
    story.end(0, &[&a]);
    story.breaks(C8, "offset 1 was read, the high watermark is 1");
}

#[test]
fn c8_a_fetch_is_told_of_more_than_was_ever_published() {
    let mut story = Story::of_three_with_records();
    story.read(1, 0, &[], 3);
    story.breaks(C8, "an answer to a fetch says");
}

#[test]
fn c8_latest_is_more_than_was_ever_published() {
    let mut story = Story::of_three_with_records();
    let call = story.ask_latest();
    story.answer_latest(call, 3);
    story.breaks(C8, "LATEST says");
}

#[test]
fn c8_a_joint_change_needs_both_majorities() {
    let mut story = Story::of_three_with_records();
    story.store(&[1, 2, 3], &[change(5, 2)]);
    for replica in 4..=6 {
        story.open(replica, &[(1, 1)], 1, (0, None));
        story.store(&[replica], &[entry(2, 2), entry(3, 2), entry(4, 2), change(5, 2)]);
    }
    let joint = Membership {
        voters_outgoing: [1, 2, 3].map(ReplicaId).to_vec(),
        conf_index: Index(5),
        ..members(5, &[4, 5, 6])
    };
    story.apply(1, &joint);
    // What was in force before is forgotten after two more changes.
    for index in [6, 7] {
        story.store(&[1, 2, 3, 4, 5, 6], &[change(index, 2)]);
        story.apply(1, &Membership { conf_index: Index(index), ..joint.clone() });
    }
    story.store(&[4, 5, 6], &[entry(8, 2)]);
    story.store(&[1], &[entry(8, 2)]);
    story.commit(1, 8);
    story.breaks(C8, "takes entry 8 of term 2 for committed, but no majority");
}

#[test]
fn c8_a_replica_shows_more_than_its_log_holds() {
    let mut story = Story::of_three_with_records();
    story.publish(2, 2, 3);
    story.breaks(C8, "its log ends before");
}

#[test]
fn c8_legal_a_restarted_replica_knows_less() {
    let mut story = Story::of_three_with_records();
    story.open(2, &[(1, 1), (2, 2)], 4, (2, Some(1)));
    story.publish(2, 2, 0);
    story.publish(2, 2, 2);
    story.is_legal();
}

#[test]
fn c8_legal_a_leader_of_an_earlier_term_knows_less() {
    let mut story = Story::new();
    story.term = 3;
    let a = story.produce(1, 2, 0);
    story.read(1, 0, &[&a], 2);
    story.term = 2;
    story.read(1, 2, &[], 1);
    story.end(0, &[&a]);
    story.is_legal();
}

#[test]
fn c8_legal_followers_commit_without_the_leaders_disk() {
    let mut story = Story::of_three_with_records();
    story.write(1, &[entry(5, 2)]);
    story.store(&[2, 3], &[entry(5, 2)]);
    story.commit(2, 5);
    story.publish(2, 2, 3);
    story.is_legal();
}

#[test]
fn c8_legal_an_acknowledgement_leaves_while_a_cut_is_on_its_way_to_disk() {
    let mut story = Story::of_three_with_records();
    story.write(2, &[entry(5, 2), entry(6, 2)]);
    story.vote(&[2, 3], 3, 3);
    story.lead(3, 3);
    story.store(&[3], &[entry(5, 3)]);
    story.write(2, &[entry(5, 3)]);
    story.sync(2, 6, 2);
    story.send_message(2, 1, AppendResponse, (2, 6));
    story.sync(2, 5, 3);
    story.commit(3, 5);
    story.publish(2, 3, 3);
    story.is_legal();
}

#[test]
fn c8_legal_a_new_voter_makes_the_majority() {
    let mut story = Story::of_three_with_records();
    story.open(4, &[(1, 1)], 1, (0, None));
    story.store(&[1, 2, 3], &[change(5, 2)]);
    story.store(&[4], &[entry(2, 2), entry(3, 2), entry(4, 2), change(5, 2)]);
    story.apply(1, &members(5, &[1, 2, 4]));
    story.store(&[1, 4], &[entry(6, 2)]);
    story.commit(1, 6);
    story.is_legal();
}
