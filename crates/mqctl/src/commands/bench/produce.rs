//! `mqctl bench produce`: how fast records are taken, and how long each waits for its ack.

use std::time::Duration;

use super::{
    conduct, create_topic,
    load::{Load, Senders},
    progress::Shown,
    report::{self, Subject},
    tally::Tally,
};
use crate::{cli::bench::BenchProduce, exit::Exit, session::Session};

/// How long a batch waits for more records when nobody says: as long as any producer's.
const LINGER: Duration = Duration::from_millis(5);

pub(super) async fn run(session: &Session, args: BenchProduce) -> anyhow::Result<Exit> {
    create_topic(session, &args.load).await?;
    let linger = if args.outstanding.is_some() { Duration::ZERO } else { LINGER };
    let (tally, stop) = (Tally::new(), tokio_util::sync::CancellationToken::new());
    let subject = Subject {
        bench: "produce",
        topic: args.load.topic.clone(),
        connections: args.connections,
        record_size_bytes: Some(args.load.record_size),
        rate: args.rate,
    };
    let lasting = args.load.lasting();
    let load = Load {
        run: rand::random(),
        connections: args.connections,
        rate: args.rate,
        outstanding: args.outstanding,
        linger: args.linger.unwrap_or(linger),
        window_bytes: args.window,
        args: args.load,
        tally: tally.clone(),
        stop: stop.clone(),
    };
    let senders = Senders::open(session, load).await?;
    let interrupted = conduct(session, &tally, Shown::Acknowledged, &stop, lasting, senders.run()).await?;
    report::print(session, &tally, &subject, interrupted)
}
