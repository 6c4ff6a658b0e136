//! What goes into a round, and what waits for room.

use super::{Backlog, Numbered};
use mq_engine::WriteNumber;
use mq_types::persist::{ReplicaWrite, Vote};
use mq_types::{Body, BrokerId, Entry, Index, Offset, QuorumId, ReplicaId, Term};

fn write(quorum: u64, number: u64) -> Numbered {
    let replica = ReplicaId::new(BrokerId(1), 1);
    Numbered { number: WriteNumber(number), write: Box::new(ReplicaWrite::new(QuorumId(quorum), replica)) }
}

fn entry(quorum: u64, number: u64, index: u64) -> Numbered {
    let entry = Entry {
        index: Index(index),
        term: Term(1),
        base_offset: Offset(0),
        appended_at_ms: 0,
        body: Body::NoOp,
    };
    let mut numbered = write(quorum, number);
    numbered.write.entries.push(entry);
    numbered
}

fn names(round: &[Numbered]) -> Vec<(u64, u64)> {
    round.iter().map(|part| (part.write.quorum.0, part.number.0)).collect()
}

#[test]
fn a_round_takes_everything_that_waits_and_bears_the_highest_number_of_each_quorum() {
    let mut backlog = Backlog::default();
    [entry(1, 1, 2), entry(2, 1, 2), entry(1, 2, 3)].into_iter().for_each(|write| backlog.push(write));
    [entry(1, 3, 4)].into_iter().for_each(|write| backlog.push(write));
    let round = backlog.next_round();
    assert_eq!(names(&round), [(1, 3), (2, 1)]);
    let indexes: Vec<u64> = round[0].write.entries.iter().map(|entry| entry.index.0).collect();
    assert_eq!(indexes, [2, 3, 4]);
    assert!(backlog.next_round().is_empty());
}

#[test]
fn what_cannot_merge_begins_the_next_round_and_nothing_of_its_quorum_overtakes_it() {
    let mut backlog = Backlog::default();
    let mut roll = entry(1, 2, 3);
    roll.write.roll = true;
    [entry(1, 1, 2), roll, entry(1, 3, 4), entry(2, 1, 2)].into_iter().for_each(|write| backlog.push(write));
    assert_eq!(names(&backlog.next_round()), [(1, 1), (2, 1)]);
    assert_eq!(names(&backlog.next_round()), [(1, 2)]);
    assert_eq!(names(&backlog.next_round()), [(1, 3)]);
    assert!(backlog.next_round().is_empty());
}

#[test]
fn another_replica_of_a_quorum_begins_the_next_round() {
    let mut backlog = Backlog::default();
    let mut successor = write(1, 2);
    successor.write.replica = ReplicaId::new(BrokerId(1), 2);
    [write(1, 1), successor].into_iter().for_each(|write| backlog.push(write));
    assert_eq!(names(&backlog.next_round()), [(1, 1)]);
    assert_eq!(names(&backlog.next_round()), [(1, 2)]);
}

#[test]
fn a_write_without_room_holds_back_its_own_quorum_and_no_other() {
    let mut backlog = Backlog::default();
    let mut roll = entry(1, 2, 3);
    roll.write.roll = true;
    [entry(1, 1, 2), roll].into_iter().for_each(|write| backlog.push(write));
    let refused = backlog.next_round().remove(0);
    backlog.hold(refused);
    let mut vote = write(2, 1);
    vote.write.vote = Some(Vote { term: Term(2), voted_for: None });
    [entry(1, 3, 4), vote].into_iter().for_each(|write| backlog.push(write));
    assert_eq!(names(&backlog.next_round()), [(2, 1)]);
    assert!(backlog.next_round().is_empty());

    backlog.retry();
    assert_eq!(names(&backlog.next_round()), [(1, 1)]);
    assert_eq!(names(&backlog.next_round()), [(1, 2)]);
    assert_eq!(names(&backlog.next_round()), [(1, 3)]);
}

#[test]
fn the_removal_of_a_replica_does_not_wait_for_the_room_that_its_records_wanted() {
    let mut backlog = Backlog::default();
    [entry(1, 1, 2)].into_iter().for_each(|write| backlog.push(write));
    let refused = backlog.next_round().remove(0);
    backlog.hold(refused);
    let mut removal = write(1, 2);
    removal.write.remove = true;
    [removal].into_iter().for_each(|write| backlog.push(write));
    assert_eq!(names(&backlog.next_round()), [(1, 2)]);
    backlog.retry();
    assert!(backlog.next_round().is_empty());
}
