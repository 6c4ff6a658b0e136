//! A broker with small limits, what it may take of memory under them, and a client with manners beside the attackers.

use bytes::Bytes;
use mq_proto::v1;
use mq_proto::v1::admin_service_client::AdminServiceClient;
use mq_proto::v1::consumer_service_client::ConsumerServiceClient;
use mq_proto::v1::producer_service_client::ProducerServiceClient;
use mq_tests::process::{Mqd, command, free_address, scratch};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;
pub(crate) const REQUEST_BYTES_MAX: u64 = 4 * MIB;
pub(crate) const DECOMPRESSED_BYTES_MAX: u64 = 16 * MIB;
pub(crate) const CONNECTIONS_MAX: u64 = 100;
pub(crate) const CALLS_MAX: u64 = 1_000;
pub(crate) const POSITIONS_MAX: u64 = 10_000;
const PRODUCE_BYTES_MAX: u64 = 32 * MIB;
const ANSWERS_BYTES_MAX: u64 = 32 * MIB;
const WINDOWS_BYTES_MAX: u64 = 32 * MIB;
/// Records in the topic to begin with.
pub(crate) const LOG_RECORDS: u8 = 16;
/// What a client with manners may wait for one call while others have none.
pub(crate) const SERVED_WITHIN: Duration = Duration::from_secs(15);

/// What clients can make the broker hold, as ARCHITECTURE.md has it.
fn bound_bytes() -> u64 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    128 * MIB
        + 16 * REQUEST_BYTES_MAX
        + PRODUCE_BYTES_MAX
        + ANSWERS_BYTES_MAX
        + WINDOWS_BYTES_MAX
        + CONNECTIONS_MAX * 256 * KIB
        + (CALLS_MAX + 4 * CONNECTIONS_MAX) * 64 * KIB
        + POSITIONS_MAX * 2 * KIB
        + threads * (DECOMPRESSED_BYTES_MAX + REQUEST_BYTES_MAX + 64 * MIB)
}

/// The broker, and the client with manners.
pub(crate) struct Broker {
    pub(crate) mqd: Mqd,
    pub(crate) channel: Channel,
    produced: i64,
    _dir: tempfile::TempDir,
}

impl Broker {
    /// Starts one whose topic "t" has 8 MiB in it already.
    pub(crate) async fn start() -> Broker {
        let dir = scratch();
        let data = dir.path().join("data");
        let (grpc, admin) = (free_address(), free_address());
        let mut command = command(&data, grpc, admin);
        for (key, value) in [
            ("REQUEST_BYTES_MAX", REQUEST_BYTES_MAX),
            ("DECOMPRESSED_BYTES_MAX", DECOMPRESSED_BYTES_MAX),
            ("PRODUCE_INFLIGHT_BYTES_MAX", PRODUCE_BYTES_MAX),
            ("ANSWERS_BYTES_MAX", ANSWERS_BYTES_MAX),
            ("WINDOWS_BYTES_MAX", WINDOWS_BYTES_MAX),
            ("CONNECTIONS_MAX", CONNECTIONS_MAX),
            ("CALLS_MAX", CALLS_MAX),
            ("POSITIONS_MAX", POSITIONS_MAX),
        ] {
            command.env(format!("MQ__LIMITS__{key}"), value.to_string());
        }
        command.env("MQ__LIMITS__HANDSHAKE_TIMEOUT", "1s");
        let mqd = Mqd::start_by(command, &data, grpc, admin);
        let channel = mqd.channel().await;
        let mut broker = Broker { mqd, channel, produced: 0, _dir: dir };
        let request = v1::CreateTopicRequest { topic: "t".to_owned(), ..Default::default() };
        broker.admin().create_topic(request).await.expect("the topic is created");
        for _ in 0..LOG_RECORDS {
            broker.produce(vec![7; 512 << 10]).await;
        }
        broker
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    pub(crate) fn producer(&self) -> ProducerServiceClient<Channel> {
        ProducerServiceClient::new(self.channel.clone())
    }

    async fn produce(&mut self, value: Vec<u8>) {
        let record = v1::Record { value: Some(value.into()), ..Default::default() };
        let answer = self.producer().produce(produce(vec![record])).await.expect("it is appended");
        assert_eq!(answer.into_inner().partitions[0].base_offset, self.produced);
        self.produced += 1;
    }

    /// Somebody else appended so many records.
    pub(crate) fn skip(&mut self, records: i64) {
        self.produced += records;
    }

    /// The client with manners still gets what it asks for, and the broker has kept within its bound.
    pub(crate) async fn serves(&mut self, attack: &str) {
        let begun = Instant::now();
        let served = async {
            self.produce(b"good".to_vec()).await;
            let mut consumer = ConsumerServiceClient::new(self.channel.clone());
            let request =
                v1::FetchRequest { partitions: vec![from_offset(self.produced - 1)], ..Default::default() };
            let fetched = consumer.fetch(request).await.expect("a good client is served").into_inner();
            let record = &fetched.partitions[0].records[0];
            assert_eq!(record.value.as_deref(), Some(b"good".as_slice()), "{attack}");
        };
        let in_time = tokio::time::timeout(SERVED_WITHIN, served).await.is_ok();
        assert!(in_time, "{attack}: a good client waited {:?}; log:\n{}", begun.elapsed(), self.mqd.log());
        let (peak, bound) = (self.mqd.memory_peak_bytes(), bound_bytes());
        mq_tests::say(&format!(
            "{attack}: peak {} MiB of {} MiB, a good client waited {} ms",
            peak / MIB,
            bound / MIB,
            begun.elapsed().as_millis()
        ));
        assert!(peak <= bound, "{attack}: {} MiB, and {} are the bound", peak / MIB, bound / MIB);
        assert!(self.mqd.is_running(), "{attack}: the broker ended; log:\n{}", self.mqd.log());
    }
}

pub(crate) fn produce(records: Vec<v1::Record>) -> v1::ProduceRequest {
    v1::ProduceRequest { topic: "t".to_owned(), partition: Some(0), records, ..Default::default() }
}

pub(crate) fn produce_batch(batch: Bytes) -> v1::ProduceRequest {
    v1::ProduceRequest { kafka_batch: batch, ..produce(Vec::new()) }
}

pub(crate) fn from_offset(offset: i64) -> v1::FetchPartition {
    let at = v1::TopicPartition { topic: "t".to_owned(), ..Default::default() };
    let spec = v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Offset(offset)) };
    v1::FetchPartition { topic_partition: Some(at), start: Some(spec), ..Default::default() }
}
