//! What a crash takes, and what it must not.

use crate::world::{World, id};
use mq_raft::{ELECTION_TICKS, HEARTBEAT_TICKS, StepError};
use mq_types::message::MessageKind;
use mq_types::{EntryKind, Index, Term};

#[test]
fn each_replica_may_lose_what_was_not_durable() {
    for victim in [id(1), id(2), id(3)] {
        let mut world = World::new(3);
        world.elect(id(1));
        world.propose(id(1), &["a"]);
        world.settle();
        world.propose(id(1), &["b"]);
        world.work(id(1));
        for message in std::mem::take(&mut world.wire) {
            world.give(message);
        }
        for replica in world.ids() {
            world.work(replica);
        }
        assert_eq!(world.replica(victim).writes.len(), 1, "the entry is on its way to the disk");
        world.restart(victim);
        assert_eq!(world.member(victim).last_index(), Index(3));
        world.settle();
        world.pass(4 * ELECTION_TICKS);
        let leader = world.leader().expect("a leader");
        for replica in world.ids() {
            let values = world.values(replica);
            assert_eq!(values[0], "a");
            assert_eq!(values, world.values(leader), "victim {victim}");
        }
        world.assert_logs_match();
    }
}

#[test]
fn an_acknowledged_record_survives_the_restart_of_everybody() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.isolate(id(3));
    world.propose(id(1), &["a"]);
    world.settle();
    assert_eq!(world.values(id(1)), ["a"]);
    world.cuts.clear();
    for replica in world.ids() {
        world.restart(replica);
    }
    world.pass(4 * ELECTION_TICKS);
    for replica in world.ids() {
        assert_eq!(world.values(replica), ["a"]);
    }
}

#[test]
fn a_vote_is_not_given_twice_over_a_restart() {
    let mut world = World::new(3);
    for candidate in [id(1), id(2)] {
        world.member(candidate).campaign();
        world.work(candidate);
    }
    // Pre-votes first, then the two candidates ask for the same term.
    for _ in 0..2 {
        for message in std::mem::take(&mut world.wire) {
            world.give(message);
        }
        for replica in world.ids() {
            world.settle_one(replica);
        }
    }
    let asks = |world: &World, from| {
        let ask = |message: &&mq_types::Message| {
            message.kind == MessageKind::Vote && message.from == from && message.to == id(3)
        };
        world.wire.iter().find(ask).cloned().expect("a request for a vote")
    };
    let (first, second) = (asks(&world, id(1)), asks(&world, id(2)));
    assert_eq!(first.term, second.term);
    world.wire.clear();
    world.give(first);
    world.settle_one(id(3));
    world.restart(id(3));
    world.give(second);
    world.settle_one(id(3));
    let answers: Vec<_> = world.wire.iter().map(|message| (message.to, message.reject)).collect();
    assert_eq!(answers, [(id(1), false), (id(2), true)]);
}

#[test]
fn a_vote_that_was_not_durable_was_not_given() {
    let mut world = World::new(2);
    world.member(id(1)).campaign();
    world.settle_one(id(1));
    world.deliver(0);
    world.settle_one(id(2));
    world.deliver(0);
    world.settle_one(id(1));
    world.deliver(0);
    world.work(id(2));
    assert!(world.wire.is_empty(), "the answer waits for the vote to be durable");
    world.restart(id(2));
    world.settle();
    assert!(!world.member(id(1)).is_leader());
    assert_eq!(world.disk(id(2)).vote.voted_for, None);
}

#[test]
fn messages_of_a_former_life_do_no_harm() {
    let mut world = World::new(3);
    world.elect(id(1));
    let mut letters = Vec::new();
    for value in ["a", "b"] {
        world.propose(id(1), &[value]);
        for _ in 0..10 {
            for replica in world.ids() {
                world.settle_one(replica);
            }
            letters.extend(world.wire.iter().cloned());
            for message in std::mem::take(&mut world.wire) {
                world.give(message);
            }
        }
    }
    assert!(letters.len() >= 8);
    for replica in world.ids() {
        world.restart(replica);
    }
    world.pass(4 * ELECTION_TICKS);
    let leader = world.leader().expect("a leader");
    let term = world.member(leader).term();
    world.propose(leader, &["c"]);
    for message in letters {
        world.give(message);
    }
    world.settle();
    world.pass(2 * HEARTBEAT_TICKS);
    assert_eq!(world.leader(), Some(leader));
    assert_eq!(world.member(leader).term(), term);
    for replica in world.ids() {
        assert_eq!(world.values(replica), ["a", "b", "c"]);
    }
}

#[test]
fn what_was_recovered_counts_as_acknowledged_at_once() {
    // This is why a log may be opened only after all that was read of it has been made durable.
    let mut world = World::new(2);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.work(id(1));
    let append = world.wire[0].clone();
    world.settle();
    world.restart(id(2));
    world.give(append);
    world.work(id(2));
    assert!(world.replica(id(2)).writes.is_empty());
    assert_eq!(world.wire.len(), 1);
    assert_eq!((world.wire[0].kind, world.wire[0].index), (MessageKind::AppendResponse, Index(3)));
}

#[test]
fn what_is_known_committed_is_not_handed_out_again_but_the_rest_is() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.settle();
    world.propose(id(1), &["b"]);
    world.settle();
    let commit = world.disk(id(1)).commit;
    assert_eq!(commit, Index(3), "the commit of the last entry was never written");
    world.restart(id(1));
    world.settle();
    assert!(world.replica(id(1)).applied.is_empty());
    world.pass(4 * ELECTION_TICKS);
    let applied: Vec<_> = world.replica(id(1)).applied.iter().map(|meta| (meta.index, meta.kind)).collect();
    assert_eq!(applied, [(Index(4), EntryKind::Data), (Index(5), EntryKind::NoOp)]);
}

#[test]
fn entries_after_a_snapshot_are_handed_out_again() {
    let mut world = World::new(1);
    world.elect(id(1));
    world.propose(id(1), &["a", "b"]);
    world.settle();
    let mut recovered = {
        let disk = world.disk(id(1));
        disk.commit = Index(2);
        disk.recover(id(1), mq_raft::Kind::Partition)
    };
    recovered.commit = Index(4);
    recovered.snapshot = Some(mq_types::persist::Snapshot { index: Index(2), data: Default::default() });
    let options = mq_raft::Options {
        quorum: crate::world::QUORUM,
        replica: id(1),
        kind: mq_raft::Kind::Partition,
        seed: 1,
        limits: mq_raft::Limits::PARTITION,
    };
    let mut member = mq_raft::Member::open(options, &recovered);
    assert_eq!((member.commit(), member.applied_index()), (Index(4), Index(2)));
    let work = member.take_work();
    let indexes: Vec<_> = work.committed.iter().map(|committed| committed.meta.index).collect();
    assert_eq!(indexes, [Index(3), Index(4)]);
    assert!(work.persist.is_none() && work.send_now.is_empty());
}

#[test]
fn a_log_ahead_of_the_recorded_term_proves_the_term() {
    let mut world = World::new(3);
    world.elect(id(1));
    let term = world.member(id(1)).term();
    world.disk(id(2)).vote = Default::default();
    world.restart(id(2));
    assert_eq!(world.member(id(2)).term(), term);
    assert_eq!(world.member(id(2)).durable_vote().voted_for, None);
}

#[test]
fn a_heartbeat_that_proves_a_lost_acknowledgement_is_told_and_not_obeyed() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.propose(id(1), &["a", "b"]);
    world.settle();
    // The disk of replica 3 forgets its last entry, which it had acknowledged.
    let disk = world.disk(id(3));
    disk.log.pop();
    disk.commit = disk.commit.min(disk.last_index());
    world.restart(id(3));
    for _ in 0..HEARTBEAT_TICKS {
        world.member(id(1)).tick();
    }
    world.work(id(1));
    let proof = world.wire.iter().find(|message| message.to == id(3)).cloned().expect("a heartbeat");
    let refused = world.member(id(3)).step(proof);
    let lost = StepError::ShorterThanAcknowledged { acknowledged: Index(4), last_index: Index(3) };
    assert_eq!(refused, Err(lost));
    assert_eq!(world.member(id(3)).last_index(), Index(3));
    assert!(world.member(id(3)).term() >= Term(2));
}
