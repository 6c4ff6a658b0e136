//! `mqctl topic trim`: deletes the oldest records of a topic.

use std::time::SystemTime;

use mq_client::v1::{
    Anchor, DeleteRecordsRequest, OffsetSpec, PartitionOffsetSpec, TopicPartition, offset_spec::Spec,
};

use crate::{
    cli::TopicTrim,
    exit::{Exit, usage},
    json,
    offset_range::Point,
    output::{known, table},
    session::{Session, confirm},
};

/// Moves log starts up to a point that is looked up first, so that the question names numbers.
pub(super) async fn run(session: &Session, args: TopicTrim) -> anyhow::Result<Exit> {
    let topic = match session.client.describe_topic(&args.topic).await {
        Ok(topic) => topic,
        Err(error) => return Err(session.explain(error, &args.topic).await),
    };
    let partitions = match args.partitions.is_empty() {
        true => (0..topic.partition_count).collect(),
        false => args.partitions,
    };
    let offsets = first_to_keep(session, &args.topic, &partitions, args.to).await?;
    let list: Vec<String> =
        partitions.iter().zip(&offsets).map(|(p, offset)| format!("{p}: {offset}")).collect();
    let question =
        format!("Delete the records of {} before these offsets ({})?", args.topic, list.join(", "));
    if !args.dry_run && !confirm(&question, args.yes)? {
        session.say("nothing was deleted");
        return Ok(Exit::Error);
    }
    let specs = partitions.iter().zip(&offsets).map(|(&partition, &offset)| PartitionOffsetSpec {
        topic_partition: Some(TopicPartition {
            topic: args.topic.clone(),
            partition,
            topic_id: topic.topic_id.clone(),
        }),
        spec: Some(OffsetSpec { spec: Some(Spec::Offset(offset)) }),
    });
    let request = DeleteRecordsRequest { partitions: specs.collect(), validate_only: args.dry_run };
    let answers = session.client.delete_records(request).await?;
    let trimmed: Vec<json::Trimmed> = partitions
        .iter()
        .zip(answers)
        .map(|(&partition, answer)| json::Trimmed {
            topic: args.topic.clone(),
            partition,
            log_start_offset: json::known(answer.log_start_offset),
            error: answer.error.map(|error| error.message),
        })
        .collect();
    session.output.print(&trimmed, |_| {
        let mut table = table(&["TOPIC", "PARTITION", "LOG START", "ERROR"]);
        for one in &trimmed {
            let start = known(one.log_start_offset.unwrap_or(-1));
            let error = one.error.clone().unwrap_or_default();
            table.add_row([one.topic.clone(), one.partition.to_string(), start, error]);
        }
        table.trim_fmt()
    })?;
    if args.dry_run {
        session.say("nothing was deleted: --dry-run");
    }
    Ok(if trimmed.iter().any(|one| one.error.is_some()) { Exit::Error } else { Exit::Ok })
}

async fn first_to_keep(
    session: &Session,
    topic: &str,
    partitions: &[i32],
    to: Point,
) -> anyhow::Result<Vec<i64>> {
    let anchor = |anchor: Anchor| OffsetSpec { spec: Some(Spec::Anchor(anchor.into())) };
    let client = &session.client;
    Ok(match (to, to.timestamp(SystemTime::now())) {
        (Point::Start, _) => return Err(usage("--to start would delete nothing")),
        (Point::At(offset), _) => vec![offset; partitions.len()],
        (Point::Last(count), _) => {
            let starts = client.offsets_of(topic, partitions, anchor(Anchor::Earliest)).await?;
            let ends = client.offsets_of(topic, partitions, anchor(Anchor::Latest)).await?;
            ends.iter().zip(starts).map(|(end, start)| start.max(end - count)).collect()
        }
        (_, Some(time)) => {
            client.offsets_of(topic, partitions, OffsetSpec { spec: Some(Spec::Time(time)) }).await?
        }
        (_, None) => client.offsets_of(topic, partitions, anchor(Anchor::Latest)).await?,
    })
}
