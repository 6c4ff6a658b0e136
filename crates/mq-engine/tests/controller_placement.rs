//! Where new partitions go.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use mq_engine::controller::{BrokerInfo, Command, Image, PlacementError, place};
use mq_types::{BrokerId, TopicId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// An image with a broker in each of these racks, numbered from 1.
fn image(racks: &[&str]) -> Image {
    let mut image = Image::default();
    for (id, rack) in (1..).zip(racks) {
        let info = BrokerInfo { rack: (*rack).to_owned(), ..BrokerInfo::default() };
        apply(&mut image, &Command::RegisterBroker { broker: BrokerId(id), info });
    }
    image
}

fn apply(image: &mut Image, command: &Command) {
    image.apply(command, image.revision.next(), 0).unwrap();
}

/// Places and creates, as topics come to be.
fn create(image: &mut Image, id: u8, partition_count: u32, replication_factor: u32) -> Vec<Vec<u32>> {
    let placement = place(image, &BTreeSet::new(), partition_count, replication_factor).unwrap();
    let numbers = placement.iter().map(|brokers| brokers.iter().map(|b| b.0).collect()).collect();
    let (topic_id, name) = (TopicId([id; 16]), format!("topic-{id}"));
    apply(image, &Command::CreateTopic { topic_id, name, configs: BTreeMap::new(), placement });
    numbers
}

/// How often each broker comes up, by broker; in the first place only, or in any.
fn counts(placement: &[Vec<u32>], first_only: bool) -> BTreeMap<u32, usize> {
    let take = if first_only { 1 } else { usize::MAX };
    let mut counts = BTreeMap::new();
    for broker in placement.iter().flat_map(|brokers| brokers.iter().take(take)) {
        *counts.entry(*broker).or_default() += 1;
    }
    counts
}

#[test]
fn more_replicas_than_brokers_are_refused_with_both_numbers() {
    let error = place(&image(&["", ""]), &BTreeSet::new(), 1, 3).unwrap_err();
    assert_eq!(error, PlacementError::TooFewBrokers { replication_factor: 3, broker_count: 2 });
    assert_eq!(
        error.to_string(),
        "3 replicas need as many brokers, and the cluster has 2 that answer; ask for at most 2, or add brokers"
    );
}

#[test]
fn one_broker_gets_everything() {
    assert_eq!(create(&mut image(&[""]), 1, 3, 1), [[1], [1], [1]]);
}

#[test]
fn leaders_and_replicas_spread_over_the_brokers() {
    let mut image = image(&["", "", ""]);
    let placement = create(&mut image, 1, 6, 2);
    assert_eq!(counts(&placement, false), BTreeMap::from([(1, 4), (2, 4), (3, 4)]));
    let everywhere = create(&mut image, 2, 6, 3);
    assert_eq!(counts(&everywhere, true), BTreeMap::from([(1, 2), (2, 2), (3, 2)]));
}

#[test]
fn topics_of_one_partition_do_not_all_begin_on_the_same_broker() {
    let mut image = image(&["", "", ""]);
    let placement: Vec<Vec<u32>> = (1..=6).flat_map(|id| create(&mut image, id, 1, 3)).collect();
    assert_eq!(counts(&placement, true), BTreeMap::from([(1, 2), (2, 2), (3, 2)]));
}

#[test]
fn a_new_broker_is_filled_up_first() {
    let mut image = image(&["", ""]);
    create(&mut image, 1, 4, 1);
    apply(&mut image, &Command::RegisterBroker { broker: BrokerId(3), info: BrokerInfo::default() });
    assert_eq!(create(&mut image, 2, 2, 1), [[3], [3]]);
}

#[test]
fn replicas_of_a_partition_are_in_different_racks_as_far_as_there_are_racks() {
    let mut image = image(&["a", "a", "a", "b"]);
    for brokers in create(&mut image, 1, 9, 2) {
        assert!(brokers.contains(&4), "{brokers:?} lie all in rack a");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_partition_gets_distinct_brokers_and_as_many_racks_as_possible(
        racks in prop::collection::vec("[abc]", 1..8),
        replication_factor in 1..5_u32,
        counts in prop::collection::vec(1..5_u32, 1..5),
    ) {
        let racks: Vec<&str> = racks.iter().map(String::as_str).collect();
        prop_assume!(replication_factor as usize <= racks.len());
        let rack_count = racks.iter().collect::<BTreeSet<_>>().len();
        let mut image = image(&racks);
        for (id, partition_count) in (0..).zip(counts) {
            let again = place(&image, &BTreeSet::new(), partition_count, replication_factor);
            prop_assert_eq!(&again, &place(&image, &BTreeSet::new(), partition_count, replication_factor));
            let placement = create(&mut image, id, partition_count, replication_factor);
            prop_assert_eq!(placement.len(), partition_count as usize);
            for brokers in placement {
                let distinct: BTreeSet<u32> = brokers.iter().copied().collect();
                prop_assert_eq!(distinct.len(), replication_factor as usize);
                let used: BTreeSet<&str> = brokers.iter().map(|b| racks[*b as usize - 1]).collect();
                prop_assert_eq!(used.len(), rack_count.min(replication_factor as usize));
            }
        }
    }

    #[test]
    fn without_racks_no_broker_holds_two_replicas_more_than_another(
        brokers in 1..7_usize,
        replication_factor in 1..5_u32,
        partition_counts in prop::collection::vec(1..5_u32, 1..5),
    ) {
        prop_assume!(replication_factor as usize <= brokers);
        let mut image = image(&vec![""; brokers]);
        let mut all = Vec::new();
        for (id, partition_count) in (0..).zip(partition_counts) {
            all.extend(create(&mut image, id, partition_count, replication_factor));
            let counts = counts(&all, false);
            let load = |broker: usize| counts.get(&(broker as u32)).copied().unwrap_or(0);
            let least = (1..=brokers).map(load).min().unwrap();
            let most = (1..=brokers).map(load).max().unwrap();
            prop_assert!(most - least <= 1, "{:?}", counts);
        }
    }
}

#[test]
fn nothing_goes_to_a_broker_that_does_not_answer() {
    let (image, silent) = (image(&["", "", ""]), BTreeSet::from([BrokerId(2)]));
    let placed = place(&image, &silent, 4, 2).unwrap();
    assert!(placed.iter().flatten().all(|broker| *broker != BrokerId(2)), "{placed:?}");
    let error = PlacementError::TooFewBrokers { replication_factor: 3, broker_count: 2 };
    assert_eq!(place(&image, &silent, 1, 3), Err(error));
}
