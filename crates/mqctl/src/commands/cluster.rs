//! `mqctl cluster`: who is there, and what is not as it should be.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::Context;
use comfy_table::{Cell, Color, Table};

use crate::{
    exit::Exit,
    json,
    output::{NOT_PRINTED, coloured, table},
    session::Session,
};

/// How often `health -w` looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// The cluster and its brokers.
pub(super) async fn info(session: &Session) -> anyhow::Result<Exit> {
    let cluster = json::Cluster::from(session.client.describe_cluster(&[]).await?);
    if !session.output.is_json() {
        let json::Cluster { cluster_id, metadata_revision, features, .. } = &cluster;
        let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
        let head = format!("cluster   {cluster_id}\nrevision  {metadata_revision}\nfeatures  {features}\n");
        writeln!(io::stdout(), "{head}").context(NOT_PRINTED)?;
    }
    session.output.print(&cluster, |wide| broker_table(&cluster.brokers, wide).trim_fmt())?;
    Ok(Exit::Ok)
}

/// The brokers alone.
pub(super) async fn brokers(session: &Session) -> anyhow::Result<Exit> {
    let brokers = json::Cluster::from(session.client.describe_cluster(&[]).await?).brokers;
    session.output.print(&brokers, |wide| broker_table(&brokers, wide).trim_fmt())?;
    Ok(Exit::Ok)
}

/// What is not as it should be, once or until ctrl-C.
pub(super) async fn health(session: &Session, watch: bool) -> anyhow::Result<Exit> {
    let mut health = check(session).await?;
    print_health(session, &health)?;
    if watch {
        tokio::select! {
            failed = watch_health(session, &mut health) => failed?,
            pressed = tokio::signal::ctrl_c() => pressed?,
        }
    }
    Ok(if health.healthy { Exit::Ok } else { Exit::Unhealthy })
}

/// Prints every change; ends only when it cannot print.
async fn watch_health(session: &Session, health: &mut json::Health) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        let now = check(session).await.unwrap_or_else(|error| no_answer(&error));
        if now != *health {
            *health = now;
            print_health(session, health)?;
        }
    }
}

async fn check(session: &Session) -> anyhow::Result<json::Health> {
    Ok(session.client.check_health().await?.into())
}

/// A watcher goes on when nobody answers: that is what it watches for.
fn no_answer(error: &anyhow::Error) -> json::Health {
    let finding = json::Finding {
        severity: "error",
        code: "NO_ANSWER".to_owned(),
        subject: "cluster".to_owned(),
        message: error.to_string(),
    };
    json::Health { healthy: false, findings: vec![finding] }
}

fn print_health(session: &Session, health: &json::Health) -> anyhow::Result<()> {
    session.output.print(health, |_| {
        if health.findings.is_empty() {
            return if health.healthy { "healthy" } else { "not healthy" }.to_owned();
        }
        let mut table = table(&["SEVERITY", "SUBJECT", "CODE", "MESSAGE"]);
        for finding in &health.findings {
            let colour = if finding.severity == "error" { Color::Red } else { Color::Yellow };
            table.add_row([
                coloured(finding.severity, colour),
                Cell::new(&finding.subject),
                Cell::new(&finding.code),
                Cell::new(&finding.message),
            ]);
        }
        table.trim_fmt()
    })
}

fn broker_table(brokers: &[json::Broker], wide: bool) -> Table {
    let mut headings = vec!["BROKER", "STATE", "ENDPOINT"];
    if wide {
        headings.extend(["RACK", "VERSION"]);
    }
    let mut table = table(&headings);
    for broker in brokers {
        let colour = if broker.state == "up" { Color::Green } else { Color::Yellow };
        let mut row = vec![
            Cell::new(broker.broker_id),
            coloured(broker.state, colour),
            Cell::new(&broker.grpc_endpoint),
        ];
        if wide {
            row.extend([Cell::new(&broker.rack), Cell::new(&broker.version)]);
        }
        table.add_row(row);
    }
    table
}
