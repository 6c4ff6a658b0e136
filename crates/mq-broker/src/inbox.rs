//! What waits for a shard: filled by everybody, emptied by the shard's thread, all at once.
//!
//! Pushing never blocks, so that no circle of threads can wait for one another (the shard for its writer, the writer
//! for the shard). It is bounded all the same: each request of a client holds one of `requests_max` permits until it
//! is answered, ticks and images replace the one before, offers are dropped when many wait, of bad places in a log a
//! few are told, and everything else answers something that the engine asked for.

use mq_engine::controller::Image;
use mq_engine::{Input, api};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Offers (what may be lost) are dropped when so many things wait.
const WAITING_BEFORE_OFFERS_DROP_MAX: usize = 4096;

/// A request of a client with the way back.
pub(crate) struct Ask {
    pub(crate) request: api::Request,
    pub(crate) answer: oneshot::Sender<api::Outcome>,
    pub(crate) permits: Permits,
}

/// What a request holds until it is answered.
pub(crate) struct Permits {
    pub(crate) _request: OwnedSemaphorePermit,
    pub(crate) _bytes: Option<OwnedSemaphorePermit>,
}

/// How a shard ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Answer what is in flight, but not beyond this moment.
    Drain(Instant),
    /// Now.
    Now,
}

/// All that waited.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) inputs: Vec<Input>,
    pub(crate) asks: Vec<Ask>,
    pub(crate) end: Option<End>,
}

/// One shard's inbox.
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    /// One permit for each request that may be open.
    pub(crate) requests: Arc<Semaphore>,
}

#[derive(Default)]
struct Waiting {
    inputs: Vec<Input>,
    asks: Vec<Ask>,
    tick: bool,
    image: Option<Arc<Image>>,
    end: Option<End>,
    /// The shard's thread sleeps until it is notified.
    asleep: bool,
    /// Nobody empties this any more.
    closed: bool,
}

impl Inbox {
    pub(crate) fn new(requests_max: usize) -> Inbox {
        assert!(requests_max > 0, "a shard takes at least one request at a time");
        Inbox {
            waiting: Mutex::default(),
            filled: Condvar::new(),
            requests: Arc::new(Semaphore::new(requests_max)),
        }
    }

    /// A client's request. When the shard has ended the way back is dropped, which the client sees.
    pub(crate) fn ask(&self, ask: Ask) {
        self.fill(|waiting| waiting.asks.push(ask));
    }

    /// Something that must not be lost.
    pub(crate) fn push(&self, inputs: impl IntoIterator<Item = Input>) {
        self.fill(|waiting| waiting.inputs.extend(inputs));
    }

    /// Something that may be lost.
    pub(crate) fn offer(&self, input: Input) {
        self.fill(|waiting| {
            if waiting.inputs.len() < WAITING_BEFORE_OFFERS_DROP_MAX {
                waiting.inputs.push(input);
            }
        });
    }

    /// Time has passed.
    pub(crate) fn tick(&self) {
        self.fill(|waiting| waiting.tick = true);
    }

    /// The newest image; one that nobody has seen yet is passed over.
    pub(crate) fn image(&self, image: Arc<Image>) {
        self.fill(|waiting| waiting.image = Some(image));
    }

    /// The shard is to end.
    pub(crate) fn end(&self, end: End) {
        self.fill(|waiting| waiting.end = Some(end));
    }

    /// Waits until there is something and takes all of it. A closed inbox says that this is the end.
    pub(crate) fn take(&self) -> Taken {
        let mut waiting = self.lock();
        while waiting.is_empty() {
            waiting.asleep = true;
            waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        Inbox::empty(waiting)
    }

    /// Takes what there is.
    pub(crate) fn take_now(&self) -> Taken {
        Inbox::empty(self.lock())
    }

    fn empty(mut waiting: MutexGuard<'_, Waiting>) -> Taken {
        waiting.asleep = false;
        let mut taken = Taken {
            inputs: std::mem::take(&mut waiting.inputs),
            asks: std::mem::take(&mut waiting.asks),
            end: waiting.end.take(),
        };
        let (image, tick) = (waiting.image.take(), std::mem::take(&mut waiting.tick));
        drop(waiting);
        taken.inputs.extend(image.map(Input::Image));
        taken.inputs.extend(tick.then_some(Input::Tick));
        taken
    }

    /// Drops what waits and all that will come, and ends the shard if it has not ended.
    pub(crate) fn close(&self) {
        self.fill(|waiting| {
            *waiting =
                Waiting { closed: true, end: Some(End::Now), asleep: waiting.asleep, ..Waiting::default() };
        });
    }

    fn fill(&self, put: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        put(&mut waiting);
        // Waking costs a system call, so only a sleeper is woken.
        let wake = std::mem::take(&mut waiting.asleep);
        drop(waiting);
        if wake {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // What is under the lock is whole after each statement, so a panic elsewhere does not spoil it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes an inbox when its shard ends, however it ends: nobody waits for an answer that cannot come.
pub(crate) struct ClosedAtEnd(pub(crate) Arc<Inbox>);

impl Drop for ClosedAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.inputs.is_empty()
            && self.asks.is_empty()
            && !self.tick
            && self.image.is_none()
            && self.end.is_none()
    }
}

#[cfg(test)]
mod tests;
