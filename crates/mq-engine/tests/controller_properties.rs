//! What holds of the image whatever commands come, in whatever order.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use mq_engine::controller::{BrokerInfo, Command, Health, Image};
use mq_types::{BrokerId, DirectoryId, Index, QuorumId, ReplicaId, TopicId};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};

// The world is small, so that commands meet: few names, few topics, few brokers, and ids that were given out.

fn topic_id() -> impl Strategy<Value = TopicId> {
    (0..6_u8).prop_map(|n| TopicId([n; 16]))
}

fn directory() -> impl Strategy<Value = DirectoryId> {
    (0..2_u8).prop_map(|n| DirectoryId([n; 16]))
}

fn placement() -> impl Strategy<Value = Vec<Vec<BrokerId>>> {
    let known = Just((1..=3).map(BrokerId).collect::<Vec<_>>()).prop_shuffle();
    let unknown = Just((2..=4).map(BrokerId).collect::<Vec<_>>()).prop_shuffle();
    let brokers = prop_oneof![10 => known, 1 => unknown];
    (1..4_usize, prop_oneof![1 => Just(0_usize), 9 => 1..4_usize], brokers).prop_map(
        |(replicas, partitions, brokers)| (0..partitions).map(|_| brokers[..replicas].to_vec()).collect(),
    )
}

fn quorum() -> impl Strategy<Value = QuorumId> {
    prop_oneof![1 => Just(QuorumId(0)), 20 => (1024..1040_u64).prop_map(QuorumId)]
}

fn replica() -> impl Strategy<Value = ReplicaId> {
    (1..=3_u32, 1..8_u32).prop_map(|(broker, allocation)| ReplicaId::new(BrokerId(broker), allocation))
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Sound), Just(Health::Damaged), Just(Health::Lost)]
}

fn info() -> impl Strategy<Value = BrokerInfo> {
    (directory(), "[a-z]{0,3}").prop_map(|(directory, text)| BrokerInfo {
        directory,
        grpc_endpoint: format!("{text}:9650"),
        peer_endpoint: format!("{text}:9651"),
        rack: text,
        version: "0.1.0".to_owned(),
    })
}

fn command() -> impl Strategy<Value = Command> {
    let key = || "[ab]";
    prop_oneof![
        1 => "[a-b]{0,1}".prop_map(|cluster_id| Command::Found { cluster_id, founder: None }),
        8 => (0..=3_u32, info()).prop_map(|(broker, info)| Command::RegisterBroker {
            broker: BrokerId(broker),
            info,
        }),
        12 => (topic_id(), "[a-d]", btree_map(key(), "[0-9]{0,2}", 0..3), placement()).prop_map(
            |(topic_id, name, configs, placement)| Command::CreateTopic { topic_id, name, configs, placement }
        ),
        3 => (topic_id(), btree_map(key(), "[0-9]{0,2}", 0..3), vec(key(), 0..3))
            .prop_map(|(topic_id, set, unset)| Command::AlterTopicConfigs { topic_id, set, unset }),
        6 => (topic_id(), 0..5_u32, placement()).prop_map(|(topic_id, first_partition, placement)| {
            Command::AddPartitions { topic_id, first_partition, placement }
        }),
        6 => topic_id().prop_map(|topic_id| Command::DeleteTopic { topic_id }),
        4 => topic_id().prop_map(|topic_id| Command::RestoreTopic { topic_id }),
        3 => (topic_id(), prop::option::of(0..900_i64)).prop_map(|(topic_id, in_trash_since_ms)| {
            Command::PurgeTopic { topic_id, in_trash_since_ms }
        }),
        12 => (quorum(), replica(), directory()).prop_map(|(quorum, replica, directory)| {
            Command::OpenReplica { quorum, replica, directory }
        }),
        12 => (quorum(), replica())
            .prop_map(|(quorum, replica)| Command::ReplicaRemoved { quorum, replica }),
        6 => (0..=3_u32, info()).prop_map(|(broker, info)| Command::JoinBroker { broker: BrokerId(broker), info }),
        8 => (quorum(), replica(), health())
            .prop_map(|(quorum, replica, health)| Command::ReplicaFailed { quorum, replica, health }),
        8 => (quorum(), replica()).prop_map(|(quorum, replica)| Command::ReplaceReplica { quorum, replica }),
        8 => (quorum(), placement()).prop_map(|(quorum, placement)| Command::ReassignPartition {
            quorum,
            brokers: placement.first().cloned().unwrap_or_default(),
        }),
        12 => (quorum(), vec(replica(), 0..3))
            .prop_map(|(quorum, replicas)| Command::MembersLeft { quorum, replicas }),
    ]
}

/// One entry: how far behind the one before, and a command, aimed at something that is there if `aim` says at what.
#[derive(Clone, Debug)]
struct Step {
    gap: u64,
    aim: Option<usize>,
    command: Command,
}

/// Entries; the first ones register brokers, as in life.
fn history() -> impl Strategy<Value = Vec<Step>> {
    let registered = info().prop_map(|info| {
        let register = |id| Command::RegisterBroker { broker: BrokerId(id), info: info.clone() };
        (1..=3).map(|id| Step { gap: 1, aim: None, command: register(id) }).collect()
    });
    let aim = prop::option::weighted(0.8, 0..100_usize);
    let step = (1..4_u64, aim, command()).prop_map(|(gap, aim, command)| Step { gap, aim, command });
    (registered, vec(step, 0..80)).prop_map(|(mut first, rest): (Vec<Step>, _)| {
        first.extend(rest);
        first
    })
}

impl Step {
    /// The command, aimed at the `aim`th of the topics or replicas that are there.
    fn aimed(&self, image: &Image) -> Command {
        let mut command = self.command.clone();
        let Some(aim) = self.aim else { return command };
        match &mut command {
            Command::AlterTopicConfigs { topic_id, .. }
            | Command::DeleteTopic { topic_id }
            | Command::RestoreTopic { topic_id }
            | Command::PurgeTopic { topic_id, .. } => {
                if let Some(there) = image.topics.keys().nth(aim % image.topics.len().max(1)) {
                    *topic_id = *there;
                }
            }
            Command::AddPartitions { topic_id, first_partition, .. } => {
                if let Some(there) = image.topics.values().nth(aim % image.topics.len().max(1)) {
                    (*topic_id, *first_partition) = (there.id, there.partitions.len() as u32);
                }
            }
            Command::OpenReplica { quorum, replica, .. } | Command::ReplicaFailed { quorum, replica, .. } => {
                let ids = ids(image);
                (*quorum, *replica) =
                    ids.iter().nth(aim % ids.len().max(1)).copied().unwrap_or((*quorum, *replica));
            }
            Command::ReplicaRemoved { quorum, replica } => {
                if let Some((there, replicas)) =
                    image.tombstones.iter().nth(aim % image.tombstones.len().max(1))
                {
                    (*quorum, *replica) = (*there, replicas[aim % replicas.len()]);
                }
            }
            Command::ReplaceReplica { quorum, replica } => {
                let is_lost = |(quorum, replica): &&(QuorumId, ReplicaId)| {
                    let info = image.members(*quorum).and_then(|members| members.get(*replica));
                    info.is_some_and(|info| info.health == Health::Lost)
                };
                let ids = ids(image);
                let lost: Vec<_> = ids.iter().filter(is_lost).collect();
                (*quorum, *replica) =
                    lost.get(aim % lost.len().max(1)).map_or((*quorum, *replica), |lost| **lost);
            }
            Command::ReassignPartition { quorum, .. } => {
                let ids = ids(image);
                *quorum = ids.iter().nth(aim % ids.len().max(1)).map_or(*quorum, |there| there.0);
            }
            Command::MembersLeft { quorum, replicas } => {
                let ids = ids(image);
                *quorum = ids.iter().nth(aim % ids.len().max(1)).map_or(*quorum, |there| there.0);
                let members = image.members(*quorum).into_iter();
                replicas.extend(members.flat_map(|members| &members.leaving).map(|info| info.replica));
            }
            Command::Found { .. }
            | Command::RegisterBroker { .. }
            | Command::JoinBroker { .. }
            | Command::CreateTopic { .. } => {}
        }
        command
    }

    fn index(&self, image: &Image) -> Index {
        Index(image.revision.0 + self.gap)
    }
}

fn ids(image: &Image) -> BTreeSet<(QuorumId, ReplicaId)> {
    let partitions = image.topics.values().flat_map(|topic| &topic.partitions);
    let kept = partitions.flat_map(|p| p.members.ids().map(move |replica| (p.quorum, replica)));
    let controller = image.controller.ids().map(|replica| (QuorumId::CONTROLLER, replica));
    let gone = image.tombstones.iter().flat_map(|(q, replicas)| replicas.iter().map(move |r| (*q, *r)));
    kept.chain(controller).chain(gone).collect()
}

/// The properties below would say little of commands that are always refused.
#[test]
fn histories_carry_out_every_kind_of_command() {
    let mut runner = TestRunner::deterministic();
    let mut carried_out: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..100 {
        let mut image = Image::default();
        for step in history().new_tree(&mut runner).unwrap().current() {
            let command = step.aimed(&image);
            if image.apply(&command, step.index(&image), 7).is_ok() {
                let name = format!("{command:?}").split(' ').next().unwrap().to_owned();
                *carried_out.entry(name).or_default() += 1;
            }
        }
    }
    assert_eq!(carried_out.len(), 15, "{carried_out:?}");
    assert!(carried_out.values().all(|count| *count >= 10), "{carried_out:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_command_survives_its_bytes(command in command()) {
        prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
    }

    #[test]
    fn no_bytes_break_the_decoders(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Command::decode(&bytes);
        let _ = Image::decode(&bytes);
    }

    /// Damage is refused, or gives an image that keeps every rule; it never gives a panic.
    #[test]
    fn a_damaged_image_is_refused_or_consistent(history in history(), at in any::<usize>(), value in any::<u8>()) {
        let mut image = Image::default();
        for step in &history {
            let _ = image.apply(&step.aimed(&image), step.index(&image), 7);
        }
        let mut bytes = image.encode().to_vec();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(image) = Image::decode(&bytes) {
            prop_assert_eq!(image.check(), Ok(()));
        }
    }

    #[test]
    fn equal_commands_give_equal_images_through_snapshots_too(history in history(), cut in 0..80_usize) {
        let mut image = Image::default();
        let mut restarted = Image::default();
        for (n, step) in history.iter().enumerate() {
            if n == cut {
                restarted = Image::decode(&restarted.encode()).unwrap();
            }
            let (command, index) = (step.aimed(&image), step.index(&image));
            let at_ms = index.0 as i64 * 10;
            let outcome = image.apply(&command, index, at_ms);
            prop_assert_eq!(outcome, restarted.apply(&command, index, at_ms));
            prop_assert_eq!(&image, &restarted);
        }
        prop_assert_eq!(image.encode(), restarted.encode());
    }

    #[test]
    fn the_image_keeps_its_rules_and_gives_no_id_out_twice(history in history()) {
        let mut image = Image::default();
        let mut ever: BTreeSet<ReplicaId> = BTreeSet::new();
        for step in &history {
            let before = image.clone();
            let index = step.index(&before);
            let outcome = image.apply(&step.aimed(&before), index, 7);
            prop_assert_eq!(image.check(), Ok(()));
            prop_assert_eq!(image.revision, index);
            prop_assert!(image.next_quorum >= before.next_quorum);
            if outcome.is_err() {
                prop_assert_eq!(&Image { revision: before.revision, ..image.clone() }, &before);
            }
            for (_, replica) in ids(&image).difference(&ids(&before)) {
                prop_assert!(ever.insert(*replica), "replica {} was given out before", replica);
            }
        }
    }
}
