//! What a member is told when it is opened, and the limits that it keeps to.
//!
//! Timing is counted in ticks: how long a tick lasts is the owner's business (the broker's is 100 ms).

use mq_types::{QuorumId, ReplicaId, Term};

/// A leader shows itself to its followers every so many ticks.
pub const HEARTBEAT_TICKS: usize = 3;
/// A follower that heard nothing for this many ticks campaigns, after waiting up to as many again.
pub const ELECTION_TICKS: usize = 15;
/// Roughly how much of one turn's committed entries are handed over at once, in encoded bytes without payloads.
pub(crate) const COMMITTED_BYTES_PER_WORK_MAX: u64 = 256 * 1024;
/// Committed entries handed over at once, in entries, where many were held back behind a change of the members.
pub(crate) const COMMITTED_ENTRIES_PER_WORK_MAX: usize = 16 * 1024;
/// Append messages on their way to a learner, in messages: it is catching up, and must not crowd out the voters.
pub(crate) const LEARNER_APPENDS_IN_FLIGHT_MAX: usize = 4;

/// What kind of quorum this is a member of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records. Followers learn of a commit with the next append or heartbeat, which saves a message per commit.
    Partition,
    /// A machine's commands. Followers are told of a commit at once, since they act on it.
    Machine,
}

/// How much a member sends and remembers.
///
/// The first two make a window: what a leader sends to a peer that does not answer, and so what it makes its broker
/// hold for that peer. An answered heartbeat makes room for one more append, since what is in the window may have been
/// lost; a peer that was reported unreachable is sent one append until it answers. A broker that leads many partitions
/// bounds the sum: it drops what waits for a peer, and says that the peer is unreachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries in one append message, in bytes; a larger single entry goes alone.
    pub append_bytes_max: u64,
    /// Append messages on their way to one peer that were not answered, in messages. Small ones are many: each turn of
    /// the leader sends one, and a distant peer answers many turns later.
    pub appends_in_flight_max: usize,
    /// Entries kept in memory for peers that are a little behind, in bytes. Entries not yet applied are kept
    /// regardless; a member without peers keeps nothing else.
    pub retained_bytes_max: usize,
}

impl Limits {
    /// For a partition, and for a group machine: a window of 32 MiB, or of 32 batches where these are
    /// larger than 1 MiB.
    pub const PARTITION: Limits =
        Limits { append_bytes_max: 1 << 20, appends_in_flight_max: 32, retained_bytes_max: 4 << 20 };
    /// For the controller's quorum: a window of 16 MiB, in many small commands, of which each may be a message.
    pub const CONTROLLER: Limits =
        Limits { append_bytes_max: 64 << 10, appends_in_flight_max: 256, retained_bytes_max: 4 << 20 };
}

/// What a member is told when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The quorum.
    pub quorum: QuorumId,
    /// This replica.
    pub replica: ReplicaId,
    /// What kind of quorum it is.
    pub kind: Kind,
    /// Drawn afresh whenever a broker starts: it spreads election timeouts, and tells this run's read indexes from
    /// those of the run before, whose answers may still be on their way.
    pub seed: u64,
    /// How much it sends and remembers.
    pub limits: Limits,
}

impl Options {
    /// How many silent ticks this replica waits in this term before it campaigns: the same numbers give the same
    /// timeout, so that a run can be repeated, and two replicas that collided in one term part in the next.
    pub(crate) fn election_timeout_ticks(&self, term: Term) -> usize {
        let mixed = mix(self.seed ^ mix(self.replica.0 ^ mix(term.0)));
        ELECTION_TICKS + (mixed % ELECTION_TICKS as u64) as usize
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators").
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
