//! Whether all members are those that are wanted, and all of them have what they promised: only then may a disk be
//! lost with everything on it, or bits of it flip, and in the end it must come to this.
//!
//! Of the copies of an entry a majority stays good: of each quorum, one member at a time is lost or has flipped bits.
//! It counts as long as it is a member; the members after it get what they have from the others.

use crate::broker::{Broker, broker_id, place};
use crate::queue::At;
use crate::record::Record;
use mq_engine::controller::{Health, Image, Members, ReplicaInfo};
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
    quorums(&image).all(|(quorum, members, voters)| {
        let own = members.on(broker_id(at));
        own.is_none_or(|own| bears_loss(brokers, quorum, members, &voters, own.replica))
    })
}

/// This broker's replicas of which bits may flip without losing what was acknowledged.
pub(crate) fn can_rot(at: At, brokers: &[Broker], record: &Record) -> Vec<(QuorumId, ReplicaId)> {
    let Ok(image) = image(brokers, record) else { return Vec::new() };
    let of_quorum = |(quorum, members, voters): (QuorumId, &Members, BTreeSet<ReplicaId>)| {
        let own = members.on(broker_id(at))?.replica;
        bears_loss(brokers, quorum, members, &voters, own).then_some((quorum, own))
    };
    quorums(&image).filter_map(of_quorum).collect()
}

/// Whether a majority still has everything without this member's copy.
fn bears_loss(
    brokers: &[Broker],
    quorum: QuorumId,
    members: &Members,
    voters: &BTreeSet<ReplicaId>,
    own: ReplicaId,
) -> bool {
    let is_good = |info: &ReplicaInfo| !has_rot(brokers, quorum, info.replica);
    (voters.len() >= VOTERS_THAT_BEAR_A_LOSS || !voters.contains(&own))
        && members.replicas.iter().filter(|info| info.replica != own).all(is_good)
}

/// Whether bits of this replica have flipped.
pub(crate) fn has_rot(brokers: &[Broker], quorum: QuorumId, replica: ReplicaId) -> bool {
    brokers[place(replica.broker())].disk.rot.has(quorum, replica)
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
        let directory = brokers[place(info.replica.broker())].directory;
        // A damaged one goes on, and it is for people to replace it.
        let is_as_it_should = match info.health {
            Health::Sound => true,
            Health::Damaged => has_rot(brokers, quorum, info.replica),
            Health::Lost => false,
        };
        if info.opened_in != Some(directory) || !is_as_it_should {
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
