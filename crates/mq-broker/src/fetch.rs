//! Reading: from the published view and the log's reader; record bytes never pass through an engine.
//!
//! The view says what may be read, the reader gives it. A position beyond the view is asked of the engine (a read
//! index), since a leader may have been deposed without knowing it yet.

use crate::api::{self, Error, Reply};
use crate::broker::{Fetched, FoundOffset, Inner, OffsetSpec, RETRY_SOON_MS, Resolved};
use crate::routing;
use mq_engine::View;
use mq_log::{OsDisk, ReadError, Reader};
use mq_types::{Offset, Term};
use std::sync::Arc;
use std::time::Duration;

/// Where a partition begins and ends, as its leader confirmed.
struct Bounds {
    log_start: Offset,
    high_watermark: Offset,
    term: Term,
}

impl Inner {
    pub(crate) async fn fetch(&self, at: &Resolved, from: i64, bytes_max: usize) -> Result<Fetched, Error> {
        let from = self.position(at, from).await?;
        let view = self.serving(at)?;
        let (log_start, until, term) = (view.log_start, view.high_watermark, view.term);
        let bytes_max = bytes_max.min(self.limits.fetch_bytes_max);
        let (batches, next_offset) = match from < until {
            false => (Vec::new(), from),
            true => {
                let read = self.read(at, from, move |reader| reader.read(from, until, bytes_max)).await?;
                (read.batches, read.next_offset)
            }
        };
        assert!(next_offset <= until, "read up to {next_offset}, beyond the high watermark {until}");
        let records = batches.iter().map(|batch| u64::from(batch.record_count())).sum();
        self.metrics.fetched(records, batches.iter().map(|batch| batch.len_bytes() as u64).sum());
        Ok(Fetched { batches, next_offset, term, log_start, high_watermark: until })
    }

    pub(crate) async fn readable_after(
        &self,
        at: &Resolved,
        offset: Offset,
        wait: Duration,
    ) -> Result<(), Error> {
        // Watched before it is looked at, so that no change falls in between.
        let mut images = self.images.watch();
        let before = self.serving(at)?;
        let mut views = self.views.watch(at.quorum).ok_or_else(|| self.not_here(at))?;
        let waiting = async {
            loop {
                let ended = tokio::select! {
                    seen = views.wait_for(|view| worth_a_look(&before, view, offset)) => return seen.is_ok(),
                    () = self.stopping.cancelled() => return true,
                    image = images.changed() => image.is_err(),
                };
                if ended || routing::check_live(&self.images.current(), at).is_err() {
                    return false;
                }
            }
        };
        match tokio::time::timeout(wait, waiting).await {
            Ok(false) => Err(self.not_here(at)),
            Ok(true) | Err(_) => Ok(()),
        }
    }

    pub(crate) async fn find_offset(&self, at: &Resolved, spec: OffsetSpec) -> Result<FoundOffset, Error> {
        let view = self.serving(at)?;
        let found = |offset, term, timestamp_ms, bounds: Bounds| FoundOffset {
            offset,
            term,
            timestamp_ms,
            log_start: bounds.log_start,
            high_watermark: bounds.high_watermark,
        };
        let offset = match spec {
            OffsetSpec::Latest => {
                let end = self.bounds(at).await?;
                return Ok(found(end.high_watermark, end.term, None, end));
            }
            OffsetSpec::TimeMs(time_ms) => {
                let until = self.bounds(at).await?;
                let (end, log_start) = (until.high_watermark, until.log_start);
                let first =
                    self.read(at, log_start, move |reader| reader.offset_for_time(time_ms, end)).await?;
                return Ok(match first {
                    // A batch that begins below the log start is read from there on.
                    Some((offset, ms, term)) => found(offset.max(log_start), term, Some(ms), until),
                    None => found(end, until.term, None, until),
                });
            }
            OffsetSpec::Earliest => view.log_start,
            OffsetSpec::Offset(asked) => self.position(at, asked).await?,
        };
        let view = self.serving(at)?;
        let bounds =
            Bounds { log_start: view.log_start, high_watermark: view.high_watermark, term: view.term };
        if offset >= bounds.high_watermark {
            return Ok(found(offset, bounds.term, None, bounds));
        }
        let meta = self.read(at, offset, move |reader| reader.meta_at(offset)).await?;
        let meta = meta.ok_or(Error::Internal { what: "a committed offset is not in the log" })?;
        Ok(found(offset, meta.term, Some(meta.appended_at_ms), bounds))
    }

    pub(crate) async fn delete_records(
        &self,
        at: &Resolved,
        before: OffsetSpec,
        validate_only: bool,
    ) -> Result<Offset, Error> {
        let before = match before {
            OffsetSpec::Latest => None,
            other => Some(self.find_offset(at, other).await?.offset),
        };
        let request = api::Request::DeleteRecords { quorum: at.quorum, before, validate_only };
        match self.ask_and_wait(at.quorum, request).await? {
            Reply::Deleted { log_start } => Ok(log_start),
            _ => Err(Error::Internal { what: "a deletion was answered by something else" }),
        }
    }

    /// The view of a live partition that is served here.
    fn serving(&self, at: &Resolved) -> Result<View, Error> {
        self.check_running()?;
        let image = self.images.current();
        routing::check_live(&image, at)?;
        let no_leader = Error::NoLeader { retry_after_ms: RETRY_SOON_MS };
        let view = self.views.view(at.quorum).ok_or_else(|| no_leader.clone())?;
        if view.serving {
            return Ok(view);
        }
        match view.leader.map(mq_types::ReplicaId::broker).filter(|leader| *leader != self.meta.broker_id) {
            None => Err(no_leader),
            Some(leader) => {
                let endpoint = image.brokers.get(&leader).map(|info| info.grpc_endpoint.clone());
                Err(Error::NotLeader { leader, endpoint: endpoint.unwrap_or_default(), term: view.term })
            }
        }
    }

    /// A position from which this broker can read, or at its end.
    async fn position(&self, at: &Resolved, asked: i64) -> Result<Offset, Error> {
        let view = self.serving(at)?;
        let out_of_range =
            |log_start, high_watermark| Error::OffsetOutOfRange { asked, log_start, high_watermark };
        let Ok(offset) = u64::try_from(asked).map(Offset) else {
            return Err(out_of_range(view.log_start, view.high_watermark));
        };
        if offset < view.log_start {
            return Err(out_of_range(view.log_start, view.high_watermark));
        }
        if offset <= view.high_watermark {
            return Ok(offset);
        }
        let confirmed = self.bounds(at).await?;
        if offset > confirmed.high_watermark {
            return Err(out_of_range(confirmed.log_start, confirmed.high_watermark));
        }
        match self.serving(at)?.high_watermark >= offset {
            true => Ok(offset),
            false => Err(Error::OffsetNotAvailable { asked: offset, retry_after_ms: RETRY_SOON_MS }),
        }
    }

    /// The bounds as the leader confirms them: at least what was committed before the call.
    async fn bounds(&self, at: &Resolved) -> Result<Bounds, Error> {
        match self.ask_and_wait(at.quorum, api::Request::ReadIndex { quorum: at.quorum }).await {
            Ok(Reply::ReadIndex { log_start, high_watermark, term }) => {
                assert!(
                    log_start <= high_watermark,
                    "log start {log_start}, high watermark {high_watermark}"
                );
                Ok(Bounds { log_start, high_watermark, term })
            }
            Ok(_) => Err(Error::Internal { what: "a read index was answered by something else" }),
            // Asking changes nothing, so there is no outcome that could be unknown.
            Err(Error::OutcomeUnknown { .. }) => Err(Error::NoLeader { retry_after_ms: RETRY_SOON_MS }),
            Err(error) => Err(error),
        }
    }

    /// Reads the log on the blocking pool, when it is this read's turn.
    async fn read<T: Send + 'static>(
        &self,
        at: &Resolved,
        from: Offset,
        read: impl FnOnce(&Reader<OsDisk>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Error> {
        let reader = self.views.reader(at.quorum).ok_or_else(|| self.not_here(at))?;
        let bad_places = Arc::clone(&self.bad_places);
        let turn =
            Arc::clone(&self.fetch_reads).acquire_owned().await.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let done = read(&reader);
            if let Err(ReadError::Corrupt(place)) = &done {
                bad_places.found(&reader, place);
            }
            done
        });
        match done.await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(self.read_failed(at, from, &error)),
            Err(_) => Err(Error::Internal { what: "a read of the log was broken off" }),
        }
    }

    fn read_failed(&self, at: &Resolved, from: Offset, error: &ReadError) -> Error {
        let what = error.to_string();
        match error {
            ReadError::BelowStart { log_start } => {
                let log_start = *log_start;
                let high_watermark = self.views.view(at.quorum).map_or(log_start, |view| view.high_watermark);
                Error::OffsetOutOfRange { asked: from.as_i64(), log_start, high_watermark }
            }
            ReadError::Gone => self.not_here(at),
            ReadError::Corrupt(place) => Error::CorruptLog { offset: place.offset, what },
            ReadError::Io { .. } => {
                tracing::error!(topic = at.topic.name, partition = at.partition, "{what}");
                Error::Internal { what: "the disk refused a read; the broker's log says which file" }
            }
        }
    }

    /// The partition is not here, or not any more.
    fn not_here(&self, at: &Resolved) -> Error {
        let live = routing::check_live(&self.images.current(), at);
        live.err().unwrap_or(Error::NoLeader { retry_after_ms: RETRY_SOON_MS })
    }
}

fn worth_a_look(before: &View, now: &View, offset: Offset) -> bool {
    now.high_watermark > offset
        || (now.leader, now.term, now.serving, now.log_start)
            != (before.leader, before.term, before.serving, before.log_start)
}
