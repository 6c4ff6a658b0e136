//! C4, and what every check on records needs: what was sent to one partition, and how often.
//!
//! A record that is read is looked up here; from then on it is a small number.

use crate::history::{Identity, ProduceSent, Producer, StreamId};
use crate::violation::{Check, Findings};
use mq_types::Offset;
use std::collections::BTreeMap;

/// A record that was sent to this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordId {
    /// The place of its producer in `producers`.
    pub(crate) producer: u32,
    /// Its place among that producer's records: sequence minus first sequence.
    pub(crate) number: u32,
}

/// The records of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    pub(crate) first: RecordId,
    pub(crate) count: u32,
}

impl Batch {
    pub(crate) fn ids(self) -> impl Iterator<Item = RecordId> {
        let Batch { first, count } = self;
        (0..count).map(move |i| RecordId { producer: first.producer, number: first.number + i })
    }
}

/// What is known of one record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    length_bytes: u32,
    hash: u32,
    /// The event of its first attempt that may have been appended.
    pub(crate) sent_event: u32,
    /// The end of what was acknowledged when that attempt was sent: its offset must not be below.
    pub(crate) floor: Offset,
    /// Attempts that were begun, and those of them that certainly came to nothing.
    pub(crate) attempts: u16,
    failed: u16,
    /// Offsets at which it was found.
    pub(crate) places: u16,
    /// It was the first or the last of its batch in some attempt.
    pub(crate) begins_batch: bool,
    pub(crate) ends_batch: bool,
    /// Its first attempt's stream.
    pub(crate) stream: Option<StreamId>,
}

impl Record {
    /// Attempts that were or may be appended.
    fn live(&self) -> u16 {
        self.attempts - self.failed
    }
}

/// One producer's records of one partition, by sequence.
#[derive(Debug)]
pub(crate) struct ProducerRecords {
    pub(crate) producer: Producer,
    pub(crate) idempotent: bool,
    first_sequence: u64,
    records: Vec<Record>,
}

/// Everything that was sent to one partition.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    by_producer: BTreeMap<Producer, u32>,
    pub(crate) producers: Vec<ProducerRecords>,
}

impl Sent {
    /// Notes an attempt, sent when everything below `floor` was acknowledged. `None`: the recorder is wrong.
    pub(crate) fn begin(
        &mut self,
        sent: &ProduceSent,
        floor: Offset,
        findings: &mut Findings,
    ) -> Option<Batch> {
        let Some(head) = sent.records.first() else {
            findings.add(Check::History, "a batch without records was sent".to_owned());
            return None;
        };
        let place = self.place_of(head, sent.idempotent);
        let producer = &mut self.producers[place as usize];
        let count = sent.records.len();
        let mut first_number = 0;
        for (i, identity) in sent.records.iter().enumerate() {
            let in_order = identity.producer == producer.producer
                && identity.sequence == head.sequence + i as u64
                && identity.sequence >= producer.first_sequence
                && identity.sequence - producer.first_sequence <= producer.records.len() as u64;
            if !in_order || producer.idempotent != sent.idempotent {
                findings.add(Check::History, format!("{identity} was sent out of its producer's sequence"));
                return None;
            }
            let number = (identity.sequence - producer.first_sequence) as usize;
            if i == 0 {
                first_number = number as u32;
            }
            let edges = (i == 0, i + 1 == count);
            if let Err(other) = producer.attempt(number, identity, sent.stream, edges, floor, findings.event)
            {
                findings.add(Check::History, format!("{identity} was sent, and before it {other}"));
                return None;
            }
        }
        let first = RecordId { producer: place, number: first_number };
        Some(Batch { first, count: count as u32 })
    }

    fn place_of(&mut self, head: &Identity, idempotent: bool) -> u32 {
        *self.by_producer.entry(head.producer).or_insert_with(|| {
            self.producers.push(ProducerRecords {
                producer: head.producer,
                idempotent,
                first_sequence: head.sequence,
                records: Vec::new(),
            });
            self.producers.len() as u32 - 1
        })
    }

    /// The record with this identity, if that was sent here.
    pub(crate) fn find(&self, identity: &Identity) -> Option<RecordId> {
        let place = *self.by_producer.get(&identity.producer)?;
        let producer = &self.producers[place as usize];
        let number = usize::try_from(identity.sequence.checked_sub(producer.first_sequence)?).ok()?;
        let record = producer.records.get(number)?;
        let same = (record.length_bytes, record.hash) == (identity.length_bytes, identity.hash);
        same.then_some(RecordId { producer: place, number: number as u32 })
    }

    pub(crate) fn record(&self, id: RecordId) -> &Record {
        &self.producers[id.producer as usize].records[id.number as usize]
    }

    pub(crate) fn sequence(&self, id: RecordId) -> u64 {
        self.producers[id.producer as usize].first_sequence + u64::from(id.number)
    }

    pub(crate) fn identity(&self, id: RecordId) -> Identity {
        self.producers[id.producer as usize].identity(id.number as usize)
    }

    /// C2 and C4: the record was found at one more offset.
    pub(crate) fn found(&mut self, id: RecordId, offset: Offset, findings: &mut Findings) {
        let producer = &mut self.producers[id.producer as usize];
        producer.records[id.number as usize].places += 1;
        producer.check_places(id.number as usize, Some(offset), findings);
    }

    /// An attempt at these records certainly came to nothing.
    pub(crate) fn fail(&mut self, batch: Batch, findings: &mut Findings) {
        let producer = &mut self.producers[batch.first.producer as usize];
        for id in batch.ids() {
            producer.records[id.number as usize].failed += 1;
            producer.check_places(id.number as usize, None, findings);
        }
    }
}

impl ProducerRecords {
    fn identity(&self, number: usize) -> Identity {
        let record = &self.records[number];
        Identity {
            producer: self.producer,
            sequence: self.first_sequence + number as u64,
            length_bytes: record.length_bytes,
            hash: record.hash,
        }
    }

    /// Counts an attempt at one record; gives back what was sent under this number before, if it was another record.
    fn attempt(
        &mut self,
        number: usize,
        identity: &Identity,
        stream: Option<StreamId>,
        (begins, ends): (bool, bool),
        floor: Offset,
        event: u32,
    ) -> Result<(), Identity> {
        if number == self.records.len() {
            self.records.push(Record {
                length_bytes: identity.length_bytes,
                hash: identity.hash,
                sent_event: event,
                floor,
                attempts: 0,
                failed: 0,
                places: 0,
                begins_batch: false,
                ends_batch: false,
                stream,
            });
        }
        let known = self.identity(number);
        if known != *identity {
            return Err(known);
        }
        let record = &mut self.records[number];
        if record.live() == 0 {
            (record.floor, record.sent_event) = (floor, event);
        }
        record.attempts += 1;
        record.begins_batch |= begins;
        record.ends_batch |= ends;
        Ok(())
    }

    fn check_places(&self, number: usize, offset: Option<Offset>, findings: &mut Findings) {
        let record = &self.records[number];
        let live = record.live();
        let allowed = if self.idempotent { live.min(1) } else { live };
        if record.places <= allowed {
            return;
        }
        let identity = self.identity(number);
        let at = offset.map_or_else(String::new, |offset| format!(" at offset {offset}"));
        let Record { attempts, failed, places, sent_event, .. } = record;
        if live == 0 {
            let text =
                format!("{identity}, sent at event {sent_event}, is stored{at} although it was refused");
            findings.add(Check::C4, text);
        } else {
            let how = if self.idempotent { "with" } else { "without" };
            let text = format!(
                "{identity}, sent at event {sent_event}, is stored{at} and so at {places} offsets: {attempts} \
                 attempts were made {how} idempotence, {failed} of which certainly failed"
            );
            findings.add(Check::C2, text);
        }
    }
}
