//! The byte budget of requests that are still arriving: taken before a body is read, so that strangers who all send
//! large requests at once make each other wait instead of filling the memory.
//!
//! Looks at gRPC's frames only (a flag, four bytes of length, the message); what a message says is not known here. A
//! message that fits into what has arrived anyway costs nothing, unless its reader may have to wait with it in hand. A
//! connection has a share of the budget only.

use crate::status::refused;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use mq_broker::Broker;
use mq_broker::api::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::Status;

/// Flag and length in front of each message, in bytes.
const PREFIX_BYTES: usize = 5;
/// Who has been given room for a message must send the rest of it within this time.
const MESSAGE_WAIT: Duration = Duration::from_secs(30);
/// When to try again after that, in ms.
const RETRY_AFTER_MS: u32 = 100;
/// A connection may have this part of the budget.
const SHARES: usize = 8;
/// Data that arrived whole costs nothing below this, in bytes, whoever waits with it in hand.
const SMALL_BYTES: usize = 16 << 10;

/// The budget of a whole server.
#[derive(Clone)]
pub(crate) struct Intake {
    bytes: Arc<Semaphore>,
    message_bytes_max: usize,
    /// Counts what is refused.
    broker: Broker,
}

impl Intake {
    /// Room for so many messages of the largest size at the same time. Larger ones are refused as soon as their
    /// length is known.
    pub(crate) fn new(message_bytes_max: usize, messages_max: usize, broker: Broker) -> Intake {
        let message_bytes_max = message_bytes_max.min(u32::MAX as usize); // gRPC's own limit
        let bytes_max = message_bytes_max.saturating_mul(messages_max);
        assert!(bytes_max > 0, "{messages_max} messages of {message_bytes_max} bytes leave no room at all");
        Intake { bytes: Arc::new(Semaphore::new(bytes_max)), message_bytes_max, broker }
    }

    /// What one connection gets, in bytes: at least one message of the largest size.
    pub(crate) fn share_bytes(message_bytes_max: usize, messages_max: usize) -> usize {
        message_bytes_max.saturating_mul((messages_max / SHARES).max(1))
    }

    /// The body of a request, read only as far as the budget allows. With `holds`, a message keeps its room until its
    /// reader asks for the next one: a stream may wait long before it can pass a message on. Otherwise until it is
    /// complete.
    pub(crate) fn meter(
        &self,
        body: tonic::body::Body,
        share: Arc<Semaphore>,
        holds: bool,
    ) -> tonic::body::Body {
        tonic::body::Body::new(Metered {
            body,
            intake: self.clone(),
            share,
            holds,
            passed_on: false,
            prefix: [0; PREFIX_BYTES],
            prefix_bytes: 0,
            left_bytes: 0,
            room: Room::None,
            too_large: None,
        })
    }
}

/// What the message that is arriving has been given.
enum Room {
    /// It needs none.
    None,
    /// It waits for its turn, and with it the data that has arrived.
    Awaited(BoxFuture<'static, Permits>, Bytes),
    /// It has it until it is complete or late.
    Taken { _permits: Permits, late: Pin<Box<Sleep>> },
}

/// Of the connection's share and of the whole.
type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

struct Metered {
    body: tonic::body::Body,
    intake: Intake,
    share: Arc<Semaphore>,
    holds: bool,
    /// What has room is complete, and in its reader's hands.
    passed_on: bool,
    prefix: [u8; PREFIX_BYTES],
    /// How much of the next message's prefix is there.
    prefix_bytes: usize,
    /// What is still to come of the message that is arriving.
    left_bytes: usize,
    room: Room,
    /// The message that comes next is refused, and with it all that follows.
    too_large: Option<TooLarge>,
}

/// A message that is not read.
struct TooLarge {
    size_bytes: u64,
    /// Bytes of the present data that lie before it.
    before: usize,
}

impl Metered {
    /// Follows the frames through what arrived; whether the message at its end began in it.
    /// Data behind the beginning of a message that is too large is not looked at.
    fn advance(&mut self, whole: &[u8]) -> bool {
        let mut data = whole;
        let mut begun = false;
        while !data.is_empty() {
            if self.left_bytes > 0 {
                let taken = self.left_bytes.min(data.len());
                self.left_bytes -= taken;
                data = &data[taken..];
                continue;
            }
            let taken = (PREFIX_BYTES - self.prefix_bytes).min(data.len());
            self.prefix[self.prefix_bytes..][..taken].copy_from_slice(&data[..taken]);
            self.prefix_bytes += taken;
            data = &data[taken..];
            if self.prefix_bytes == PREFIX_BYTES {
                let [_, a, b, c, d] = self.prefix;
                self.left_bytes = u32::from_be_bytes([a, b, c, d]) as usize;
                self.prefix_bytes = 0;
                begun = true;
                if self.left_bytes > self.intake.message_bytes_max {
                    let before = (whole.len() - data.len()).saturating_sub(PREFIX_BYTES);
                    self.too_large = Some(TooLarge { size_bytes: self.left_bytes as u64, before });
                    self.left_bytes = 0;
                    break;
                }
            }
        }
        begun
    }

    /// Asks for room of so many bytes.
    fn ask(&self, bytes: usize) -> BoxFuture<'static, Permits> {
        let wanted = u32::try_from(bytes.min(self.intake.message_bytes_max)).expect("a length has 32 bits");
        let share = Arc::clone(&self.share).acquire_many_owned(wanted);
        let whole = Arc::clone(&self.intake.bytes).acquire_many_owned(wanted);
        let both = async move {
            let share = share.await.expect("the semaphore is never closed");
            (share, whole.await.expect("the semaphore is never closed"))
        };
        both.boxed()
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Room::Awaited(turn, data) = &mut this.room {
            let permits = ready!(turn.poll_unpin(context));
            let data = std::mem::take(data);
            let late = Box::pin(tokio::time::sleep(MESSAGE_WAIT));
            this.room = Room::Taken { _permits: permits, late };
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if std::mem::take(&mut this.passed_on) {
            this.room = Room::None; // its reader is done with it
        }
        if let Room::Taken { late, .. } = &mut this.room
            && late.as_mut().poll(context).is_ready()
        {
            let what = format!("waited {} ms for the rest of this request", MESSAGE_WAIT.as_millis());
            this.room = Room::None;
            return Poll::Ready(Some(Err(refused(
                &this.intake.broker,
                &Error::Overloaded { what, retry_after_ms: RETRY_AFTER_MS },
            ))));
        }
        if let Some(TooLarge { size_bytes, .. }) = this.too_large {
            let max_bytes = this.intake.message_bytes_max as u64;
            let error = Error::BatchTooLarge { size_bytes, max_bytes };
            return Poll::Ready(Some(Err(refused(&this.intake.broker, &error))));
        }
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(context)) else {
            this.room = Room::None;
            return Poll::Ready(None);
        };
        let mut data = match frame?.into_data() {
            Ok(data) => data,
            Err(other) => return Poll::Ready(Some(Ok(other))),
        };
        let begun = this.advance(&data);
        if let Some(too_large) = &this.too_large {
            data.truncate(too_large.before);
        }
        let complete = this.left_bytes == 0;
        if begun || (complete && !this.holds) {
            this.room = Room::None; // what had it is complete
        }
        this.passed_on = complete && this.holds;
        let wanted_bytes = match this.holds {
            false if begun => this.left_bytes,
            true if !complete || data.len() > SMALL_BYTES => this.left_bytes + data.len(),
            _ => 0,
        };
        if wanted_bytes > 0 && matches!(this.room, Room::None) {
            this.room = Room::Awaited(this.ask(wanted_bytes), data);
            return Pin::new(this).poll_frame(context);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        !matches!(self.room, Room::Awaited(..)) && self.too_large.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.room {
            Room::Awaited(..) => SizeHint::default(),
            _ => self.body.size_hint(),
        }
    }
}
