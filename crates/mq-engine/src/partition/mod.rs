//! One partition: produce, acks, view, retention.
//!
//! What a replica of a partition does with committed entries, and what its leader does with requests. How entries
//! become durable and committed is not its business.

pub(crate) mod acks;
pub mod control;
mod delete;
mod produce;
pub(crate) mod reads;
pub mod retention;

pub use control::{Control, ControlError};

use crate::controller::TopicConfig;
use crate::replica::Standpoint;
use crate::segments::Segments;
use crate::turn::Turn;
use crate::writes::Writes;
use crate::{Event, RequestId, View, WriteNumber, api};
use acks::{Subject, Ticket, Tickets};
use mq_types::persist::{Standing, Start, Trim};
use mq_types::{Body, EntryMeta, Index, Offset, QuorumId};
use reads::ReadIndexes;

/// The topic that a partition is of.
#[derive(Clone, Debug)]
pub(crate) struct TopicBinding {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is in the trash: nothing is appended, and nothing more is deleted.
    pub(crate) in_trash: bool,
    /// Its configs.
    pub(crate) config: TopicConfig,
}

/// One partition as its replica here knows it.
pub(crate) struct Partition {
    /// `None`: the metadata have not come yet, or know no such partition.
    topic: Option<TopicBinding>,
    /// The end of the last applied entry. Never goes back.
    high_watermark: Offset,
    /// The first offset kept, as of the last applied entry. Never goes back.
    log_start: Offset,
    /// Asked for in this turn.
    produces: Vec<(RequestId, api::Produce)>,
    /// Ordered in this turn, by a request or by retention.
    controls: Vec<(Option<RequestId>, Control)>,
    /// Stamped in this turn.
    proposed: Vec<produce::Proposed>,
    in_flight: produce::InFlight,
    tickets: Tickets,
    /// Tickets settled in this turn, to be answered when readers have been told.
    settled: Vec<Ticket>,
    reads: ReadIndexes,
    published: Option<View>,
}

/// The life of a partition.
impl Partition {
    /// A partition of which everything below `high_watermark` is known to be committed.
    pub(crate) fn new(log_start: Offset, high_watermark: Offset) -> Partition {
        Partition {
            topic: None,
            high_watermark: high_watermark.max(log_start),
            log_start,
            produces: Vec::new(),
            controls: Vec::new(),
            proposed: Vec::new(),
            in_flight: produce::InFlight::default(),
            tickets: Tickets::default(),
            settled: Vec::new(),
            reads: ReadIndexes::default(),
            published: None,
        }
    }

    /// The metadata say this of its topic.
    pub(crate) fn bind(&mut self, topic: TopicBinding, writes: &mut Writes) {
        let segment_bytes = topic.config.segment_bytes;
        if self.topic.as_ref().map(|old| old.config.segment_bytes) != Some(segment_bytes) {
            writes.set_segment_size(segment_bytes);
        }
        self.topic = Some(topic);
    }

    /// The metadata know it no more.
    pub(crate) fn unbind(&mut self) {
        self.topic = None;
    }

    /// Whether anything asked for in this turn waits to be proposed.
    pub(crate) fn has_proposals(&self) -> bool {
        !self.produces.is_empty() || !self.controls.is_empty()
    }

    /// The read index to ask Raft for, if one was asked for in this turn.
    pub(crate) fn read_index_to_ask(&mut self, now_ms: u64) -> Option<u64> {
        let context = self.reads.ask(now_ms);
        if let Some(context) = context.filter(|_| mq_types::planted!("read_index_unconfirmed")) {
            self.reads.confirm(context, Index(0));
            return None;
        }
        context
    }

    /// Time has passed: the read indexes to ask Raft for again.
    pub(crate) fn tick(&mut self, turn: &mut Turn) -> Vec<u64> {
        if self.reads.is_empty() {
            return Vec::new();
        }
        for id in self.reads.take_expired(turn.now.monotonic_ms) {
            let retry_after_ms = crate::turn::NO_LEADER_RETRY_MS;
            turn.reply(id, Err(api::Error::NoLeader { retry_after_ms }));
        }
        self.reads.ask_again(turn.now.monotonic_ms)
    }

    /// Raft has confirmed a read index.
    pub(crate) fn read_index_confirmed(&mut self, context: u64, index: Index) {
        self.reads.confirm(context, index);
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.tickets.is_empty() && self.reads.is_empty() && self.settled.is_empty() && !self.has_proposals()
    }
}

/// What becomes of entries.
impl Partition {
    /// Entries up to this one are durable here.
    pub(crate) fn synced(&mut self, last_index: Index) {
        self.settled.extend(self.tickets.synced(last_index));
    }

    /// An entry is committed, and durable here.
    pub(crate) fn apply(
        &mut self,
        meta: &EntryMeta,
        body: Option<&Body>,
        here: &Standpoint,
        writes: &mut Writes,
        turn: &mut Turn,
    ) {
        // After a start the high watermark may be no more than the log start, which may lie inside a batch.
        assert!(
            meta.base_offset >= self.high_watermark
                || meta.end_offset() <= self.high_watermark
                || self.high_watermark == self.log_start,
            "entry {} overlaps the high watermark {}",
            meta.index,
            self.high_watermark
        );
        self.high_watermark = self.high_watermark.max(meta.end_offset());
        self.in_flight.committed(meta.index);
        let effective_with = match body {
            Some(Body::Control(bytes)) => {
                // Applying on without it would let replicas part; the bytes were checked against their checksum.
                let control = Control::decode(bytes).expect("this version knows all orders in its log");
                self.obey(control, meta.index, here, writes, turn)
            }
            _ => None,
        };
        let Some(ticket) = self.tickets.committed(meta) else { return };
        if ticket.term != meta.term && !mq_types::planted!("ticket_without_term") {
            // Another leader's entry stands there: ours was certainly not appended.
            turn.reply(ticket.id, Err(turn.not_leader(here.role)));
            return;
        }
        match (ticket.subject, effective_with) {
            (Subject::LogStart, Some(number)) => self.tickets.await_trim(number, ticket.id),
            _ => self.settled.push(ticket),
        }
    }

    /// Carries out an order. Answers the write with which it is durable, if it changes anything.
    fn obey(
        &mut self,
        control: Control,
        index: Index,
        here: &Standpoint,
        writes: &mut Writes,
        turn: &mut Turn,
    ) -> Option<WriteNumber> {
        let Control::SetLogStart { offset } = control;
        assert!(
            offset <= self.high_watermark,
            "the log was ordered to start at {offset}, beyond the high watermark {}",
            self.high_watermark
        );
        if offset <= self.log_start {
            return None;
        }
        let offset =
            if mq_types::planted!("replicas_trim_differently") && here.replica.broker().0.is_multiple_of(2) {
                Offset(offset.0 + 1).min(self.high_watermark)
            } else {
                offset
            };
        self.log_start = offset;
        let number = writes.settle_with_next(index);
        writes.trim(Trim::Offset(offset));
        turn.event(Event::Trimmed { quorum: here.quorum, log_start: offset });
        Some(number)
    }

    /// The first offset that is kept.
    pub(crate) fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The log begins anew here: everything before is committed, and not kept.
    pub(crate) fn restored(&mut self, start: &Start) {
        if mq_types::planted!("start_snapshot_ignores_log_start") {
            self.high_watermark = self.high_watermark.max(start.base_offset);
            return;
        }
        self.log_start = self.log_start.max(start.log_start);
        self.high_watermark = self.high_watermark.max(start.base_offset).max(self.log_start);
    }

    /// A write is durable: deletions that waited for it are done.
    pub(crate) fn persisted(&mut self, number: WriteNumber, turn: &mut Turn) {
        for id in self.tickets.trimmed(number) {
            turn.reply(id, Ok(api::Reply::Deleted { log_start: self.log_start }));
        }
    }

    /// All of the turn is done: readers are told what has changed, then those who wait.
    pub(crate) fn settle(&mut self, here: &Standpoint, segments: &Segments, turn: &mut Turn) {
        let view = self.view(here, segments);
        if self.published.as_ref() != Some(&view) {
            self.check_against_published(&view);
            self.published = Some(view.clone());
            turn.publish(here.quorum, view);
        }
        for ticket in std::mem::take(&mut self.settled) {
            self.answer(ticket, here, turn);
        }
        let leads = here.role.role == mq_raft::Role::Leader;
        let abandoned = match mq_types::planted!("ticket_without_term") {
            true => Vec::new(),
            false => self.tickets.abandoned(leads.then_some(here.role.term)),
        };
        for ticket in abandoned {
            if mq_types::planted!("unknown_outcome_called_failure") {
                turn.reply(ticket.id, Err(turn.not_leader(here.role)));
                continue;
            }
            let why = "this replica stopped leading before the records were committed";
            turn.reply(ticket.id, Err(api::Error::OutcomeUnknown { why }));
        }
        if !leads {
            self.in_flight.clear();
        }
        self.answer_reads(here, turn);
    }

    fn view(&self, here: &Standpoint, segments: &Segments) -> View {
        let read_only = here.is_sole_voter && matches!(here.standing, Standing::Lost(_));
        let uncommitted = segments.list().last().map_or(self.high_watermark, |active| active.end_offset);
        View {
            replica: here.replica,
            leader: if read_only { Some(here.replica) } else { here.role.leader },
            term: here.role.term,
            serving: here.serving || read_only,
            standing: here.standing,
            log_start: self.log_start,
            high_watermark: if mq_types::planted!("reads_see_uncommitted") {
                self.high_watermark.max(uncommitted)
            } else {
                self.high_watermark
            },
            size_bytes: segments.size_bytes(),
        }
    }

    fn check_against_published(&self, view: &View) {
        assert!(view.log_start <= view.high_watermark, "a log starts at or below its high watermark");
        let Some(old) = &self.published else { return };
        assert!(
            view.high_watermark >= old.high_watermark && view.log_start >= old.log_start,
            "what readers have seen went back: from {old:?} to {view:?}"
        );
    }

    fn answer_reads(&mut self, here: &Standpoint, turn: &mut Turn) {
        if self.reads.is_empty() {
            return;
        }
        let read_only = here.is_sole_voter && matches!(here.standing, Standing::Lost(_));
        let ready = if read_only { self.reads.take_all() } else { self.reads.take_ready(here.applied) };
        for id in ready {
            let (log_start, high_watermark) = (self.log_start, self.high_watermark);
            turn.reply(id, Ok(api::Reply::ReadIndex { log_start, high_watermark, term: here.role.term }));
        }
        if here.role.role != mq_raft::Role::Leader {
            for id in self.reads.take_all() {
                turn.reply(id, Err(turn.not_leader(here.role)));
            }
        }
    }

    /// The replica goes away, with its topic or to another broker: whoever waits is told.
    pub(crate) fn abandon(&mut self, quorum: QuorumId, turn: &mut Turn) {
        let has_moved = !turn.image.is_known() || turn.image.partition(quorum).is_some();
        let name = self.topic.as_ref().map(|topic| topic.name.clone()).unwrap_or_default();
        let refusal = match has_moved {
            true => api::Error::NoLeader { retry_after_ms: crate::turn::NO_LEADER_RETRY_MS },
            false => api::Error::UnknownTopic { topic: name },
        };
        let asked = self.produces.drain(..).map(|(id, _)| id);
        let ordered = self.controls.drain(..).filter_map(|(id, _)| id);
        for id in asked.chain(ordered).chain(self.reads.take_all()) {
            turn.reply(id, Err(refusal.clone()));
        }
        let waiting = self.tickets.abandoned(None).into_iter().map(|ticket| ticket.id);
        for id in waiting.chain(self.tickets.trimmed(WriteNumber(u64::MAX))) {
            let why = "this replica was removed before the records were committed";
            turn.reply(id, Err(api::Error::OutcomeUnknown { why }));
        }
    }
}
