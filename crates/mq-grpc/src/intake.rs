//! The byte budget of requests that are still arriving: taken before a body is read, so that strangers who all send
//! large requests at once make each other wait instead of filling the memory.
//!
//! Looks at gRPC's frames only (a flag, four bytes of length, the message); what a message says is not known here. A
//! message that fits into what has arrived anyway costs nothing.

use crate::status::status;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
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

/// The budget of a whole server.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    bytes: Arc<Semaphore>,
    message_bytes_max: usize,
}

impl Intake {
    /// Room for so many messages of the largest size at the same time. Larger ones are given none: they are refused by
    /// whoever decodes them, as soon as their length is known.
    pub(crate) fn new(message_bytes_max: usize, messages_max: usize) -> Intake {
        let message_bytes_max = message_bytes_max.min(u32::MAX as usize); // gRPC's own limit
        let bytes_max = message_bytes_max.saturating_mul(messages_max);
        assert!(bytes_max > 0, "{messages_max} messages of {message_bytes_max} bytes leave no room at all");
        Intake { bytes: Arc::new(Semaphore::new(bytes_max)), message_bytes_max }
    }

    /// The body of a request, read only as far as the budget allows.
    pub(crate) fn meter(&self, body: tonic::body::Body) -> tonic::body::Body {
        tonic::body::Body::new(Metered {
            body,
            intake: self.clone(),
            prefix: [0; PREFIX_BYTES],
            prefix_bytes: 0,
            left_bytes: 0,
            room: Room::None,
        })
    }
}

/// What the message that is arriving has been given.
enum Room {
    /// It needs none.
    None,
    /// It waits for its turn, and with it the data that has arrived.
    Awaited(BoxFuture<'static, OwnedSemaphorePermit>, Bytes),
    /// It has it until it is complete or late.
    Taken { _permit: OwnedSemaphorePermit, late: Pin<Box<Sleep>> },
}

struct Metered {
    body: tonic::body::Body,
    intake: Intake,
    prefix: [u8; PREFIX_BYTES],
    /// How much of the next message's prefix is there.
    prefix_bytes: usize,
    /// What is still to come of the message that is arriving.
    left_bytes: usize,
    room: Room,
}

impl Metered {
    /// Follows the frames through what arrived; whether the message at its end began in it.
    fn advance(&mut self, mut data: &[u8]) -> bool {
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
            }
        }
        begun
    }

    /// Asks for room for the rest of the message that is arriving.
    fn ask(&self) -> BoxFuture<'static, OwnedSemaphorePermit> {
        let wanted = u32::try_from(self.left_bytes).expect("a message's length has 32 bits");
        let acquired = Arc::clone(&self.intake.bytes).acquire_many_owned(wanted);
        acquired.map(|permit| permit.expect("the semaphore is never closed")).boxed()
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
            let permit = ready!(turn.poll_unpin(context));
            let data = std::mem::take(data);
            let late = Box::pin(tokio::time::sleep(MESSAGE_WAIT));
            this.room = Room::Taken { _permit: permit, late };
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Room::Taken { late, .. } = &mut this.room
            && late.as_mut().poll(context).is_ready()
        {
            let what = format!("waited {} ms for the rest of this request", MESSAGE_WAIT.as_millis());
            this.room = Room::None;
            return Poll::Ready(Some(Err(status(&Error::Overloaded {
                what,
                retry_after_ms: RETRY_AFTER_MS,
            }))));
        }
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(context)) else {
            this.room = Room::None;
            return Poll::Ready(None);
        };
        let data = match frame?.into_data() {
            Ok(data) => data,
            Err(other) => return Poll::Ready(Some(Ok(other))),
        };
        let begun = this.advance(&data);
        if this.left_bytes == 0 || begun {
            this.room = Room::None; // what had it is complete
        }
        if begun && (1..=this.intake.message_bytes_max).contains(&this.left_bytes) {
            this.room = Room::Awaited(this.ask(), data);
            return Pin::new(this).poll_frame(context);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        !matches!(self.room, Room::Awaited(..)) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.room {
            Room::Awaited(..) => SizeHint::default(),
            _ => self.body.size_hint(),
        }
    }
}
