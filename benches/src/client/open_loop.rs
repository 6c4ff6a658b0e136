//! Single records at a fixed rate, whatever the server does. Latencies count from when a record was due.

use super::connect;
use crate::payload::{self, RECORD_BYTES};
use crate::schedule::Schedule;
use crate::task::{Form, Latencies, Sample};
use anyhow::{Context, Result, ensure};
use mq_proto::v1;
use mq_proto::v1::producer_service_client::ProducerServiceClient;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Requests that wait for the connection at the most. Beyond it the pacer waits too, and what it sends late is charged
/// to the server all the same.
const WAITING_MAX_COUNT: usize = 1024;
/// How late the kernel may wake the pacer to save power: as little as it can, instead of 50 µs.
const TIMER_SLACK_NS: NonZeroU64 = NonZeroU64::MIN;

pub(super) async fn run(server: SocketAddr, topic: &str, per_second: u32, requests: u32) -> Result<Sample> {
    let request = payload::request(topic, 0, Form::Batch, 1)?;
    let (sender, receiver) = mpsc::channel(WAITING_MAX_COUNT);
    let mut client = ProducerServiceClient::new(connect(server).await?);
    let mut answers = client.produce_stream(ReceiverStream::new(receiver)).await?.into_inner();

    let schedule = Schedule { per_second };
    let began = Instant::now();
    let pacer = std::thread::spawn(move || pace(schedule, requests.into(), began, &request, &sender));
    let mut latencies = Latencies::default();
    for number in 0..requests {
        let answer = answers.message().await?.context("the server has ended the stream")?;
        let due = schedule.due(u64::try_from(answer.correlation_id)?);
        latencies.record(began.elapsed().saturating_sub(due));
        let partitions = answer.response.as_ref().map_or(&[][..], |response| &response.partitions);
        let good = matches!(partitions, [done] if done.error.is_none()
            && done.durability() == v1::Durability::QuorumFsync
            && done.base_offset == i64::from(number));
        ensure!(good && answer.error.is_none(), "record {number} was answered with {answer:?}");
    }
    let seconds = began.elapsed().as_secs_f64();
    pacer.join().expect("the pacer does not panic");
    let records = u64::from(requests);
    let bytes = records * RECORD_BYTES as u64;
    Ok(Sample { seconds, records, bytes, messages: records, latency: latencies.summary() })
}

/// Sends what is due. A thread of its own: the runtime's timers count whole milliseconds.
fn pace(
    schedule: Schedule,
    requests: u64,
    began: Instant,
    request: &v1::ProduceRequest,
    sender: &mpsc::Sender<v1::ProduceStreamRequest>,
) {
    // Without it, it is less exact and nothing else.
    let _ = rustix::thread::set_current_timer_slack(Some(TIMER_SLACK_NS));
    let mut sent = 0;
    while sent < requests {
        let due_count = schedule.due_count(began.elapsed()).min(requests);
        for number in sent..due_count {
            let correlation_id = i64::try_from(number).expect("there are far fewer");
            let request = Some(request.clone());
            if sender.blocking_send(v1::ProduceStreamRequest { correlation_id, request }).is_err() {
                return; // the stream has ended; who reads the answers says why
            }
        }
        sent = due_count.max(sent);
        wait_until(began + schedule.due(sent));
    }
}

#[expect(clippy::disallowed_methods, reason = "what is waited for is a time")]
fn wait_until(due: Instant) {
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
}
