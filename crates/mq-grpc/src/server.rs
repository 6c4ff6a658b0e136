//! The gRPC server: all services on one port, with the limits that keep strangers from hurting it.

use crate::admin::Admin;
use crate::cluster::Cluster;
use crate::consumer::Consumer;
use crate::group::Group;
use crate::intake::Intake;
use crate::producer::Producer;
use crate::status::add_reason;
use http::{HeaderName, Method};
use mq_broker::Broker;
use mq_proto::v1::admin_service_server::AdminServiceServer;
use mq_proto::v1::cluster_service_server::ClusterServiceServer;
use mq_proto::v1::consumer_service_server::ConsumerServiceServer;
use mq_proto::v1::group_service_server::GroupServiceServer;
use mq_proto::v1::producer_service_server::ProducerServiceServer;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::util::{MapRequestLayer, MapResponseLayer};
use tower_http::cors::{Any, CorsLayer};

/// Limits of the front end. Every one has a unit in its name.
#[derive(Clone, Debug)]
pub struct Options {
    /// The largest request that is decoded, in bytes; 64 KiB on top are allowed for its envelope.
    pub request_bytes_max: usize,
    /// What the records of one batch may come to when decompressed for a reader, in bytes.
    pub decompressed_bytes_max: usize,
    /// The largest answer to a fetch, in bytes, unless one record or batch is larger.
    pub answer_bytes_max: usize,
    /// The longest that a produce waits for its answer, in ms.
    pub produce_timeout_ms_max: u64,
    /// The longest that a fetch waits for records, in ms.
    pub fetch_wait_ms_max: u64,
    /// Bytes in flight on one produce stream.
    pub produce_stream_window_bytes: usize,
    /// How long answers may wait for a client that does not receive, in ms.
    pub answers_unread_ms_max: u64,
    /// Partitions that one request may name.
    pub request_partitions_max_count: usize,
    /// Calls open at once on one connection; further ones wait at the client.
    pub connection_streams_max_count: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            request_bytes_max: 16 << 20,
            decompressed_bytes_max: 128 << 20,
            answer_bytes_max: 3 << 20,
            produce_timeout_ms_max: 30_000,
            fetch_wait_ms_max: 60_000,
            produce_stream_window_bytes: 8 << 20,
            answers_unread_ms_max: 30_000,
            request_partitions_max_count: 10_000,
            connection_streams_max_count: 256,
        }
    }
}

/// Room for what surrounds a request's payload, in bytes.
const ENVELOPE_BYTES: usize = 64 << 10;
/// The receiver's frame size decides throughput: the default of 16 KiB costs half of it.
const FRAME_BYTES: u32 = 256 << 10;
/// So many requests of the largest size may be arriving at the same time; more wait for their turn.
const LARGEST_REQUESTS_ARRIVING_MAX_COUNT: usize = 16;
/// Flow-control window of one stream, in bytes.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
/// Flow-control window of one connection, in bytes.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// Header lists beyond this are refused, in bytes.
const HEADER_LIST_BYTES_MAX: u32 = 8 << 10;
/// Streams that we reset after a client's error, before the connection is closed.
const LOCAL_ERROR_RESETS_MAX_COUNT: usize = 100;
/// Streams reset by the client before we accepted them, before the connection is closed.
const PENDING_ACCEPT_RESETS_MAX_COUNT: usize = 20;
/// A connection without traffic is asked for a sign of life so often.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A connection that gives none for so long is closed.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The gRPC front end of one broker.
pub struct Server {
    broker: Broker,
    options: Arc<Options>,
}

impl Server {
    /// A front end for this broker.
    pub fn new(broker: Broker, options: Options) -> Server {
        Server { broker, options: Arc::new(options) }
    }

    /// Serves on this listener until `stopped` is ready. Then nothing new is accepted, health turns NOT_SERVING, long
    /// polls are answered, streams end with UNAVAILABLE, and it returns when the last connection has ended: a client
    /// that does not receive can delay that, so the caller should not wait for ever. Dropping it cuts streams off.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve(
        self,
        listener: TcpListener,
        stopped: impl Future<Output = ()> + Send,
    ) -> Result<(), tonic::transport::Error> {
        let (broker, options) = (self.broker, self.options);
        let stopping = CancellationToken::new();
        let _cut_off = stopping.clone().drop_guard();
        let decode_bytes_max = options.request_bytes_max + ENVELOPE_BYTES;
        let producer = Producer::new(broker.clone(), options.clone(), stopping.clone());
        let producer = ProducerServiceServer::new(producer).max_decoding_message_size(decode_bytes_max);
        let consumer =
            Consumer { broker: broker.clone(), options: options.clone(), stopping: stopping.clone() };
        let admin = AdminServiceServer::new(Admin { broker: broker.clone(), options: options.clone() });
        let cluster = Cluster { broker, options: options.clone() };
        let (reporter, health_service) = tonic_health::server::health_reporter();
        report(&reporter, ServingStatus::Serving).await;
        let stopped = async move {
            stopped.await;
            stop_serving(reporter).await;
            stopping.cancel();
        };
        let intake = Intake::new(decode_bytes_max, LARGEST_REQUESTS_ARRIVING_MAX_COUNT);
        let meter = move |request: http::Request<tonic::body::Body>| request.map(|body| intake.meter(body));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tonic::transport::Server::builder()
            .accept_http1(true) // grpc-web
            .max_frame_size(FRAME_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(options.connection_streams_max_count)
            .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
            .http2_max_local_error_reset_streams(Some(LOCAL_ERROR_RESETS_MAX_COUNT))
            .http2_max_pending_accept_reset_streams(Some(PENDING_ACCEPT_RESETS_MAX_COUNT))
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .layer(cors())
            .layer(tonic_web::GrpcWebLayer::new())
            .layer(MapResponseLayer::new(add_reason::<tonic::body::Body>))
            .layer(MapRequestLayer::new(meter))
            .add_service(health_service)
            .add_service(reflection().build_v1().expect("our own descriptors are well formed"))
            .add_service(reflection().build_v1alpha().expect("our own descriptors are well formed"))
            .add_service(producer)
            .add_service(ConsumerServiceServer::new(consumer))
            .add_service(admin)
            .add_service(ClusterServiceServer::new(cluster))
            .add_service(GroupServiceServer::new(Group))
            .serve_with_incoming_shutdown(incoming, stopped)
            .await
    }
}

/// What grpc.health.v1 knows: the whole server, and every service.
const HEALTH_OF: [&str; 6] = [
    "",
    ProducerServiceServer::<Producer>::NAME,
    ConsumerServiceServer::<Consumer>::NAME,
    AdminServiceServer::<Admin>::NAME,
    ClusterServiceServer::<Cluster>::NAME,
    GroupServiceServer::<Group>::NAME,
];

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_OF {
        reporter.set_service_status(name, status).await;
    }
}

/// Tells those who watch, and lets go of them: they would hold their connections.
async fn stop_serving(mut reporter: HealthReporter) {
    report(&reporter, ServingStatus::NotServing).await;
    for name in HEALTH_OF {
        reporter.clear_service_status(name).await;
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(mq_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Browsers may call, and may see why a call failed.
fn cors() -> CorsLayer {
    let exposed = [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "mq-reason",
        "mq-retriable",
        "mq-retry-after-ms",
    ];
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::POST, Method::OPTIONS])
        .allow_headers(Any)
        .expose_headers(exposed.map(HeaderName::from_static))
}
