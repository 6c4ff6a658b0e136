//! What a start snapshot says, to whom it is offered, and when it is refused.

use crate::members::target;
use crate::start_snapshots::{left_behind, until_offered};
use crate::world::{World, id};
use mq_raft::{ELECTION_TICKS, Kind, Malformation, StepError};
use mq_types::message::MessageKind;
use mq_types::persist::StartSnapshot;
use mq_types::{Index, Message, Term};

#[test]
fn a_start_snapshot_that_no_leader_would_send_is_refused() {
    type Breaks = fn(&mut StartSnapshot);
    let breaks: [(&str, Breaks, Malformation); 10] = [
        ("an image for a partition", |it| it.machine = Some("image".into()), Malformation::Start),
        ("at the beginning of time", |it| it.start.prev_index = Index(0), Malformation::Start),
        ("of no term", |it| it.start.prev_term = Term(0), Malformation::Start),
        ("of a term yet to come", |it| it.start.prev_term = Term(99), Malformation::Start),
        ("kept before it begins", |it| it.start.base_offset.0 += 1, Malformation::Start),
        ("without this replica", |it| it.membership.voters.retain(|it| *it != id(3)), Malformation::Members),
        ("without a voter", |it| it.membership.voters.clear(), Malformation::Members),
        ("a voter that learns", |it| it.membership.learners.push(id(1)), Malformation::Members),
        ("nobody among the voters", |it| it.membership.voters.push(id(0)), Malformation::Members),
        ("to be left by nobody", |it| it.membership.auto_leave = true, Malformation::Members),
    ];
    let mut world = left_behind(Kind::Partition);
    let offer = until_offered(&mut world, 3);
    for (what, break_it, malformation) in breaks {
        let mut broken = offer.clone();
        break_it(broken.start.as_mut().expect("a start"));
        let refused = world.member(id(3)).step(broken);
        assert_eq!(refused, Err(StepError::Malformed { from: id(1), malformation }), "{what}");
    }
    let none = Message { start: None, ..offer.clone() };
    let misplaced = Message { kind: MessageKind::Heartbeat, ..offer };
    for broken in [none, misplaced] {
        let refused = world.member(id(3)).step(broken);
        let malformation = Malformation::Start;
        assert_eq!(refused, Err(StepError::Malformed { from: id(1), malformation }));
    }
    assert_eq!(world.member(id(3)).last_index(), Index(2));
}

#[test]
fn a_machine_without_its_image_is_not_restored() {
    let mut world = left_behind(Kind::Machine);
    let mut offer = until_offered(&mut world, 3);
    offer.start.as_mut().expect("a start").machine = None;
    let refused = world.member(id(3)).step(offer);
    let malformation = Malformation::Start;
    assert_eq!(refused, Err(StepError::Malformed { from: id(1), malformation }));
}

#[test]
fn a_start_snapshot_tells_of_the_members_as_they_are_now() {
    let mut world = left_behind(Kind::Partition);
    world.isolate(id(3));
    world.change(id(1), &[1, 3], &[]);
    world.cuts.clear();
    let offer = until_offered(&mut world, 3);
    let start = offer.start.as_ref().expect("a start");
    assert_eq!(start.membership.voters, [id(1), id(3)]);
    assert!(start.membership.conf_index > start.start.prev_index);
    world.give(offer);
    world.settle();
    assert_eq!(world.member(id(3)).membership().voters, [id(1), id(3)]);
    // Its log is behind its members when it is opened again.
    world.restart(id(3));
    assert_eq!(world.member(id(3)).membership().voters, [id(1), id(3)]);
    world.pass(4 * ELECTION_TICKS);
    assert!(world.leader().is_some());
    world.assert_logs_match();
}

/// Its image is as of an entry that is not the last one, and that no peer needs in memory any more.
#[test]
fn a_machine_knows_when_the_last_entry_of_its_image_was_appended() {
    let mut world = World::new(3);
    world.kind = Kind::Machine;
    world.leave_last_behind();
    let last = world.disk(id(1)).entry(Index(12)).expect("it is there").meta();
    world.store_snapshot(id(1), Index(12));
    world.trim(id(1), Index(12));
    world.cuts.clear();
    // The same image after a restart, when there is nothing but the log to tell.
    for restarts in [false, true] {
        if restarts {
            world.restart(id(1));
            world.isolate(id(3));
            world.pass(4 * ELECTION_TICKS);
            let leader = world.leader().expect("a leader");
            world.member(leader).transfer_leader(id(1));
            world.settle();
            world.cuts.clear();
        }
        assert_eq!(world.leader(), Some(id(1)));
        let offered = until_offered(&mut world, 3).start.expect("a start").start;
        assert_eq!((offered.prev_index, offered.prev_term), (last.index, last.term));
        assert_eq!(offered.prev_appended_at_ms, last.appended_at_ms);
    }
}

#[test]
fn who_was_just_removed_is_given_no_start() {
    let mut world = left_behind(Kind::Partition);
    world.isolate(id(3));
    world.add(id(4));
    world.isolate(id(4));
    world.change(id(1), &[1, 2, 3], &[4]);
    world.records_at_once = false;
    world.member(id(1)).propose_membership(&target(&[1, 2, 3], &[])).expect("it leads");
    world.settle();
    let refusal = Message {
        quorum: crate::world::QUORUM,
        from: id(4),
        to: id(1),
        kind: MessageKind::AppendResponse,
        term: world.member(id(1)).term(),
        index: world.member(id(1)).last_index().previous().previous(),
        log_term: Term(0),
        commit: Index(0),
        commit_term: Term(0),
        entries: Vec::new(),
        reject: true,
        reject_hint: Index(0),
        context: Default::default(),
        priority: 0,
        start: None,
    };
    for asks in [true, false] {
        world.wire.clear();
        assert_eq!(world.member(id(1)).step(refusal.clone()).is_ok(), asks);
        world.record(id(1));
        world.work(id(1));
        assert!(world.wire.iter().all(|message| message.kind != MessageKind::Snapshot));
    }
}
