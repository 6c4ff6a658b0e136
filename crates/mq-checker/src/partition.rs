//! One partition as its clients know it: what was sent, acknowledged, read and deleted, and what is left in the end.

use crate::finals::Finals;
use crate::history::{FinalContent, FinalLog, Placed, ProduceOutcome, ProduceSent, StreamId};
use crate::log_start::LogStart;
use crate::order::{self, Streams};
use crate::places::{Places, Witness};
use crate::sent::{Batch, Sent};
use crate::violation::{Check, Findings};
use mq_types::{Offset, QuorumId, Term};

/// One partition.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    sent: Sent,
    places: Places,
    streams: Streams,
    pub(crate) log_start: LogStart,
    finals: Finals,
    pub(crate) acknowledged: Acknowledged,
    /// Its topic is being deleted: nothing of it need be kept.
    is_deleted: bool,
}

/// Everything that is acknowledged by a majority.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Acknowledged {
    /// Its end.
    pub(crate) end: Offset,
    /// The term of the leader that acknowledged the last of it; that leader, and later ones, know of all of it.
    pub(crate) term: Term,
    /// The event that acknowledged it.
    pub(crate) event: u32,
}

/// A produce that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Produce {
    pub(crate) quorum: QuorumId,
    pub(crate) sent_event: u32,
    batch: Batch,
    stream: Option<StreamId>,
    idempotent: bool,
    /// What was acknowledged when it was sent.
    floor: Acknowledged,
}

/// A LATEST that was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latest {
    pub(crate) quorum: QuorumId,
    /// What was acknowledged when it was asked.
    floor: Acknowledged,
}

impl Partition {
    /// The end of what is acknowledged.
    pub(crate) fn acknowledged_end(&self) -> Offset {
        self.acknowledged.end
    }

    pub(crate) fn delete(&mut self) {
        self.is_deleted = true;
    }

    /// A client sends a batch.
    pub(crate) fn send(&mut self, sent: &ProduceSent, findings: &mut Findings) -> Option<Produce> {
        let batch = self.sent.begin(sent, self.acknowledged.end, findings)?;
        if sent.attempt == 0 || sent.attempt > 1 && self.sent.record(batch.first).attempts < 2 {
            let text = format!("call {} is called attempt {}", sent.call.0, sent.attempt);
            findings.add(Check::History, text);
        }
        Some(Produce {
            quorum: sent.quorum,
            sent_event: findings.event,
            batch,
            stream: sent.stream,
            idempotent: sent.idempotent,
            floor: self.acknowledged,
        })
    }

    /// A client knows what became of it.
    pub(crate) fn end(
        &mut self,
        produce: &Produce,
        (base_offset, term): (Offset, Term),
        findings: &mut Findings,
    ) {
        let Produce { batch, sent_event, stream, idempotent, floor, .. } = *produce;
        let Acknowledged { end: floor, event: floor_event, .. } = floor;
        let places = (base_offset.0..).map(Offset).zip(batch.ids());
        for (offset, id) in places {
            self.places.put(offset, id, Witness::Acknowledged, &mut self.sent, findings);
        }
        // With idempotence an earlier attempt may have been the one that was appended.
        if !idempotent && base_offset < floor {
            let text = format!(
                "what was sent at event {sent_event} is acknowledged at offset {base_offset}, but everything below \
                 {floor} was already acknowledged then (event {floor_event})"
            );
            findings.add(Check::C7, text);
        }
        if let Some(stream) = stream.filter(|_| !idempotent) {
            self.streams.acknowledge(stream, sent_event, base_offset, findings);
        }
        let end = base_offset.plus(batch.count);
        if end > self.acknowledged.end {
            self.acknowledged = Acknowledged { end, term, event: findings.event };
        }
    }

    /// A client knows that nothing became of it.
    pub(crate) fn fail(&mut self, produce: &Produce, findings: &mut Findings) {
        self.sent.fail(produce.batch, findings);
    }

    /// Records were read, or found in a final log.
    pub(crate) fn find(&mut self, records: &[Placed], witness: Witness, findings: &mut Findings) {
        for placed in records {
            let Placed { offset, identity } = placed;
            match self.sent.find(identity) {
                Some(id) => self.places.put(*offset, id, witness, &mut self.sent, findings),
                None => findings
                    .add(Check::C4, format!("offset {offset} holds {identity}, which nobody sent here")),
            }
        }
    }

    pub(crate) fn ask_latest(&self, quorum: QuorumId) -> Latest {
        Latest { quorum, floor: self.acknowledged }
    }

    /// A client is told where the partition ends.
    pub(crate) fn answer_latest(latest: Latest, answer: Offset, findings: &mut Findings) {
        let Acknowledged { end: floor, event, .. } = latest.floor;
        if answer < floor {
            let text = format!(
                "LATEST answers {answer}, but everything below {floor} was acknowledged (event {event}) before it \
                 was asked"
            );
            findings.add(Check::C7, text);
        }
    }

    /// What a replica holds when all is over.
    pub(crate) fn add_final(&mut self, log: &FinalLog, findings: &mut Findings) {
        if self.is_deleted {
            return;
        }
        self.log_start.check(log.log_start, "a final log", findings);
        self.finals.add(log, findings);
        if let FinalContent::Records(records) = &log.content {
            self.find(records, Witness::OnDisk, findings);
        }
    }

    /// All is over.
    pub(crate) fn finish(&self, findings: &mut Findings) {
        order::check(&self.sent, &self.places, findings);
        if !self.is_deleted {
            self.finals.check(&self.places, &self.log_start, findings);
        }
    }
}

/// What counts as acknowledged: the offset and the term, if a majority has it.
pub(crate) fn acknowledged(outcome: &ProduceOutcome) -> Option<(Offset, Term)> {
    match *outcome {
        ProduceOutcome::Ok { base_offset, term, durability: crate::history::Durability::Quorum } => {
            Some((base_offset, term))
        }
        _ => None,
    }
}
