//! Appending records to one partition: order, acknowledgements, conditions and limits.

use crate::shell::{Broker, base_offset, batch, produced, topic_of};
use mq_engine::api::{Acks, Durability, Error, Produce, Reply, Request};
use mq_engine::{Input, RequestId, controller};
use mq_types::{Offset, QuorumId, TopicId};
use std::collections::BTreeMap;

fn with_partition(configs: &[(&str, &str)]) -> (Broker, QuorumId) {
    let mut broker = Broker::founded(2);
    let quorum = broker.create_topic("a", 2, configs)[1];
    (broker, quorum)
}

fn conditional(broker: &mut Broker, quorum: QuorumId, expected: u64) -> RequestId {
    let expected_next_offset = Some(Offset(expected));
    broker.ask(Request::Produce(Produce {
        quorum,
        batch: batch(2),
        acks: Acks::Quorum,
        expected_next_offset,
    }))
}

#[test]
fn nothing_is_acknowledged_or_readable_before_it_is_durable() {
    let (mut broker, quorum) = with_partition(&[]);
    let none = broker.produce(quorum, 1, Acks::None);
    let leader = broker.produce(quorum, 1, Acks::Leader);
    let majority = broker.produce(quorum, 1, Acks::Quorum);
    broker.turn();
    assert_eq!(produced(&broker.replies[&none]).durability, Durability::None);
    assert_eq!(produced(&broker.replies[&none]).base_offset, None);
    assert!(!broker.replies.contains_key(&leader) && !broker.replies.contains_key(&majority));
    assert_eq!(broker.views[&quorum].high_watermark, Offset(0));

    broker.sync();
    assert!(!broker.replies.contains_key(&leader) && !broker.replies.contains_key(&majority));
    broker.turn();
    assert_eq!(base_offset(&broker.replies[&leader]), Offset(1));
    let majority = produced(&broker.replies[&majority]);
    assert_eq!((majority.base_offset, majority.durability), (Some(Offset(2)), Durability::QuorumFsync));
    assert_eq!((majority.high_watermark, broker.views[&quorum].high_watermark), (Offset(3), Offset(3)));
}

#[test]
fn what_was_not_durable_is_gone_after_a_crash_and_was_never_acknowledged() {
    let (mut broker, quorum) = with_partition(&[]);
    broker.produce(quorum, 4, Acks::Quorum);
    broker.settle();
    let lost = broker.produce(quorum, 3, Acks::Quorum);
    broker.turn();
    assert!(!broker.replies.contains_key(&lost));
    let mut broker = broker.crash();
    broker.settle();
    assert_eq!(broker.views[&quorum].high_watermark, Offset(4));
}

#[test]
fn all_batches_of_a_turn_are_one_write() {
    let (mut broker, quorum) = with_partition(&[]);
    let ids: Vec<_> = (0..10).map(|_| broker.produce(quorum, 1, Acks::Quorum)).collect();
    broker.turn();
    assert_eq!(broker.shards[1].writes.len(), 1);
    assert_eq!(broker.shards[1].writes[0].1.entries.len(), 10);
    broker.settle();
    let offsets: Vec<u64> = ids.iter().map(|id| base_offset(&broker.replies[id]).0).collect();
    assert_eq!(offsets, (0..10).collect::<Vec<_>>());
}

#[test]
fn writes_of_several_turns_become_durable_in_one_round() {
    let (mut broker, quorum) = with_partition(&[]);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(broker.produce(quorum, 1, Acks::Quorum));
        broker.turn();
    }
    assert!(ids.iter().all(|id| !broker.replies.contains_key(id)));
    broker.sync();
    let persisted = broker.shards[1].inputs.iter().filter(|input| matches!(input, Input::Persisted { .. }));
    assert_eq!(persisted.count(), 1);
    broker.turn();
    assert!(ids.iter().all(|id| broker.replies[id].is_ok()));
}

#[test]
fn a_conditional_append_counts_what_this_turn_appended_before_it() {
    let (mut broker, quorum) = with_partition(&[]);
    let first = conditional(&mut broker, quorum, 0);
    let late = conditional(&mut broker, quorum, 0);
    let second = conditional(&mut broker, quorum, 2);
    let early = conditional(&mut broker, quorum, 5);
    broker.settle();
    assert_eq!(base_offset(&broker.replies[&first]), Offset(0));
    assert_eq!(base_offset(&broker.replies[&second]), Offset(2));
    for (id, expected, next_offset) in [(late, 0, 2), (early, 5, 4)] {
        let error =
            Error::UnexpectedNextOffset { expected: Offset(expected), next_offset: Offset(next_offset) };
        assert_eq!(broker.replies[&id].as_ref().unwrap_err(), &error);
    }
}

#[test]
fn what_waits_to_be_durable_is_bounded_in_bytes() {
    let (mut broker, quorum) = with_partition(&[]);
    let ids: Vec<_> = (0..6).map(|_| broker.produce(quorum, 9, Acks::Quorum)).collect();
    broker.turn();
    let refused =
        ids.iter().filter(|id| matches!(broker.replies.get(id), Some(Err(Error::Overloaded { .. }))));
    assert_eq!(refused.count(), 3, "4096 bytes hold three batches of about 1060");
    broker.settle();
    let again = broker.produce(quorum, 9, Acks::Quorum);
    let alone_too_large = broker.produce(quorum, 100, Acks::Quorum);
    broker.settle();
    assert!(broker.replies[&again].is_ok() && broker.replies[&alone_too_large].is_err());
    let alone_too_large = broker.produce(quorum, 100, Acks::Quorum);
    broker.settle();
    assert!(broker.replies[&alone_too_large].is_ok(), "one batch is always taken");
}

#[test]
fn a_batch_above_the_topics_limit_is_refused_with_both_sizes() {
    let (mut broker, quorum) = with_partition(&[("max.message.bytes", "1024")]);
    let id = broker.produce(quorum, 10, Acks::Quorum);
    broker.settle();
    let error = broker.replies[&id].as_ref().unwrap_err();
    assert!(
        matches!(error, Error::BatchTooLarge { max_bytes: 1024, size_bytes } if *size_bytes > 1024),
        "{error}"
    );
    let id = broker.produce(quorum, 5, Acks::Quorum);
    broker.settle();
    assert!(broker.replies[&id].is_ok());
}

#[test]
fn a_full_disk_refuses_records_until_there_is_room() {
    let (mut broker, quorum) = with_partition(&[]);
    broker.shards[1].inputs.push(Input::DiskRoom { available: false });
    let refused = broker.produce(quorum, 1, Acks::Quorum);
    broker.settle();
    assert_eq!(broker.replies[&refused].as_ref().unwrap_err(), &Error::DiskFull);
    broker.shards[1].inputs.push(Input::DiskRoom { available: true });
    let taken = broker.produce(quorum, 1, Acks::Quorum);
    broker.settle();
    assert_eq!(base_offset(&broker.replies[&taken]), Offset(0));
}

#[test]
fn a_full_disk_refuses_new_partitions_and_lets_topics_be_deleted() {
    let (mut broker, _) = with_partition(&[]);
    let create = |validate_only| controller::Request::CreateTopic {
        name: "more".to_owned(),
        topic_id: TopicId([9; 16]),
        partition_count: Some(1),
        replication_factor: None,
        configs: BTreeMap::new(),
        validate_only,
    };
    let name = broker.image.topics.values().next().unwrap().name.clone();
    let grow = controller::Request::AddPartitions {
        name: name.clone(),
        topic_id: None,
        partition_count: 5,
        validate_only: false,
    };
    broker.shards[0].inputs.push(Input::DiskRoom { available: false });
    for request in [create(false), grow.clone()] {
        assert_eq!(broker.control(request).unwrap_err(), Error::DiskFull);
    }
    assert!(broker.control(create(true)).is_ok(), "a check writes nothing");
    broker.shards[0].inputs.push(Input::DiskRoom { available: true });
    assert_eq!(topic_of(broker.control(grow)).partitions.len(), 5);
    broker.shards[0].inputs.push(Input::DiskRoom { available: false });
    let delete = controller::Request::DeleteTopic { name, topic_id: None, purge: true, validate_only: false };
    assert!(broker.control(delete).is_ok(), "what makes room goes on");
}

#[test]
fn appended_at_never_goes_back_with_the_wall_clock() {
    let (mut broker, quorum) = with_partition(&[("message.timestamp.type", "LogAppendTime")]);
    broker.produce(quorum, 1, Acks::Quorum);
    broker.settle();
    let before_ms = broker.now.wall_ms;
    broker.now.wall_ms -= 10_000;
    broker.produce(quorum, 1, Acks::Quorum);
    broker.settle();
    let last = broker.stored(quorum).entries.last().unwrap().clone();
    assert_eq!(last.appended_at_ms, before_ms);
    let mq_types::Body::Data(batch) = last.body else { panic!("a batch was appended last") };
    assert_eq!(batch.max_timestamp_ms(), before_ms);
    assert!(batch.checksum_matches());
    assert_eq!((batch.base_offset(), batch.leader_epoch()), (Offset(1), last.term.0 as i32));
}

#[test]
fn a_read_index_of_a_sole_voter_answers_in_the_same_turn() {
    let (mut broker, quorum) = with_partition(&[]);
    broker.produce(quorum, 7, Acks::Quorum);
    broker.settle();
    let (one, two) = (broker.ask(Request::ReadIndex { quorum }), broker.ask(Request::ReadIndex { quorum }));
    broker.turn();
    for id in [one, two] {
        let reply = broker.replies[&id].as_ref().unwrap();
        assert!(
            matches!(reply, Reply::ReadIndex { log_start: Offset(0), high_watermark: Offset(7), .. }),
            "{reply:?}"
        );
    }
}

#[test]
fn a_read_index_waits_for_the_first_commit_of_the_term() {
    let (broker, quorum) = with_partition(&[]);
    let mut broker = broker.crash();
    let id = broker.ask(Request::ReadIndex { quorum });
    broker.turn();
    assert!(!broker.replies.contains_key(&id));
    broker.settle();
    broker.pass(600);
    assert!(matches!(broker.replies[&id], Ok(Reply::ReadIndex { .. })));
}
