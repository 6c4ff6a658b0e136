//! The shapes of `-o json`. They are a promise to scripts: a field is added, never renamed or taken away. Offsets that
//! are not known are null, ids are written as people see them (topic ids as UUIDs), times are ms since the Unix epoch.

use std::collections::BTreeMap;

use mq_client::v1::{self, BrokerState, ConfigSource, Severity};
use mq_types::TopicId;
use serde::Serialize;

use crate::record_format::timestamp_ms;

/// A topic; `partitions` is empty in a list.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Topic {
    pub name: String,
    pub topic_id: String,
    pub partition_count: i32,
    pub replication_factor: i32,
    pub configs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<Partition>,
}

/// A partition, with what its leader says about it where that was asked.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Partition {
    pub topic: String,
    pub partition: i32,
    pub leader_id: Option<i32>,
    pub leader_epoch: i32,
    pub replicas: Vec<Replica>,
    pub log_start_offset: Option<i64>,
    pub high_watermark: Option<i64>,
    pub size_bytes: Option<i64>,
}

/// One broker's copy.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Replica {
    pub broker_id: i32,
    pub voter: bool,
    pub in_sync: bool,
}

/// A setting of a topic.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Config {
    pub key: String,
    pub value: String,
    pub source: &'static str,
    pub default_value: String,
    pub documentation: String,
}

/// `topic describe`.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct TopicDescription {
    #[serde(flatten)]
    pub topic: Topic,
    pub effective_configs: Vec<Config>,
}

/// `cluster info`.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Cluster {
    pub cluster_id: String,
    pub metadata_revision: i64,
    pub features: Vec<String>,
    pub brokers: Vec<Broker>,
}

/// A broker.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Broker {
    pub broker_id: i32,
    pub state: &'static str,
    pub grpc_endpoint: String,
    pub rack: String,
    pub version: String,
}

/// `cluster health`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Health {
    pub healthy: bool,
    pub findings: Vec<Finding>,
}

/// `healthcheck`: which broker answered, or why none did.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Healthcheck {
    pub answers: bool,
    pub endpoint: Option<String>,
    pub error: Option<String>,
}

/// One thing that is not as it should be.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Finding {
    pub severity: &'static str,
    pub code: String,
    pub subject: String,
    pub message: String,
}

/// One record of `consume`, on a line of its own. Bytes that are not UTF-8 come as `…_hex` instead.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Record<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    #[serde(flatten, serialize_with = "key_field")]
    pub key: Option<&'a [u8]>,
    #[serde(flatten, serialize_with = "value_field")]
    pub value: Option<&'a [u8]>,
    pub headers: Vec<Header<'a>>,
}

/// A header of a record.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Header<'a> {
    pub key: &'a str,
    #[serde(flatten, serialize_with = "value_field")]
    pub value: Option<&'a [u8]>,
}

/// What `produce` did.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Produced {
    pub topic: String,
    pub records: u64,
    pub bytes: u64,
    pub failed: u64,
    pub unknown: u64,
    pub partitions: Vec<ProducedPartition>,
    pub missing: Vec<MissingRecords>,
    /// Of the input, only records up to this one were sent; null: all were.
    pub stopped_after_record: Option<u64>,
}

/// Neighbours in the input, counted from 1, that were not acknowledged; `unknown`: they may have been stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct MissingRecords {
    pub first_record: u64,
    pub last_record: u64,
    pub unknown: bool,
    pub error: String,
}

impl MissingRecords {
    /// "record 3", "records 3-5".
    pub fn records(&self) -> String {
        match (self.first_record, self.last_record) {
            (first, last) if first == last => format!("record {first}"),
            (first, last) => format!("records {first}-{last}"),
        }
    }
}

/// What one partition took: the offsets lie between these, others' records may lie among them.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct ProducedPartition {
    pub partition: i32,
    pub records: u64,
    pub first_offset: Option<i64>,
    pub last_offset: Option<i64>,
}

/// What `topic trim` did to one partition.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Trimmed {
    pub topic: String,
    pub partition: i32,
    pub log_start_offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a bench measured. Null: it measures no such thing.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct Bench {
    pub bench: &'static str,
    pub topic: String,
    pub connections: u16,
    pub record_size_bytes: Option<usize>,
    /// Records per second that were asked for.
    pub rate: Option<u32>,
    /// From the beginning to the last ack or the last record read.
    pub seconds: f64,
    /// Acknowledged; for `consume` and `e2e`, read.
    pub records: u64,
    pub bytes: u64,
    pub records_per_second: f64,
    pub bytes_per_second: f64,
    pub sent: Option<u64>,
    pub acknowledged: Option<u64>,
    pub received: Option<u64>,
    /// Read, made by a bench, and as they were sent.
    pub verified: Option<u64>,
    pub ack_latency: Option<BenchLatency>,
    pub end_to_end_latency: Option<BenchLatency>,
    pub errors: Vec<BenchError>,
    pub interrupted: bool,
}

/// Percentiles of latencies: so many had at most so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct BenchLatency {
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

/// Records of a bench that met the same error; the first one's words.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names say it, as they do in the JSON")]
pub struct BenchError {
    pub reason: &'static str,
    pub count: u64,
    pub example: String,
}

/// A number that may be unknown (negative).
pub fn known(number: i64) -> Option<i64> {
    (number >= 0).then_some(number)
}

/// Topic ids as people see them.
pub fn topic_id(bytes: &[u8]) -> String {
    TopicId::from_slice(bytes).map(|id| id.to_string()).unwrap_or_default()
}

impl From<v1::Topic> for Topic {
    fn from(topic: v1::Topic) -> Topic {
        let partitions =
            topic.partitions.into_iter().map(|partition| Partition::new(&topic.name, partition)).collect();
        Topic {
            topic_id: topic_id(&topic.topic_id),
            partition_count: topic.partition_count,
            replication_factor: topic.replication_factor,
            configs: topic.configs,
            deleted_at_ms: topic.deleted_at.map(|at| at.seconds * 1000 + i64::from(at.nanos / 1_000_000)),
            partitions,
            name: topic.name,
        }
    }
}

impl Partition {
    /// What the metadata says; the leader was not asked.
    pub fn new(topic: &str, partition: v1::Partition) -> Partition {
        let replica = |r: v1::Replica| Replica { broker_id: r.broker_id, voter: r.voter, in_sync: r.in_sync };
        Partition {
            topic: topic.to_owned(),
            partition: partition.id,
            leader_id: (partition.leader_id > 0).then_some(partition.leader_id),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replicas.into_iter().map(replica).collect(),
            log_start_offset: None,
            high_watermark: None,
            size_bytes: None,
        }
    }
}

impl From<v1::PartitionStatus> for Partition {
    fn from(status: v1::PartitionStatus) -> Partition {
        let named = status.topic_partition.unwrap_or_default();
        let mut partition = Partition::new(&named.topic, status.partition.unwrap_or_default());
        partition.partition = named.partition;
        partition.log_start_offset = known(status.log_start_offset);
        partition.high_watermark = known(status.high_watermark);
        partition.size_bytes = known(status.size_bytes);
        partition
    }
}

impl From<v1::Config> for Config {
    fn from(config: v1::Config) -> Config {
        let source = match config.source() {
            ConfigSource::Unspecified => "unknown",
            ConfigSource::Default => "default",
            ConfigSource::Static => "static",
            ConfigSource::Cluster => "cluster",
            ConfigSource::Self_ => "topic",
        };
        let v1::Config { key, value, default_value, documentation, .. } = config;
        Config { key, value, source, default_value, documentation }
    }
}

impl From<v1::DescribeClusterResponse> for Cluster {
    fn from(cluster: v1::DescribeClusterResponse) -> Cluster {
        Cluster {
            cluster_id: cluster.cluster_id,
            metadata_revision: cluster.metadata_revision,
            features: cluster.features,
            brokers: cluster.brokers.into_iter().map(Broker::from).collect(),
        }
    }
}

impl From<v1::Broker> for Broker {
    fn from(broker: v1::Broker) -> Broker {
        let state = match broker.state() {
            BrokerState::Unspecified => "unknown",
            BrokerState::Up => "up",
            BrokerState::Down => "down",
            BrokerState::Draining => "draining",
            BrokerState::Drained => "drained",
        };
        let v1::Broker { broker_id, grpc_endpoint, rack, version, .. } = broker;
        Broker { broker_id, state, grpc_endpoint, rack, version }
    }
}

impl From<v1::CheckHealthResponse> for Health {
    fn from(health: v1::CheckHealthResponse) -> Health {
        let findings = health.findings.into_iter().map(|finding| Finding {
            severity: match finding.severity() {
                Severity::Unspecified => "unknown",
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Error => "error",
            },
            code: finding.code,
            subject: finding.subject,
            message: finding.message,
        });
        Health { healthy: health.healthy, findings: findings.collect() }
    }
}

impl<'a> Record<'a> {
    /// The record as `consume -o json` prints it.
    pub fn new(topic: &'a str, partition: i32, record: &'a v1::Record) -> Record<'a> {
        let headers = record.headers.iter().map(|h| Header { key: &h.key, value: h.value.as_deref() });
        Record {
            topic,
            partition,
            offset: record.offset,
            timestamp_ms: timestamp_ms(record),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: headers.collect(),
        }
    }
}

fn key_field<S: serde::Serializer>(bytes: &Option<&[u8]>, out: S) -> Result<S::Ok, S::Error> {
    bytes_field(("key", "key_hex"), *bytes, out)
}

fn value_field<S: serde::Serializer>(bytes: &Option<&[u8]>, out: S) -> Result<S::Ok, S::Error> {
    bytes_field(("value", "value_hex"), *bytes, out)
}

fn bytes_field<S: serde::Serializer>(
    (as_text, as_hex): (&'static str, &'static str),
    bytes: Option<&[u8]>,
    out: S,
) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;

    let mut map = out.serialize_map(Some(1))?;
    match bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)) {
        None => map.serialize_entry(as_text, &None::<&str>)?,
        Some(Ok(text)) => map.serialize_entry(as_text, text)?,
        Some(Err(bytes)) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            map.serialize_entry(as_hex, &hex)?;
        }
    }
    map.end()
}
