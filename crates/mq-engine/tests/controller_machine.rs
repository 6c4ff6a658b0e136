//! The controller as the engine drives it: entries in, answers and snapshots out.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use bytes::Bytes;
use mq_engine::api::{Error, Outcome, Reply as ApiReply};
use mq_engine::controller::{
    BrokerInfo, Command, Controller, DecodeError, Image, Options, RecoverError, Reply,
};
use mq_engine::{RequestId, api};
use mq_types::persist::Snapshot;
use mq_types::{BrokerId, EntryKind, EntryMeta, Index, Offset, Term, TopicId};
use std::collections::BTreeMap;

const HOUR_MS: i64 = 3_600_000;

fn options() -> Options {
    Options { snapshot_interval_entries: 5, trash_grace_ms: HOUR_MS as u64, ..Options::default() }
}

fn meta(kind: EntryKind, index: u64, term: u64, appended_at_ms: i64) -> EntryMeta {
    EntryMeta { kind, index: Index(index), term: Term(term), span: 0, base_offset: Offset(0), appended_at_ms }
}

/// A controller and the index of its last entry.
struct Log {
    controller: Controller,
    last: u64,
}

impl Log {
    /// One broker is registered.
    fn new() -> Log {
        let controller = Controller::recover(&Controller::first_snapshot(), options()).unwrap();
        let mut log = Log { controller, last: 1 };
        let register = Command::RegisterBroker { broker: BrokerId(1), info: BrokerInfo::default() };
        assert!(log.apply(&register, 1, 0).is_none());
        log
    }

    fn apply(&mut self, command: &Command, term: u64, at_ms: i64) -> Option<(RequestId, Outcome)> {
        self.last += 1;
        self.controller.apply(&meta(EntryKind::Command, self.last, term, at_ms), &command.encode())
    }

    fn no_op(&mut self, term: u64) -> Option<(RequestId, Outcome)> {
        self.last += 1;
        self.controller.apply(&meta(EntryKind::NoOp, self.last, term, 0), &Bytes::new())
    }

    /// As if this request's command stood `ahead` entries after the last applied one.
    fn proposed(&mut self, id: u64, ahead: u64, term: u64) {
        self.controller.proposed(RequestId(id), Index(self.last + ahead), Term(term));
    }
}

fn topic_id(n: u8) -> TopicId {
    TopicId([n; 16])
}

fn create(n: u8) -> Command {
    let placement = vec![vec![BrokerId(1)]];
    let (topic_id, name) = (topic_id(n), format!("topic-{n}"));
    Command::CreateTopic { topic_id, name, configs: BTreeMap::new(), placement }
}

fn delete(n: u8) -> Command {
    Command::DeleteTopic { topic_id: topic_id(n) }
}

fn purge_since(n: u8, deleted_at_ms: i64) -> Command {
    Command::PurgeTopic { topic_id: topic_id(n), in_trash_since_ms: Some(deleted_at_ms) }
}

fn purge(n: u8) -> Command {
    purge_since(n, 0)
}

#[track_caller]
fn failed(answer: Option<(RequestId, Outcome)>) -> (u64, Error) {
    match answer {
        Some((RequestId(id), Err(error))) => (id, error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_answered_when_its_command_is_applied() {
    let mut log = Log::new();
    log.proposed(7, 1, 1);
    log.proposed(8, 2, 1);
    let Some((RequestId(7), Ok(ApiReply::Controller(Reply::Topic(topic))))) = log.apply(&create(1), 1, 0)
    else {
        panic!("request 7 created a topic")
    };
    assert_eq!(log.controller.image().topic("topic-1"), Some(&topic));
    let answer = log.apply(&delete(1), 1, 0);
    assert!(matches!(answer, Some((RequestId(8), Ok(ApiReply::Controller(Reply::Deleted))))), "{answer:?}");
    assert!(log.apply(&create(2), 1, 0).is_none(), "nobody waits for that one");
}

#[test]
fn a_refused_command_is_answered_with_the_reason() {
    let mut log = Log::new();
    log.apply(&create(1), 1, 0);
    log.proposed(7, 1, 1);
    let Command::CreateTopic { name, configs, placement, .. } = create(1) else { unreachable!() };
    let namesake = Command::CreateTopic { topic_id: topic_id(2), name, configs, placement };
    let error = Error::TopicExists { topic: "topic-1".to_owned(), topic_id: topic_id(1) };
    assert_eq!(failed(log.apply(&namesake, 1, 0)), (7, error));
}

#[test]
fn of_two_that_add_partitions_at_once_the_smaller_is_told_to_try_again_or_that_it_is_too_late() {
    let add = |count: usize| Command::AddPartitions {
        topic_id: topic_id(1),
        first_partition: 1,
        placement: vec![vec![BrokerId(1)]; count],
    };
    let mut log = Log::new();
    log.apply(&create(1), 1, 0);
    log.apply(&add(2), 1, 0);
    log.proposed(7, 1, 1);
    let (id, error) = failed(log.apply(&add(3), 1, 0));
    assert_eq!(id, 7);
    assert!(error.code().retriable(), "3 partitions are not yet the 4 that it wanted: {error}");
    log.proposed(8, 1, 1);
    assert!(matches!(failed(log.apply(&add(1), 1, 0)), (8, Error::InvalidRequest { .. })));
    log.proposed(9, 1, 1);
    let answer = log.apply(&add(2), 1, 0);
    assert!(matches!(answer, Some((RequestId(9), Ok(_)))), "the topic has what it wanted: {answer:?}");
}

#[test]
fn another_term_at_its_index_means_that_it_was_not_appended() {
    for entry in [EntryKind::Command, EntryKind::NoOp] {
        let mut log = Log::new();
        log.proposed(7, 1, 1);
        let answer = if entry == EntryKind::Command { log.apply(&create(1), 2, 0) } else { log.no_op(2) };
        let (id, error) = failed(answer);
        assert_eq!(id, 7);
        assert!(error.code().retriable(), "{error}");
        assert_ne!(error.code(), mq_types::error_code::ErrorCode::OutcomeUnknown);
    }
}

#[test]
fn what_is_in_flight_when_leadership_is_lost_is_unknown_and_answered_once() {
    let mut log = Log::new();
    log.proposed(7, 1, 1);
    log.proposed(8, 2, 1);
    let lost = log.controller.leadership_lost();
    let ids: Vec<u64> = lost.iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [7, 8]);
    assert!(lost.iter().all(|(_, outcome)| matches!(outcome, Err(Error::OutcomeUnknown { .. }))));
    assert!(log.controller.leadership_lost().is_empty());
    assert!(log.apply(&create(1), 1, 0).is_none(), "it was committed all the same");
    assert!(log.controller.image().topic("topic-1").is_some());
}

#[test]
fn a_topic_is_purged_when_its_grace_is_over_and_not_earlier() {
    let mut log = Log::new();
    log.apply(&create(1), 1, 0);
    log.apply(&create(2), 1, 0);
    assert!(log.controller.tick(i64::MAX).is_empty(), "the trash is empty");
    log.apply(&delete(1), 1, 1_000);
    assert!(log.controller.tick(1_000 + HOUR_MS - 1).is_empty());
    assert_eq!(log.controller.tick(1_000 + HOUR_MS), [purge_since(1, 1_000)]);
}

#[test]
fn a_purge_in_flight_is_not_proposed_again_at_once() {
    let mut log = Log::new();
    log.apply(&create(1), 1, 0);
    log.apply(&delete(1), 1, 0);
    assert_eq!(log.controller.tick(HOUR_MS), [purge(1)]);
    assert!(log.controller.tick(HOUR_MS + 9_999).is_empty());
    assert_eq!(log.controller.tick(HOUR_MS + 10_000), [purge(1)], "it may never have been appended");
    log.controller.leadership_lost();
    assert_eq!(log.controller.tick(HOUR_MS + 10_001), [purge(1)], "a new leadership begins anew");
    log.apply(&purge(1), 1, 0);
    assert!(log.controller.tick(2 * HOUR_MS).is_empty(), "it is gone");
}

#[test]
fn a_topic_that_is_restored_before_its_purge_is_applied_stays() {
    let mut log = Log::new();
    log.apply(&create(1), 1, 0);
    log.apply(&delete(1), 1, 0);
    let purges = log.controller.tick(HOUR_MS);
    log.apply(&Command::RestoreTopic { topic_id: topic_id(1) }, 1, HOUR_MS);
    log.apply(&purges[0], 1, HOUR_MS);
    assert!(log.controller.image().topic("topic-1").is_some());

    log.apply(&delete(1), 1, HOUR_MS);
    log.proposed(7, 2, 1);
    log.apply(&Command::RestoreTopic { topic_id: topic_id(1) }, 1, HOUR_MS);
    let (id, error) = failed(log.apply(&purge_since(1, HOUR_MS), 1, HOUR_MS));
    assert_eq!(id, 7);
    let message = error.to_string();
    assert!(message.contains("not in the trash") && message.contains("topic-1"), "{message}");
}

#[test]
fn a_large_trash_is_emptied_in_portions() {
    let mut log = Log::new();
    for n in 0..40 {
        log.apply(&create(n), 1, 0);
        log.apply(&delete(n), 1, 0);
    }
    let portions: Vec<usize> = (0..4).map(|_| log.controller.tick(HOUR_MS).len()).collect();
    assert_eq!(portions, [16, 16, 8, 0]);
}

#[test]
fn a_snapshot_is_due_after_so_many_entries_of_any_kind() {
    let mut log = Log::new();
    let mut taken = Vec::new();
    for n in 0..10 {
        if n % 2 == 0 {
            log.apply(&create(n), 1, 0);
        } else {
            log.no_op(1);
        }
        let applied = Index(log.last);
        if let Some(snapshot) = log.controller.take_snapshot_if_due(applied) {
            assert_eq!(snapshot.index, applied);
            assert_eq!(Image::decode(&snapshot.data).as_ref(), Ok(&**log.controller.image()));
            taken.push(applied.0);
        }
    }
    assert_eq!(taken, [6, 11], "five entries after index 1, and again");
}

#[test]
fn a_controller_goes_on_from_its_snapshot() {
    let mut log = Log::new();
    for n in 0..4 {
        log.apply(&create(n), 1, 0);
    }
    let snapshot = log.controller.take_snapshot_if_due(Index(log.last)).unwrap();
    let mut again = Log { controller: Controller::recover(&snapshot, options()).unwrap(), last: log.last };
    assert_eq!(again.controller.image(), log.controller.image());
    for log in [&mut log, &mut again] {
        log.apply(&delete(1), 2, 5);
        log.apply(&create(9), 2, 6);
    }
    assert_eq!(again.controller.image(), log.controller.image());
    assert!(again.controller.take_snapshot_if_due(Index(again.last)).is_none(), "the interval begins anew");
}

#[test]
fn a_snapshot_that_is_not_an_image_is_refused() {
    let garbage = Snapshot { index: Index(5), data: Bytes::new() };
    let error = Controller::recover(&garbage, options()).unwrap_err();
    let version = DecodeError::Version { found: 0 };
    assert_eq!(error, RecoverError::Decode { index: Index(5), error: version });

    let image = Image { revision: Index(6), ..Image::default() };
    let early = Snapshot { index: Index(5), data: image.encode() };
    let error = Controller::recover(&early, options()).unwrap_err();
    assert_eq!(error, RecoverError::FromTheFuture { index: Index(5), revision: Index(6) });
}

#[test]
fn an_image_that_others_hold_stays_as_it_is() {
    let mut log = Log::new();
    let held = log.controller.image().clone();
    log.apply(&create(1), 1, 0);
    assert!(held.topics.is_empty());
    assert_eq!(log.controller.image().topics.len(), 1);
}

#[test]
#[should_panic(expected = "the committed command at index 3 cannot be read")]
fn a_committed_command_that_cannot_be_read_stops_the_broker() {
    let mut log = Log::new();
    let _: Option<(RequestId, api::Outcome)> =
        log.controller.apply(&meta(EntryKind::Command, 3, 1, 0), &Bytes::from_static(b"\xff"));
}

#[test]
#[should_panic(expected = "no entry was left out before 4")]
fn an_entry_that_somebody_waits_for_is_not_left_out() {
    let mut log = Log::new();
    log.proposed(7, 1, 1);
    log.last += 1;
    log.apply(&create(1), 1, 0);
}
