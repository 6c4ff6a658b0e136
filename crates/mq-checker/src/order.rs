//! C5: batches stay whole, and sequence order is offset order as far as it was asked for.
//!
//! With idempotence all of a producer's records are in sequence. Without it a stream keeps the order of what is
//! acknowledged on it, and of records that were sent once only; a repeated attempt may land anywhere.

use crate::history::{Producer, StreamId};
use crate::places::{Place, Places};
use crate::sent::{RecordId, Sent};
use crate::violation::{Check, Findings};
use mq_types::Offset;
use std::collections::BTreeMap;

/// What one partition acknowledged, by stream.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// For each acknowledged call: which event sent it -> (base offset, event of the answer).
    acknowledged: BTreeMap<(StreamId, u32), (Offset, u32)>,
}

impl Streams {
    /// A call that `sent_event` sent on this stream is acknowledged.
    pub(crate) fn acknowledge(
        &mut self,
        stream: StreamId,
        sent_event: u32,
        base_offset: Offset,
        findings: &mut Findings,
    ) {
        let mine = (stream, sent_event);
        let before = self.acknowledged.range((stream, 0)..mine).next_back();
        let after = self.acknowledged.range(mine..=(stream, u32::MAX)).next();
        for (neighbour, must_be_below) in [(before, true), (after, false)] {
            let Some(((_, its_sent), (its_base, its_ended))) = neighbour else { continue };
            if (*its_base < base_offset) != must_be_below {
                let text = format!(
                    "stream {}: the batch sent at event {sent_event} was given offset {base_offset}, the one \
                     sent at event {its_sent} offset {its_base} (event {its_ended})",
                    stream.0
                );
                findings.add(Check::C5, text);
            }
        }
        self.acknowledged.insert(mine, (base_offset, findings.event));
    }
}

/// The last record of some order, by where it was found.
type Last<Key> = BTreeMap<Key, (RecordId, Offset)>;

/// Goes through all that was ever found in one partition, in the order of offsets.
#[derive(Debug)]
struct Walk<'a> {
    sent: &'a Sent,
    /// The last record of each producer with idempotence, whatever its epoch: run and id name it.
    of_producer: Last<(u32, u32)>,
    /// The last record of each producer and stream, of those that were sent once.
    on_stream: Last<(StreamId, u32)>,
}

/// Looks at everything that was found, once all is over.
pub(crate) fn check(sent: &Sent, places: &Places, findings: &mut Findings) {
    let mut walk = Walk { sent, of_producer: Last::new(), on_stream: Last::new() };
    let mut previous: Option<(Offset, &Place)> = None;
    for (offset, place) in places.iter() {
        walk.check_order(offset, place, findings);
        if let Some(before) = previous.filter(|(before, _)| before.0 + 1 == offset.0) {
            walk.check_whole(before, (offset, place), findings);
        }
        previous = Some((offset, place));
    }
}

impl Walk<'_> {
    fn check_order(&mut self, offset: Offset, place: &Place, findings: &mut Findings) {
        let id = place.record;
        let owner = &self.sent.producers[id.producer as usize];
        let record = self.sent.record(id);
        let before = if owner.idempotent {
            let Producer { run, id: producer, .. } = owner.producer;
            self.of_producer.insert((run, producer), (id, offset))
        } else if let Some(stream) = record.stream.filter(|_| record.attempts == 1) {
            self.on_stream.insert((stream, id.producer), (id, offset))
        } else {
            None
        };
        let Some((before, before_offset)) = before else { return };
        let rank =
            |id: RecordId| (self.sent.producers[id.producer as usize].producer, self.sent.sequence(id));
        if rank(before) > rank(id) {
            let (first, second) = (self.sent.identity(before), self.sent.identity(id));
            let event = place.first_event;
            let text = format!(
                "{first} is at offset {before_offset}, {second} after it at offset {offset} (event {event})"
            );
            findings.add(Check::C5, text);
        }
    }

    /// Neighbouring offsets: whoever is inside a batch has its batch around it.
    fn check_whole(
        &self,
        (_, before): (Offset, &Place),
        (offset, place): (Offset, &Place),
        findings: &mut Findings,
    ) {
        let successive = before.record.producer == place.record.producer
            && before.record.number + 1 == place.record.number;
        let may_part =
            self.sent.record(before.record).ends_batch && self.sent.record(place.record).begins_batch;
        if !successive && !may_part {
            let (first, second) = (self.sent.identity(before.record), self.sent.identity(place.record));
            let text = format!(
                "a batch is torn: {second} follows at offset {offset} on {first} (events {} and {})",
                place.first_event, before.first_event
            );
            findings.add(Check::C5, text);
        }
    }
}
