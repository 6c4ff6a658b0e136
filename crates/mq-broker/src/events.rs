//! One line in the log for each change of state that an engine reports; none per request. Partitions are named as
//! people know them, and by their quorum, as directories are named.

use mq_engine::Event;
use mq_engine::controller::Image;
use mq_types::{QuorumId, ReplicaId};

/// Writes an event to the log. What `image` does not know (yet, or any more) has its number only.
pub(crate) fn log(event: &Event, image: &Image) {
    let name = |quorum: &QuorumId| name(image, *quorum);
    match event {
        Event::BecameLeader { quorum, term } => {
            tracing::info!(partition = name(quorum), %quorum, %term, "became leader");
        }
        Event::SteppedDown { quorum, term, leader } => {
            let leader = leader.map(|leader| leader.0);
            tracing::info!(partition = name(quorum), %quorum, %term, leader, "leads no more");
        }
        Event::MembersChanged { quorum, voters, learners } => {
            let (voters, learners) = (numbers(voters), numbers(learners));
            tracing::info!(partition = name(quorum), %quorum, ?voters, ?learners, "the members have changed");
        }
        Event::Restored { quorum, replica, index } => {
            let partition = name(quorum);
            tracing::info!(partition, %quorum, %replica, %index, "began anew where the leader's log does");
        }
        Event::Created { quorum, replica } => {
            tracing::info!(partition = name(quorum), %quorum, %replica, "made a replica");
        }
        Event::Opened { quorum, replica } => {
            tracing::info!(partition = name(quorum), %quorum, %replica, "opened a replica");
        }
        Event::Removed { quorum, replica } => {
            tracing::info!(partition = name(quorum), %quorum, %replica, "removed a replica");
        }
        Event::Trimmed { quorum, log_start } => {
            tracing::info!(partition = name(quorum), %quorum, %log_start, "deleted old records");
        }
        Event::Lost { quorum, replica, reason } => {
            let partition = name(quorum);
            tracing::error!(partition, %quorum, %replica, ?reason, "a replica may not be trusted any more");
        }
        Event::Damaged { quorum, replica } => {
            let partition = name(quorum);
            tracing::error!(partition, %quorum, %replica, "a replica is damaged, and goes on with what is sound");
        }
        Event::MessageRefused { quorum, from, problem } => {
            tracing::warn!(partition = name(quorum), %quorum, %from, problem, "refused a peer's message");
        }
        Event::RetentionPaused { jumped_ms } => {
            tracing::warn!(
                jumped_ms,
                "the clock jumped: nothing is deleted by age until it has been steady for a while"
            );
        }
    }
}

/// The brokers of these replicas.
fn numbers(replicas: &[ReplicaId]) -> Vec<u32> {
    replicas.iter().map(|replica| replica.broker().0).collect()
}

/// `topic/partition`.
pub(crate) fn name(image: &Image, quorum: QuorumId) -> Option<String> {
    if quorum == QuorumId::CONTROLLER {
        return Some("controller".to_owned());
    }
    image.partition(quorum).map(|(topic, partition)| format!("{}/{}", topic.name, partition.id))
}
