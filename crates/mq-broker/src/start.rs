//! Starting: lock, recover, one engine per shard, and a cluster founded if there was none.

use crate::bad_places::BadPlaces;
use crate::broker::{Broker, Inner};
use crate::data_dir::{DataDir, Meta};
use crate::inbox::Inbox;
use crate::metrics::Metrics;
use crate::options::{Options, StartError};
use crate::routing::Images;
use crate::scrub::Scrub;
use crate::shard::{Open, Shard};
use crate::shutdown::Threads;
use crate::space::Space;
use crate::views::Views;
use crate::writer::{Writer, WritesWith};
use crate::{ticker, trash};
use mq_engine::Engine;
use mq_engine::controller::BrokerInfo;
use mq_log::{OpenError, OsDisk, ShardOpen};
use mq_types::persist::Standing;
use mq_types::{DirectoryId, ShardId};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// How long the controller may take to give its first image.
const FIRST_IMAGE_WAIT: Duration = Duration::from_secs(30);

/// What was found on the disk.
struct Opened {
    data_dir: DataDir,
    disk: OsDisk,
    shards: Vec<ShardOpen<OsDisk>>,
    space: Space,
}

/// What the threads of all shards share besides the broker.
struct Common {
    data_dir: Arc<DataDir>,
    space: Arc<Space>,
    /// Told when a replica has been moved to the trash.
    trashed: Arc<Notify>,
    /// What monotonic time is counted from.
    epoch: Instant,
}

impl Broker {
    /// Locks the data directory, recovers what it holds and starts. A new directory becomes the founder of a cluster
    /// of its own. Must be called on a tokio runtime of several threads, which also carries the broker's background
    /// tasks.
    ///
    /// # Errors
    /// Nothing is running and nobody was served; the message says what to do.
    pub async fn start(options: Options) -> Result<Broker, StartError> {
        options.check()?;
        let on_disk = options.clone();
        let opened = tokio::task::spawn_blocking(move || open(&on_disk));
        let opened = opened.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let data_dir = Arc::new(opened.data_dir);
        let founded = data_dir.meta().founded;
        let broker = assemble(&options, &data_dir, opened.disk, opened.shards, opened.space)?;
        let named = tokio::time::timeout(FIRST_IMAGE_WAIT, named(&broker.inner.images));
        match (named.await, founded) {
            (Ok(()), true) => {}
            // The cluster's name is committed, so quorum 0 is durable: from here on it is never made again.
            (Ok(()), false) => data_dir.set_founded()?,
            (Err(_), true) => {
                tracing::warn!("the controller has given no image yet; serving what is known without it");
            }
            (Err(_), false) => return Err(StartError::NotFounded { waited_s: FIRST_IMAGE_WAIT.as_secs() }),
        }
        let meta = data_dir.meta();
        tracing::info!(broker = %meta.broker_id, cluster = meta.cluster_id, shards = options.shards, "started");
        Ok(broker)
    }
}

/// Waits for an image that says which cluster this is. The very first one, of a quorum 0 not yet durable, does not.
async fn named(images: &Images) {
    let mut image = images.current();
    while image.cluster_id.is_empty() {
        image = images.after(image.revision).await;
    }
}

fn open(options: &Options) -> Result<Opened, StartError> {
    let fresh = Meta {
        cluster_id: uuid::Uuid::new_v4().to_string(),
        broker_id: options.broker_id,
        directory_id: DirectoryId(uuid::Uuid::new_v4().into_bytes()),
        founded: false,
    };
    let data_dir = DataDir::open(&options.data_dir, &fresh)?;
    let disk = OsDisk::new(data_dir.path());
    let log = mq_log::Options {
        segment_size_bytes_max: options.segment_size_bytes_max,
        preallocate_step_bytes: options.preallocate_step_bytes,
        // Rounded up, as 0 says something else.
        cached_tail_bytes_max: options.cached_bytes_max.div_ceil(u64::from(options.shards)),
        ..mq_log::Options::new(options.shards, rand::random())
    };
    let in_directory = || data_dir.path().to_owned();
    // Before the log is opened: that takes a little space, and the ballast may be all that there is.
    let space = Space::open(&disk, &options.limits)
        .map_err(|error| StartError::Space { path: in_directory(), error })?;
    let shards = mq_log::open(disk.clone(), log).map_err(|error| match &error {
        OpenError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
            StartError::DiskFull { path: in_directory(), error }
        }
        _ => StartError::Log { path: in_directory(), error },
    })?;
    assert_eq!(shards.len(), usize::from(options.shards), "a store for every shard");
    Ok(Opened { data_dir, disk, shards, space })
}

fn assemble(
    options: &Options,
    data_dir: &Arc<DataDir>,
    disk: OsDisk,
    shards: Vec<ShardOpen<OsDisk>>,
    space: Space,
) -> Result<Broker, StartError> {
    let limits = options.limits;
    let (views, images) = (Arc::new(Views::new()), Arc::new(Images::new()));
    let metrics = Metrics::new(Arc::clone(&views), Arc::clone(&images), limits.metrics_partitions_max);
    let inboxes = shards.iter().map(|_| Arc::new(Inbox::new(limits.shard_requests_max)));
    let inboxes: Arc<[_]> = inboxes.collect();
    let metrics = Arc::new(metrics);
    let bad_places = Arc::new(BadPlaces {
        data_dir: data_dir.path().to_owned(),
        inboxes: Arc::clone(&inboxes),
        views: Arc::clone(&views),
        images: Arc::clone(&images),
        metrics: Arc::clone(&metrics),
        known: Default::default(),
    });
    let scrub = Scrub {
        views: Arc::clone(&views),
        bad_places: Arc::clone(&bad_places),
        metrics: Arc::clone(&metrics),
    };
    let mut broker = Inner {
        meta: data_dir.meta().clone(),
        limits,
        inboxes,
        views,
        images,
        metrics,
        bad_places,
        produce_bytes: Arc::new(Semaphore::new(
            limits.produce_bytes_inflight_max.min(Semaphore::MAX_PERMITS),
        )),
        fetch_reads: Arc::new(Semaphore::new(limits.fetch_reads_max)),
        stopping: CancellationToken::new(),
        ended: CancellationToken::new(),
        threads: Mutex::new(None),
    };
    let common = Common {
        data_dir: Arc::clone(data_dir),
        space: Arc::new(space),
        trashed: Arc::new(Notify::new()),
        epoch: Instant::now(),
    };
    let mut threads = Threads::default();
    for (shard, found) in (0..).map(ShardId).zip(shards) {
        start_shard(options, &broker, &common, (shard, found), &mut threads)?;
    }
    broker.threads = Mutex::new(Some(threads));
    tokio::spawn(ticker::run(Arc::clone(&broker.inboxes), broker.ended.clone()));
    tokio::spawn(trash::run(disk, common.trashed, broker.ended.clone()));
    tokio::spawn(Arc::new(scrub).run(options.scrub, broker.stopping.clone()));
    Ok(Broker { inner: Arc::new(broker) })
}

/// One engine with its store. If a later shard fails to start, dropping `broker` ends the threads of this one.
fn start_shard(
    options: &Options,
    broker: &Inner,
    common: &Common,
    (shard, found): (ShardId, ShardOpen<OsDisk>),
    threads: &mut Threads,
) -> Result<(), StartError> {
    for replica in &found.recovered {
        let reader = found.store.reader(replica.quorum).expect("recovery found this replica");
        broker.views.set_reader(replica.quorum, reader);
        if replica.standing == Standing::Damaged {
            broker.bad_places.on_record(replica.quorum, replica.replica);
        }
    }
    let engine = Engine::new(engine_options(options, common.data_dir.meta(), shard), found.recovered)?;
    let with = WritesWith {
        views: Arc::clone(&broker.views),
        metrics: Arc::clone(&broker.metrics),
        space: Arc::clone(&common.space),
        trashed: Arc::clone(&common.trashed),
    };
    let shard_thread = Shard {
        shard,
        engine,
        inboxes: Arc::clone(&broker.inboxes),
        writer: Writer::new(shard, found.store, with),
        fatal: Arc::clone(&options.fatal),
        views: Arc::clone(&broker.views),
        images: Arc::clone(&broker.images),
        metrics: Arc::clone(&broker.metrics),
        bad_places: Arc::clone(&broker.bad_places),
        runtime: Handle::current(),
        epoch: common.epoch,
        open: Open::default(),
    };
    // The directory stays locked until the last shard has ended, whatever becomes of the handles.
    let locked = Arc::clone(&common.data_dir);
    threads.shards.push(spawn(format!("shard-{shard}"), move || {
        let result = shard_thread.run();
        drop(locked);
        result
    })?);
    Ok(())
}

fn engine_options(options: &Options, meta: &Meta, shard: ShardId) -> mq_engine::Options {
    mq_engine::Options {
        broker: meta.broker_id,
        directory: meta.directory_id,
        shard,
        shards: options.shards,
        seed: rand::random(),
        info: BrokerInfo {
            directory: meta.directory_id,
            grpc_endpoint: options.grpc_endpoint.clone(),
            peer_endpoint: options.peer_endpoint.clone(),
            rack: options.rack.clone(),
            version: options.version.clone(),
        },
        found_cluster: (!meta.founded).then(|| meta.cluster_id.clone()),
        controller: options.controller,
        retention_interval_ms: options.retention_interval_ms,
        partition_inflight_bytes_max: options.limits.partition_inflight_bytes_max,
    }
}

fn spawn<T: Send + 'static>(
    name: String,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    let spawned: io::Result<_> = std::thread::Builder::new().name(name.clone()).spawn(run);
    spawned.map_err(|error| StartError::Thread { name, error })
}
