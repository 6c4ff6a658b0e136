//! Brokers that join, replicas that move, are lost and replaced, and fall behind: on real logs in memory.

use crate::brokers::{Cluster, broker_options};
use crate::shell::Broker;
use mq_engine::Event;
use mq_engine::api::Request;
use mq_engine::controller::{self, Health};
use mq_log::{Disk, MemDisk};
use mq_types::message::MessageKind;
use mq_types::{BrokerId, DirectoryId, Offset, QuorumId, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub(crate) fn restored(broker: &Broker, of: QuorumId) -> bool {
    broker.events.iter().any(|event| matches!(event, Event::Restored { quorum, .. } if *quorum == of))
}

#[test]
fn brokers_join_and_three_of_them_vote_for_the_controller() {
    let cluster = Cluster::of(4);
    let image = cluster.image();
    assert_eq!(image.controller.replicas.len(), 4);
    assert_eq!(image.controller_voters().len(), 3);
    assert_eq!(image.brokers.len(), 4);
    let changed = cluster.brokers[0].events.iter().rev().find_map(|event| match event {
        Event::MembersChanged { quorum: QuorumId::CONTROLLER, voters, learners } => {
            Some((voters.len(), learners.len()))
        }
        _ => None,
    });
    assert_eq!(changed, Some((3, 1)));
    for broker in &cluster.brokers {
        assert_eq!(broker.image.revision, image.revision, "every broker follows the metadata");
    }
}

#[test]
fn a_topic_of_three_replicas_survives_the_founder() {
    let mut cluster = Cluster::of(3);
    let quorum = cluster.create_topic(3);
    cluster.produce(quorum, 5);
    cluster.cut.insert(0);
    cluster.pass(8_000);
    let end = cluster.produce(quorum, 5);
    assert_eq!(end, Offset(10));
    let outcome = cluster.control(&controller::Request::RestoreTopic { topic_id: TopicId([1; 16]) });
    assert!(
        !outcome.unwrap_err().to_string().contains("lead"),
        "the controller has a leader without the founder"
    );
}

#[test]
fn a_replica_moves_to_another_broker_while_records_come() {
    let mut cluster = Cluster::of(4);
    let quorum = cluster.create_topic(3);
    cluster.produce(quorum, 20);
    let before: BTreeSet<u32> = cluster.brokers_of(quorum).into_iter().collect();
    let outside = (1..=4).find(|id| !before.contains(id)).unwrap();
    let mut wanted: Vec<u32> = before.iter().copied().take(2).collect();
    wanted.push(outside);
    let gone = *before.iter().find(|id| !wanted.contains(id)).unwrap();
    cluster.reassign(&wanted);
    for _ in 0..20 {
        cluster.produce(quorum, 2);
        cluster.pass(500);
    }
    assert_eq!(cluster.brokers_of(quorum), wanted);
    assert!(cluster.members(quorum).leaving.is_empty());
    assert!(cluster.image().tombstones.is_empty(), "{:?}", cluster.image().tombstones);
    let end = cluster.produce(quorum, 1);
    cluster.pass(1_000);
    for id in wanted {
        assert_eq!(cluster.end_of(id as usize - 1, quorum), end);
    }
    assert!(!cluster.brokers[gone as usize - 1].views.contains_key(&quorum), "the old replica is gone");
}

#[test]
fn a_partition_moves_as_a_whole_its_leader_too() {
    let mut cluster = Cluster::of(4);
    let quorum = cluster.create_topic(1);
    let end = cluster.produce(quorum, 10);
    let old = cluster.brokers_of(quorum)[0];
    let new = if old == 4 { 3 } else { 4 };
    cluster.reassign(&[new]);
    cluster.pass(15_000);
    assert_eq!(cluster.brokers_of(quorum), [new]);
    assert_eq!(cluster.leader(quorum), new as usize - 1);
    assert_eq!(cluster.end_of(new as usize - 1, quorum), end);
    assert_eq!(cluster.produce(quorum, 1), end.plus(1));
    assert!(!cluster.brokers[old as usize - 1].views.contains_key(&quorum));
}

/// Moves the partition away from the broker that leads it. Where it is wanted then, and how long nobody led.
fn move_leader(cluster: &mut Cluster, quorum: QuorumId) -> (Vec<u32>, u64) {
    let leader = cluster.leader(quorum) as u32 + 1;
    let before = cluster.brokers_of(quorum);
    let outside = (1..=4).find(|id| !before.contains(id)).expect("one broker has no replica");
    let stay = before.into_iter().filter(|id| *id != leader);
    let wanted: Vec<u32> = [outside].into_iter().chain(stay).collect();
    cluster.reassign(&wanted);
    let without_ms = cluster.longest_without_leader(quorum, 15_000);
    assert_eq!(cluster.brokers_of(quorum), wanted);
    assert!(cluster.members(quorum).leaving.is_empty());
    assert!(!cluster.brokers[leader as usize - 1].views.contains_key(&quorum));
    (wanted, without_ms)
}

#[test]
fn a_leader_that_leaves_hands_over_first_and_nobody_waits_for_an_election() {
    for replicas in [1, 3] {
        let mut cluster = Cluster::of(4);
        let quorum = cluster.create_topic(replicas);
        let end = cluster.produce(quorum, 10);
        let (wanted, without_ms) = move_leader(&mut cluster, quorum);
        assert!(without_ms <= 300, "{replicas} replicas: nobody led for {without_ms} ms");
        assert_eq!(cluster.leader(quorum) as u32 + 1, wanted[0], "the preferred leader leads");
        assert_eq!(cluster.produce(quorum, 1), end.plus(1));
    }
}

#[test]
fn a_leader_that_can_hand_over_to_nobody_leaves_all_the_same() {
    for replicas in [1, 3] {
        let mut cluster = Cluster::of(4);
        let quorum = cluster.create_topic(replicas);
        let end = cluster.produce(quorum, 10);
        cluster.lost = Some(MessageKind::TimeoutNow);
        let (_, without_ms) = move_leader(&mut cluster, quorum);
        assert!(without_ms > 300, "{replicas} replicas: somebody took over within {without_ms} ms");
        assert_eq!(cluster.produce(quorum, 1), end.plus(1));
    }
}

#[test]
fn a_lost_replica_is_replaced_under_a_new_id() {
    let mut cluster = Cluster::of(3);
    let quorum = cluster.create_topic(3);
    cluster.produce(quorum, 10);
    let leader = cluster.leader(quorum);
    let victim = (leader + 1) % 3;
    let old = cluster.members(quorum).on(BrokerId(victim as u32 + 1)).unwrap().replica;
    cluster.restart(victim, |disk| remove_dir(disk, &format!("quorums/{}-{}", quorum.0, old.0)));
    cluster.pass(15_000);
    let new = *cluster.members(quorum).on(BrokerId(victim as u32 + 1)).unwrap();
    assert!(new.replica > old && new.is_added && new.health == Health::Sound, "{new:?}");
    assert!(cluster.members(quorum).leaving.is_empty());
    let end = cluster.produce(quorum, 1);
    cluster.pass(1_000);
    assert_eq!((end, cluster.end_of(victim, quorum)), (Offset(11), Offset(11)));
    assert!(restored(&cluster.brokers[victim], quorum));
}

#[test]
fn a_broker_with_an_empty_disk_joins_again_under_new_ids() {
    let mut cluster = Cluster::of(3);
    let quorum = cluster.create_topic(3);
    cluster.produce(quorum, 10);
    let victim = (cluster.leader(quorum) + 1) % 3;
    let victim = if victim == 0 { (victim + 1) % 3 } else { victim };
    let before = cluster.members(QuorumId::CONTROLLER).on(BrokerId(victim as u32 + 1)).unwrap().replica;
    let mut options = broker_options(victim);
    options.directory = DirectoryId([77; 16]);
    options.info.directory = options.directory;
    cluster.disks[victim] = MemDisk::new();
    let now = cluster.brokers[victim].now;
    cluster.brokers[victim] = Broker::start_on_log(options, cluster.disks[victim].clone());
    (cluster.brokers[victim].now, cluster.brokers[victim].routes_commands) = (now, false);
    cluster.pass(20_000);
    let after = cluster.members(QuorumId::CONTROLLER).on(BrokerId(victim as u32 + 1)).unwrap().replica;
    assert!(after > before);
    assert_eq!(cluster.brokers[victim].image.revision, cluster.image().revision);
    let end = cluster.produce(quorum, 1);
    cluster.pass(1_000);
    assert_eq!(cluster.end_of(victim, quorum), end);
}

#[test]
fn a_follower_below_the_leaders_log_begins_anew_there() {
    let mut cluster = Cluster::of(3);
    let quorum = cluster.create_topic(3);
    cluster.produce(quorum, 10);
    let leader = cluster.leader(quorum);
    let behind = (leader + 1) % 3;
    cluster.cut.insert(behind);
    cluster.pass(5_000);
    cluster.produce(quorum, 10);
    let leader = cluster.leader(quorum);
    let request = Request::DeleteRecords { quorum, before: Some(Offset(15)), validate_only: false };
    cluster.brokers[leader].ask(request);
    cluster.settle();
    let request = Request::DeleteRecords { quorum, before: None, validate_only: false };
    cluster.brokers[leader].ask(request);
    cluster.settle();
    cluster.cut.clear();
    cluster.pass(8_000);
    assert!(restored(&cluster.brokers[behind], quorum));
    let end = cluster.produce(quorum, 3);
    cluster.pass(1_000);
    assert_eq!(end, Offset(23));
    assert_eq!(cluster.end_of(behind, quorum), end);
    assert_eq!(cluster.brokers[behind].views[&quorum].log_start, Offset(20));
}

#[test]
fn a_broker_that_missed_many_changes_is_sent_the_image() {
    let mut cluster = Cluster::of(3);
    cluster.create_topic(3);
    cluster.cut.insert(2);
    cluster.pass(3_000);
    for n in 0..60 {
        let set = BTreeMap::from([("retention.ms".to_owned(), format!("{}", 1_000_000 + n))]);
        let name = "a".to_owned();
        let alter =
            controller::Request::AlterTopicConfigs { name, set, unset: Vec::new(), validate_only: false };
        assert!(cluster.control(&alter).is_ok());
    }
    cluster.cut.clear();
    cluster.pass(8_000);
    assert!(restored(&cluster.brokers[2], QuorumId::CONTROLLER));
    assert_eq!(cluster.brokers[2].image, cluster.image());
}

fn remove_dir(disk: &MemDisk, dir: &str) {
    let dir = Path::new(dir);
    let remove = || -> std::io::Result<()> {
        for entry in disk.list(dir)? {
            disk.unlink(&dir.join(entry.name))?;
        }
        disk.sync_dir(dir)?;
        disk.remove_dir(dir)?;
        disk.sync_dir(Path::new("quorums"))
    };
    remove().expect("the replica was there");
}
