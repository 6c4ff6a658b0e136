//! One broker put together: its listeners, the broker itself, the gRPC front end, the admin port; and taken apart
//! again in the order that loses nothing.

use crate::admin::{self, Admin};
use crate::config::Config;
use crate::telemetry::LevelSwitch;
use anyhow::{Context, anyhow};
use mq_broker::Broker;
use mq_types::BrokerId;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long the start waits for every partition to be served, before it says that it is ready all the same: one
/// broken partition is no reason to withhold the others.
const SERVING_WAIT: Duration = Duration::from_secs(5);
/// How often it looks.
const SERVING_POLL: Duration = Duration::from_millis(2);
/// How long connections may take to end once the broker has answered everything.
const CONNECTIONS_WAIT: Duration = Duration::from_secs(1);

/// A broker that serves.
pub(crate) struct Running {
    broker: Broker,
    admin: Arc<Admin>,
    grpc_address: SocketAddr,
    admin_address: SocketAddr,
    partition_count: usize,
    start_duration: Duration,
    /// Stops the gRPC front end.
    grpc_stop: CancellationToken,
    grpc: JoinHandle<()>,
    /// Stops the admin port.
    admin_stop: CancellationToken,
}

impl Running {
    /// Binds the ports, recovers the data, and serves.
    ///
    /// # Errors
    /// A port is taken or the broker does not start. Nothing is running then.
    pub(crate) async fn start(config: &Config, switch: LevelSwitch) -> anyhow::Result<Running> {
        // The ports come first: they are what usually is in the way, and recovery can take long.
        let grpc_listener = bind("grpc.listen", config.grpc_listen).await?;
        let admin_listener = bind("admin.listen", config.admin_listen).await?;
        let grpc_address = grpc_listener.local_addr().context("the gRPC listener has no address")?;
        let admin_address = admin_listener.local_addr().context("the admin listener has no address")?;
        // The admin port answers during recovery: alive, not ready.
        let admin_stop = CancellationToken::new();
        let stopping_admin = admin_stop.clone().drop_guard();
        let admin = Arc::new(Admin::new(switch));
        tokio::spawn(admin::serve(admin_listener, Arc::clone(&admin), admin_stop.clone()));

        let begun = Instant::now();
        let broker = Broker::start(broker_options(config, grpc_address)).await?;
        wait_until_serving(&broker).await;
        let start_duration = begun.elapsed();
        admin.started(broker.clone());
        let grpc_stop = CancellationToken::new();
        let server = mq_grpc::Server::new(broker.clone(), grpc_options(config));
        let served = server.serve(grpc_listener, grpc_stop.clone().cancelled_owned());
        let grpc = tokio::spawn(served);
        stopping_admin.disarm();
        Ok(Running {
            partition_count: broker.image().partition_count(),
            broker,
            admin,
            grpc_address,
            admin_address,
            start_duration,
            grpc_stop,
            grpc,
            admin_stop,
        })
    }

    /// Where the API is served.
    pub(crate) fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where the admin port is.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// How many partitions were found.
    pub(crate) fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// How long it took from the locked directory to served partitions.
    pub(crate) fn start_duration(&self) -> Duration {
        self.start_duration
    }

    /// Waits until the front end has ended though nobody asked it to.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.grpc).await {
            Ok(()) => anyhow!("the gRPC front end ended by itself"),
            Err(error) => anyhow!(error).context("the gRPC front end was ended"),
        }
    }

    /// Accepts nothing new, answers what is in flight, closes the logs, and ends the connections; all within this
    /// time.
    ///
    /// # Errors
    /// It did not end cleanly or not in time.
    pub(crate) async fn stop(self, within: Duration) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + within;
        self.admin.stopping();
        self.grpc_stop.cancel();
        // Half of the time is for answers; the rest for the last words on the disk and for connections to end.
        let stopped = tokio::time::timeout_at(deadline, self.broker.stop(within / 2)).await;
        // The broker has ended every call that was waiting. Only a client that does not receive is still there.
        let mut grpc = self.grpc;
        if !grpc.is_finished() && tokio::time::timeout(CONNECTIONS_WAIT, &mut grpc).await.is_err() {
            grpc.abort();
        }
        self.admin_stop.cancel();
        match stopped {
            Ok(result) => result.context("the broker did not stop cleanly"),
            Err(_) => Err(anyhow!(
                "the broker had not stopped after {within:?} (broker.stop_timeout); nothing acknowledged is lost"
            )),
        }
    }
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!(
            "could not listen on {address} ({key}): the port is in use, perhaps by another mqd; stop that, or set {key} \
             to another port (0: one that is free)"
        ),
        _ => anyhow!(
            "could not listen on {address} ({key}): {error}; set {key} to an address of this machine and a port that \
             this user may open"
        ),
    })
}

/// Returns when every partition is served, or has had its time.
async fn wait_until_serving(broker: &Broker) {
    let deadline = Instant::now() + SERVING_WAIT;
    let mut poll = tokio::time::interval(SERVING_POLL);
    loop {
        poll.tick().await;
        let missing = admin::not_serving(broker);
        if missing.is_empty() {
            return;
        }
        if Instant::now() >= deadline {
            let (count, first) = (missing.len(), &missing[0]);
            tracing::warn!(count, first, "not everything is served yet; /readyz names the rest");
            return;
        }
    }
}

fn broker_options(config: &Config, grpc_address: SocketAddr) -> mq_broker::Options {
    let defaults = mq_broker::Options::new(&config.data_dir, BrokerId(config.broker_id));
    let advertised = Some(&config.grpc_advertise).filter(|endpoint| !endpoint.is_empty());
    mq_broker::Options {
        shards: match config.shards {
            0 => defaults.shards,
            shards => u16::try_from(shards).expect("the configuration allows 64"),
        },
        grpc_endpoint: advertised.map_or_else(|| grpc_address.to_string(), Clone::clone),
        peer_endpoint: config.peer_listen.to_string(),
        rack: config.rack.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        controller: mq_broker::controller::Options {
            trash_grace_ms: whole_ms(config.trash_grace),
            partitions_default_count: config.partitions_default_count,
            replication_factor_default: config.replication_factor_default,
            partitions_per_topic_max: config.topic_partitions_max_count,
            partitions_per_cluster_max: config.cluster_partitions_max_count,
            request_bytes_max: config.request_bytes_max,
            ..defaults.controller
        },
        retention_interval_ms: whole_ms(config.retention_interval),
        segment_size_bytes_max: config.segment_bytes,
        preallocate_step_bytes: config.preallocate_bytes,
        cached_bytes_max: config.cached_bytes,
        scrub: mq_broker::ScrubOptions {
            bytes_per_second: config.scrub_bytes_per_second,
            interval_ms: whole_ms(config.scrub_interval),
        },
        limits: mq_broker::Limits {
            produce_bytes_inflight_max: in_memory(config.produce_inflight_bytes_max),
            partition_inflight_bytes_max: in_memory(config.partition_inflight_bytes_max),
            decompressed_bytes_max: in_memory(config.decompressed_bytes_max),
            disk_reserve_bytes: config.disk_reserve_bytes,
            disk_ballast_bytes: config.disk_ballast_bytes,
            ..defaults.limits
        },
        ..defaults
    }
}

fn grpc_options(config: &Config) -> mq_grpc::Options {
    mq_grpc::Options {
        threads_count: mq_grpc::Options::default().threads_count,
        request_bytes_max: in_memory(config.request_bytes_max),
        decompressed_bytes_max: in_memory(config.decompressed_bytes_max),
        answer_bytes_max: in_memory(config.answer_bytes_max),
        produce_timeout_ms_max: whole_ms(config.produce_timeout_max),
        fetch_wait_ms_max: whole_ms(config.fetch_wait_max),
        produce_stream_window_bytes: in_memory(config.produce_stream_window_bytes),
        answers_unread_ms_max: whole_ms(config.answers_unread_max),
        request_partitions_max_count: config.request_partitions_max_count as usize,
        connection_streams_max_count: config.connection_streams_max_count,
        connections_max_count: config.connections_max_count as usize,
        calls_max_count: config.calls_max_count as usize,
        handshake_ms_max: whole_ms(config.handshake_timeout),
        windows_bytes_max: in_memory(config.windows_bytes_max),
        positions_max_count: config.positions_max_count as usize,
        answers_bytes_max: in_memory(config.answers_bytes_max),
    }
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).expect("the configuration allows a year")
}

fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).expect("mq is built for 64-bit systems")
}
