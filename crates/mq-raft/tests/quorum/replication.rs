//! How entries come to be on every replica, and when they count.

use crate::world::{World, id};
use mq_raft::HEARTBEAT_TICKS;
use mq_types::message::MessageKind;
use mq_types::{Body, EntryKind, Index, Offset};

#[test]
fn a_proposal_reaches_every_replica() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.propose(id(1), &["a", "b"]);
    world.propose(id(1), &["c"]);
    world.settle();
    world.pass(HEARTBEAT_TICKS);
    for replica in world.ids() {
        assert_eq!(world.values(replica), ["a", "b", "c"]);
        assert_eq!(world.member(replica).next_offset(), Offset(3));
    }
    let logs: Vec<_> = world.replicas.values().map(|state| state.disk.log.clone()).collect();
    assert!(logs[0] == logs[1] && logs[1] == logs[2], "byte for byte, stamps and times too");
}

#[test]
fn the_entries_of_one_proposal_leave_in_one_message() {
    let mut world = World::new(2);
    world.elect(id(1));
    world.propose(id(1), &["a", "b", "c"]);
    world.work(id(1));
    let appends: Vec<_> = world.wire.iter().filter(|message| message.kind == MessageKind::Append).collect();
    assert_eq!(appends.len(), 1);
    assert_eq!(appends[0].entries.len(), 3);
}

#[test]
fn a_leader_sends_while_it_writes_but_does_not_count_itself() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.work(id(1));
    assert_eq!(world.wire.len(), 2, "both followers are sent the entry at once");
    assert_eq!(world.replica(id(1)).writes.len(), 1);

    // One follower has it on disk: with the leader that would be a majority, but the leader's write is in flight.
    world.cuts.insert((id(1), id(3)));
    for message in std::mem::take(&mut world.wire) {
        world.give(message);
    }
    world.settle_one(id(2));
    world.deliver(0);
    world.work(id(1));
    assert_eq!(world.member(id(1)).commit(), Index(2), "only the no-op");
    world.sync(id(1));
    assert_eq!(world.member(id(1)).commit(), Index(3));
}

#[test]
fn a_leader_hands_out_what_its_followers_committed_only_when_it_is_durable_here() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.work(id(1));
    for message in std::mem::take(&mut world.wire) {
        world.give(message);
    }
    world.settle_one(id(2));
    world.settle_one(id(3));
    world.deliver(0);
    world.deliver(0);
    assert_eq!(world.work(id(1)), 0);
    assert_eq!(world.member(id(1)).commit(), Index(3), "two of three have it");
    world.sync(id(1));
    assert_eq!(world.work(id(1)), 1);
}

#[test]
fn a_follower_acknowledges_only_what_is_durable() {
    let mut world = World::new(2);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.propose(id(1), &["b"]);
    world.work(id(1));
    while !world.wire.is_empty() {
        world.deliver(0);
        world.work(id(2));
    }
    assert_eq!(world.replica(id(2)).writes.len(), 2);
    assert!(world.wire.is_empty());
    world.sync(id(2));
    let acknowledged: Vec<_> = world.wire.iter().map(|message| message.index).collect();
    assert_eq!(acknowledged, [Index(3)]);
    world.sync(id(2));
    assert_eq!(world.wire.len(), 2);
}

#[test]
fn what_has_nothing_to_write_waits_for_the_newest_write_in_flight() {
    let mut world = World::new(2);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.work(id(1));
    world.deliver(0);
    world.work(id(2));
    let number = world.replica(id(2)).writes[0].0.number;
    for _ in 0..HEARTBEAT_TICKS {
        world.member(id(1)).tick();
    }
    world.work(id(1));
    let heartbeat = world.wire.remove(0);
    assert_eq!(heartbeat.kind, MessageKind::Heartbeat);
    world.give(heartbeat.clone());
    world.work(id(2));
    let held: Vec<_> = world.replica(id(2)).held.iter().map(|held| held.number).collect();
    assert_eq!(held, [number, number], "the answer waits for the write that was in flight already");

    world.sync(id(2));
    assert_eq!(world.wire.len(), 2);
    world.wire.clear();
    world.give(heartbeat);
    world.work(id(2));
    assert_eq!(world.wire.len(), 1, "with nothing in flight it leaves at once");
}

#[test]
fn an_uncommitted_suffix_is_overwritten_by_the_next_leader() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.settle();
    world.isolate(id(1));
    world.propose(id(1), &["lost 1", "lost 2"]);
    world.settle();
    assert_eq!(world.member(id(1)).last_index(), Index(5));
    assert_eq!(world.member(id(1)).next_offset(), Offset(3));

    world.pass(60);
    let leader = world.leader().expect("another leader");
    world.propose(leader, &["b"]);
    world.settle();
    world.cuts.clear();
    world.pass(2 * HEARTBEAT_TICKS);
    assert_eq!(world.values(id(1)), ["a", "b"]);
    assert_eq!(world.member(id(1)).next_offset(), Offset(2));
    let leader_log = world.disk(leader).log.clone();
    assert!(world.disk(id(1)).log == leader_log);
    let term_runs = world.member(leader).term_runs().clone();
    assert_eq!(world.member(id(1)).term_runs(), &term_runs);
}

#[test]
fn a_cut_and_what_replaces_it_are_one_write() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.isolate(id(1));
    world.propose(id(1), &["lost 1", "lost 2"]);
    world.settle();
    world.pass(60);
    world.cuts.clear();
    let mut cuts = 0;
    for _ in 0..200 {
        for replica in world.ids() {
            world.member(replica).tick();
            world.work(replica);
        }
        let last_index = world.disk(id(1)).last_index();
        let overwrites = |persist: &mq_raft::Persist| {
            persist.entries.first().is_some_and(|entry| entry.index <= last_index)
        };
        cuts += world.replica(id(1)).writes.iter().filter(|(persist, _)| overwrites(persist)).count();
        world.settle();
    }
    world.assert_logs_match();
    assert!(world.disk(id(1)).log.iter().all(|entry| entry.body.kind() == EntryKind::NoOp));
    assert!(cuts <= 1);
}

#[test]
fn a_no_op_stands_where_the_entry_before_it_ends_on_every_replica() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.settle();
    world.member(id(1)).transfer_leader(id(3));
    world.settle();
    let data = world.disk(id(3)).entry(Index(3)).expect("the record").clone();
    for replica in world.ids() {
        let no_op = world.disk(replica).entry(Index(4)).expect("the no-op").clone();
        assert_eq!(no_op.body, Body::NoOp);
        assert_eq!(no_op.base_offset, Offset(1));
        assert_eq!(no_op.appended_at_ms, data.appended_at_ms);
    }
}

#[test]
fn duplicated_and_reordered_messages_change_nothing() {
    let mut world = World::new(3);
    world.elect(id(1));
    let mut seen = Vec::new();
    for value in ["a", "b", "c", "d"] {
        world.propose(id(1), &[value]);
        world.work(id(1));
        // Newest first, each of them three times, and everything of before again.
        world.wire.reverse();
        for _ in 0..60 {
            let wire = std::mem::take(&mut world.wire);
            seen.extend(wire.iter().cloned());
            for message in wire.iter().chain(wire.iter().rev()).chain(&wire) {
                world.give(message.clone());
            }
            for replica in world.ids() {
                world.settle_one(replica);
            }
            if world.wire.len() > 200 {
                world.wire.truncate(50);
            }
        }
        world.wire.clear();
        for message in seen.iter().rev().take(300) {
            world.give(message.clone());
        }
        world.settle();
    }
    world.pass(2 * HEARTBEAT_TICKS);
    for replica in world.ids() {
        assert_eq!(world.values(replica), ["a", "b", "c", "d"]);
    }
    world.assert_logs_match();
}

#[test]
fn a_machine_tells_its_followers_of_a_commit_at_once() {
    for (kind, expected) in [(mq_raft::Kind::Machine, Index(3)), (mq_raft::Kind::Partition, Index(2))] {
        let mut world = World::new(2);
        world.kind = kind;
        world.restart(id(1));
        world.elect(id(1));
        world.pass(HEARTBEAT_TICKS);
        world.propose(id(1), &["a"]);
        world.settle();
        assert_eq!(world.member(id(1)).commit(), Index(3));
        assert_eq!(world.member(id(2)).commit(), expected, "{kind:?}");
    }
}

#[test]
fn a_lost_append_is_sent_again() {
    let mut world = World::new(2);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.work(id(1));
    world.wire.clear();
    world.member(id(1)).unreachable(id(2));
    world.pass(HEARTBEAT_TICKS);
    assert_eq!(world.disk(id(2)).last_index(), Index(3));
}

#[test]
#[should_panic(expected = "only entries up to 2 were handed out")]
fn nothing_is_applied_that_was_not_handed_out() {
    let mut world = World::new(1);
    world.elect(id(1));
    world.member(id(1)).applied(Index(3));
}

#[test]
#[should_panic(expected = "leaves a gap in offsets")]
fn a_proposal_that_does_not_go_on_is_a_broken_promise() {
    let mut world = World::new(1);
    world.elect(id(1));
    let entries = world.entries(id(1), &["a", "b"]);
    let mut second = entries[1].clone();
    second.index = Index(3);
    let _ = world.member(id(1)).propose(vec![second]);
}
