//! `mqctl topic alter`: configs, and more partitions.

use mq_client::v1::{AddPartitionsRequest, AlterConfigsRequest, ConfigScope};

use super::topic::config_table;
use crate::{cli::TopicAlter, exit::Exit, json, output::counted, session::Session};

/// Changes configs first, then partitions: a config that is refused leaves everything as it was.
pub(super) async fn run(session: &Session, args: TopicAlter) -> anyhow::Result<Exit> {
    let TopicAlter { topic: name, set, unset, partitions, dry_run, .. } = args;
    let topic = match session.client.describe_topic(&name).await {
        Ok(topic) => topic,
        Err(error) => return Err(session.explain(error, &name).await),
    };
    let would = if dry_run { "would change" } else { "changed" };
    let mut configs: Vec<json::Config> = Vec::new();
    if !set.is_empty() || !unset.is_empty() {
        let keys: Vec<String> = set.iter().map(|(key, _)| key).chain(&unset).cloned().collect();
        let request = AlterConfigsRequest {
            scope: ConfigScope::Topic.into(),
            name: name.clone(),
            set: set.into_iter().collect(),
            unset,
            validate_only: dry_run,
        };
        match session.client.alter_configs(request).await {
            Ok(altered) => configs = altered.into_iter().map(Into::into).collect(),
            Err(error) => {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                return Err(session.explain_config(error, Some(&name), &keys).await);
            }
        }
        session.say(&format!("{would} {} of {name}", keys.join(", ")));
    }
    if let Some(partition_count) = partitions {
        let topic_id = topic.topic_id.clone();
        let request =
            AddPartitionsRequest { topic: name.clone(), topic_id, partition_count, validate_only: dry_run };
        session.client.add_partitions(request).await?;
        let before = topic.partition_count;
        let now = counted(partition_count, "partition");
        session.say(&match before == partition_count {
            true => format!("{name} has {now} already"),
            false => format!("{would} {name} from {before} to {now}"),
        });
    }
    if !configs.is_empty() || session.output.is_json() {
        session.output.print(&configs, |wide| config_table(&configs, wide).trim_fmt())?;
    }
    Ok(Exit::Ok)
}
