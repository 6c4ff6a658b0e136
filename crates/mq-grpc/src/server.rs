//! The gRPC server: all services on one port, with the limits that keep strangers from hurting it.

use crate::admin::Admin;
use crate::calls::Calls;
use crate::cluster::Cluster;
use crate::connections::{Connection, Connections};
use crate::consumer::Consumer;
use crate::group::Group;
use crate::intake::Intake;
use crate::outlet::Outlet;
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
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::ServiceBuilder;
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
    /// Connections open at once; further ones are closed as soon as they are accepted.
    pub connections_max_count: usize,
    /// Threads that connections are served on, each connection on one; 0: on the caller's runtime. Default: the cores.
    pub threads_count: usize,
    /// Calls open at once on all connections, beyond the first four of each; further ones are refused.
    pub calls_max_count: usize,
    /// How long a new connection may take to say what it speaks, in ms.
    pub handshake_ms_max: u64,
    /// What all connections together may send ahead of being read, beyond 64 KiB each, in bytes.
    pub windows_bytes_max: usize,
    /// Partitions that all open reads together follow, beyond the first sixteen of each connection; further ones are
    /// refused.
    pub positions_max_count: usize,
    /// Bytes of answers that were read from the log and not yet sent.
    pub answers_bytes_max: usize,
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
            connections_max_count: 1_000,
            threads_count: std::thread::available_parallelism().map_or(1, usize::from),
            calls_max_count: 4_096,
            handshake_ms_max: 10_000,
            windows_bytes_max: 256 << 20,
            positions_max_count: 50_000,
            answers_bytes_max: 256 << 20,
        }
    }
}

/// Room for what surrounds a request's payload, in bytes.
const ENVELOPE_BYTES: usize = 64 << 10;
/// So many requests of the largest size may be arriving at the same time; more wait for their turn.
const LARGEST_REQUESTS_ARRIVING_MAX_COUNT: usize = 16;

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
    pub async fn serve(self, listener: TcpListener, stopped: impl Future<Output = ()> + Send) {
        let (broker, options) = (self.broker, self.options);
        let stopping = CancellationToken::new();
        let _cut_off = stopping.clone().drop_guard();
        let decode_bytes_max = options.request_bytes_max + ENVELOPE_BYTES;
        let producer = Producer::new(broker.clone(), options.clone(), stopping.clone());
        let producer = ProducerServiceServer::new(producer).max_decoding_message_size(decode_bytes_max);
        let consumer =
            Consumer { broker: broker.clone(), options: options.clone(), stopping: stopping.clone() };
        let admin = AdminServiceServer::new(Admin { broker: broker.clone(), options: options.clone() });
        let cluster = Cluster { broker: broker.clone(), options: options.clone() };
        let (reporter, health_service) = tonic_health::server::health_reporter();
        report(&reporter, ServingStatus::Serving).await;
        let routes = Routes::new(health_service)
            .add_service(reflection().build_v1().expect("our own descriptors are well formed"))
            .add_service(reflection().build_v1alpha().expect("our own descriptors are well formed"))
            .add_service(producer)
            .add_service(ConsumerServiceServer::new(consumer))
            .add_service(admin)
            .add_service(ClusterServiceServer::new(cluster))
            .add_service(GroupServiceServer::new(Group))
            .prepare();
        let outlet =
            Arc::new(Outlet::new(options.answers_bytes_max, decode_bytes_max, options.positions_max_count));
        let intake = Intake::new(decode_bytes_max, LARGEST_REQUESTS_ARRIVING_MAX_COUNT, broker.clone());
        let (refusing, counting) = (broker.clone(), broker);
        let (calls_max, outlet_of_calls) = (options.calls_max_count, Arc::clone(&outlet));
        let calls = ServiceBuilder::new()
            .layer_fn(move |inner| {
                Calls::new(inner, calls_max, Arc::clone(&outlet_of_calls), counting.clone())
            })
            .layer(cors())
            .layer(tonic_web::GrpcWebLayer::new())
            .map_response(move |response: http::Response<tonic::body::Body>| add_reason(&refusing, response))
            .map_request(move |request: http::Request<tonic::body::Body>| meter(&intake, request))
            .service(routes);
        let stopped = async move {
            stopped.await;
            stop_serving(reporter).await;
            stopping.cancel();
        };
        let requests_share_bytes = Intake::share_bytes(decode_bytes_max, LARGEST_REQUESTS_ARRIVING_MAX_COUNT);
        Connections::new(&options, outlet, requests_share_bytes).serve(listener, calls, stopped).await;
    }
}

/// The request with a body that is read only as far as the budget allows.
fn meter(intake: &Intake, request: http::Request<tonic::body::Body>) -> http::Request<tonic::body::Body> {
    let share = Arc::clone(&Connection::of(&request).requests_share);
    let holds = request.uri().path().ends_with("/ProduceStream");
    request.map(|body| intake.meter(body, share, holds))
}

/// What grpc.health.v1 knows: the whole server, and every service.
const HEALTH_OF: [&str; 5] = [
    "",
    ProducerServiceServer::<Producer>::NAME,
    ConsumerServiceServer::<Consumer>::NAME,
    AdminServiceServer::<Admin>::NAME,
    ClusterServiceServer::<Cluster>::NAME,
];
/// Known, but not built.
const NOT_SERVED: &str = GroupServiceServer::<Group>::NAME;

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_OF {
        reporter.set_service_status(name, status).await;
    }
    reporter.set_service_status(NOT_SERVED, ServingStatus::NotServing).await;
}

/// Tells those who watch, and lets go of them: they would hold their connections.
async fn stop_serving(mut reporter: HealthReporter) {
    report(&reporter, ServingStatus::NotServing).await;
    for name in HEALTH_OF.into_iter().chain([NOT_SERVED]) {
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
