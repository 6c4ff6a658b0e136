//! Brokers that hear late of what the controller has decided.

use crate::brokers::{Cluster, broker_options, new_topic};
use crate::lost::heartbeat_beyond;
use crate::shell::Broker;
use mq_engine::api::Request;
use mq_engine::controller::Command;
use mq_engine::{Event, Input};
use mq_log::MemDisk;
use mq_types::message::{Message, MessageKind};
use mq_types::{BrokerId, DirectoryId, QuorumId};
use std::collections::BTreeSet;

/// The brokers that vote in this quorum, as its leader knows.
fn voters(cluster: &Cluster, quorum: QuorumId) -> Vec<u32> {
    let events = cluster.brokers[cluster.leader(quorum)].events.iter().rev();
    let mut changes = events.filter_map(|event| match event {
        Event::MembersChanged { quorum: of, voters, .. } if *of == quorum => Some(voters),
        _ => None,
    });
    changes.next().expect("they have changed").iter().map(|id| id.broker().0).collect()
}

/// It leads with metadata in which one is still wanted that has left long ago, and lets that one in again.
#[test]
fn who_was_let_in_again_by_an_uninformed_leader_goes_when_that_learns_more() {
    let mut cluster = Cluster::of(5);
    let quorum = cluster.create_topic(3);
    cluster.reassign(&[1, 2, 3]);
    cluster.pass(20_000);
    assert_eq!((cluster.brokers_of(quorum), cluster.leader(quorum)), (vec![1, 2, 3], 0));
    cluster.uninformed = BTreeSet::from([1, 2]);
    cluster.reassign(&[2, 1, 4]);
    cluster.pass(20_000);
    let has_third = |event: &Event| match event {
        Event::MembersChanged { quorum: of, voters, learners } if *of == quorum => {
            Some(voters.iter().chain(learners).any(|id| id.broker() == BrokerId(3)))
        }
        _ => None,
    };
    let mut changes = cluster.brokers[1].events.iter().filter_map(has_third);
    assert!(changes.any(|has_third| !has_third) && changes.any(|has_third| has_third), "it came again");
    cluster.uninformed.clear();
    cluster.pass(60_000);
    assert_eq!(BTreeSet::from_iter(voters(&cluster, quorum)), BTreeSet::from([1, 2, 4]));
    cluster.cut.insert(3);
    cluster.pass(20_000);
    cluster.produce(quorum, 1);
}

/// It learns in one go that it takes part and that it is to leave. Its vote is needed to let it go.
#[test]
fn a_first_replica_that_leaves_before_it_knows_that_it_is_open_takes_part_until_it_has_left() {
    let mut cluster = Cluster::of(4);
    for at in 0..4 {
        cluster.brokers[at].ask(Request::Controller(new_topic(2)));
    }
    let asks = |broker: &Broker| {
        broker.commands.iter().any(|command| matches!(command, Command::OpenReplica { .. }))
    };
    for _ in 0..400 {
        for broker in &mut cluster.brokers {
            broker.turn();
            broker.sync();
        }
        let has_asked = asks(&cluster.brokers[1]);
        cluster.deliver();
        if has_asked {
            break;
        }
    }
    cluster.cut.insert(1); // it has asked, and hears nothing for a while
    cluster.settle();
    let quorum = cluster.image().topics.values().next().expect("the topic").partitions[0].quorum;
    let is_open = |cluster: &Cluster| {
        let own = cluster.members(quorum).on(BrokerId(2)).expect("it is one of the first").opened_in;
        own.is_some()
    };
    assert!(is_open(&cluster));
    assert!(!cluster.brokers[1].image.topics.values().any(|topic| {
        topic.partitions[0].members.on(BrokerId(2)).is_some_and(|info| info.opened_in.is_some())
    }));
    cluster.pass(1_000);
    cluster.reassign(&[3, 4]);
    cluster.cut.clear();
    cluster.pass(60_000);
    assert_eq!(BTreeSet::from_iter(voters(&cluster, quorum)), BTreeSet::from([3, 4]));
    assert!(cluster.members(quorum).leaving.is_empty());
}

/// Before its broker has the metadata in which it is named.
#[test]
fn a_seat_that_is_lost_before_it_is_told_of_itself_is_replaced() {
    let mut cluster = Cluster::of(3);
    let mut options = broker_options(2);
    options.directory = DirectoryId([77; 16]);
    options.info.directory = options.directory;
    cluster.disks[2] = MemDisk::new();
    let now = cluster.brokers[2].now;
    cluster.brokers[2] = Broker::start_on_log(options, cluster.disks[2].clone());
    (cluster.brokers[2].now, cluster.brokers[2].routes_commands) = (now, false);
    cluster.lost = Some(MessageKind::Snapshot);
    cluster.pass(8_000);
    let seat = |broker| {
        let members = cluster.members(QuorumId::CONTROLLER);
        members.on(BrokerId(broker)).expect("it is a member").replica
    };
    let (from, own) = (seat(1), seat(3));
    let longer_than_it = Message { from, ..heartbeat_beyond(QuorumId::CONTROLLER, own) };
    cluster.brokers[2].shards[0].inputs.push(Input::Peer(longer_than_it));
    cluster.lost = None;
    cluster.settle();
    cluster.pass(60_000);
    assert_eq!(cluster.brokers[2].image.revision, cluster.image().revision);
    let replaced = cluster.members(QuorumId::CONTROLLER).on(BrokerId(3)).expect("it is a member").replica;
    assert_ne!(replaced, own);
}
