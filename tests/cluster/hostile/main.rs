//! Attacks from outside: whatever a stranger sends or refuses to receive, memory stays below the bound that
//! ARCHITECTURE.md states, and a client with manners is served.

mod attacker;
mod broker;
mod payloads;

use attacker::{
    Attacker, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, field, frame, grpc, header_block, promise,
};
use broker::{Broker, CALLS_MAX, CONNECTIONS_MAX, POSITIONS_MAX, REQUEST_BYTES_MAX, from_offset};
use mq_proto::v1;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PRODUCE: &str = "/mq.v1.ProducerService/Produce";
const PRODUCE_STREAM: &str = "/mq.v1.ProducerService/ProduceStream";
const FETCH: &str = "/mq.v1.ConsumerService/Fetch";
const FETCH_STREAM: &str = "/mq.v1.ConsumerService/FetchStream";
const READ: &str = "/mq.v1.ConsumerService/Read";
/// Longer than any closing takes.
const LONG: Duration = Duration::from_secs(10);

/// Sends what `make` makes until the broker takes no more, at most `count` times; how often it took it.
async fn flood(
    attacker: &mut Attacker,
    count: usize,
    reads: bool,
    mut make: impl FnMut(&mut Attacker) -> Vec<u8>,
) -> usize {
    const BATCH: usize = 100;
    for sent in (0..count).step_by(BATCH) {
        let mut frames = Vec::new();
        for _ in 0..BATCH {
            frames.extend(make(attacker));
        }
        if !attacker.send(&frames).await || (reads && !attacker.drain().await) {
            return sent;
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_resets_without_number_cost_the_attacker_its_connection() {
    let mut broker = Broker::start().await;
    let address = broker.mqd.grpc;
    let most = 100_000;
    for reads in [true, false] {
        let mut open = Attacker::greet(address, 0).await;
        let taken = flood(&mut open, most, reads, |attacker| attacker.call(PRODUCE).1).await;
        assert!(taken < most, "100,000 open streams were taken");
        broker.serves("100,000 streams").await;

        let mut resets = Attacker::greet(address, 0).await;
        let reset = |attacker: &mut Attacker| {
            let (id, mut frames) = attacker.call(PRODUCE);
            frames.extend(frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
            frames
        };
        let taken = flood(&mut resets, most, reads, reset).await;
        assert!(taken < most, "100,000 resets were taken");
        broker.serves("resets").await;

        // Each of these makes the broker reset the stream.
        let mut provoked = Attacker::greet(address, 0).await;
        let provoke = |attacker: &mut Attacker| {
            let (id, mut frames) = attacker.call(PRODUCE);
            frames.extend(frame(WINDOW_UPDATE, 0, id, &[0; 4]));
            frames
        };
        let taken = flood(&mut provoked, most, reads, provoke).await;
        assert!(taken < most, "100,000 provoked resets were taken");
        broker.serves("provoked resets").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn header_lists_without_end_and_floods_of_small_frames_are_survived() {
    let mut broker = Broker::start().await;
    let address = broker.mqd.grpc;
    let mut endless = Attacker::greet(address, 0).await;
    let id = 1;
    assert!(endless.send(&frame(HEADERS, 0, id, &header_block(PRODUCE))).await, "it is the first frame");
    let more: Vec<u8> = (0..1_000).flat_map(|_| field("x", "y")).collect();
    let taken =
        flood(&mut endless, 100_000, true, |_| frame(CONTINUATION, 0, id, &more[..16_000.min(more.len())]))
            .await;
    assert!(taken < 100_000, "headers for ever were taken");
    broker.serves("headers without end").await;

    for reads in [true, false] {
        let mut large = Attacker::greet(address, 0).await;
        let lists = |attacker: &mut Attacker| {
            let (id, _) = attacker.call(PRODUCE);
            let many: Vec<u8> = (0..1_000).flat_map(|_| field("name", "value")).collect();
            frame(HEADERS, END_HEADERS | END_STREAM, id, &[header_block(PRODUCE), many].concat())
        };
        flood(&mut large, 2_000, reads, lists).await;
        broker.serves("large header lists").await;
        let mut pings = Attacker::greet(address, 0).await;
        flood(&mut pings, 200_000, reads, |_| frame(PING, 0, 0, &[1; 8])).await;
        let mut settings = Attacker::greet(address, 0).await;
        flood(&mut settings, 200_000, reads, |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1])).await;
        let mut empty = Attacker::greet(address, 0).await;
        let (id, call) = empty.call(PRODUCE);
        empty.send(&call).await;
        flood(&mut empty, 200_000, reads, |_| frame(DATA, 0, id, &[])).await;
        broker.serves("floods of pings, settings and nothing").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_closed_and_never_more_than_the_limit_are_open() {
    let mut broker = Broker::start().await;
    let address = broker.mqd.grpc;
    let mut silent = Attacker::connect(address).await;
    let mut half = Attacker::connect(address).await;
    assert!(half.send(&PREFACE[..10]).await);
    let mut http1 = Attacker::connect(address).await;
    assert!(http1.send(b"POST /mq.v1.ProducerService/Produce HTTP/1.1\r\nhost: x\r\nx: ").await);
    for (what, attacker) in
        [("silent", &mut silent), ("half a preface", &mut half), ("half a request", &mut http1)]
    {
        assert!(attacker.closed_within(LONG).await, "{what}: still open");
    }
    // The good client has one place.
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_MAX + 50 {
        open.push(Attacker::greet(address, 0).await);
    }
    let mut living = 0;
    for attacker in &mut open {
        living += u64::from(!attacker.closed_within(Duration::from_millis(20)).await);
    }
    assert_eq!(living, CONNECTIONS_MAX - 1, "as many as there are places");
    broker.serves("connections").await;
    drop(open);
    let again =
        async { while Attacker::greet(address, 0).await.closed_within(Duration::from_millis(50)).await {} };
    tokio::time::timeout(LONG, again).await.expect("there is room again");
    broker.serves("connections that went").await;
}

/// Begins every kind of reading, and receives nothing.
async fn read_nothing(address: SocketAddr, window_bytes: u32, calls: usize) -> Attacker {
    let mut attacker = Attacker::greet(address, window_bytes).await;
    for number in 0..calls {
        let partitions = vec![from_offset(0)];
        match number % 3 {
            0 => {
                let request = v1::FetchRequest { partitions, max_bytes: 64 << 20, ..Default::default() };
                attacker.ask(FETCH, &request).await
            }
            1 => {
                let start = v1::FetchStart { partitions, credit_bytes: i64::MAX, ..Default::default() };
                let action = Some(v1::fetch_stream_request::Action::Start(start));
                attacker.ask_on(FETCH_STREAM, &v1::FetchStreamRequest { action }).await
            }
            _ => {
                let request = v1::ReadRequest { topic: "t".to_owned(), ..Default::default() };
                attacker.ask(READ, &request).await
            }
        };
    }
    attacker
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_are_bounded_and_others_are_served() {
    let mut broker = Broker::start().await;
    let mut readers = Vec::new();
    for number in 0..20 {
        // No window at all; a window of one byte; all the window there is, and a socket that is never read.
        let window_bytes = [0, 1, (1 << 31) - 1][number % 3];
        readers.push(read_nothing(broker.mqd.grpc, window_bytes, 60).await);
        if number % 5 == 0 {
            broker.serves("answers not read").await;
        }
    }
    for _ in 0..3 {
        broker.serves("answers not read").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_follow_everything_many_times_are_bounded() {
    let mut broker = Broker::start().await;
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut attacker = Attacker::greet(broker.mqd.grpc, 1 << 20).await;
        for _ in 0..60 {
            // Beyond the end: each waits for its time to come.
            let partitions = vec![from_offset(i64::from(broker::LOG_RECORDS)); POSITIONS_MAX as usize / 3];
            let request = v1::FetchRequest { partitions, max_wait_ms: Some(60_000), ..Default::default() };
            attacker.ask(FETCH, &request).await;
        }
        readers.push(attacker);
    }
    broker.serves("reads of everything").await;
}

/// Bodies that promise much and send little, or send without being asked.
async fn write_slowly(address: SocketAddr, calls: usize) -> Attacker {
    let mut attacker = Attacker::greet(address, 0).await;
    for number in 0..calls {
        let path = if number % 2 == 0 { PRODUCE } else { PRODUCE_STREAM };
        let (id, mut frames) = attacker.call(path);
        frames.extend(frame(DATA, 0, id, &promise(REQUEST_BYTES_MAX as usize)));
        frames.extend(frame(DATA, 0, id, &vec![0; 16_000]));
        attacker.send(&frames).await;
    }
    attacker
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_dribble_or_promise_more_than_they_send_are_bounded() {
    let mut broker = Broker::start().await;
    let address = broker.mqd.grpc;
    let mut writers = Vec::new();
    for _ in 0..20 {
        writers.push(write_slowly(address, 60).await);
    }
    broker.serves("bodies that dribble").await;
    // What was promised falls short: the call fails, and the room is free again.
    let mut short = Attacker::greet(address, 65_535).await;
    let (id, mut frames) = short.call(PRODUCE);
    frames.extend(frame(DATA, END_STREAM, id, &[promise(1_000_000), vec![0; 100]].concat()));
    assert!(short.send(&frames).await);
    // More than any message may have is refused by its length.
    let (id, mut frames) = short.call(PRODUCE);
    frames.extend(frame(DATA, 0, id, &promise(u32::MAX as usize)));
    assert!(short.send(&frames).await && short.drain().await, "a refusal is no reason to go");
    broker.serves("bodies that fall short").await;
    // As much as the windows take, on many connections, for a call that reads nothing of it.
    let junk = grpc(&vec![0xff; 1 << 20]);
    for attacker in &mut writers {
        let (id, call) = attacker.call(FETCH_STREAM);
        attacker.send(&call).await;
        for piece in junk.chunks(16_000) {
            attacker.send(&frame(DATA, 0, id, piece)).await;
        }
    }
    broker.serves("windows full of junk").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_and_lists_that_swell_are_refused_with_a_reason() {
    let mut broker = Broker::start().await;
    for (what, request, expected) in payloads::bombs() {
        let refused = broker.producer().produce(request).await.expect_err(what);
        assert_eq!(payloads::reason(&refused), expected, "{what}: {refused}");
        broker.serves(what).await;
    }
    // All at once, and often.
    let mut calls = tokio::task::JoinSet::new();
    for (_, request, _) in payloads::bombs().into_iter().cycle().take(64) {
        let mut producer = broker.producer();
        calls.spawn(async move { producer.produce(request).await.map(drop) });
    }
    while let Some(ended) = calls.join_next().await {
        ended.expect("no panic").expect_err("a bomb is never taken");
    }
    broker.serves("all bombs at once").await;
    let metrics = broker.mqd.admin_get("/metrics").1;
    for refused in ["INVALID_REQUEST", "CORRUPT_BATCH", "BATCH_TOO_LARGE"] {
        let counter = format!("mq_errors_total{{reason=\"{refused}\"}}");
        assert!(metrics.contains(&counter), "{refused} is not counted:\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_limit_ends_a_produce_stream_with_a_reason_and_those_before_it_are_answered() {
    let mut broker = Broker::start().await;
    let small = broker::produce(vec![v1::Record { value: Some("small".into()), ..Default::default() }]);
    let value = Some(vec![0; REQUEST_BYTES_MAX as usize + (64 << 10)].into());
    let large = broker::produce(vec![v1::Record { value, ..Default::default() }]);
    let messages =
        [small, large].map(|request| v1::ProduceStreamRequest { correlation_id: 1, request: Some(request) });
    let mut answers = broker
        .producer()
        .produce_stream(tokio_stream::iter(messages))
        .await
        .expect("the stream begins")
        .into_inner();
    let answer = answers.message().await.expect("the first is answered").expect("an answer");
    assert!(answer.error.is_none(), "{answer:?}");
    let refused = answers.message().await.expect_err("the second is too large");
    assert_eq!(payloads::reason(&refused), "BATCH_TOO_LARGE", "{refused}");
    drop(answers);
    broker.skip(1);
    broker.serves("a message beyond the limit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_every_port_is_survived() {
    let mut broker = Broker::start().await;
    for address in [broker.mqd.grpc, broker.mqd.admin] {
        for bytes in payloads::garbage() {
            let mut stream = TcpStream::connect(address).expect("the port is open");
            stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout can be set");
            let _ = stream.write_all(&bytes);
            let _ = stream.read(&mut [0; 1024]);
        }
    }
    broker.serves("garbage").await;
    assert!(broker.mqd.admin_get("/livez").0.contains("200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_attacks_together_stay_below_the_bound_and_a_good_client_is_served() {
    let mut broker = Broker::start().await;
    let address = broker.mqd.grpc;
    let mut attackers = Vec::new();
    for number in 0..20 {
        attackers.push(read_nothing(address, [0, 1, (1 << 31) - 1][number % 3], 40).await);
        attackers.push(write_slowly(address, 40).await);
        let mut open = Attacker::greet(address, 0).await;
        flood(&mut open, CALLS_MAX as usize, false, |attacker| attacker.call(PRODUCE_STREAM).1).await;
        attackers.push(open);
    }
    let mut bombs = tokio::task::JoinSet::new();
    for (_, request, _) in payloads::bombs().into_iter().cycle().take(32) {
        let mut producer = broker.producer();
        bombs.spawn(async move { producer.produce(request).await.map(drop) });
    }
    for _ in 0..3 {
        broker.serves("all attacks together").await;
    }
    while bombs.join_next().await.is_some() {}
    drop(attackers);
    broker.serves("after all attacks").await;
}
