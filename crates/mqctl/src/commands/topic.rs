//! `mqctl topic create|list|describe`.

use comfy_table::Table;
use mq_client::v1::{
    ConfigScope, CreateTopicRequest, DescribeConfigsRequest, ErrorReason, ListPartitionsRequest,
    ListTopicsRequest,
};

use super::partition::partition_table;
use crate::{
    cli::{TopicCreate, TopicDescribe, TopicList},
    exit::Exit,
    json,
    output::{counted, table},
    session::Session,
};

/// Creates topics, in the order given; the first failure ends it.
pub(super) async fn create(session: &Session, args: TopicCreate) -> anyhow::Result<Exit> {
    let mut created = Vec::with_capacity(args.topics.len());
    for name in &args.topics {
        let request = CreateTopicRequest {
            topic: name.clone(),
            partition_count: args.partitions.unwrap_or(0),
            replication_factor: args.replication_factor.unwrap_or(0),
            configs: args.configs.iter().cloned().collect(),
            validate_only: args.dry_run,
        };
        match session.client.create_topic(request).await {
            Ok(topic) => {
                let would = if args.dry_run { "would create" } else { "created" };
                session.say(&format!("{would} {name} with {}", counted(topic.partition_count, "partition")));
                created.push(json::Topic::from(topic));
            }
            Err(error) if args.if_not_exists && error.reason() == ErrorReason::TopicExists => {
                session.say(&format!("{name} exists already"));
                created.push(session.client.describe_topic(name).await?.into());
            }
            Err(error) => {
                let keys: Vec<&str> = args.configs.iter().map(|(key, _)| key.as_str()).collect();
                return Err(session.explain_config(error, None, &keys).await);
            }
        }
    }
    session.output.print_json(&created)?;
    Ok(Exit::Ok)
}

/// Lists topics.
pub(super) async fn list(session: &Session, args: TopicList) -> anyhow::Result<Exit> {
    let request = ListTopicsRequest { name_pattern: args.pattern.unwrap_or_default(), ..Default::default() };
    let topics: Vec<json::Topic> =
        session.client.list_topics(request).await?.into_iter().map(Into::into).collect();
    session.output.print(&topics, |wide| topic_table(&topics, wide).trim_fmt())?;
    Ok(Exit::Ok)
}

/// Shows topics with their partitions and configs.
pub(super) async fn describe(session: &Session, args: TopicDescribe) -> anyhow::Result<Exit> {
    let mut described = Vec::with_capacity(args.topics.len());
    for name in &args.topics {
        described.push(describe_one(session, name).await?);
    }
    session.output.print(&described, |wide| {
        let one = |description: &json::TopicDescription| {
            let topic = topic_table(std::slice::from_ref(&description.topic), true);
            let partitions = partition_table(&description.topic.partitions, wide);
            let configs = config_table(&description.effective_configs, wide);
            [topic, partitions, configs].map(|table| table.trim_fmt()).join("\n\n")
        };
        described.iter().map(one).collect::<Vec<_>>().join("\n\n")
    })?;
    Ok(Exit::Ok)
}

async fn describe_one(session: &Session, name: &str) -> anyhow::Result<json::TopicDescription> {
    let topic = match session.client.describe_topic(name).await {
        Ok(topic) => topic,
        Err(error) => return Err(session.explain(error, name).await),
    };
    let mut topic = json::Topic::from(topic);
    // The same partitions as their leaders see them: with offsets and sizes.
    let request = ListPartitionsRequest { topics: vec![name.to_owned()], ..Default::default() };
    topic.partitions = session.client.list_partitions(request).await?.into_iter().map(Into::into).collect();
    let request =
        DescribeConfigsRequest { scope: ConfigScope::Topic.into(), name: name.to_owned(), keys: vec![] };
    let configs = session.client.describe_configs(request).await?;
    let effective_configs = configs.into_iter().map(Into::into).collect();
    Ok(json::TopicDescription { topic, effective_configs })
}

/// One line per topic.
pub(super) fn topic_table(topics: &[json::Topic], wide: bool) -> Table {
    let mut headings = vec!["TOPIC", "PARTITIONS", "REPLICAS"];
    if wide {
        headings.extend(["ID", "CONFIGS"]);
    }
    let mut table = table(&headings);
    for topic in topics {
        let mut row =
            vec![topic.name.clone(), topic.partition_count.to_string(), topic.replication_factor.to_string()];
        if wide {
            let configs: Vec<String> =
                topic.configs.iter().map(|(key, value)| format!("{key}={value}")).collect();
            row.extend([topic.topic_id.clone(), configs.join(" ")]);
        }
        table.add_row(row);
    }
    table
}

/// One line per config; a wide one says what it is for.
pub(super) fn config_table(configs: &[json::Config], wide: bool) -> Table {
    let mut headings = vec!["CONFIG", "VALUE", "SOURCE"];
    if wide {
        headings.extend(["DEFAULT", "DOCUMENTATION"]);
    }
    let mut table = table(&headings);
    for config in configs {
        let mut row = vec![config.key.as_str(), config.value.as_str(), config.source];
        if wide {
            row.extend([config.default_value.as_str(), config.documentation.as_str()]);
        }
        table.add_row(row);
    }
    table
}
