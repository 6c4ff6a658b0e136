//! What will happen, in order: by virtual time, and at the same time in the order in which it was said.

use crate::ask::{Answer, Ask};
use crate::fault_kind::FaultKind;
use crate::faults::FaultId;
use mq_engine::ReadId;
use mq_engine::controller::{BrokerInfo, Command};
use mq_types::{Index, Message, QuorumId, ReplicaId};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// One broker's number, from 0; its id is one more.
pub(crate) type At = usize;

/// The process that something was meant for: what comes for an earlier one is passed over.
pub(crate) type Life = u64;

/// Names a client's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallId(pub(crate) u64);

/// One thing that happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// A broker's process starts on what its disk holds.
    Start { at: At, life: Life },
    /// A broker's ticker ticks.
    Tick { at: At, life: Life },
    /// A shard takes all that waits for it.
    Turn { at: At, life: Life, shard: usize },
    /// A shard's thread runs again, in the middle of a turn.
    GoOn { at: At, life: Life, shard: usize },
    /// A shard's round has been carried out by the disk.
    Round { at: At, life: Life, shard: usize },
    /// Entries that a shard's engine asked for come from the disk.
    Entries { at: At, life: Life, shard: usize, wanted: Box<Wanted> },
    /// Removed replicas are deleted.
    Trash { at: At, life: Life },
    /// A message arrives; the sender meant this process.
    Peer { at: At, life: Life, message: Box<Message> },
    /// A broker's process learns that messages to another one were lost.
    Unreachable { at: At, life: Life, to: At },
    /// A command for the controller arrives.
    Command { at: At, command: Box<Command> },
    /// A broker's wish to take part arrives; it comes from that process.
    Join { at: At, from: At, life: Life, info: Box<BrokerInfo> },
    /// The answer to it arrives.
    Joined { at: At, life: Life, replica: ReplicaId },
    /// A client's call arrives at a broker.
    Call { at: At, call: CallId, ask: Box<Ask> },
    /// What a call wants to read comes from the disk.
    Read { at: At, life: Life, read: Box<crate::fetch::PendingRead> },
    /// A call's answer arrives at the client.
    Answer { call: CallId, answer: Box<Answer> },
    /// A client has waited for long enough.
    Timeout { call: CallId },
    /// A producer looks whether it may send.
    Producer { number: usize },
    /// A consumer asks for more.
    Consumer { number: usize },
    /// Somebody changes the metadata, or deletes records, or asks where a partition ends.
    Admin,
    /// A fault of this kind begins.
    Fault { kind: FaultKind },
    /// A fault ends.
    Heal { fault: FaultId },
}

/// Entries that an engine wants to read.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) quorum: QuorumId,
    pub(crate) replica: ReplicaId,
    pub(crate) read: ReadId,
    pub(crate) from: Index,
    pub(crate) until: Index,
    pub(crate) size_bytes_max: usize,
}

#[derive(Debug)]
struct Scheduled {
    time_us: u64,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Scheduled) -> Ordering {
        (other.time_us, other.sequence).cmp(&(self.time_us, self.sequence))
    }
}

/// What will happen.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    now_us: u64,
    sequence: u64,
    events: BinaryHeap<Scheduled>,
}

impl Queue {
    /// The virtual time, in microseconds since the run began.
    pub(crate) fn now_us(&self) -> u64 {
        self.now_us
    }

    /// This happens after so many microseconds.
    pub(crate) fn after(&mut self, delay_us: u64, event: Event) {
        self.at(self.now_us + delay_us, event);
    }

    /// This happens at that time, which is not over yet.
    pub(crate) fn at(&mut self, time_us: u64, event: Event) {
        assert!(time_us >= self.now_us, "{event:?} at {time_us} is over at {}", self.now_us);
        self.sequence += 1;
        self.events.push(Scheduled { time_us, sequence: self.sequence, event });
    }

    /// What happens next, unless that is later than `until_us`; it is that time then.
    pub(crate) fn next(&mut self, until_us: u64) -> Option<Event> {
        if self.events.peek().is_none_or(|next| next.time_us > until_us) {
            self.now_us = self.now_us.max(until_us);
            return None;
        }
        let next = self.events.pop()?;
        self.now_us = next.time_us;
        Some(next.event)
    }
}
