//! Several brokers of one cluster, on real logs in memory: messages, commands and joins reach each other's engines.

use crate::shell::{Broker, base_offset, options, topic_of};
use mq_engine::api::{Acks, Outcome, Request};
use mq_engine::controller::{self, BrokerInfo, Image, Members};
use mq_engine::{Input, RequestId};
use mq_log::MemDisk;
use mq_log::disk::Crash;
use mq_types::message::MessageKind;
use mq_types::{BrokerId, DirectoryId, Offset, QuorumId, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) struct Cluster {
    pub(crate) brokers: Vec<Broker>,
    pub(crate) disks: Vec<MemDisk>,
    /// Brokers that hear and reach nobody.
    pub(crate) cut: BTreeSet<usize>,
    /// Brokers that hear and reach nobody in the controller's quorum.
    pub(crate) uninformed: BTreeSet<usize>,
    /// Messages of this kind get lost.
    pub(crate) lost: Option<MessageKind>,
    /// A message arrives with so many entries at most.
    pub(crate) entries_max: usize,
    /// Who asked whom to take part.
    joining: BTreeMap<(usize, RequestId), usize>,
}

pub(crate) fn broker_options(at: usize) -> mq_engine::Options {
    let mut options = options(at as u32 + 1, 1);
    options.directory = DirectoryId([at as u8 + 1; 16]);
    options.info = BrokerInfo { directory: options.directory, ..options.info };
    if at > 0 {
        options.found_cluster = None;
    }
    options
}

/// A topic of one partition with so many replicas.
pub(crate) fn new_topic(replicas: u32) -> controller::Request {
    controller::Request::CreateTopic {
        name: "a".to_owned(),
        topic_id: TopicId([9; 16]),
        partition_count: Some(1),
        replication_factor: Some(replicas),
        configs: BTreeMap::new(),
        validate_only: false,
    }
}

impl Cluster {
    /// So many brokers, of which the first one founds the cluster and the others join.
    pub(crate) fn of(count: usize) -> Cluster {
        let disks: Vec<MemDisk> = (0..count).map(|_| MemDisk::new()).collect();
        let start = |(at, disk): (usize, &MemDisk)| {
            let mut broker = Broker::start_on_log(broker_options(at), disk.clone());
            broker.routes_commands = false;
            broker
        };
        let brokers = disks.iter().enumerate().map(start).collect();
        let mut cluster = Cluster {
            brokers,
            disks,
            cut: BTreeSet::new(),
            uninformed: BTreeSet::new(),
            lost: None,
            entries_max: usize::MAX,
            joining: BTreeMap::new(),
        };
        cluster.pass(20_000);
        cluster
    }

    /// A turn and a sync of each, then what they sent.
    pub(crate) fn step(&mut self) {
        for broker in &mut self.brokers {
            broker.turn();
            broker.sync();
            assert!(broker.failed.is_none(), "{:?}", broker.failed);
        }
        self.deliver();
    }

    /// Turns, syncs and messages until nothing more follows.
    pub(crate) fn settle(&mut self) {
        for _ in 0..500 {
            self.step();
            let is_quiet = |broker: &Broker| broker.shards.iter().all(|shard| shard.inputs.is_empty());
            if self.brokers.iter().all(is_quiet) {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    pub(crate) fn deliver(&mut self) {
        for from in 0..self.brokers.len() {
            let messages = std::mem::take(&mut self.brokers[from].sent);
            let commands = std::mem::take(&mut self.brokers[from].commands);
            let joins = std::mem::take(&mut self.brokers[from].joins);
            let reaches: Vec<usize> = (0..self.brokers.len())
                .filter(|to| *to == from || !(self.cut.contains(&from) || self.cut.contains(to)))
                .collect();
            for mut message in messages {
                message.entries.truncate(self.entries_max);
                let to = message.to.broker().0 as usize - 1;
                let is_metadata = message.quorum == QuorumId::CONTROLLER;
                if is_metadata && (self.uninformed.contains(&from) || self.uninformed.contains(&to)) {
                    continue;
                }
                if reaches.contains(&to) && self.lost != Some(message.kind) {
                    self.brokers[to].shards[0].inputs.push(Input::Peer(message));
                }
            }
            for to in reaches {
                let inputs = &mut self.brokers[to].shards[0].inputs;
                inputs.extend(commands.iter().cloned().map(Input::Command));
                for info in &joins {
                    let broker = BrokerId(from as u32 + 1);
                    let join = controller::Request::JoinBroker { broker, info: info.clone() };
                    let id = self.brokers[to].ask(Request::Controller(join));
                    self.joining.insert((to, id), from);
                }
            }
        }
        for ((at, id), from) in self.joining.clone() {
            let Some(outcome) = self.brokers[at].replies.remove(&id) else { continue };
            self.joining.remove(&(at, id));
            if let Ok(mq_engine::api::Reply::Controller(controller::Reply::Joined { replica })) = outcome {
                self.brokers[from].shards[0].inputs.push(Input::Joined { replica });
            }
        }
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.tick();
            self.settle();
        }
    }

    /// So much time passes that everybody ticks.
    pub(crate) fn tick(&mut self) {
        for broker in &mut self.brokers {
            broker.now.monotonic_ms += 100;
            broker.now.wall_ms += 100;
            broker.shards[0].inputs.push(Input::Tick);
        }
    }

    /// The broker that leads a partition.
    pub(crate) fn leader(&self, quorum: QuorumId) -> usize {
        let leads = |&at: &usize| {
            !self.cut.contains(&at) && self.brokers[at].views.get(&quorum).is_some_and(|view| view.serving)
        };
        let leaders: Vec<usize> = (0..self.brokers.len()).filter(leads).collect();
        assert_eq!(leaders.len(), 1, "exactly one leads: {leaders:?}");
        leaders[0]
    }

    /// Asks every broker, until the one that leads the controller answers.
    pub(crate) fn control(&mut self, request: &controller::Request) -> Outcome {
        for at in 0..self.brokers.len() {
            let id = self.brokers[at].ask(Request::Controller(request.clone()));
            self.settle();
            match self.brokers[at].replies.remove(&id).expect("every request is answered") {
                Err(error) if error.to_string().contains("lead") => {}
                outcome => return outcome,
            }
        }
        panic!("nobody leads the controller");
    }

    pub(crate) fn create_topic(&mut self, replicas: u32) -> QuorumId {
        let topic = self.control(&new_topic(replicas));
        let quorum = topic_of(topic).partitions[0].quorum;
        self.pass(6_000);
        quorum
    }

    pub(crate) fn reassign(&mut self, brokers: &[u32]) {
        let outcome = self.control(&controller::Request::ReassignPartition {
            topic: "a".to_owned(),
            partition: 0,
            brokers: brokers.iter().map(|id| BrokerId(*id)).collect(),
            validate_only: false,
        });
        topic_of(outcome);
    }

    /// Appends so many batches; all are acknowledged.
    pub(crate) fn produce(&mut self, quorum: QuorumId, batches: u64) -> Offset {
        let mut end = Offset(0);
        for _ in 0..batches {
            let leader = self.leader(quorum);
            let id = self.brokers[leader].produce(quorum, 1, Acks::Quorum);
            self.settle();
            end = base_offset(&self.brokers[leader].replies[&id]).plus(1);
        }
        end
    }

    pub(crate) fn image(&self) -> Arc<Image> {
        let newest =
            self.brokers.iter().max_by_key(|broker| broker.image.revision).expect("there are brokers");
        Arc::clone(&newest.image)
    }

    pub(crate) fn members(&self, quorum: QuorumId) -> Members {
        self.image().members(quorum).expect("the quorum is known").clone()
    }

    pub(crate) fn brokers_of(&self, quorum: QuorumId) -> Vec<u32> {
        self.members(quorum).replicas.iter().map(|info| info.replica.broker().0).collect()
    }

    /// Everything that is not durable is lost; the broker starts again on its disk, changed by `meanwhile`.
    pub(crate) fn restart(&mut self, at: usize, meanwhile: impl Fn(&MemDisk)) {
        self.disks[at] = self.disks[at].crash(Crash::Machine { seed: 7 });
        meanwhile(&self.disks[at]);
        let mut options = broker_options(at);
        options.seed += 100;
        options.found_cluster = None;
        let now = self.brokers[at].now;
        self.brokers[at] = Broker::start_on_log(options, self.disks[at].clone());
        (self.brokers[at].now, self.brokers[at].routes_commands) = (now, false);
        self.joining.retain(|(to, _), from| *to != at && *from != at);
    }

    /// For how long, at a stretch, nobody served the partition while so much time passed, in ms.
    pub(crate) fn longest_without_leader(&mut self, quorum: QuorumId, ms: u64) -> u64 {
        let (mut longest, mut without) = (0, 0);
        for _ in 0..ms / 100 {
            self.pass(100);
            let serves = |broker: &Broker| broker.views.get(&quorum).is_some_and(|view| view.serving);
            without = if self.brokers.iter().any(serves) { 0 } else { without + 100 };
            longest = longest.max(without);
        }
        longest
    }

    /// What a replica has, from the log's start on.
    pub(crate) fn end_of(&self, at: usize, quorum: QuorumId) -> Offset {
        self.brokers[at].views[&quorum].high_watermark
    }
}
