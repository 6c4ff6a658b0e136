//! The order of `mqd`'s own system calls: no acknowledgement leaves before the sync that covers its record returned.
//!
//! A killed process keeps the page cache, so no kill shows whether anything was synced; strace does. Whether what was
//! synced survives a power cut is the disk's promise, and recovery's: tested elsewhere.

use mq_proto::v1;
use mq_proto::v1::admin_service_client::AdminServiceClient;
use mq_proto::v1::producer_service_client::ProducerServiceClient;
use mq_tests::process::{self, Mqd, free_address, pause, scratch};
use mq_tests::trace::{Acknowledged, check, http2, strace};
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio_stream::StreamExt;
use tonic::transport::Channel;

const PARTITIONS: i32 = 3;
/// One client that waits for every answer.
const ALONE: u32 = 100;
/// Clients with one record each on its way, each on its own connection.
const CLIENTS: u32 = 8;
const OF_EACH_CLIENT: u32 = 40;
/// Records sent on one stream without waiting.
const PIPELINED: u32 = 300;
/// This ends a hung broker or tracer.
const LIMIT: Duration = Duration::from_secs(60);

/// What encloses a record's name, and stands nowhere else.
const BEGIN: &str = "<ack_order ";
const END: char = '>';

/// Where a record is said to be: topic, partition and offset.
type Place = (String, i32, i64);
/// The names of records by where they are said to be.
type Places = BTreeMap<Place, String>;

#[test]
fn no_acknowledgement_leaves_before_the_sync_that_covers_it() {
    if let Err(why) = find_strace() {
        mq_tests::say(&format!("skipped: the order of syncs and acknowledgements: {why}"));
        return;
    }
    let dir = scratch();
    let trace = dir.path().join("trace");
    let mut mqd = start_traced(&dir.path().join("data"), &trace);
    let listener = mqd.grpc.to_string();
    let load = async {
        let load = tokio::time::timeout(LIMIT, load(&mqd)).await;
        load.expect("the broker answers in time")
    };
    let places = tokio::runtime::Runtime::new().expect("a runtime starts").block_on(load);
    mqd.terminate();
    let trace = read_whole(&trace, mqd.id());

    let calls = strace::calls(&trace).expect("strace wrote it");
    let acknowledged: Vec<_> = http2::messages(&calls, &listener)
        .into_iter()
        .filter_map(|message| {
            let marker = places.get(&place(&message.bytes)?)?;
            Some(Acknowledged { marker: marker.clone().into_bytes(), sent_at: message.sent_at })
        })
        .collect();
    assert_eq!(places.len() as u32, ALONE + CLIENTS * OF_EACH_CLIENT + PIPELINED, "every record has a place");
    assert_eq!(acknowledged.len(), places.len(), "the trace shows every acknowledgement once");
    match check(&calls, &acknowledged, BEGIN.as_bytes(), END as u8) {
        Ok(count) => {
            let syncs = calls.iter().filter(|call| call.is_sync()).count();
            mq_tests::say(&format!(
                "{count} acknowledgements left after the sync that covers them; {syncs} syncs"
            ));
        }
        Err((records, early)) => panic!("broken after {records} records: {early}"),
    }
}

/// Whether strace can be run here, after getting it where that is possible.
fn find_strace() -> Result<(), String> {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("{program}: {error}")),
        }
    };
    if run("strace", &["-V"]).is_err() && rustix::process::geteuid().is_root() {
        run("apt-get", &["update", "-q"])
            .and_then(|()| run("apt-get", &["install", "-q", "-y", "strace"]))
            .map_err(|why| format!("strace is missing and cannot be installed: {why}"))?;
    }
    let dir = scratch();
    let output = dir.path().join("trace").display().to_string();
    run("strace", &[&strace::ARGUMENTS[..], &["-o", &output, "true"]].concat())
}

fn start_traced(data: &Path, trace: &Path) -> Mqd {
    let (grpc, admin) = (free_address(), free_address());
    let mqd = process::command(data, grpc, admin);
    let mut traced = Command::new("strace");
    traced.args(strace::ARGUMENTS).arg("-o").arg(trace);
    traced.arg(mqd.get_program()).args(mqd.get_args()).stdin(Stdio::null()).env_remove("MQ_BROKERS");
    Mqd::start_by(traced, data, grpc, admin)
}

/// The trace, once the tracer has written that the broker's first thread has ended, which ends last.
fn read_whole(trace: &Path, broker: u32) -> String {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(trace).expect("strace writes text");
        let last = text.lines().next_back().unwrap_or_default();
        let mut words = last.split_whitespace();
        if words.next() == Some(&broker.to_string()) && words.next() == Some("+++") && text.ends_with('\n') {
            return text;
        }
        assert!(begun.elapsed() < LIMIT, "the trace has no end: {last}");
        pause();
    }
}

/// Sends everything; answers where each record is said to be.
async fn load(mqd: &Mqd) -> Places {
    for topic in ["alone", "together", "pipelined"] {
        let request = v1::CreateTopicRequest {
            topic: topic.to_owned(),
            partition_count: PARTITIONS,
            configs: [("segment.bytes".to_owned(), "131072".to_owned())].into(), // rolls are part of the test
            ..Default::default()
        };
        AdminServiceClient::new(mqd.channel().await)
            .create_topic(request)
            .await
            .expect("the topic is created");
    }
    let mut places = one_by_one(mqd.channel().await, "alone", 0, ALONE).await;
    let mut clients = tokio::task::JoinSet::new();
    for client in 1..=CLIENTS {
        clients.spawn(one_by_one(mqd.channel().await, "together", client, OF_EACH_CLIENT));
    }
    while let Some(of_client) = clients.join_next().await {
        places.extend(of_client.expect("a client sends all of its records"));
    }
    places.extend(pipelined(mqd.channel().await).await);
    places
}

fn name(client: u32, number: u32) -> String {
    format!("{BEGIN}client {client} record {number}{END}")
}

/// A record that ends with its name; small ones are copied on their way to the disk, large ones are not.
fn request(topic: &str, client: u32, number: u32) -> v1::ProduceRequest {
    let mut value = vec![b'.'; [10, 600, 9_000][number as usize % 3]];
    value.extend_from_slice(name(client, number).as_bytes());
    v1::ProduceRequest {
        topic: topic.to_owned(),
        partition: Some((client + number) as i32 % PARTITIONS),
        records: vec![v1::Record { value: Some(value.into()), ..Default::default() }],
        ..Default::default()
    }
}

async fn one_by_one(channel: Channel, topic: &str, client: u32, count: u32) -> Places {
    let mut producer = ProducerServiceClient::new(channel);
    let mut places = Places::new();
    for number in 0..count {
        let answer = producer.produce(request(topic, client, number)).await.expect("it is appended");
        let place = place_in(answer.get_ref()).expect("an answer says where");
        assert!(places.insert(place, name(client, number)).is_none(), "two records are never at one offset");
    }
    places
}

async fn pipelined(channel: Channel) -> Places {
    let client = CLIENTS + 1;
    let requests = (1..=PIPELINED).map(move |number| v1::ProduceStreamRequest {
        correlation_id: number.into(),
        request: Some(request("pipelined", client, number)),
    });
    let answers = ProducerServiceClient::new(channel).produce_stream(tokio_stream::iter(requests)).await;
    let mut answers = answers.expect("the stream begins").into_inner();
    let mut places = Places::new();
    while let Some(answer) = answers.next().await {
        let answer = answer.expect("the stream goes on");
        let Some(response) = answer.response else {
            assert!(answer.error.is_none(), "{:?}", answer.error);
            continue;
        };
        let place = place_in(&response).expect("an answer says where");
        places.insert(place, name(client, answer.correlation_id as u32));
    }
    places
}

/// Where the record is that this answer acknowledges; `None`: it acknowledges none.
fn place(message: &[u8]) -> Option<Place> {
    // A stream's answer has a number first, which is never 0 here, and a lone one never: only one of them fits.
    let alone = v1::ProduceResponse::decode(message).ok();
    let response = match alone {
        Some(response) => response,
        None => v1::ProduceStreamResponse::decode(message).ok()?.response?,
    };
    place_in(&response)
}

fn place_in(response: &v1::ProduceResponse) -> Option<Place> {
    let [produced] = &response.partitions[..] else { return None };
    if produced.error.is_some() || produced.durability() != v1::Durability::QuorumFsync {
        return None;
    }
    let at = produced.topic_partition.as_ref()?;
    Some((at.topic.clone(), at.partition, produced.base_offset))
}
