//! Everything an engine can ask of its shell.
//!
//! Effects are carried out in the order given. What depends on durability is not given before
//! [`crate::Input::Persisted`] has come: the engine, not the shell, holds back messages and replies.

use crate::controller::{BrokerInfo, Command, Image};
use crate::{Event, RequestId, View, api};
use mq_types::persist::ReplicaWrite;
use mq_types::{Index, Message, QuorumId, ReplicaId};
use std::sync::Arc;

/// The number of a write within its quorum; grows by 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteNumber(pub u64);

/// Names an asynchronous read of log entries within its quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub u64);

/// One thing to be done.
#[derive(Debug)]
pub enum Effect {
    /// Make this durable, then say [`crate::Input::Persisted`]. Writes of one quorum are carried out in order.
    Persist {
        /// Its number.
        number: WriteNumber,
        /// What to write.
        write: Box<ReplicaWrite>,
    },
    /// Send to another broker; may be lost.
    Send(Message),
    /// Read entries from the log, then say [`crate::Input::EntriesRead`].
    Read {
        /// The quorum.
        quorum: QuorumId,
        /// The replica that asks.
        replica: ReplicaId,
        /// The read's name.
        read: ReadId,
        /// The first index wanted.
        from: Index,
        /// The first index not wanted.
        until: Index,
        /// Stop after about so many payload bytes, but return at least one entry.
        size_bytes_max: usize,
    },
    /// What readers may see of a partition has changed. Always before the replies that rest on it.
    Publish {
        /// The quorum.
        quorum: QuorumId,
        /// What they may see now.
        view: View,
    },
    /// Answer a request.
    Reply {
        /// Which one.
        id: RequestId,
        /// The answer.
        outcome: api::Outcome,
    },
    /// The controller's image has changed: give it to every other shard and to whoever routes calls.
    Image(Arc<Image>),
    /// Have this proposed by the controller's leader ([`crate::Input::Command`] at its shard 0); may be lost, is
    /// repeated until the image shows its effect.
    Command(Command),
    /// Ask the controller's leader to let this broker take part ([`crate::controller::Request::JoinBroker`], to any broker's
    /// shard 0), and say [`crate::Input::Joined`] with its answer; may be lost, is repeated.
    Join(BrokerInfo),
    /// A replica has been removed: forget its view and its reader.
    Closed {
        /// The quorum.
        quorum: QuorumId,
    },
    /// Something to log.
    Event(Event),
}
