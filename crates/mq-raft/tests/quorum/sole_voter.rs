//! The life of a voter without others: it wins the moment it campaigns, so its disk is all that holds it back.

use crate::members::target;
use crate::world::{World, id};
use mq_raft::{ELECTION_TICKS, HEARTBEAT_TICKS, Role};
use mq_types::message::MessageKind;
use mq_types::persist::Vote;
use mq_types::{Body, Entry, Index, Message, Offset, Term};

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
        start: None,
    }
}

#[test]
fn one_voter_becomes_three_and_one_again() {
    let mut world = World::new(1);
    world.elect(id(1));
    for new in [2, 3] {
        world.add(id(new));
        let (voters, learners) = ([1, 2], [new]);
        world.change(id(1), &voters[..new as usize - 1], &learners);
        world.pass(2 * HEARTBEAT_TICKS);
        world.change(id(1), &[1, 2, 3][..new as usize], &[]);
        world.propose(id(1), &[&format!("with {new}")]);
        world.settle();
    }
    assert!(!world.member(id(1)).is_sole_voter());
    world.pass(4 * ELECTION_TICKS);
    assert_eq!(world.leader(), Some(id(1)));
    // With three, it neither commits nor leads alone.
    world.isolate(id(1));
    world.pass(4 * ELECTION_TICKS);
    assert!(!world.member(id(1)).is_leader());
    let leader = world.leader().expect("another leader");
    world.cuts.clear();
    world.pass(HEARTBEAT_TICKS);

    let (other, last) = if leader == id(2) { (3, 2) } else { (2, 3) };
    world.member(leader).propose_membership(&target(&[last], &[])).expect("it leads");
    world.settle();
    world.member(leader).leave_joint().expect("two have left");
    world.settle();
    assert!(world.member(leader).is_sole_voter(), "without {other} and 1");
    world.propose(leader, &["alone"]);
    world.work(leader);
    world.sync_all(leader);
    world.work(leader);
    assert_eq!(world.values(leader).last().map(String::as_str), Some("alone"));
    world.restart(leader);
    world.elect(leader);
    assert_eq!(world.values(leader).len(), 3);
}

/// The other voter goes while the write that makes the first one sole is in flight together with others.
#[test]
fn a_follower_that_becomes_the_sole_voter_does_not_campaign_over_its_own_writes() {
    let mut world = World::new(2);
    world.elect(id(2));
    world.member(id(2)).propose_membership(&target(&[1], &[2])).expect("it leads");
    world.settle();
    assert!(!world.member(id(2)).is_leader() && world.member(id(1)).is_sole_voter());
    // An old leader's entries are still on their way to it.
    let mut late = answer(world.member(id(1)).term());
    late.kind = MessageKind::Append;
    late.index = world.member(id(1)).last_index();
    late.log_term = world.member(id(1)).term();
    late.entries = vec![Entry {
        index: late.index.next(),
        term: late.term,
        base_offset: world.member(id(1)).next_offset(),
        appended_at_ms: world.member(id(1)).last_appended_at_ms(),
        body: Body::NoOp,
    }];
    world.give(late);
    world.work(id(1));
    assert_eq!(world.replica(id(1)).writes.len(), 1);
    for _ in 0..4 * ELECTION_TICKS {
        world.member(id(1)).tick();
        world.member(id(1)).campaign();
        world.work(id(1));
    }
    assert!(!world.member(id(1)).is_leader(), "its write is in flight");
    world.settle();
    world.pass(2 * ELECTION_TICKS);
    assert_eq!(world.leader(), Some(id(1)));
}

/// Two learners at once make a joint change between the same single voter and itself: the library does not call that
/// a single voter, but it wins alone all the same.
#[test]
fn it_is_alone_in_a_joint_configuration_with_itself() {
    let mut world = World::new(1);
    world.elect(id(1));
    for new in [2, 3] {
        world.add(id(new));
    }
    world.member(id(1)).propose_membership(&target(&[1], &[2, 3])).expect("it leads");
    world.settle();
    assert_eq!(world.member(id(1)).membership().voters_outgoing, [id(1)]);
    assert!(world.member(id(1)).is_sole_voter());
    world.propose(id(1), &["a"]);
    world.work(id(1));
    world.wire.clear();
    world.give(answer(Term(9)));
    world.work(id(1));
    for _ in 0..4 * ELECTION_TICKS {
        world.member(id(1)).tick();
        world.member(id(1)).campaign();
        world.work(id(1));
    }
    assert!(!world.member(id(1)).is_leader(), "its write is in flight");
    world.settle();
    world.elect(id(1));
    world.member(id(1)).leave_joint().expect("it is joint");
    world.settle();
    assert_eq!(world.member(id(1)).membership().learners, [id(2), id(3)]);
}
