//! What loopback and gRPC can do: a server with the broker's calls, messages and transport settings that stores
//! nothing. Every client request costs here what it costs in the broker before and after the broker's own work.

use crate::payload;
use anyhow::{Context, Result};
use mq_proto::v1;
use mq_proto::v1::consumer_service_server::{ConsumerService, ConsumerServiceServer};
use mq_proto::v1::fetch_stream_request::Action;
use mq_proto::v1::producer_service_server::{ProducerService, ProducerServiceServer};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// The transport settings of the broker.
const FRAME_BYTES: u32 = 256 << 10;
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
const REQUEST_BYTES_MAX: usize = 16 << 20;
/// Answers that may wait for the connection to take them.
const ANSWERS_WAITING_MAX_COUNT: usize = 256;
/// As above, of those that bring records.
const BULK_WAITING_MAX_COUNT: usize = 2;
/// The size of one batch in an answer.
const BATCH_BYTES: usize = 256 << 10;
/// Such batches in one answer: as many as fit 1 MiB.
const ANSWER_BATCHES: u32 = 4;

type Answers<T> = ReceiverStream<Result<T, Status>>;

/// Serves on a port of its own until the benchmark ends; the one request, whatever it says, is answered with where.
///
/// # Errors
/// Loopback has no free port, or the benchmark has ended without closing the pipe.
pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the server's threads")?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).context("loopback has no free port")?;
    let address = listener.local_addr().context("a bound listener has an address")?;
    let server = tonic::transport::Server::builder()
        .max_frame_size(FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_service(ProducerServiceServer::new(StandIn).max_decoding_message_size(REQUEST_BYTES_MAX))
        .add_service(ConsumerServiceServer::new(StandIn))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    runtime.spawn(server);
    crate::helper::serve(|(): ()| -> Result<SocketAddr> { Ok(address) })
}

struct StandIn;

#[tonic::async_trait]
impl ProducerService for StandIn {
    type ProduceStreamStream = Answers<v1::ProduceStreamResponse>;

    async fn produce(
        &self,
        request: Request<v1::ProduceRequest>,
    ) -> Result<Response<v1::ProduceResponse>, Status> {
        let done = acknowledge(request.into_inner(), 0)?;
        Ok(Response::new(v1::ProduceResponse { partitions: vec![done] }))
    }

    async fn produce_stream(
        &self,
        requests: Request<Streaming<v1::ProduceStreamRequest>>,
    ) -> Result<Response<Self::ProduceStreamStream>, Status> {
        let mut requests = requests.into_inner();
        let (answers, receiver) = mpsc::channel(ANSWERS_WAITING_MAX_COUNT);
        tokio::spawn(async move {
            let mut next_offset = 0;
            while let Ok(Some(request)) = requests.message().await {
                let answer = answer(request, &mut next_offset);
                if answers.send(answer).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn init_producer(
        &self,
        _: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        Err(not_measured())
    }
}

#[tonic::async_trait]
impl ConsumerService for StandIn {
    type ReadStream = Answers<v1::ReadResponse>;
    type FetchStreamStream = Answers<v1::FetchStreamResponse>;

    async fn read(&self, _: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let records = payload::records(ANSWER_BATCHES * payload::records_in(BATCH_BYTES));
        let (answers, receiver) = mpsc::channel(BULK_WAITING_MAX_COUNT);
        tokio::spawn(async move {
            let answer = v1::ReadResponse { records, ..Default::default() };
            while answers.send(Ok(answer.clone())).await.is_ok() {}
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn fetch(&self, _: Request<v1::FetchRequest>) -> Result<Response<v1::FetchResponse>, Status> {
        Err(not_measured())
    }

    async fn fetch_stream(
        &self,
        requests: Request<Streaming<v1::FetchStreamRequest>>,
    ) -> Result<Response<Self::FetchStreamStream>, Status> {
        let (answers, receiver) = mpsc::channel(BULK_WAITING_MAX_COUNT);
        tokio::spawn(async move {
            if let Err(ended) = push(requests.into_inner(), &answers).await {
                let _ = answers.send(Err(ended)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn list_offsets(
        &self,
        _: Request<v1::ListOffsetsRequest>,
    ) -> Result<Response<v1::ListOffsetsResponse>, Status> {
        Err(not_measured())
    }
}

fn answer(
    request: v1::ProduceStreamRequest,
    next_offset: &mut i64,
) -> Result<v1::ProduceStreamResponse, Status> {
    let done = acknowledge(request.request.ok_or_else(not_measured)?, *next_offset)?;
    *next_offset += i64::from(done.record_count);
    let response = Some(v1::ProduceResponse { partitions: vec![done] });
    Ok(v1::ProduceStreamResponse { correlation_id: request.correlation_id, response, ..Default::default() })
}

/// Says of a request that it is as durable as was asked for.
fn acknowledge(request: v1::ProduceRequest, base_offset: i64) -> Result<v1::ProducedPartition, Status> {
    let record_count = match mq_types::Batch::decode(request.kafka_batch) {
        Ok(batch) => batch.record_count() as usize,
        Err(_) => request.records.len(),
    };
    Ok(v1::ProducedPartition {
        base_offset,
        record_count: i32::try_from(record_count).map_err(|_| not_measured())?,
        durability: v1::Durability::QuorumFsync.into(),
        ..Default::default()
    })
}

/// The same batches again and again while there is credit.
async fn push(
    mut requests: Streaming<v1::FetchStreamRequest>,
    answers: &mpsc::Sender<Result<v1::FetchStreamResponse, Status>>,
) -> Result<(), Status> {
    let batch = payload::batch(payload::records_in(BATCH_BYTES));
    let batch = batch.map_err(|error| Status::internal(error.to_string()))?.to_bytes();
    let kafka_batches = bytes::Bytes::from(batch.repeat(ANSWER_BATCHES as usize));
    let credit_bytes = i32::try_from(kafka_batches.len()).map_err(|_| not_measured())?;
    let fetched = v1::FetchedPartition { kafka_batches, credit_bytes, ..Default::default() };
    let mut balance_bytes = 0;
    while let Some(request) = requests.message().await? {
        balance_bytes += match request.action {
            Some(Action::Start(start)) => start.credit_bytes,
            Some(Action::Credit(credit)) => credit.bytes,
            _ => return Err(not_measured()),
        };
        while balance_bytes > 0 {
            balance_bytes -= i64::from(credit_bytes);
            let answer = v1::FetchStreamResponse { fetched: Some(fetched.clone()) };
            if answers.send(Ok(answer)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn not_measured() -> Status {
    Status::unimplemented("the stand-in answers only what is measured")
}
