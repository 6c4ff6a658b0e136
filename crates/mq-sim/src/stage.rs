//! What every part of a run works with: the queue, what is recorded, and what leaves a broker.

use crate::ask::Answer;
use crate::copies::Copies;
use crate::queue::{At, CallId, Life, Queue};
use crate::record::Record;
use crate::tally::Tally;
use crate::transcript::Transcript;
use mq_engine::controller::{BrokerInfo, Command};
use mq_types::{Message, ReplicaId};

/// Something that leaves a broker.
#[derive(Debug)]
pub(crate) enum Out {
    /// For another broker's replica.
    Peer(Box<Message>),
    /// For the controller's leader, wherever it is.
    Command(Box<Command>),
    /// A broker wants to take part: for the controller's leader, wherever it is.
    Join(Box<BrokerInfo>),
    /// The answer: for that process of that broker.
    Joined(At, Life, ReplicaId),
    /// For a client.
    Answer(CallId, Box<Answer>),
}

/// Everything but brokers, network and clients.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) queue: Queue,
    pub(crate) transcript: Transcript,
    pub(crate) record: Record,
    pub(crate) copies: Copies,
    pub(crate) tally: Tally,
    /// What has left a broker in this step.
    pub(crate) out: Vec<Out>,
}

impl Stage {
    /// The virtual time, in microseconds.
    pub(crate) fn now_us(&self) -> u64 {
        self.queue.now_us()
    }

    /// One step of the transcript.
    pub(crate) fn step(&mut self, numbers: &[u64], words: impl FnOnce() -> String) {
        self.transcript.step(self.queue.now_us(), numbers, words);
    }
}
