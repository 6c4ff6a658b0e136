//! Which replicas this shard should have: what the image says, against what is here.
//!
//! What is in the image and not here is made, or declared lost; what has a tombstone is removed. What is merely absent
//! from the image is left alone: deleting needs a word, not a silence.

use crate::controller::{Command, Controller, Health, Image, PartitionInfo, ReplicaInfo, Topic, TopicConfig};
use crate::partition::{Partition, TopicBinding};
use crate::replica::membership::Wanted;
use crate::replica::{Replica, Serves};
use crate::seat::Seat;
use crate::turn::Turn;
use crate::{Effect, Engine, Event};
use mq_types::persist::{Create, LostReason, Membership, Start};
use mq_types::{QuorumId, ReplicaId, ShardId};
use std::sync::Arc;

impl Engine {
    /// Makes quorum 0 with this broker as its only member, if this broker was told to and has none yet.
    pub(crate) fn found(&mut self, turn: &Turn) {
        let is_founder = self.options.shard == ShardId(0) && self.options.found_cluster.is_some();
        if !is_founder || self.replicas.contains_key(&QuorumId::CONTROLLER) {
            return;
        }
        let first = Controller::first_snapshot();
        let controller = Controller::recover(&first, turn.options.controller)
            .expect("the first snapshot is that of an empty image");
        let replica = ReplicaId::new(self.options.broker, Image::FOUNDER_ALLOCATION);
        let create = Create {
            start: Start::BOOTSTRAP,
            membership: first_membership(vec![replica]),
            opened: true,
            snapshot: Some(first),
        };
        let serves = Serves::Controller(Box::new(Seat::new(controller)));
        self.make(QuorumId::CONTROLLER, replica, create, serves);
    }

    /// The controller lets this broker take part, with this replica of quorum 0. It begins empty and is sent all that
    /// there is; that it is bound to this directory was committed before it was said.
    pub(crate) fn joined(&mut self, replica: ReplicaId, turn: &mut Turn) {
        let is_new = self.newest_seat.is_none_or(|newest| replica > newest);
        if self.options.shard != ShardId(0) || replica.broker() != self.options.broker || !is_new {
            return;
        }
        if let Some(here) = self.touch(QuorumId::CONTROLLER) {
            if here.is_lost() {
                here.remove(turn); // asked again when it is gone
            }
            return;
        }
        self.newest_seat = Some(replica);
        let first = Controller::empty_snapshot();
        let controller = Controller::recover(&first, turn.options.controller)
            .expect("the first snapshot is that of an empty image");
        let membership = Membership::default();
        let create = Create { start: Start::EMPTY, membership, opened: true, snapshot: Some(first) };
        let serves = Serves::Controller(Box::new(Seat::new(controller)));
        self.make(QuorumId::CONTROLLER, replica, create, serves);
    }

    /// Compares what has changed in the image with what is here.
    pub(crate) fn image_changed(&mut self, image: &Arc<Image>, turn: &mut Turn) {
        let old = std::mem::replace(&mut self.image, Arc::clone(image));
        let was_known = std::mem::replace(&mut self.is_image_known, true);
        for (id, topic) in &image.topics {
            let same = was_known && old.topics.get(id).is_some_and(|old| Arc::ptr_eq(old, topic));
            if !same {
                self.topic_changed(topic, turn);
            }
        }
        for (_, topic) in old.topics.iter().filter(|(id, _)| !image.topics.contains_key(id)) {
            for partition in &topic.partitions {
                if let Some(Serves::Partition(partition)) = self.serves(partition.quorum) {
                    partition.unbind();
                }
            }
        }
        if self.options.shard == ShardId(0)
            && let Some(replica) = self.touch(QuorumId::CONTROLLER)
        {
            replica.want(Wanted { members: image.controller.clone(), voters: image.controller_voters() });
        }
        // What was said of earlier tombstones is said again from time to time, not at every change.
        for (quorum, replicas) in &image.tombstones {
            if !was_known || old.tombstones.get(quorum) != Some(replicas) {
                self.remove_if_tombstoned(*quorum, turn);
                self.announce_absence(*quorum, turn);
            }
        }
        self.remove_strangers(turn);
        if !was_known {
            self.announce_broker(turn);
        }
    }

    fn topic_changed(&mut self, topic: &Topic, turn: &mut Turn) {
        let config = TopicConfig::of(topic);
        let binding =
            TopicBinding { name: topic.name.clone(), in_trash: topic.deleted_at_ms.is_some(), config };
        for partition in &topic.partitions {
            if !self.is_of_this_shard(partition.quorum) {
                continue;
            }
            if let Some(own) = partition.members.on(self.options.broker) {
                self.check_replica(partition, own, turn);
            }
            let directory = self.options.directory;
            if let Some(replica) = self.touch(partition.quorum) {
                // Those who leave, too: most of the first replicas may be among them, and elect who lets them go.
                match partition.members.opened_in(replica.id()) {
                    None => {}
                    Some(opened_in) if opened_in == directory => replica.accepted(),
                    Some(_) => replica.lose(LostReason::OpenRefused),
                }
                replica.want(Wanted::all_voting(&partition.members));
                if let (Serves::Partition(partition), writes) = replica.serves_mut() {
                    partition.bind(binding.clone(), writes);
                }
            }
        }
    }

    /// One replica that should be here.
    fn check_replica(&mut self, partition: &PartitionInfo, own: &ReplicaInfo, turn: &mut Turn) {
        let quorum = partition.quorum;
        let Some(here) = self.touch(quorum) else {
            let Start { log_start, base_offset, .. } = Start::BOOTSTRAP;
            let serves = Serves::Partition(Box::new(Partition::new(log_start, base_offset)));
            match own.opened_in {
                None => {
                    let (start, membership) = first_members(partition, own);
                    let create = Create { start, membership, opened: false, snapshot: None };
                    self.make(quorum, own.replica, create, serves);
                }
                Some(_) if mq_types::planted!("id_used_again_after_a_wipe") => {
                    let (start, membership) = first_members(partition, own);
                    let create = Create { start, membership, opened: true, snapshot: None };
                    self.make(quorum, own.replica, create, serves);
                }
                Some(_) => {
                    let (replica, reason) = (own.replica, LostReason::OpenRefused);
                    turn.event(Event::Lost { quorum, replica, reason });
                    self.replicas.insert(quorum, Replica::missing(quorum, replica, serves));
                    self.touched.insert(quorum);
                }
            }
            return;
        };
        // One before it has to be removed first. A lost one is worth nothing to its quorum, and goes at once.
        if here.id() != own.replica && here.is_lost() && partition.members.leaves(here.id()) {
            here.remove(turn);
        }
    }

    fn make(&mut self, quorum: QuorumId, replica: ReplicaId, create: Create, serves: Serves) {
        let made = Replica::create(quorum, replica, self.options.seed, create, serves);
        assert!(self.replicas.insert(quorum, made).is_none(), "quorum {quorum} has a replica here already");
        self.touched.insert(quorum);
    }

    /// Removes replicas that were never opened here and that the metadata, which once gave them their ids, name no more:
    /// nobody will ever say anything about them.
    fn remove_strangers(&mut self, turn: &mut Turn) {
        let image = Arc::clone(&self.image);
        let next = image.next_allocation.get(&self.options.broker).copied().unwrap_or_default();
        let may_go = |here: &&Replica| {
            let is_absence_enough =
                mq_types::planted!("absence_deletes") && here.quorum() != QuorumId::CONTROLLER;
            is_absence_enough || here.was_never_opened() && here.id().allocation() < next
        };
        let is_stranger = |here: &&Replica| may_go(here) && !image.names(here.quorum(), here.id());
        let strangers: Vec<QuorumId> =
            self.replicas.values().filter(is_stranger).map(Replica::quorum).collect();
        for quorum in strangers {
            self.touch(quorum).expect("it was found just now").remove(turn);
        }
    }

    /// Removes this shard's replica of the quorum if the controller has said so.
    pub(crate) fn remove_if_tombstoned(&mut self, quorum: QuorumId, turn: &mut Turn) {
        let image = Arc::clone(&self.image);
        let Some(tombstones) = image.tombstones.get(&quorum) else { return };
        if let Some(replica) = self.touch(quorum).filter(|replica| tombstones.contains(&replica.id())) {
            replica.remove(turn);
        }
    }

    /// A replica is gone: everybody is told, and what the image wants in its place is made.
    pub(crate) fn forget(&mut self, quorum: QuorumId, turn: &mut Turn) {
        let mut gone = self.replicas.remove(&quorum).expect("only a replica that was here is forgotten");
        let replica = gone.id();
        if let (Serves::Partition(partition), _) = gone.serves_mut() {
            partition.abandon(quorum, turn); // asked for while the removal was being written
        }
        if quorum == QuorumId::CONTROLLER {
            self.announce_join(turn);
        }
        turn.notice(Effect::Closed { quorum });
        turn.notice(Effect::Command(Command::ReplicaRemoved { quorum, replica }));
        turn.event(Event::Removed { quorum, replica });
        let image = Arc::clone(&self.image);
        if let Some((topic, _)) = image.partition(quorum) {
            self.topic_changed(topic, turn);
        }
    }

    /// Tells the controller again what it has not heard yet.
    pub(crate) fn announce(&mut self, turn: &mut Turn) {
        for replica in self.replicas.values() {
            let commands = replica.announcement(self.options.directory).into_iter().chain(replica.left());
            for command in commands.chain(replica.replacements()).chain(self.failure(replica)) {
                turn.notice(Effect::Command(command));
            }
        }
        self.announce_join(turn);
        if self.is_image_known {
            for quorum in self.image.tombstones.keys() {
                self.announce_absence(*quorum, turn);
            }
            self.announce_broker(turn);
        }
    }

    /// What the controller does not know yet of a replica's health.
    fn failure(&self, replica: &Replica) -> Option<Command> {
        let (quorum, id, health) = (replica.quorum(), replica.id(), replica.health());
        let known = match self.image.members(quorum)?.get(id) {
            Some(info) => info.health,
            // A seat may be lost before it is told of itself, and is told no more after that.
            None if quorum == QuorumId::CONTROLLER => Health::Sound,
            None => return None,
        };
        (health > known).then_some(Command::ReplicaFailed { quorum, replica: id, health })
    }

    /// Asks to take part, if there is no replica of quorum 0 here that could tell what is wanted.
    fn announce_join(&self, turn: &mut Turn) {
        let seat = self.replicas.get(&QuorumId::CONTROLLER);
        let is_stranded = seat.is_none_or(|seat| seat.is_lost() && !seat.here().is_sole_voter);
        if self.options.shard == ShardId(0) && self.options.found_cluster.is_none() && is_stranded {
            turn.notice(Effect::Join(self.options.info.clone()));
        }
    }

    /// Says that this shard's replicas with a tombstone are not here, if so.
    fn announce_absence(&self, quorum: QuorumId, turn: &mut Turn) {
        let tombstones = self.image.tombstones.get(&quorum).filter(|_| self.is_of_this_shard(quorum));
        let own = tombstones.into_iter().flatten().filter(|id| id.broker() == self.options.broker);
        let is_here = |id: &ReplicaId| self.replicas.get(&quorum).is_some_and(|here| here.id() == *id);
        for &replica in own.filter(|replica| !is_here(replica)) {
            turn.notice(Effect::Command(Command::ReplicaRemoved { quorum, replica }));
        }
    }

    /// The cluster's id and this broker's address, if the image does not have them.
    fn announce_broker(&self, turn: &mut Turn) {
        if self.options.shard != ShardId(0) {
            return;
        }
        if let Some(cluster_id) =
            self.options.found_cluster.clone().filter(|_| self.image.cluster_id.is_empty())
        {
            let own = self.replicas.get(&QuorumId::CONTROLLER).map(Replica::id);
            let founder = own.map(|replica| (replica, self.options.directory));
            turn.notice(Effect::Command(Command::Found { cluster_id, founder }));
        }
        if self.image.brokers.get(&self.options.broker) != Some(&self.options.info) {
            let (broker, info) = (self.options.broker, self.options.info.clone());
            turn.notice(Effect::Command(Command::RegisterBroker { broker, info }));
        }
    }

    fn serves(&mut self, quorum: QuorumId) -> Option<&mut Serves> {
        self.touch(quorum).map(|replica| replica.serves_mut().0)
    }

    fn is_of_this_shard(&self, quorum: QuorumId) -> bool {
        quorum.shard(self.options.shards) == self.options.shard
    }
}

/// Where a new replica's log begins, and with which members: that of one that was added later knows none, so that it is
/// sent a start snapshot whatever the leader's log still holds.
fn first_members(partition: &PartitionInfo, own: &ReplicaInfo) -> (Start, Membership) {
    if own.is_added && !mq_types::planted!("newcomer_begins_as_a_founder") {
        return (Start::EMPTY, Membership::default());
    }
    (Start::BOOTSTRAP, first_membership(partition.replica_ids()))
}

/// The members with which every quorum is bootstrapped.
fn first_membership(voters: Vec<ReplicaId>) -> Membership {
    Membership { conf_index: Start::BOOTSTRAP.prev_index, voters, ..Membership::default() }
}
