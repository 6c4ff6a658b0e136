//! kill -9 at random moments under load: every acknowledged record is there, once, in order.
//!
//! A killed process keeps the page cache, so this shows that nothing acknowledged lived in the process alone and
//! that recovery takes back exactly what was written. What a power cut leaves is shown elsewhere.

use mq_proto::v1;
use mq_proto::v1::admin_service_client::AdminServiceClient;
use mq_proto::v1::consumer_service_client::ConsumerServiceClient;
use mq_proto::v1::producer_service_client::ProducerServiceClient;
use mq_tests::ledger::{self, Identity, Ledger, Seen};
use mq_tests::process::{Mqd, free_address, scratch};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

const TOPIC: &str = "killed";
const PARTITIONS: i32 = 3;
const PRODUCERS: u32 = 6;
/// Requests that a producer has in flight.
const WINDOW: usize = 64;
/// A clean run is cut short by the kill; this ends a hung one.
const CYCLE_LIMIT: Duration = Duration::from_secs(60);

fn kills() -> usize {
    std::env::var("MQ_KILLS").ok().map_or(200, |kills| kills.parse().expect("MQ_KILLS is a number"))
}

fn seed() -> u64 {
    std::env::var("MQ_SEED").ok().map_or_else(rand::random, |seed| seed.parse().expect("MQ_SEED is a number"))
}

#[test]
fn every_acknowledged_record_survives_kills_at_random_moments_once_and_in_order() {
    let (kills, seed) = (kills(), seed());
    mq_tests::say(&format!("{kills} kills; replay the moments with MQ_SEED={seed}"));
    let dir = scratch();
    let data = dir.path().join("data");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut sequences = [0_u64; PRODUCERS as usize];
    let mut to_first_ack = Vec::new();
    let begun = Instant::now();
    for kill in 0..kills {
        let moment = Duration::from_millis(random.random_range(0..250));
        to_first_ack.extend(cycle(&data, kill == 0, moment, &ledger, &mut sequences));
        if kill % 40 == 39 {
            let seen = read_back(&data);
            check(&ledger.lock().expect("nobody panicked"), &seen);
            println!("{:>4} kills, {:>7} records read back, all is well", kill + 1, seen.len());
        }
    }
    let seen = read_back(&data);
    let ledger = ledger.lock().expect("nobody panicked");
    check(&ledger, &seen);
    to_first_ack.sort();
    mq_tests::say(&format!(
        "{kills} kills in {:.0?}: {} records sent, {} acknowledged, {} read back; \
         from start to first acknowledgement: median {:.0?}, longest {:.0?}",
        begun.elapsed(),
        ledger.sent_count(),
        ledger.acknowledged_count(),
        seen.len(),
        to_first_ack.get(to_first_ack.len() / 2).copied().unwrap_or_default(),
        to_first_ack.last().copied().unwrap_or_default(),
    ));
    assert!(
        ledger.acknowledged_count() > 10 * kills,
        "too little was acknowledged for the run to mean anything"
    );
}

fn check(ledger: &Ledger, seen: &[Seen]) {
    let violations = ledger.violations(seen);
    assert!(
        violations.is_empty(),
        "{} violations, the first ones: {:#?}",
        violations.len(),
        &violations[..violations.len().min(10)]
    );
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

/// Starts the broker, loads it, and kills it at `moment` after its first acknowledgement. Answers how long that
/// took from the start of the process.
fn cycle(
    data: &Path,
    first: bool,
    moment: Duration,
    ledger: &Arc<Mutex<Ledger>>,
    sequences: &mut [u64],
) -> Option<Duration> {
    let started = Instant::now();
    let mut mqd = Mqd::start_at(data, free_address(), free_address());
    runtime().block_on(async {
        let channel = mqd.channel().await;
        if first {
            create_topic(channel.clone()).await;
        }
        let (acked, mut first_ack) = mpsc::channel(1);
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let next = sequences[producer as usize];
                tokio::spawn(produce(mqd.grpc, producer, next, ledger.clone(), acked.clone()))
            })
            .collect();
        drop(acked);
        let took =
            tokio::time::timeout(CYCLE_LIMIT, first_ack.recv()).await.expect("records are acknowledged");
        let took = took.map(|()| started.elapsed());
        tokio::time::sleep(moment).await;
        mqd.kill();
        for (producer, task) in producers.into_iter().enumerate() {
            sequences[producer] = task.await.expect("a producer ends with its connection");
        }
        took
    })
}

async fn create_topic(channel: Channel) {
    let request = v1::CreateTopicRequest {
        topic: TOPIC.to_owned(),
        partition_count: PARTITIONS,
        configs: [("segment.bytes".to_owned(), "1048576".to_owned())].into(), // rolls are part of the test
        ..Default::default()
    };
    AdminServiceClient::new(channel).create_topic(request).await.expect("the topic is created");
}

/// Sends records of one producer to one partition until the broker dies; answers its next sequence number.
async fn produce(
    grpc: std::net::SocketAddr,
    producer: u32,
    mut next: u64,
    ledger: Arc<Mutex<Ledger>>,
    acked: mpsc::Sender<()>,
) -> u64 {
    let Ok(mut client) = ProducerServiceClient::connect(format!("http://{grpc}")).await else { return next };
    let partition = producer as i32 % PARTITIONS;
    let (requests, outgoing) = mpsc::channel(WINDOW);
    let window = Arc::new(tokio::sync::Semaphore::new(WINDOW));
    let Ok(answers) = client.produce_stream(ReceiverStream::new(outgoing)).await else { return next };
    let mut answers = answers.into_inner();
    let reading = {
        let (ledger, window) = (ledger.clone(), window.clone());
        tokio::spawn(async move {
            while let Ok(Some(answer)) = answers.message().await {
                window.add_permits(1);
                note(&ledger, Identity { producer, sequence: answer.correlation_id as u64 }, answer);
                let _ = acked.try_send(());
            }
            window.close();
        })
    };
    while let Ok(permit) = window.acquire().await {
        permit.forget();
        let identity = Identity { producer, sequence: next };
        ledger.lock().expect("nobody panicked").send(identity);
        let value = ledger::value(identity, 40 + (next % 7) as usize * 300);
        let request = v1::ProduceRequest {
            topic: TOPIC.to_owned(),
            partition: Some(partition),
            records: vec![v1::Record { value: Some(value.into()), ..Default::default() }],
            ..Default::default()
        };
        let request = v1::ProduceStreamRequest { correlation_id: next as i64, request: Some(request) };
        next += 1;
        if requests.send(request).await.is_err() {
            break;
        }
    }
    drop(requests);
    let _ = reading.await;
    next
}

fn note(ledger: &Mutex<Ledger>, identity: Identity, answer: v1::ProduceStreamResponse) {
    let mut ledger = ledger.lock().expect("nobody panicked");
    match (answer.error, answer.response) {
        (None, Some(response)) => {
            let at = &response.partitions[0];
            assert_eq!(at.durability(), v1::Durability::QuorumFsync);
            let partition = at.topic_partition.as_ref().expect("answers name their partition").partition;
            ledger.acknowledge(identity, partition, at.base_offset);
        }
        (Some(error), _) if error.retriable => ledger.refuse(identity),
        (Some(error), _) => assert_eq!(error.reason(), v1::ErrorReason::OutcomeUnknown, "{}", error.message),
        (None, None) => panic!("an answer without an error and without a response"),
    }
}

/// Starts the broker, reads everything, and kills it.
fn read_back(data: &Path) -> Vec<Seen> {
    let mut mqd = Mqd::start_at(data, free_address(), free_address());
    let seen = runtime().block_on(async {
        let mut client = ConsumerServiceClient::new(mqd.channel().await);
        let mut seen = Vec::new();
        for partition in 0..PARTITIONS {
            let latest =
                v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Anchor(v1::Anchor::Latest.into())) };
            let request = v1::ReadRequest {
                topic: TOPIC.to_owned(),
                partitions: vec![partition],
                stop: Some(latest),
                ..Default::default()
            };
            let reading = async {
                let mut answers = client.read(request).await.expect("reading begins").into_inner();
                while let Some(answer) = answers.message().await.expect("reading goes on") {
                    seen.extend(answer.records.into_iter().map(|record| Seen {
                        partition,
                        offset: record.offset,
                        value: record.value.map(|value| value.to_vec()).unwrap_or_default(),
                    }));
                }
            };
            tokio::time::timeout(CYCLE_LIMIT, reading).await.expect("reading comes to the end");
        }
        seen
    });
    mqd.kill();
    seen
}
