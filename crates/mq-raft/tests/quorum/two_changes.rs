//! Changes of the members that follow each other faster than a replica can put them on record.

use crate::members::target;
use crate::world::{World, id};
use mq_raft::{ELECTION_TICKS, HEARTBEAT_TICKS};
use mq_types::{EntryKind, Index};

/// Entry 3 makes the configuration joint, entry 4 leaves it. A member that has both in its log and neither on record
/// would campaign among the first voters, of whom none needs to be among the last ones.
#[test]
fn a_second_change_is_not_taken_before_the_first_is_on_record() {
    let mut world = World::new(3);
    world.elect(id(1));
    for new in [4, 5, 6] {
        world.add(id(new));
    }
    world.records_at_once = false;
    world.member(id(1)).propose_membership(&target(&[4, 5, 6], &[])).expect("it leads");
    world.settle();
    world.record(id(1));
    world.settle();
    world.pass(4 * HEARTBEAT_TICKS);
    world.member(id(1)).leave_joint().expect("it is joint");
    world.settle();
    world.pass(4 * HEARTBEAT_TICKS);
    let joint = Index(3);
    for replica in [2, 3] {
        assert!(world.member(id(replica)).commit() >= joint, "it knows of the first");
        assert_eq!(world.disk(id(replica)).last_index(), joint);
        assert_eq!(world.disk(id(replica)).commit, joint.previous());
    }
    // On record, it takes the second with the next heartbeat.
    world.record(id(2));
    world.record(id(3));
    world.pass(4 * HEARTBEAT_TICKS);
    for replica in [2, 3] {
        let kind = world.disk(id(replica)).entry(joint.next()).map(|entry| entry.body.kind());
        assert_eq!(kind, Some(EntryKind::Membership));
    }
}

/// Time passes; whoever is named puts changes on record.
fn pass_recording(world: &mut World, ticks: usize, recording: &[u64]) {
    for _ in 0..ticks {
        world.pass(1);
        for replica in recording {
            world.record(id(*replica));
        }
    }
    world.settle();
}

/// The first voters 1, 2 and 3 are replaced by 4, 5 and 6 while 3 hears nothing and 2 is slow to record. Then 2
/// forgets what was not on disk and meets 3 alone, cut off from all others: with both changes in its log they would
/// elect it, and commit, and so would the new voters.
#[test]
fn a_crash_that_forgets_two_changes_does_not_make_two_quorums() {
    let mut world = World::new(3);
    world.elect(id(1));
    for new in [4, 5, 6] {
        world.add(id(new));
    }
    world.records_at_once = false;
    world.isolate(id(3));
    let recording = [1, 4, 5, 6];
    world.member(id(1)).propose_membership(&target(&[4, 5, 6], &[])).expect("it leads");
    pass_recording(&mut world, 4 * HEARTBEAT_TICKS, &recording);
    world.member(id(1)).leave_joint().expect("it is joint");
    pass_recording(&mut world, 2 * HEARTBEAT_TICKS, &recording);

    world.restart(id(2));
    world.cuts.clear();
    for one in [2, 3] {
        for other in recording {
            world.cuts.insert((id(one), id(other)));
            world.cuts.insert((id(other), id(one)));
        }
    }
    pass_recording(&mut world, 10 * ELECTION_TICKS, &recording);
    world.records_at_once = true;
    world.cuts.clear();
    for replica in world.ids() {
        world.record(replica);
    }
    world.pass(10 * ELECTION_TICKS);
    let leader = world.leader().expect("a leader");
    if !world.member(leader).membership().voters_outgoing.is_empty() {
        world.member(leader).leave_joint().expect("it is joint");
    }
    world.pass(10 * ELECTION_TICKS);
    let leader = world.leader().expect("a leader among the new voters");
    assert_eq!(world.member(leader).membership().voters, [id(4), id(5), id(6)]);
    world.propose(leader, &["a"]);
    world.settle();
    assert_eq!(world.values(leader), ["a"]);
    world.assert_logs_match();
}
