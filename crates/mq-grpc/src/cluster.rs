//! ClusterService: what the broker asked knows of brokers, partitions and their health.

use crate::admin::{describe, describe_partition, page_size};
use crate::position::topic_id_bytes;
use crate::server::Options;
use crate::status::{invalid, unimplemented};
use mq_broker::Broker;
use mq_broker::Severity;
use mq_broker::controller::Topic;
use mq_proto::v1;
use mq_proto::v1::cluster_service_server::ClusterService;
use std::collections::BTreeSet;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// What clients may rely on in this version beyond the first; they ask before they use.
const FEATURES: [&str; 0] = [];

/// The service.
pub(crate) struct Cluster {
    pub(crate) broker: Broker,
    pub(crate) options: Arc<Options>,
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn describe_cluster(
        &self,
        request: Request<v1::DescribeClusterRequest>,
    ) -> Result<Response<v1::DescribeClusterResponse>, Status> {
        let image = self.broker.image();
        let brokers = image.brokers.iter().map(|(id, info)| v1::Broker {
            broker_id: id.0 as i32,
            grpc_endpoint: info.grpc_endpoint.clone(),
            kafka_endpoint: String::new(),
            rack: info.rack.clone(),
            version: info.version.clone(),
            state: v1::BrokerState::Up.into(),
        });
        let named = self.named(&request.get_ref().topics)?;
        let topics = named.into_iter().filter_map(|name| image.topic(name));
        Ok(Response::new(v1::DescribeClusterResponse {
            cluster_id: image.cluster_id.clone(),
            brokers: brokers.collect(),
            topics: topics.map(|topic| describe(&self.broker, topic)).collect(),
            metadata_revision: i64::try_from(image.revision.0).unwrap_or(i64::MAX),
            features: FEATURES.iter().map(|&feature| feature.to_owned()).collect(),
        }))
    }

    async fn check_health(
        &self,
        _: Request<v1::CheckHealthRequest>,
    ) -> Result<Response<v1::CheckHealthResponse>, Status> {
        let findings = self.broker.health();
        let healthy = findings.iter().all(|finding| finding.severity != Severity::Error);
        let findings = findings.into_iter().map(|finding| v1::HealthFinding {
            code: finding.code.to_owned(),
            subject: finding.subject,
            message: finding.message,
            severity: match finding.severity {
                Severity::Info => v1::Severity::Info,
                Severity::Warning => v1::Severity::Warning,
                Severity::Error => v1::Severity::Error,
            }
            .into(),
        });
        Ok(Response::new(v1::CheckHealthResponse { healthy, findings: findings.collect() }))
    }

    async fn list_partitions(
        &self,
        request: Request<v1::ListPartitionsRequest>,
    ) -> Result<Response<v1::ListPartitionsResponse>, Status> {
        let request = request.into_inner();
        let page_size = page_size(request.page_size)?;
        let after = page_token(&request.page_token)?;
        let image = self.broker.image();
        let named = self.named(&request.topics)?;
        let topics = image.names.iter().filter(|(name, _)| named.is_empty() || named.contains(name.as_str()));
        let topics = topics.map(|(_, id)| &image.topics[id]);
        let all = topics.flat_map(|topic| (0..topic.partitions.len()).map(move |number| (topic, number)));
        let is_before = |(topic, number): &(&Arc<Topic>, usize)| match &after {
            Some((name, after)) => (topic.name.as_str(), *number) <= (name.as_str(), *after),
            None => false,
        };
        let mut found = Vec::new();
        let mut next_page_token = String::new();
        // Nothing moves yet.
        for (topic, number) in all.skip_while(is_before).filter(|_| !request.moving_only) {
            let status = self.status_of(topic, number);
            if request.unhealthy_only && status.partition.as_ref().is_some_and(is_healthy) {
                continue;
            }
            if found.len() == page_size {
                next_page_token = token_of(found.last());
                break;
            }
            found.push(status);
        }
        Ok(Response::new(v1::ListPartitionsResponse { partitions: found, next_page_token }))
    }

    async fn explain(&self, _: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        Err(unimplemented("Explain"))
    }

    async fn move_partition(
        &self,
        _: Request<v1::MovePartitionRequest>,
    ) -> Result<Response<v1::MovePartitionResponse>, Status> {
        Err(unimplemented("moving partitions"))
    }

    async fn transfer_leader(
        &self,
        _: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        Err(unimplemented("transferring leaders"))
    }

    async fn drain_broker(
        &self,
        _: Request<v1::DrainBrokerRequest>,
    ) -> Result<Response<v1::DrainBrokerResponse>, Status> {
        Err(unimplemented("draining brokers"))
    }

    async fn undrain_broker(
        &self,
        _: Request<v1::UndrainBrokerRequest>,
    ) -> Result<Response<v1::UndrainBrokerResponse>, Status> {
        Err(unimplemented("draining brokers"))
    }

    async fn remove_broker(
        &self,
        _: Request<v1::RemoveBrokerRequest>,
    ) -> Result<Response<v1::RemoveBrokerResponse>, Status> {
        Err(unimplemented("removing brokers"))
    }

    async fn rebalance(
        &self,
        _: Request<v1::RebalanceRequest>,
    ) -> Result<Response<v1::RebalanceResponse>, Status> {
        Err(unimplemented("rebalancing"))
    }
}

impl Cluster {
    /// The topics that a request names, each once.
    fn named<'request>(&self, topics: &'request [String]) -> Result<BTreeSet<&'request str>, Status> {
        let most = self.options.request_partitions_max_count;
        if topics.len() > most {
            return Err(invalid("topics", format!("{} are named; expected {most} at most", topics.len())));
        }
        Ok(topics.iter().map(String::as_str).collect())
    }

    fn status_of(&self, topic: &Topic, number: usize) -> v1::PartitionStatus {
        let partition = &topic.partitions[number];
        let view = self.broker.view(partition.quorum);
        v1::PartitionStatus {
            topic_partition: Some(v1::TopicPartition {
                topic: topic.name.clone(),
                partition: number as i32,
                topic_id: topic_id_bytes(topic.id),
            }),
            partition: Some(describe_partition(&self.broker, partition)),
            log_start_offset: view.as_ref().map_or(-1, |view| view.log_start.as_i64()),
            high_watermark: view.as_ref().map_or(-1, |view| view.high_watermark.as_i64()),
            size_bytes: view.as_ref().map_or(-1, |view| i64::try_from(view.size_bytes).unwrap_or(i64::MAX)),
            moving: None,
        }
    }
}

/// Neither leaderless nor under-replicated.
fn is_healthy(partition: &v1::Partition) -> bool {
    partition.leader_id != 0 && partition.replicas.iter().all(|replica| replica.in_sync)
}

/// A page of partitions ends with "topic/partition"; the next one begins behind it.
fn page_token(token: &str) -> Result<Option<(String, usize)>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let parsed = token.rsplit_once('/').and_then(|(topic, partition)| Some((topic, partition.parse().ok()?)));
    parsed
        .map(|(topic, partition): (&str, usize)| Some((topic.to_owned(), partition)))
        .ok_or_else(|| invalid("page_token", "it is not one that this call gave; begin with an empty one"))
}

fn token_of(last: Option<&v1::PartitionStatus>) -> String {
    last.and_then(|status| status.topic_partition.as_ref())
        .map(|at| format!("{}/{}", at.topic, at.partition))
        .unwrap_or_default()
}
