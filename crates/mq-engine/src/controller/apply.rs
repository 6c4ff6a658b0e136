//! What each command does to the image.
//!
//! The same command at the same index does the same on every broker, whatever its version or its options. So only
//! what keeps the image consistent is checked here; whether a name, a config or a number is one that clients may ask
//! for is checked once, by the leader, before it proposes (see `plan`).

use super::{BrokerInfo, Command, Health, Image, Members, PartitionInfo, Rejection, ReplicaInfo, Topic};
use mq_types::{BrokerId, DirectoryId, Index, PartitionId, QuorumId, ReplicaId, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// This is the topic now.
    Topic(Arc<Topic>),
    /// The topic is in the trash, or gone.
    Deleted,
    /// This is the broker's replica of quorum 0.
    Joined(ReplicaId),
    /// Something was noted that brokers, not clients, had to say.
    Noted,
}

impl Image {
    /// Carries out a command. A refused one changes nothing but the revision.
    ///
    /// `index` is the entry's, above every earlier one; `at_ms` is its `appended_at_ms`.
    ///
    /// # Errors
    /// Why the command was refused.
    pub fn apply(&mut self, command: &Command, index: Index, at_ms: i64) -> Result<Applied, Rejection> {
        assert!(index > self.revision, "commands are applied in order: {index} after {}", self.revision);
        let next_quorum_before = self.next_quorum;
        let applied = match command {
            Command::Found { cluster_id, founder } => self.found(cluster_id, *founder),
            Command::JoinBroker { broker, info } => self.join_broker(*broker, info),
            Command::RegisterBroker { broker, info } => self.register_broker(*broker, info),
            Command::CreateTopic { topic_id, name, configs, placement } => {
                self.create_topic(*topic_id, name, configs, placement)
            }
            Command::AlterTopicConfigs { topic_id, set, unset } => self.alter_configs(*topic_id, set, unset),
            Command::AddPartitions { topic_id, first_partition, placement } => {
                self.add_partitions(*topic_id, *first_partition, placement)
            }
            Command::DeleteTopic { topic_id } => self.delete_topic(*topic_id, at_ms),
            Command::RestoreTopic { topic_id } => self.restore_topic(*topic_id),
            Command::PurgeTopic { topic_id, in_trash_since_ms } => {
                self.purge_topic(*topic_id, *in_trash_since_ms)
            }
            Command::OpenReplica { quorum, replica, directory } => {
                self.open_replica(*quorum, *replica, *directory)
            }
            Command::ReplicaFailed { quorum, replica, health } => {
                self.replica_failed(*quorum, *replica, *health)
            }
            Command::ReplaceReplica { quorum, replica } => self.replace_replica(*quorum, *replica),
            Command::ReassignPartition { quorum, brokers } => self.reassign_partition(*quorum, brokers),
            Command::MembersLeft { quorum, replicas } => self.members_left(*quorum, replicas),
            Command::ReplicaRemoved { quorum, replica } => self.replica_removed(*quorum, *replica),
        };
        self.revision = index;
        assert!(
            self.next_quorum >= next_quorum_before,
            "quorum ids are never reused: the counter went from {next_quorum_before} to {}",
            self.next_quorum
        );
        assert!(
            self.names.len() <= self.topics.len(),
            "{} names lead to {} topics",
            self.names.len(),
            self.topics.len()
        );
        applied
    }

    fn found(
        &mut self,
        cluster_id: &str,
        founder: Option<(ReplicaId, DirectoryId)>,
    ) -> Result<Applied, Rejection> {
        if cluster_id.is_empty() {
            return Err(Rejection::NoClusterId);
        }
        if !self.cluster_id.is_empty() {
            return Err(Rejection::FoundedAlready { cluster_id: self.cluster_id.clone() });
        }
        cluster_id.clone_into(&mut self.cluster_id);
        let first = founder.map(|(replica, directory)| ReplicaInfo {
            replica,
            opened_in: Some(directory),
            is_added: false,
            health: Health::Sound,
        });
        self.controller.replicas.extend(first);
        Ok(Applied::Noted)
    }

    /// A broker that asks again is told the same: the answer may have been lost. One that comes with another directory
    /// has lost what its replica acknowledged.
    fn join_broker(&mut self, broker: BrokerId, info: &BrokerInfo) -> Result<Applied, Rejection> {
        self.register_broker(broker, info)?;
        let here = Some(info.directory);
        let own = self.controller.on(broker).copied();
        if let Some(own) = own.filter(|own| own.opened_in == here && own.health != Health::Lost) {
            return Ok(Applied::Joined(own.replica));
        }
        let new = ReplicaInfo { opened_in: here, is_added: true, ..self.new_replica(broker) };
        match own {
            Some(own) => self.controller.replace(own.replica, new),
            None => self.controller.replicas.push(new),
        }
        Ok(Applied::Joined(new.replica))
    }

    /// A broker may come back from elsewhere and with another directory: its replicas are bound one by one, when
    /// they are opened.
    fn register_broker(&mut self, broker: BrokerId, info: &BrokerInfo) -> Result<Applied, Rejection> {
        if broker.0 == 0 {
            return Err(Rejection::BrokerIdZero);
        }
        self.brokers.insert(broker, info.clone());
        Ok(Applied::Noted)
    }

    fn create_topic(
        &mut self,
        topic_id: TopicId,
        name: &str,
        configs: &BTreeMap<String, String>,
        placement: &[Vec<BrokerId>],
    ) -> Result<Applied, Rejection> {
        if self.topics.contains_key(&topic_id) {
            return Err(Rejection::TopicIdTaken { topic_id });
        }
        self.check_name_free(name)?;
        let replica_count = placement.first().ok_or(Rejection::NoPartitions)?.len().max(1);
        self.check_placement(placement, Some(replica_count))?;
        let topic = Arc::new(Topic {
            id: topic_id,
            name: name.to_owned(),
            configs: configs.clone(),
            replication_factor: replica_count as u32,
            partitions: self.new_partitions(0, placement),
            deleted_at_ms: None,
        });
        self.names.insert(name.to_owned(), topic_id);
        self.topics.insert(topic_id, Arc::clone(&topic));
        Ok(Applied::Topic(topic))
    }

    fn alter_configs(
        &mut self,
        topic_id: TopicId,
        set: &BTreeMap<String, String>,
        unset: &[String],
    ) -> Result<Applied, Rejection> {
        let topic = self.live_topic(topic_id)?;
        topic.configs.retain(|key, _| !unset.contains(key));
        topic.configs.extend(set.iter().map(|(key, value)| (key.clone(), value.clone())));
        Ok(self.topic_as_it_is(topic_id))
    }

    fn add_partitions(
        &mut self,
        topic_id: TopicId,
        first_partition: u32,
        placement: &[Vec<BrokerId>],
    ) -> Result<Applied, Rejection> {
        self.check_placement(placement, None)?;
        let topic = self.live_topic(topic_id)?;
        let found = topic.partitions.len() as u32;
        let wanted = first_partition.saturating_add(placement.len() as u32);
        if found == wanted {
            return Ok(self.topic_as_it_is(topic_id));
        }
        if found != first_partition {
            let name = topic.name.clone();
            return Err(Rejection::PartitionCountChanged {
                name,
                planned_on: first_partition,
                found,
                wanted,
            });
        }
        let added = self.new_partitions(first_partition, placement);
        self.live_topic(topic_id)?.partitions.extend(added);
        Ok(self.topic_as_it_is(topic_id))
    }

    fn delete_topic(&mut self, topic_id: TopicId, at_ms: i64) -> Result<Applied, Rejection> {
        let topic = self.live_topic(topic_id)?;
        topic.deleted_at_ms = Some(at_ms);
        let name = topic.name.clone();
        let named = self.names.remove(&name);
        assert_eq!(named, Some(topic_id), "the live topic {name:?} has its name");
        Ok(Applied::Deleted)
    }

    /// Bringing back a topic that is there is no mistake: the answer to the first attempt may have been lost.
    fn restore_topic(&mut self, topic_id: TopicId) -> Result<Applied, Rejection> {
        let topic = self.topics.get(&topic_id).ok_or(Rejection::UnknownTopic { topic_id })?;
        if topic.deleted_at_ms.is_some() {
            let name = topic.name.clone();
            self.check_name_free(&name)?;
            self.topics.entry(topic_id).and_modify(|topic| Arc::make_mut(topic).deleted_at_ms = None);
            self.names.insert(name, topic_id);
        }
        Ok(self.topic_as_it_is(topic_id))
    }

    fn purge_topic(
        &mut self,
        topic_id: TopicId,
        in_trash_since_ms: Option<i64>,
    ) -> Result<Applied, Rejection> {
        let topic = self.topics.get(&topic_id).ok_or(Rejection::UnknownTopic { topic_id })?;
        if in_trash_since_ms.is_some() && topic.deleted_at_ms != in_trash_since_ms {
            return Err(Rejection::Restored { name: topic.name.clone(), topic_id });
        }
        let topic = self.topics.remove(&topic_id).expect("it was found just now");
        if topic.deleted_at_ms.is_none() {
            let named = self.names.remove(&topic.name);
            assert_eq!(named, Some(topic_id), "the live topic {:?} has its name", topic.name);
        }
        for partition in &topic.partitions {
            self.tombstones.entry(partition.quorum).or_default().extend(partition.members.ids());
        }
        Ok(Applied::Deleted)
    }

    fn open_replica(
        &mut self,
        quorum: QuorumId,
        replica: ReplicaId,
        directory: DirectoryId,
    ) -> Result<Applied, Rejection> {
        let info = self.replica_mut(quorum, replica)?;
        match info.opened_in {
            // The broker asks again until it sees the answer in the image.
            Some(opened_in) if opened_in == directory => Ok(Applied::Noted),
            Some(opened_in) => Err(Rejection::OpenedElsewhere { replica, opened_in, asked: directory }),
            None => {
                info.opened_in = Some(directory);
                Ok(Applied::Noted)
            }
        }
    }

    fn replica_failed(
        &mut self,
        quorum: QuorumId,
        replica: ReplicaId,
        health: Health,
    ) -> Result<Applied, Rejection> {
        let info = self.replica_mut(quorum, replica)?;
        info.health = info.health.max(health);
        Ok(Applied::Noted)
    }

    /// A replica of quorum 0 is not replaced so: its broker, which sees no image any more, joins again.
    fn replace_replica(&mut self, quorum: QuorumId, replica: ReplicaId) -> Result<Applied, Rejection> {
        let info = self.replica_mut(quorum, replica)?;
        if info.health != Health::Lost || quorum == QuorumId::CONTROLLER {
            return Err(Rejection::NotToBeReplaced { quorum, replica });
        }
        let new = ReplicaInfo { is_added: true, ..self.new_replica(replica.broker()) };
        self.members_mut(quorum).expect("it was found just now").replace(replica, new);
        Ok(Applied::Noted)
    }

    fn reassign_partition(&mut self, quorum: QuorumId, brokers: &[BrokerId]) -> Result<Applied, Rejection> {
        self.check_placement(&[brokers.to_vec()], None)?;
        let (topic, partition) = self.partition(quorum).ok_or(Rejection::UnknownQuorum { quorum })?;
        let topic_id = topic.id;
        let old = partition.members.clone();
        if !old.are_founded() {
            return Err(Rejection::StillFounding { quorum });
        }
        let keep = |broker: &BrokerId| old.on(*broker).copied();
        // Its successor could not be made before it is gone: with all of them on such brokers, nobody could go first.
        let is_left =
            |broker: &&BrokerId| old.leaving.iter().any(|leaving| leaving.replica.broker() == **broker);
        if let Some(broker) = brokers.iter().filter(|broker| keep(broker).is_none()).find(is_left) {
            return Err(Rejection::StillLeaving { quorum, broker: *broker });
        }
        let wanted: Vec<ReplicaInfo> = brokers
            .iter()
            .map(|broker| {
                keep(broker).unwrap_or_else(|| ReplicaInfo { is_added: true, ..self.new_replica(*broker) })
            })
            .collect();
        self.members_mut(quorum).expect("it was found just now").reassign(wanted);
        Ok(self.topic_as_it_is(topic_id))
    }

    fn members_left(&mut self, quorum: QuorumId, replicas: &[ReplicaId]) -> Result<Applied, Rejection> {
        let members = self.members_mut(quorum).ok_or(Rejection::UnknownQuorum { quorum })?;
        let (left, leaving): (Vec<_>, _) =
            members.leaving.drain(..).partition(|leaving| replicas.contains(&leaving.replica));
        members.leaving = leaving;
        if !left.is_empty() {
            let left = left.into_iter().map(|info| info.replica);
            self.tombstones.entry(quorum).or_default().extend(left);
        }
        Ok(Applied::Noted)
    }

    fn members_mut(&mut self, quorum: QuorumId) -> Option<&mut Members> {
        if quorum == QuorumId::CONTROLLER {
            return Some(&mut self.controller);
        }
        let (topic, partition) = self.partition(quorum)?;
        let (topic_id, at) = (topic.id, partition.id.0 as usize);
        let topic = self.topics.get_mut(&topic_id).expect("it was found just now");
        Some(&mut Arc::make_mut(topic).partitions[at].members)
    }

    /// A wanted replica.
    fn replica_mut(&mut self, quorum: QuorumId, replica: ReplicaId) -> Result<&mut ReplicaInfo, Rejection> {
        let members = self.members_mut(quorum).ok_or(Rejection::UnknownQuorum { quorum })?;
        members.get_mut(replica).ok_or(Rejection::UnknownReplica { quorum, replica })
    }

    fn replica_removed(&mut self, quorum: QuorumId, replica: ReplicaId) -> Result<Applied, Rejection> {
        let unknown = Rejection::UnknownReplica { quorum, replica };
        let Some(replicas) = self.tombstones.get_mut(&quorum) else { return Err(unknown) };
        let Some(at) = replicas.iter().position(|left| *left == replica) else { return Err(unknown) };
        replicas.remove(at);
        if replicas.is_empty() {
            self.tombstones.remove(&quorum);
        }
        Ok(Applied::Noted)
    }

    fn check_name_free(&self, name: &str) -> Result<(), Rejection> {
        match self.names.get(name) {
            Some(topic_id) => Err(Rejection::NameTaken { name: name.to_owned(), topic_id: *topic_id }),
            None => Ok(()),
        }
    }

    /// Each partition has at least one replica (`replica_count` of them, if that is given), on different brokers
    /// that are known.
    fn check_placement(
        &self,
        placement: &[Vec<BrokerId>],
        replica_count: Option<usize>,
    ) -> Result<(), Rejection> {
        if placement.is_empty() {
            return Err(Rejection::NoPartitions);
        }
        for (partition, brokers) in placement.iter().enumerate() {
            let expected = replica_count.unwrap_or(brokers.len().max(1));
            if brokers.len() != expected {
                return Err(Rejection::ReplicaCount { partition, found: brokers.len(), expected });
            }
            let mut seen = BTreeSet::new();
            for broker in brokers {
                if !self.brokers.contains_key(broker) {
                    return Err(Rejection::UnknownBroker { broker: *broker });
                }
                if !seen.insert(broker) {
                    return Err(Rejection::BrokerTwice { broker: *broker });
                }
            }
        }
        Ok(())
    }

    /// Draws the ids of new partitions and of their replicas.
    fn new_partitions(&mut self, first_partition: u32, placement: &[Vec<BrokerId>]) -> Vec<PartitionInfo> {
        let mut partitions = Vec::with_capacity(placement.len());
        for (id, brokers) in (first_partition..).zip(placement) {
            let quorum = QuorumId(self.next_quorum);
            self.next_quorum += 1;
            let replicas = brokers.iter().map(|broker| self.new_replica(*broker)).collect();
            let members = Members { replicas, leaving: Vec::new() };
            partitions.push(PartitionInfo { id: PartitionId(id), quorum, members });
        }
        partitions
    }

    fn new_replica(&mut self, broker: BrokerId) -> ReplicaInfo {
        let next = self.next_allocation.entry(broker).or_insert(Image::FIRST_ALLOCATION);
        let allocation = *next;
        *next = allocation.checked_add(1).expect("a broker gets fewer than 2^32 replicas in its life");
        let replica = ReplicaId::new(broker, allocation);
        ReplicaInfo { replica, opened_in: None, is_added: false, health: Health::Sound }
    }

    fn live_topic(&mut self, topic_id: TopicId) -> Result<&mut Topic, Rejection> {
        let topic = self.topics.get_mut(&topic_id).ok_or(Rejection::UnknownTopic { topic_id })?;
        if topic.deleted_at_ms.is_some() {
            return Err(Rejection::InTrash { name: topic.name.clone(), topic_id });
        }
        Ok(Arc::make_mut(topic))
    }

    fn topic_as_it_is(&self, topic_id: TopicId) -> Applied {
        Applied::Topic(Arc::clone(&self.topics[&topic_id]))
    }
}
