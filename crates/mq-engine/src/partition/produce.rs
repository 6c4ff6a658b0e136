//! Appending records: who may, and where they land.
//!
//! A batch is admitted, stamped and proposed in one go, after all inputs of the turn: what the replica was when the
//! request came does not count.

use super::acks::{Subject, Ticket};
use super::{Partition, Standpoint};
use crate::RequestId;
use crate::api::{self, Acks, Durability, Error, Produced, Reply};
use crate::controller::TopicConfig;
use crate::replica::Stamper;
use crate::turn::{NO_LEADER_RETRY_MS, STOPPING_RETRY_MS, Turn};
use mq_types::persist::Standing;
use mq_types::{Body, Index, Offset, Term};
use std::collections::VecDeque;

/// When to try again after too much was in flight, in ms: about a round of the disk.
const OVERLOADED_RETRY_MS: u32 = 20;

/// Records on their way to being committed.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    batches: VecDeque<(Index, usize)>,
    size_bytes: usize,
}

impl InFlight {
    fn add(&mut self, index: Index, size_bytes: usize) {
        self.batches.push_back((index, size_bytes));
        self.size_bytes += size_bytes;
    }

    pub(super) fn committed(&mut self, index: Index) {
        while let Some((_, size_bytes)) = self.batches.pop_front_if(|oldest| oldest.0 <= index) {
            self.size_bytes -= size_bytes;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = InFlight::default();
    }
}

/// Entries that were stamped in this turn and wait to be taken by Raft.
#[derive(Debug)]
pub(super) struct Proposed {
    /// Who is answered; nobody asked for an order of our own.
    id: Option<RequestId>,
    index: Index,
    size_bytes: usize,
    subject: Subject,
}

impl Partition {
    /// Takes a batch; it is decided upon at the end of the turn.
    pub(crate) fn produce(&mut self, id: RequestId, produce: api::Produce) {
        self.produces.push((id, produce));
    }

    /// Stamps what was asked for in this turn, or refuses it.
    pub(crate) fn stamp(&mut self, here: &Standpoint, stamper: &mut Option<Stamper>, turn: &mut Turn) {
        assert!(self.proposed.is_empty(), "every proposal was taken or refused in the turn that made it");
        let mut in_flight_bytes = self.in_flight.size_bytes;
        for (id, produce) in std::mem::take(&mut self.produces) {
            match self.admit(produce, in_flight_bytes, here, stamper.as_mut(), turn) {
                Ok(proposed) => {
                    in_flight_bytes += proposed.size_bytes;
                    self.proposed.push(Proposed { id: Some(id), ..proposed });
                }
                Err(error) => turn.reply(id, Err(error)),
            }
        }
        for (id, control) in std::mem::take(&mut self.controls) {
            let Some(stamper) = stamper else {
                if let Some(id) = id {
                    turn.reply(id, Err(turn.not_leader(here.role)));
                }
                continue;
            };
            let index = stamper.push(Body::Control(control.encode()));
            self.proposed.push(Proposed { id, index, size_bytes: 0, subject: Subject::LogStart });
        }
    }

    fn admit(
        &self,
        produce: api::Produce,
        in_flight_bytes: usize,
        here: &Standpoint,
        stamper: Option<&mut Stamper>,
        turn: &Turn,
    ) -> Result<Proposed, Error> {
        if turn.admission.stopping {
            return Err(Error::NoLeader { retry_after_ms: STOPPING_RETRY_MS });
        }
        self.check_standing(here)?;
        let config = self.check_topic(here, turn)?;
        let stamper = stamper.ok_or_else(|| turn.not_leader(here.role))?;
        let size_bytes = produce.batch.batch().len_bytes();
        if size_bytes as u64 > config.max_message_bytes {
            let max_bytes = config.max_message_bytes;
            return Err(Error::BatchTooLarge { size_bytes: size_bytes as u64, max_bytes });
        }
        if turn.admission.disk_full {
            return Err(Error::DiskFull);
        }
        let limit_bytes = turn.options.partition_inflight_bytes_max;
        // One batch is always taken, however large, or it could never be appended.
        if in_flight_bytes > 0 && in_flight_bytes + size_bytes > limit_bytes {
            let what = format!(
                "{in_flight_bytes} bytes waiting to be durable in this partition (limit {limit_bytes})"
            );
            return Err(Error::Overloaded { what, retry_after_ms: OVERLOADED_RETRY_MS });
        }
        if let Some(expected) = produce.expected_next_offset
            && expected != stamper.next_offset()
        {
            return Err(Error::UnexpectedNextOffset { expected, next_offset: stamper.next_offset() });
        }
        let base_offset = stamper.next_offset();
        let mut batch = produce.batch.into_batch();
        if config.log_append_time {
            batch.set_log_append_time(stamper.appended_at_ms());
        }
        let record_count = batch.record_count();
        let index = stamper.push(Body::Data(batch));
        let subject = Subject::Records { acks: produce.acks, base_offset, record_count };
        Ok(Proposed { id: None, index, size_bytes, subject })
    }

    /// A lost replica takes no records: as the only one it says why, else another one leads.
    pub(super) fn check_standing(&self, here: &Standpoint) -> Result<(), Error> {
        match here.standing {
            Standing::Lost(_) if here.is_sole_voter => Err(Error::CorruptLog {
                offset: self.high_watermark,
                what: "the log's end is uncertain; nothing is appended until it has been repaired".to_owned(),
            }),
            Standing::Lost(_) | Standing::Gone => Err(Error::NoLeader { retry_after_ms: NO_LEADER_RETRY_MS }),
            Standing::Sound | Standing::Damaged => Ok(()),
        }
    }

    /// The topic's configs, unless it is in the trash, gone, or not known here yet: a broker that has just started, or
    /// is cut off from the controller, cannot say of a topic that it does not exist.
    pub(super) fn check_topic(&self, here: &Standpoint, turn: &Turn) -> Result<&TopicConfig, Error> {
        match &self.topic {
            Some(topic) if !topic.in_trash => Ok(&topic.config),
            Some(topic) => Err(Error::UnknownTopic { topic: topic.name.clone() }),
            None if !turn.image.is_known() => Err(turn.not_leader(here.role)),
            None => Err(Error::UnknownTopic { topic: format!("of quorum {}", here.quorum) }),
        }
    }

    /// Raft has taken all that was stamped in this turn, or none of it.
    pub(crate) fn proposed(&mut self, taken: bool, here: &Standpoint, turn: &mut Turn) {
        for proposed in std::mem::take(&mut self.proposed) {
            let Proposed { id, index, size_bytes, subject } = proposed;
            if taken && size_bytes > 0 {
                self.in_flight.add(index, size_bytes);
            }
            let Some(id) = id else { continue };
            match subject {
                _ if !taken => {
                    turn.reply(id, Err(Error::NoLeader { retry_after_ms: NO_LEADER_RETRY_MS }));
                }
                Subject::Records { acks: Acks::None, record_count, .. } => {
                    let reply = self.produced(None, record_count, here.role.term, Durability::None);
                    turn.reply(id, Ok(reply));
                }
                subject => self.tickets.add(Ticket { id, index, term: here.role.term, subject }),
            }
        }
    }

    /// Answers a ticket whose own entry is durable here, and perhaps committed.
    pub(super) fn answer(&self, ticket: Ticket, here: &Standpoint, turn: &mut Turn) {
        let reply = match ticket.subject {
            Subject::LogStart => Reply::Deleted { log_start: self.log_start },
            Subject::Records { base_offset, record_count, .. } => {
                let committed = ticket.index <= here.applied;
                let durability = if committed { Durability::QuorumFsync } else { Durability::LeaderFsync };
                self.produced(Some(base_offset), record_count, ticket.term, durability)
            }
        };
        turn.reply(ticket.id, Ok(reply));
    }

    fn produced(
        &self,
        base_offset: Option<Offset>,
        record_count: u32,
        term: Term,
        durability: Durability,
    ) -> Reply {
        Reply::Produced(Produced {
            base_offset,
            record_count,
            term,
            durability,
            log_start: self.log_start,
            high_watermark: self.high_watermark,
        })
    }
}
