//! What must become durable together: one replica's part of a round, and what recovery gives back.
//!
//! The engine fills a [`ReplicaWrite`], `mq-log` carries it out in the one safe order (`ShardStore::persist_round`),
//! and after a restart `mq-log` returns a [`RecoveredReplica`] for every replica that it found. Term, vote and
//! membership are opaque to `mq-log`: it keeps them and gives them back.

use crate::{Body, Entry, EntryMeta, Index, Offset, QuorumId, ReplicaId, SegmentNumber, Term, TermRuns};
use bytes::Bytes;

/// A replica's current term and whom it voted for in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vote {
    /// The highest term this replica has seen. Never falls.
    pub term: Term,
    /// The replica it voted for in `term`; `None`: nobody yet.
    pub voted_for: Option<ReplicaId>,
}

/// The members of a quorum as of an applied membership entry (Raft's `ConfState`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The index of the membership entry that made it so, or of the bootstrap.
    pub conf_index: Index,
    /// Who votes.
    pub voters: Vec<ReplicaId>,
    /// Who receives the log without a vote.
    pub learners: Vec<ReplicaId>,
    /// In a joint configuration: who voted before.
    pub voters_outgoing: Vec<ReplicaId>,
    /// In a joint configuration: who becomes a learner when it is left.
    pub learners_next: Vec<ReplicaId>,
    /// In a joint configuration: whether the leader leaves it by itself.
    pub auto_leave: bool,
}

/// Where a replica's log begins: the entry before its first one, and the coordinates that go on from there.
///
/// Every quorum is bootstrapped at index 1, term 1, as if entry 1 had been trimmed: a replica that is added later
/// begins at 0, lacks that entry, and so always gets a start snapshot; it never replays from an empty membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The index before the first entry.
    pub prev_index: Index,
    /// The term of that entry.
    pub prev_term: Term,
    /// When that entry was appended, in ms since the Unix epoch; 0: nobody knows. It bounds the time of the next one,
    /// which a leader with an otherwise empty log must know before it appends any.
    pub prev_appended_at_ms: i64,
    /// The offset that the first record will have.
    pub base_offset: Offset,
    /// The first offset still kept; at least `base_offset`.
    pub log_start: Offset,
}

impl Start {
    /// Where every quorum begins: what its founding replicas start with, together with its first members.
    pub const BOOTSTRAP: Start = Start {
        prev_index: Index(1),
        prev_term: Term(1),
        prev_appended_at_ms: 0,
        base_offset: Offset(0),
        log_start: Offset(0),
    };
    /// Where a replica that is added later begins, with no members, until a start snapshot tells it more.
    pub const EMPTY: Start = Start {
        prev_index: Index(0),
        prev_term: Term(0),
        prev_appended_at_ms: 0,
        base_offset: Offset(0),
        log_start: Offset(0),
    };
}

/// What a leader sends a replica that needs entries which are trimmed: where its log begins anew.
///
/// `start.prev_index` and `start.prev_term` are the snapshot's index and term. It stands for everything up to there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartSnapshot {
    /// Where the log begins.
    pub start: Start,
    /// The members as the leader knows them now. `conf_index` may lie beyond `start.prev_index`: the membership
    /// entries up to it, which the replica is still to receive, are passed over.
    pub membership: Membership,
    /// A machine's image as of `start.prev_index`, encoded by the engine. `None`: the quorum keeps a partition.
    pub machine: Option<Bytes>,
}

/// Why a replica may no longer vote or acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// The log's end is uncertain: a frame that was known durable is missing or bad.
    CorruptEnd,
    /// A segment that the state lists is missing or its head is bad.
    MissingSegment,
    /// The controller bound this replica id to another data directory, or it had been opened before.
    OpenRefused,
    /// A peer's message proves that this replica acknowledged more than it has.
    ShorterThanAcknowledged,
    /// The snapshot that stands for the log's beginning is missing or bad.
    BadSnapshot,
    /// Its state record may be an older one than the last: the newer ones were bad in both copies.
    UnknownState,
}

/// How far a replica may be trusted. It only ever gets worse; the cure is a new replica id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Everything is as it was written.
    #[default]
    Sound,
    /// A bad frame below an intact end; term and vote are certain. It votes and acknowledges, and leads only if
    /// nobody else can.
    Damaged,
    /// The end, the term or the vote is uncertain. It neither votes nor acknowledges.
    Lost(LostReason),
    /// Removed for good; its directory is, or is about to be, in the trash.
    Gone,
}

/// How far to trim a log from its beginning. Whole segments only; never beyond what is committed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// Everything below this offset may go; readers are refused below it at once.
    Offset(Offset),
    /// Everything up to this index may go (a machine's log below its snapshot).
    Index(Index),
}

impl Trim {
    /// What two orders come to: the one that trims more. A quorum's are all of one kind.
    pub fn both(earlier: Option<Trim>, later: Option<Trim>) -> Option<Trim> {
        match (earlier, later) {
            (Some(Trim::Offset(a)), Some(Trim::Offset(b))) => Some(Trim::Offset(a.max(b))),
            (Some(Trim::Index(a)), Some(Trim::Index(b))) => Some(Trim::Index(a.max(b))),
            (earlier, later) => later.or(earlier),
        }
    }
}

/// A machine's snapshot, or a partition's producer table: opaque bytes that stand for the log up to `index`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last index that it covers. Its entry must be committed and durable here.
    pub index: Index,
    /// The bytes, encoded by the engine.
    pub data: Bytes,
}

/// A new replica, as it is first written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// Where its log begins.
    pub start: Start,
    /// Its first members.
    pub membership: Membership,
    /// True only for the founder of quorum 0: every other replica waits for the controller's word.
    pub opened: bool,
    /// A machine's first snapshot (the empty image), at `start.prev_index`.
    pub snapshot: Option<Snapshot>,
}

/// One replica's part of a round: everything in it is durable when the round is.
///
/// The parts are carried out in the order of the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaWrite {
    /// The quorum.
    pub quorum: QuorumId,
    /// The replica; must be the one that is open for this quorum, or be made by `create`.
    pub replica: ReplicaId,
    /// Makes the replica: its directory, first segment and first state record.
    pub create: Option<Create>,
    /// New term or vote.
    pub vote: Option<Vote>,
    /// Replaces the whole log by an empty one that starts here (a start snapshot), with these members.
    pub reset: Option<(Start, Membership)>,
    /// Entries to append. If the first one's index is not the next, the log is cut before it (a roll).
    pub entries: Vec<Entry>,
    /// The commit index to store with what is written. Never at or past a membership or control entry whose
    /// effect is not yet in a durable state record: recovery trusts that everything up to it was applied.
    pub commit: Index,
    /// Members after an applied membership entry. Durable before it takes effect.
    pub membership: Option<Membership>,
    /// The controller has accepted this replica: from now on it may vote and acknowledge.
    pub open: bool,
    /// A worse standing. Durable before it has any other effect.
    pub standing: Option<Standing>,
    /// A snapshot to store; it replaces the one before.
    pub snapshot: Option<Snapshot>,
    /// Begins a new segment although the present one is not full, so that age limits can work on whole segments.
    pub roll: bool,
    /// Trims the log's beginning.
    pub trim: Option<Trim>,
    /// The size at which a segment is full, in bytes, from now on. Not durable: given anew after every open.
    pub segment_size_bytes_max: Option<u64>,
    /// Removes the replica for good: record `gone`, then the directory moves to the trash.
    pub remove: bool,
}

impl ReplicaWrite {
    /// A write that changes nothing yet.
    pub fn new(quorum: QuorumId, replica: ReplicaId) -> ReplicaWrite {
        ReplicaWrite {
            quorum,
            replica,
            create: None,
            vote: None,
            reset: None,
            entries: Vec::new(),
            commit: Index(0),
            membership: None,
            open: false,
            standing: None,
            snapshot: None,
            roll: false,
            trim: None,
            segment_size_bytes_max: None,
            remove: false,
        }
    }

    /// Adds a later write of the same replica to this one, if carrying out both at once means the same as one after
    /// the other; gives it back otherwise. This is what lets a round cover many turns.
    #[expect(
        clippy::result_large_err,
        reason = "it is given back as it came: a box would only be another allocation"
    )]
    pub fn try_merge(&mut self, next: ReplicaWrite) -> Result<(), ReplicaWrite> {
        assert_eq!((self.quorum, self.replica), (next.quorum, next.replica), "writes of one replica merge");
        let last_index = self.entries.last().map(|entry| entry.index);
        let continues = match (last_index, next.entries.first()) {
            (Some(last), Some(first)) => first.index == last.next(),
            (None, Some(_)) => false, // only the log knows whether this cuts
            (_, None) => true,
        };
        let ordered = !self.roll && !self.remove; // both come after what would be merged in
        let simple = ordered && next.create.is_none() && next.reset.is_none() && !next.roll && !next.remove;
        if !simple || !continues {
            return Err(next);
        }
        self.vote = next.vote.or(self.vote);
        self.entries.extend(next.entries);
        self.commit = self.commit.max(next.commit);
        self.membership = next.membership.or(self.membership.take());
        self.open |= next.open;
        self.standing = next.standing.or(self.standing);
        self.snapshot = next.snapshot.or(self.snapshot.take());
        self.trim = Trim::both(self.trim, next.trim);
        self.segment_size_bytes_max = next.segment_size_bytes_max.or(self.segment_size_bytes_max);
        Ok(())
    }
}

/// A segment as retention needs to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: SegmentNumber,
    /// The index of its first entry (of the next entry to come, while it is empty).
    pub first_index: Index,
    /// The offset that its first record has or will have.
    pub base_offset: Offset,
    /// The first offset after it.
    pub end_offset: Offset,
    /// Bytes of its frames, head included.
    pub size_bytes: u64,
    /// When its first entry was appended, in ms since the Unix epoch; `None`: it has none.
    pub first_appended_at_ms: Option<i64>,
    /// When its last entry was appended, in ms since the Unix epoch; `None`: it has none.
    pub last_appended_at_ms: Option<i64>,
}

/// An entry that recovery found after what is known to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredEntry {
    /// Where it stands.
    pub meta: EntryMeta,
    /// What it holds; `None` for data, which is read from the log when somebody asks for it.
    pub body: Option<Body>,
}

/// A replica as it was found on disk. Everything in it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredReplica {
    /// The quorum.
    pub quorum: QuorumId,
    /// The replica.
    pub replica: ReplicaId,
    /// Its term and vote (the vote is cleared if a frame showed a higher term than the record).
    pub vote: Vote,
    /// Whether the controller's acceptance is on record.
    pub opened: bool,
    /// How far it may be trusted.
    pub standing: Standing,
    /// Its members.
    pub membership: Membership,
    /// Where its log begins.
    pub start: Start,
    /// The runs of terms from `start.prev_index` to `last_index`, the entry before the first included.
    pub term_runs: TermRuns,
    /// The last entry's index; `start.prev_index` if there is none.
    pub last_index: Index,
    /// The offset that the next record will have.
    pub next_offset: Offset,
    /// The last entry's `appended_at_ms`; 0 if it is not known.
    pub last_appended_at_ms: i64,
    /// The commit index that is certain.
    pub commit: Index,
    /// The first offset not known to be committed.
    pub high_watermark: Offset,
    /// The newest snapshot, if the replica keeps any.
    pub snapshot: Option<Snapshot>,
    /// The entries after `snapshot.index`, or after `commit` if there is no snapshot, in order.
    pub tail: Vec<RecoveredEntry>,
    /// Its segments, oldest first; the last one is the active one.
    pub segments: Vec<SegmentInfo>,
}

/// What a round changed in one replica's log, for those who plan retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStatus {
    /// Where the log begins now.
    pub start: Start,
    /// Its segments, oldest first; the last one is the active one.
    pub segments: Vec<SegmentInfo>,
}
