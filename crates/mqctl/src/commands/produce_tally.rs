//! The account that `mqctl produce` gives: what was stored where, what was not, and what nobody knows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mq_client::{Ack, ClientError, Delivery};
use tokio::sync::mpsc;

use crate::{
    json::{MissingRecords, Produced, ProducedPartition, known},
    output::counted,
    session::Session,
};

/// Records sent whose acks were not looked at yet, at most.
pub(super) const DELIVERIES_MAX: usize = 65_536;

/// Reasons for missing records that people are told; JSON has all of them.
const REASONS_SHOWN_MAX: usize = 10;

/// A record on its way.
pub(super) struct Sent {
    /// Its place in the input, from 1.
    pub(super) number: u64,
    pub(super) delivery: Delivery,
    pub(super) size_bytes: usize,
}

/// How the sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// All of the input was sent.
    All,
    /// A record was not acknowledged, or the input could not be read further.
    Stopped,
    /// With ctrl-C.
    Interrupted,
}

/// Counted by the task that follows the deliveries, read by the one that reports.
#[derive(Clone)]
pub(super) struct SharedTally(Arc<Mutex<Tally>>);

struct Tally {
    verbose: bool,
    sent: u64,
    acknowledged: u64,
    bytes: u64,
    missing: Vec<MissingRecords>,
    topic: String,
    partitions: BTreeMap<i32, ProducedPartition>,
}

/// Waits for each record's fate. After the first failure it takes no more, and sees those already sent through.
pub(super) async fn follow(mut queue: mpsc::Receiver<Sent>, tally: SharedTally) {
    while let Some(sent) = queue.recv().await {
        if !tally.settle(sent).await {
            queue.close();
        }
    }
}

impl SharedTally {
    pub(super) fn new(topic: &str, verbose: bool) -> SharedTally {
        SharedTally(Arc::new(Mutex::new(Tally {
            verbose,
            sent: 0,
            acknowledged: 0,
            bytes: 0,
            missing: Vec::new(),
            topic: topic.to_owned(),
            partitions: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more was sent; which one, from 1.
    pub(super) fn sent(&self) -> u64 {
        let mut tally = self.lock();
        tally.sent += 1;
        tally.sent
    }

    /// Waits for a record's fate. False: it was not acknowledged.
    pub(super) async fn settle(&self, sent: Sent) -> bool {
        let Sent { number, delivery, size_bytes } = sent;
        match delivery.await {
            Ok(ack) => {
                self.lock().acknowledge(ack, size_bytes);
                true
            }
            Err(error) => {
                self.lock().miss(number, &error);
                false
            }
        }
    }

    /// Whether a record that was sent was not acknowledged.
    pub(super) fn anything_missing(&self) -> bool {
        let tally = self.lock();
        tally.acknowledged < tally.sent
    }

    /// Says what became of everything: for people on stderr, as JSON on stdout where that was asked for.
    pub(super) fn report(&self, session: &Session, ended: Ended) -> anyhow::Result<()> {
        let mut tally = self.lock();
        tally.missing.sort_by_key(|missing| missing.first_record);
        session.say(&tally.summary());
        let sent = tally.sent;
        match ended {
            Ended::Stopped if sent > 0 => {
                session.say(&format!("stopped after record {sent} of the input"));
            }
            Ended::All | Ended::Stopped => {}
            Ended::Interrupted => session.say(&format!("interrupted after record {sent} of the input")),
        }
        for missing in tally.missing.iter().take(REASONS_SHOWN_MAX) {
            eprintln!("mqctl: {}: {}", missing.records(), missing.error);
        }
        let rest = tally.missing.len().saturating_sub(REASONS_SHOWN_MAX);
        if rest > 0 {
            eprintln!("mqctl: and {rest} times more; -o json names all records");
        }
        session.output.print_json(&tally.produced(ended))
    }
}

impl Tally {
    fn acknowledge(&mut self, ack: Ack, size_bytes: usize) {
        self.acknowledged += 1;
        self.bytes += size_bytes as u64; // usize is at most 64 bits wide
        let Ack { partition, offset, durability } = ack;
        let place = self.partitions.entry(partition).or_insert(ProducedPartition {
            partition,
            records: 0,
            first_offset: known(offset),
            last_offset: known(offset),
        });
        place.records += 1;
        place.first_offset = place.first_offset.min(known(offset));
        place.last_offset = place.last_offset.max(known(offset));
        if self.verbose {
            let at = known(offset).map_or("an unknown offset".to_owned(), |offset| offset.to_string());
            let level = durability.as_str_name().trim_start_matches("DURABILITY_").to_lowercase();
            eprintln!("{}/{partition} @ {at} {level}", self.topic);
        }
    }

    /// Neighbours that failed alike are told of together: they were one batch.
    fn miss(&mut self, number: u64, error: &ClientError) {
        let (unknown, error) = (error.outcome_unknown(), error.to_string());
        match self.missing.last_mut() {
            Some(last)
                if last.last_record + 1 == number && last.unknown == unknown && last.error == error =>
            {
                last.last_record = number;
            }
            _ => self.missing.push(MissingRecords {
                first_record: number,
                last_record: number,
                unknown,
                error,
            }),
        }
    }

    /// Certainly not stored.
    fn failed(&self) -> u64 {
        let refused = self.missing.iter().filter(|missing| !missing.unknown);
        refused.map(|missing| missing.last_record - missing.first_record + 1).sum()
    }

    /// Sent, and nobody knows whether stored: without an answer, or with one that says so.
    fn unknown(&self) -> u64 {
        self.sent - self.acknowledged - self.failed()
    }

    fn summary(&self) -> String {
        let places = self.partitions.values().map(|place| {
            let offsets = match (place.first_offset, place.last_offset) {
                (Some(first), Some(last)) if first == last => format!("offset {first}"),
                (Some(first), Some(last)) => format!("offsets {first}-{last}"),
                _ => counted(place.records, "record"),
            };
            format!("partition {}: {offsets}", place.partition)
        });
        let places: Vec<String> = places.collect();
        let (records, bytes) = (counted(self.acknowledged, "record"), counted(self.bytes, "byte"));
        let mut summary = format!("{records}, {bytes} to {}", self.topic);
        if !places.is_empty() {
            summary += &format!(" ({})", places.join("; "));
        }
        if self.failed() > 0 {
            summary += &format!("; {} not stored", self.failed());
        }
        if self.unknown() > 0 {
            summary += &format!("; {} sent, but whether stored is unknown", self.unknown());
        }
        summary
    }

    fn produced(&self, ended: Ended) -> Produced {
        let partitions = self.partitions.values().map(|place| ProducedPartition { ..*place });
        Produced {
            topic: self.topic.clone(),
            records: self.acknowledged,
            bytes: self.bytes,
            failed: self.failed(),
            unknown: self.unknown(),
            partitions: partitions.collect(),
            missing: self.missing.clone(),
            stopped_after_record: (ended != Ended::All).then_some(self.sent),
        }
    }
}
