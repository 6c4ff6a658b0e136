//! Replicas whose entries are trimmed everywhere else, and begin anew.

use crate::members::target;
use crate::world::{World, id};
use mq_raft::{ELECTION_TICKS, HEARTBEAT_TICKS, Kind};
use mq_types::message::MessageKind;
use mq_types::persist::{LostReason, Standing, Start};
use mq_types::{Index, Message, Offset, Term};

/// Three voters led by replica 1; replica 3 has missed some entries that the others have trimmed. The rest is there.
pub(crate) fn left_behind(kind: Kind) -> World {
    let mut world = World::new(3);
    world.kind = kind;
    world.leave_last_behind();
    world.pass(HEARTBEAT_TICKS);
    for replica in [id(1), id(2)] {
        if kind == Kind::Machine {
            let applied = world.member(replica).applied_index();
            world.store_snapshot(replica, applied);
        }
        world.trim(replica, Index(12));
        assert_eq!(world.disk(replica).start.prev_index, Index(12));
    }
    world.cuts.clear();
    world
}

/// Ticks and delivers until the leader sends this replica a start snapshot, which is taken off the wire.
pub(crate) fn until_offered(world: &mut World, to: u64) -> Message {
    for _ in 0..20 * ELECTION_TICKS {
        world.member(id(1)).tick();
        for replica in world.ids() {
            world.settle_one(replica);
        }
        let is_it = |message: &Message| message.kind == MessageKind::Snapshot && message.to == id(to);
        if let Some(at) = world.wire.iter().position(is_it) {
            return world.wire.remove(at);
        }
        for message in std::mem::take(&mut world.wire) {
            world.give(message);
        }
    }
    panic!("replica {to} is never offered a start snapshot");
}

#[test]
fn a_learner_added_to_a_trimmed_log_gets_a_start_snapshot_and_catches_up() {
    for kind in [Kind::Partition, Kind::Machine] {
        let mut world = left_behind(kind);
        world.isolate(id(3));
        world.add(id(4));
        world.change(id(1), &[1, 2, 3], &[4]);
        world.pass(4 * HEARTBEAT_TICKS);
        let start = world.disk(id(1)).start;
        let snapshot = world.disk(id(1)).snapshot.clone().expect("every disk has one").index;
        let begins = if kind == Kind::Machine { snapshot } else { start.prev_index };
        assert_eq!(world.disk(id(4)).start.prev_index, begins, "{kind:?}");
        assert_eq!(world.member(id(4)).start().prev_index, begins);
        assert_eq!(world.member(id(4)).last_index(), world.member(id(1)).last_index());
        assert_eq!(world.member(id(4)).membership().learners, [id(4)]);
        assert_eq!(world.member(id(4)).next_offset(), world.member(id(1)).next_offset());
        world.assert_logs_match();
        // The change that made it a member is in its log, and was passed over.
        let conf_index = world.member(id(4)).membership().conf_index;
        assert!(conf_index > begins);
        assert!(world.replica(id(4)).applied.iter().any(|meta| meta.index == conf_index));
        world.restart(id(4));
        world.propose(id(1), &["more"]);
        world.settle();
        world.pass(4 * HEARTBEAT_TICKS);
        assert_eq!(world.values(id(4)).last().map(String::as_str), Some("more"));
    }
}

#[test]
fn a_follower_below_the_leaders_start_is_restored() {
    for kind in [Kind::Partition, Kind::Machine] {
        let mut world = left_behind(kind);
        world.pass(4 * HEARTBEAT_TICKS);
        assert_eq!(world.member(id(3)).last_index(), world.member(id(1)).last_index());
        assert!(world.disk(id(3)).start.prev_index >= Index(12));
        let start = world.disk(id(3)).start;
        let twin = world.disk(id(2)).clone();
        let before =
            twin.entry(start.prev_index).map_or(twin.start.prev_appended_at_ms, |it| it.appended_at_ms);
        assert_eq!(start.prev_appended_at_ms, before);
        world.assert_logs_match();
        world.propose(id(1), &["more"]);
        world.settle();
        world.pass(HEARTBEAT_TICKS);
        assert_eq!(world.values(id(3)).last().map(String::as_str), Some("more"));
    }
}

#[test]
fn a_restored_member_leads_and_time_goes_on() {
    // It has nothing but a start, from which its first entry must go on.
    let kinds = [Kind::Partition, Kind::Machine];
    for (kind, crashes) in kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let mut world = left_behind(kind);
        for replica in [id(1), id(2)] {
            if kind == Kind::Machine {
                let applied = world.member(replica).applied_index();
                world.store_snapshot(replica, applied);
            }
            let commit = world.disk(replica).commit;
            world.trim(replica, commit);
        }
        let offer = until_offered(&mut world, 3);
        let start = offer.start.as_ref().expect("a start").start;
        assert!(start.prev_appended_at_ms > 0);
        world.give(offer);
        world.settle();
        if crashes {
            world.restart(id(3));
        }
        world.wire.clear();
        world.pass(HEARTBEAT_TICKS);
        world.member(id(1)).transfer_leader(id(3));
        world.settle();
        world.pass(HEARTBEAT_TICKS);
        assert_eq!(world.leader(), Some(id(3)), "{kind:?}");
        assert_eq!(world.member(id(2)).last_index(), world.member(id(3)).last_index());
        world.assert_logs_match();
    }
}

#[test]
fn nothing_is_heeded_while_a_start_snapshot_is_being_written() {
    let mut world = left_behind(Kind::Partition);
    let offer = until_offered(&mut world, 3);
    let begins = offer.start.as_ref().expect("a start").start.prev_index;
    let (term, offsets) = (offer.term, world.member(id(3)).next_offset());
    assert_eq!(offsets, Offset(0));
    world.give(offer.clone());
    assert!(world.member(id(3)).is_restoring());
    let heartbeat = Message {
        kind: MessageKind::Heartbeat,
        term: Term(term.0 + 5),
        commit: Index(0),
        start: None,
        ..offer.clone()
    };
    world.give(heartbeat.clone());
    world.work(id(3));
    let write = world.replica(id(3)).writes[0].0.clone();
    let restored = write.restore.expect("the log is replaced");
    assert_eq!(restored.start.prev_index, begins);
    assert!(write.entries.is_empty());
    for _ in 0..4 * ELECTION_TICKS {
        world.member(id(3)).tick();
    }
    world.give(heartbeat.clone());
    world.give(offer);
    world.member(id(3)).campaign();
    world.member(id(3)).read_index(1);
    world.member(id(3)).unreachable(id(1));
    world.member(id(3)).compacted(Start::BOOTSTRAP);
    assert!(!world.member(id(3)).has_work() && world.member(id(3)).take_work().is_empty());
    assert_eq!(world.member(id(3)).term(), term);
    world.wire.clear();
    world.sync(id(3));
    assert_eq!(world.member(id(3)).applied_index(), begins);
    let answers: Vec<_> = world.wire.iter().map(|message| (message.kind, message.index)).collect();
    assert!(answers.contains(&(MessageKind::AppendResponse, begins)), "{answers:?}");
    world.give(heartbeat);
    assert_eq!(world.member(id(3)).term(), Term(term.0 + 5));
}

#[test]
fn a_crash_before_a_start_snapshot_is_durable_keeps_the_old_log() {
    let mut world = left_behind(Kind::Machine);
    let offer = until_offered(&mut world, 3);
    let before = world.disk(id(3)).log.clone();
    world.give(offer);
    world.work(id(3));
    world.restart(id(3));
    assert!(world.disk(id(3)).log == before);
    world.wire.clear();
    world.pass(4 * ELECTION_TICKS);
    assert_eq!(world.member(id(3)).last_index(), world.member(id(1)).last_index());
    world.assert_logs_match();
}

#[test]
fn a_lost_start_snapshot_is_sent_again() {
    let mut world = left_behind(Kind::Partition);
    let _lost = until_offered(&mut world, 3);
    world.pass(ELECTION_TICKS / 2);
    assert_eq!(world.disk(id(3)).last_index(), Index(2), "it is not repeated at once");
    world.pass(ELECTION_TICKS);
    assert_eq!(world.member(id(3)).last_index(), world.member(id(1)).last_index());

    // It is known to be lost: the next heartbeat's answer brings another one.
    let mut world = left_behind(Kind::Partition);
    let _lost = until_offered(&mut world, 3);
    world.member(id(1)).unreachable(id(3));
    world.pass(2 * HEARTBEAT_TICKS);
    assert_eq!(world.member(id(3)).last_index(), world.member(id(1)).last_index());
}

#[test]
fn a_start_snapshot_that_comes_while_a_write_is_in_flight_is_dropped_and_sent_again() {
    let mut world = left_behind(Kind::Partition);
    let offer = until_offered(&mut world, 3);
    // A vote is in flight.
    let vote = Message {
        kind: MessageKind::Vote,
        term: Term(offer.term.0 + 1),
        context: "CampaignTransfer".into(),
        index: Index(100),
        log_term: offer.term,
        start: None,
        ..offer.clone()
    };
    world.give(vote);
    world.work(id(3));
    assert_eq!(world.replica(id(3)).writes.len(), 1);
    let newer = Message { term: Term(offer.term.0 + 1), ..offer };
    world.give(newer);
    assert!(!world.member(id(3)).is_restoring());
    world.settle();
    world.pass(6 * ELECTION_TICKS);
    let leader = world.leader().expect("a leader");
    assert_eq!(world.member(id(3)).last_index(), world.member(leader).last_index());
}

#[test]
fn an_old_start_snapshot_changes_nothing_and_is_answered() {
    let mut world = left_behind(Kind::Partition);
    let offer = until_offered(&mut world, 3);
    world.give(offer.clone());
    world.settle();
    world.pass(2 * HEARTBEAT_TICKS);
    let last_index = world.member(id(3)).last_index();
    assert!(last_index > Index(12));
    world.give(offer);
    world.settle_one(id(3));
    assert!(!world.member(id(3)).is_restoring());
    assert_eq!(world.member(id(3)).last_index(), last_index);
    let answer = world.wire.last().expect("an answer");
    assert_eq!((answer.kind, answer.index), (MessageKind::AppendResponse, world.member(id(3)).commit()));
}

/// Replica 1 leads, reads for learner 4 what no voter has, loses it to another leader whose log it is given from a
/// start on, and leads again. Learner 4 then needs the same indexes, of which the old read knows what they held.
#[test]
fn a_read_from_before_a_restore_serves_nobody_after_it() {
    let mut world = World::with_learners(3, 1);
    world.limits.retained_bytes_max = 0;
    for replica in world.ids() {
        world.restart(replica);
    }
    world.elect(id(1));
    world.isolate(id(1));
    world.cuts.retain(|&(from, to)| from != id(4) && to != id(4));
    world.propose(id(1), &["lost 1", "lost 2"]);
    world.settle();
    world.isolate(id(4));
    world.propose(id(1), &["lost 3", "lost 4"]);
    world.settle();
    assert_eq!((world.disk(id(4)).last_index(), world.disk(id(1)).last_index()), (Index(4), Index(6)));
    // Recovered records have no payload in memory: as a leader again, replica 1 reads them from its disk.
    for replica in world.ids() {
        world.restart(replica);
    }
    world.cuts.clear();
    let is_kept_from_voters =
        |message: &Message| message.kind == MessageKind::Append && [id(2), id(3)].contains(&message.to);
    let is_it =
        |world: &mut World| world.replica(id(1)).reads.iter().any(|read| read.first_index == Index(5));
    for _ in 0..20 * ELECTION_TICKS {
        if is_it(&mut world) {
            break;
        }
        world.member(id(1)).tick();
        for replica in world.ids() {
            world.work(replica);
            world.sync_all(replica);
            world.work(replica);
        }
        for message in std::mem::take(&mut world.wire) {
            if !is_kept_from_voters(&message) {
                world.give(message);
            }
        }
    }
    let reads = std::mem::take(&mut world.replica(id(1)).reads);
    let old = *reads.iter().find(|read| read.first_index == Index(5)).expect("a read for the learner");
    let stale: Vec<_> = world.disk(id(1)).log[3..5].to_vec();
    assert_eq!(old.first_index, stale[0].index);

    world.isolate(id(1));
    world.isolate(id(4));
    world.pass(8 * ELECTION_TICKS);
    let leader = world.leader().expect("another leader");
    for value in ["a", "b", "c", "d"] {
        world.propose(leader, &[value]);
        world.settle();
        world.pass(HEARTBEAT_TICKS);
    }
    for replica in [id(2), id(3)] {
        world.trim(replica, Index(4));
    }
    world.cuts.clear();
    world.isolate(id(4));
    world.pass(4 * HEARTBEAT_TICKS);
    assert_eq!(world.disk(id(1)).start.prev_index, Index(4), "it was restored");
    world.member(leader).transfer_leader(id(1));
    world.settle();
    assert_eq!(world.leader(), Some(id(1)));

    world.cuts.clear();
    for _ in 0..8 * HEARTBEAT_TICKS {
        world.member(id(1)).tick();
        for replica in world.ids() {
            world.work(replica);
            world.sync_all(replica);
            world.work(replica);
        }
        // It probes with its newest entry first; the refusal tells it where to begin.
        if world.replica(id(1)).reads.first().is_some_and(|read| read.first_index != old.first_index) {
            world.serve_read(id(1));
        }
        for message in std::mem::take(&mut world.wire) {
            world.give(message);
        }
    }
    let new = world.replica(id(1)).reads[0];
    assert_eq!(new.first_index, old.first_index);
    assert_ne!(new.id, old.id);
    world.member(id(1)).entries_read(old.id, Ok(stale));
    world.settle();
    world.pass(8 * HEARTBEAT_TICKS);
    assert_eq!(world.member(id(4)).last_index(), world.member(id(1)).last_index());
    world.assert_logs_match();
    assert_eq!(world.values(id(4)), world.values(id(1)));
}

#[test]
fn a_lost_replica_is_replaced_by_a_new_one_that_begins_empty() {
    let mut world = left_behind(Kind::Partition);
    world.disk(id(3)).standing = Standing::Lost(LostReason::CorruptEnd);
    world.restart(id(3));
    world.add(id(4));
    world.change(id(1), &[1, 2, 3], &[4]);
    world.pass(2 * HEARTBEAT_TICKS);
    world.member(id(1)).propose_membership(&target(&[1, 2, 4], &[])).expect("it leads");
    world.settle();
    world.pass(HEARTBEAT_TICKS);
    world.member(id(1)).leave_joint().expect("it is joint");
    world.settle();
    assert_eq!(world.disk(id(3)).last_index(), Index(2), "who is lost takes nothing");
    world.crash(id(2));
    world.propose(id(1), &["with the new one"]);
    world.settle();
    assert_eq!(world.values(id(1)).last().map(String::as_str), Some("with the new one"));
}
