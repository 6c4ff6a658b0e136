//! Everything that can happen to an engine.
//!
//! Nothing here is decided: an input says what happened, the engine says what follows.

use crate::effect::{ReadId, WriteNumber};
use crate::{api, controller::Command, controller::Image};
use mq_types::persist::LogStatus;
use mq_types::{BrokerId, Entry, Message, QuorumId, ReplicaId};
use std::sync::Arc;

/// The time of a turn, as the shell read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since an arbitrary point; never goes back. Decides timeouts.
    pub monotonic_ms: u64,
    /// Milliseconds since the Unix epoch; may jump. Stamps entries and decides retention, nothing else.
    pub wall_ms: i64,
}

/// Names a request between the shell and one engine; unique while the request is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// One thing that happened.
#[derive(Debug)]
pub enum Input {
    /// About 100 ms have passed.
    Tick,
    /// A client asks. Exactly one [`crate::Effect::Reply`] with this id will follow.
    Request {
        /// The shell's name for it.
        id: RequestId,
        /// What is asked.
        request: api::Request,
    },
    /// A write, and all earlier ones of the same quorum, are durable.
    Persisted {
        /// The quorum.
        quorum: QuorumId,
        /// The number that [`crate::Effect::Persist`] carried.
        number: WriteNumber,
        /// How the log stands, if the round changed its start or its segments.
        status: Option<LogStatus>,
    },
    /// Entries that [`crate::Effect::Read`] asked for; `None`: they could not be read (trimmed, or corrupt).
    EntriesRead {
        /// The quorum.
        quorum: QuorumId,
        /// The replica that asked; an answer for one that has been replaced since is passed over.
        replica: ReplicaId,
        /// The read's name.
        read: ReadId,
        /// The entries, in order, from the index asked for; at least one, possibly fewer than asked.
        entries: Option<Vec<Entry>>,
    },
    /// A frame of a replica's log does not verify, below an end that is certain: a read or a scrub met it. May be said
    /// any number of times.
    Damaged {
        /// The quorum.
        quorum: QuorumId,
        /// The replica whose log it is; of one that has been replaced since, nothing follows.
        replica: ReplicaId,
    },
    /// The answer to a [`crate::Effect::Join`] of this run: this broker's replica of quorum 0. Shard 0 only.
    Joined {
        /// The replica.
        replica: ReplicaId,
    },
    /// Messages to this broker were lost, or dropped because too many waited.
    Unreachable {
        /// The broker.
        broker: BrokerId,
    },
    /// A message from another broker's replica, its sender's identity already checked.
    Peer(Message),
    /// The cluster's metadata has changed (shard 0 makes it, every other shard is given it).
    Image(Arc<Image>),
    /// What an engine of this or another broker wants the controller to know ([`crate::Effect::Command`]); shard 0
    /// only, and passed over unless its replica of quorum 0 leads.
    Command(Command),
    /// Whether the disk has room for more records (reported on change).
    DiskRoom {
        /// False: produces are refused with DISK_FULL; trims go on.
        available: bool,
    },
    /// The broker is stopping: answer what is in flight, accept no more.
    Stop,
}
