//! How the members of a quorum change.

use crate::members::target;
use crate::world::{World, id};
use mq_raft::{ELECTION_TICKS, HEARTBEAT_TICKS, Kind, Peer, ProposeMembershipError, Role};
use mq_types::message::MessageKind;
use mq_types::persist::Membership;
use mq_types::{Body, EntryKind, Index};

fn membership(world: &mut World, replica: u64) -> Membership {
    world.member(id(replica)).membership().clone()
}

/// Delivers, writes and applies until this replica has members to record; nobody records any.
fn until_handed_out(world: &mut World, replica: u64) {
    world.records_at_once = false;
    for _ in 0..10 * ELECTION_TICKS {
        if world.replica(id(replica)).change.is_some() {
            return;
        }
        world.pass(1);
    }
    panic!("no members are handed out");
}

#[test]
fn a_learner_is_added_catches_up_and_becomes_a_voter() {
    let mut world = World::new(1);
    world.elect(id(1));
    world.propose(id(1), &["a", "b"]);
    world.settle();
    world.add(id(2));
    world.change(id(1), &[1], &[2]);
    assert_eq!(membership(&mut world, 1).learners, [id(2)]);
    assert!(world.member(id(1)).is_sole_voter(), "a learner has no vote");
    world.pass(2 * HEARTBEAT_TICKS);
    let peers = world.member(id(1)).peers();
    let last_index = world.member(id(1)).last_index();
    assert_eq!(peers.len(), 1);
    assert_eq!((peers[0].replica, peers[0].matched, peers[0].is_active()), (id(2), last_index, true));
    assert_eq!(world.values(id(2)), ["a", "b"]);

    world.change(id(1), &[1, 2], &[]);
    world.pass(HEARTBEAT_TICKS);
    for replica in [1, 2] {
        assert_eq!(membership(&mut world, replica).voters, [id(1), id(2)]);
    }
    assert!(!world.member(id(1)).is_sole_voter());
    world.isolate(id(2));
    world.propose(id(1), &["c"]);
    world.settle();
    assert_eq!(world.values(id(1)), ["a", "b"], "it needs both now");
    world.cuts.clear();
    world.pass(4 * HEARTBEAT_TICKS);
    assert_eq!(world.values(id(2)), ["a", "b", "c"]);
}

#[test]
fn what_is_committed_after_a_change_waits_until_that_is_on_record() {
    let mut world = World::new(1);
    world.elect(id(1));
    world.records_at_once = false;
    world.propose(id(1), &["before"]);
    world.member(id(1)).propose_membership(&target(&[1], &[2])).expect("it leads");
    world.propose(id(1), &["after"]);
    world.settle();
    assert_eq!(world.member(id(1)).commit(), Index(5));
    assert_eq!(world.member(id(1)).applied_index(), Index(3));
    let change = world.replica(id(1)).change.clone().expect("the change is handed out");
    assert_eq!((change.meta.index, change.meta.kind), (Index(4), EntryKind::Membership));
    assert_eq!(change.membership.learners, [id(2)]);
    assert!(membership(&mut world, 1).learners.is_empty(), "it has not taken effect");
    assert!(world.member(id(1)).is_membership_pending());
    assert!(world.member(id(1)).take_work().is_empty() && !world.member(id(1)).has_work());

    world.record(id(1));
    assert_eq!(membership(&mut world, 1), change.membership);
    assert!(!world.member(id(1)).is_membership_pending() && world.member(id(1)).has_work());
    world.settle();
    assert_eq!(world.member(id(1)).applied_index(), Index(5));
}

#[test]
fn many_entries_behind_a_change_are_handed_out_in_bounded_works() {
    const ENTRIES: usize = 20_000;
    let mut world = World::new(1);
    world.kind = Kind::Machine;
    world.restart(id(1));
    world.elect(id(1));
    world.records_at_once = false;
    world.member(id(1)).propose_membership(&target(&[1], &[2])).expect("it leads");
    world.propose(id(1), &vec!["x"; ENTRIES]);
    world.settle();
    assert_eq!(world.member(id(1)).applied_index(), Index(2));
    assert!(world.write_record(id(1)));
    world.member(id(1)).membership_applied();
    let mut handed_out = Vec::new();
    while world.member(id(1)).has_work() {
        let committed = world.member(id(1)).take_work().committed;
        assert!(committed.len() < ENTRIES, "a bounded number at once");
        handed_out.extend(committed.iter().map(|one| one.meta.index.0));
    }
    assert!(handed_out.into_iter().eq(4..4 + ENTRIES as u64));
}

#[test]
fn a_difference_of_one_replica_is_one_step_and_more_are_joint() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.add(id(4));
    world.member(id(1)).propose_membership(&target(&[1, 2], &[])).expect("one voter goes");
    world.settle();
    assert_eq!(membership(&mut world, 1).voters, [id(1), id(2)]);
    assert!(membership(&mut world, 1).voters_outgoing.is_empty());

    world.member(id(1)).propose_membership(&target(&[1, 4], &[2])).expect("one comes, one has no vote");
    world.settle();
    world.pass(2 * HEARTBEAT_TICKS);
    let joint = membership(&mut world, 1);
    assert_eq!((joint.voters, joint.voters_outgoing), (vec![id(1), id(4)], vec![id(1), id(2)]));
    assert_eq!((joint.learners_next, joint.auto_leave), (vec![id(2)], false));
    let refused = world.member(id(1)).propose_membership(&target(&[1, 2], &[]));
    assert_eq!(refused, Err(ProposeMembershipError::Joint));
    world.pass(4 * ELECTION_TICKS);
    assert!(!membership(&mut world, 1).voters_outgoing.is_empty(), "nobody leaves it without being told");

    world.member(id(1)).leave_joint().expect("it is joint");
    world.settle();
    let left = membership(&mut world, 1);
    assert_eq!((&left.voters, &left.learners), (&vec![id(1), id(4)], &vec![id(2)]));
    assert!(left.voters_outgoing.is_empty() && left.learners_next.is_empty());
    world.pass(2 * HEARTBEAT_TICKS);
    assert_eq!(membership(&mut world, 4), left);
}

#[test]
fn a_change_that_cannot_be_is_refused() {
    let mut world = World::new(3);
    let refused = world.member(id(1)).propose_membership(&target(&[1], &[]));
    assert_eq!(refused, Err(ProposeMembershipError::NotLeader { leader: None }));
    world.elect(id(1));
    let refused = world.member(id(2)).propose_membership(&target(&[1], &[]));
    assert_eq!(refused, Err(ProposeMembershipError::NotLeader { leader: Some(id(1)) }));
    let last_index = world.member(id(1)).last_index();
    let cases = [
        (target(&[], &[1]), ProposeMembershipError::NoVoters),
        (target(&[1, 2, 3], &[3]), ProposeMembershipError::VoterAndLearner { replica: id(3) }),
        (target(&[1, 2, 3], &[]), ProposeMembershipError::Unchanged),
    ];
    for (target, error) in cases {
        assert_eq!(world.member(id(1)).propose_membership(&target), Err(error));
    }
    assert_eq!(world.member(id(1)).leave_joint(), Err(ProposeMembershipError::NotJoint));
    assert_eq!(world.member(id(1)).last_index(), last_index, "nothing was proposed");

    world.member(id(1)).propose_membership(&target(&[1, 2], &[])).expect("it leads");
    let refused = world.member(id(1)).propose_membership(&target(&[1], &[]));
    assert_eq!(refused, Err(ProposeMembershipError::Pending { until: Index(3) }));
    world.settle();
    world.isolate(id(2));
    world.propose(id(1), &["a"]);
    world.member(id(1)).transfer_leader(id(2));
    let refused = world.member(id(1)).propose_membership(&target(&[1], &[]));
    assert_eq!(refused, Err(ProposeMembershipError::HandingOver { to: id(2) }));
}

#[test]
fn a_new_leader_changes_nothing_before_it_has_applied_all_that_it_found() {
    let mut world = World::new(2);
    world.elect(id(1));
    world.applies_at_once = false;
    world.propose(id(1), &["a"]);
    world.settle();
    world.member(id(1)).transfer_leader(id(2));
    world.settle();
    assert_eq!(world.leader(), Some(id(2)));
    let refused = world.member(id(2)).propose_membership(&target(&[2], &[]));
    assert!(matches!(refused, Err(ProposeMembershipError::Pending { .. })));
    world.apply(id(2));
    assert_eq!(world.member(id(2)).propose_membership(&target(&[2], &[])), Ok(()));
}

#[test]
fn a_crash_between_the_commit_of_a_change_and_its_record_applies_it_after_the_restart_once() {
    let mut world = World::new(1);
    world.elect(id(1));
    world.member(id(1)).propose_membership(&target(&[1], &[2])).expect("it leads");
    until_handed_out(&mut world, 1);
    world.propose(id(1), &["a"]);
    world.settle();
    assert_eq!(world.disk(id(1)).commit, Index(2), "never at or past the change");
    world.restart(id(1));
    assert_eq!(membership(&mut world, 1).learners, []);
    world.records_at_once = true;
    world.elect(id(1));
    assert_eq!(membership(&mut world, 1).learners, [id(2)]);
    let applied: Vec<_> = world.replica(id(1)).applied.iter().map(|meta| meta.index.0).collect();
    assert_eq!(applied, [3, 4, 5]);
}

#[test]
fn a_crash_after_the_record_of_a_change_does_not_apply_it_again() {
    for kind in [Kind::Partition, Kind::Machine] {
        let mut world = World::new(1);
        world.kind = kind;
        world.restart(id(1));
        world.elect(id(1));
        world.member(id(1)).propose_membership(&target(&[1], &[2])).expect("it leads");
        until_handed_out(&mut world, 1);
        assert!(world.write_record(id(1)));
        world.restart(id(1));
        assert_eq!(membership(&mut world, 1).learners, [id(2)]);
        world.elect(id(1));
        assert!(world.replica(id(1)).change.is_none());
        let passed: Vec<_> = world.replica(id(1)).applied.iter().map(|meta| meta.kind).collect();
        // A machine begins at its snapshot again, and passes the change over.
        let expected: &[EntryKind] = match kind {
            Kind::Partition => &[EntryKind::NoOp],
            Kind::Machine => &[EntryKind::NoOp, EntryKind::Membership, EntryKind::NoOp],
        };
        assert_eq!(passed, expected, "{kind:?}");
        assert_eq!(membership(&mut world, 1).learners, [id(2)]);
    }
}

#[test]
fn a_voter_is_replaced_under_load_and_nothing_is_lost() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.add(id(4));
    let mut written = Vec::new();
    let load = |world: &mut World, written: &mut Vec<String>| {
        for _ in 0..5 {
            let value = format!("value {}", written.len());
            world.propose(id(1), &[&value]);
            written.push(value);
            world.pass(1);
        }
    };
    load(&mut world, &mut written);
    world.member(id(1)).propose_membership(&target(&[1, 2, 3], &[4])).expect("it leads");
    load(&mut world, &mut written);
    world.crash(id(3));
    world.member(id(1)).propose_membership(&target(&[1, 2, 4], &[])).expect("it leads");
    load(&mut world, &mut written);
    world.member(id(1)).leave_joint().expect("it is joint");
    load(&mut world, &mut written);
    world.pass(2 * HEARTBEAT_TICKS);
    assert_eq!(membership(&mut world, 4).voters, [id(1), id(2), id(4)]);
    for replica in [1, 2, 4] {
        assert_eq!(world.values(id(replica)), written);
    }
    world.assert_committed_is_on_a_majority();
    // The old voter counts no more, the new one does.
    world.crash(id(2));
    world.propose(id(1), &["without 2 and 3"]);
    world.settle();
    assert_eq!(world.values(id(1)).len(), written.len() + 1);
}

#[test]
fn a_leader_that_removes_itself_steps_down_and_the_others_go_on() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.settle();
    world.member(id(1)).propose_membership(&target(&[2, 3], &[])).expect("it leads");
    world.settle();
    assert!(!world.member(id(1)).is_leader() && world.member(id(1)).peers().is_empty());
    assert_eq!(world.replica(id(1)).role.role, Role::Follower);
    for replica in [1, 2, 3] {
        assert_eq!(membership(&mut world, replica).voters, [id(2), id(3)], "replica {replica}");
    }
    world.pass(4 * ELECTION_TICKS);
    let leader = world.leader().expect("another leader");
    assert_ne!(leader, id(1));
    world.propose(leader, &["b"]);
    world.settle();
    assert_eq!(world.values(leader), ["a", "b"]);
    assert!(!world.member(id(1)).is_leader(), "it does not campaign");
}

#[test]
fn a_leader_that_becomes_a_learner_steps_down() {
    let mut world = World::new(2);
    world.elect(id(1));
    world.member(id(1)).propose_membership(&target(&[2], &[1])).expect("it leads");
    world.settle();
    assert!(!world.member(id(1)).is_leader());
    world.pass(2 * ELECTION_TICKS);
    assert_eq!(world.leader(), Some(id(2)));
    world.propose(id(2), &["a"]);
    world.settle();
    world.pass(HEARTBEAT_TICKS);
    assert_eq!(world.values(id(1)), ["a"], "it learns");
}

#[test]
fn leadership_is_handed_to_nobody_who_is_about_to_lose_the_vote() {
    let mut world = World::new(2);
    world.elect(id(1));
    world.add(id(3));
    world.member(id(1)).propose_membership(&target(&[1, 3], &[])).expect("it leads");
    world.settle();
    world.pass(2 * HEARTBEAT_TICKS);
    assert_eq!(membership(&mut world, 1).voters_outgoing, [id(1), id(2)]);
    world.member(id(1)).transfer_leader(id(2));
    world.settle();
    assert_eq!(world.leader(), Some(id(1)));
    world.member(id(1)).transfer_leader(id(3));
    world.settle();
    assert_eq!(world.leader(), Some(id(3)));
}

#[test]
fn a_change_stands_where_the_entry_before_it_ends_on_every_replica() {
    let mut world = World::new(2);
    world.elect(id(1));
    world.add(id(3));
    world.propose(id(1), &["a"]);
    world.change(id(1), &[1, 2], &[3]);
    world.propose(id(1), &["b"]);
    world.settle();
    world.pass(2 * HEARTBEAT_TICKS);
    let record = world.disk(id(1)).entry(Index(3)).expect("the record").clone();
    for replica in [1, 2] {
        let change = world.disk(id(replica)).entry(Index(4)).expect("the change").clone();
        assert!(matches!(change.body, Body::Membership(ref encoded) if !encoded.is_empty()));
        assert_eq!(change.base_offset, record.meta().end_offset());
        assert_eq!(change.appended_at_ms, record.appended_at_ms);
    }
    world.assert_logs_match();
}

#[test]
fn a_member_remembers_for_peers_as_soon_as_it_has_any() {
    let mut world = World::new(1);
    world.elect(id(1));
    world.propose(id(1), &["on disk only"]);
    world.settle();
    world.add(id(2));
    world.change(id(1), &[1], &[2]);
    world.pass(2 * HEARTBEAT_TICKS);
    world.isolate(id(2));
    world.propose(id(1), &["a", "b"]);
    world.settle();
    world.cuts.clear();
    world.member(id(1)).unreachable(id(2));
    for _ in 0..4 * HEARTBEAT_TICKS {
        for replica in [id(1), id(2)] {
            world.member(replica).tick();
            world.work(replica);
            assert!(world.replica(replica).reads.is_empty(), "they are in memory");
            world.sync_all(replica);
            world.work(replica);
        }
        for message in std::mem::take(&mut world.wire) {
            world.give(message);
        }
    }
    assert_eq!(world.values(id(2)), ["on disk only", "a", "b"]);

    // Without peers it forgets: a new one is fed from the disk.
    world.change(id(1), &[1], &[]);
    world.add(id(3));
    world.isolate(id(3));
    world.change(id(1), &[1], &[3]);
    world.cuts.clear();
    let served = world.replica(id(1)).reads_served;
    world.pass(4 * HEARTBEAT_TICKS);
    assert!(world.replica(id(1)).reads_served > served);
    assert_eq!(world.values(id(3)), ["on disk only", "a", "b"]);
}

#[test]
fn a_learner_gets_few_appends_at_once_and_a_voter_many() {
    let mut world = World::with_learners(2, 1);
    world.limits.append_bytes_max = 0;
    world.restart(id(1));
    world.elect(id(1));
    world.pass(HEARTBEAT_TICKS);
    for number in 0..10 {
        world.propose(id(1), &[&format!("value {number}")]);
        world.work(id(1));
    }
    let appends = |world: &World, to| {
        world.wire.iter().filter(|message| message.kind == MessageKind::Append && message.to == to).count()
    };
    assert_eq!((appends(&world, id(2)), appends(&world, id(3))), (10, 4));
    world.settle();
    world.pass(2 * HEARTBEAT_TICKS);

    world.change(id(1), &[1, 2, 3], &[]);
    world.pass(HEARTBEAT_TICKS);
    for number in 0..10 {
        world.propose(id(1), &[&format!("again {number}")]);
        world.work(id(1));
    }
    assert_eq!((appends(&world, id(2)), appends(&world, id(3))), (10, 10));
}

#[test]
fn a_silent_peer_is_not_active_and_a_checked_quorum_does_not_make_it_so() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.pass(HEARTBEAT_TICKS);
    world.isolate(id(3));
    for tick in 0..4 * ELECTION_TICKS {
        world.pass(1);
        let peers: Vec<_> = world.member(id(1)).peers().iter().map(Peer::is_active).collect();
        assert!(peers[0], "replica 2 answers");
        assert_eq!(peers[1], tick + 1 < ELECTION_TICKS, "tick {tick}");
    }
    assert!(world.member(id(2)).peers().is_empty(), "it does not lead");
}

#[test]
#[should_panic(expected = "take effect after entry 2")]
fn members_do_not_take_effect_before_what_precedes_them_is_applied() {
    let mut world = World::new(1);
    world.elect(id(1));
    world.applies_at_once = false;
    world.propose(id(1), &["a"]);
    world.member(id(1)).propose_membership(&target(&[1], &[2])).expect("it leads");
    world.settle();
    world.member(id(1)).membership_applied();
}
