//! The byte budget of answers: room is taken before records are read, and given back when the last byte of the answer
//! has gone into the socket, so that clients who ask and do not receive cannot fill the memory.
//!
//! A connection has a share of it only. Where even that is not enough, the connections whose answers have waited
//! longest are closed; as long as nobody else needs the room, a reader may pause for as long as it likes.

use crate::connections::Connection;
use crate::status::refused;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use mq_broker::Broker;
use mq_broker::api::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::Status;

/// An answer is there twice for a moment: as it was read and as it is sent.
pub(crate) const COPIES: usize = 2;
/// A connection may have this part of the budget.
const SHARES: usize = 8;
/// Who has waited so long for room has others looked at.
const PATIENCE: Duration = Duration::from_secs(1);
/// An answer that was not received in this time makes its connection one that may be closed.
const STALLED_AFTER: Duration = Duration::from_secs(3);
/// A long poll that finds no room for its answer in this time is told so.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// When to try again after that, in ms.
const RETRY_AFTER_MS: u32 = 1_000;

/// The budget of a whole server.
#[derive(Debug)]
pub(crate) struct Outlet {
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    /// The most that one connection gets.
    share_bytes: usize,
    /// Partitions that reads may follow, beyond those of each connection's own.
    positions: Arc<Semaphore>,
    positions_max: usize,
    connections: Mutex<Vec<Weak<Connection>>>,
}

impl Outlet {
    /// So many bytes. The largest answer that there can be must fit into a connection's share.
    pub(crate) fn new(bytes_max: usize, answer_bytes_max: usize, positions_max: usize) -> Outlet {
        let share_bytes = (bytes_max / SHARES).max(answer_bytes_max * COPIES);
        let bytes_max = bytes_max.max(share_bytes).min(Semaphore::MAX_PERMITS);
        let share_bytes = share_bytes.min(u32::MAX as usize);
        Outlet {
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
            share_bytes,
            positions: Arc::new(Semaphore::new(positions_max)),
            positions_max,
            connections: Mutex::default(),
        }
    }

    pub(crate) fn share_bytes(&self) -> usize {
        self.share_bytes
    }

    /// A connection that will be looked at when there is no room.
    pub(crate) fn add(&self, connection: &Arc<Connection>) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.len() == connections.capacity() {
            connections.retain(|connection| connection.strong_count() > 0);
        }
        connections.push(Arc::downgrade(connection));
    }

    /// Closes the connections whose answers have waited longest, until half of the budget is free again.
    fn close_stalled(&self) {
        let now = Instant::now();
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut stalled: Vec<_> = connections
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|connection| !connection.cut.is_cancelled())
            .filter_map(|connection| Some((connection.oldest_answer()?, connection)))
            .filter(|(since, _)| now.duration_since(*since) >= STALLED_AFTER)
            .collect();
        stalled.sort_by_key(|(since, _)| *since);
        let mut free_bytes = self.bytes.available_permits();
        for (since, connection) in stalled {
            if free_bytes >= self.bytes_max / 2 {
                break;
            }
            let held_bytes = self.share_bytes - connection.share.available_permits();
            free_bytes += held_bytes;
            tracing::warn!(
                client = %connection.address,
                held_bytes,
                waited_ms = now.duration_since(since).as_millis(),
                "a connection is closed: it does not receive its answers, and others need the room"
            );
            connection.cut.cancel();
        }
    }
}

/// What one call answers with: room from the budget, bound to the bytes that are sent.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    outlet: Arc<Outlet>,
    connection: Arc<Connection>,
    /// Room of messages that are on their way into the body.
    handed_over: Arc<Mutex<Vec<Room>>>,
}

impl Answers {
    pub(crate) fn new(outlet: Arc<Outlet>, connection: Arc<Connection>) -> Answers {
        Answers { outlet, connection, handed_over: Arc::default() }
    }

    /// Of the call that this request belongs to.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Answers {
        request.extensions().get::<Answers>().expect("every call comes through the layer of calls").clone()
    }

    /// Waits for room of this many bytes, or for a whole share if that is less. Who has some and needs more gives back
    /// what it has first: nobody waits with room in hand.
    pub(crate) async fn room(&self, bytes: usize) -> Room {
        let bytes = bytes.min(self.outlet.share_bytes);
        let permits = u32::try_from(bytes).expect("a share has 32 bits");
        let take = |of: &Arc<Semaphore>| Arc::clone(of).acquire_many_owned(permits);
        let share = take(&self.connection.share).await.expect("the semaphore is never closed");
        let mut turn = std::pin::pin!(take(&self.outlet.bytes));
        let whole = loop {
            tokio::select! {
                whole = &mut turn => break whole.expect("the semaphore is never closed"),
                () = tokio::time::sleep(PATIENCE) => self.outlet.close_stalled(),
            }
        };
        let name = (bytes > 0).then(|| self.connection.answer_begins());
        Room { share, whole, name, connection: Arc::clone(&self.connection) }
    }

    /// Room of this many bytes if there is some now, for answers that are small and come all the time: it does not make
    /// its connection one that receives nothing, however long it is held.
    pub(crate) fn room_now(&self, bytes: usize) -> Option<Room> {
        let permits = u32::try_from(bytes).expect("small answers have 32 bits");
        let share = Arc::clone(&self.connection.share).try_acquire_many_owned(permits).ok()?;
        let whole = Arc::clone(&self.outlet.bytes).try_acquire_many_owned(permits).ok()?;
        Some(Room { share, whole, name: None, connection: Arc::clone(&self.connection) })
    }

    /// As [`Answers::room`], but not for ever.
    ///
    /// # Errors
    /// There was none in all the time that a long poll waits.
    pub(crate) async fn room_in_time(&self, bytes: usize) -> Result<Room, Error> {
        tokio::time::timeout(WAIT_MAX, self.room(bytes)).await.map_err(|_| {
            let what = format!("had no room for an answer for {} ms", WAIT_MAX.as_millis());
            Error::Overloaded { what, retry_after_ms: RETRY_AFTER_MS }
        })
    }

    /// Takes places for so many partitions more that this call follows.
    ///
    /// # Errors
    /// There are not so many left.
    pub(crate) fn follow(&self, count: usize, positions: &mut Positions) -> Result<(), Error> {
        let Ok(permits @ 1..) = u32::try_from(count) else { return Ok(()) };
        let own = Arc::clone(&self.connection.positions_of_own).try_acquire_many_owned(permits);
        let taken = own.or_else(|_| Arc::clone(&self.outlet.positions).try_acquire_many_owned(permits));
        positions.0.push(taken.map_err(|_| {
            let what =
                format!("follows {} partitions for its readers, all that it can", self.outlet.positions_max);
            Error::Overloaded { what, retry_after_ms: RETRY_AFTER_MS }
        })?);
        Ok(())
    }

    /// A message goes into the body now, and what it holds goes with it.
    pub(crate) fn hand_over(&self, room: Room) {
        self.lock().push(room);
    }

    /// The body of the answer: its bytes give the room back once they were sent, and its end the place of the call.
    pub(crate) fn bind(self, body: tonic::body::Body, place: OwnedSemaphorePermit) -> tonic::body::Body {
        tonic::body::Body::new(Bound { body, answers: self, _place: place })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Room>> {
        self.handed_over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places for the partitions that a call follows; given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Positions(Vec<OwnedSemaphorePermit>);

impl Positions {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(OwnedSemaphorePermit::num_permits).sum()
    }
}

/// Room that was taken; given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    share: OwnedSemaphorePermit,
    whole: OwnedSemaphorePermit,
    /// Under which the connection knows it; `None`: it holds nothing.
    name: Option<(Instant, u64)>,
    connection: Arc<Connection>,
}

impl Room {
    /// Whether an answer that holds so many bytes may use it: one that is larger than a whole share may use that.
    pub(crate) fn fits(&self, bytes: usize, answers: &Answers) -> bool {
        bytes <= self.whole.num_permits() || self.whole.num_permits() == answers.outlet.share_bytes
    }

    /// Gives back what is beyond this many bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let surplus = self.whole.num_permits().saturating_sub(bytes);
        drop(self.share.split(surplus));
        drop(self.whole.split(surplus));
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(name) = self.name {
            self.connection.answer_ended(name);
        }
    }
}

/// The body of an answer.
struct Bound {
    body: tonic::body::Body,
    answers: Answers,
    _place: OwnedSemaphorePermit,
}

/// Bytes that are being sent, and the room that they take.
struct Held {
    bytes: Bytes,
    _rooms: Vec<Room>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body for Bound {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let rooms = std::mem::take(&mut *self.answers.lock());
        if rooms.is_empty() {
            return Poll::Ready(frame);
        }
        let bind = |bytes| Bytes::from_owner(Held { bytes, _rooms: rooms });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(bind))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The answer to a call for which there is no place.
pub(crate) fn no_place(broker: &Broker, open_max: usize) -> Status {
    let what = format!("has {open_max} calls open, all that it takes");
    refused(broker, &Error::Overloaded { what, retry_after_ms: RETRY_AFTER_MS })
}
