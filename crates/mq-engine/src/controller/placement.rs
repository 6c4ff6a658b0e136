//! Which brokers hold the replicas of new partitions.
//!
//! A pure function of the image and of who answers: the leader asks it before it proposes, and the command carries the
//! result.

use super::Image;
use mq_types::BrokerId;
use std::collections::{BTreeMap, BTreeSet};

/// Why no place was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// A broker holds at most one replica of a partition.
    #[error(
        "{replication_factor} replicas need as many brokers, and the cluster has {broker_count} that answer; \
         ask for at most {broker_count}, or add brokers"
    )]
    TooFewBrokers {
        /// Replicas asked for.
        replication_factor: u32,
        /// Brokers that answer.
        broker_count: u32,
    },
}

/// The brokers of each new partition's replicas, the preferred leader's first.
///
/// The first replica goes to the broker that holds the fewest. Each further one goes to the rack that has the fewest
/// replicas of this partition, since a rack fails as a whole, and there to the broker that holds the fewest. Among
/// equals the turn goes round, so that leaders spread too. Nothing goes to `silent` brokers.
///
/// # Errors
/// There are too few brokers.
pub fn place(
    image: &Image,
    silent: &BTreeSet<BrokerId>,
    partition_count: u32,
    replication_factor: u32,
) -> Result<Vec<Vec<BrokerId>>, PlacementError> {
    assert!(replication_factor > 0, "a partition has a replica");
    let answers: BTreeMap<BrokerId, &str> = image
        .brokers
        .iter()
        .filter(|(broker, _)| !silent.contains(broker))
        .map(|(broker, info)| (*broker, info.rack.as_str()))
        .collect();
    let broker_count = answers.len() as u32;
    if replication_factor > broker_count {
        return Err(PlacementError::TooFewBrokers { replication_factor, broker_count });
    }
    let mut loads = loads(image);
    let turns = (image.next_quorum..).take(partition_count as usize);
    Ok(turns.map(|turn| place_one(&answers, &mut loads, turn, replication_factor as usize)).collect())
}

/// How many replicas each broker holds, those in the trash included: they hold their disk space.
fn loads(image: &Image) -> BTreeMap<BrokerId, usize> {
    let mut loads: BTreeMap<BrokerId, usize> = image.brokers.keys().map(|broker| (*broker, 0)).collect();
    for partition in image.topics.values().flat_map(|topic| &topic.partitions) {
        for replica in partition.members.ids() {
            if let Some(load) = loads.get_mut(&replica.broker()) {
                *load += 1;
            }
        }
    }
    loads
}

fn place_one(
    answers: &BTreeMap<BrokerId, &str>,
    loads: &mut BTreeMap<BrokerId, usize>,
    turn: u64,
    replica_count: usize,
) -> Vec<BrokerId> {
    let broker_count = answers.len();
    let first = (turn % broker_count as u64) as usize;
    let mut chosen = Vec::with_capacity(replica_count);
    let mut racks: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..replica_count {
        let candidates = answers.iter().enumerate().filter(|(_, (broker, _))| !chosen.contains(*broker));
        let best = candidates.min_by_key(|(at, (broker, rack))| {
            let in_rack = racks.get(*rack).copied().unwrap_or(0);
            let wait = (at + broker_count - first) % broker_count;
            (in_rack, loads[*broker], wait)
        });
        let (_, (broker, rack)) = best.expect("there are at least as many brokers as replicas");
        chosen.push(*broker);
        *racks.entry(rack).or_default() += 1;
        *loads.entry(*broker).or_default() += 1;
    }
    let distinct: BTreeSet<&BrokerId> = chosen.iter().collect();
    assert_eq!(distinct.len(), replica_count, "each replica is on a broker of its own: {chosen:?}");
    chosen
}
