//! What is recorded of a cluster: events, in the order in which one observer saw them.
//!
//! The recorder takes facts from where they are certain: what a client sent and was told, what a disk has really
//! synced, what left a replica. It judges nothing; whoever breaks a promise must be able to say so here.
//!
//! A partition is named by its quorum, which is never reused: a topic deleted and created again is another partition.

use mq_types::message::MessageKind;
use mq_types::persist::{Membership, Standing, Start, Vote};
use mq_types::{EntryKind, Index, Offset, QuorumId, ReplicaId, Term, TermRuns};
use std::ops::Range;

/// One thing that was seen, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Microseconds since the history began; never goes back.
    pub at_us: u64,
    /// What was seen.
    pub fact: Fact,
}

/// Names one call of a client, from its question to its answer; never used twice in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// One reader with one position in each partition that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u32);

/// One ordered way from a client to one broker: what is sent on it arrives in order or not at all. A new connection
/// is a new stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// Who numbers records. Its sequence begins anew, at any number, in every partition, and grows by 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer {
    /// The run of the workload: records of an earlier run are strangers.
    pub run: u32,
    /// Its number in the run.
    pub id: u32,
    /// Its incarnation; a higher one comes after a lower one.
    pub epoch: u32,
}

/// A record as its bytes say: who sent it, which one it is, and what else is in it.
///
/// A reader computes length and hash from what it read, so a record that was altered on its way has an identity that
/// nobody sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Who sent it.
    pub producer: Producer,
    /// Its number among the producer's records of this partition.
    pub sequence: u64,
    /// The size of the whole record in bytes.
    pub length_bytes: u32,
    /// A hash of the record.
    pub hash: u32,
}

/// A record where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its offset.
    pub offset: Offset,
    /// What it is.
    pub identity: Identity,
}

/// How much an answer to a produce promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing.
    None,
    /// One disk has it.
    Leader,
    /// A majority has it: it is never lost. Only this counts as acknowledged.
    Quorum,
}

/// Everything that can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// What holds for a partition from now on.
    Policy {
        /// The partition.
        quorum: QuorumId,
        /// The topic's settings allow the log start to move by itself.
        retention: bool,
    },
    /// The partition's topic was asked to be deleted: from now on nothing of it must be kept.
    Deleted {
        /// The partition.
        quorum: QuorumId,
    },

    /// A client sends a batch.
    ProduceSent(ProduceSent),
    /// A client knows, or gives up knowing, what became of it.
    ProduceEnded {
        /// The call.
        call: CallId,
        /// What became of it.
        outcome: ProduceOutcome,
    },

    /// A client asks for records.
    FetchAsked {
        /// The call.
        call: CallId,
        /// The reader.
        session: SessionId,
        /// The partition.
        quorum: QuorumId,
        /// Whom it asks.
        replica: ReplicaId,
        /// The first offset that it wants.
        position: Offset,
    },
    /// A client is given records, or not.
    FetchAnswered {
        /// The call.
        call: CallId,
        /// What it was given.
        answer: FetchAnswer,
    },
    /// A reader moves by its own wish, or because it was told that it is out of range.
    Seek {
        /// The reader.
        session: SessionId,
        /// The partition.
        quorum: QuorumId,
        /// Where it goes on.
        position: Offset,
    },

    /// A client asks where the partition ends.
    LatestAsked {
        /// The call.
        call: CallId,
        /// The partition.
        quorum: QuorumId,
    },
    /// It is told; without an answer nothing is recorded.
    LatestAnswered {
        /// The call.
        call: CallId,
        /// The offset after the last committed record.
        latest: Offset,
    },

    /// A client asks that records be deleted.
    DeleteAsked {
        /// The call.
        call: CallId,
        /// The partition.
        quorum: QuorumId,
        /// All below go; `None`: all that are committed.
        before: Option<Offset>,
    },
    /// It is told that they are; without an answer nothing is recorded, the deletion may still come.
    DeleteDone {
        /// The call.
        call: CallId,
        /// The log start since.
        log_start: Offset,
        /// The term of the leader that answered.
        term: Term,
    },

    /// A replica shows its readers what there is (partitions only).
    Published {
        /// The partition.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
        /// Its term.
        term: Term,
        /// The leader as far as it knows.
        leader: Option<ReplicaId>,
        /// It answers for the partition: it leads, and has committed in its own term.
        serving: bool,
        /// The first offset still kept.
        log_start: Offset,
        /// The first offset not yet committed.
        high_watermark: Offset,
    },

    /// A replica comes up with what its disk holds: founded, restarted, or created.
    Opened(Opened),
    /// A replica is removed for good; its id must never come back.
    Removed {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
    },
    /// The disk of a replica is gone with all that was on it. What it acknowledged before may still arrive and counts,
    /// but from now on nothing is promised under its id: if it is made anew, it is nobody.
    DiskLost {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
    },
    /// A replica hands a change of its log to its disk. Nothing of it is durable yet.
    Written {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
        /// The log is replaced by an empty one that begins here, before the entries are appended.
        reset: Option<Start>,
        /// What is appended; the log is cut before the first of them.
        entries: Vec<EntryFact>,
    },
    /// A replica's disk has synced its log up to here (the reset too, if one was written).
    LogDurable {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
        /// The last index of the write that is durable (of the reset, if nothing was appended).
        last: Index,
        /// The term of that entry: later writes may have replaced it already, durably or not.
        term: Term,
    },
    /// A replica's disk has synced a term and vote.
    VoteDurable {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
        /// What is durable.
        vote: Vote,
    },
    /// A replica's disk has synced members that came from an applied membership entry: they are in force there.
    MembershipApplied {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
        /// The members.
        membership: Membership,
    },
    /// A replica takes everything up to here for committed (it stored, sent or applied such a commit index).
    Committed {
        /// The quorum.
        quorum: QuorumId,
        /// The replica.
        replica: ReplicaId,
        /// The commit index.
        through: Index,
    },
    /// A message leaves a replica for another broker.
    MessageSent {
        /// The quorum.
        quorum: QuorumId,
        /// Who sends it.
        from: ReplicaId,
        /// Who shall receive it.
        to: ReplicaId,
        /// What it is.
        kind: MessageKind,
        /// The sender's term; 0 for messages that carry none.
        term: Term,
        /// The message's index.
        index: Index,
        /// It says no.
        reject: bool,
    },

    /// All faults have ended: from now on everything must work again.
    Healed {
        /// The partitions that must acknowledge something that is sent from now on.
        partitions: Vec<QuorumId>,
        /// The readers that must reach the end.
        readers: Vec<(SessionId, QuorumId)>,
    },
    /// What a replica holds when all is over.
    FinalLog(FinalLog),
}

/// A batch on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceSent {
    /// The call: every attempt is one of its own.
    pub call: CallId,
    /// The client.
    pub client: u32,
    /// The partition.
    pub quorum: QuorumId,
    /// The ordered stream that carries it, if there is one: what is acknowledged on a stream has offsets in the order
    /// in which it was sent.
    pub stream: Option<StreamId>,
    /// The cluster was asked to recognize repeated attempts: each record is stored at most once, in sequence.
    pub idempotent: bool,
    /// Which attempt at these records this is, from 1.
    pub attempt: u32,
    /// The records, with successive sequence numbers.
    pub records: Vec<Identity>,
}

/// What became of a produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceOutcome {
    /// All records are stored.
    Ok {
        /// The first record's offset.
        base_offset: Offset,
        /// The term of the leader that appended them.
        term: Term,
        /// What is promised.
        durability: Durability,
    },
    /// Certainly nothing was appended, and nothing will be.
    Fail,
    /// Not known: timeout, connection lost, leader lost. It may even be appended later.
    Info,
}

/// What a fetch brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchAnswer {
    /// Records, possibly none.
    Records {
        /// What was read, without what lies before the position asked for.
        records: Vec<Placed>,
        /// The first offset not yet committed, as the replica knew it.
        high_watermark: Offset,
        /// The first offset still kept, as the replica knew it.
        log_start: Offset,
        /// The replica's term.
        term: Term,
    },
    /// OFFSET_OUT_OF_RANGE.
    OutOfRange {
        /// The first offset not yet committed, as the replica knew it.
        high_watermark: Offset,
        /// The first offset still kept, as the replica knew it.
        log_start: Offset,
        /// The replica's term.
        term: Term,
    },
    /// Anything else, or no answer: nothing was read.
    Refused,
}

/// One entry of a log, without what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryFact {
    /// Its position.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// What it holds.
    pub kind: EntryKind,
    /// The first offset after it.
    pub end_offset: Offset,
    /// A hash of what it holds.
    pub hash: u32,
}

/// A replica as its disk holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The quorum.
    pub quorum: QuorumId,
    /// The replica.
    pub replica: ReplicaId,
    /// Its term and vote.
    pub vote: Vote,
    /// How far it may be trusted.
    pub standing: Standing,
    /// Its members.
    pub membership: Membership,
    /// Where its log begins.
    pub start: Start,
    /// The terms of its log.
    pub term_runs: TermRuns,
    /// The last entry's index; `start.prev_index` if there is none.
    pub last_index: Index,
}

/// What a replica holds when all is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalLog {
    /// The partition.
    pub quorum: QuorumId,
    /// The replica.
    pub replica: ReplicaId,
    /// The last index whose effect is in the figures below; replicas that applied as much must agree on all of them.
    pub applied: Index,
    /// The first offset still kept.
    pub log_start: Offset,
    /// The first offset not yet committed.
    pub high_watermark: Offset,
    /// Everything in between.
    pub content: FinalContent,
}

/// A whole log: at least one replica of each partition must give its records, for others a hash is enough; for one of
/// which not all can be read, because its disk is bad, those of what can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinalContent {
    /// The records, in order.
    Records(Vec<Placed>),
    /// Their running hash.
    Hash(RunningHash),
    /// That of each range that can be read.
    Parts(Vec<(Range<Offset>, RunningHash)>),
}

/// A hash of records and their offsets, of which a part can be taken away again: hashes of different ranges can be
/// compared over what they share, by whoever has the records of one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunningHash(pub u64);

impl RunningHash {
    /// Adds a record.
    pub fn add(&mut self, placed: &Placed) {
        let Identity { producer, sequence, length_bytes, hash } = placed.identity;
        let words = [
            placed.offset.0,
            u64::from(producer.run) << 32 | u64::from(producer.id),
            u64::from(producer.epoch) << 32 | u64::from(length_bytes),
            sequence,
            u64::from(hash),
        ];
        let mixed = words.iter().fold(0x9e37_79b9_7f4a_7c15, |state, word| mix(state ^ word));
        self.0 = self.0.wrapping_add(mixed);
    }
}

/// The finalizer of SplitMix64, which spreads every bit over all.
fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}
