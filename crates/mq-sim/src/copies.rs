//! Of which quorums any one disk can be lost while their replicas move from broker to broker: those that had enough
//! copies once, and of which nobody has wanted fewer since. A move must not do with fewer on the way.

use crate::broker::{Broker, broker_id};
use crate::queue::At;
use crate::random::Random;
use crate::record::Record;
use crate::sometimes;
use crate::whole::{self, VOTERS_THAT_BEAR_A_LOSS};
use mq_engine::controller::{Health, Image, Members};
use mq_types::{BrokerId, QuorumId, ReplicaId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often it is looked for a move in which a disk could be lost, and how many times at most.
const LOOK_US: u64 = 20_000;
const LOOKS_MAX: u32 = 500;

/// What is known of all copies.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// The newest metadata that any broker was ever given: nobody can have acted on newer ones.
    image: Arc<Image>,
    enough: BTreeSet<QuorumId>,
    /// Replicas are moved in this run.
    moves: bool,
    /// The next disk is to be lost in a move: so many more times it is looked for one.
    looks_left: u32,
}

impl Copies {
    /// Of a cluster that is not there yet.
    pub(crate) fn new(moves: bool) -> Copies {
        Copies { moves, ..Copies::default() }
    }

    /// A broker is given these metadata.
    pub(crate) fn learn(&mut self, image: &Arc<Image>) {
        if image.revision > self.image.revision {
            self.image = Arc::clone(image);
            for (quorum, members, voters) in whole::quorums(image) {
                if voters.len() < VOTERS_THAT_BEAR_A_LOSS || !can_wait_for_all(members) {
                    self.enough.remove(&quorum);
                }
            }
        }
    }

    /// Whose disk is lost, if one can be: that of `at` while nothing moves, or of somebody who has a part in a move.
    pub(crate) fn disk_to_lose(
        &mut self,
        at: At,
        brokers: &[Broker],
        record: &Record,
        random: &mut Random,
    ) -> Option<At> {
        self.look(brokers, record);
        if self.looks_left == 0 {
            self.looks_left = if self.moves && !random.one_in(4) { LOOKS_MAX } else { 0 };
            return whole::can_lose(at, brokers, record).then_some(at);
        }
        self.looks_left -= 1;
        let movers = self.movers(brokers);
        // Anywhere in the move.
        if movers.is_empty() || !random.one_in(4) {
            return None;
        }
        sometimes!("a disk was lost while replicas moved");
        self.looks_left = 0;
        Some(*random.pick(&movers))
    }

    /// When to look for a disk to lose again, if that is soon.
    pub(crate) fn looks_again_us(&self) -> Option<u64> {
        (self.looks_left > 0).then_some(LOOK_US)
    }

    /// Looks which quorums have enough copies now.
    fn look(&mut self, brokers: &[Broker], record: &Record) {
        for (quorum, members, voters) in whole::quorums(&self.image) {
            let is_whole = || whole::check(brokers, record, quorum, members, &voters).is_ok();
            let has_rot = || members.ids().any(|replica| whole::has_rot(brokers, quorum, replica));
            if voters.len() >= VOTERS_THAT_BEAR_A_LOSS && is_whole() && !has_rot() {
                self.enough.insert(quorum);
            }
        }
    }

    /// A disk is lost: before another one may be, what was on it must be there again.
    pub(crate) fn lose(&mut self) {
        self.enough.clear();
    }

    /// Bits of a copy have flipped: until another one is in its place, the others must all stay.
    pub(crate) fn rot(&mut self, quorum: QuorumId) {
        self.enough.remove(&quorum);
    }

    /// The brokers that have a part in a move, and whose disks can be lost.
    fn movers(&self, brokers: &[Broker]) -> Vec<At> {
        let moving: BTreeSet<BrokerId> = whole::quorums(&self.image)
            .filter(|(_, members, _)| !members.leaving.is_empty())
            .flat_map(|(_, members, _)| members.ids().map(ReplicaId::broker))
            .collect();
        let running = brokers.iter().filter(|broker| broker.process.is_some()).map(|broker| broker.at);
        running.filter(|at| moving.contains(&broker_id(*at)) && self.can_lose(broker_id(*at))).collect()
    }

    fn can_lose(&self, broker: BrokerId) -> bool {
        let is_on = |members: &Members| members.ids().any(|id| id.broker() == broker);
        whole::quorums(&self.image)
            .all(|(quorum, members, _)| !is_on(members) || self.enough.contains(&quorum))
    }
}

/// Whether no replica has to go before another one can come.
fn can_wait_for_all(members: &Members) -> bool {
    members.replicas.iter().all(|info| {
        let has_predecessor = members.leaving.iter().any(|old| old.replica.broker() == info.replica.broker());
        info.health == Health::Sound && !has_predecessor
    })
}
