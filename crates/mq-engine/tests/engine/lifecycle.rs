//! From founding to a restart: quorum 0, topics, replicas, the trash and tombstones.

use crate::disk::Disk;
use crate::shell::{Broker, base_offset, options, topic_of};
use mq_engine::api::{Acks, Error, Reply};
use mq_engine::controller::{Command, Image, Request};
use mq_engine::{Event, Input};
use mq_types::{Offset, QuorumId, ReplicaId, TopicId};

fn delete(name: &str, purge: bool) -> Request {
    Request::DeleteTopic { name: name.to_owned(), topic_id: None, purge, validate_only: false }
}

#[test]
fn a_founder_names_the_cluster_and_registers_itself() {
    let broker = Broker::founded(2);
    assert_eq!(broker.image.cluster_id, "test");
    assert_eq!(broker.image.brokers[&broker.options.broker], broker.options.info);
    assert!(
        broker.events.iter().any(|event| matches!(event, Event::BecameLeader { quorum: QuorumId(0), .. }))
    );
    assert!(broker.shards.iter().all(|shard| shard.engine.is_quiet()));
}

#[test]
fn a_broker_that_founds_nothing_and_holds_nothing_waits() {
    let mut options = options(1, 1);
    options.found_cluster = None;
    let mut broker = Broker::start(options, vec![Disk::default()]);
    broker.pass(5_000);
    assert!(broker.shards[0].disk.replicas.is_empty());
    assert!(broker.views.is_empty() && broker.commands.is_empty());
}

#[test]
fn a_crash_at_any_write_of_the_founding_leaves_a_broker_that_can_be_founded() {
    for writes in 0..8 {
        let mut broker = Broker::start(options(1, 1), vec![Disk::default()]);
        for _ in 0..writes {
            broker.turn();
            broker.sync();
        }
        let mut broker = broker.crash();
        broker.settle();
        assert_eq!(broker.image.cluster_id, "test", "after a crash at write {writes}");
        assert_eq!(broker.image.brokers.len(), 1, "after a crash at write {writes}");
    }
}

#[test]
fn partitions_live_in_their_shards_and_serve_once_opened() {
    let mut broker = Broker::founded(2);
    let quorums = broker.create_topic("a", 4, &[]);
    for quorum in quorums {
        assert!(broker.views[&quorum].serving, "quorum {quorum}");
        assert!(broker.stored(quorum).opened, "quorum {quorum}");
        let id = broker.produce(quorum, 3, Acks::Quorum);
        broker.settle();
        assert_eq!(base_offset(&broker.replies[&id]), Offset(0));
        assert_eq!(broker.views[&quorum].high_watermark, Offset(3));
    }
}

#[test]
fn a_crash_at_any_write_of_a_creation_leaves_a_topic_that_works() {
    for writes in 0..10 {
        let mut broker = Broker::founded(2);
        broker.ask(mq_engine::api::Request::Controller(Request::CreateTopic {
            name: "a".to_owned(),
            topic_id: TopicId([1; 16]),
            partition_count: Some(2),
            replication_factor: None,
            configs: Default::default(),
            validate_only: false,
        }));
        for _ in 0..writes {
            broker.turn();
            broker.sync();
        }
        let mut broker = broker.crash();
        broker.settle();
        if broker.image.topics.is_empty() {
            broker.create_topic("a", 2, &[]);
        }
        // What was not announced before the crash is announced again within a second.
        broker.pass(1_100);
        for quorum in [QuorumId(1024), QuorumId(1025)] {
            assert!(broker.views[&quorum].serving, "quorum {quorum} after a crash at write {writes}");
        }
    }
}

#[test]
fn a_restart_serves_what_was_acknowledged_without_waiting_for_time_to_pass() {
    let mut broker = Broker::founded(2);
    let quorum = broker.create_topic("a", 1, &[])[0];
    for _ in 0..5 {
        broker.produce(quorum, 2, Acks::Quorum);
        broker.settle();
    }
    let mut broker = broker.crash();
    broker.turn();
    assert!(
        !broker.views.get(&quorum).is_some_and(|view| view.serving),
        "nothing is committed in the new term"
    );
    broker.settle();
    assert!(broker.views[&quorum].serving);
    assert_eq!(broker.views[&quorum].high_watermark, Offset(10));
    let id = broker.produce(quorum, 1, Acks::Quorum);
    broker.settle();
    assert_eq!(base_offset(&broker.replies[&id]), Offset(10));
}

#[test]
fn all_sole_voters_campaign_in_the_first_turn() {
    let mut broker = Broker::founded(1);
    broker.create_topic("a", 20, &[]);
    let mut broker = broker.crash();
    broker.turn();
    assert_eq!(broker.shards[0].writes.len(), 21);
}

#[test]
fn the_image_survives_restarts_and_its_log_is_trimmed() {
    let mut broker = Broker::founded(1);
    for round in 0..30 {
        broker.create_topic(&format!("t{round}"), 1, &[]);
    }
    let log = broker.stored(QuorumId::CONTROLLER);
    assert!(log.start.prev_index > mq_types::Index(20), "it begins after {}", log.start.prev_index);
    assert!(log.entries.len() < 80, "{} entries are kept", log.entries.len());
    let before = broker.image.clone();
    let mut broker = broker.crash();
    broker.settle();
    assert_eq!(*broker.image, *before);
}

#[test]
fn a_topic_in_the_trash_takes_no_records_and_comes_back_with_what_it_had() {
    let mut broker = Broker::founded(2);
    let quorum = broker.create_topic("a", 1, &[])[0];
    broker.produce(quorum, 5, Acks::Quorum);
    broker.settle();
    let topic_id = broker.image.names["a"];
    broker.control(delete("a", false)).unwrap();
    let id = broker.produce(quorum, 1, Acks::Quorum);
    broker.settle();
    assert_eq!(broker.replies[&id].as_ref().unwrap_err(), &Error::UnknownTopic { topic: "a".to_owned() });
    assert_eq!(broker.stored(quorum).record_count(), 5);
    topic_of(broker.control(Request::RestoreTopic { topic_id }));
    let id = broker.produce(quorum, 1, Acks::Quorum);
    broker.settle();
    assert_eq!(base_offset(&broker.replies[&id]), Offset(5));
}

#[test]
fn a_topic_is_gone_when_its_time_in_the_trash_is_over() {
    let mut broker = Broker::founded(2);
    let quorums = broker.create_topic("a", 2, &[]);
    broker.control(delete("a", false)).unwrap();
    broker.pass(30_000);
    assert!(broker.views.contains_key(&quorums[0]));
    broker.pass(35_000);
    for quorum in quorums {
        assert!(!broker.views.contains_key(&quorum), "quorum {quorum} is closed");
        assert!(broker.shards.iter().all(|shard| !shard.disk.replicas.contains_key(&quorum)));
    }
    assert!(broker.image.tombstones.is_empty() && broker.image.topics.is_empty());
}

#[test]
fn a_crash_at_any_write_of_a_purge_leaves_no_replica_and_no_tombstone() {
    for writes in 0..8 {
        let mut broker = Broker::founded(2);
        let quorums = broker.create_topic("a", 2, &[]);
        broker.ask(mq_engine::api::Request::Controller(delete("a", true)));
        for _ in 0..writes {
            broker.turn();
            broker.sync();
        }
        let mut broker = broker.crash();
        broker.settle();
        if !broker.image.topics.is_empty() {
            broker.control(delete("a", true)).unwrap();
        }
        broker.pass(1_100);
        assert!(broker.image.tombstones.is_empty(), "after a crash at write {writes}");
        for quorum in quorums {
            assert!(broker.shards.iter().all(|shard| !shard.disk.replicas.contains_key(&quorum)));
        }
    }
}

#[test]
fn absence_from_the_image_deletes_nothing() {
    let mut broker = Broker::founded(2);
    let quorum = broker.create_topic("a", 2, &[])[1];
    assert_eq!(quorum.shard(2).0, 1);
    broker.shards[1].inputs.push(Input::Image(Default::default()));
    broker.settle();
    assert!(broker.views.contains_key(&quorum));
    assert!(broker.stored(quorum).opened);
}

#[test]
fn what_the_controller_has_not_heard_is_repeated_each_second() {
    let mut broker = Broker::founded(2);
    broker.routes_commands = false;
    broker.commands.clear();
    let quorum = broker.create_topic("a", 1, &[])[0];
    broker.pass(3_000);
    let directory = broker.options.directory;
    let replica: ReplicaId = broker.stored(quorum).replica;
    let open = Command::OpenReplica { quorum, replica, directory };
    let times = broker.commands.iter().filter(|command| **command == open).count();
    assert!((3..=4).contains(&times), "announced {times} times in 3 seconds");
    assert!(!broker.views.get(&quorum).is_some_and(|view| view.serving), "it was not accepted");
    assert!(!broker.stored(quorum).opened);
}

#[test]
fn stopping_refuses_records_and_answers_what_is_in_flight() {
    let mut broker = Broker::founded(1);
    let quorum = broker.create_topic("a", 1, &[])[0];
    let first = broker.produce(quorum, 1, Acks::Quorum);
    broker.turn();
    broker.shards[0].inputs.push(Input::Stop);
    let second = broker.produce(quorum, 1, Acks::Quorum);
    broker.turn();
    assert!(!broker.shards[0].engine.is_quiet());
    assert!(matches!(broker.replies[&second], Err(Error::NoLeader { .. })));
    broker.sync();
    broker.settle();
    assert!(matches!(broker.replies[&first], Ok(Reply::Produced(_))));
    assert!(broker.shards[0].engine.is_quiet());
}

#[test]
fn an_old_snapshot_brings_no_removed_replica_back() {
    let mut broker = Broker::founded(1);
    broker.create_topic("a", 1, &[]);
    for round in 0..30 {
        broker.create_topic(&format!("t{round}"), 1, &[]);
    }
    let snapshot = broker.stored(QuorumId::CONTROLLER).snapshot.clone().unwrap();
    assert!(Image::decode(&snapshot.data).unwrap().names.contains_key("a"));
    broker.control(delete("a", true)).unwrap();
    broker.settle();
    assert!(broker.image.tombstones.is_empty());
    assert_eq!(
        broker.stored(QuorumId::CONTROLLER).snapshot.as_ref(),
        Some(&snapshot),
        "it is older than the purge"
    );
    let mut broker = broker.crash();
    broker.pass(2_000);
    assert!(!broker.image.names.contains_key("a"));
    let touched = |event: &Event| matches!(event, Event::Created { .. } | Event::Lost { .. });
    assert!(!broker.events.iter().any(touched), "{:?}", broker.events);
}

#[test]
fn a_request_to_a_replica_that_is_being_removed_is_answered() {
    let mut broker = Broker::founded(2);
    let quorum = broker.create_topic("a", 2, &[])[1];
    broker.ask(mq_engine::api::Request::Controller(delete("a", true)));
    while !broker.shards[1].writes.iter().any(|(_, write)| write.remove) {
        broker.sync();
        broker.turn();
    }
    let read = broker.ask(mq_engine::api::Request::ReadIndex { quorum });
    let produce = broker.produce(quorum, 1, Acks::Quorum);
    broker.turn();
    broker.settle();
    assert!(broker.replies[&read].is_err() && broker.replies[&produce].is_err());
}
