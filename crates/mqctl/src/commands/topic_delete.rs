//! `mqctl topic delete`.

use mq_client::v1::{DeleteTopicRequest, Topic};

use crate::{
    cli::TopicDelete,
    exit::Exit,
    json,
    output::counted,
    session::{Session, confirm},
};

/// Looks all of them up, asks once, deletes by id: what was created again meanwhile under the same name stays.
pub(super) async fn run(session: &Session, args: TopicDelete) -> anyhow::Result<Exit> {
    let mut topics: Vec<Topic> = Vec::with_capacity(args.topics.len());
    for name in &args.topics {
        match session.client.describe_topic(name).await {
            Ok(topic) => topics.push(topic),
            Err(error) => return Err(session.explain(error, name).await),
        }
    }
    let names = args.topics.join(", ");
    let how =
        if args.purge { "for good" } else { "(to the trash: mqctl topic trash restore brings it back)" };
    if !args.dry_run && !confirm(&format!("Delete {names} {how}?"), args.yes)? {
        session.say("nothing was deleted");
        return Ok(Exit::Error);
    }
    let mut deleted: Vec<json::Topic> = Vec::with_capacity(topics.len());
    for topic in topics {
        let partitions = counted(topic.partition_count, "partition");
        let would = if args.dry_run { "would delete" } else { "deleted" };
        let said = format!("{would} {} with {partitions} {how}", topic.name);
        let (name, topic_id) = (topic.name.clone(), topic.topic_id.clone());
        let request =
            DeleteTopicRequest { topic: name, topic_id, purge: args.purge, validate_only: args.dry_run };
        session.client.delete_topic(request).await?;
        session.say(&said);
        deleted.push(topic.into());
    }
    session.output.print_json(&deleted)?;
    Ok(Exit::Ok)
}
