//! The calls that ask about or change topics, configs, offsets and the cluster: each takes and gives the protocol's
//! own messages, with pages gathered.

use mq_proto::v1::{
    AddPartitionsRequest, AlterConfigsRequest, CheckHealthRequest, CheckHealthResponse, Config,
    CreateTopicRequest, DeleteRecordsRequest, DeleteTopicRequest, DeletedRecords, DescribeClusterRequest,
    DescribeClusterResponse, DescribeConfigsRequest, DescribeTopicRequest, ExplainRequest, HealthFinding,
    ListOffsetsRequest, ListPartitionsRequest, ListTopicsRequest, OffsetSpec, PartitionOffset,
    PartitionOffsetSpec, PartitionStatus, RestoreTopicRequest, Topic, TopicPartition,
};

use crate::{client::Client, error::ClientError};

/// The most pages gathered in one listing: a broker that never ends its list is cut off (a million entries).
const PAGES_MAX: usize = 1_000;
/// Entries asked for in a page: the protocol's largest.
const PAGE_SIZE: i32 = 1_000;

impl Client {
    /// Brokers, features, and those of the named topics that exist, as the broker asked knows them.
    pub async fn describe_cluster(&self, topics: &[&str]) -> Result<DescribeClusterResponse, ClientError> {
        let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
        self.call(
            DescribeClusterRequest { topics },
            |c, r| async move { c.cluster().describe_cluster(r).await },
        )
        .await
    }

    /// What is not as it should be.
    pub async fn check_health(&self) -> Result<CheckHealthResponse, ClientError> {
        self.call(CheckHealthRequest {}, |c, r| async move { c.cluster().check_health(r).await }).await
    }

    /// Why a partition or a group is stuck, the cause first; empty: it is not.
    pub async fn explain(&self, request: ExplainRequest) -> Result<Vec<HealthFinding>, ClientError> {
        let answer = self.call(request, |c, r| async move { c.cluster().explain(r).await }).await?;
        Ok(answer.findings)
    }

    /// Offsets, sizes and progress of all partitions asked for; the page fields of `request` are ours.
    pub async fn list_partitions(
        &self,
        request: ListPartitionsRequest,
    ) -> Result<Vec<PartitionStatus>, ClientError> {
        let mut page = ListPartitionsRequest { page_size: PAGE_SIZE, page_token: String::new(), ..request };
        let mut gathered = Vec::new();
        for _ in 0..PAGES_MAX {
            let answer =
                self.call(page.clone(), |c, r| async move { c.cluster().list_partitions(r).await }).await?;
            gathered.extend(answer.partitions);
            page.page_token = answer.next_page_token;
            if page.page_token.is_empty() {
                return Ok(gathered);
            }
        }
        Err(self.unexpected("a list of partitions without an end"))
    }

    /// Creates a topic.
    pub async fn create_topic(&self, request: CreateTopicRequest) -> Result<Topic, ClientError> {
        let answer = self.call(request, |c, r| async move { c.admin().create_topic(r).await }).await?;
        answer.topic.ok_or_else(|| self.unexpected("CreateTopic without its topic"))
    }

    /// A topic with its partitions.
    pub async fn describe_topic(&self, topic: &str) -> Result<Topic, ClientError> {
        let request = DescribeTopicRequest { topic: topic.to_owned() };
        let answer = self.call(request, |c, r| async move { c.admin().describe_topic(r).await }).await?;
        answer.topic.ok_or_else(|| self.unexpected("DescribeTopic without its topic"))
    }

    /// All topics that fit, without their partitions; the page fields of `request` are ours.
    pub async fn list_topics(&self, request: ListTopicsRequest) -> Result<Vec<Topic>, ClientError> {
        let mut page = ListTopicsRequest { page_size: PAGE_SIZE, page_token: String::new(), ..request };
        let mut gathered = Vec::new();
        for _ in 0..PAGES_MAX {
            let answer =
                self.call(page.clone(), |c, r| async move { c.admin().list_topics(r).await }).await?;
            gathered.extend(answer.topics);
            page.page_token = answer.next_page_token;
            if page.page_token.is_empty() {
                return Ok(gathered);
            }
        }
        Err(self.unexpected("a list of topics without an end"))
    }

    /// Raises a topic's number of partitions to a new total.
    pub async fn add_partitions(&self, request: AddPartitionsRequest) -> Result<Topic, ClientError> {
        let answer = self.call(request, |c, r| async move { c.admin().add_partitions(r).await }).await?;
        answer.topic.ok_or_else(|| self.unexpected("AddPartitions without its topic"))
    }

    /// Moves a topic to the trash, or removes it for good.
    pub async fn delete_topic(&self, request: DeleteTopicRequest) -> Result<(), ClientError> {
        self.call(request, |c, r| async move { c.admin().delete_topic(r).await }).await.map(|_| ())
    }

    /// Brings a topic back from the trash.
    pub async fn restore_topic(&self, request: RestoreTopicRequest) -> Result<Topic, ClientError> {
        let answer = self.call(request, |c, r| async move { c.admin().restore_topic(r).await }).await?;
        answer.topic.ok_or_else(|| self.unexpected("RestoreTopic without its topic"))
    }

    /// Moves log starts up; one answer per partition, in the order asked, each with its own error.
    pub async fn delete_records(
        &self,
        request: DeleteRecordsRequest,
    ) -> Result<Vec<DeletedRecords>, ClientError> {
        let asked = request.partitions.len();
        let answer = self.call(request, |c, r| async move { c.admin().delete_records(r).await }).await?;
        if answer.partitions.len() != asked {
            return Err(self.unexpected("DeleteRecords with another number of partitions than asked"));
        }
        Ok(answer.partitions)
    }

    /// Configs in force.
    pub async fn describe_configs(
        &self,
        request: DescribeConfigsRequest,
    ) -> Result<Vec<Config>, ClientError> {
        let answer = self.call(request, |c, r| async move { c.admin().describe_configs(r).await }).await?;
        Ok(answer.configs)
    }

    /// Changes the named configs; gives them as they are now.
    pub async fn alter_configs(&self, request: AlterConfigsRequest) -> Result<Vec<Config>, ClientError> {
        let answer = self.call(request, |c, r| async move { c.admin().alter_configs(r).await }).await?;
        Ok(answer.configs)
    }

    /// Offsets of points in partitions; one answer per partition, in the order asked, each with its own error.
    pub async fn list_offsets(
        &self,
        partitions: Vec<PartitionOffsetSpec>,
    ) -> Result<Vec<PartitionOffset>, ClientError> {
        let asked = partitions.len();
        let request = ListOffsetsRequest { partitions, ..ListOffsetsRequest::default() };
        let answer = self.call(request, |c, r| async move { c.consumer().list_offsets(r).await }).await?;
        if answer.offsets.len() != asked {
            return Err(self.unexpected("ListOffsets with another number of partitions than asked"));
        }
        Ok(answer.offsets)
    }

    /// The offset of one point in each of `partitions` of a topic, in their order.
    pub async fn offsets_of(
        &self,
        topic: &str,
        partitions: &[i32],
        spec: OffsetSpec,
    ) -> Result<Vec<i64>, ClientError> {
        let asked = partitions.iter().map(|&partition| PartitionOffsetSpec {
            topic_partition: Some(TopicPartition {
                topic: topic.to_owned(),
                partition,
                ..TopicPartition::default()
            }),
            spec: Some(spec),
        });
        let answers = self.list_offsets(asked.collect()).await?;
        answers
            .into_iter()
            .map(|answer| answer.error.map_or(Ok(answer.offset), |error| Err(error.into())))
            .collect()
    }

    pub(crate) fn unexpected(&self, what: &'static str) -> ClientError {
        ClientError::UnexpectedAnswer { endpoint: self.endpoint(), what }
    }
}
