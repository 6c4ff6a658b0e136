//! Stopping: refuse what is new, answer what is in flight, write the last words, end every thread.

use crate::broker::{Broker, Inner};
use crate::inbox::End;
use crate::options::StopError;
use mq_log::PersistError;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the writers may take to close after the shards have ended.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// The threads of a running broker.
#[derive(Default)]
pub(crate) struct Threads {
    pub(crate) shards: Vec<JoinHandle<Result<(), PersistError>>>,
}

impl Broker {
    /// Refuses new requests and sends waiting readers home, answers what is in flight for at most `within`, then
    /// closes the log and ends all threads. What could not be answered in time ends as OUTCOME_UNKNOWN. Once it has
    /// returned `Ok`, the data directory is free; a second call does nothing.
    ///
    /// # Errors
    /// It took too long, or the last words could not be written. Nothing acknowledged is lost by that.
    pub async fn stop(&self, within: Duration) -> Result<(), StopError> {
        let inner = &self.inner;
        let mut threads = inner.threads.lock().await;
        inner.stopping.cancel();
        let Some(running) = threads.take() else { return Ok(()) };
        let deadline = Instant::now() + within;
        inner.inboxes.iter().for_each(|inbox| inbox.end(End::Drain(deadline)));
        // Ticks go on until the shards have ended: they are what makes a shard look at its deadline.
        let joined = tokio::task::spawn_blocking(move || running.join());
        let wait = within.saturating_add(CLOSE_WAIT);
        let result = match tokio::time::timeout(wait, joined).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(StopError::Panicked { name: "stop".to_owned() }),
            Err(_) => Err(StopError::StillBusy { waited_ms: wait.as_millis() }),
        };
        inner.ended.cancel();
        inner.views.clear();
        result
    }
}

impl Threads {
    /// Waits for all of them; the first failure counts.
    pub(crate) fn join(self) -> Result<(), StopError> {
        let joined = self.shards.into_iter().map(|thread| {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            match thread.join() {
                Ok(closed) => closed.map_err(StopError::from),
                Err(_) => Err(StopError::Panicked { name }),
            }
        });
        // All of them, also after a failure.
        let joined: Vec<_> = joined.collect();
        joined.into_iter().collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.ended.cancel();
        self.inboxes.iter().for_each(|inbox| inbox.end(End::Now));
    }
}
