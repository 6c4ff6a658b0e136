//! One turn in the making: what every part of the engine may look at, and what it wants done.
//!
//! Effects are collected by kind and put in order once, at the end: writes and messages first, then what readers may
//! see, then the answers that rest on it.

use crate::engine::Options;
use crate::{Effect, Event, Now, RequestId, View, api, controller::Image};
use mq_types::{Message, QuorumId, ReplicaId};
use std::sync::Arc;

/// When to try again where nobody leads, in ms: about an election on a quiet network.
pub(crate) const NO_LEADER_RETRY_MS: u32 = 100;
/// When to try again while this broker stops, in ms: another one leads soon.
pub(crate) const STOPPING_RETRY_MS: u32 = 1_000;

/// What makes the whole broker refuse records.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Admission {
    /// The broker is stopping.
    pub(crate) stopping: bool,
    /// The disk has no room.
    pub(crate) disk_full: bool,
}

/// One turn.
pub(crate) struct Turn {
    /// The time.
    pub(crate) now: Now,
    /// How the engine is set up.
    pub(crate) options: Arc<Options>,
    /// The cluster's metadata; empty until they are known.
    pub(crate) image: Arc<Image>,
    /// What the broker refuses.
    pub(crate) admission: Admission,
    effects: Vec<Effect>,
    images: Vec<Effect>,
    published: Vec<Effect>,
    replies: Vec<Effect>,
    notices: Vec<Effect>,
}

impl Turn {
    /// A turn in which nothing has happened yet.
    pub(crate) fn new(now: Now, options: Arc<Options>, image: Arc<Image>, admission: Admission) -> Turn {
        let (effects, images, published) = (Vec::new(), Vec::new(), Vec::new());
        let (replies, notices) = (Vec::new(), Vec::new());
        Turn { now, options, image, admission, effects, images, published, replies, notices }
    }

    /// A write, a read or a message, in the order in which they are due.
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Messages that nothing holds back any more.
    pub(crate) fn send(&mut self, messages: Vec<Message>) {
        self.effects.extend(messages.into_iter().map(Effect::Send));
    }

    /// New metadata, for every other shard and for whoever routes.
    pub(crate) fn image_changed(&mut self, image: Arc<Image>) {
        self.image = Arc::clone(&image);
        self.images.push(Effect::Image(image));
    }

    /// What readers may see now.
    pub(crate) fn publish(&mut self, quorum: QuorumId, view: View) {
        self.published.push(Effect::Publish { quorum, view });
    }

    /// An answer.
    pub(crate) fn reply(&mut self, id: RequestId, outcome: api::Outcome) {
        self.replies.push(Effect::Reply { id, outcome });
    }

    /// What is to be told after everything else.
    pub(crate) fn notice(&mut self, effect: Effect) {
        self.notices.push(effect);
    }

    /// Something to log.
    pub(crate) fn event(&mut self, event: Event) {
        self.notices.push(Effect::Event(event));
    }

    /// Why a request for the leader is refused here.
    pub(crate) fn not_leader(&self, role: mq_raft::RoleChange) -> api::Error {
        match role.leader.map(ReplicaId::broker) {
            Some(leader) if leader != self.options.broker => {
                let info = self.image.brokers.get(&leader);
                let endpoint = info.map(|info| info.grpc_endpoint.clone()).unwrap_or_default();
                api::Error::NotLeader { leader, endpoint, term: role.term }
            }
            _ => api::Error::NoLeader { retry_after_ms: NO_LEADER_RETRY_MS },
        }
    }

    /// All that is to be done, in order.
    pub(crate) fn into_effects(self) -> Vec<Effect> {
        let mut effects = self.effects;
        if mq_types::planted!("reply_before_publish") {
            effects.extend(self.replies);
            effects.extend(self.images.into_iter().chain(self.published).chain(self.notices));
            return effects;
        }
        effects.extend(self.images);
        effects.extend(self.published);
        effects.extend(self.replies);
        effects.extend(self.notices);
        effects
    }
}
