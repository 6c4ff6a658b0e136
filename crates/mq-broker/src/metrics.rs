//! What is measured, observed from effects and rounds; all in base units.
//!
//! Nothing is decided by these figures.

use crate::routing::Images;
use crate::views::Views;
use mq_types::persist::Standing;
use mq_types::{ErrorCode, QuorumId, ShardId};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByShard {
    shard: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPartition {
    topic: String,
    partition: u32,
}

/// The figures of one broker.
pub struct Metrics {
    registry: Registry,
    produced_records: Counter,
    produced_bytes: Counter,
    fetched_records: Counter,
    fetched_bytes: Counter,
    round_seconds: Histogram,
    round_bytes: Histogram,
    turn_inputs: Histogram,
    inbox_depth: Family<ByShard, Gauge>,
    disk_full: Family<ByShard, Gauge>,
    disk_ballast_bytes: Gauge,
    errors: Family<ByReason, Counter>,
    corrupt_frames: Counter,
    scrub_bytes: Counter,
    scrub_passes: Counter,
    scrub_last_pass_seconds: Gauge<f64, AtomicU64>,
    scrub_last_pass_end_seconds: Gauge<f64, AtomicU64>,
}

impl Metrics {
    pub(crate) fn new(views: Arc<Views>, images: Arc<Images>, partitions_max: usize) -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("mq"),
            produced_records: Counter::default(),
            produced_bytes: Counter::default(),
            fetched_records: Counter::default(),
            fetched_bytes: Counter::default(),
            // 64 µs to 8 s.
            round_seconds: Histogram::new(exponential_buckets(0.000_064, 2.0, 18)),
            // 256 bytes to 64 MiB.
            round_bytes: Histogram::new(exponential_buckets(256.0, 4.0, 10)),
            turn_inputs: Histogram::new(exponential_buckets(1.0, 4.0, 8)),
            inbox_depth: Family::default(),
            disk_full: Family::default(),
            disk_ballast_bytes: Gauge::default(),
            errors: Family::default(),
            corrupt_frames: Counter::default(),
            scrub_bytes: Counter::default(),
            scrub_passes: Counter::default(),
            scrub_last_pass_seconds: Gauge::default(),
            scrub_last_pass_end_seconds: Gauge::default(),
        };
        metrics.register();
        metrics.registry.register_collector(Box::new(Partitions { views, images, partitions_max }));
        metrics
    }

    /// Everything in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("a String takes all text");
        text
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("produced_records", "Records appended", self.produced_records.clone());
        registry.register_with_unit(
            "produced",
            "Bytes of batches appended",
            Unit::Bytes,
            self.produced_bytes.clone(),
        );
        registry.register("fetched_records", "Records read from the log", self.fetched_records.clone());
        registry.register_with_unit(
            "fetched",
            "Bytes of batches read from the log",
            Unit::Bytes,
            self.fetched_bytes.clone(),
        );
        registry.register_with_unit(
            "round",
            "Time in which a round of writes became durable, syncs included",
            Unit::Seconds,
            self.round_seconds.clone(),
        );
        registry.register_with_unit(
            "round",
            "Bytes that a round of writes put on the disk",
            Unit::Bytes,
            self.round_bytes.clone(),
        );
        registry.register(
            "turn_inputs",
            "What an engine was given in one turn: how well work is batched",
            self.turn_inputs.clone(),
        );
        registry.register(
            "inbox_depth",
            "What had waited for a shard at its last turn",
            self.inbox_depth.clone(),
        );
        registry.register(
            "disk_full",
            "1 while a shard refuses records for want of space",
            self.disk_full.clone(),
        );
        registry.register_with_unit(
            "disk_ballast",
            "Space that can be given up when the disk is full; less than usual: it was",
            Unit::Bytes,
            self.disk_ballast_bytes.clone(),
        );
        registry.register("errors", "Requests that failed, by reason", self.errors.clone());
        self.register_scrub();
    }

    fn register_scrub(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "log_corrupt_frames",
            "Bad places that reads or the scrub met in the logs, each counted once, at most 16 of a replica",
            self.corrupt_frames.clone(),
        );
        registry.register_with_unit(
            "scrub",
            "Bytes of logs verified by the scrub",
            Unit::Bytes,
            self.scrub_bytes.clone(),
        );
        registry.register(
            "scrub_passes",
            "Times that the scrub verified all logs",
            self.scrub_passes.clone(),
        );
        registry.register_with_unit(
            "scrub_last_pass",
            "How long the newest pass of the scrub over all logs took; 0: there was none yet",
            Unit::Seconds,
            self.scrub_last_pass_seconds.clone(),
        );
        registry.register_with_unit(
            "scrub_last_pass_timestamp",
            "When the newest pass of the scrub ended, since the Unix epoch; 0: there was none yet",
            Unit::Seconds,
            self.scrub_last_pass_end_seconds.clone(),
        );
    }

    pub(crate) fn turn(&self, shard: ShardId, inputs: usize) {
        self.turn_inputs.observe(inputs as f64);
        self.inbox_depth.get_or_create(&ByShard { shard: shard.0 }).set(inputs as i64);
    }

    pub(crate) fn round(&self, took: Duration, written_bytes: u64) {
        self.round_seconds.observe(took.as_secs_f64());
        self.round_bytes.observe(written_bytes as f64);
    }

    pub(crate) fn set_disk_room(&self, shard: ShardId, available: bool) {
        self.disk_full.get_or_create(&ByShard { shard: shard.0 }).set(i64::from(!available));
    }

    /// Whether this shard refuses records for want of space.
    pub(crate) fn disk_full(&self, shard: ShardId) -> bool {
        self.disk_full.get(&ByShard { shard: shard.0 }).is_some_and(|full| full.get() != 0)
    }

    pub(crate) fn set_disk_ballast(&self, bytes: u64) {
        self.disk_ballast_bytes.set(bytes as i64);
    }

    /// Space that can be given up when the disk is full, in bytes.
    pub(crate) fn disk_ballast_bytes(&self) -> i64 {
        self.disk_ballast_bytes.get()
    }

    pub(crate) fn produced(&self, records: u32, bytes: u64) {
        self.produced_records.inc_by(u64::from(records));
        self.produced_bytes.inc_by(bytes);
    }

    pub(crate) fn fetched(&self, records: u64, bytes: u64) {
        self.fetched_records.inc_by(records);
        self.fetched_bytes.inc_by(bytes);
    }

    pub(crate) fn corrupt_frame(&self) {
        self.corrupt_frames.inc();
    }

    pub(crate) fn scrubbed(&self, bytes: u64) {
        self.scrub_bytes.inc_by(bytes);
    }

    /// `ended` is counted from the Unix epoch.
    pub(crate) fn scrub_pass_ended(&self, took: Duration, ended: Duration) {
        self.scrub_passes.inc();
        self.scrub_last_pass_seconds.set(took.as_secs_f64());
        self.scrub_last_pass_end_seconds.set(ended.as_secs_f64());
    }

    pub(crate) fn failed(&self, code: ErrorCode) {
        self.errors.get_or_create(&ByReason { reason: code.name() }).inc();
    }
}

/// The figures of partitions, taken from their views when somebody asks.
struct Partitions {
    views: Arc<Views>,
    images: Arc<Images>,
    /// How many partitions are listed; the sums are of all.
    partitions_max: usize,
}

impl std::fmt::Debug for Partitions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partitions").field("partitions_max", &self.partitions_max).finish_non_exhaustive()
    }
}

// The registry ends the texts of what is registered with a period; here nobody does.
type Figure = (&'static str, &'static str, fn(&mq_engine::View) -> u64);

const FIGURES: [Figure; 3] = [
    ("partition_log_start", "The first offset still kept.", |view| view.log_start.0),
    ("partition_high_watermark", "The first offset not yet committed.", |view| view.high_watermark.0),
    ("partition_size_bytes", "Bytes of the log on this broker.", |view| view.size_bytes),
];

impl Collector for Partitions {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let views = self.views.all();
        let led = views.iter().filter(|(quorum, view)| *quorum >= QuorumId::FIRST_PARTITION && view.serving);
        let led = led.count() as u64;
        let size_bytes = views.iter().map(|(_, view)| view.size_bytes).sum();
        let standing = |is_one: fn(&Standing) -> bool| {
            views.iter().filter(|(_, view)| is_one(&view.standing)).count() as u64
        };
        let damaged = standing(|standing| *standing == Standing::Damaged);
        let lost = standing(|standing| matches!(standing, Standing::Lost(_)));
        let sums = [
            ("partitions_led", "Partitions that this broker leads.", led),
            ("logs_size_bytes", "Bytes of all logs on this broker.", size_bytes),
            ("replicas_damaged", "Replicas here with a bad place in their log.", damaged),
            ("replicas_lost", "Replicas here that may not be trusted any more.", lost),
        ];
        for (name, help, value) in sums {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        let views: std::collections::HashMap<_, _> = views.into_iter().collect();
        let image = self.images.current();
        for (name, help, figure) in FIGURES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            let all = image.topics.values().flat_map(|topic| {
                topic.partitions.iter().filter_map(|partition| {
                    let view = views.get(&partition.quorum)?;
                    Some((ByPartition { topic: topic.name.clone(), partition: partition.id.0 }, view))
                })
            });
            for (labels, view) in all.take(self.partitions_max) {
                family.encode_family(&labels)?.encode_gauge(&figure(view))?;
            }
        }
        Ok(())
    }
}
