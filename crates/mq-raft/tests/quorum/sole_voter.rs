//! The life of a voter without others: it wins the moment it campaigns, so its disk is all that holds it back.

use crate::world::{World, id};
use mq_raft::{ELECTION_TICKS, Role};
use mq_types::message::MessageKind;
use mq_types::persist::Vote;
use mq_types::{Body, Index, Message, Offset, Term};

#[test]
fn it_leads_when_its_vote_and_no_op_are_durable() {
    let mut world = World::new(1);
    world.member(id(1)).campaign();
    let work = world.member(id(1)).take_work();
    let persist = work.persist.expect("a write");
    assert_eq!(persist.vote, Some(Vote { term: Term(2), voted_for: Some(id(1)) }));
    assert_eq!(persist.entries.len(), 1);
    assert_eq!((persist.entries[0].index, &persist.entries[0].body), (Index(2), &Body::NoOp));
    assert!(work.committed.is_empty() && work.send_now.is_empty() && work.send_after_persist.is_none());
    assert_eq!(work.role.map(|role| (role.role, role.leader)), Some((Role::Leader, Some(id(1)))));
    assert!(world.member(id(1)).take_work().is_empty());
    assert!(!world.member(id(1)).has_committed_in_term());

    world.member(id(1)).persisted(persist.number);
    let work = world.member(id(1)).take_work();
    assert_eq!(work.committed.len(), 1);
    assert_eq!(work.committed[0].body, Some(Body::NoOp));
    assert!(work.persist.is_none(), "a commit index alone is no reason to write");
    assert!(world.member(id(1)).has_committed_in_term());
    assert!(world.member(id(1)).is_sole_voter());
    assert_eq!(world.member(id(1)).voters(), [id(1)]);
}

#[test]
fn it_commits_as_far_as_its_disk_is() {
    let mut world = World::new(1);
    world.elect(id(1));
    for value in ["a", "b", "c"] {
        world.propose(id(1), &[value]);
        world.work(id(1));
    }
    assert_eq!(
        world.replica(id(1)).writes.len(),
        3,
        "writes may overtake each other's waiting, not each other"
    );
    assert!(world.values(id(1)).is_empty());
    world.sync(id(1));
    world.work(id(1));
    assert_eq!(world.values(id(1)), ["a"]);
    world.sync_all(id(1));
    world.work(id(1));
    assert_eq!(world.values(id(1)), ["a", "b", "c"]);
    assert_eq!(world.member(id(1)).next_offset(), Offset(3));
}

#[test]
fn one_word_for_many_writes_makes_all_of_them_durable() {
    let mut world = World::new(1);
    world.elect(id(1));
    let mut numbers = Vec::new();
    for value in ["a", "b", "c"] {
        world.propose(id(1), &[value]);
        numbers.push(world.member(id(1)).take_work().persist.expect("a write").number);
    }
    assert!(numbers.is_sorted());
    world.member(id(1)).persisted(numbers[2]);
    let committed: Vec<_> =
        world.member(id(1)).take_work().committed.iter().map(|one| one.meta.index.0).collect();
    assert_eq!(committed, [3, 4, 5]);
}

#[test]
fn it_keeps_after_a_restart_what_was_durable_and_leads_again() {
    let mut world = World::new(1);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.settle();
    world.propose(id(1), &["durable, but nobody was told"]);
    world.work(id(1));
    world.sync(id(1));
    world.propose(id(1), &["lost"]);
    world.work(id(1));
    world.restart(id(1));
    world.elect(id(1));
    assert_eq!(world.values(id(1)), ["a", "durable, but nobody was told"]);
    assert_eq!(world.member(id(1)).term(), Term(3));
    world.propose(id(1), &["b"]);
    world.settle();
    assert_eq!(world.values(id(1)).len(), 3);
}

#[test]
fn it_leads_by_itself_even_if_nobody_lets_it_campaign() {
    let mut world = World::new(1);
    world.pass(2 * ELECTION_TICKS);
    assert_eq!(world.leader(), Some(id(1)));
}

#[test]
fn nothing_leaves_before_the_term_of_its_own_election_is_durable() {
    let mut world = World::with_learners(1, 1);
    world.member(id(1)).campaign();
    world.propose(id(1), &["a"]);
    world.work(id(1));
    assert!(world.member(id(1)).is_leader());
    assert!(world.wire.is_empty(), "the learner must not hear of a term that a crash takes back");
    world.propose(id(1), &["b"]);
    world.work(id(1));
    assert!(world.wire.is_empty());
    assert!(!world.replica(id(1)).held.is_empty());

    world.restart(id(1));
    world.elect(id(1));
    world.propose(id(1), &["c"]);
    world.settle();
    assert_eq!(world.values(id(1)), ["c"]);
    world.assert_logs_match();
    let learned = world.disk(id(2)).log.clone();
    assert!(world.disk(id(1)).log == learned);
}

/// A learner's answer with a higher term deposes the leader while its write is in flight. If time went on for it, it
/// would campaign, win at once, and find that its log is not durable.
#[test]
fn it_is_not_ticked_into_an_election_while_a_write_is_in_flight() {
    let mut world = World::with_learners(1, 1);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.work(id(1));
    world.wire.clear();
    world.give(answer(Term(9)));
    world.work(id(1));
    assert!(!world.member(id(1)).is_leader());
    for _ in 0..4 * ELECTION_TICKS {
        world.member(id(1)).tick();
        world.member(id(1)).campaign();
        world.work(id(1));
    }
    assert!(!world.member(id(1)).is_leader(), "its write is in flight");
    world.sync_all(id(1));
    world.pass(2 * ELECTION_TICKS);
    assert_eq!(world.leader(), Some(id(1)));
    assert_eq!(world.values(id(1)), ["a"]);
}

/// The same before anything was taken: the proposal is not even handed out when the leader is deposed.
#[test]
fn it_does_not_campaign_over_a_proposal_that_was_not_handed_out() {
    let mut world = World::with_learners(1, 1);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.give(answer(Term(9)));
    world.member(id(1)).campaign();
    assert!(!world.member(id(1)).is_leader());
    world.settle();
    world.elect(id(1));
    assert_eq!(world.values(id(1)), ["a"]);
    assert_eq!(world.member(id(1)).term(), Term(10));
}

#[test]
fn it_is_not_told_into_an_election_while_a_write_is_in_flight() {
    let mut world = World::with_learners(1, 1);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.work(id(1));
    world.give(answer(Term(9)));
    world.give(Message { kind: MessageKind::TimeoutNow, ..answer(Term(9)) });
    assert!(!world.member(id(1)).is_leader(), "its write is in flight");
    world.settle();
    world.give(Message { kind: MessageKind::TimeoutNow, ..answer(Term(9)) });
    world.settle();
    assert_eq!(world.values(id(1)), ["a"]);
    assert_eq!(world.leader(), Some(id(1)));
}

#[test]
fn deposed_and_elected_again_in_one_turn_it_tells_of_the_new_term() {
    let mut world = World::with_learners(1, 1);
    world.elect(id(1));
    world.give(answer(Term(9)));
    world.member(id(1)).campaign();
    let work = world.member(id(1)).take_work();
    assert_eq!(work.role.map(|role| (role.role, role.term)), Some((Role::Leader, Term(10))));
    assert!(work.send_now.is_empty(), "its term is not durable");
}

fn answer(term: Term) -> Message {
    Message {
        quorum: crate::world::QUORUM,
        from: id(2),
        to: id(1),
        kind: MessageKind::HeartbeatResponse,
        term,
        index: Index(0),
        log_term: Term(0),
        commit: Index(0),
        commit_term: Term(0),
        entries: Vec::new(),
        reject: false,
        reject_hint: Index(0),
        context: Default::default(),
        priority: 0,
    }
}
