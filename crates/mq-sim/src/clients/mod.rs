//! Everybody who uses the cluster: producers, consumers, and somebody who changes the metadata.
//!
//! A client knows what it was told: answers may be late or lost, hints may be old. What it sees is recorded.

mod admin;
mod consumer;
mod metadata;
mod producer;

use crate::ask::{Answer, Ask};
use crate::broker::place;
use crate::network::Network;
use crate::queue::{At, CallId, Event};
use crate::random::Random;
use crate::stage::Stage;
use crate::swarm::Swarm;
use admin::{Admin, Order};
use consumer::{Consumer, Fetching};
use metadata::Metadata;
use mq_checker::history::{self, Fact};
use mq_engine::api::{Error, Reply};
use mq_engine::controller::Image;
use mq_types::QuorumId;
use producer::{Attempt, Producer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A call that was not answered yet.
#[derive(Debug)]
struct Call {
    /// Whom it went to.
    at: At,
    purpose: Purpose,
}

/// What a call is for.
#[derive(Debug)]
enum Purpose {
    Produce(Attempt),
    Fetch(Fetching),
    /// `is_hinted`: it went to whoever is believed to lead, so that the answer tells something about that.
    Latest {
        quorum: QuorumId,
        is_hinted: bool,
    },
    Delete {
        quorum: QuorumId,
    },
    Controller(Order),
}

/// All clients.
pub(crate) struct Clients {
    swarm: Arc<Swarm>,
    random: Random,
    metadata: Metadata,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    admin: Admin,
    calls: BTreeMap<CallId, Call>,
    last_call: u64,
    /// Nothing new is produced, and the metadata stay as they are.
    pub(crate) is_closing: bool,
    /// Partitions in which something sent since the faults ended was acknowledged.
    pub(crate) alive: BTreeSet<QuorumId>,
    /// When the faults ended.
    pub(crate) healed_at_us: Option<u64>,
}

/// What a client needs to ask.
pub(crate) struct Line<'a> {
    pub(crate) network: &'a mut Network,
    pub(crate) stage: &'a mut Stage,
}

impl Clients {
    pub(crate) fn new(swarm: &Arc<Swarm>) -> Clients {
        let run = swarm.seed as u32;
        let load = swarm.load;
        let consumer = |number| Consumer::new(number, number % load.reads_any_every == 0);
        Clients {
            swarm: Arc::clone(swarm),
            random: Random::new(swarm.seed, "clients"),
            metadata: Metadata::default(),
            producers: (0..load.producers).map(|number| Producer::new(run, number)).collect(),
            consumers: (0..load.consumers).map(consumer).collect(),
            admin: Admin::default(),
            calls: BTreeMap::new(),
            last_call: 0,
            is_closing: false,
            alive: BTreeSet::new(),
            healed_at_us: None,
        }
    }

    /// Everybody begins.
    pub(crate) fn start(&mut self, stage: &mut Stage) {
        stage.queue.after(0, Event::Admin);
        for number in 0..self.producers.len() {
            stage.queue.after(self.random.below(50_000), Event::Producer { number });
        }
        for number in 0..self.consumers.len() {
            stage.queue.after(self.random.below(50_000), Event::Consumer { number });
        }
    }

    /// Somebody looks up what there is; `image` is what some broker says.
    pub(crate) fn learn(&mut self, image: &Image, stage: &mut Stage) {
        self.metadata.learn(image, stage);
    }

    /// Calls that were made.
    pub(crate) fn calls_count(&self) -> u64 {
        self.last_call
    }

    /// The partitions that clients know.
    pub(crate) fn partitions(&self) -> Vec<QuorumId> {
        self.metadata.partitions.keys().copied().collect()
    }

    /// The partitions that nobody ever wanted to be deleted.
    pub(crate) fn lasting_partitions(&self) -> Vec<QuorumId> {
        let partitions = self.metadata.partitions.keys();
        partitions.filter(|quorum| !self.metadata.deleted.contains(quorum)).copied().collect()
    }

    /// Who reads what of those, and from leaders.
    pub(crate) fn readers(&self) -> Vec<(history::SessionId, QuorumId)> {
        let partitions = self.lasting_partitions();
        let sessions = self.consumers.iter().filter_map(Consumer::session);
        sessions.flat_map(|session| partitions.iter().map(move |quorum| (session, *quorum))).collect()
    }

    /// The partition's smallest position of all consumers.
    pub(crate) fn slowest_position(&self, quorum: QuorumId) -> mq_types::Offset {
        let positions = self.consumers.iter().map(|consumer| consumer.position(quorum));
        positions.min().unwrap_or_default()
    }

    /// Whether no produce is unanswered.
    pub(crate) fn has_produced(&self) -> bool {
        !self.calls.values().any(|call| matches!(call.purpose, Purpose::Produce(_)))
    }

    /// Asks a broker.
    fn ask(&mut self, at: At, ask: Ask, purpose: Purpose, line: &mut Line<'_>) -> CallId {
        self.last_call += 1;
        let call = CallId(self.last_call);
        let now_us = line.stage.now_us();
        let clients = line.network.clients();
        if let Some(arrival_us) = line.network.call(clients, at, now_us) {
            line.stage.queue.at(arrival_us, Event::Call { at, call, ask: Box::new(ask) });
        }
        line.stage.queue.after(self.swarm.load.timeout_us, Event::Timeout { call });
        self.calls.insert(call, Call { at, purpose });
        call
    }

    /// An answer has come.
    pub(crate) fn answer(&mut self, call: CallId, answer: Answer, line: &mut Line<'_>) {
        let Some(Call { at, purpose }) = self.calls.remove(&call) else { return };
        let stage = &mut *line.stage;
        let error = match &answer {
            Answer::Engine(Err(error)) => Some(error),
            Answer::Fetched(Err(refused)) => Some(&refused.error),
            _ => None,
        };
        let hint = match error {
            Some(Error::NotLeader { leader, .. }) => Some(Some(place(*leader))),
            Some(Error::NoLeader { .. }) => Some(None),
            None if matches!(answer, Answer::Refused) => Some(None),
            _ => None,
        };
        match purpose {
            Purpose::Produce(attempt) => {
                self.metadata.hint(attempt.quorum, hint);
                self.produce_answered(call, attempt, &answer, stage);
            }
            Purpose::Fetch(fetching) => {
                self.metadata.hint(fetching.quorum, hint.filter(|_| !fetching.from_any));
                self.fetch_answered(call, fetching, answer, stage);
            }
            Purpose::Latest { quorum, is_hinted } => {
                self.metadata.hint(quorum, hint.filter(|_| is_hinted));
                if let Answer::Engine(Ok(Reply::ReadIndex { high_watermark, .. })) = answer {
                    let fact = Fact::LatestAnswered { call: history_id(call), latest: high_watermark };
                    stage.record.fact(stage.queue.now_us(), fact);
                }
            }
            Purpose::Delete { quorum } => {
                self.metadata.hint(quorum, hint);
                if let Answer::Deleted { log_start, term } = answer {
                    let fact = Fact::DeleteDone { call: history_id(call), log_start, term };
                    stage.record.fact(stage.queue.now_us(), fact);
                }
            }
            Purpose::Controller(order) => {
                self.metadata.controller = match (hint, &answer) {
                    (Some(hint), _) => hint,
                    (None, Answer::Engine(Ok(_))) => Some(at),
                    (None, _) => self.metadata.controller,
                };
                self.admin.answered(order, &answer);
            }
        }
    }

    /// A call has waited for long enough.
    pub(crate) fn timeout(&mut self, call: CallId, stage: &mut Stage) {
        let Some(Call { purpose, .. }) = self.calls.remove(&call) else { return };
        match purpose {
            Purpose::Produce(attempt) => {
                self.metadata.hint(attempt.quorum, Some(None));
                self.produce_unknown(call, attempt, stage);
            }
            Purpose::Fetch(fetching) => {
                self.metadata.hint(fetching.quorum, Some(None));
                self.fetch_lost(call, &fetching, stage);
            }
            Purpose::Latest { quorum, is_hinted: true } | Purpose::Delete { quorum } => {
                self.metadata.hint(quorum, Some(None));
            }
            Purpose::Latest { is_hinted: false, .. } => {}
            Purpose::Controller(order) => {
                self.metadata.controller = None;
                self.admin.unknown(order);
            }
        }
    }

    /// Whom to ask about a partition: the leader if it is known, else one that has a replica.
    fn leader(&mut self, quorum: QuorumId) -> At {
        let known = self.metadata.partitions.get(&quorum).and_then(|known| known.leader);
        known.unwrap_or_else(|| self.replica_of(quorum))
    }

    /// A broker that has a replica of this partition.
    fn replica_of(&mut self, quorum: QuorumId) -> At {
        let known = self.metadata.partitions.get(&quorum);
        let brokers: Vec<At> = known.into_iter().flat_map(|known| known.replicas.keys().copied()).collect();
        if brokers.is_empty() { self.anybody() } else { *self.random.pick(&brokers) }
    }

    fn anybody(&mut self) -> At {
        self.random.below(self.swarm.brokers as u64) as At
    }
}

/// A call as the history names it.
fn history_id(call: CallId) -> history::CallId {
    history::CallId(call.0)
}
