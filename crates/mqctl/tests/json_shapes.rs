//! The shapes of `-o json`: scripts rely on them, so a change here is a change for them.

use mq_client::v1;
use mqctl::json;
use serde_json::{Value, json, to_value};

fn shape(value: impl serde::Serialize) -> Value {
    to_value(value).expect("it can be written as JSON")
}

fn topic() -> v1::Topic {
    v1::Topic {
        name: "orders".to_owned(),
        topic_id: vec![0x11; 16].into(),
        partition_count: 1,
        replication_factor: 1,
        configs: [("retention.ms".to_owned(), "1000".to_owned())].into(),
        partitions: vec![v1::Partition {
            id: 0,
            leader_id: 0,
            leader_epoch: 4,
            replicas: vec![v1::Replica { broker_id: 1, voter: true, in_sync: false }],
        }],
        deleted_at: None,
    }
}

#[test]
fn a_bench() {
    let latency = json::BenchLatency { p50_us: 1, p90_us: 2, p99_us: 3, p999_us: 4, max_us: 5 };
    let error = json::BenchError { reason: "TRANSPORT", count: 2, example: "gone".to_owned() };
    let bench = json::Bench {
        bench: "e2e",
        topic: "orders".to_owned(),
        connections: 1,
        record_size_bytes: Some(1024),
        rate: None,
        seconds: 2.5,
        records: 10,
        bytes: 10240,
        records_per_second: 4.0,
        bytes_per_second: 4096.0,
        sent: Some(12),
        acknowledged: Some(10),
        received: Some(10),
        verified: Some(10),
        ack_latency: Some(latency),
        end_to_end_latency: None,
        errors: vec![error],
        interrupted: false,
    };
    let expected = json!({
        "bench": "e2e", "topic": "orders", "connections": 1, "record_size_bytes": 1024, "rate": null,
        "seconds": 2.5, "records": 10, "bytes": 10240, "records_per_second": 4.0, "bytes_per_second": 4096.0,
        "sent": 12, "acknowledged": 10, "received": 10, "verified": 10,
        "ack_latency": {"p50_us": 1, "p90_us": 2, "p99_us": 3, "p999_us": 4, "max_us": 5},
        "end_to_end_latency": null,
        "errors": [{"reason": "TRANSPORT", "count": 2, "example": "gone"}],
        "interrupted": false,
    });
    assert_eq!(shape(bench), expected);
}

#[test]
fn a_topic() {
    let expected = json!({
        "name": "orders",
        "topic_id": "11111111-1111-1111-1111-111111111111",
        "partition_count": 1,
        "replication_factor": 1,
        "configs": {"retention.ms": "1000"},
        "partitions": [{
            "topic": "orders", "partition": 0, "leader_id": null, "leader_epoch": 4,
            "replicas": [{"broker_id": 1, "voter": true, "in_sync": false}],
            "log_start_offset": null, "high_watermark": null, "size_bytes": null,
        }],
    });
    assert_eq!(shape(json::Topic::from(topic())), expected);
}

#[test]
fn a_partition_as_its_leader_sees_it() {
    let status = v1::PartitionStatus {
        topic_partition: Some(v1::TopicPartition {
            topic: "orders".to_owned(),
            partition: 2,
            ..Default::default()
        }),
        partition: Some(v1::Partition { id: 2, leader_id: 1, leader_epoch: 1, replicas: vec![] }),
        log_start_offset: 5,
        high_watermark: 9,
        size_bytes: -1,
        moving: None,
    };
    let expected = json!({
        "topic": "orders", "partition": 2, "leader_id": 1, "leader_epoch": 1, "replicas": [],
        "log_start_offset": 5, "high_watermark": 9, "size_bytes": null,
    });
    assert_eq!(shape(json::Partition::from(status)), expected);
}

#[test]
fn a_record_with_bytes_that_are_no_text() {
    let record = v1::Record {
        key: Some(vec![0xff, 0x0a].into()),
        value: Some("one order".into()),
        headers: vec![v1::Header { key: "a".to_owned(), value: None }],
        timestamp: Some(prost_types::Timestamp { seconds: 1, nanos: 5_000_000 }),
        offset: 7,
    };
    let expected = json!({
        "topic": "orders", "partition": 3, "offset": 7, "timestamp_ms": 1005,
        "key_hex": "ff0a", "value": "one order", "headers": [{"key": "a", "value": null}],
    });
    assert_eq!(shape(json::Record::new("orders", 3, &record)), expected);
}

#[test]
fn health() {
    let finding = v1::HealthFinding {
        code: "LEADERLESS_PARTITION".to_owned(),
        subject: "orders/0".to_owned(),
        message: "no leader".to_owned(),
        severity: v1::Severity::Error.into(),
    };
    let health = v1::CheckHealthResponse { healthy: false, findings: vec![finding] };
    let expected = json!({
        "healthy": false,
        "findings": [{
            "severity": "error", "code": "LEADERLESS_PARTITION", "subject": "orders/0", "message": "no leader",
        }],
    });
    assert_eq!(shape(json::Health::from(health)), expected);
}

#[test]
fn a_cluster() {
    let broker = v1::Broker {
        broker_id: 1,
        grpc_endpoint: "127.0.0.1:9650".to_owned(),
        version: "0.1.0".to_owned(),
        state: v1::BrokerState::Up.into(),
        ..Default::default()
    };
    let cluster = v1::DescribeClusterResponse {
        cluster_id: "c".to_owned(),
        brokers: vec![broker],
        metadata_revision: 3,
        ..Default::default()
    };
    let expected = json!({
        "cluster_id": "c", "metadata_revision": 3, "features": [],
        "brokers": [{
            "broker_id": 1, "state": "up", "grpc_endpoint": "127.0.0.1:9650", "rack": "", "version": "0.1.0",
        }],
    });
    assert_eq!(shape(json::Cluster::from(cluster)), expected);
}
