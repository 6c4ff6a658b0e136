//! What clients know of topics, partitions and leaders: perhaps not the newest.

use crate::broker::{broker_id, place};
use crate::queue::At;
use crate::stage::Stage;
use mq_checker::history::Fact;
use mq_engine::controller::{Image, TopicConfig};
use mq_types::{Index, QuorumId, ReplicaId, Term, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// A partition.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) name: String,
    /// Its number in the topic.
    pub(crate) id: u32,
    pub(crate) replicas: BTreeMap<At, ReplicaId>,
    /// Who led when it was last heard.
    pub(crate) leader: Option<At>,
    /// The last two that were ever said to lead, the newer one first.
    named: [Option<At>; 2],
    /// The newest term heard of.
    pub(crate) term: Term,
}

impl Known {
    /// Somebody led before the one that leads now, and may not know that it does not any more.
    pub(crate) fn former_leader(&self) -> Option<At> {
        self.named[1]
    }

    fn set_leader(&mut self, leader: Option<At>) {
        self.leader = leader;
        if leader.is_some() && leader != self.named[0] {
            self.named = [leader, self.named[0]];
        }
    }
}

/// What clients know.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    revision: Index,
    /// Of live topics.
    pub(crate) partitions: BTreeMap<QuorumId, Known>,
    /// Who led the controller when it was last heard.
    pub(crate) controller: Option<At>,
    pub(crate) brokers: usize,
    /// Live topics and those in the trash.
    pub(crate) names: BTreeMap<String, TopicId>,
    pub(crate) trash: Vec<TopicId>,
    /// Partitions of which the history knows the policy.
    policies: BTreeMap<QuorumId, bool>,
    /// Partitions that somebody wanted to be deleted.
    pub(crate) deleted: BTreeSet<QuorumId>,
}

impl Metadata {
    /// Takes what a broker says, if it is news.
    pub(crate) fn learn(&mut self, image: &Image, stage: &mut Stage) {
        if image.revision <= self.revision {
            return;
        }
        self.revision = image.revision;
        self.brokers = image.brokers.len();
        self.names = image.names.clone();
        let in_trash = image.topics.values().filter(|topic| topic.deleted_at_ms.is_some());
        self.trash = in_trash.map(|topic| topic.id).collect();
        let mut partitions = BTreeMap::new();
        for topic in image.topics.values().filter(|topic| topic.deleted_at_ms.is_none()) {
            let config = TopicConfig::of(topic);
            let retention = config.retention_bytes.is_some();
            for partition in &topic.partitions {
                let quorum = partition.quorum;
                self.policy(quorum, retention, stage);
                let replicas = partition.members.replicas.iter();
                let before = self.partitions.get(&quorum);
                let was_leader = before.and_then(|known| known.leader);
                let known = Known {
                    name: topic.name.clone(),
                    id: partition.id.0,
                    replicas: replicas.map(|r| (place(r.replica.broker()), r.replica)).collect(),
                    leader: was_leader.filter(|at| partition.members.on(broker_id(*at)).is_some()),
                    named: before.map_or([None; 2], |known| known.named),
                    term: before.map_or(Term(0), |known| known.term),
                };
                partitions.insert(quorum, known);
            }
        }
        self.partitions = partitions;
    }

    /// From now on the log start of this partition may move by itself, or not.
    pub(crate) fn policy(&mut self, quorum: QuorumId, retention: bool, stage: &mut Stage) {
        // What was once allowed may still be under way.
        let known = self.policies.get(&quorum).copied();
        if known.is_none() || (retention && known == Some(false)) {
            self.policies.insert(quorum, retention);
            stage.record.fact(stage.queue.now_us(), Fact::Policy { quorum, retention });
        }
    }

    /// The partitions of a topic are asked to be deleted.
    pub(crate) fn deleted(&mut self, name: &str, stage: &mut Stage) {
        for (quorum, _) in self.partitions.iter().filter(|(_, known)| known.name == name) {
            if self.deleted.insert(*quorum) {
                stage.record.fact(stage.queue.now_us(), Fact::Deleted { quorum: *quorum });
            }
        }
    }

    /// An answer said who leads (`Some(None)`: not the one that was asked).
    pub(crate) fn hint(&mut self, quorum: QuorumId, hint: Option<Option<At>>) {
        if let (Some(known), Some(leader)) = (self.partitions.get_mut(&quorum), hint) {
            known.set_leader(leader);
        }
    }

    /// This broker answered for the partition in this term.
    pub(crate) fn led(&mut self, quorum: QuorumId, at: At, term: Term) {
        if let Some(known) = self.partitions.get_mut(&quorum)
            && term >= known.term
        {
            known.set_leader(Some(at));
            known.term = term;
        }
    }
}
