//! `mqctl bench`: what a cluster does under a load, as its clients see it, through the same client library as any
//! program's. It measures from outside; the benchmark of the broker against its machine's limits is elsewhere.

mod consume;
mod e2e;
mod load;
pub mod payload;
mod produce;
mod progress;
mod records;
mod report;
pub mod sequences;
mod tally;

use std::{pin::pin, time::Duration};

use anyhow::anyhow;
use mq_client::{
    ClientError,
    v1::{CreateTopicRequest, ErrorReason, ListTopicsRequest},
};
use tokio_util::sync::CancellationToken;

use self::{load::DELIVERY_TIMEOUT, progress::Shown, tally::Tally};
use crate::{
    cli::{
        Globals, OutputArgs,
        bench::{Bench, BenchLoad},
    },
    exit::Exit,
    output::{Output, OutputFormat},
    session::Session,
    suggest::nearest,
};

/// How long a bench of unspecified length takes.
const LASTING: Duration = Duration::from_secs(10);
/// How long the end of a bench waits for the answers to what was sent, beyond the time after which it is given up.
const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// The same after ctrl-C.
const INTERRUPT_GRACE: Duration = Duration::from_secs(5);

/// Runs one bench.
pub(super) async fn run(
    globals: &Globals,
    before: Option<OutputFormat>,
    command: Bench,
) -> anyhow::Result<Exit> {
    let open = async |leaf: OutputArgs| -> anyhow::Result<Session> {
        let output: Output = leaf.or(before);
        Session::open(globals, output).await
    };
    match command {
        Bench::Produce(args) => produce::run(&open(args.output).await?, args).await,
        Bench::Consume(args) => consume::run(&open(args.output).await?, args).await,
        Bench::EndToEnd(args) => e2e::run(&open(args.output).await?, args).await,
    }
}

impl BenchLoad {
    /// How long it is sent; none: until all records were.
    fn lasting(&self) -> Option<Duration> {
        self.lasting.or(self.records.is_none().then_some(LASTING))
    }
}

/// Makes the topic if that was asked for, and sees to it that there is one.
async fn create_topic(session: &Session, load: &BenchLoad) -> anyhow::Result<()> {
    let name = &load.topic;
    if !load.create {
        return match session.client.describe_topic(name).await {
            Ok(_) => Ok(()),
            Err(error) => Err(needs_topic(session, error, name, "--create makes it").await),
        };
    }
    let request = CreateTopicRequest {
        topic: name.clone(),
        partition_count: load.partitions.unwrap_or(0),
        replication_factor: load.replication_factor.unwrap_or(0),
        ..CreateTopicRequest::default()
    };
    match session.client.create_topic(request).await {
        Ok(_) => Ok(()),
        Err(error) if error.reason() == ErrorReason::TopicExists => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The error for people: where the topic is unknown, with the nearest name and what makes one.
async fn needs_topic(session: &Session, error: ClientError, name: &str, make: &str) -> anyhow::Error {
    if error.reason() != ErrorReason::UnknownTopic {
        return error.into();
    }
    let topics = session.client.list_topics(ListTopicsRequest::default()).await.unwrap_or_default();
    match nearest(name, topics.iter().map(|topic| topic.name.as_str())) {
        Some(near) => anyhow!("{error}; did you mean {near:?}? {make}"),
        None => anyhow!("{error}; {make}"),
    }
}

/// Does the work until it is done, its time is over, or ctrl-C; then stops it and waits for what is on its way.
/// Whether it was interrupted.
async fn conduct(
    session: &Session,
    tally: &Tally,
    shown: Shown,
    stop: &CancellationToken,
    lasting: Option<Duration>,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<bool> {
    let mut telling = pin!(async {
        match session.quiet {
            true => std::future::pending().await,
            false => progress::tell(tally, shown).await,
        }
    });
    let mut work = pin!(work);
    let time_over = async {
        match lasting {
            Some(lasting) => tokio::time::sleep(lasting).await,
            None => std::future::pending().await,
        }
    };
    let mut interrupted = tokio::select! {
        done = &mut work => return done.map(|()| false),
        never = &mut telling => match never {},
        () = time_over => false,
        pressed = tokio::signal::ctrl_c() => pressed.map(|()| true)?,
    };
    stop.cancel();
    let grace = if interrupted { INTERRUPT_GRACE } else { DELIVERY_TIMEOUT + ANSWER_GRACE };
    tokio::select! {
        done = &mut work => done?,
        never = &mut telling => match never {},
        () = tokio::time::sleep(grace) => {}
        pressed = tokio::signal::ctrl_c() => interrupted |= pressed.is_ok(),
    }
    Ok(interrupted)
}
