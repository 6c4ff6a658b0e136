//! What a caller must be allowed to do for each call. Nobody is asked yet, since this version has no authentication;
//! but a call that stands in no row of this table cannot be added.

/// What a caller may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// See what topics, groups and brokers there are, and how they are.
    Describe,
    /// Read records, and keep positions in the groups that one reads with.
    Read,
    /// Append records.
    Write,
    /// Create, change and delete topics, records and groups; move replicas and drain brokers.
    Alter,
}

/// Every call of the API, by its full name.
const PERMISSIONS: &[(&str, Permission)] = &[
    ("mq.v1.AdminService/CreateTopic", Permission::Alter),
    ("mq.v1.AdminService/DescribeTopic", Permission::Describe),
    ("mq.v1.AdminService/ListTopics", Permission::Describe),
    ("mq.v1.AdminService/AddPartitions", Permission::Alter),
    ("mq.v1.AdminService/DeleteTopic", Permission::Alter),
    ("mq.v1.AdminService/RestoreTopic", Permission::Alter),
    ("mq.v1.AdminService/DeleteRecords", Permission::Alter),
    ("mq.v1.AdminService/DescribeConfigs", Permission::Describe),
    ("mq.v1.AdminService/AlterConfigs", Permission::Alter),
    ("mq.v1.ClusterService/DescribeCluster", Permission::Describe),
    ("mq.v1.ClusterService/CheckHealth", Permission::Describe),
    ("mq.v1.ClusterService/Explain", Permission::Describe),
    ("mq.v1.ClusterService/ListPartitions", Permission::Describe),
    ("mq.v1.ClusterService/MovePartition", Permission::Alter),
    ("mq.v1.ClusterService/TransferLeader", Permission::Alter),
    ("mq.v1.ClusterService/DrainBroker", Permission::Alter),
    ("mq.v1.ClusterService/UndrainBroker", Permission::Alter),
    ("mq.v1.ClusterService/RemoveBroker", Permission::Alter),
    ("mq.v1.ClusterService/Rebalance", Permission::Alter),
    ("mq.v1.ConsumerService/Read", Permission::Read),
    ("mq.v1.ConsumerService/Fetch", Permission::Read),
    ("mq.v1.ConsumerService/FetchStream", Permission::Read),
    ("mq.v1.ConsumerService/ListOffsets", Permission::Read),
    ("mq.v1.GroupService/Consume", Permission::Read),
    ("mq.v1.GroupService/GroupHeartbeat", Permission::Read),
    ("mq.v1.GroupService/CommitOffsets", Permission::Read),
    ("mq.v1.GroupService/FetchOffsets", Permission::Read),
    ("mq.v1.GroupService/ListGroups", Permission::Describe),
    ("mq.v1.GroupService/DescribeGroup", Permission::Describe),
    ("mq.v1.GroupService/SeekGroup", Permission::Alter),
    ("mq.v1.GroupService/ListGroupHistory", Permission::Describe),
    ("mq.v1.GroupService/RemoveMember", Permission::Alter),
    ("mq.v1.GroupService/DeleteGroup", Permission::Alter),
    ("mq.v1.ProducerService/Produce", Permission::Write),
    ("mq.v1.ProducerService/ProduceStream", Permission::Write),
    ("mq.v1.ProducerService/InitProducer", Permission::Write),
];

/// What a call needs, by its full name (`mq.v1.ProducerService/Produce`); `None`: there is no such call.
pub fn permission(call: &str) -> Option<Permission> {
    PERMISSIONS.iter().find(|(name, _)| *name == call).map(|(_, permission)| *permission)
}
