//! Changing the cluster's metadata: asked of quorum 0, answered when clients can use the result.

use crate::api::{self, Error, Reply};
use crate::broker::Inner;
use mq_engine::controller::{self, Topic};
use mq_types::QuorumId;
use std::sync::Arc;
use std::time::Duration;

impl Inner {
    pub(crate) async fn control(&self, request: controller::Request) -> Result<controller::Reply, Error> {
        let waits = makes_partitions(&request);
        match self.ask_and_wait(QuorumId::CONTROLLER, api::Request::Controller(request)).await? {
            Reply::Controller(reply) => {
                let controller::Reply::Topic(topic) = reply else { return Ok(reply) };
                if !waits {
                    return Ok(controller::Reply::Topic(topic));
                }
                self.served(&topic).await;
                // As it is now: its replicas have been opened meanwhile.
                let now = self.images.current().topics.get(&topic.id).map(Arc::clone);
                Ok(controller::Reply::Topic(now.unwrap_or(topic)))
            }
            _ => Err(Error::Internal { what: "the controller was answered by something else" }),
        }
    }

    /// Waits until this broker serves its partitions of a topic, so that a client's first produce does not fail. When
    /// that takes too long, clients retry: the topic exists all the same.
    async fn served(&self, topic: &Topic) {
        let here =
            topic.partitions.iter().filter(|partition| partition.members.on(self.meta.broker_id).is_some());
        let all = async {
            for partition in here {
                self.views.led(partition.quorum).await;
            }
        };
        let wait = Duration::from_millis(self.limits.create_wait_ms);
        if tokio::time::timeout(wait, all).await.is_err() {
            tracing::warn!(
                topic = topic.name,
                waited_ms = self.limits.create_wait_ms,
                "not all partitions have a leader yet"
            );
        }
    }
}

fn makes_partitions(request: &controller::Request) -> bool {
    match request {
        controller::Request::CreateTopic { validate_only, .. }
        | controller::Request::AddPartitions { validate_only, .. } => !validate_only,
        controller::Request::RestoreTopic { .. } => true,
        controller::Request::AlterTopicConfigs { .. }
        | controller::Request::DeleteTopic { .. }
        | controller::Request::ReassignPartition { .. }
        | controller::Request::JoinBroker { .. } => false,
    }
}
