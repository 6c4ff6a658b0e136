//! How a client's request becomes a command: everything that clients may get wrong is checked here, by the leader,
//! before anything is proposed.
//!
//! Commands in flight are not seen here. Where two meet, the image refuses the second one when its turn comes.

use super::rejection::{fewer_partitions, not_in_trash};
use super::{Applied, Command, Image, Options, Reply, Request, Topic, TopicConfig, place};
use crate::api;
use mq_types::name::check_topic_name;
use mq_types::{BrokerId, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

/// What follows from a request.
#[derive(Clone, Debug)]
pub enum Planned {
    /// Propose this; answer when it is applied.
    Command(Command),
    /// Answer this: only a check was asked for, or there is nothing to change.
    Answer(Reply),
}

/// Plans what `request` asks for. Nothing new goes to `silent` brokers. `now_wall_ms` is only for showing what would be.
///
/// # Errors
/// Why it cannot be done.
pub(super) fn plan(
    image: &Image,
    silent: &BTreeSet<BrokerId>,
    options: &Options,
    now_wall_ms: i64,
    request: Request,
) -> Result<Planned, api::Error> {
    let (planned, validate_only) = match request {
        Request::CreateTopic {
            name,
            topic_id,
            partition_count,
            replication_factor,
            configs,
            validate_only,
        } => {
            let partition_count = partition_count.unwrap_or(options.partitions_default_count);
            let replication_factor = replication_factor.unwrap_or(options.replication_factor_default);
            let size = (partition_count, replication_factor);
            (create_topic((image, silent), options, name, topic_id, size, configs)?, validate_only)
        }
        Request::AlterTopicConfigs { name, set, unset, validate_only } => {
            (alter_configs(image, options, &name, set, unset)?, validate_only)
        }
        Request::AddPartitions { name, topic_id, partition_count, validate_only } => {
            (add_partitions((image, silent), options, &name, topic_id, partition_count)?, validate_only)
        }
        Request::DeleteTopic { name, topic_id, purge, validate_only } => {
            (delete_topic(image, &name, topic_id, purge)?, validate_only)
        }
        Request::ReassignPartition { topic, partition, brokers, validate_only } => {
            (reassign(image, &topic, partition, brokers)?, validate_only)
        }
        Request::JoinBroker { broker, info } => {
            (Planned::Command(Command::JoinBroker { broker, info }), false)
        }
        Request::RestoreTopic { topic_id } => (restore_topic(image, topic_id), false),
    };
    let Planned::Command(command) = planned else { return Ok(planned) };
    // Tried on a copy, so that what the image would refuse anyway is refused without a trip through the log.
    let applied = image.clone().apply(&command, image.revision.next(), now_wall_ms)?;
    if validate_only { reply(applied).map(Planned::Answer) } else { Ok(Planned::Command(command)) }
}

/// What a client is told who asked for what was done.
pub(super) fn reply(applied: Applied) -> Result<Reply, api::Error> {
    match applied {
        Applied::Topic(topic) => Ok(Reply::Topic(topic)),
        Applied::Deleted => Ok(Reply::Deleted),
        Applied::Joined(replica) => Ok(Reply::Joined { replica }),
        Applied::Noted => {
            Err(api::Error::Internal { what: "a client waits for a command that brokers send" })
        }
    }
}

fn create_topic(
    (image, silent): (&Image, &BTreeSet<BrokerId>),
    options: &Options,
    name: String,
    topic_id: TopicId,
    (partition_count, replication_factor): (u32, u32),
    configs: BTreeMap<String, String>,
) -> Result<Planned, api::Error> {
    check_topic_name(&name).map_err(|error| invalid("topic", error))?;
    check_partition_count(image, options, partition_count, partition_count)?;
    if replication_factor == 0 {
        return Err(invalid("replication_factor", "0 replicas keep nothing; ask for at least 1"));
    }
    check_configs("configs", &configs, options)?;
    let placement = place(image, silent, partition_count, replication_factor)
        .map_err(|error| invalid("replication_factor", error))?;
    Ok(Planned::Command(Command::CreateTopic { topic_id, name, configs, placement }))
}

fn alter_configs(
    image: &Image,
    options: &Options,
    name: &str,
    set: BTreeMap<String, String>,
    unset: Vec<String>,
) -> Result<Planned, api::Error> {
    let topic = live_topic(image, "name", name, None)?;
    check_configs("set", &set, options)?;
    for key in &unset {
        if set.contains_key(key) {
            return Err(invalid("unset", format_args!("{key} is also to be set; choose one")));
        }
        // One that another version has set may go, although this one does not know it.
        if !topic.configs.contains_key(key) {
            TopicConfig::check_key(key).map_err(|error| invalid("unset", error))?;
        }
    }
    let changes = set.iter().any(|(key, value)| topic.configs.get(key) != Some(value))
        || unset.iter().any(|key| topic.configs.contains_key(key));
    Ok(if changes {
        Planned::Command(Command::AlterTopicConfigs { topic_id: topic.id, set, unset })
    } else {
        Planned::Answer(Reply::Topic(Arc::clone(topic)))
    })
}

fn add_partitions(
    (image, silent): (&Image, &BTreeSet<BrokerId>),
    options: &Options,
    name: &str,
    topic_id: Option<TopicId>,
    partition_count: u32,
) -> Result<Planned, api::Error> {
    let topic = live_topic(image, "topic", name, topic_id)?;
    let first_partition = topic.partitions.len() as u32;
    if partition_count < first_partition {
        return Err(fewer_partitions(name, first_partition, partition_count));
    }
    if partition_count == first_partition {
        return Ok(Planned::Answer(Reply::Topic(Arc::clone(topic))));
    }
    let added = partition_count - first_partition;
    check_partition_count(image, options, partition_count, added)?;
    let placement = place(image, silent, added, topic.replication_factor)
        .map_err(|error| invalid("partition_count", error))?;
    Ok(Planned::Command(Command::AddPartitions { topic_id: topic.id, first_partition, placement }))
}

fn delete_topic(
    image: &Image,
    name: &str,
    topic_id: Option<TopicId>,
    purge: bool,
) -> Result<Planned, api::Error> {
    if !name.is_empty() {
        let topic_id = live_topic(image, "topic", name, topic_id)?.id;
        return Ok(Planned::Command(if purge {
            Command::PurgeTopic { topic_id, in_trash_since_ms: None }
        } else {
            Command::DeleteTopic { topic_id }
        }));
    }
    let Some(topic_id) = topic_id else {
        return Err(invalid("topic", "is missing: give a topic's name, or the id of one in the trash"));
    };
    let unknown = || api::Error::UnknownTopic { topic: topic_id.to_string() };
    let topic = image.topics.get(&topic_id).ok_or_else(unknown)?;
    if topic.deleted_at_ms.is_none() {
        return Err(not_in_trash(&topic.name, topic_id));
    }
    Ok(if purge {
        Planned::Command(Command::PurgeTopic { topic_id, in_trash_since_ms: topic.deleted_at_ms })
    } else {
        Planned::Answer(Reply::Deleted)
    })
}

fn restore_topic(image: &Image, topic_id: TopicId) -> Planned {
    match image.topics.get(&topic_id) {
        Some(topic) if topic.deleted_at_ms.is_none() => Planned::Answer(Reply::Topic(Arc::clone(topic))),
        _ => Planned::Command(Command::RestoreTopic { topic_id }),
    }
}

fn reassign(
    image: &Image,
    name: &str,
    partition: u32,
    brokers: Vec<BrokerId>,
) -> Result<Planned, api::Error> {
    let topic = live_topic(image, "topic", name, None)?;
    let unknown = || api::Error::UnknownPartition {
        topic: name.to_owned(),
        partition: i64::from(partition),
        partition_count: topic.partitions.len() as u32,
    };
    let found = topic.partitions.get(partition as usize).ok_or_else(unknown)?;
    if brokers.is_empty() {
        return Err(invalid("brokers", "none is named; name at least one broker"));
    }
    if let Some(twice) = brokers.iter().enumerate().find(|(at, broker)| brokers[..*at].contains(broker)) {
        return Err(invalid("brokers", format_args!("broker {} is named twice", twice.1)));
    }
    Ok(Planned::Command(Command::ReassignPartition { quorum: found.quorum, brokers }))
}

/// The live topic of this name; with `topic_id`, only if it is that one. `field` is what the client calls the name.
fn live_topic<'a>(
    image: &'a Image,
    field: &'static str,
    name: &str,
    topic_id: Option<TopicId>,
) -> Result<&'a Arc<Topic>, api::Error> {
    check_topic_name(name).map_err(|error| invalid(field, error))?;
    let topic = image.topic(name).ok_or_else(|| api::Error::UnknownTopic { topic: name.to_owned() })?;
    match topic_id {
        Some(asked) if asked != topic.id => {
            Err(api::Error::TopicIdMismatch { topic: name.to_owned(), asked, found: topic.id })
        }
        _ => Ok(topic),
    }
}

/// Whether a topic may have `total` partitions, and the cluster `added` more than now.
fn check_partition_count(image: &Image, options: &Options, total: u32, added: u32) -> Result<(), api::Error> {
    let field = "partition_count";
    if total == 0 {
        return Err(invalid(field, "0 partitions keep nothing; ask for at least 1"));
    }
    let topic_max = options.partitions_per_topic_max;
    if total > topic_max {
        return Err(invalid(field, format_args!("{total} is too many: a topic has at most {topic_max}")));
    }
    let (present, cluster_max) = (image.partition_count(), options.partitions_per_cluster_max);
    if present + added as usize > cluster_max as usize {
        let problem = format_args!(
            "{added} more is too many: the cluster has {present} partitions (those in the trash included) of at \
             most {cluster_max}; purge topics, or raise the limit"
        );
        return Err(invalid(field, problem));
    }
    Ok(())
}

fn check_configs(
    field: &'static str,
    configs: &BTreeMap<String, String>,
    options: &Options,
) -> Result<(), api::Error> {
    let config = TopicConfig::parse(configs).map_err(|error| invalid(field, error))?;
    // The default is not judged: a broker with a smaller limit still has topics.
    let asked = configs.contains_key(TopicConfig::MAX_MESSAGE_BYTES).then_some(config.max_message_bytes);
    match asked {
        Some(asked) if asked > options.request_bytes_max => {
            let max = options.request_bytes_max;
            let key = TopicConfig::MAX_MESSAGE_BYTES;
            Err(invalid(field, format_args!("{key}={asked} is more than the {max} bytes of a whole request")))
        }
        _ => Ok(()),
    }
}

fn invalid(field: &'static str, problem: impl Display) -> api::Error {
    api::Error::InvalidRequest { field, problem: problem.to_string() }
}
