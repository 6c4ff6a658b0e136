//! A partition's orders to its replicas, as they stand in its log.
//!
//! An order is replicated like a record and applied by every replica in the same place, so that all delete alike.
//!
//! ```text
//! message Control { oneof order { SetLogStart set_log_start = 1; } }
//! message SetLogStart { uint64 offset = 1; }
//! ```

use bytes::Bytes;
use mq_types::Offset;
use prost::Message;

/// One order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Records below this offset are no longer kept. Never above what was committed when it was ordered.
    SetLogStart {
        /// The first offset still kept.
        offset: Offset,
    },
}

/// The stored bytes are not an order that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Not a control message at all.
    #[error("the bytes of a control entry do not decode")]
    Malformed,
    /// A newer version wrote it.
    #[error("a control entry holds an order that this version does not know; start a newer mq")]
    UnknownOrder,
}

#[derive(Clone, PartialEq, Message)]
struct ControlWire {
    #[prost(oneof = "OrderWire", tags = "1")]
    order: Option<OrderWire>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum OrderWire {
    #[prost(message, tag = "1")]
    SetLogStart(SetLogStartWire),
}

#[derive(Clone, PartialEq, Message)]
struct SetLogStartWire {
    #[prost(uint64, tag = "1")]
    offset: u64,
}

impl Control {
    /// As it is stored.
    pub fn encode(&self) -> Bytes {
        let order = match self {
            Control::SetLogStart { offset } => OrderWire::SetLogStart(SetLogStartWire { offset: offset.0 }),
        };
        ControlWire { order: Some(order) }.encode_to_vec().into()
    }

    /// From what was stored.
    ///
    /// # Errors
    /// The bytes are not an order that this version knows: applying on would let replicas part.
    pub fn decode(bytes: &Bytes) -> Result<Control, ControlError> {
        let wire = ControlWire::decode(bytes.clone()).map_err(|_| ControlError::Malformed)?;
        match wire.order {
            Some(OrderWire::SetLogStart(order)) => Ok(Control::SetLogStart { offset: Offset(order.offset) }),
            None => Err(ControlError::UnknownOrder),
        }
    }
}
