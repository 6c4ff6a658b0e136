//! `mqctl partition`: where partitions live and how much they hold.

use comfy_table::Table;
use mq_client::v1::ListPartitionsRequest;

use crate::{
    cli::PartitionList,
    exit::Exit,
    json,
    output::{known, table},
    session::Session,
};

/// Lists partitions.
pub(super) async fn list(session: &Session, args: PartitionList) -> anyhow::Result<Exit> {
    for topic in &args.topics {
        if let Err(error) = session.client.describe_topic(topic).await {
            return Err(session.explain(error, topic).await);
        }
    }
    let chosen = args.leaderless || args.under_replicated;
    let request = ListPartitionsRequest { topics: args.topics, unhealthy_only: chosen, ..Default::default() };
    let partitions = session.client.list_partitions(request).await?.into_iter().map(json::Partition::from);
    let is_wanted = |partition: &json::Partition| {
        !chosen
            || (args.leaderless && partition.leader_id.is_none())
            || (args.under_replicated && partition.replicas.iter().any(|replica| !replica.in_sync))
    };
    let partitions: Vec<json::Partition> = partitions.filter(is_wanted).collect();
    session.output.print(&partitions, |wide| partition_table(&partitions, wide).trim_fmt())?;
    Ok(Exit::Ok)
}

/// One line per partition.
pub(super) fn partition_table(partitions: &[json::Partition], wide: bool) -> Table {
    let mut headings = vec!["TOPIC", "PARTITION", "LEADER", "LOG START", "HIGH WATERMARK", "RECORDS"];
    if wide {
        headings.extend(["BYTES", "EPOCH", "REPLICAS", "IN SYNC"]);
    }
    let mut table = table(&headings);
    let number = |number: Option<i64>| known(number.unwrap_or(-1));
    for partition in partitions {
        let records =
            partition.high_watermark.zip(partition.log_start_offset).map(|(end, start)| end - start);
        let mut row = vec![
            partition.topic.clone(),
            partition.partition.to_string(),
            partition.leader_id.map_or("none".to_owned(), |id| id.to_string()),
            number(partition.log_start_offset),
            number(partition.high_watermark),
            number(records),
        ];
        if wide {
            let brokers = |in_sync_only: bool| {
                let wanted = partition.replicas.iter().filter(|replica| replica.in_sync || !in_sync_only);
                wanted.map(|replica| replica.broker_id.to_string()).collect::<Vec<_>>().join(",")
            };
            row.extend([
                number(partition.size_bytes),
                partition.leader_epoch.to_string(),
                brokers(false),
                brokers(true),
            ]);
        }
        table.add_row(row);
    }
    table
}
