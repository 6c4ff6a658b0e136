//! What must be durable of a replica besides its frames: the state record, the only kind there is, and evidence.
//!
//! Both are prost messages inside the batches of `state_log`. A record is a replica's whole state; the one with the
//! highest version counts.

use crate::segment::SegmentEnd;
use crate::state_log;
use mq_types::persist::{LostReason, Membership, Standing, Start, Vote};
use mq_types::{Index, Offset, QuorumId, ReplicaId, SegmentNumber, Term};
use prost::Message;

/// A replica's whole state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaState {
    pub(crate) quorum: QuorumId,
    pub(crate) replica: ReplicaId,
    /// Grows by 1 with every record.
    pub(crate) version: u64,
    pub(crate) vote: Vote,
    pub(crate) opened: bool,
    pub(crate) standing: Standing,
    pub(crate) start: Start,
    pub(crate) membership: Membership,
    /// The members came with a start snapshot, whose log has not reached the entry that made them so.
    pub(crate) members_are_ahead: bool,
    /// Oldest first; the last one is the active one.
    pub(crate) segments: Vec<SegmentState>,
    pub(crate) snapshot_index: Option<Index>,
}

impl ReplicaState {
    /// Up to where the log was durable when its members were recorded, as far as they tell.
    pub(crate) fn recorded_index(&self) -> Index {
        if self.members_are_ahead { Index(0) } else { self.membership.conf_index }
    }

    /// Whether its parts fit together. What is not so was never written, whatever its checksum says.
    fn is_consistent(&self) -> bool {
        let start = &self.start;
        let begins = self.segments.first().is_some_and(|first| {
            (first.first_index.0.checked_sub(1), first.prev_term, first.base_offset)
                == (Some(start.prev_index.0), start.prev_term, start.base_offset)
        });
        let joins = self.segments.windows(2).all(|pair| {
            pair[0].number < pair[1].number
                && pair[0].first_index <= pair[1].first_index
                && pair[0].prev_term <= pair[1].prev_term
                && pair[0].end.is_some_and(|end| {
                    end.last_index.0.checked_add(1) == Some(pair[1].first_index.0)
                        && end.end_offset == pair[1].base_offset
                })
        });
        let newest = self.segments.last();
        begins
            && joins
            && newest.is_some_and(|newest| newest.base_offset.0 <= i64::MAX as u64)
            && start.base_offset <= start.log_start
            && self.version < u64::MAX
    }
}

/// A segment as a record lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentState {
    pub(crate) number: SegmentNumber,
    pub(crate) first_index: Index,
    pub(crate) prev_term: Term,
    pub(crate) base_offset: Offset,
    /// Where it ends, so that opening need not read it; `None` for the active one.
    pub(crate) end: Option<SegmentEnd>,
}

/// Up to which index the newest segment of a replica is known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) quorum: QuorumId,
    pub(crate) replica: ReplicaId,
    pub(crate) number: SegmentNumber,
    pub(crate) synced: Index,
}

/// To which set of state files a file belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The number of shards, and so of files, in the set.
    pub(crate) shards: u16,
    /// Grows with every open of the data directory.
    pub(crate) set: u64,
}

/// What one batch of the state log carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StateBatch {
    /// In the first batch of a file, and in no other.
    pub(crate) opening: Option<Opening>,
    pub(crate) records: Vec<ReplicaState>,
    pub(crate) evidence: Vec<Evidence>,
}

impl StateBatch {
    /// Bytes of the batch in a state file, header included.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        (state_log::HEADER_BYTES + self.message().encoded_len()) as u64
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        for record in &self.records {
            assert!(record.is_consistent(), "this would not be read back: {record:?}");
        }
        let message = self.message();
        // Into a slice: prost appends byte by byte, and a vector is slow to grow so.
        let mut payload = vec![0; message.encoded_len()];
        message.encode(&mut payload.as_mut_slice()).expect("it is as long as it said");
        payload
    }

    fn message(&self) -> BatchMessage {
        BatchMessage {
            opening: self
                .opening
                .map(|opening| OpeningMessage { shards: opening.shards.into(), set: opening.set }),
            records: self.records.iter().map(RecordMessage::from).collect(),
            evidence: self.evidence.iter().map(EvidenceMessage::from).collect(),
        }
    }

    /// `None`: this is not what [`StateBatch::encode`] writes.
    pub(crate) fn decode(payload: &[u8]) -> Option<StateBatch> {
        let message = BatchMessage::decode(payload).ok()?;
        let opening = match message.opening {
            Some(OpeningMessage { shards, set }) if shards > 0 && set < u64::MAX => {
                Some(Opening { shards: shards.try_into().ok()?, set })
            }
            Some(_) => return None,
            None => None,
        };
        Some(StateBatch {
            opening,
            records: message.records.into_iter().map(RecordMessage::into_state).collect::<Option<_>>()?,
            evidence: message.evidence.into_iter().map(EvidenceMessage::into_evidence).collect(),
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct BatchMessage {
    #[prost(message, optional, tag = "1")]
    opening: Option<OpeningMessage>,
    #[prost(message, repeated, tag = "2")]
    records: Vec<RecordMessage>,
    #[prost(message, repeated, tag = "3")]
    evidence: Vec<EvidenceMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct OpeningMessage {
    #[prost(uint32, tag = "1")]
    shards: u32,
    #[prost(uint64, tag = "2")]
    set: u64,
}

#[derive(Clone, PartialEq, Message)]
struct RecordMessage {
    #[prost(uint64, tag = "1")]
    quorum: u64,
    #[prost(uint64, tag = "2")]
    replica: u64,
    #[prost(uint64, tag = "3")]
    version: u64,
    #[prost(uint64, tag = "4")]
    term: u64,
    /// 0: nobody; no replica has that id.
    #[prost(uint64, tag = "5")]
    voted_for: u64,
    #[prost(bool, tag = "6")]
    opened: bool,
    #[prost(uint32, tag = "7")]
    standing: u32,
    #[prost(message, required, tag = "8")]
    start: StartMessage,
    #[prost(message, required, tag = "9")]
    membership: MembershipMessage,
    #[prost(message, repeated, tag = "10")]
    segments: Vec<SegmentMessage>,
    #[prost(uint64, optional, tag = "11")]
    snapshot_index: Option<u64>,
    #[prost(bool, tag = "12")]
    members_are_ahead: bool,
}

#[derive(Clone, PartialEq, Message)]
struct StartMessage {
    #[prost(uint64, tag = "1")]
    prev_index: u64,
    #[prost(uint64, tag = "2")]
    prev_term: u64,
    #[prost(uint64, tag = "3")]
    base_offset: u64,
    #[prost(uint64, tag = "4")]
    log_start: u64,
    #[prost(int64, tag = "5")]
    prev_appended_at_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct MembershipMessage {
    #[prost(uint64, tag = "1")]
    conf_index: u64,
    #[prost(uint64, repeated, tag = "2")]
    voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    learners: Vec<u64>,
    #[prost(uint64, repeated, tag = "4")]
    voters_outgoing: Vec<u64>,
    #[prost(uint64, repeated, tag = "5")]
    learners_next: Vec<u64>,
    #[prost(bool, tag = "6")]
    auto_leave: bool,
}

#[derive(Clone, PartialEq, Message)]
struct SegmentMessage {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(uint64, tag = "2")]
    first_index: u64,
    #[prost(uint64, tag = "3")]
    prev_term: u64,
    #[prost(uint64, tag = "4")]
    base_offset: u64,
    #[prost(message, optional, tag = "5")]
    end: Option<EndMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct EndMessage {
    #[prost(uint64, tag = "1")]
    position: u64,
    #[prost(uint64, tag = "2")]
    last_index: u64,
    #[prost(uint64, tag = "3")]
    end_offset: u64,
    #[prost(sint64, optional, tag = "4")]
    first_appended_at_ms: Option<i64>,
    #[prost(sint64, optional, tag = "5")]
    last_appended_at_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct EvidenceMessage {
    #[prost(uint64, tag = "1")]
    quorum: u64,
    #[prost(uint64, tag = "2")]
    replica: u64,
    #[prost(uint64, tag = "3")]
    number: u64,
    #[prost(uint64, tag = "4")]
    synced: u64,
}

/// The numbers are on disk and never change.
fn standing_number(standing: Standing) -> u32 {
    match standing {
        Standing::Sound => 0,
        Standing::Damaged => 1,
        Standing::Gone => 2,
        Standing::Lost(LostReason::CorruptEnd) => 16,
        Standing::Lost(LostReason::MissingSegment) => 17,
        Standing::Lost(LostReason::OpenRefused) => 18,
        Standing::Lost(LostReason::ShorterThanAcknowledged) => 19,
        Standing::Lost(LostReason::BadSnapshot) => 20,
        Standing::Lost(LostReason::UnknownState) => 21,
    }
}

fn standing_from_number(number: u32) -> Option<Standing> {
    Some(match number {
        0 => Standing::Sound,
        1 => Standing::Damaged,
        2 => Standing::Gone,
        16 => Standing::Lost(LostReason::CorruptEnd),
        17 => Standing::Lost(LostReason::MissingSegment),
        18 => Standing::Lost(LostReason::OpenRefused),
        19 => Standing::Lost(LostReason::ShorterThanAcknowledged),
        20 => Standing::Lost(LostReason::BadSnapshot),
        21 => Standing::Lost(LostReason::UnknownState),
        _ => return None,
    })
}

fn to_numbers(replicas: &[ReplicaId]) -> Vec<u64> {
    replicas.iter().map(|replica| replica.0).collect()
}

fn to_replicas(numbers: Vec<u64>) -> Vec<ReplicaId> {
    numbers.into_iter().map(ReplicaId).collect()
}

impl From<&ReplicaState> for RecordMessage {
    fn from(state: &ReplicaState) -> RecordMessage {
        let membership = &state.membership;
        RecordMessage {
            quorum: state.quorum.0,
            replica: state.replica.0,
            version: state.version,
            term: state.vote.term.0,
            voted_for: state.vote.voted_for.map_or(0, |replica| replica.0),
            opened: state.opened,
            standing: standing_number(state.standing),
            start: StartMessage {
                prev_index: state.start.prev_index.0,
                prev_term: state.start.prev_term.0,
                prev_appended_at_ms: state.start.prev_appended_at_ms,
                base_offset: state.start.base_offset.0,
                log_start: state.start.log_start.0,
            },
            membership: MembershipMessage {
                conf_index: membership.conf_index.0,
                voters: to_numbers(&membership.voters),
                learners: to_numbers(&membership.learners),
                voters_outgoing: to_numbers(&membership.voters_outgoing),
                learners_next: to_numbers(&membership.learners_next),
                auto_leave: membership.auto_leave,
            },
            segments: state.segments.iter().map(SegmentMessage::from).collect(),
            snapshot_index: state.snapshot_index.map(|index| index.0),
            members_are_ahead: state.members_are_ahead,
        }
    }
}

impl RecordMessage {
    fn into_state(self) -> Option<ReplicaState> {
        let state = ReplicaState {
            quorum: QuorumId(self.quorum),
            replica: ReplicaId(self.replica),
            version: self.version,
            vote: Vote {
                term: Term(self.term),
                voted_for: (self.voted_for != 0).then_some(ReplicaId(self.voted_for)),
            },
            opened: self.opened,
            standing: standing_from_number(self.standing)?,
            start: Start {
                prev_index: Index(self.start.prev_index),
                prev_term: Term(self.start.prev_term),
                prev_appended_at_ms: self.start.prev_appended_at_ms,
                base_offset: Offset(self.start.base_offset),
                log_start: Offset(self.start.log_start),
            },
            membership: Membership {
                conf_index: Index(self.membership.conf_index),
                voters: to_replicas(self.membership.voters),
                learners: to_replicas(self.membership.learners),
                voters_outgoing: to_replicas(self.membership.voters_outgoing),
                learners_next: to_replicas(self.membership.learners_next),
                auto_leave: self.membership.auto_leave,
            },
            segments: self.segments.into_iter().map(SegmentMessage::into_state).collect(),
            snapshot_index: self.snapshot_index.map(Index),
            members_are_ahead: self.members_are_ahead,
        };
        state.is_consistent().then_some(state)
    }
}

impl From<&SegmentState> for SegmentMessage {
    fn from(segment: &SegmentState) -> SegmentMessage {
        SegmentMessage {
            number: segment.number.0,
            first_index: segment.first_index.0,
            prev_term: segment.prev_term.0,
            base_offset: segment.base_offset.0,
            end: segment.end.map(|end| EndMessage {
                position: end.position,
                last_index: end.last_index.0,
                end_offset: end.end_offset.0,
                first_appended_at_ms: end.first_appended_at_ms,
                last_appended_at_ms: end.last_appended_at_ms,
            }),
        }
    }
}

impl SegmentMessage {
    fn into_state(self) -> SegmentState {
        SegmentState {
            number: SegmentNumber(self.number),
            first_index: Index(self.first_index),
            prev_term: Term(self.prev_term),
            base_offset: Offset(self.base_offset),
            end: self.end.map(|end| SegmentEnd {
                position: end.position,
                last_index: Index(end.last_index),
                end_offset: Offset(end.end_offset),
                first_appended_at_ms: end.first_appended_at_ms,
                last_appended_at_ms: end.last_appended_at_ms,
            }),
        }
    }
}

impl From<&Evidence> for EvidenceMessage {
    fn from(evidence: &Evidence) -> EvidenceMessage {
        EvidenceMessage {
            quorum: evidence.quorum.0,
            replica: evidence.replica.0,
            number: evidence.number.0,
            synced: evidence.synced.0,
        }
    }
}

impl EvidenceMessage {
    fn into_evidence(self) -> Evidence {
        Evidence {
            quorum: QuorumId(self.quorum),
            replica: ReplicaId(self.replica),
            number: SegmentNumber(self.number),
            synced: Index(self.synced),
        }
    }
}
