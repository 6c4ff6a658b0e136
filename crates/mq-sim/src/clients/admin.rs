//! Somebody who makes, changes and deletes topics, and deletes records.

use super::{Clients, Line, Purpose, history_id};
use crate::ask::{Answer, Ask};
use crate::queue::Event;
use crate::sometimes;
use mq_checker::history::Fact;
use mq_engine::controller::Request;
use mq_types::{BrokerId, Offset, QuorumId, TopicId};
use std::collections::BTreeMap;

/// How often what clients know is refreshed, in microseconds.
const REFRESH_US: u64 = 150_000;
/// Replicas of a partition, until they are moved.
const REPLICAS: u32 = 3;
/// Partitions of the main topic at most.
const PARTITIONS_MAX: u32 = 6;
/// The topic that is always there.
const MAIN: &str = "main";

/// What was asked of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Create,
    Restore,
    Move,
    Other,
}

/// Somebody who administers.
#[derive(Debug, Default)]
pub(super) struct Admin {
    next_us: u64,
    /// The creation of the main topic is under way.
    is_creating: bool,
    topics: u64,
}

impl Admin {
    pub(super) fn answered(&mut self, order: Order, answer: &Answer) {
        let is_done = matches!(answer, Answer::Engine(Ok(_)));
        match order {
            Order::Create => {
                self.is_creating = false;
                if is_done && self.topics > 1 {
                    sometimes!("a topic was created while faults were on");
                }
            }
            Order::Restore if is_done => sometimes!("a deleted topic was restored"),
            Order::Move if is_done => sometimes!("the replicas of a partition were to move"),
            Order::Restore | Order::Move | Order::Other => {}
        }
    }

    pub(super) fn unknown(&mut self, order: Order) {
        self.is_creating &= order != Order::Create;
    }
}

impl Clients {
    /// Looks whether anything is to be done.
    pub(crate) fn administer(&mut self, line: &mut Line<'_>) {
        line.stage.queue.after(REFRESH_US, Event::Admin);
        let now_us = line.stage.now_us();
        if !self.metadata.names.contains_key(MAIN) {
            if !self.admin.is_creating && self.metadata.brokers == self.swarm.brokers {
                self.admin.is_creating = true;
                self.create(MAIN, self.swarm.partitions, line);
            }
            return;
        }
        if now_us < self.admin.next_us || self.healed_at_us.is_some() {
            return;
        }
        self.admin.next_us = now_us + self.random.below(2 * self.swarm.load.admin_us);
        match self.random.below(16) {
            0..8 if self.swarm.trims => self.delete_records(line),
            8..10 if self.swarm.trims => self.alter(line),
            0..10 => {}
            10 => {
                let name = format!("side-{}", self.random.below(4));
                self.create(&name, 1, line);
            }
            11..13 => self.delete_topic(line),
            13..15 => self.restore(line),
            _ => self.add_partitions(line),
        }
        if self.swarm.moves && self.random.one_in(3) {
            self.move_replicas(line);
        }
    }

    /// Replicas of a partition are to be on other brokers, and perhaps fewer or more of them.
    fn move_replicas(&mut self, line: &mut Line<'_>) {
        let partitions = self.partitions();
        let quorum = *self.random.pick(&partitions);
        let Some(known) = self.metadata.partitions.get(&quorum) else { return };
        let (topic, partition) = (known.name.clone(), known.id);
        let mut brokers: Vec<BrokerId> = Vec::new();
        let count = self.random.between(self.swarm.copies_min..=self.swarm.brokers.min(4) as u64) as usize;
        while brokers.len() < count {
            let broker = BrokerId(self.random.below(self.swarm.brokers as u64) as u32 + 1);
            if !brokers.contains(&broker) {
                brokers.push(broker);
            }
        }
        let request = Request::ReassignPartition { topic, partition, brokers, validate_only: false };
        self.order(Order::Move, request, line);
    }

    fn order(&mut self, order: Order, request: Request, line: &mut Line<'_>) {
        let at = self.metadata.controller.unwrap_or_else(|| self.anybody());
        self.ask(at, Ask::Controller(Box::new(request)), Purpose::Controller(order), line);
    }

    fn create(&mut self, name: &str, partitions: u32, line: &mut Line<'_>) {
        self.admin.topics += 1;
        let mut topic_id = [0; 16];
        topic_id[..8].copy_from_slice(&self.random.draw().to_le_bytes());
        let mut configs = BTreeMap::new();
        if let Some(bytes) = self.swarm.retention_bytes {
            configs.insert("retention.bytes".to_owned(), bytes.to_string());
        }
        let request = Request::CreateTopic {
            name: name.to_owned(),
            topic_id: TopicId(topic_id),
            partition_count: Some(partitions),
            replication_factor: Some(REPLICAS),
            configs,
            validate_only: false,
        };
        self.order(Order::Create, request, line);
    }

    fn delete_records(&mut self, line: &mut Line<'_>) {
        let partitions = self.partitions();
        let quorum = *self.random.pick(&partitions);
        let reached = self.slowest_position(quorum).0;
        let before = (!self.random.one_in(8)).then(|| Offset(self.random.below(reached + 1)));
        let at = self.leader(quorum);
        let ask = Ask::DeleteRecords { quorum, before };
        let call = self.ask(at, ask, Purpose::Delete { quorum }, line);
        let fact = Fact::DeleteAsked { call: history_id(call), quorum, before };
        line.stage.record.fact(line.stage.queue.now_us(), fact);
    }

    fn alter(&mut self, line: &mut Line<'_>) {
        let names: Vec<String> = self.metadata.names.keys().cloned().collect();
        let name = self.random.pick(&names).clone();
        let key = "retention.bytes".to_owned();
        let (set, unset) = match self.random.one_in(2) {
            true => (BTreeMap::from([(key, self.random.scaled(8_000..=200_000).to_string())]), Vec::new()),
            false => (BTreeMap::new(), vec![key]),
        };
        if !set.is_empty() {
            let of_topic = self.metadata.partitions.iter().filter(|(_, known)| known.name == name);
            let quorums: Vec<QuorumId> = of_topic.map(|(quorum, _)| *quorum).collect();
            quorums.into_iter().for_each(|quorum| self.metadata.policy(quorum, true, line.stage));
        }
        let request = Request::AlterTopicConfigs { name, set, unset, validate_only: false };
        self.order(Order::Other, request, line);
    }

    fn delete_topic(&mut self, line: &mut Line<'_>) {
        let side = self.metadata.names.keys().filter(|name| *name != MAIN);
        let names: Vec<String> = side.cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = self.random.pick(&names).clone();
        let topic_id = self.metadata.names.get(&name).copied();
        self.metadata.deleted(&name, line.stage);
        let purge = self.random.one_in(2);
        let request = Request::DeleteTopic { name, topic_id, purge, validate_only: false };
        self.order(Order::Other, request, line);
    }

    fn restore(&mut self, line: &mut Line<'_>) {
        if !self.metadata.trash.is_empty() {
            let topic_id = *self.random.pick(&self.metadata.trash);
            self.order(Order::Restore, Request::RestoreTopic { topic_id }, line);
        }
    }

    fn add_partitions(&mut self, line: &mut Line<'_>) {
        let of_main = self.metadata.partitions.values().filter(|known| known.name == MAIN);
        let partition_count = of_main.count() as u32 + 1;
        if partition_count <= PARTITIONS_MAX {
            let request = Request::AddPartitions {
                name: MAIN.to_owned(),
                topic_id: None,
                partition_count,
                validate_only: false,
            };
            self.order(Order::Other, request, line);
        }
    }
}
