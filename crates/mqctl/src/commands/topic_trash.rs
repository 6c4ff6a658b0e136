//! `mqctl topic trash`: topics that were deleted and are still there.

use anyhow::{anyhow, bail};
use mq_client::v1::{DeleteTopicRequest, ListTopicsRequest, RestoreTopicRequest, Topic};

use crate::{
    cli::TrashPurge,
    exit::Exit,
    json,
    output::table,
    session::{Session, confirm},
};

/// Lists them.
pub(super) async fn list(session: &Session) -> anyhow::Result<Exit> {
    let topics: Vec<json::Topic> = deleted(session).await?.into_iter().map(Into::into).collect();
    session.output.print(&topics, |_| {
        let mut table = table(&["TOPIC", "ID", "PARTITIONS", "DELETED"]);
        for topic in &topics {
            let ms = topic.deleted_at_ms.unwrap_or(0);
            let at = prost_types::Timestamp { seconds: ms.div_euclid(1000), nanos: 0 }.to_string();
            table.add_row([&topic.name, &topic.topic_id, &topic.partition_count.to_string(), &at]);
        }
        table.trim_fmt()
    })?;
    Ok(Exit::Ok)
}

/// Brings one back.
pub(super) async fn restore(session: &Session, name_or_id: &str) -> anyhow::Result<Exit> {
    let topic = find(session, name_or_id).await?;
    let restored = session.client.restore_topic(RestoreTopicRequest { topic_id: topic.topic_id }).await?;
    session.say(&format!("restored {}", restored.name));
    session.output.print_json(&json::Topic::from(restored))?;
    Ok(Exit::Ok)
}

/// Removes one for good.
pub(super) async fn purge(session: &Session, args: TrashPurge) -> anyhow::Result<Exit> {
    let found = find(session, &args.topic).await?;
    let (name, id) = (&found.name, json::topic_id(&found.topic_id));
    if !args.dry_run && !confirm(&format!("Remove {name} ({id}) for good?"), args.yes)? {
        session.say("nothing was removed");
        return Ok(Exit::Error);
    }
    let would = if args.dry_run { "would remove" } else { "removed" };
    let said = format!("{would} {name} ({id}) for good");
    // By its id alone: a name is looked up among the topics that are not in the trash.
    let request = DeleteTopicRequest {
        topic: String::new(),
        topic_id: found.topic_id.clone(),
        purge: true,
        validate_only: args.dry_run,
    };
    session.client.delete_topic(request).await?;
    session.say(&said);
    session.output.print_json(&json::Topic::from(found))?;
    Ok(Exit::Ok)
}

async fn deleted(session: &Session) -> anyhow::Result<Vec<Topic>> {
    Ok(session.client.list_topics(ListTopicsRequest { deleted: true, ..Default::default() }).await?)
}

/// By id, or by a name that only one of them has.
async fn find(session: &Session, name_or_id: &str) -> anyhow::Result<Topic> {
    let is_it = |topic: &Topic| topic.name == name_or_id || json::topic_id(&topic.topic_id) == name_or_id;
    let mut found: Vec<Topic> = deleted(session).await?.into_iter().filter(is_it).collect();
    if found.len() > 1 {
        let ids: Vec<String> = found.iter().map(|topic| json::topic_id(&topic.topic_id)).collect();
        bail!(
            "{} topics in the trash were named {name_or_id}: say which by its id, {}",
            found.len(),
            ids.join(" or ")
        );
    }
    found
        .pop()
        .ok_or_else(|| anyhow!("{name_or_id} is not in the trash; mqctl topic trash list shows what is"))
}
