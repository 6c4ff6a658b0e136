//! The admin HTTP port: what is measured, whether this process lives, whether it serves, and how much it logs.
//!
//! It answers from before recovery until after the last answer of a stop. It changes nothing but the log's level.

use crate::config::Level;
use crate::telemetry::LevelSwitch;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use mq_broker::Broker;
use mq_types::QuorumId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// A connection that sends no request, or half of one, is closed.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// A request that is not answered by then is given up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// No connection lives longer: one that takes its answer too slowly must not hold its place for ever.
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(600);
/// The pause after the system could not give a connection (it has no file descriptors left, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 4 << 10;
/// What a connection may keep in memory of a request, in bytes.
const CONNECTION_BUFFER_BYTES_MAX: usize = 64 << 10;
/// Problems that one answer lists.
const PROBLEMS_MAX: usize = 100;
/// The format of `Metrics::encode` (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the answers come from.
pub(crate) struct Admin {
    /// Set once it has started.
    broker: OnceLock<Broker>,
    stopping: AtomicBool,
    switch: LevelSwitch,
}

impl Admin {
    /// Without a broker yet.
    pub(crate) fn new(switch: LevelSwitch) -> Admin {
        Admin { broker: OnceLock::new(), stopping: AtomicBool::new(false), switch }
    }

    /// The broker serves from now on. Called once.
    pub(crate) fn started(&self, broker: Broker) {
        assert!(self.broker.set(broker).is_ok(), "a broker starts once");
    }

    /// The broker stops from now on.
    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// What this broker should serve and does not: quorum 0, and every partition that only it can lead or that it does
/// lead. A partition that waits for other brokers is none of its faults; `mqctl cluster health` tells of those.
pub(crate) fn not_serving(broker: &Broker) -> Vec<String> {
    let mut missing = Vec::new();
    let (image, id) = (broker.image(), broker.broker_id());
    // A broker that serves quorum 0 to nobody but itself publishes no view of it, but what it has committed.
    let led = broker.view(QuorumId::CONTROLLER).is_none_or(|view| view.serving || view.leader.is_some());
    if !led || image.cluster_id.is_empty() {
        missing.push("quorum 0 (the cluster's metadata) has no leader".to_owned());
    }
    let live = image.topics.values().filter(|topic| topic.deleted_at_ms.is_none());
    for (topic, partition) in live.flat_map(|topic| topic.partitions.iter().map(move |at| (topic, at))) {
        let ours = partition.members.replicas.iter().filter(|replica| replica.replica.broker() == id).count();
        let alone = ours > 0 && ours == partition.members.replicas.len();
        let (serving, leads) = match broker.view(partition.quorum) {
            Some(view) => (view.serving, alone || view.leader == Some(view.replica)),
            None => (false, ours > 0),
        };
        if leads && !serving {
            missing.push(format!("{}/{} is not served", topic.name, partition.id));
        }
    }
    missing
}

/// Serves on this listener until it is told to stop.
pub(crate) async fn serve(listener: TcpListener, admin: Arc<Admin>, stopped: CancellationToken) {
    let routes = routes(admin);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("this semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin port could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (routes, stopped) = (routes.clone(), stopped.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_TIMEOUT)
                .max_buf_size(CONNECTION_BUFFER_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
            // What a stranger sends wrongly is his affair: hyper has answered it, and nothing here depends on it.
            tokio::select! {
                _ = tokio::time::timeout(CONNECTION_LIFE_MAX, connection) => {}
                () = stopped.cancelled() => {}
            }
            drop(place);
        });
    }
}

fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/log-level", get(level).put(set_level))
        .fallback(async || (StatusCode::NOT_FOUND, "there are /metrics, /livez, /readyz and /log-level\n"))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(in_time))
        .with_state(admin)
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response(),
    }
}

async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, String) {
    let unready = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why);
    if admin.stopping.load(Ordering::Relaxed) {
        return unready("the broker is stopping\n".to_owned());
    }
    let Some(broker) = admin.broker.get() else {
        return unready("the broker is starting: it recovers its logs\n".to_owned());
    };
    let missing = not_serving(broker);
    if missing.is_empty() {
        // What is served can still be worth a look; it makes no broker unready.
        let findings = broker.health().into_iter();
        let findings = findings.map(|found| format!("{} {}: {}", found.code, found.subject, found.message));
        let lines = std::iter::once("ready".to_owned()).chain(at_most(PROBLEMS_MAX, findings.collect()));
        return (StatusCode::OK, lines.collect::<Vec<_>>().join("\n") + "\n");
    }
    unready(at_most(PROBLEMS_MAX, missing).join("\n") + "\n")
}

/// The first lines, and how many more there are.
fn at_most(lines_max: usize, mut lines: Vec<String>) -> Vec<String> {
    let rest = lines.len().saturating_sub(lines_max);
    lines.truncate(lines_max);
    if rest > 0 {
        lines.push(format!("and {rest} more"));
    }
    lines
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    match admin.broker.get() {
        Some(broker) => ([(header::CONTENT_TYPE, METRICS_TYPE)], broker.metrics().encode()).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the broker is starting\n").into_response(),
    }
}

async fn level(State(admin): State<Arc<Admin>>) -> String {
    format!("{}\n", admin.switch.level().as_str())
}

async fn set_level(State(admin): State<Arc<Admin>>, body: String) -> (StatusCode, String) {
    match body.trim().parse::<Level>() {
        Ok(level) => {
            let before = admin.switch.level();
            admin.switch.set(level.clone());
            tracing::info!(before = before.as_str(), now = level.as_str(), "the log's level was changed");
            (StatusCode::OK, format!("{}\n", level.as_str()))
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{:?} is not a level; {error}\n", body.trim())),
    }
}
