//! Entries that only the disk has, and read indexes.

use crate::world::{World, id};
use mq_raft::{ELECTION_TICKS, HEARTBEAT_TICKS, ReadFailed, ReadIndex};
use mq_types::message::MessageKind;
use mq_types::persist::Start;
use mq_types::{Index, Term};

/// Three voters led by replica 1, which remembers nothing that it has applied. Replica 3 has missed some records.
fn far_behind() -> World {
    let mut world = World::new(3);
    world.limits.append_bytes_max = 300;
    world.leave_last_behind();
    world.cuts.clear();
    world
}

/// Ticks and delivers until the leader asks its disk for something.
fn until_it_reads(world: &mut World) {
    for _ in 0..20 * HEARTBEAT_TICKS {
        world.member(id(1)).tick();
        for replica in world.ids() {
            world.work(replica);
            world.sync_all(replica);
            world.work(replica);
        }
        for message in std::mem::take(&mut world.wire) {
            world.give(message);
        }
        world.work(id(1));
        if !world.replica(id(1)).reads.is_empty() {
            return;
        }
    }
    panic!("the leader never reads");
}

#[test]
fn a_follower_that_is_far_behind_is_fed_from_the_disk() {
    let mut world = far_behind();
    until_it_reads(&mut world);
    let request = world.replica(id(1)).reads[0];
    assert_eq!(request.first_index, Index(3));
    assert_eq!(request.bytes_max, 300);
    world.pass(4 * HEARTBEAT_TICKS);
    assert_eq!(world.disk(id(3)).last_index(), Index(22));
    assert_eq!(world.values(id(3)).len(), 20);
    world.assert_logs_match();
}

#[test]
fn a_follower_that_is_a_little_behind_is_fed_from_memory() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.isolate(id(3));
    world.propose(id(1), &["a", "b", "c"]);
    world.settle();
    assert_eq!(world.member(id(1)).applied_index(), Index(5));
    world.cuts.clear();
    for _ in 0..10 * HEARTBEAT_TICKS {
        for replica in world.ids() {
            world.member(replica).tick();
            world.work(replica);
            assert!(world.replica(replica).reads.is_empty());
            world.sync_all(replica);
            world.work(replica);
        }
        for message in std::mem::take(&mut world.wire) {
            world.give(message);
        }
    }
    assert_eq!(world.values(id(3)), ["a", "b", "c"]);
}

#[test]
fn what_the_leader_recovered_without_payload_is_read_from_its_disk() {
    let mut world = World::new(2);
    world.elect(id(1));
    world.cuts.insert((id(1), id(2)));
    world.propose(id(1), &["a", "b"]);
    world.settle();
    world.restart(id(1));
    world.cuts.clear();
    world.pass(6 * ELECTION_TICKS);
    assert_eq!(world.leader(), Some(id(1)), "only replica 1 has everything");
    assert_eq!(world.values(id(2)), ["a", "b"]);
}

#[test]
fn the_same_entries_are_read_once_however_often_they_are_missed() {
    let mut world = far_behind();
    until_it_reads(&mut world);
    for _ in 0..10 * HEARTBEAT_TICKS {
        for replica in world.ids() {
            world.member(replica).tick();
            world.work(replica);
            world.sync_all(replica);
            world.work(replica);
        }
        for message in std::mem::take(&mut world.wire) {
            world.give(message);
        }
    }
    assert_eq!(world.replica(id(1)).reads.len(), 1);
}

#[test]
fn a_failed_read_is_asked_for_again() {
    let mut world = far_behind();
    until_it_reads(&mut world);
    let request = world.replica(id(1)).reads.remove(0);
    world.member(id(1)).entries_read(request.id, Err(ReadFailed));
    assert!(world.member(id(1)).take_work().is_empty(), "not at once: the disk would be asked without end");
    until_it_reads(&mut world);
    let again = world.replica(id(1)).reads[0];
    assert_eq!(again.first_index, request.first_index);
    assert_ne!(again.id, request.id);
    world.pass(4 * HEARTBEAT_TICKS);
    assert_eq!(world.values(id(3)).len(), 20);
}

#[test]
fn a_read_that_comes_when_leadership_is_over_is_dropped() {
    let mut world = far_behind();
    until_it_reads(&mut world);
    world.isolate(id(1));
    for _ in 0..3 * ELECTION_TICKS {
        world.member(id(1)).tick();
        world.work(id(1));
    }
    assert!(!world.member(id(1)).is_leader());
    world.wire.clear();
    world.serve_read(id(1));
    world.work(id(1));
    assert!(world.wire.iter().all(|message| message.kind != MessageKind::Append));
}

/// Replica 1 leads, reads two entries for replica 2, loses them to another leader, and leads again. Learner 4 then
/// needs the same indexes, of which the old read knows what they held before.
#[test]
fn a_read_from_before_a_cut_serves_nobody_after_it() {
    let mut world = World::with_learners(3, 1);
    world.limits.retained_bytes_max = 0;
    for replica in world.ids() {
        world.restart(replica);
    }
    world.elect(id(1));
    world.isolate(id(1));
    world.propose(id(1), &["lost 1", "lost 2"]);
    world.settle();
    // Recovered records have no payload in memory: as a leader again, replica 1 reads them from its disk.
    world.restart(id(1));
    world.cuts.clear();
    world.isolate(id(4));
    world.crash(id(3));
    for _ in 0..20 * ELECTION_TICKS {
        for replica in [id(1), id(2)] {
            world.member(replica).tick();
            world.work(replica);
            world.sync_all(replica);
            world.work(replica);
        }
        for message in std::mem::take(&mut world.wire) {
            world.give(message);
        }
    }
    let old = world.replica(id(1)).reads.remove(0);
    let stale: Vec<_> = world.disk(id(1)).log[1..3].to_vec();
    assert_eq!(old.first_index, stale[0].index);

    world.isolate(id(1));
    world.start(id(3));
    world.pass(8 * ELECTION_TICKS);
    let leader = world.leader().expect("a leader");
    assert_ne!(leader, id(1));
    world.propose(leader, &["a", "b"]);
    world.settle();
    world.cuts.clear();
    world.isolate(id(4));
    world.pass(2 * HEARTBEAT_TICKS);
    world.member(leader).transfer_leader(id(1));
    world.settle();
    assert_eq!(world.leader(), Some(id(1)));

    world.cuts.clear();
    until_it_reads(&mut world);
    // It probes with its newest entry first; the refusal tells it where to begin.
    world.serve_read(id(1));
    until_it_reads(&mut world);
    let new = world.replica(id(1)).reads[0];
    assert_eq!(new.first_index, old.first_index);
    assert_ne!(new.id, old.id);
    world.member(id(1)).entries_read(old.id, Ok(stale));
    world.settle();
    world.pass(4 * HEARTBEAT_TICKS);
    for replica in world.ids() {
        assert_eq!(world.values(replica), ["a", "b"]);
    }
    world.assert_logs_match();
}

#[test]
fn a_read_that_brings_more_than_was_asked_for_still_fits_a_message() {
    let mut world = far_behind();
    until_it_reads(&mut world);
    let request = world.replica(id(1)).reads.remove(0);
    let entries: Vec<_> = world.disk(id(1)).log[1..15].to_vec();
    world.member(id(1)).entries_read(request.id, Ok(entries));
    world.work(id(1));
    let appends =
        world.wire.iter().filter(|message| message.kind == MessageKind::Append && message.to == id(3));
    let sizes: Vec<_> = appends
        .map(|append| append.entries.iter().map(|entry| entry.body.len_bytes()).sum::<usize>())
        .collect();
    assert!(!sizes.is_empty() && sizes.iter().all(|&bytes| bytes > 0 && bytes <= 300), "{sizes:?}");
}

#[test]
fn a_trimmed_log_goes_on_and_knows_its_terms() {
    let mut world = far_behind();
    world.isolate(id(3));
    let term = world.member(id(1)).term();
    world.trim(id(1), Index(10));
    let start = world.disk(id(1)).start;
    assert_eq!((start.prev_index, start.base_offset), (Index(10), mq_types::Offset(8)));
    assert_eq!(world.member(id(1)).start(), start);
    assert_eq!(world.member(id(1)).term_runs().term(Index(10)), Some(term));
    assert_eq!(world.member(id(1)).term_runs().term(Index(9)), None);
    world.propose(id(1), &["after the trim"]);
    world.settle();
    assert_eq!(world.member(id(1)).commit(), Index(23));
    world.restart(id(1));
    world.pass(6 * ELECTION_TICKS);
    assert!(world.leader().is_some());
}

#[test]
#[should_panic(expected = "applied only up to 2")]
fn nothing_is_trimmed_that_is_not_applied() {
    let mut world = World::new(1);
    world.elect(id(1));
    world.applies_at_once = false;
    world.propose(id(1), &["a"]);
    world.settle();
    world.member(id(1)).compacted(Start { prev_index: Index(3), prev_term: Term(2), ..Start::BOOTSTRAP });
}

#[test]
fn a_read_index_is_confirmed_by_a_majority() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.settle();
    world.member(id(1)).read_index(7);
    world.work(id(1));
    assert!(world.replica(id(1)).read_indexes.is_empty(), "nobody has confirmed yet");
    world.settle();
    assert_eq!(world.replica(id(1)).read_indexes, [ReadIndex { context: 7, index: Index(3) }]);
}

#[test]
fn a_follower_gets_its_read_index_from_the_leader() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.propose(id(1), &["a"]);
    world.settle();
    world.member(id(2)).read_index(7);
    world.settle();
    assert_eq!(world.replica(id(2)).read_indexes, [ReadIndex { context: 7, index: Index(3) }]);
    assert!(world.replica(id(1)).read_indexes.is_empty());
}

#[test]
fn two_members_may_use_the_same_number() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.member(id(2)).read_index(7);
    world.member(id(3)).read_index(7);
    world.settle();
    for replica in [id(2), id(3)] {
        assert_eq!(world.replica(replica).read_indexes, [ReadIndex { context: 7, index: Index(2) }]);
    }
}

#[test]
fn a_sole_voter_confirms_its_read_index_alone() {
    let mut world = World::new(1);
    world.elect(id(1));
    world.member(id(1)).read_index(7);
    world.work(id(1));
    assert_eq!(world.replica(id(1)).read_indexes, [ReadIndex { context: 7, index: Index(2) }]);
}

#[test]
fn a_leader_that_was_replaced_confirms_nothing() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.isolate(id(1));
    world.member(id(1)).read_index(7);
    world.pass(6 * ELECTION_TICKS);
    assert!(world.leader().is_some_and(|leader| leader != id(1)));
    world.cuts.clear();
    world.pass(2 * HEARTBEAT_TICKS);
    assert!(world.replica(id(1)).read_indexes.is_empty());
}

#[test]
fn a_leader_confirms_nothing_before_it_has_committed_in_its_term() {
    let mut world = World::new(1);
    world.member(id(1)).campaign();
    world.work(id(1));
    assert!(world.member(id(1)).is_leader() && !world.member(id(1)).has_committed_in_term());
    world.member(id(1)).read_index(7);
    world.settle();
    assert!(world.replica(id(1)).read_indexes.is_empty());
}

#[test]
fn an_answer_to_a_former_life_is_no_answer() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.member(id(2)).read_index(7);
    for _ in 0..50 {
        for replica in world.ids() {
            world.settle_one(replica);
        }
        if world.wire.iter().any(|message| message.kind == MessageKind::ReadIndexResponse) {
            break;
        }
        for message in std::mem::take(&mut world.wire) {
            world.give(message);
        }
    }
    let mut wire = std::mem::take(&mut world.wire);
    wire.retain(|message| message.kind == MessageKind::ReadIndexResponse);
    let late = wire.pop().expect("an answer");
    world.propose(id(1), &["a"]);
    world.settle();
    world.restart(id(2));
    world.pass(HEARTBEAT_TICKS);
    world.member(id(2)).read_index(7);
    world.give(late);
    world.work(id(2));
    assert!(world.replica(id(2)).read_indexes.is_empty(), "its index lies before the record");
    world.settle();
    assert_eq!(world.replica(id(2)).read_indexes, [ReadIndex { context: 7, index: Index(3) }]);
}

#[test]
fn a_read_index_that_reaches_a_follower_goes_no_further() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.member(id(2)).read_index(7);
    world.settle_one(id(2));
    let mut ask = world.wire.pop().expect("a question");
    assert_eq!((ask.kind, ask.to), (MessageKind::ReadIndex, id(1)));
    ask.to = id(3);
    world.give(ask);
    world.work(id(3));
    assert!(world.wire.is_empty());
}
