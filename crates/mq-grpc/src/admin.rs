//! AdminService: topics and their configs.

use crate::position::{failed_partition, from_ms, offset_spec, partition, topic_id, topic_id_bytes};
use crate::server::Options;
use crate::status::{invalid, item_error, status, unimplemented};
use mq_broker::api::Error;
use mq_broker::controller::{
    Described, PartitionInfo, ReplicaInfo, Reply, Request as Control, Topic, TopicConfig,
};
use mq_broker::{Broker, OffsetSpec, TopicPartition};
use mq_proto::v1;
use mq_proto::v1::admin_service_server::AdminService;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Topics in one page if the request does not say.
const PAGE_DEFAULT_COUNT: usize = 100;
/// Topics in one page at the most.
const PAGE_MAX_COUNT: usize = 1_000;
/// The longest pattern of names: what a client sends here is compiled. In bytes.
const PATTERN_BYTES_MAX: usize = 1_024;

/// The service.
pub(crate) struct Admin {
    pub(crate) broker: Broker,
    pub(crate) options: Arc<Options>,
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn create_topic(
        &self,
        request: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        let request = request.into_inner();
        let topic = self
            .topic(Control::CreateTopic {
                name: request.topic,
                topic_id: self.broker.new_topic_id(),
                partition_count: count("partition_count", request.partition_count)?,
                replication_factor: count("replication_factor", request.replication_factor)?,
                configs: request.configs,
                validate_only: request.validate_only,
            })
            .await?;
        Ok(Response::new(v1::CreateTopicResponse { topic: Some(topic) }))
    }

    async fn describe_topic(
        &self,
        request: Request<v1::DescribeTopicRequest>,
    ) -> Result<Response<v1::DescribeTopicResponse>, Status> {
        let topic = self.named(&request.get_ref().topic)?;
        Ok(Response::new(v1::DescribeTopicResponse { topic: Some(describe(&self.broker, &topic)) }))
    }

    async fn list_topics(
        &self,
        request: Request<v1::ListTopicsRequest>,
    ) -> Result<Response<v1::ListTopicsResponse>, Status> {
        let request = request.into_inner();
        let page_size = page_size(request.page_size)?;
        let pattern = pattern(&request.name_pattern)?;
        let image = self.broker.image();
        let mut found: Vec<&Arc<Topic>> = image
            .topics
            .values()
            .filter(|topic| topic.deleted_at_ms.is_some() == request.deleted)
            .filter(|topic| pattern.as_ref().is_none_or(|pattern| pattern.is_match(&topic.name)))
            .filter(|topic| page_key(topic) > request.page_token)
            .collect();
        found.sort_by_cached_key(|topic| page_key(topic));
        let more = found.len() > page_size;
        found.truncate(page_size);
        let next_page_token = found.last().filter(|_| more).map(|topic| page_key(topic)).unwrap_or_default();
        let topics = found.into_iter().map(|topic| describe_without_partitions(topic)).collect();
        Ok(Response::new(v1::ListTopicsResponse { topics, next_page_token }))
    }

    async fn add_partitions(
        &self,
        request: Request<v1::AddPartitionsRequest>,
    ) -> Result<Response<v1::AddPartitionsResponse>, Status> {
        let request = request.into_inner();
        let partition_count = count("partition_count", request.partition_count)?
            .ok_or_else(|| invalid("partition_count", "give the new total; it is missing"))?;
        let topic = self
            .topic(Control::AddPartitions {
                name: request.topic,
                topic_id: topic_id(&request.topic_id).map_err(|error| status(&error))?,
                partition_count,
                validate_only: request.validate_only,
            })
            .await?;
        Ok(Response::new(v1::AddPartitionsResponse { topic: Some(topic) }))
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        let request = request.into_inner();
        let delete = Control::DeleteTopic {
            name: request.topic,
            topic_id: topic_id(&request.topic_id).map_err(|error| status(&error))?,
            purge: request.purge,
            validate_only: request.validate_only,
        };
        self.broker.control(delete).await.map_err(|error| status(&error))?;
        Ok(Response::new(v1::DeleteTopicResponse {}))
    }

    async fn restore_topic(
        &self,
        request: Request<v1::RestoreTopicRequest>,
    ) -> Result<Response<v1::RestoreTopicResponse>, Status> {
        let topic_id = topic_id(&request.get_ref().topic_id)
            .map_err(|error| status(&error))?
            .ok_or_else(|| invalid("topic_id", "give the id of a topic in the trash; it is missing"))?;
        let topic = self.topic(Control::RestoreTopic { topic_id }).await?;
        Ok(Response::new(v1::RestoreTopicResponse { topic: Some(topic) }))
    }

    async fn delete_records(
        &self,
        request: Request<v1::DeleteRecordsRequest>,
    ) -> Result<Response<v1::DeleteRecordsResponse>, Status> {
        let request = request.into_inner();
        let most = self.options.request_partitions_max_count;
        if request.partitions.is_empty() || request.partitions.len() > most {
            return Err(invalid(
                "partitions",
                format!("{} are named; expected 1 to {most}", request.partitions.len()),
            ));
        }
        // All of the request is read before anything is deleted: a call that is refused has done nothing.
        let read =
            |item: v1::PartitionOffsetSpec| Ok((partition(item.topic_partition)?, offset_spec(item.spec)?));
        let asked: Result<Vec<_>, Error> = request.partitions.into_iter().map(read).collect();
        let mut partitions = Vec::new();
        for (to, before) in asked.map_err(|error| status(&error))? {
            partitions.push(self.delete_records_of(&to, before, request.validate_only).await);
        }
        Ok(Response::new(v1::DeleteRecordsResponse { partitions }))
    }

    async fn describe_configs(
        &self,
        request: Request<v1::DescribeConfigsRequest>,
    ) -> Result<Response<v1::DescribeConfigsResponse>, Status> {
        let request = request.into_inner();
        only_topics(request.scope)?;
        let topic = self.named(&request.name)?;
        let mut configs = configs(&topic);
        if let Some(unknown) =
            request.keys.iter().find(|key| !configs.iter().any(|config| config.key == **key))
        {
            return Err(invalid("keys", format!("a topic has no config {unknown:?}")));
        }
        configs.retain(|config| request.keys.is_empty() || request.keys.contains(&config.key));
        Ok(Response::new(v1::DescribeConfigsResponse { configs }))
    }

    async fn alter_configs(
        &self,
        request: Request<v1::AlterConfigsRequest>,
    ) -> Result<Response<v1::AlterConfigsResponse>, Status> {
        let request = request.into_inner();
        only_topics(request.scope)?;
        let named: Vec<String> = request.set.keys().chain(&request.unset).cloned().collect();
        let reply = self
            .broker
            .control(Control::AlterTopicConfigs {
                name: request.name,
                set: request.set,
                unset: request.unset,
                validate_only: request.validate_only,
            })
            .await
            .map_err(|error| status(&error))?;
        let topic = topic_of(reply)?;
        let mut configs = configs(&topic);
        configs.retain(|config| named.contains(&config.key));
        Ok(Response::new(v1::AlterConfigsResponse { configs }))
    }
}

impl Admin {
    /// The live topic of this name.
    fn named(&self, name: &str) -> Result<Arc<Topic>, Status> {
        let unknown = || status(&Error::UnknownTopic { topic: name.to_owned() });
        self.broker.image().topic(name).cloned().ok_or_else(unknown)
    }

    /// Has the controller change a topic, and describes it as it is then.
    async fn topic(&self, request: Control) -> Result<v1::Topic, Status> {
        let reply = self.broker.control(request).await.map_err(|error| status(&error))?;
        Ok(describe(&self.broker, &*topic_of(reply)?))
    }

    /// Deletes one partition's records.
    async fn delete_records_of(
        &self,
        to: &TopicPartition,
        before: OffsetSpec,
        validate_only: bool,
    ) -> v1::DeletedRecords {
        let deleted = async {
            let at = self.broker.resolve(to)?;
            self.broker.delete_records(&at, before, validate_only).await
        };
        let (error, log_start_offset) = match deleted.await {
            Ok(log_start) => (None, log_start.as_i64()),
            Err(error) => (Some(item_error(&error)), -1),
        };
        let topic_partition = Some(failed_partition(&self.broker, to));
        v1::DeletedRecords { topic_partition, error, log_start_offset }
    }
}

/// A topic as this broker sees it now.
pub(crate) fn describe(broker: &Broker, topic: &Topic) -> v1::Topic {
    let partitions = topic.partitions.iter().map(|partition| describe_partition(broker, partition));
    v1::Topic { partitions: partitions.collect(), ..describe_without_partitions(topic) }
}

/// A partition as this broker sees it now.
pub(crate) fn describe_partition(broker: &Broker, partition: &PartitionInfo) -> v1::Partition {
    let view = broker.view(partition.quorum);
    let leader = view.as_ref().and_then(|view| view.leader);
    let replica = |replica: &ReplicaInfo| v1::Replica {
        broker_id: replica.replica.broker().0 as i32,
        voter: true,
        in_sync: replica.opened_in.is_some(),
    };
    v1::Partition {
        id: partition.id.0 as i32,
        leader_id: leader.map_or(0, |leader| leader.broker().0 as i32),
        leader_epoch: view.as_ref().map_or(0, |view| i32::try_from(view.term.0).unwrap_or(i32::MAX)),
        replicas: partition.members.replicas.iter().map(replica).collect(),
    }
}

fn describe_without_partitions(topic: &Topic) -> v1::Topic {
    v1::Topic {
        name: topic.name.clone(),
        topic_id: topic_id_bytes(topic.id),
        partition_count: topic.partitions.len() as i32,
        replication_factor: topic.replication_factor as i32,
        configs: topic.configs.clone(),
        partitions: Vec::new(),
        deleted_at: topic.deleted_at_ms.map(from_ms),
    }
}

fn topic_of(reply: Reply) -> Result<Arc<Topic>, Status> {
    match reply {
        Reply::Topic(topic) => Ok(topic),
        Reply::Deleted | Reply::Joined { .. } => {
            Err(status(&Error::Internal { what: "a change of a topic answered with something else" }))
        }
    }
}

fn configs(topic: &Topic) -> Vec<v1::Config> {
    let config = |described: Described| v1::Config {
        key: described.key.to_owned(),
        source: if described.source_is_topic { v1::ConfigSource::Self_ } else { v1::ConfigSource::Default }
            .into(),
        value: described.value,
        default_value: described.default_value,
        documentation: described.documentation.to_owned(),
        read_only: false,
        sensitive: false,
    };
    TopicConfig::describe(topic).into_iter().map(config).collect()
}

fn only_topics(scope: i32) -> Result<(), Status> {
    match v1::ConfigScope::try_from(scope) {
        Ok(v1::ConfigScope::Topic) => Ok(()),
        Ok(v1::ConfigScope::Unspecified) | Err(_) => {
            Err(invalid("scope", "set CONFIG_SCOPE_TOPIC; it is missing or unknown"))
        }
        Ok(other) => Err(unimplemented(&format!("configuration of scope {}", other.as_str_name()))),
    }
}

/// A count as a client gives it; 0 leaves it to the broker.
fn count(field: &'static str, given: i32) -> Result<Option<u32>, Status> {
    let given = u32::try_from(given).map_err(|_| invalid(field, format!("{given} is negative")))?;
    Ok((given > 0).then_some(given))
}

/// Items in a page.
pub(crate) fn page_size(given: i32) -> Result<usize, Status> {
    match usize::try_from(given) {
        Ok(0) => Ok(PAGE_DEFAULT_COUNT),
        Ok(given) if given <= PAGE_MAX_COUNT => Ok(given),
        _ => Err(invalid(
            "page_size",
            format!("{given} is out of range; expected 1 to {PAGE_MAX_COUNT}, or 0"),
        )),
    }
}

/// Orders topics in pages: by name, and in the trash, where names repeat, by id. The space sorts before everything that
/// a name can contain, so that a name comes before those that it begins.
fn page_key(topic: &Topic) -> String {
    format!("{} {}", topic.name, topic.id)
}

fn pattern(given: &str) -> Result<Option<regex::Regex>, Status> {
    if given.is_empty() {
        return Ok(None);
    }
    if given.len() > PATTERN_BYTES_MAX {
        let problem = format!("it has {} bytes; expected {PATTERN_BYTES_MAX} at most", given.len());
        return Err(invalid("name_pattern", problem));
    }
    let compile = |pattern: &str| regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
    // Alone first: what closes a group that it did not open must not close ours.
    let whole = compile(given).and_then(|_| compile(&format!("^(?:{given})$")));
    whole
        .map(Some)
        .map_err(|error| invalid("name_pattern", format!("it is not a regular expression: {error}")))
}
