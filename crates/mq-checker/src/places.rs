//! C1, and the table behind C3, C5, C7 and C9: which record was ever found at which offset of one partition.

use crate::sent::{RecordId, Sent};
use crate::violation::{Check, Findings};
use mq_types::Offset;
use std::collections::BTreeMap;

/// How a record was found at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Witness {
    Acknowledged,
    Read,
    OnDisk,
}

/// One offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) record: RecordId,
    /// The event that first showed it here.
    pub(crate) first_event: u32,
    /// The event that first acknowledged it here; `NEVER`: none.
    acknowledged_event: u32,
    /// The event that first read it here; `NEVER`: none.
    read_event: u32,
    /// The final log of some replica holds it here.
    pub(crate) on_disk: bool,
}

const NEVER: u32 = u32::MAX;
/// Offsets of one piece of the table. Pieces, since a wrong offset may be any number.
const PIECE: u64 = 256;

impl Place {
    pub(crate) fn acknowledged_event(&self) -> Option<u32> {
        (self.acknowledged_event != NEVER).then_some(self.acknowledged_event)
    }

    pub(crate) fn read_event(&self) -> Option<u32> {
        (self.read_event != NEVER).then_some(self.read_event)
    }
}

/// Which record was found at which offset.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pieces: BTreeMap<u64, Box<[Option<Place>]>>,
}

impl Places {
    pub(crate) fn get(&self, offset: Offset) -> Option<&Place> {
        self.pieces.get(&(offset.0 / PIECE))?[(offset.0 % PIECE) as usize].as_ref()
    }

    /// All offsets at which something was found, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Offset, &Place)> {
        self.pieces.iter().flat_map(|(number, piece)| {
            let places = piece.iter().enumerate();
            places.filter_map(move |(i, place)| Some((Offset(number * PIECE + i as u64), place.as_ref()?)))
        })
    }

    /// The record was found here.
    pub(crate) fn put(
        &mut self,
        offset: Offset,
        record: RecordId,
        witness: Witness,
        sent: &mut Sent,
        findings: &mut Findings,
    ) {
        let piece = self.pieces.entry(offset.0 / PIECE);
        let piece = piece.or_insert_with(|| vec![None; PIECE as usize].into_boxed_slice());
        let slot = &mut piece[(offset.0 % PIECE) as usize];
        let is_new = slot.is_none();
        let place = slot.get_or_insert(Place {
            record,
            first_event: findings.event,
            acknowledged_event: NEVER,
            read_event: NEVER,
            on_disk: false,
        });
        if place.record != record {
            let (old, new) = (sent.identity(place.record), sent.identity(record));
            let how = match witness {
                Witness::Acknowledged => "acknowledged",
                Witness::Read => "read",
                Witness::OnDisk => "on disk",
            };
            let event = place.first_event;
            findings.add(Check::C1, format!("offset {offset}: {new} is {how}; event {event} showed {old}"));
            return;
        }
        match witness {
            Witness::Acknowledged => {
                place.acknowledged_event = place.acknowledged_event.min(findings.event);
            }
            Witness::Read => place.read_event = place.read_event.min(findings.event),
            Witness::OnDisk => place.on_disk = true,
        }
        if is_new {
            sent.found(record, offset, findings);
            self.check_floor(offset, record, sent, findings);
        }
    }

    /// C7: it was sent after everything below its floor was acknowledged.
    fn check_floor(&self, offset: Offset, record: RecordId, sent: &Sent, findings: &mut Findings) {
        let known = sent.record(record);
        if offset >= known.floor {
            return;
        }
        let (identity, sent_event) = (sent.identity(record), known.sent_event);
        let below = Offset(known.floor.0 - 1); // a floor is the end of an acknowledged batch
        let event = self.get(below).and_then(Place::acknowledged_event);
        let event = event.map_or_else(String::new, |event| format!(" (event {event})"));
        let text = format!(
            "{identity} has offset {offset}, but when it was sent (event {sent_event}) offset {below} was \
             already acknowledged{event}"
        );
        findings.add(Check::C7, text);
    }
}
