//! C15: Raft's own promises.

use crate::cluster::{change, entry, members};
use crate::story::{PARTITION, Story};
use mq_checker::Check::{C15, History};
use mq_checker::history::{EntryFact, Fact};
use mq_types::message::MessageKind::{Append, PreVote, Vote, VoteResponse};
use mq_types::persist::{LostReason, Standing, Start};
use mq_types::{Index, Offset, ReplicaId, Term};

#[test]
fn c15_two_lead_one_term() {
    let mut story = Story::of_three_with_records();
    story.vote(&[2], 3, 2);
    story.vote(&[3], 3, 3);
    story.lead(2, 3);
    story.lead(3, 3);
    story.breaks(C15, "replica 3 leads term 3; event 21 showed 2");
}

#[test]
fn c15_one_entry_has_two_contents() {
    let mut story = Story::of_three_with_records();
    story.store(&[1], &[entry(5, 2)]);
    let mut other = entry(5, 2);
    other.hash ^= 1;
    story.store(&[2], &[other]);
    story.breaks(C15, "another log has");
}

#[test]
fn c15_one_entry_follows_on_two_terms() {
    let mut story = Story::of_three_with_records();
    story.store(&[1], &[entry(5, 2), entry(6, 4)]);
    story.store(&[2], &[entry(5, 3), entry(6, 4)]);
    story.breaks(C15, "entry 6 of term 4 follows on term 3");
}

#[test]
fn c15_a_log_has_a_gap() {
    let mut story = Story::of_three_with_records();
    story.store(&[1], &[entry(6, 2)]);
    story.breaks(C15, "appends entry 6 of term 2 behind entry 4");
}

#[test]
fn c15_a_new_leader_lacks_what_is_committed() {
    let mut story = Story::of_three_with_records();
    story.store(&[1, 2], &[entry(5, 2)]);
    story.commit(1, 5);
    story.store(&[3], &[entry(5, 3)]);
    story.breaks(C15, "lacks entry 5 of term 2");
}

#[test]
fn c15_something_is_committed_that_a_later_leader_lacked() {
    let mut story = Story::of_three_with_records();
    story.store(&[3], &[entry(5, 3)]);
    story.store(&[1, 2], &[entry(5, 2)]);
    story.commit(1, 5);
    story.breaks(C15, "lacks entry 5 of term 2");
}

#[test]
fn c15_two_entries_are_committed_at_one_index() {
    let mut story = Story::of_three_with_records();
    story.store(&[1, 2], &[entry(5, 2)]);
    story.store(&[3], &[entry(5, 3)]);
    story.commit(1, 5);
    story.commit(3, 5);
    story.breaks(C15, "it is committed in term 2");
}

#[test]
fn c15_what_is_committed_is_cut() {
    let mut story = Story::of_three_with_records();
    story.store(&[2], &[entry(4, 3)]);
    story.breaks(C15, "cuts its log before entry 4");
}

#[test]
fn c15_one_replica_votes_twice() {
    let mut story = Story::of_three_with_records();
    story.vote(&[3], 3, 1);
    story.vote(&[3], 3, 2);
    story.breaks(C15, "from term 3, vote for 1 to term 3, vote for 2");
}

#[test]
fn c15_a_vote_is_heard_of_before_it_is_durable() {
    let mut story = Story::of_three_with_records();
    story.send_message(3, 2, VoteResponse, (3, 0));
    story.breaks(C15, "replica 3 votes for 2 in term 3, but");
}

#[test]
fn c15_a_candidate_asks_before_its_term_is_durable() {
    let mut story = Story::of_three_with_records();
    story.send_message(3, 2, Vote, (3, 4));
    story.breaks(C15, "replica 3 votes for 3 in term 3, but");
}

#[test]
fn c15_a_leader_speaks_before_its_term_is_durable() {
    let mut story = Story::of_three_with_records();
    story.send_message(3, 2, Append, (3, 4));
    story.breaks(C15, "of term 3 leaves replica 3");
}

#[test]
fn c15_a_term_is_forgotten_over_a_restart() {
    let mut story = Story::of_three_with_records();
    story.vote(&[2], 3, 2);
    story.open(2, &[(1, 1), (2, 2)], 4, (2, Some(1)));
    story.breaks(C15, "comes up with term 2, vote for 1");
}

#[test]
fn c15_a_vote_is_forgotten_over_a_restart() {
    let mut story = Story::of_three_with_records();
    story.open(2, &[(1, 1), (2, 2)], 4, (2, None));
    story.breaks(C15, "comes up with term 2, no vote");
}

#[test]
fn c15_a_lost_replica_votes() {
    let mut story = Story::of_three_with_records();
    let lost = (Standing::Lost(LostReason::CorruptEnd), members(1, &[1, 2, 3]));
    story.open_as(2, &[(1, 1), (2, 2)], 3, (2, Some(1)), lost);
    story.vote(&[2], 3, 3);
    story.send_message(2, 3, VoteResponse, (3, 0));
    story.breaks(C15, "is lost, but sends");
}

#[test]
fn c15_a_replica_votes_under_an_id_whose_disk_is_gone() {
    let mut story = Story::of_three_with_records();
    story.tell(Fact::DiskLost { quorum: PARTITION, replica: ReplicaId(2) });
    story.open(2, &[(1, 1)], 1, (0, None));
    story.vote(&[2], 3, 3);
    story.send_message(2, 3, VoteResponse, (3, 0));
    story.breaks(C15, "is lost, but sends");
}

#[test]
fn c15_what_a_lost_disk_had_counts_and_its_replica_is_made_anew_in_silence() {
    let mut story = Story::of_three_with_records();
    story.store(&[1, 2], &[entry(5, 2)]);
    story.tell(Fact::DiskLost { quorum: PARTITION, replica: ReplicaId(2) });
    story.open(2, &[(1, 1)], 1, (0, None));
    story.commit(1, 5);
    story.is_legal();
}

#[test]
fn c15_a_lost_replica_is_back() {
    let mut story = Story::of_three_with_records();
    let lost = (Standing::Lost(LostReason::CorruptEnd), members(1, &[1, 2, 3]));
    story.open_as(2, &[(1, 1), (2, 2)], 3, (2, Some(1)), lost);
    story.open(2, &[(1, 1), (2, 2)], 3, (2, Some(1)));
    story.breaks(C15, "replica 2 was lost and is back under the same id");
}

#[test]
fn c15_legal_what_a_replica_had_before_it_was_lost_counts() {
    let mut story = Story::of_three_with_records();
    story.store(&[1, 2], &[entry(5, 2)]);
    let lost = (Standing::Lost(LostReason::CorruptEnd), members(1, &[1, 2, 3]));
    story.open_as(2, &[(1, 1), (2, 2)], 3, (2, Some(1)), lost);
    story.commit(1, 5);
    story.is_legal();
}

#[test]
fn c15_legal_a_replica_that_had_promised_nothing_is_made_again_on_another_disk() {
    let mut story = Story::of_three_with_records();
    story.open(4, &[(1, 1)], 1, (1, None));
    story.tell(Fact::DiskLost { quorum: PARTITION, replica: ReplicaId(4) });
    story.open(4, &[(1, 1)], 1, (1, None));
    story.tell(Fact::Removed { quorum: PARTITION, replica: ReplicaId(4) });
    story.open(4, &[(1, 1)], 1, (0, None));
    story.vote(&[4], 3, 3);
    story.send_message(4, 3, VoteResponse, (3, 0));
    story.is_legal();
}

#[test]
fn c15_a_replica_that_has_only_voted_is_made_again_on_another_disk() {
    let mut story = Story::of_three_with_records();
    story.open(4, &[(1, 1)], 1, (1, None));
    story.vote(&[4], 3, 3);
    story.tell(Fact::DiskLost { quorum: PARTITION, replica: ReplicaId(4) });
    story.open(4, &[(1, 1)], 1, (1, None));
    story.send_message(4, 2, VoteResponse, (3, 0));
    story.breaks(C15, "is lost, but sends");
}

#[test]
fn c15_a_removed_replica_is_back() {
    let mut story = Story::of_three_with_records();
    story.tell(Fact::Removed { quorum: PARTITION, replica: ReplicaId(3) });
    story.open(3, &[(1, 1)], 1, (0, None));
    story.breaks(C15, "is back under the same id");
}

#[test]
fn c15_a_disk_gives_back_what_nobody_wrote() {
    let mut story = Story::of_three_with_records();
    story.open(2, &[(1, 1), (2, 2)], 5, (2, Some(1)));
    story.breaks(C15, "nobody wrote that");
}

#[test]
fn c15_two_membership_changes_are_under_way() {
    let mut story = Story::of_three_with_records();
    story.store(&[1], &[change(5, 2), entry(6, 2), change(7, 2)]);
    story.breaks(C15, "the one at entry 5 is not committed");
}

#[test]
fn c15_one_change_makes_different_members() {
    let mut story = Story::of_three_with_records();
    story.store(&[1, 2, 3], &[change(5, 2)]);
    story.apply(1, &members(5, &[1, 2]));
    story.apply(2, &members(5, &[2, 3]));
    story.breaks(C15, "replica 2 has members");
}

#[test]
fn c15_what_is_not_there_is_taken_for_committed() {
    let mut story = Story::of_three_with_records();
    story.commit(2, 5);
    story.breaks(C15, "its log ends at 4");
}

#[test]
fn c15_a_replica_shows_an_earlier_term() {
    let mut story = Story::of_three_with_records();
    story.publish(2, 1, 2);
    story.breaks(C15, "goes from term 2 to 1");
}

#[test]
fn c15_a_replica_goes_back_to_earlier_members() {
    let mut story = Story::of_three_with_records();
    story.store(&[1, 2, 3], &[change(5, 2)]);
    story.apply(2, &members(5, &[1, 2, 3]));
    story.apply(2, &members(1, &[1, 2, 3]));
    story.breaks(C15, "from the members of entry 5 to those of 1");
}

#[test]
fn c15_legal_an_uncommitted_end_is_replaced() {
    let mut story = Story::of_three_with_records();
    story.store(&[1], &[entry(5, 2), entry(6, 2)]);
    story.vote(&[2, 3], 3, 2);
    story.lead(2, 3);
    story.store(&[2, 3], &[entry(5, 3)]);
    story.commit(2, 5);
    story.vote(&[1], 3, 2);
    story.store(&[1], &[entry(5, 3)]);
    story.commit(1, 5);
    story.is_legal();
}

#[test]
fn c15_legal_a_crash_brings_back_what_was_cut_without_a_sync() {
    let mut story = Story::of_three_with_records();
    story.store(&[1], &[entry(5, 2), entry(6, 2)]);
    story.store(&[2, 3], &[entry(5, 3)]);
    story.write(1, &[entry(5, 3)]);
    story.open(1, &[(1, 1), (2, 2)], 6, (2, Some(1)));
    story.store(&[1], &[entry(5, 3)]);
    story.is_legal();
}

#[test]
fn c15_legal_a_deposed_leader_writes_on_alone() {
    let mut story = Story::of_three_with_records();
    story.vote(&[2, 3], 3, 2);
    story.lead(2, 3);
    story.store(&[2, 3], &[entry(5, 3), entry(6, 3)]);
    story.commit(2, 6);
    story.store(&[1], &[entry(5, 2), entry(6, 2), entry(7, 2)]);
    story.lead(1, 2);
    story.is_legal();
}

/// A quorum of one, which leads term 2 and is handed two entries.
fn story_of_a_lone_leader() -> Story {
    let mut story = Story::new();
    story.open_as(1, &[(1, 1)], 1, (0, None), (Standing::Sound, members(1, &[1])));
    story.publish_leader(1, 2);
    story.write(1, &[entry(2, 2), entry(3, 2)]);
    story
}

/// An entry like others of this index and term, but with another content.
fn other_entry(index: u64, term: u64) -> EntryFact {
    let entry = entry(index, term);
    EntryFact { hash: entry.hash ^ 1, ..entry }
}

#[test]
fn c15_legal_a_lone_leader_leads_a_term_again_that_no_disk_knows() {
    let mut story = story_of_a_lone_leader();
    story.open_as(1, &[(1, 1)], 1, (0, None), (Standing::Sound, members(1, &[1])));
    story.publish_leader(1, 2);
    story.vote(&[1], 2, 1);
    story.store(&[1], &[entry(2, 2), other_entry(3, 2)]);
    story.commit(1, 3);
    story.is_legal();
}

#[test]
fn c15_a_lone_leader_leads_a_term_again_that_its_disk_knows() {
    let mut story = story_of_a_lone_leader();
    story.vote(&[1], 2, 1);
    story.open_as(1, &[(1, 1)], 1, (2, Some(1)), (Standing::Sound, members(1, &[1])));
    story.publish_leader(1, 2);
    story.store(&[1], &[entry(2, 2), other_entry(3, 2)]);
    story.breaks(C15, "another log has");
}

#[test]
fn c15_legal_nobody_is_bound_by_a_pre_vote() {
    let mut story = Story::of_three_with_records();
    story.send_message(3, 2, PreVote, (3, 4));
    story.send_message(3, 1, PreVote, (3, 4));
    story.is_legal();
}

#[test]
fn c15_legal_a_higher_term_clears_the_vote() {
    let mut story = Story::of_three_with_records();
    story.open(2, &[(1, 1), (2, 2)], 4, (5, None));
    story.vote(&[2], 5, 3);
    story.send_message(2, 3, VoteResponse, (5, 0));
    story.is_legal();
}

#[test]
fn c15_legal_a_change_follows_on_a_committed_one_and_a_cut_one_does_not_count() {
    let mut story = Story::of_three_with_records();
    story.store(&[1, 2, 3], &[change(5, 2)]);
    story.commit(1, 5);
    story.apply(1, &members(5, &[1, 2, 3]));
    story.store(&[1], &[change(6, 2)]);
    story.store(&[2, 3], &[entry(6, 3)]);
    story.store(&[1], &[entry(6, 3), change(7, 3)]);
    story.is_legal();
}

#[test]
fn c15_legal_a_start_snapshot_stands_for_the_beginning() {
    let mut story = Story::of_three_with_records();
    story.open_as(4, &[(0, 0)], 0, (0, None), (Standing::Sound, members(0, &[])));
    let (quorum, replica) = (PARTITION, ReplicaId(4));
    let start = Start {
        prev_index: Index(4),
        prev_term: Term(2),
        prev_appended_at_ms: 0,
        base_offset: Offset(2),
        log_start: Offset(2),
    };
    story.tell(Fact::Written { quorum, replica, reset: Some(start), entries: Vec::new() });
    story.sync(4, 4, 2);
    story.apply(4, &members(1, &[1, 2, 3]));
    story.store(&[1, 2, 4], &[entry(5, 2)]);
    story.commit(1, 5);
    story.commit(4, 5);
    story.publish(4, 2, 3);
    story.is_legal();
}

#[test]
fn a_replica_that_was_never_opened_is_the_recorders_fault() {
    let mut story = Story::new();
    story.commit(1, 2);
    story.breaks(History, "never opened");
}
