//! What each command does to the image, and when it is refused.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use mq_engine::controller::{Applied, BrokerInfo, Command, Image, Rejection, Topic};
use mq_types::{BrokerId, DirectoryId, Index, PartitionId, QuorumId, ReplicaId, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;

const AT_MS: i64 = 1_700_000_000_000;

fn topic_id(n: u8) -> TopicId {
    TopicId([n; 16])
}

fn directory(n: u8) -> DirectoryId {
    DirectoryId([n; 16])
}

fn brokers(ids: &[u32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

/// Applies at the next index.
fn apply(image: &mut Image, command: &Command) -> Result<Applied, Rejection> {
    let applied = image.apply(command, image.revision.next(), AT_MS);
    assert_eq!(image.check(), Ok(()));
    applied
}

/// The topic that a command made or changed.
fn topic(image: &mut Image, command: &Command) -> Arc<Topic> {
    match apply(image, command) {
        Ok(Applied::Topic(topic)) => topic,
        other => panic!("{command:?} gave {other:?}"),
    }
}

/// A command is refused for this reason and changes nothing but the revision.
#[track_caller]
fn refused(image: &mut Image, command: &Command, reason: &Rejection) {
    let before = image.clone();
    assert_eq!(apply(image, command).as_ref(), Err(reason));
    assert_eq!(image.revision, before.revision.next(), "the revision moves on");
    image.revision = before.revision;
    assert_eq!(*image, before, "nothing else changes");
}

fn create(id: u8, name: &str, placement: &[&[u32]]) -> Command {
    Command::CreateTopic {
        topic_id: topic_id(id),
        name: name.to_owned(),
        configs: BTreeMap::new(),
        placement: placement.iter().map(|ids| brokers(ids)).collect(),
    }
}

fn add(id: u8, first_partition: u32, placement: &[&[u32]]) -> Command {
    let placement = placement.iter().map(|ids| brokers(ids)).collect();
    Command::AddPartitions { topic_id: topic_id(id), first_partition, placement }
}

fn delete(id: u8) -> Command {
    Command::DeleteTopic { topic_id: topic_id(id) }
}

fn restore(id: u8) -> Command {
    Command::RestoreTopic { topic_id: topic_id(id) }
}

fn purge(id: u8) -> Command {
    Command::PurgeTopic { topic_id: topic_id(id), in_trash_since_ms: None }
}

/// An image with brokers 1, 2 and 3.
fn three_brokers() -> Image {
    let mut image = Image::default();
    for id in 1..=3 {
        let info = BrokerInfo { directory: directory(id as u8), ..BrokerInfo::default() };
        apply(&mut image, &Command::RegisterBroker { broker: BrokerId(id), info }).unwrap();
    }
    image
}

#[test]
fn a_cluster_is_founded_once() {
    let mut image = Image::default();
    let found = |cluster_id: &str| Command::Found { cluster_id: cluster_id.to_owned(), founder: None };
    refused(&mut image, &found(""), &Rejection::NoClusterId);
    assert_eq!(apply(&mut image, &found("one")), Ok(Applied::Noted));
    refused(&mut image, &found("two"), &Rejection::FoundedAlready { cluster_id: "one".to_owned() });
    assert_eq!(image.cluster_id, "one");
}

#[test]
fn a_broker_that_registers_again_is_known_by_what_it_said_last() {
    let mut image = three_brokers();
    let info = BrokerInfo { rack: "b".to_owned(), directory: directory(9), ..BrokerInfo::default() };
    let register = Command::RegisterBroker { broker: BrokerId(2), info: info.clone() };
    assert_eq!(apply(&mut image, &register), Ok(Applied::Noted));
    assert_eq!((image.brokers.len(), &image.brokers[&BrokerId(2)]), (3, &info));
    let nobody = Command::RegisterBroker { broker: BrokerId(0), info };
    refused(&mut image, &nobody, &Rejection::BrokerIdZero);
}

#[test]
fn quorum_ids_begin_at_1024_and_allocations_at_2() {
    let mut image = three_brokers();
    let topic = topic(&mut image, &create(1, "a", &[&[1, 2], &[2, 3]]));
    let ids: Vec<_> = topic.partitions.iter().map(|p| (p.id, p.quorum, p.replica_ids())).collect();
    let replica = |broker, allocation| ReplicaId::new(BrokerId(broker), allocation);
    assert_eq!(
        ids,
        [
            (PartitionId(0), QuorumId(1024), vec![replica(1, 2), replica(2, 2)]),
            (PartitionId(1), QuorumId(1025), vec![replica(2, 3), replica(3, 2)]),
        ]
    );
    assert_eq!(topic.replication_factor, 2);
    assert_eq!(image.topic("a"), Some(&topic));
    assert_eq!(image.partition(QuorumId(1025)), Some((&topic, &topic.partitions[1])));
    assert_eq!(image.partition(QuorumId(1026)), None);
}

#[test]
fn a_name_and_an_id_belong_to_one_topic() {
    let mut image = three_brokers();
    topic(&mut image, &create(1, "a", &[&[1]]));
    let name = "a".to_owned();
    refused(&mut image, &create(2, "a", &[&[1]]), &Rejection::NameTaken { name, topic_id: topic_id(1) });
    refused(&mut image, &create(1, "b", &[&[1]]), &Rejection::TopicIdTaken { topic_id: topic_id(1) });
}

#[test]
fn a_placement_must_be_possible() {
    let mut image = three_brokers();
    let count = |partition, found, expected| Rejection::ReplicaCount { partition, found, expected };
    refused(&mut image, &create(1, "a", &[]), &Rejection::NoPartitions);
    refused(&mut image, &create(1, "a", &[&[]]), &count(0, 0, 1));
    refused(&mut image, &create(1, "a", &[&[1, 2], &[3]]), &count(1, 1, 2));
    refused(&mut image, &create(1, "a", &[&[1, 4]]), &Rejection::UnknownBroker { broker: BrokerId(4) });
    refused(&mut image, &create(1, "a", &[&[2, 2]]), &Rejection::BrokerTwice { broker: BrokerId(2) });
    topic(&mut image, &create(1, "a", &[&[1, 2]]));
    refused(&mut image, &add(1, 1, &[]), &Rejection::NoPartitions);
    refused(&mut image, &add(1, 1, &[&[]]), &count(0, 0, 1));
}

#[test]
fn added_partitions_stand_behind_the_present_ones() {
    let mut image = three_brokers();
    topic(&mut image, &create(1, "a", &[&[1]]));
    topic(&mut image, &create(2, "b", &[&[1]]));
    let topic = topic(&mut image, &add(1, 1, &[&[2], &[3]]));
    let ids: Vec<_> = topic.partitions.iter().map(|p| (p.id.0, p.quorum.0)).collect();
    assert_eq!(ids, [(0, 1024), (1, 1026), (2, 1027)]);
}

#[test]
fn adding_to_another_number_of_partitions_than_planned_is_refused() {
    let mut image = three_brokers();
    topic(&mut image, &create(1, "a", &[&[1], &[1], &[1]]));
    let changed = |planned_on, wanted| {
        let name = "a".to_owned();
        Rejection::PartitionCountChanged { name, planned_on, found: 3, wanted }
    };
    refused(&mut image, &add(1, 2, &[&[1], &[1]]), &changed(2, 4));
    refused(&mut image, &add(1, 4, &[&[1]]), &changed(4, 5));
    refused(&mut image, &add(1, u32::MAX, &[&[1]]), &changed(u32::MAX, u32::MAX));
}

#[test]
fn adding_what_another_command_has_just_added_changes_nothing() {
    let mut image = three_brokers();
    topic(&mut image, &create(1, "a", &[&[1], &[1], &[1]]));
    let next_quorum = image.next_quorum;
    assert_eq!(topic(&mut image, &add(1, 1, &[&[1], &[1]])).partitions.len(), 3);
    assert_eq!(image.next_quorum, next_quorum);
}

#[test]
fn altering_configs_touches_the_named_keys_only() {
    let mut image = three_brokers();
    topic(&mut image, &create(1, "a", &[&[1]]));
    let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let mut alter = |set: &[(&str, &str)], unset: &[&str]| {
        let unset = unset.iter().map(|key| (*key).to_owned()).collect();
        let command = Command::AlterTopicConfigs { topic_id: topic_id(1), set: pairs(set), unset };
        topic(&mut image, &command).configs.clone()
    };
    assert_eq!(alter(&[("x", "1"), ("y", "2")], &[]), pairs(&[("x", "1"), ("y", "2")]));
    assert_eq!(alter(&[("z", "3"), ("y", "4")], &["x", "w"]), pairs(&[("y", "4"), ("z", "3")]));
}

#[test]
fn a_deleted_topic_lies_in_the_trash_and_frees_its_name() {
    let mut image = three_brokers();
    topic(&mut image, &create(1, "a", &[&[1]]));
    assert_eq!(apply(&mut image, &delete(1)), Ok(Applied::Deleted));
    assert_eq!(image.topic("a"), None);
    assert_eq!(image.topics[&topic_id(1)].deleted_at_ms, Some(AT_MS));
    assert!(image.tombstones.is_empty(), "its replicas stay");
    topic(&mut image, &create(2, "a", &[&[1]]));
}

#[test]
fn a_topic_in_the_trash_is_left_as_it_is() {
    let mut image = three_brokers();
    topic(&mut image, &create(1, "a", &[&[1]]));
    apply(&mut image, &delete(1)).unwrap();
    let in_trash = Rejection::InTrash { name: "a".to_owned(), topic_id: topic_id(1) };
    let alter = Command::AlterTopicConfigs { topic_id: topic_id(1), set: BTreeMap::new(), unset: Vec::new() };
    for command in [delete(1), alter, add(1, 1, &[&[1]])] {
        refused(&mut image, &command, &in_trash);
    }
}

#[test]
fn a_restored_topic_is_the_one_that_was_deleted() {
    let mut image = three_brokers();
    let before = topic(&mut image, &create(1, "a", &[&[1], &[2]]));
    apply(&mut image, &delete(1)).unwrap();
    assert_eq!(topic(&mut image, &restore(1)), before);
    assert_eq!(topic(&mut image, &restore(1)), before, "a second time changes nothing");
    assert_eq!(image.topic("a"), Some(&before));
}

#[test]
fn a_topic_is_not_restored_over_another_one() {
    let mut image = three_brokers();
    topic(&mut image, &create(1, "a", &[&[1]]));
    apply(&mut image, &delete(1)).unwrap();
    topic(&mut image, &create(2, "a", &[&[1]]));
    let taken = Rejection::NameTaken { name: "a".to_owned(), topic_id: topic_id(2) };
    refused(&mut image, &restore(1), &taken);
}

#[test]
fn a_purged_topic_leaves_tombstones_until_every_replica_is_removed() {
    let mut image = three_brokers();
    let topic = topic(&mut image, &create(1, "a", &[&[1, 2], &[3, 1]]));
    assert_eq!(apply(&mut image, &purge(1)), Ok(Applied::Deleted));
    assert_eq!((image.topics.len(), image.names.len()), (0, 0));
    for partition in &topic.partitions {
        assert_eq!(image.tombstones[&partition.quorum], partition.replica_ids());
    }
    for partition in &topic.partitions {
        for replica in partition.replica_ids() {
            let removed = Command::ReplicaRemoved { quorum: partition.quorum, replica };
            assert_eq!(apply(&mut image, &removed), Ok(Applied::Noted));
            refused(&mut image, &removed, &Rejection::UnknownReplica { quorum: partition.quorum, replica });
        }
    }
    assert!(image.tombstones.is_empty());
}

#[test]
fn a_topic_can_be_purged_out_of_the_trash_without_touching_its_namesake() {
    let mut image = three_brokers();
    topic(&mut image, &create(1, "a", &[&[1]]));
    apply(&mut image, &delete(1)).unwrap();
    let namesake = topic(&mut image, &create(2, "a", &[&[1]]));
    apply(&mut image, &purge(1)).unwrap();
    assert_eq!(image.topic("a"), Some(&namesake));
    for command in [purge(1), restore(1), delete(1)] {
        refused(&mut image, &command, &Rejection::UnknownTopic { topic_id: topic_id(1) });
    }
}

#[test]
fn a_topic_that_was_restored_meanwhile_is_not_purged_from_the_trash() {
    let mut image = three_brokers();
    let before = topic(&mut image, &create(1, "a", &[&[1]]));
    let purge = |since_ms| Command::PurgeTopic { topic_id: topic_id(1), in_trash_since_ms: Some(since_ms) };
    let restored = Rejection::Restored { name: "a".to_owned(), topic_id: topic_id(1) };
    apply(&mut image, &delete(1)).unwrap();
    apply(&mut image, &restore(1)).unwrap();
    refused(&mut image, &purge(AT_MS), &restored);
    assert_eq!(image.topic("a"), Some(&before));
    apply(&mut image, &delete(1)).unwrap();
    refused(&mut image, &purge(AT_MS - 1), &restored);
    assert_eq!(apply(&mut image, &purge(AT_MS)), Ok(Applied::Deleted));
}

#[test]
fn ids_are_never_used_again() {
    let mut image = three_brokers();
    let first = topic(&mut image, &create(1, "a", &[&[1, 2]]));
    apply(&mut image, &purge(1)).unwrap();
    let second = topic(&mut image, &create(2, "a", &[&[1, 2]]));
    assert!(second.partitions[0].quorum > first.partitions[0].quorum);
    for replica in second.partitions[0].replica_ids() {
        assert!(!first.partitions[0].replica_ids().contains(&replica));
    }
}

#[test]
fn a_replica_is_opened_in_one_directory_for_ever() {
    let mut image = three_brokers();
    let (quorum, replica) = {
        let topic = topic(&mut image, &create(1, "a", &[&[1, 2]]));
        (topic.partitions[0].quorum, topic.partitions[0].replica_ids()[1])
    };
    let open = |directory| Command::OpenReplica { quorum, replica, directory };
    assert_eq!(apply(&mut image, &open(directory(2))), Ok(Applied::Noted));
    let (_, partition) = image.partition(quorum).unwrap();
    let opened: Vec<_> = partition.members.replicas.iter().map(|replica| replica.opened_in).collect();
    assert_eq!(opened, [None, Some(directory(2))]);

    assert_eq!(apply(&mut image, &open(directory(2))), Ok(Applied::Noted), "the broker asks again");
    let elsewhere = Rejection::OpenedElsewhere { replica, opened_in: directory(2), asked: directory(7) };
    refused(&mut image, &open(directory(7)), &elsewhere);
}

#[test]
fn only_replicas_that_exist_are_opened() {
    let mut image = three_brokers();
    topic(&mut image, &create(1, "a", &[&[1]]));
    let open = |quorum, replica| Command::OpenReplica { quorum, replica, directory: directory(1) };
    let (own, other) = (ReplicaId::new(BrokerId(1), 2), ReplicaId::new(BrokerId(1), 1));
    refused(&mut image, &open(QuorumId(1025), own), &Rejection::UnknownQuorum { quorum: QuorumId(1025) });
    for (quorum, replica) in [(QuorumId(1024), other), (QuorumId(0), other)] {
        refused(&mut image, &open(quorum, replica), &Rejection::UnknownReplica { quorum, replica });
    }
    apply(&mut image, &delete(1)).unwrap();
    assert_eq!(apply(&mut image, &open(QuorumId(1024), own)), Ok(Applied::Noted), "also in the trash");
    apply(&mut image, &purge(1)).unwrap();
    let unknown = Rejection::UnknownQuorum { quorum: QuorumId(1024) };
    refused(&mut image, &open(QuorumId(1024), own), &unknown);
}

#[test]
#[should_panic(expected = "commands are applied in order: 1 after 1")]
fn no_command_is_applied_twice() {
    let mut image = Image::default();
    let found = Command::Found { cluster_id: "one".to_owned(), founder: None };
    let _ = image.apply(&found, Index(1), AT_MS);
    let _ = image.apply(&found, Index(1), AT_MS);
}

/// Founders that are not wanted any more are not opened: with too few of the others, nobody could elect who lets the
/// new ones in.
#[test]
fn a_partition_is_not_moved_before_most_of_its_first_replicas_are_open() {
    let mut image = three_brokers();
    let (quorum, replicas) = {
        let topic = topic(&mut image, &create(1, "a", &[&[1, 2, 3]]));
        (topic.partitions[0].quorum, topic.partitions[0].replica_ids())
    };
    let shrink = Command::ReassignPartition { quorum, brokers: brokers(&[1]) };
    let open = |at: usize| {
        let directory = directory(at as u8 + 1);
        Command::OpenReplica { quorum, replica: replicas[at], directory }
    };
    refused(&mut image, &shrink, &Rejection::StillFounding { quorum });
    apply(&mut image, &open(1)).unwrap();
    refused(&mut image, &shrink, &Rejection::StillFounding { quorum });
    apply(&mut image, &open(2)).unwrap();
    let members = topic(&mut image, &shrink).partitions[0].members.clone();
    let leaving: Vec<_> = members.leaving.iter().map(|info| info.replica).collect();
    assert_eq!(leaving, replicas[1..]);
    assert!(members.replicas[0].is_added, "what is made from now on begins empty");
    topic(&mut image, &shrink); // who is added later does not count
}
