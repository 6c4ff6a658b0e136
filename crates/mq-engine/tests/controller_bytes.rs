//! The bytes of commands and snapshots, pinned: what an older version wrote stays readable.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use mq_engine::controller::{BrokerInfo, Command, DecodeError, Health, Image, Inconsistent};
use mq_types::{BrokerId, DirectoryId, Index, QuorumId, ReplicaId, TopicId};
use std::collections::BTreeMap;

const TOPIC: TopicId = TopicId([0xaa; 16]);
const DIRECTORY: DirectoryId = DirectoryId([0xdd; 16]);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn info() -> BrokerInfo {
    BrokerInfo {
        directory: DIRECTORY,
        grpc_endpoint: "h:1".to_owned(),
        peer_endpoint: "h:2".to_owned(),
        rack: "r".to_owned(),
        version: "v".to_owned(),
    }
}

fn configs() -> BTreeMap<String, String> {
    BTreeMap::from([("k".to_owned(), "v".to_owned())])
}

fn commands() -> Vec<Command> {
    let placement = vec![vec![BrokerId(1), BrokerId(2)], vec![BrokerId(2), BrokerId(1)]];
    let (quorum, replica) = (QuorumId(1025), ReplicaId::new(BrokerId(2), 3));
    vec![
        Command::Found { cluster_id: "c".to_owned(), founder: None },
        Command::RegisterBroker { broker: BrokerId(1), info: info() },
        Command::RegisterBroker { broker: BrokerId(2), info: info() },
        Command::CreateTopic {
            topic_id: TOPIC,
            name: "t".to_owned(),
            configs: configs(),
            placement: placement.clone(),
        },
        Command::AlterTopicConfigs { topic_id: TOPIC, set: configs(), unset: vec!["u".to_owned()] },
        Command::AddPartitions { topic_id: TOPIC, first_partition: 2, placement },
        Command::OpenReplica { quorum, replica, directory: DIRECTORY },
        Command::DeleteTopic { topic_id: TOPIC },
        Command::RestoreTopic { topic_id: TOPIC },
        Command::PurgeTopic { topic_id: TOPIC, in_trash_since_ms: None },
        Command::ReplicaRemoved { quorum, replica },
        Command::Found {
            cluster_id: "c".to_owned(),
            founder: Some((ReplicaId::new(BrokerId(1), 1), DIRECTORY)),
        },
        Command::JoinBroker { broker: BrokerId(1), info: info() },
        Command::CreateTopic {
            topic_id: TOPIC,
            name: "t".to_owned(),
            configs: configs(),
            placement: vec![vec![BrokerId(1), BrokerId(2)]],
        },
        Command::ReplicaFailed {
            quorum: QuorumId(1028),
            replica: ReplicaId::new(BrokerId(1), 7),
            health: Health::Lost,
        },
        Command::ReplaceReplica { quorum: QuorumId(1028), replica: ReplicaId::new(BrokerId(1), 7) },
        Command::ReassignPartition { quorum: QuorumId(1028), brokers: vec![BrokerId(1)] },
        Command::MembersLeft { quorum: QuorumId(1028), replicas: vec![ReplicaId::new(BrokerId(1), 7)] },
    ]
}

/// The image after the first `count` of these commands.
fn image(count: usize) -> Image {
    let mut image = Image::default();
    for command in &commands()[..count] {
        let applied = image.apply(command, image.revision.next(), 1_000);
        // A cluster is founded once; the other form of that command is here for its bytes.
        assert!(applied.is_ok() || matches!(command, Command::Found { .. }), "{command:?}: {applied:?}");
    }
    image
}

#[test]
fn commands_have_the_bytes_that_they_always_had() {
    let found: Vec<String> = commands().iter().map(|command| hex(&command.encode())).collect();
    let golden: Vec<&str> = include_str!("golden/commands.hex").lines().collect();
    assert_eq!(found, golden);
    for (command, bytes) in commands().iter().zip(golden) {
        assert_eq!(Command::decode(&unhex(bytes)).as_ref(), Ok(command));
    }
}

#[test]
fn images_have_the_bytes_that_they_always_had() {
    let images = [Image::default(), image(8), image(11), image(18)];
    let found: Vec<String> = images.iter().map(|image| hex(&image.encode())).collect();
    let golden: Vec<&str> = include_str!("golden/images.hex").lines().collect();
    assert_eq!(found, golden);
    for (image, bytes) in images.iter().zip(golden) {
        assert_eq!(Image::decode(&unhex(bytes)).as_ref(), Ok(image));
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn bytes_of_another_version_are_refused() {
    // Field 1, the version: 2.
    assert_eq!(Command::decode(&[0x08, 2]), Err(DecodeError::Version { found: 2 }));
    assert_eq!(Image::decode(&[0x08, 2]), Err(DecodeError::Version { found: 2 }));
    assert_eq!(Command::decode(&[]), Err(DecodeError::Version { found: 0 }));
    assert_eq!(Image::decode(&[]), Err(DecodeError::Version { found: 0 }));
}

#[test]
fn a_command_of_an_unknown_kind_is_refused() {
    // Version 1, then field 127, which no command has.
    assert_eq!(Command::decode(&[0x08, 1, 0xf8, 0x07, 1]), Err(DecodeError::Missing { field: "the change" }));
}

#[test]
fn an_id_of_another_length_is_refused() {
    // Version 1, then field 7 (delete topic) with 3 bytes.
    let error = DecodeError::IdLength { field: "topic id", length_bytes: 3 };
    assert_eq!(Command::decode(&[0x08, 1, 0x3a, 3, 1, 2, 3]), Err(error));
}

#[test]
fn what_is_not_protobuf_is_refused() {
    assert!(matches!(Command::decode(b"\xff\xff"), Err(DecodeError::Protobuf(_))));
    assert!(matches!(Image::decode(b"\xff\xff"), Err(DecodeError::Protobuf(_))));
}

/// Encoding does not judge, decoding does: each of these is one step away from a legal image.
#[test]
fn an_image_that_contradicts_itself_is_refused() {
    let legal = image(7);
    assert_eq!(Image::decode(&legal.encode()).as_ref(), Ok(&legal));
    let refused = |change: &dyn Fn(&mut Image)| {
        let mut image = legal.clone();
        change(&mut image);
        match Image::decode(&image.encode()) {
            Err(DecodeError::Inconsistent(Inconsistent { rule, .. })) => rule,
            other => panic!("{other:?}"),
        }
    };
    let change_topic = |change: &dyn Fn(&mut mq_engine::controller::Topic)| {
        refused(&|image| change(std::sync::Arc::make_mut(image.topics.get_mut(&TOPIC).unwrap())))
    };
    assert_eq!(refused(&|image| image.next_quorum = 0), "quorums begin at 1024");
    assert_eq!(refused(&|image| image.next_quorum -= 1), "a partition's quorum is one that was given out");
    assert_eq!(refused(&|image| image.next_allocation.clear()), "a replica is one that was given out");
    assert_eq!(
        refused(&|image| *image.next_allocation.get_mut(&BrokerId(1)).unwrap() = 1),
        "allocation numbers begin at 2"
    );
    assert_eq!(refused(&|image| drop(image.brokers.insert(BrokerId(0), info()))), "broker ids begin at 1");
    assert_eq!(
        refused(&|image| {
            image.next_quorum += 1;
            let last = QuorumId(image.next_quorum - 1);
            image.tombstones.insert(last, vec![ReplicaId::new(BrokerId(1), 2)]);
        }),
        "a replica is there once"
    );
    assert_eq!(
        refused(&|image| {
            image.next_quorum += 1;
            let last = QuorumId(image.next_quorum - 1);
            image.tombstones.insert(last, Vec::new());
        }),
        "a tombstone names a replica"
    );
    assert_eq!(change_topic(&|topic| topic.partitions.clear()), "a topic has a partition");
    assert_eq!(change_topic(&|topic| topic.partitions.swap(0, 1)), "the quorums of a topic ascend");
    assert_eq!(
        change_topic(&|topic| topic.partitions[0].members.replicas.clear()),
        "a partition has a replica"
    );
    assert_eq!(change_topic(&|topic| topic.replication_factor = 0), "a partition should have a replica");
    assert_eq!(
        change_topic(&|topic| {
            let twice = topic.partitions[0].members.replicas[0];
            topic.partitions[0].members.replicas.push(twice);
        }),
        "a partition's replicas are on different brokers"
    );
}

#[test]
fn two_live_topics_of_one_name_are_refused() {
    let mut image = image(4);
    let mut twin = image.topics[&TOPIC].clone();
    let topic = std::sync::Arc::make_mut(&mut twin);
    topic.id = TopicId([0xab; 16]);
    image.topics.insert(topic.id, twin);
    let decoded = Image::decode(&image.encode());
    assert!(matches!(decoded, Err(DecodeError::Twice { what: "the name of topic", .. })), "{decoded:?}");
}

#[test]
fn the_empty_image_is_small_and_legal() {
    let image = Image::default();
    assert_eq!((image.revision, image.next_quorum), (Index(0), 1024));
    assert_eq!(image.check(), Ok(()));
    assert!(image.encode().len() < 10, "{} bytes", image.encode().len());
}
