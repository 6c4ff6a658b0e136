//! Partitions and points in them: the API's words to the broker's and back.

use mq_broker::api::Error;
use mq_broker::{Broker, OffsetSpec, Resolved, TopicPartition};
use mq_proto::v1;
use mq_types::TopicId;
use mq_types::name::NAME_BYTES_MAX;
use prost_types::Timestamp;

/// A topic id as a client gives it: absent, or 16 bytes.
pub(crate) fn topic_id(bytes: &[u8]) -> Result<Option<TopicId>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    TopicId::from_slice(bytes).map(Some).ok_or_else(|| Error::InvalidRequest {
        field: "topic_id",
        problem: format!("a topic id has 16 bytes, this one has {}; leave it empty to mean any", bytes.len()),
    })
}

/// A topic's name as a client gives it: it comes back in answers, so it may not be longer than any topic's.
pub(crate) fn topic_name(name: String) -> Result<String, Error> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(name);
    }
    Err(Error::InvalidRequest {
        field: "topic",
        problem: format!("no topic's name has more than {NAME_BYTES_MAX} bytes; this one has {}", name.len()),
    })
}

/// Refuses an isolation level that this version does not know. All records are committed, so those it knows are one.
pub(crate) fn check_isolation(level: i32) -> Result<(), Error> {
    v1::IsolationLevel::try_from(level).map(|_| ()).map_err(|_| Error::InvalidRequest {
        field: "isolation_level",
        problem: format!("{level} is unknown; expected read_uncommitted (1) or read_committed (2)"),
    })
}

/// A partition as a client names it; absent is an error.
pub(crate) fn partition(named: Option<v1::TopicPartition>) -> Result<TopicPartition, Error> {
    let named = named.ok_or_else(|| missing("topic_partition", "name a topic and a partition"))?;
    Ok(TopicPartition {
        topic_id: topic_id(&named.topic_id)?,
        topic: topic_name(named.topic)?,
        partition: i64::from(named.partition),
    })
}

/// A point in a partition; unset is an error.
pub(crate) fn offset_spec(spec: Option<v1::OffsetSpec>) -> Result<OffsetSpec, Error> {
    use v1::offset_spec::Spec;
    let missing = || missing("spec", "set an offset, a time, or an anchor (ANCHOR_EARLIEST, ANCHOR_LATEST)");
    match spec.and_then(|spec| spec.spec).ok_or_else(missing)? {
        Spec::Offset(offset) => Ok(OffsetSpec::Offset(offset)),
        Spec::Time(time) => Ok(OffsetSpec::TimeMs(to_ms(&time))),
        Spec::Anchor(anchor) => match v1::Anchor::try_from(anchor) {
            Ok(v1::Anchor::Earliest) => Ok(OffsetSpec::Earliest),
            Ok(v1::Anchor::Latest) => Ok(OffsetSpec::Latest),
            _ => Err(missing()),
        },
    }
}

/// A partition as answers name it, the topic's id included.
pub(crate) fn answer_partition(at: &Resolved) -> v1::TopicPartition {
    v1::TopicPartition {
        topic: at.topic.name.clone(),
        partition: i32::try_from(at.partition).unwrap_or(i32::MAX),
        topic_id: topic_id_bytes(at.topic.id),
    }
}

/// The partition of a failure: with the topic's id if there is such a partition, else as it was asked for.
pub(crate) fn failed_partition(broker: &Broker, asked: &TopicPartition) -> v1::TopicPartition {
    broker.resolve(asked).map_or_else(
        |_| v1::TopicPartition {
            topic: asked.topic.clone(),
            partition: i32::try_from(asked.partition).unwrap_or(-1),
            topic_id: asked.topic_id.map(topic_id_bytes).unwrap_or_default(),
        },
        |at| answer_partition(&at),
    )
}

/// A topic id as answers carry it.
pub(crate) fn topic_id_bytes(id: TopicId) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&id.0)
}

/// Milliseconds since the Unix epoch; beyond what 64 bits hold, the nearest that they do.
pub(crate) fn to_ms(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(1_000).saturating_add(i64::from(time.nanos).div_euclid(1_000_000))
}

/// The instant so many milliseconds after the Unix epoch.
pub(crate) fn from_ms(ms: i64) -> Timestamp {
    Timestamp { seconds: ms.div_euclid(1_000), nanos: (ms.rem_euclid(1_000) * 1_000_000) as i32 }
}

fn missing(field: &'static str, what: &str) -> Error {
    Error::InvalidRequest { field, problem: format!("it is missing; {what}") }
}
