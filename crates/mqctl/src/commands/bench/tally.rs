//! What a bench has counted so far: records, latencies, and errors by reason. Written by every task of the bench, read
//! by the progress line and the summary.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use mq_client::ClientError;

use crate::json::{BenchError, BenchLatency};

/// The shortest latency told apart from a shorter one, in ns.
const LATENCY_NS_MIN: u64 = 1_000;
/// Longer latencies count as this, in ns: an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Digits of a latency that are exact.
const LATENCY_DIGITS: u8 = 3;

/// Cheap to clone: all clones count together.
#[derive(Clone)]
pub(super) struct Tally(Arc<Mutex<Counts>>);

/// What was counted.
pub(super) struct Counts {
    /// When the bench began.
    pub(super) began: Instant,
    /// When the last record was acknowledged or received.
    last: Instant,
    /// Records handed over.
    pub(super) sent: u64,
    /// Of those, records without an answer yet.
    pub(super) unanswered: u64,
    /// Records acknowledged.
    pub(super) acknowledged: u64,
    /// Records read; of an end-to-end bench its own, each once.
    pub(super) received: u64,
    /// Records read that a bench made, and that are as they were sent.
    pub(super) verified: u64,
    /// Bytes of keys and values of the records that count: those acknowledged, or those received.
    pub(super) bytes: u64,
    /// From the moment a record was due, or without a rate was handed over, to its ack.
    pub(super) ack: Latencies,
    /// From the moment a record was due to its arrival.
    pub(super) end_to_end: Latencies,
    errors: BTreeMap<&'static str, ErrorCount>,
}

struct ErrorCount {
    count: u64,
    first: String,
}

/// Latencies of the whole bench, and of the time since they were shown last.
pub(super) struct Latencies {
    all: Histogram<u64>,
    recent: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Tally {
        let now = Instant::now();
        Tally(Arc::new(Mutex::new(Counts {
            began: now,
            last: now,
            sent: 0,
            unanswered: 0,
            acknowledged: 0,
            received: 0,
            verified: 0,
            bytes: 0,
            ack: Latencies::new(),
            end_to_end: Latencies::new(),
            errors: BTreeMap::new(),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// One more was handed over.
    pub(super) fn sent(&mut self) {
        self.sent += 1;
        self.unanswered += 1;
    }

    /// One that was due then is acknowledged now.
    pub(super) fn acknowledged(&mut self, due: Instant) {
        assert!(self.unanswered > 0, "an ack for none of the {} records sent", self.sent);
        let now = Instant::now();
        self.last = now;
        self.unanswered -= 1;
        self.acknowledged += 1;
        self.ack.record(now.saturating_duration_since(due));
    }

    /// One was not acknowledged.
    pub(super) fn failed(&mut self, error: &ClientError) {
        self.unanswered -= 1;
        self.error(error.word(), 1, || error.to_string());
    }

    /// So many were read, and so many of them verified.
    pub(super) fn received(&mut self, records: u64, verified: u64, bytes: usize) {
        self.last = Instant::now();
        self.received += records;
        self.verified += verified;
        self.bytes += bytes as u64; // usize is at most 64 bits wide
    }

    /// One that was due so long ago was read and verified.
    pub(super) fn arrived(&mut self, bytes: usize, latency: Duration) {
        self.received(1, 1, bytes);
        self.end_to_end.record(latency);
    }

    /// So many errors of one kind; the first is kept as an example.
    pub(super) fn error(&mut self, reason: &'static str, count: u64, example: impl FnOnce() -> String) {
        let place = self.errors.entry(reason).or_insert_with(|| ErrorCount { count: 0, first: example() });
        place.count += count;
    }

    /// From the beginning to the last record that counts.
    pub(super) fn elapsed(&self) -> Duration {
        self.last - self.began
    }

    pub(super) fn error_count(&self) -> u64 {
        self.errors.values().map(|error| error.count).sum()
    }

    pub(super) fn errors(&self) -> Vec<BenchError> {
        let shape = |(&reason, error): (&&'static str, &ErrorCount)| BenchError {
            reason,
            count: error.count,
            example: error.first.clone(),
        };
        self.errors.iter().map(shape).collect()
    }
}

impl Latencies {
    fn new() -> Latencies {
        let histogram = || {
            Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, LATENCY_DIGITS)
                .expect("the bounds are in order")
        };
        Latencies { all: histogram(), recent: histogram() }
    }

    fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.all.saturating_record(ns);
        self.recent.saturating_record(ns);
    }

    /// p50 and p99 since this was asked last; none: there were no latencies.
    pub(super) fn take_recent(&mut self) -> Option<[Duration; 2]> {
        if self.recent.is_empty() {
            return None;
        }
        let taken = [0.5, 0.99].map(|q| Duration::from_nanos(self.recent.value_at_quantile(q)));
        self.recent.reset();
        Some(taken)
    }

    /// The percentiles of all; none: there are none.
    pub(super) fn summary(&self) -> Option<BenchLatency> {
        if self.all.is_empty() {
            return None;
        }
        let us = |ns: u64| ns.div_ceil(1_000);
        let at = |quantile| us(self.all.value_at_quantile(quantile));
        Some(BenchLatency {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(self.all.max()),
        })
    }
}
