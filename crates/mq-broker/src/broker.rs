//! The one handle that every front end calls: async, bounded, cheap to clone.
//!
//! Front ends translate words and hold no state; what is asked here has the same meaning in every protocol.

use crate::api::{self, Error};
use crate::bad_places::BadPlaces;
use crate::data_dir::Meta;
use crate::health::{self, Finding};
use crate::inbox::{Ask, Inbox, Permits};
use crate::metrics::Metrics;
use crate::options::Limits;
use crate::produce::ProduceTicket;
use crate::routing::{self, Images};
use crate::shutdown::Threads;
use crate::views::Views;
use mq_engine::View;
use mq_engine::controller::{self, Image, Topic};
use mq_types::batch::Batch;
use mq_types::{BrokerId, Offset, QuorumId, Term, TopicId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore, TryAcquireError, oneshot};
use tokio_util::sync::CancellationToken;

/// When a client should try again after something that passes quickly.
pub(crate) const RETRY_SOON_MS: u32 = 100;
/// When a client should try again while the broker is stopping.
const RETRY_STOPPING_MS: u32 = 1_000;

/// A partition as a client names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name; empty: the topic with the id.
    pub topic: String,
    /// The partition's number; negative numbers are refused as unknown.
    pub partition: i64,
    /// Whichever topic has the name now, or only the one with this id.
    pub topic_id: Option<TopicId>,
}

/// A partition that exists: names have become ids.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The topic.
    pub topic: Arc<Topic>,
    /// The partition's number.
    pub partition: u32,
    /// Its quorum.
    pub quorum: QuorumId,
}

/// A batch to append.
#[derive(Debug)]
pub struct Produce {
    /// Where to.
    pub to: TopicPartition,
    /// The batch as it came, not yet validated.
    pub batch: Batch,
    /// When to answer.
    pub acks: api::Acks,
    /// Append only if this is the partition's next offset.
    pub expected_next_offset: Option<Offset>,
    /// How long to wait for room, then OVERLOADED, and for the answer, then OUTCOME_UNKNOWN. At most a day in all.
    pub timeout: Duration,
}

/// What to do when the bounded inbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Fail with OVERLOADED (unary calls).
    Refuse,
    /// Wait for room (pipelined streams, which thereby stop reading).
    Wait,
}

/// A point in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// This offset; it must lie within the log, or at its end.
    Offset(i64),
    /// The first record appended at or after this time, in ms since the Unix epoch; none: as `Latest`.
    TimeMs(i64),
    /// The log start.
    Earliest,
    /// The high watermark, confirmed by the leader.
    Latest,
}

/// A point that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset.
    pub offset: Offset,
    /// The term of the record there; at the end of the log, the leader's.
    pub term: Term,
    /// When the record there was appended, in ms since the Unix epoch, if there is one.
    pub timestamp_ms: Option<i64>,
    /// The first offset still kept.
    pub log_start: Offset,
    /// The first offset not yet committed.
    pub high_watermark: Offset,
}

/// What one read of a partition gave.
#[derive(Debug)]
pub struct Fetched {
    /// Whole batches; the first may begin before the offset asked for.
    pub batches: Vec<Batch>,
    /// Where to go on.
    pub next_offset: Offset,
    /// The leader's term.
    pub term: Term,
    /// The first offset still kept.
    pub log_start: Offset,
    /// The first offset not yet committed.
    pub high_watermark: Offset,
}

/// One running broker; clones are handles of the same one. When the last one goes without [`Broker::stop`], the broker
/// ends at once, as after a crash: nothing that was acknowledged is lost.
#[derive(Clone)]
pub struct Broker {
    pub(crate) inner: Arc<Inner>,
}

/// What all handles share.
pub(crate) struct Inner {
    pub(crate) meta: Meta,
    pub(crate) limits: Limits,
    pub(crate) inboxes: Arc<[Arc<Inbox>]>,
    pub(crate) views: Arc<Views>,
    pub(crate) images: Arc<Images>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) bad_places: Arc<BadPlaces>,
    /// One permit for each byte of a batch that was taken and not yet answered.
    pub(crate) produce_bytes: Arc<Semaphore>,
    /// One permit for each read of the log that runs.
    pub(crate) fetch_reads: Arc<Semaphore>,
    /// New requests are refused and waiting readers sent home.
    pub(crate) stopping: CancellationToken,
    /// Background tasks end.
    pub(crate) ended: CancellationToken,
    pub(crate) threads: Mutex<Option<Threads>>,
}

impl Broker {
    /// This broker's id.
    pub fn broker_id(&self) -> BrokerId {
        self.inner.meta.broker_id
    }

    /// The metadata as this broker knows it now.
    pub fn image(&self) -> Arc<Image> {
        self.inner.images.current()
    }

    /// Waits until the image's revision passes `seen`.
    pub async fn image_after(&self, seen: mq_types::Index) -> Arc<Image> {
        self.inner.images.after(seen).await
    }

    /// Finds a partition by name (and id).
    ///
    /// # Errors
    /// There is no such topic or partition, or the topic has another id.
    pub fn resolve(&self, to: &TopicPartition) -> Result<Resolved, Error> {
        routing::resolve(&self.inner.images.current(), to)
    }

    /// What this broker knows of a partition now; `None`: it holds no replica of it.
    pub fn view(&self, quorum: QuorumId) -> Option<View> {
        self.inner.views.view(quorum)
    }

    /// Validates and hands over a batch. Batches handed over one after the other keep their order per partition.
    ///
    /// # Errors
    /// Nothing was appended, and nothing will be.
    pub async fn produce(&self, produce: Produce, when_full: WhenFull) -> Result<ProduceTicket, Error> {
        self.observe(self.inner.produce(produce, when_full).await)
    }

    /// Reads committed batches from `from` on, at once (possibly none when `from` is the high watermark).
    ///
    /// # Errors
    /// The position is out of range, nobody serves it here, or the stored log is corrupt there.
    pub async fn fetch(&self, at: &Resolved, from: i64, bytes_max: usize) -> Result<Fetched, Error> {
        self.observe(self.inner.fetch(at, from, bytes_max).await)
    }

    /// Waits until the partition's high watermark is above `offset` (or its leadership or log start changes), at most
    /// `wait`. Returns at once when the broker is stopping.
    ///
    /// # Errors
    /// The partition is not here, or not any more.
    pub async fn readable_after(&self, at: &Resolved, offset: Offset, wait: Duration) -> Result<(), Error> {
        self.observe(self.inner.readable_after(at, offset, wait).await)
    }

    /// Finds a point in a partition.
    ///
    /// # Errors
    /// As for [`Broker::fetch`].
    pub async fn find_offset(&self, at: &Resolved, spec: OffsetSpec) -> Result<FoundOffset, Error> {
        self.observe(self.inner.find_offset(at, spec).await)
    }

    /// Moves a partition's log start up to `before` and answers where it is now (with `validate_only`: where it would
    /// be).
    ///
    /// # Errors
    /// As for [`Broker::fetch`]; or the outcome is unknown.
    pub async fn delete_records(
        &self,
        at: &Resolved,
        before: OffsetSpec,
        validate_only: bool,
    ) -> Result<Offset, Error> {
        self.observe(self.inner.delete_records(at, before, validate_only).await)
    }

    /// Creates, alters, adds partitions, deletes, restores. The answer to what makes partitions waits (bounded) until
    /// those of this broker are served.
    ///
    /// # Errors
    /// What the controller says; or the outcome is unknown.
    pub async fn control(&self, request: controller::Request) -> Result<controller::Reply, Error> {
        self.observe(self.inner.control(request).await)
    }

    /// Draws a topic id.
    pub fn new_topic_id(&self) -> TopicId {
        TopicId(uuid::Uuid::new_v4().into_bytes())
    }

    /// What is measured.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// What is not as it should be on this broker.
    pub fn health(&self) -> Vec<Finding> {
        let inner = &self.inner;
        let shards = u16::try_from(inner.inboxes.len()).expect("options allow no more shards");
        health::check(
            inner.meta.broker_id,
            shards,
            &inner.images.current(),
            &inner.views,
            &inner.metrics,
            &inner.bad_places,
        )
    }

    /// A front end refused a request for this reason before it asked for anything: it counts like any other failure.
    pub fn refused(&self, error: &Error) {
        self.inner.metrics.failed(error.code());
    }

    fn observe<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.inspect_err(|error| self.inner.metrics.failed(error.code()))
    }
}

impl Inner {
    /// Refuses whatever comes while the broker stops.
    pub(crate) fn check_running(&self) -> Result<(), Error> {
        match self.stopping.is_cancelled() {
            true => Err(Error::NoLeader { retry_after_ms: RETRY_STOPPING_MS }),
            false => Ok(()),
        }
    }

    pub(crate) fn inbox(&self, quorum: QuorumId) -> &Arc<Inbox> {
        let shards = u16::try_from(self.inboxes.len()).expect("options allow no more shards");
        &self.inboxes[usize::from(quorum.shard(shards).0)]
    }

    /// Takes what a request must hold; `bytes` is the size of its batch, 0 if it has none.
    pub(crate) async fn permits(
        &self,
        quorum: QuorumId,
        bytes: usize,
        when_full: WhenFull,
    ) -> Result<Permits, Error> {
        let bytes_max = self.limits.produce_bytes_inflight_max;
        // A batch larger than the whole budget gets all of it: it may pass, but alone.
        let bytes = u32::try_from(bytes.min(bytes_max)).unwrap_or(u32::MAX);
        let what = || format!("{bytes_max} bytes of batches in flight");
        let bytes = match bytes {
            0 => None,
            _ => Some(acquire(&self.produce_bytes, bytes, when_full, what).await?),
        };
        let what = || format!("{} requests in flight in one shard", self.limits.shard_requests_max);
        let request = acquire(&self.inbox(quorum).requests, 1, when_full, what).await?;
        Ok(Permits { _request: request, _bytes: bytes })
    }

    /// Hands a request over; the answer comes on the channel, which closes if the shard ends first.
    pub(crate) fn ask(
        &self,
        quorum: QuorumId,
        request: api::Request,
        permits: Permits,
    ) -> oneshot::Receiver<api::Outcome> {
        let (answer, answered) = oneshot::channel();
        self.inbox(quorum).ask(Ask { request, answer, permits });
        answered
    }

    /// Asks and waits, for a request without a timeout of its own.
    pub(crate) async fn ask_and_wait(&self, quorum: QuorumId, request: api::Request) -> api::Outcome {
        self.check_running()?;
        let permits = self.permits(quorum, 0, WhenFull::Refuse).await?;
        let answered = self.ask(quorum, request, permits);
        match tokio::time::timeout(self.limits.request_timeout(), answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Error::OutcomeUnknown { why: "the broker stopped before it could answer" }),
            Err(_) => Err(Error::OutcomeUnknown { why: "there was no answer in time" }),
        }
    }
}

async fn acquire(
    semaphore: &Arc<Semaphore>,
    permits: u32,
    when_full: WhenFull,
    what: impl FnOnce() -> String,
) -> Result<tokio::sync::OwnedSemaphorePermit, Error> {
    let acquired = match Arc::clone(semaphore).try_acquire_many_owned(permits) {
        Err(TryAcquireError::NoPermits) if when_full == WhenFull::Wait => {
            Arc::clone(semaphore).acquire_many_owned(permits).await.ok()
        }
        acquired => acquired.ok(),
    };
    acquired.ok_or_else(|| Error::Overloaded { what: what(), retry_after_ms: RETRY_SOON_MS })
}
