//! Replicas that may not be trusted: they say so, and do nothing else.

use crate::brokers::Cluster;
use crate::shell::Broker;
use mq_engine::api::{Acks, Error, Reply, Request};
use mq_engine::controller::Image;
use mq_engine::{Event, Input};
use mq_types::message::{Message, MessageKind};
use mq_types::persist::{LostReason, Standing};
use mq_types::{BrokerId, DirectoryId, Index, Offset, QuorumId, ReplicaId, Term};
use std::path::PathBuf;
use std::sync::Arc;

/// A broker whose shard 1 holds 5 records of the partition.
fn with_records() -> (Broker, QuorumId) {
    let mut broker = Broker::founded(2);
    let quorum = broker.create_topic("a", 2, &[])[1];
    broker.produce(quorum, 5, Acks::Quorum);
    broker.settle();
    (broker, quorum)
}

/// The image with the partition's replica bound to another directory.
fn bound_elsewhere(broker: &Broker, quorum: QuorumId) -> Arc<Image> {
    let mut image = Image::clone(&broker.image);
    let topic = Arc::make_mut(image.topics.values_mut().next().expect("one topic"));
    let partition =
        topic.partitions.iter_mut().find(|partition| partition.quorum == quorum).expect("it is there");
    partition.members.replicas[0].opened_in = Some(DirectoryId([9; 16]));
    Arc::new(image)
}

/// A leader's message that says that more was acknowledged than is here.
pub(crate) fn heartbeat_beyond(quorum: QuorumId, to: ReplicaId) -> Message {
    Message {
        quorum,
        from: ReplicaId(9 << 32 | 2),
        to,
        kind: MessageKind::Heartbeat,
        term: Term(50),
        index: Index(0),
        log_term: Term(0),
        commit: Index(1_000),
        commit_term: Term(0),
        entries: Vec::new(),
        reject: false,
        reject_hint: Index(0),
        context: bytes::Bytes::new(),
        priority: 0,
        start: None,
    }
}

#[test]
fn a_replica_whose_directory_is_missing_is_lost_and_never_made_anew() {
    let (mut broker, quorum) = with_records();
    broker.shards[1].disk.replicas.remove(&quorum);
    let mut broker = broker.crash();
    broker.settle();
    let view = &broker.views[&quorum];
    assert_eq!(view.standing, Standing::Lost(LostReason::OpenRefused));
    assert!(!view.serving);
    broker.pass(3_000);
    assert!(!broker.shards[1].disk.replicas.contains_key(&quorum));
    let id = broker.produce(quorum, 1, Acks::Quorum);
    broker.settle();
    assert!(broker.replies[&id].is_err());

    let purge = mq_engine::controller::Request::DeleteTopic {
        name: "a".to_owned(),
        topic_id: None,
        purge: true,
        validate_only: false,
    };
    broker.control(purge).unwrap();
    assert!(
        broker.image.tombstones.is_empty(),
        "its removal is reported although there was nothing to remove"
    );
    assert!(!broker.views.contains_key(&quorum));
}

#[test]
fn a_replica_bound_to_another_directory_is_lost_durably_before_anything_else_changes() {
    let (mut broker, quorum) = with_records();
    let image = bound_elsewhere(&broker, quorum);
    broker.shards[1].inputs.push(Input::Image(image));
    broker.turn();
    assert_eq!(broker.views[&quorum].standing, Standing::Sound);
    broker.settle();
    assert_eq!(broker.stored(quorum).standing, Standing::Lost(LostReason::OpenRefused));
    assert_eq!(broker.views[&quorum].standing, Standing::Lost(LostReason::OpenRefused));
    assert!(broker.events.iter().any(|event| matches!(event, Event::Lost { .. })));
}

#[test]
fn a_sole_lost_replica_is_readable_and_takes_no_records() {
    let (mut broker, quorum) = with_records();
    broker.shards[1].disk.replicas.get_mut(&quorum).unwrap().standing =
        Standing::Lost(LostReason::CorruptEnd);
    let known = broker.stored(quorum).commit;
    let mut broker = broker.crash();
    broker.settle();
    broker.pass(2_000);
    let high_watermark = broker.views[&quorum].high_watermark;
    assert!(broker.views[&quorum].serving);
    assert_eq!(broker.stored(quorum).commit, known, "nothing is written");
    let read = broker.call(Request::ReadIndex { quorum });
    assert!(matches!(read, Ok(Reply::ReadIndex { high_watermark: end, .. }) if end == high_watermark));
    let id = broker.produce(quorum, 1, Acks::Quorum);
    broker.settle();
    let error = broker.replies[&id].as_ref().unwrap_err();
    assert!(matches!(error, Error::CorruptLog { offset, .. } if *offset == high_watermark), "{error}");
    assert!(broker.shards[1].engine.is_quiet());
}

#[test]
fn a_damaged_sole_replica_goes_on() {
    let (mut broker, quorum) = with_records();
    broker.shards[1].disk.replicas.get_mut(&quorum).unwrap().standing = Standing::Damaged;
    let mut broker = broker.crash();
    broker.settle();
    let id = broker.produce(quorum, 1, Acks::Quorum);
    broker.settle();
    assert!(broker.replies[&id].is_ok());
    assert_eq!(broker.views[&quorum].standing, Standing::Damaged);
}

#[test]
fn a_message_that_proves_a_shorter_log_makes_the_replica_lost_once() {
    let (mut broker, quorum) = with_records();
    let to = broker.stored(quorum).replica;
    let heartbeat = heartbeat_beyond(quorum, to);
    for _ in 0..3 {
        broker.shards[1].inputs.push(Input::Peer(heartbeat.clone()));
        broker.turn();
    }
    assert_eq!(broker.shards[1].writes.iter().filter(|(_, write)| write.standing.is_some()).count(), 1);
    broker.settle();
    assert_eq!(broker.stored(quorum).standing, Standing::Lost(LostReason::ShorterThanAcknowledged));
    assert_eq!(broker.views[&quorum].high_watermark, Offset(5));
}

#[test]
fn a_broker_with_a_lost_controller_still_knows_its_topics() {
    let (mut broker, quorum) = with_records();
    let stored = broker.shards[0].disk.replicas.get_mut(&QuorumId::CONTROLLER).unwrap();
    stored.standing = Standing::Lost(LostReason::CorruptEnd);
    let mut broker = broker.crash();
    broker.settle();
    assert!(broker.image.names.contains_key("a"));
    let id = broker.produce(quorum, 1, Acks::Quorum);
    broker.settle();
    assert!(broker.replies[&id].is_ok(), "the partition is as sound as before");
    let create = mq_engine::controller::Request::RestoreTopic { topic_id: Default::default() };
    assert!(broker.control(create).is_err());
}

#[test]
fn a_lost_controller_stores_no_snapshot() {
    let (mut broker, _) = with_records();
    broker.options.controller.snapshot_interval_entries = 1;
    let stored = broker.shards[0].disk.replicas.get_mut(&QuorumId::CONTROLLER).unwrap();
    stored.standing = Standing::Lost(LostReason::CorruptEnd);
    let before = stored.snapshot.clone();
    let mut broker = broker.crash();
    broker.settle();
    assert_eq!(broker.stored(QuorumId::CONTROLLER).snapshot, before);
}

/// It takes part again under a new id, and catches up from long ago.
#[test]
fn a_broker_whose_controller_is_lost_acts_on_no_metadata_of_old() {
    let mut cluster = Cluster::of(4);
    let quorum = cluster.create_topic(3);
    let gone = cluster.brokers_of(quorum).into_iter().find(|broker| *broker != 1).unwrap();
    let rest: Vec<u32> = (1..=4).filter(|broker| *broker != gone).collect();
    cluster.reassign(&rest);
    cluster.pass(20_000);
    let at = gone as usize - 1;
    assert!(!cluster.brokers[at].views.contains_key(&quorum), "its replica has left and is removed");
    let seat = cluster.members(QuorumId::CONTROLLER).on(BrokerId(gone)).unwrap().replica;

    cluster.restart(at, |disk| {
        let dir = PathBuf::from(format!("quorums/0-{seat}"));
        let names = disk.names(&dir).unwrap();
        let segments = names.iter().filter(|name| name.ends_with(".seg"));
        segments.for_each(|name| disk.flip_bit(&dir.join(name), 8 * 50).unwrap());
    });
    cluster.entries_max = 1;
    for _ in 0..300 {
        cluster.tick();
        for _ in 0..10 {
            cluster.step();
            let image = &cluster.brokers[at].image;
            let own = image.controller.on(BrokerId(gone)).map(|info| info.replica);
            assert!(image.revision == Index(0) || own > Some(seat), "it acts on revision {}", image.revision);
        }
    }
    cluster.entries_max = usize::MAX;
    cluster.pass(30_000);
    assert_eq!(cluster.members(QuorumId::CONTROLLER).leaving, []);
    assert_eq!(cluster.brokers[at].image.revision, cluster.image().revision);
}
