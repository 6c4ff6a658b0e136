//! What is not as it should be on this broker, and what to do about it.
//!
//! Looks at the published views and the image only; nothing here repairs anything.

use crate::metrics::Metrics;
use crate::views::Views;
use mq_engine::View;
use mq_engine::controller::{Image, PartitionInfo, Topic};
use mq_types::persist::Standing;
use mq_types::{BrokerId, QuorumId, ShardId};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// It works, but with less than promised.
    Warning,
    /// Something does not work.
    Error,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable upper-snake word, e.g. `LEADERLESS_PARTITION`.
    pub code: &'static str,
    /// What it is about, e.g. `orders/3`.
    pub subject: String,
    /// What happened and what to do.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

/// So many findings at most: who has more problems begins with the first ones.
const FINDINGS_MAX: usize = 1_000;

/// Looks at everything that this broker should serve.
pub(crate) fn check(
    broker: BrokerId,
    shards: u16,
    image: &Image,
    views: &Views,
    metrics: &Metrics,
) -> Vec<Finding> {
    let full =
        (0..shards).filter(|shard| metrics.disk_full(ShardId(*shard))).map(|_| disk_full(broker)).take(1);
    let controller = check_controller(image, views.view(QuorumId::CONTROLLER).as_ref());
    let topics = image.topics.values().filter(|topic| topic.deleted_at_ms.is_none());
    let partitions =
        topics.flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)));
    let partitions =
        partitions.flat_map(|(topic, partition)| check_partition(broker, topic, partition, views));
    full.chain(controller).chain(partitions).take(FINDINGS_MAX).collect()
}

fn disk_full(broker: BrokerId) -> Finding {
    Finding {
        code: "DISK_FULL",
        subject: format!("broker {broker}"),
        message: "the disk is full: records are refused, reads and deletions go on; free space, lower retention or \
                  delete topics, and writing resumes by itself"
            .to_owned(),
        severity: Severity::Error,
    }
}

fn check_controller(image: &Image, view: Option<&View>) -> Option<Finding> {
    let led = view.is_none_or(|view| view.serving || view.leader.is_some());
    if led && !image.cluster_id.is_empty() {
        return None;
    }
    Some(Finding {
        code: "LEADERLESS_CONTROLLER",
        subject: "controller".to_owned(),
        message: "quorum 0 has no leader: topics can be read and written but not created, altered or deleted; see the \
                  log for why"
            .to_owned(),
        severity: Severity::Error,
    })
}

fn check_partition(
    broker: BrokerId,
    topic: &Topic,
    partition: &PartitionInfo,
    views: &Views,
) -> Vec<Finding> {
    if !partition.replicas.iter().any(|replica| replica.replica.broker() == broker) {
        return Vec::new();
    }
    let subject = format!("{}/{}", topic.name, partition.id);
    let view = views.view(partition.quorum);
    let mut findings = Vec::new();
    if !view.as_ref().is_some_and(|view| view.serving || view.leader.is_some()) {
        findings.push(Finding {
            code: "LEADERLESS_PARTITION",
            subject: subject.clone(),
            message: "the partition has no leader and serves nobody; wait for an election, or see the other findings"
                .to_owned(),
            severity: Severity::Error,
        });
    }
    match view.map(|view| view.standing) {
        Some(Standing::Damaged) => findings.push(Finding {
            code: "DAMAGED_REPLICA",
            subject,
            message: format!(
                "broker {broker}'s copy has a bad place below its end; look at it with `mqctl log verify` while the \
                 broker is stopped"
            ),
            severity: Severity::Warning,
        }),
        Some(Standing::Lost(reason)) => findings.push(Finding {
            code: "LOST_REPLICA",
            subject,
            message: format!(
                "broker {broker}'s copy may not be trusted ({reason:?}): what it knows to be committed can be read, \
                 nothing can be written; see `mqctl log repair`"
            ),
            severity: Severity::Error,
        }),
        Some(Standing::Sound | Standing::Gone) | None => {}
    }
    findings
}
