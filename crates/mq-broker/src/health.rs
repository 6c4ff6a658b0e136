//! What is not as it should be on this broker, and what to do about it.
//!
//! Looks at the published views and the image only; nothing here repairs anything.

use crate::bad_places::{BadPlaces, Report};
use crate::metrics::Metrics;
use crate::views::Views;
use mq_engine::View;
use mq_engine::controller::{Image, PartitionInfo, Topic};
use mq_types::persist::Standing;
use mq_types::{BrokerId, Offset, QuorumId, ShardId};
use std::path::Path;

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

const DAMAGED: &str = "DAMAGED_REPLICA";
/// So many places of one log are named.
const PLACES_NAMED_MAX: usize = 3;
/// So many findings at most: who has more problems begins with the first ones.
const FINDINGS_MAX: usize = 1_000;

/// Looks at everything that this broker should serve.
pub(crate) fn check(
    broker: BrokerId,
    shards: u16,
    image: &Image,
    views: &Views,
    metrics: &Metrics,
    bad_places: &BadPlaces,
) -> Vec<Finding> {
    let full = (0..shards)
        .filter(|shard| metrics.disk_full(ShardId(*shard)))
        .map(|_| disk_full(broker, metrics.disk_ballast_bytes()))
        .take(1);
    let controller = check_controller(image, views.view(QuorumId::CONTROLLER).as_ref());
    // Quorum 0 publishes no view, so what is known of its log is all that tells.
    let report = bad_places.of(QuorumId::CONTROLLER, Offset(0));
    let rotten = report.map(|report| {
        let severity = Severity::Error; // what is in memory is whole, but a restart may need just that place
        let message = damaged(broker, Some(&report), bad_places.data_dir());
        Finding { code: DAMAGED, subject: "controller".to_owned(), message, severity }
    });
    let topics = image.topics.values().filter(|topic| topic.deleted_at_ms.is_none());
    let partitions =
        topics.flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)));
    let partitions = partitions
        .flat_map(|(topic, partition)| check_partition(broker, topic, partition, views, bad_places));
    full.chain(controller).chain(rotten).chain(partitions).take(FINDINGS_MAX).collect()
}

fn disk_full(broker: BrokerId, ballast_bytes: i64) -> Finding {
    Finding {
        code: "DISK_FULL",
        subject: format!("broker {broker}"),
        message: format!(
            "the disk is full: records are refused, reads and deletions go on, with {ballast_bytes} bytes of ballast \
             left for when it is full to the last byte; free space, lower retention or purge topics, and writing \
             resumes by itself"
        ),
        severity: Severity::Error,
    }
}

/// What is bad in a replica's log, and what to do.
fn damaged(broker: BrokerId, report: Option<&Report>, data_dir: &Path) -> String {
    let (dir, places) = (data_dir.display(), report.map_or(&[][..], |report| &report.places));
    let named: Vec<String> = places.iter().take(PLACES_NAMED_MAX).map(ToString::to_string).collect();
    let unnamed = places.len() - named.len();
    let what = match (named.is_empty(), unnamed) {
        (true, _) => "is damaged, as was found earlier (the next scrub says where)".to_owned(),
        (false, 0) => format!("is damaged below its end; in {dir}: {}", named.join("; ")),
        (false, _) => format!("is damaged below its end; in {dir}: {}; and {unnamed} more", named.join("; ")),
    };
    let more = if report.is_some_and(|report| report.has_more) {
        ", and in places beyond those counted"
    } else {
        ""
    };
    format!(
        "broker {broker}'s copy {what}{more}. All else is read and written as before. When the broker is stopped, \
         `mqctl log verify {dir}` shows everything that is bad, and `mqctl log repair {dir}` what can be done"
    )
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
    bad_places: &BadPlaces,
) -> Vec<Finding> {
    if partition.members.on(broker).is_none() {
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
    let log_start = view.as_ref().map_or(Offset(0), |view| view.log_start);
    match view.map(|view| view.standing) {
        Some(Standing::Damaged) => {
            let report = bad_places.of(partition.quorum, log_start);
            let message = damaged(broker, report.as_ref(), bad_places.data_dir());
            // What only one broker has, nobody can read any more.
            let is_only = partition.members.replicas.len() == 1;
            let severity = if is_only { Severity::Error } else { Severity::Warning };
            findings.push(Finding { code: DAMAGED, subject, message, severity });
        }
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
