//! Garbage of every kind: each gets a clear error with its reason, and the broker stays up.

use bytes::{Bytes, BytesMut};
use mq_proto::v1;
use mq_proto::v1::admin_service_client::AdminServiceClient;
use mq_proto::v1::consumer_service_client::ConsumerServiceClient;
use mq_proto::v1::producer_service_client::ProducerServiceClient;
use mq_tests::process::{Mqd, command, free_address, scratch};
use mq_types::Compression;
use mq_types::batch::{BatchBuilder, NewRecord};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tonic::{Code, Status};

/// A broker with the topic "t" of one partition, in which batches may have 100 KB.
struct Fixture {
    mqd: Mqd,
    producer: ProducerServiceClient<tonic::transport::Channel>,
    consumer: ConsumerServiceClient<tonic::transport::Channel>,
    admin: AdminServiceClient<tonic::transport::Channel>,
    _dir: tempfile::TempDir,
}

async fn fixture() -> Fixture {
    let dir = scratch();
    let mqd = Mqd::start(&dir.path().join("data"));
    let channel = mqd.channel().await;
    let mut admin = AdminServiceClient::new(channel.clone());
    let configs = [("max.message.bytes".to_owned(), "100000".to_owned())].into();
    let request =
        v1::CreateTopicRequest { topic: "t".to_owned(), partition_count: 1, configs, ..Default::default() };
    admin.create_topic(request).await.expect("the topic is created");
    Fixture {
        mqd,
        producer: ProducerServiceClient::new(channel.clone()),
        consumer: ConsumerServiceClient::new(channel),
        admin,
        _dir: dir,
    }
}

/// A good batch of three records.
fn batch(compression: Compression) -> BytesMut {
    let mut builder = BatchBuilder::new();
    for _ in 0..3 {
        let value = Some(b"some value that repeats, repeats, repeats".as_slice());
        builder.push(&NewRecord { timestamp_ms: 1, value, ..Default::default() }).expect("there is room");
    }
    BytesMut::from(&builder.finish(compression).to_bytes()[..])
}

/// Makes the checksum right again after something was changed.
fn reseal(batch: &mut [u8]) {
    let checksum = mq_types::crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
}

fn reason(status: &Status) -> &str {
    status.metadata().get("mq-reason").map_or("", |reason| reason.to_str().expect("reasons are ASCII"))
}

impl Fixture {
    async fn produce(&mut self, batch: impl Into<Bytes>) -> Result<(), Status> {
        let kafka_batch = batch.into();
        let request = v1::ProduceRequest {
            topic: "t".to_owned(),
            partition: Some(0),
            kafka_batch,
            ..Default::default()
        };
        self.producer.produce(request).await.map(drop)
    }

    /// The batch must be refused for this reason, and nothing may have been appended.
    async fn refused(&mut self, what: &str, batch: impl Into<Bytes>, expected: &str) {
        let status = self.produce(batch).await.expect_err(what);
        assert_eq!((reason(&status), status.code()), (expected, Code::InvalidArgument), "{what}: {status}");
        assert!(status.message().len() > 20, "{what}: says too little: {}", status.message());
    }

    async fn latest(&mut self) -> i64 {
        let spec = v1::offset_spec::Spec::Anchor(v1::Anchor::Latest.into());
        let at = v1::TopicPartition { topic: "t".to_owned(), ..Default::default() };
        let ask = v1::PartitionOffsetSpec {
            topic_partition: Some(at),
            spec: Some(v1::OffsetSpec { spec: Some(spec) }),
        };
        let request = v1::ListOffsetsRequest { partitions: vec![ask], ..Default::default() };
        self.consumer.list_offsets(request).await.expect("offsets are listed").into_inner().offsets[0].offset
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_batch_is_refused_with_its_reason_and_nothing_is_appended() {
    let mut fixture = fixture().await;
    let good = batch(Compression::None);
    let changed = |change: &dyn Fn(&mut BytesMut)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad
    };
    let wrong_checksum = changed(&|bad| bad[17] ^= 1);
    fixture.refused("wrong CRC", wrong_checksum, "CORRUPT_BATCH").await;
    for length in [0, 1, 20, 60, 61, good.len() - 1].into_iter().filter(|&length| length > 0) {
        fixture.refused("truncated", changed(&|bad| bad.truncate(length)), "CORRUPT_BATCH").await;
    }
    for (what, at, bytes) in [
        ("2^31 records", 57, [0x7f, 0xff, 0xff, 0xff]),
        ("no record", 57, [0, 0, 0, 0]),
        ("fewer records than there are", 57, [0, 0, 0, 2]),
        ("negative last offset delta", 23, [0xff, 0xff, 0xff, 0xff]),
    ] {
        let bad = changed(&|bad| {
            bad[at..at + 4].copy_from_slice(&bytes);
            reseal(bad);
        });
        fixture.refused(what, bad, "CORRUPT_BATCH").await;
    }
    for (what, bits) in [("unknown compression", 7), ("control", 0x20), ("transactional", 0x10)] {
        let bad = changed(&|bad| {
            bad[22] = bits;
            reseal(bad);
        });
        let status = fixture.produce(bad).await.expect_err(what);
        assert!(["CORRUPT_BATCH", "UNIMPLEMENTED"].contains(&reason(&status)), "{what}: {status}");
    }
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut bad = batch(Compression::None);
        bad[22] = codec.number(); // the records are not compressed at all
        reseal(&mut bad);
        fixture.refused(codec.name(), bad, "CORRUPT_BATCH").await;
    }
    assert_eq!(fixture.latest().await, 0, "nothing was appended");
    fixture.produce(good).await.expect("a good batch is accepted after all the bad ones");
    assert_eq!(fixture.latest().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_the_topic_allows_is_refused_with_both_numbers() {
    let mut fixture = fixture().await;
    let mut builder = BatchBuilder::new();
    let value = vec![7; 120_000];
    builder
        .push(&NewRecord { timestamp_ms: 1, value: Some(&value), ..Default::default() })
        .expect("there is room");
    let status = fixture.produce(builder.finish(Compression::None).to_bytes()).await.expect_err("too large");
    assert_eq!(reason(&status), "BATCH_TOO_LARGE", "{status}");
    assert!(status.message().contains("100000"), "{status}");
    let record = v1::Record { value: Some(value.into()), ..Default::default() };
    let request = v1::ProduceRequest { topic: "t".to_owned(), records: vec![record], ..Default::default() };
    let status = fixture.producer.produce(request).await.expect_err("too large");
    assert_eq!(reason(&status), "BATCH_TOO_LARGE", "{status}");
    assert_eq!(fixture.latest().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_names_and_positions_name_the_choices() {
    let mut fixture = fixture().await;
    let record = || v1::Record { value: Some(Bytes::from_static(b"x")), ..Default::default() };
    let request =
        v1::ProduceRequest { topic: "nope".to_owned(), records: vec![record()], ..Default::default() };
    let status = fixture.producer.produce(request).await.expect_err("unknown topic");
    assert_eq!((reason(&status), status.code()), ("UNKNOWN_TOPIC", Code::NotFound));
    for partition in [1, -1, i32::MAX] {
        let records = vec![record()];
        let request = v1::ProduceRequest {
            topic: "t".to_owned(),
            partition: Some(partition),
            records,
            ..Default::default()
        };
        let status = fixture.producer.produce(request).await.expect_err("unknown partition");
        assert_eq!((reason(&status), status.code()), ("UNKNOWN_PARTITION", Code::NotFound));
    }
    for name in ["", ".", "..", "a/b", "a b", &"x".repeat(250), "h\u{e9}"] {
        let request = v1::CreateTopicRequest { topic: name.to_owned(), ..Default::default() };
        let status = fixture.admin.create_topic(request).await.expect_err("illegal name");
        assert_eq!(
            (reason(&status), status.code()),
            ("INVALID_REQUEST", Code::InvalidArgument),
            "{name:?}: {status}"
        );
    }
    fixture.produce(batch(Compression::Zstd)).await.expect("a good batch");
    for offset in [-2, 4, i64::MAX] {
        let at = v1::TopicPartition { topic: "t".to_owned(), ..Default::default() };
        let spec = v1::OffsetSpec { spec: Some(v1::offset_spec::Spec::Offset(offset)) };
        let partitions =
            vec![v1::FetchPartition { topic_partition: Some(at), start: Some(spec), ..Default::default() }];
        let request = v1::FetchRequest { partitions, max_wait_ms: Some(0), ..Default::default() };
        let answer =
            fixture.consumer.fetch(request).await.expect("a fetch answers per partition").into_inner();
        let error = answer.partitions[0].error.as_ref().expect("the position is out of range");
        assert_eq!(error.reason(), v1::ErrorReason::OffsetOutOfRange, "{offset}: {error:?}");
        assert_eq!(error.metadata["log_start_offset"], "0");
        assert_eq!(error.metadata["high_watermark"], "3");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_every_port_leaves_the_broker_up() {
    let mut fixture = fixture().await;
    let garbage: [&[u8]; 5] = [
        b"\0\xff\0\xff\0\xff\0\xff\0\xff\0\xff\0\xff\0\xff\0\xff\0\xff\0\xff\0\xff\0\xff\0\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"POST /mq.v1.ProducerService/Produce HTTP/1.1\r\ncontent-type: application/grpc-web\r\ncontent-length: 5\r\n\r\n\0\xff\xff\xff\xff",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ];
    for address in [fixture.mqd.grpc, fixture.mqd.admin] {
        for bytes in garbage {
            let mut stream = TcpStream::connect(address).expect("the port is open");
            stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout can be set");
            let _ = stream.write_all(bytes);
            let _ = stream.read(&mut [0; 1024]);
        }
    }
    assert!(fixture.mqd.is_running(), "the broker is up; its log:\n{}", fixture.mqd.log());
    fixture.produce(batch(Compression::Gzip)).await.expect("the broker still works");
    assert_eq!(fixture.latest().await, 3);
    assert!(fixture.mqd.admin_get("/livez").0.contains("200"));
}

#[test]
fn a_second_broker_on_the_directory_is_refused_and_the_first_stays_up() {
    let dir = scratch();
    let data = dir.path().join("data");
    let mut first = Mqd::start(&data);
    let second = command(&data, free_address(), free_address()).output().expect("mqd starts");
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&*data.to_string_lossy()) && said.contains("another"), "{said}");
    assert!(first.is_running());
}
