//! Messages that must never reach the Raft library.

use crate::world::{QUORUM, World, id};
use mq_raft::{HEARTBEAT_TICKS, Malformation, StepError};
use mq_types::message::MessageKind;
use mq_types::persist::{Start, StartSnapshot};
use mq_types::{Entry, Index, Message, Offset, QuorumId, ReplicaId, Term};

fn message(kind: MessageKind, from: ReplicaId, to: ReplicaId, term: Term) -> Message {
    Message {
        quorum: QUORUM,
        from,
        to,
        kind,
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

/// A quorum of three led by replica 1, and an append of two entries that it sends to replica 2.
fn append() -> (World, Message) {
    let mut world = World::new(3);
    world.elect(id(1));
    world.propose(id(1), &["a", "b"]);
    world.work(id(1));
    let append = world.wire.iter().find(|message| message.to == id(2)).cloned().expect("an append");
    assert_eq!((append.kind, append.entries.len()), (MessageKind::Append, 2));
    (world, append)
}

#[test]
fn what_is_for_another_replica_or_quorum_is_refused() {
    let (mut world, append) = append();
    let astray = Message { to: id(3), ..append.clone() };
    let refused = world.member(id(2)).step(astray);
    assert_eq!(refused, Err(StepError::OtherAddressee { to: id(3), quorum: QUORUM }));
    let astray = Message { quorum: QuorumId(0), ..append };
    let refused = world.member(id(2)).step(astray);
    assert_eq!(refused, Err(StepError::OtherAddressee { to: id(2), quorum: QuorumId(0) }));
    assert_eq!(world.member(id(2)).last_index(), Index(2));
}

#[test]
fn a_stranger_may_lead_but_not_answer() {
    let (mut world, append) = append();
    let refused = world.member(id(1)).step(message(MessageKind::AppendResponse, id(9), id(1), append.term));
    assert_eq!(refused, Err(StepError::UnknownMember { from: id(9) }));

    // Replica 2 lags: the quorum has moved on to members that it has not heard of.
    let newer = Message { from: id(9), term: Term(append.term.0 + 1), ..append };
    assert_eq!(world.member(id(2)).step(newer), Ok(()));
    assert_eq!(world.member(id(2)).leader(), Some(id(9)));
    assert_eq!(world.member(id(2)).last_index(), Index(4));
}

#[test]
fn entries_that_do_not_go_on_from_each_other_are_refused() {
    type Breaks = fn(&mut [Entry]);
    let breaks: [(&str, Breaks, Index); 6] = [
        ("a gap", |entries| entries[1].index = Index(9), Index(9)),
        ("not after the index before", |entries| entries[0].index = Index(9), Index(9)),
        ("a falling term", |entries| entries[1].term = Term(1), Index(4)),
        ("a term yet to come", |entries| entries[1].term = Term(99), Index(4)),
        ("an offset that is not the stamp's", |entries| entries[1].base_offset = Offset(7), Index(4)),
        ("a falling time", |entries| entries[1].appended_at_ms = 1, Index(4)),
    ];
    for (what, break_it, index) in breaks {
        let (mut world, mut append) = append();
        break_it(&mut append.entries);
        let refused = world.member(id(2)).step(append);
        let malformed = StepError::Malformed { from: id(1), malformation: Malformation::Entry(index) };
        assert_eq!(refused, Err(malformed), "{what}");
        assert_eq!(world.member(id(2)).last_index(), Index(2), "{what}");
    }
}

#[test]
fn offsets_that_leave_a_gap_between_entries_are_refused() {
    let (mut world, mut append) = append();
    let second = &mut append.entries[1];
    second.base_offset = Offset(2);
    let mq_types::Body::Data(batch) = &mut second.body else { panic!("data") };
    batch.stamp(Offset(2), second.term);
    let refused = world.member(id(2)).step(append);
    let malformed = StepError::Malformed { from: id(1), malformation: Malformation::Entry(Index(4)) };
    assert_eq!(refused, Err(malformed));
}

#[test]
fn entries_that_do_not_go_on_from_the_log_are_refused() {
    let (mut world, mut append) = append();
    for entry in &mut append.entries {
        entry.base_offset = entry.base_offset.plus(5);
        let mq_types::Body::Data(batch) = &mut entry.body else { panic!("data") };
        batch.stamp(entry.base_offset, entry.term);
    }
    let refused = world.member(id(2)).step(append);
    let malformation = Malformation::Entry(Index(3));
    assert_eq!(refused, Err(StepError::Malformed { from: id(1), malformation }));

    world.settle();
    world.propose(id(1), &["c"]);
    world.work(id(1));
    let mut append = world.wire.iter().find(|message| message.to == id(2)).cloned().expect("an append");
    append.entries[0].appended_at_ms = 1;
    let refused = world.member(id(2)).step(append.clone());
    let malformation = Malformation::Entry(Index(5));
    assert_eq!(refused, Err(StepError::Malformed { from: id(1), malformation }));

    // What is here already may come again, and what is new goes on from the last of it.
    append.entries[0].appended_at_ms = 1_001_000;
    world.member(id(2)).step(append.clone()).expect("it goes on");
    let mut again = append.entries[0].clone();
    (again.index, again.appended_at_ms) = (Index(6), 1_000_999);
    again.base_offset = again.base_offset.plus(1);
    let mq_types::Body::Data(batch) = &mut again.body else { panic!("data") };
    batch.stamp(again.base_offset, again.term);
    let late = Message { index: Index(5), log_term: append.term, entries: vec![again], ..append };
    let refused = world.member(id(2)).step(late);
    let malformation = Malformation::Entry(Index(6));
    assert_eq!(refused, Err(StepError::Malformed { from: id(1), malformation }), "not even handed out yet");
}

/// Had they been appended and committed, nobody could say who the members are.
#[test]
fn changes_that_these_members_cannot_make_are_refused() {
    // Of the library's form: the transition (field 1: 1 leaves the joint configuration by itself), and changes (field 2)
    // of a kind (field 1: 0 adds a voter, 1 removes one) and a replica (field 2).
    let cases: [(&str, &[u8], bool); 5] = [
        ("to leave what is not joint", &[], false),
        ("two at once without an order to leave", &[18, 4, 8, 1, 16, 2, 18, 4, 8, 1, 16, 3], false),
        (
            "to leave the joint configuration by itself",
            &[8, 1, 18, 4, 8, 1, 16, 2, 18, 4, 8, 0, 16, 9],
            false,
        ),
        ("nobody is left", &[8, 2, 18, 4, 8, 1, 16, 1, 18, 4, 8, 1, 16, 2, 18, 4, 8, 1, 16, 3], false),
        ("one goes", &[18, 4, 8, 1, 16, 3], true),
    ];
    for (what, change, is_taken) in cases {
        let (mut world, mut append) = append();
        append.entries.truncate(1);
        append.entries[0].body = mq_types::Body::Membership(bytes::Bytes::copy_from_slice(change));
        let malformed = StepError::Malformed { from: id(1), malformation: Malformation::Entry(Index(3)) };
        let expected = if is_taken { Ok(()) } else { Err(malformed) };
        assert_eq!(world.member(id(2)).step(append), expected, "{what}");
        assert_eq!(world.member(id(2)).last_index() == Index(3), is_taken, "{what}");
    }
}

/// What was committed here would be taken back, or its offsets given away twice.
#[test]
fn a_start_that_takes_back_what_is_committed_is_refused() {
    let (mut world, append) = append();
    world.settle();
    world.pass(HEARTBEAT_TICKS);
    assert_eq!(world.member(id(2)).commit(), Index(4));
    let term = Term(append.term.0 + 1);
    let good = Start {
        prev_index: Index(9),
        prev_term: append.term,
        prev_appended_at_ms: 2_000,
        base_offset: Offset(2),
        log_start: Offset(2),
    };
    let cases = [
        Start { prev_index: Index(4), prev_term: term, ..good },
        Start { prev_term: Term(1), ..good },
        Start { base_offset: Offset(1), ..good },
    ];
    let membership = world.member(id(2)).membership().clone();
    let offer = |start: Start| {
        let offered = StartSnapshot { start, membership: membership.clone(), machine: None };
        Message { start: Some(Box::new(offered)), ..message(MessageKind::Snapshot, id(1), id(2), term) }
    };
    for start in cases {
        let refused = world.member(id(2)).step(offer(start));
        assert_eq!(refused, Err(StepError::Malformed { from: id(1), malformation: Malformation::Start }));
        assert!(!world.member(id(2)).is_restoring());
    }
    assert_eq!(world.member(id(2)).step(offer(good)), Ok(()));
    assert!(world.member(id(2)).is_restoring());
}

#[test]
fn a_vote_that_was_not_asked_for_yet_is_refused() {
    let (mut world, append) = append();
    let term = Term(append.term.0 + 1);
    world.member(id(2)).step(append.clone()).expect("it goes on");
    world.work(id(2));
    let hand_over = message(MessageKind::TimeoutNow, id(1), id(2), append.term);
    world.member(id(2)).step(hand_over).expect("the leader says so");
    let vote = message(MessageKind::VoteResponse, id(3), id(2), term);
    let refused = world.member(id(2)).step(vote);
    let malformation = Malformation::NotAsked;
    assert_eq!(refused, Err(StepError::Malformed { from: id(3), malformation }), "the append is in flight");
    world.settle();
    assert_eq!(world.leader(), Some(id(2)), "once it has asked");
}

#[test]
fn what_breaks_the_form_is_refused() {
    let (mut world, append) = append();
    let read = message(MessageKind::ReadIndex, id(1), id(2), Term(0));
    let entries = append.entries.clone();
    let cases = [
        (message(MessageKind::Heartbeat, id(1), id(2), Term(0)), Malformation::Term),
        (Message { term: Term(2), ..read.clone() }, Malformation::Term),
        (
            Message { entries, ..message(MessageKind::Heartbeat, id(1), id(2), Term(2)) },
            Malformation::Entries,
        ),
        (read, Malformation::Context),
        (message(MessageKind::Vote, id(1), id(2), Term(u64::MAX)), Malformation::Number(u64::MAX)),
        (
            Message { index: Index(1 << 63), ..message(MessageKind::Append, id(1), id(2), Term(2)) },
            Malformation::Number(1 << 63),
        ),
    ];
    for (broken, malformation) in cases {
        let refused = world.member(id(2)).step(broken);
        assert_eq!(refused, Err(StepError::Malformed { from: id(1), malformation }));
    }
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_refused() {
    let (mut world, append) = append();
    for reject in [false, true] {
        let mut answer = message(MessageKind::AppendResponse, id(2), id(1), append.term);
        answer.reject = reject;
        answer.index = Index(3);
        answer.reject_hint = Index(3);
        let field = if reject { &mut answer.reject_hint } else { &mut answer.index };
        *field = Index(5);
        let refused = world.member(id(1)).step(answer);
        let malformation = Malformation::NeverSent(Index(5));
        assert_eq!(refused, Err(StepError::Malformed { from: id(2), malformation }));
    }
    assert_eq!(world.member(id(1)).commit(), Index(2));
}

#[test]
fn a_muted_member_still_tells_that_it_lost_acknowledged_entries() {
    let mut world = World::new(3);
    world.elect(id(1));
    world.disk(id(2)).opened = false;
    world.disk(id(2)).log.clear();
    world.disk(id(2)).commit = Index(1);
    world.restart(id(2));
    for _ in 0..HEARTBEAT_TICKS {
        world.member(id(1)).tick();
    }
    world.work(id(1));
    let proof = world.wire.iter().find(|message| message.to == id(2)).cloned().expect("a heartbeat");
    let refused = world.member(id(2)).step(proof);
    assert_eq!(
        refused,
        Err(StepError::ShorterThanAcknowledged { acknowledged: Index(2), last_index: Index(1) })
    );
}
