//! Whether all members are those that are wanted, and all of them have what they promised: only then may a disk be
//! lost with everything on it, and in the end it must come to this.

use crate::broker::{Broker, broker_id};
use crate::queue::At;
use crate::record::Record;
use mq_engine::controller::{Health, Image, Members};
use mq_types::{QuorumId, ReplicaId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// So many voters bear the loss of one.
pub(crate) const VOTERS_THAT_BEAR_A_LOSS: usize = 3;

/// A cluster in which nothing is on its way from one set of members to another: its newest metadata.
///
/// # Errors
/// What is still on its way.
pub(crate) fn image(brokers: &[Broker], record: &Record) -> Result<Arc<Image>, String> {
    let images: Option<Vec<&Arc<Image>>> =
        brokers.iter().map(|broker| Some(&broker.process.as_ref()?.image)).collect();
    let images = images.ok_or("a broker is down")?;
    let image = images.iter().max_by_key(|image| image.revision).ok_or("there is no broker")?;
    if images.iter().any(|other| other.revision != image.revision) {
        return Err(format!("not every broker has the metadata of revision {}", image.revision));
    }
    if brokers.iter().any(|broker| image.controller.on(broker_id(broker.at)).is_none()) {
        return Err(format!("not every broker is a member of quorum 0: {:?}", image.controller));
    }
    for (quorum, members, voters) in quorums(image) {
        check(brokers, record, quorum, members, &voters)
            .map_err(|what| format!("quorum {quorum}: {what}"))?;
    }
    Ok(Arc::clone(image))
}

/// Whether this broker's disk can be lost without losing what was acknowledged.
pub(crate) fn can_lose(at: At, brokers: &[Broker], record: &Record) -> bool {
    let Ok(image) = image(brokers, record) else { return false };
    quorums(&image).all(|(_, members, voters)| {
        let bears_it = voters.len() >= VOTERS_THAT_BEAR_A_LOSS;
        members.on(broker_id(at)).is_none_or(|own| bears_it || !voters.contains(&own.replica))
    })
}

/// Every quorum, its members and those of them that vote.
pub(crate) fn quorums(image: &Image) -> impl Iterator<Item = (QuorumId, &Members, BTreeSet<ReplicaId>)> {
    let partitions = image.topics.values().flat_map(|topic| &topic.partitions).map(|partition| {
        let members = &partition.members;
        (partition.quorum, members, members.replicas.iter().map(|info| info.replica).collect())
    });
    partitions.chain([(QuorumId::CONTROLLER, &image.controller, image.controller_voters())])
}

/// Whether one quorum has all that is wanted.
pub(crate) fn check(
    brokers: &[Broker],
    record: &Record,
    quorum: QuorumId,
    members: &Members,
    voters: &BTreeSet<ReplicaId>,
) -> Result<(), String> {
    if !members.leaving.is_empty() {
        return Err(format!("{:?} are still leaving", members.leaving));
    }
    let wanted: BTreeSet<ReplicaId> = members.ids().collect();
    for info in &members.replicas {
        let directory = brokers[info.replica.broker().0 as usize - 1].directory;
        if info.opened_in != Some(directory) || info.health != Health::Sound {
            return Err(format!("not what it should be in directory {directory}: {info:?}"));
        }
        let known = record.membership(quorum, info.replica).ok_or("a replica knows of no members")?;
        let known_voters: BTreeSet<ReplicaId> = known.voters.iter().copied().collect();
        let known_all = known.voters.iter().chain(&known.learners).copied().collect();
        if known_voters != *voters || wanted != known_all || !known.voters_outgoing.is_empty() {
            return Err(format!("replica {} has {known:?}, wanted {members:?}", info.replica));
        }
    }
    Ok(())
}
