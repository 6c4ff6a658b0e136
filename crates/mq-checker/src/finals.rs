//! C3, C9 and C14: what one partition's replicas hold when all is over.

use crate::history::{FinalContent, FinalLog, Placed, RunningHash};
use crate::log_start::LogStart;
use crate::places::Places;
use crate::violation::{Check, Findings};
use mq_types::{Index, Offset, ReplicaId};
use std::ops::Range;

/// The final log of one replica.
#[derive(Debug)]
struct Final {
    replica: ReplicaId,
    event: u32,
    applied: Index,
    log_start: Offset,
    high_watermark: Offset,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// The running hash before each offset from `log_start` to `high_watermark`.
    Prefixes(Vec<RunningHash>),
    /// Those of these ranges.
    Ranges(Vec<(Range<Offset>, RunningHash)>),
}

impl Final {
    /// The hash of [from, to), which it holds; `None`: that cannot be said.
    fn hash(&self, from: Offset, to: Offset) -> Option<RunningHash> {
        match &self.content {
            Content::Prefixes(prefixes) => {
                let at = |offset: Offset| prefixes.get((offset.0 - self.log_start.0) as usize);
                Some(RunningHash(at(to)?.0.wrapping_sub(at(from)?.0)))
            }
            Content::Ranges(ranges) => {
                ranges.iter().find(|(range, _)| *range == (from..to)).map(|(_, hash)| *hash)
            }
        }
    }
}

/// The final logs of one partition.
#[derive(Debug, Default)]
pub(crate) struct Finals {
    logs: Vec<Final>,
}

impl Finals {
    /// Takes one in. Its records are looked at by whoever calls.
    pub(crate) fn add(&mut self, log: &FinalLog, findings: &mut Findings) {
        let FinalLog { replica, applied, log_start, high_watermark, .. } = *log;
        if log_start > high_watermark {
            let text = format!("replica {replica} starts at {log_start}, above its end {high_watermark}");
            findings.add(Check::C10, text);
            return;
        }
        let content = match &log.content {
            FinalContent::Records(records) => {
                check_dense(log, records, findings);
                let mut hash = RunningHash::default();
                let mut prefixes = Vec::with_capacity(records.len() + 1);
                prefixes.push(hash);
                for placed in records {
                    hash.add(placed);
                    prefixes.push(hash);
                }
                Content::Prefixes(prefixes)
            }
            FinalContent::Hash(hash) => Content::Ranges(vec![(log_start..high_watermark, *hash)]),
            FinalContent::Parts(parts) => Content::Ranges(parts.clone()),
        };
        let event = findings.event;
        self.logs.push(Final { replica, event, applied, log_start, high_watermark, content });
    }

    /// Compares all with one another and with all that was ever seen.
    pub(crate) fn check(&self, places: &Places, log_start: &LogStart, findings: &mut Findings) {
        let with_records = self.logs.iter().filter(|log| matches!(log.content, Content::Prefixes(_)));
        let Some(reference) = with_records.max_by_key(|log| (log.high_watermark, log.applied)) else {
            if places.iter().next().is_some() {
                findings.add(Check::History, "there are records, but no final log".to_owned());
            }
            return;
        };
        for log in self.logs.iter().filter(|log| log.event != reference.event) {
            compare(log, reference, findings);
        }
        let done = log_start.done;
        if reference.log_start < done.log_start {
            let (replica, start) = (reference.replica, reference.log_start);
            let (deleted, event) = (done.log_start, done.event);
            let text = format!(
                "replica {replica} starts at {start}, what is below {deleted} was deleted (event {event})"
            );
            findings.add(Check::C10, text);
        }
        check_kept(places, reference, findings);
    }
}

fn check_dense(log: &FinalLog, records: &[Placed], findings: &mut Findings) {
    let FinalLog { replica, log_start, high_watermark, .. } = *log;
    let due = log_start.0..high_watermark.0;
    let gap = due.clone().zip(records).find(|(offset, placed)| *offset != placed.offset.0);
    if gap.is_some() || records.len() as u64 != due.end - due.start {
        let missing = gap.map_or(log_start.0 + records.len() as u64, |(offset, _)| offset);
        let text = format!(
            "replica {replica} says that it holds [{log_start}, {high_watermark}), but not exactly one record for \
             each offset: the first fault is at {missing}"
        );
        findings.add(Check::C14, text);
    }
}

/// C14.
fn compare(log: &Final, reference: &Final, findings: &mut Findings) {
    let (mine, other) = (log.replica, reference.replica);
    let bounds = |log: &Final| (log.log_start, log.high_watermark);
    if log.applied == reference.applied && bounds(log) != bounds(reference) {
        let ((start, end), (other_start, other_end)) = (bounds(log), bounds(reference));
        let text = format!(
            "replicas {mine} and {other} both applied everything up to index {}, but the one has [{start}, {end}), \
             the other [{other_start}, {other_end})",
            log.applied
        );
        findings.add(Check::C14, text);
    }
    match &log.content {
        Content::Prefixes(_) => compare_over(log, reference, log.log_start, log.high_watermark, findings),
        Content::Ranges(ranges) => {
            ranges
                .iter()
                .for_each(|(range, _)| compare_over(log, reference, range.start, range.end, findings));
        }
    }
}

/// C14, over what the one is known to hold from `start` to `end`.
fn compare_over(log: &Final, reference: &Final, start: Offset, end: Offset, findings: &mut Findings) {
    let (from, to) = (start.max(reference.log_start), end.min(reference.high_watermark));
    if from >= to {
        return;
    }
    let (Some(hash), Some(expected)) = (log.hash(from, to), reference.hash(from, to)) else {
        return; // the one that knows only the hash of a whole range began earlier or ended later
    };
    if hash != expected {
        let (mine, other) = (log.replica, reference.replica);
        let first = first_difference(log, reference, from, to);
        let text = format!(
            "replicas {mine} and {other} differ over [{from}, {to}), first at offset {first} (events {} and {})",
            log.event, reference.event
        );
        findings.add(Check::C14, text);
    }
}

/// The first offset at which two logs differ that do differ over [from, to); `from` if only the whole can be compared.
fn first_difference(log: &Final, reference: &Final, from: Offset, to: Offset) -> Offset {
    let (mut same, mut differ) = (from.0, to.0);
    while same + 1 < differ {
        let middle = Offset(same.midpoint(differ));
        let Some(hash) = log.hash(from, middle) else { return from };
        if Some(hash) == reference.hash(from, middle) {
            same = middle.0;
        } else {
            differ = middle.0;
        }
    }
    Offset(same)
}

/// C3 and C9.
fn check_kept(places: &Places, reference: &Final, findings: &mut Findings) {
    let Final { replica, log_start, high_watermark, .. } = reference;
    for (offset, place) in places.iter() {
        if offset < *log_start || (offset < *high_watermark && place.on_disk) {
            continue;
        }
        let log = format_args!("the final log (replica {replica}, [{log_start}, {high_watermark}))");
        if let Some(event) = place.acknowledged_event() {
            let text = format!("offset {offset} was acknowledged (event {event}), but is not in {log}");
            findings.add(Check::C3, text);
        }
        if let Some(event) = place.read_event() {
            let text = format!("offset {offset} was read (event {event}), but is not in {log}");
            findings.add(Check::C9, text);
        }
    }
}
