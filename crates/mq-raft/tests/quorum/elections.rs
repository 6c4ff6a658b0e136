//! Who leads, who may not, and how leadership ends.

use crate::world::{World, id};
use mq_raft::{ELECTION_TICKS, HEARTBEAT_TICKS, ProposeError, Role};
use mq_types::Term;
use mq_types::message::MessageKind;
use mq_types::persist::{LostReason, Standing};

/// Long enough for a quorum without faults to elect, whatever the timeouts are.
const ELECTION_TICKS_MAX: usize = 4 * ELECTION_TICKS;

#[test]
fn three_replicas_elect_one_leader_by_themselves() {
    let mut world = World::new(3);
    world.pass(ELECTION_TICKS_MAX);
    let leader = world.leader().expect("a leader");
    for replica in world.ids() {
        assert_eq!(world.member(replica).leader(), Some(leader));
        assert_eq!(world.replica(replica).role.leader, Some(leader), "the owner was told");
    }
    assert!(world.member(leader).has_committed_in_term());
    assert_eq!(world.replica(leader).role.role, Role::Leader);
}

#[test]
fn the_same_seeds_give_the_same_elections() {
    let run = || {
        let mut world = World::new(5);
        world.pass(ELECTION_TICKS_MAX);
        let leader = world.leader().expect("a leader");
        world.isolate(leader);
        world.pass(ELECTION_TICKS_MAX);
        (world.leaders.clone(), world.committed.clone())
    };
    let first = run();
    assert!(first.0.len() >= 2, "the second leader follows the first");
    assert_eq!(first, run());
}

#[test]
fn replicas_do_not_all_wait_equally_long() {
    let mut world = World::new(5);
    let mut ticks = 0;
    while !world.wire.iter().any(|message| message.kind == MessageKind::PreVote) {
        ticks += 1;
        assert!(ticks < 2 * ELECTION_TICKS, "nobody campaigns");
        for replica in world.ids() {
            world.member(replica).tick();
            world.work(replica);
        }
    }
    assert!(ticks >= ELECTION_TICKS);
    let candidates =
        world.ids().iter().filter(|&&at| world.replicas[&at].role.role == Role::Candidate).count();
    assert!(candidates < 5, "all five campaign at once");
}

#[test]
fn a_cut_off_follower_does_not_raise_its_term() {
    let mut world = World::new(3);
    world.elect(id(1));
    let term = world.member(id(3)).term();
    world.isolate(id(3));
    world.pass(ELECTION_TICKS_MAX);
    assert_eq!(world.member(id(3)).term(), term, "a pre-vote raises no term");
    assert_eq!(world.replica(id(3)).role.role, Role::Candidate);

    world.cuts.clear();
    world.pass(ELECTION_TICKS_MAX);
    assert_eq!(world.leader(), Some(id(1)), "the leader is not deposed by whoever comes back");
    assert_eq!(world.member(id(1)).term(), term);
}

#[test]
fn a_follower_that_is_heard_but_hears_nobody_deposes_no_leader() {
    let mut world = World::new(3);
    world.elect(id(1));
    let term = world.member(id(1)).term();
    world.cuts.insert((id(1), id(3)));
    world.cuts.insert((id(2), id(3)));
    world.pass(ELECTION_TICKS_MAX);
    assert_eq!(world.leader(), Some(id(1)));
    assert_eq!(world.member(id(2)).term(), term);
}

#[test]
fn a_leader_that_is_heard_but_hears_nobody_gives_way() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.cuts.insert((id(2), id(1)));
    world.cuts.insert((id(3), id(1)));
    world.pass(2 * ELECTION_TICKS_MAX);
    let leader = world.leader().expect("a leader that hears its followers");
    assert_ne!(leader, id(1));
    assert!(!world.member(id(1)).is_leader());
    world.propose(leader, &["a"]);
    world.settle();
    assert_eq!(world.values(leader), ["a"]);
}

#[test]
fn a_leader_without_a_majority_steps_down_and_tells() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.isolate(id(1));
    world.pass(2 * ELECTION_TICKS);
    assert!(!world.member(id(1)).is_leader());
    assert_ne!(world.replica(id(1)).role.role, Role::Leader);
    let refused = world.member(id(1)).propose(Vec::new());
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
}

#[test]
fn leadership_moves_to_whom_it_is_handed() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.settle();
    let term = world.member(id(1)).term();
    world.member(id(1)).transfer_leader(id(2));
    world.settle();
    assert_eq!(world.leader(), Some(id(2)));
    assert_eq!(world.member(id(2)).term(), Term(term.0 + 1));
    assert_eq!(world.member(id(1)).leader(), Some(id(2)));
}

#[test]
fn leadership_is_handed_over_only_when_the_heir_has_everything() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.cuts.insert((id(1), id(2)));
    world.propose(id(1), &["a"]);
    world.settle();
    world.member(id(1)).transfer_leader(id(2));
    world.settle();
    assert_eq!(world.leader(), Some(id(1)), "the heir lacks an entry");
    world.cuts.clear();
    world.pass(2 * HEARTBEAT_TICKS);
    assert_eq!(world.leader(), Some(id(2)));
    assert_eq!(world.values(id(2)), ["a"]);
}

#[test]
fn a_voter_that_is_let_campaign_is_elected_without_what_only_the_leader_has() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.isolate(id(1));
    world.propose(id(1), &["a"]);
    world.settle();
    world.cuts.clear();
    world.member(id(1)).let_campaign(id(2));
    world.settle();
    assert_eq!(world.leader(), Some(id(2)));
    world.propose(id(2), &["b"]);
    world.pass(2 * HEARTBEAT_TICKS);
    assert_eq!(world.values(id(1)), ["b"]);

    let mut world = World::with_learners(2, 1);
    world.elect(id(1));
    world.member(id(1)).let_campaign(id(3));
    world.settle();
    assert_eq!(world.leader(), Some(id(1)), "a learner cannot be elected");
}

#[test]
fn nothing_is_proposed_while_leadership_is_handed_over() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.cuts.insert((id(1), id(2)));
    world.member(id(1)).transfer_leader(id(2));
    world.settle();
    let entries = world.entries(id(1), &["a"]);
    assert_eq!(world.member(id(1)).propose(entries), Err(ProposeError::HandingOver { to: id(2) }));

    // The heir never campaigns: after an election timeout the leader goes on.
    world.pass(ELECTION_TICKS);
    world.propose(id(1), &["a"]);
    world.settle();
    assert_eq!(world.values(id(1)), ["a"]);
}

#[test]
fn leadership_is_handed_to_no_learner() {
    let mut world = World::with_learners(2, 1);
    world.elect(id(1));
    world.member(id(1)).transfer_leader(id(3));
    world.propose(id(1), &["a"]);
    world.settle();
    assert_eq!(world.leader(), Some(id(1)));
}

#[test]
fn a_damaged_replica_does_not_win_over_a_sound_one_with_the_same_log() {
    let mut world = World::new(3);
    world.disk(id(1)).standing = Standing::Damaged;
    world.restart(id(1));
    world.member(id(1)).campaign();
    world.settle();
    assert_eq!(world.leader(), None);
    world.elect(id(2));
    assert_eq!(world.disk(id(1)).vote.voted_for, Some(id(2)), "it goes on voting");
}

#[test]
fn a_replica_damaged_while_it_runs_loses_the_next_election() {
    let mut world = World::new(3);
    world.member(id(1)).set_damaged();
    world.member(id(1)).campaign();
    world.settle();
    assert_eq!(world.leader(), None);
}

#[test]
fn a_leader_that_is_damaged_hands_over_to_the_voter_that_is_furthest_along() {
    let mut world = World::with_learners(3, 1);
    world.elect(id(1));
    world.cuts.insert((id(1), id(2)));
    world.propose(id(1), &["a"]);
    world.settle();
    world.member(id(1)).set_damaged();
    world.settle();
    assert_eq!(world.leader(), Some(id(3)), "replica 2 lacks an entry, replica 4 has no vote");
}

#[test]
fn a_damaged_leader_without_other_voters_goes_on() {
    let mut world = World::with_learners(1, 1);
    world.elect(id(1));
    world.member(id(1)).set_damaged();
    world.propose(id(1), &["a"]);
    world.settle();
    assert_eq!((world.leader(), world.values(id(1))), (Some(id(1)), vec!["a".to_owned()]));
}

#[test]
fn a_damaged_replica_leads_when_only_its_log_is_whole() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.isolate(id(3));
    world.propose(id(1), &["a"]);
    world.settle();
    world.disk(id(2)).standing = Standing::Damaged;
    world.crash(id(1));
    world.restart(id(2));
    world.cuts.clear();
    world.pass(ELECTION_TICKS_MAX);
    assert_eq!(world.leader(), Some(id(2)), "replica 3 lacks an acknowledged record");
    assert_eq!(world.values(id(2)), ["a"]);
}

#[test]
fn a_replica_that_is_not_opened_neither_votes_nor_campaigns_nor_acknowledges() {
    let mut world = World::new(3);
    for replica in [id(2), id(3)] {
        world.disk(replica).opened = false;
        world.restart(replica);
        assert!(world.member(replica).is_muted());
    }
    world.pass(ELECTION_TICKS_MAX);
    assert_eq!(world.leader(), None);
    assert!(world.disk(id(2)).log.is_empty() && world.disk(id(2)).vote.voted_for.is_none());

    world.disk(id(2)).opened = true;
    world.member(id(2)).unmute();
    world.pass(ELECTION_TICKS_MAX);
    assert!(world.leader().is_some_and(|leader| leader != id(3)));
    assert!(world.disk(id(3)).log.is_empty(), "replica 3 still takes nothing");
}

#[test]
fn a_lost_replica_stays_silent_over_restarts() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.disk(id(3)).standing = Standing::Lost(LostReason::CorruptEnd);
    world.restart(id(3));
    world.propose(id(1), &["a"]);
    world.crash(id(2));
    world.settle();
    assert!(world.values(id(1)).is_empty(), "one voter of three is no majority");
}

#[test]
fn a_leader_that_is_found_lost_stops_leading_and_speaking() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.member(id(1)).mute();
    world.work(id(1));
    world.sync_all(id(1));
    world.work(id(1));
    assert!(world.wire.is_empty(), "not even the append of before");
    assert!(!world.member(id(1)).is_leader());
    assert_eq!(world.replica(id(1)).role.role, Role::Follower);
    world.pass(ELECTION_TICKS_MAX);
    assert!(world.leader().is_some_and(|leader| leader != id(1)));
}

/// A replica that leads alone while it is cut off has a longer log than the others, of an older term.
#[test]
fn a_damaged_replica_leads_when_the_others_logs_are_longer_and_older() {
    for standing in [Standing::Sound, Standing::Damaged] {
        let mut world = World::new(3);
        world.elect(id(1));
        world.isolate(id(1));
        for number in 0..5 {
            world.propose(id(1), &[&format!("in vain {number}")]);
            world.settle();
        }
        world.pass(2 * ELECTION_TICKS_MAX);
        let leader = world.leader().expect("the other two elect one");
        world.propose(leader, &["a"]);
        world.settle();
        assert_eq!(world.values(leader), ["a"]);

        world.crash(if leader == id(2) { id(3) } else { id(2) });
        world.disk(leader).standing = standing;
        world.restart(leader);
        world.cuts.clear();
        world.pass(10 * ELECTION_TICKS_MAX);
        assert_eq!(world.leader(), Some(leader), "{standing:?}, and nobody else can");
    }
}
