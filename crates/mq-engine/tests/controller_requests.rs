//! What clients' requests come to: a command, an answer at once, or a reason why not.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use bytes::Bytes;
use mq_engine::api::Error;
use mq_engine::controller::{BrokerInfo, Command, Controller, Options, Planned, Reply, Request};
use mq_types::{BrokerId, EntryKind, EntryMeta, Index, Offset, Term, TopicId};
use std::collections::BTreeMap;

const NOW_MS: i64 = 1_700_000_000_000;

fn id(n: u8) -> TopicId {
    TopicId([n; 16])
}

fn options() -> Options {
    Options {
        partitions_default_count: 3,
        partitions_per_topic_max: 10,
        partitions_per_cluster_max: 15,
        request_bytes_max: 4 << 20,
        ..Options::default()
    }
}

fn apply(controller: &mut Controller, command: &Command) {
    let meta = EntryMeta {
        kind: EntryKind::Command,
        index: controller.image().revision.next().max(Index(2)),
        term: Term(1),
        span: 0,
        base_offset: Offset(0),
        appended_at_ms: NOW_MS,
    };
    assert!(controller.apply(&meta, &command.encode()).is_none(), "nobody waits");
}

/// A controller of one broker, with topic 1 "live" of two partitions and topic 2 "gone" in the trash.
fn controller() -> Controller {
    let mut controller = Controller::recover(&Controller::first_snapshot(), options()).unwrap();
    apply(&mut controller, &Command::RegisterBroker { broker: BrokerId(1), info: BrokerInfo::default() });
    for (n, name) in [(1, "live"), (2, "gone")] {
        let configs = BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]);
        let placement = vec![vec![BrokerId(1)]; 2];
        let create = Command::CreateTopic { topic_id: id(n), name: name.to_owned(), configs, placement };
        apply(&mut controller, &create);
    }
    apply(&mut controller, &Command::DeleteTopic { topic_id: id(2) });
    controller
}

fn plan(request: Request) -> Result<Planned, Error> {
    let controller = controller();
    let before = controller.image().clone();
    let planned = controller.plan(NOW_MS, request);
    assert_eq!(*controller.image(), before, "planning changes nothing");
    planned
}

#[track_caller]
fn command(request: Request) -> Command {
    match plan(request) {
        Ok(Planned::Command(command)) => command,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn answer(request: Request) -> Reply {
    match plan(request) {
        Ok(Planned::Answer(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

/// The field that is at fault, and what is said about it.
#[track_caller]
fn invalid(request: Request) -> (&'static str, String) {
    match plan(request) {
        Err(Error::InvalidRequest { field, problem }) => (field, problem),
        other => panic!("{other:?}"),
    }
}

fn create(name: &str) -> Request {
    Request::CreateTopic {
        name: name.to_owned(),
        topic_id: id(9),
        partition_count: None,
        replication_factor: None,
        configs: BTreeMap::new(),
        validate_only: false,
    }
}

/// `create("new")` with one thing changed.
fn create_with(
    partitions: Option<u32>,
    replicas: Option<u32>,
    config: Option<(&str, &str)>,
    check: bool,
) -> Request {
    let Request::CreateTopic { name, topic_id, .. } = create("new") else { unreachable!() };
    Request::CreateTopic {
        name,
        topic_id,
        partition_count: partitions,
        replication_factor: replicas,
        configs: config.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect(),
        validate_only: check,
    }
}

fn alter(name: &str, set: &[(&str, &str)], unset: &[&str], validate_only: bool) -> Request {
    let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let unset = unset.iter().map(|key| (*key).to_owned()).collect();
    Request::AlterTopicConfigs { name: name.to_owned(), set, unset, validate_only }
}

fn add(name: &str, topic_id: Option<TopicId>, partition_count: u32) -> Request {
    Request::AddPartitions { name: name.to_owned(), topic_id, partition_count, validate_only: false }
}

fn delete(name: &str, topic_id: Option<TopicId>, purge: bool) -> Request {
    Request::DeleteTopic { name: name.to_owned(), topic_id, purge, validate_only: false }
}

#[test]
fn a_topic_that_does_not_say_gets_the_defaults() {
    let expected = Command::CreateTopic {
        topic_id: id(9),
        name: "new".to_owned(),
        configs: BTreeMap::new(),
        placement: vec![vec![BrokerId(1)]; 3],
    };
    assert_eq!(command(create("new")), expected);
}

#[test]
fn an_illegal_name_is_refused_with_the_rule() {
    for name in ["", "a/b", "ä", ".."] {
        assert_eq!(invalid(create(name)).0, "topic");
    }
    assert_eq!(invalid(add("a/b", None, 3)).0, "topic");
    assert_eq!(invalid(delete("a/b", None, false)).0, "topic");
    assert_eq!(invalid(alter("a/b", &[], &[], false)).0, "name");
}

#[test]
fn a_taken_name_is_refused_and_one_in_the_trash_is_free() {
    assert_eq!(
        plan(create("live")).unwrap_err(),
        Error::TopicExists { topic: "live".to_owned(), topic_id: id(1) }
    );
    assert!(matches!(command(create("gone")), Command::CreateTopic { .. }));
}

#[test]
fn numbers_of_partitions_have_limits() {
    let (field, problem) = invalid(create_with(Some(0), None, None, false));
    assert_eq!(
        (field, problem.as_str()),
        ("partition_count", "0 partitions keep nothing; ask for at least 1")
    );
    let (field, problem) = invalid(create_with(Some(11), None, None, false));
    assert_eq!((field, problem.as_str()), ("partition_count", "11 is too many: a topic has at most 10"));
    assert!(matches!(command(create_with(Some(10), None, None, false)), Command::CreateTopic { .. }));

    let mut controller = controller();
    let planned = controller.plan(NOW_MS, create_with(Some(10), None, None, false));
    let Ok(Planned::Command(command)) = planned else { panic!("{planned:?}") };
    apply(&mut controller, &command); // 14 of 15, the trash included
    let error = controller.plan(NOW_MS, add("live", None, 4)).unwrap_err().to_string();
    assert_eq!(
        error,
        "partition_count: 2 more is too many: the cluster has 14 partitions (those in the trash included) of at \
         most 15; purge topics, or raise the limit"
    );
    assert!(matches!(controller.plan(NOW_MS, add("live", None, 3)), Ok(Planned::Command(_))));
}

#[test]
fn replicas_need_brokers() {
    assert_eq!(invalid(create_with(None, Some(0), None, false)).0, "replication_factor");
    let (field, problem) = invalid(create_with(None, Some(3), None, false));
    assert_eq!(field, "replication_factor");
    assert!(problem.contains('3') && problem.contains("has 1"), "{problem}");
}

#[test]
fn wrong_configs_are_refused_where_they_stand() {
    assert_eq!(invalid(create_with(None, None, Some(("x", "1")), false)).0, "configs");
    assert_eq!(invalid(alter("live", &[("retention.ms", "soon")], &[], false)).0, "set");
    assert_eq!(invalid(alter("live", &[], &["x"], false)).0, "unset");
    let both = invalid(alter("live", &[("retention.ms", "1")], &["retention.ms"], false));
    assert_eq!(both, ("unset", "retention.ms is also to be set; choose one".to_owned()));
}

#[test]
fn no_topic_allows_batches_larger_than_a_request() {
    let largest = create_with(None, None, Some(("max.message.bytes", "4194304")), false);
    assert!(matches!(command(largest), Command::CreateTopic { .. }));
    let (field, problem) = invalid(create_with(None, None, Some(("max.message.bytes", "4194305")), false));
    assert_eq!(field, "configs");
    assert_eq!(problem, "max.message.bytes=4194305 is more than the 4194304 bytes of a whole request");
    assert_eq!(invalid(alter("live", &[("max.message.bytes", "4194305")], &[], false)).0, "set");
}

#[test]
fn a_check_answers_what_would_be() {
    let Reply::Topic(topic) = answer(create_with(Some(2), None, None, true)) else { panic!("no topic") };
    assert_eq!((topic.name.as_str(), topic.partitions.len(), topic.id), ("new", 2, id(9)));
    let Reply::Topic(topic) = answer(alter("live", &[("segment.ms", "5")], &["retention.ms"], true)) else {
        panic!("no topic")
    };
    assert_eq!(topic.configs, BTreeMap::from([("segment.ms".to_owned(), "5".to_owned())]));
    let check =
        Request::DeleteTopic { name: "live".to_owned(), topic_id: None, purge: true, validate_only: true };
    assert!(matches!(answer(check), Reply::Deleted));
}

#[test]
fn what_changes_nothing_is_answered_at_once() {
    for request in [
        alter("live", &[("retention.ms", "1000")], &["segment.ms"], false),
        alter("live", &[], &[], false),
        add("live", None, 2),
        Request::RestoreTopic { topic_id: id(1) },
    ] {
        let Reply::Topic(topic) = answer(request) else { panic!("no topic") };
        assert_eq!(*topic, **controller().image().topic("live").unwrap());
    }
    assert!(matches!(answer(delete("", Some(id(2)), false)), Reply::Deleted));
}

#[test]
fn changes_become_commands() {
    let set = BTreeMap::from([("segment.ms".to_owned(), "5".to_owned())]);
    let unset = vec!["retention.ms".to_owned()];
    assert_eq!(
        command(alter("live", &[("segment.ms", "5")], &["retention.ms"], false)),
        Command::AlterTopicConfigs { topic_id: id(1), set, unset }
    );
    let placement = vec![vec![BrokerId(1)]; 3];
    assert_eq!(
        command(add("live", Some(id(1)), 5)),
        Command::AddPartitions { topic_id: id(1), first_partition: 2, placement }
    );
    assert_eq!(command(delete("live", None, false)), Command::DeleteTopic { topic_id: id(1) });
    assert_eq!(
        command(delete("live", Some(id(1)), true)),
        Command::PurgeTopic { topic_id: id(1), in_trash_since_ms: None }
    );
    assert_eq!(
        command(delete("", Some(id(2)), true)),
        Command::PurgeTopic { topic_id: id(2), in_trash_since_ms: Some(NOW_MS) }
    );
    assert_eq!(command(Request::RestoreTopic { topic_id: id(2) }), Command::RestoreTopic { topic_id: id(2) });
}

#[test]
fn partitions_are_never_taken_away() {
    let (field, problem) = invalid(add("live", None, 1));
    assert_eq!(field, "partition_count");
    assert_eq!(problem, "topic \"live\" has 2 partitions; there cannot be fewer, as 1 would be");
}

#[test]
fn a_missing_topic_is_named() {
    for name in ["nowhere", "gone"] {
        let unknown = Error::UnknownTopic { topic: name.to_owned() };
        assert_eq!(plan(alter(name, &[], &[], false)).unwrap_err(), unknown);
        assert_eq!(plan(add(name, None, 3)).unwrap_err(), unknown);
        assert_eq!(plan(delete(name, None, false)).unwrap_err(), unknown);
    }
    let unknown = Error::UnknownTopic { topic: id(7).to_string() };
    assert_eq!(plan(Request::RestoreTopic { topic_id: id(7) }).unwrap_err(), unknown);
    assert_eq!(plan(delete("", Some(id(7)), true)).unwrap_err(), unknown);
}

#[test]
fn another_topic_of_the_same_name_is_left_alone() {
    let mismatch = Error::TopicIdMismatch { topic: "live".to_owned(), asked: id(7), found: id(1) };
    assert_eq!(plan(add("live", Some(id(7)), 3)).unwrap_err(), mismatch);
    assert_eq!(plan(delete("live", Some(id(7)), true)).unwrap_err(), mismatch);
}

#[test]
fn a_live_topic_is_not_deleted_by_its_id_alone() {
    let (field, problem) = invalid(delete("", Some(id(1)), true));
    assert_eq!(field, "topic");
    assert!(problem.contains("\"live\""), "{problem}");
    assert_eq!(invalid(delete("", None, true)).0, "topic");
}

#[test]
fn a_topic_is_not_restored_over_its_namesake() {
    let mut controller = controller();
    let placement = vec![vec![BrokerId(1)]];
    let create = Command::CreateTopic {
        topic_id: id(3),
        name: "gone".to_owned(),
        configs: BTreeMap::new(),
        placement,
    };
    apply(&mut controller, &create);
    let error = controller.plan(NOW_MS, Request::RestoreTopic { topic_id: id(2) }).unwrap_err();
    assert_eq!(error, Error::TopicExists { topic: "gone".to_owned(), topic_id: id(3) });
}

#[test]
fn a_config_that_another_version_has_set_can_be_unset() {
    let mut controller = controller();
    let set = BTreeMap::from([("from.the.future".to_owned(), "1".to_owned())]);
    apply(&mut controller, &Command::AlterTopicConfigs { topic_id: id(1), set, unset: Vec::new() });
    let planned = controller.plan(NOW_MS, alter("live", &[], &["from.the.future"], false));
    assert!(matches!(planned, Ok(Planned::Command(_))), "{planned:?}");
}

#[test]
fn bodies_of_other_kinds_are_not_read() {
    let mut controller = controller();
    let before = controller.image().clone();
    let meta = EntryMeta {
        kind: EntryKind::Membership,
        index: Index(100),
        term: Term(1),
        span: 0,
        base_offset: Offset(0),
        appended_at_ms: NOW_MS,
    };
    assert!(controller.apply(&meta, &Bytes::from_static(b"no command")).is_none());
    assert_eq!(*controller.image(), before);
}
