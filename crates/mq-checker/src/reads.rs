//! C6, and what C7, C8 and C10 say about one answer: every reader's position in each partition.
//!
//! Only leaders answer readers. One of an earlier term may answer with what was true then; one of the same or a later
//! term knows at least what the reader was told, and what any producer was told in that term, before it asked.

use crate::history::{CallId, FetchAnswer, Placed, SessionId};
use crate::log_start::Deleted;
use crate::partition::Acknowledged;
use crate::violation::{Check, Findings};
use mq_types::{Offset, QuorumId, ReplicaId, Term};
use std::collections::BTreeMap;
use std::fmt;

/// One reader in one partition.
#[derive(Clone, Copy, Debug, Default)]
struct Reader {
    /// Where it goes on; `None`: wherever it likes.
    position: Option<Offset>,
    told: Told,
}

/// What a reader was told last, by the highest term.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    term: Term,
    high_watermark: Offset,
    log_start: Offset,
    event: u32,
}

/// A fetch that was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetch {
    pub(crate) session: SessionId,
    pub(crate) quorum: QuorumId,
    replica: ReplicaId,
    position: Offset,
    asked_event: u32,
    /// What the reader knew when it asked.
    told: Told,
    /// What was certainly stored, and what was certainly deleted, when it asked.
    acknowledged: Acknowledged,
    deleted: Deleted,
}

/// What an answer says besides records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) high_watermark: Offset,
    pub(crate) log_start: Offset,
    term: Term,
}

impl Bounds {
    /// What this answer says; `None`: nothing.
    pub(crate) fn of(answer: &FetchAnswer) -> Option<Bounds> {
        match *answer {
            FetchAnswer::Records { high_watermark, log_start, term, .. }
            | FetchAnswer::OutOfRange { high_watermark, log_start, term } => {
                Some(Bounds { high_watermark, log_start, term })
            }
            FetchAnswer::Refused => None,
        }
    }
}

/// All readers.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    readers: BTreeMap<(SessionId, QuorumId), Reader>,
}

impl Readers {
    /// A reader asks.
    pub(crate) fn ask(
        &mut self,
        session: SessionId,
        quorum: QuorumId,
        (replica, position): (ReplicaId, Offset),
        (acknowledged, deleted): (Acknowledged, Deleted),
        findings: &mut Findings,
    ) -> Fetch {
        let reader = self.readers.entry((session, quorum)).or_default();
        if let Some(expected) = reader.position.filter(|expected| *expected != position) {
            let how = if position < expected { "steps back" } else { "skips records" };
            let text = format!(
                "reader {} {how} without a seek: it asks for offset {position}, and was at \
                 {expected}",
                session.0
            );
            findings.add(Check::C6, text);
        }
        reader.position = Some(position);
        let (asked_event, told) = (findings.event, reader.told);
        Fetch { session, quorum, replica, position, asked_event, told, acknowledged, deleted }
    }

    /// A reader goes elsewhere.
    pub(crate) fn seek(&mut self, session: SessionId, quorum: QuorumId, position: Offset) {
        self.readers.entry((session, quorum)).or_default().position = Some(position);
    }

    /// A reader is answered. Says where it is now if it is at the end of what the answer knows.
    pub(crate) fn answer(
        &mut self,
        call: CallId,
        fetch: &Fetch,
        answer: &FetchAnswer,
        findings: &mut Findings,
    ) -> Option<Offset> {
        let bounds = Bounds::of(answer)?;
        let who = Who { call, fetch };
        fetch.check_bounds(who, bounds, findings);
        let reader = self.readers.get_mut(&(fetch.session, fetch.quorum)).expect("it asked");
        if (bounds.term, bounds.high_watermark) >= (reader.told.term, reader.told.high_watermark) {
            reader.told = Told {
                term: bounds.term,
                high_watermark: bounds.high_watermark,
                log_start: bounds.log_start.max(reader.told.log_start),
                event: findings.event,
            };
        }
        let FetchAnswer::Records { records, .. } = answer else {
            fetch.check_refusal(who, bounds, findings);
            return None;
        };
        fetch.check_records(who, bounds, records, findings);
        // An answer that came after the reader moved on changes nothing.
        if reader.position == Some(fetch.position) {
            if let Some(last) = records.last() {
                reader.position = Some(last.offset.plus(1));
            }
            return reader.position.filter(|position| *position >= bounds.high_watermark);
        }
        None
    }
}

/// An answered fetch, as explanations name it.
#[derive(Clone, Copy, Debug)]
struct Who<'a> {
    call: CallId,
    fetch: &'a Fetch,
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fetch { asked_event, replica, .. } = self.fetch;
        write!(f, "fetch {} (event {asked_event}, replica {replica})", self.call.0)
    }
}

impl Fetch {
    fn check_bounds(&self, who: Who<'_>, bounds: Bounds, findings: &mut Findings) {
        let Bounds { high_watermark, log_start, term } = bounds;
        let Told { term: told_term, high_watermark: told_high, log_start: told_start, event } = self.told;
        if term >= told_term && high_watermark < told_high {
            let text = format!(
                "{who}: the high watermark is {high_watermark} in term {term}, and was {told_high} in term \
                 {told_term} (event {event})"
            );
            findings.add(Check::C8, text);
        }
        if term >= told_term && log_start < told_start {
            let text =
                format!("{who}: the log starts at {log_start}, and before at {told_start} (event {event})");
            findings.add(Check::C10, text);
        }
        let Acknowledged { end, term: acknowledged_term, event } = self.acknowledged;
        if term >= acknowledged_term && high_watermark < end {
            let text = format!(
                "{who}: the high watermark is {high_watermark} in term {term}; everything below {end} was acknowledged \
                 in term {acknowledged_term} (event {event}) before it was asked"
            );
            findings.add(Check::C7, text);
        }
        let Deleted { log_start: deleted, term: deleted_term, event } = self.deleted;
        if term >= deleted_term && log_start < deleted {
            let text = format!(
                "{who}: the log starts at {log_start} in term {term}; what is below {deleted} was deleted in term \
                 {deleted_term} (event {event})"
            );
            findings.add(Check::C10, text);
        }
    }

    fn check_refusal(&self, who: Who<'_>, bounds: Bounds, findings: &mut Findings) {
        let Bounds { high_watermark, log_start, .. } = bounds;
        let position = self.position;
        if (log_start..=high_watermark).contains(&position) {
            let text = format!(
                "{who}: offset {position} is out of range, but {log_start} to {high_watermark} is not"
            );
            findings.add(Check::C10, text);
        }
    }

    fn check_records(&self, who: Who<'_>, bounds: Bounds, records: &[Placed], findings: &mut Findings) {
        let Bounds { high_watermark, log_start, .. } = bounds;
        if self.position < log_start {
            let (position, count) = (self.position, records.len());
            let text = format!(
                "{who}: offset {position} is below the log start {log_start}, but is answered with {count} \
                 records instead of OFFSET_OUT_OF_RANGE"
            );
            findings.add(Check::C10, text);
        }
        let mut expected = self.position;
        for placed in records {
            if placed.offset != expected {
                let text = format!("{who}: offset {expected} was due, {} came", placed.offset);
                findings.add(Check::C6, text);
            }
            expected = placed.offset.plus(1);
        }
        if let Some(last) = records.last().filter(|last| last.offset >= high_watermark) {
            let text =
                format!("{who}: offset {} was read, the high watermark is {high_watermark}", last.offset);
            findings.add(Check::C8, text);
        }
    }
}
