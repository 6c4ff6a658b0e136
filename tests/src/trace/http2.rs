//! What a gRPC server said, out of the bytes that it sent: messages, each with the call that sent its last byte.
//!
//! It reads the frames of HTTP/2 that carry data (RFC 9113, 4.1 and 6.1) and passes over all others.

use super::strace::Call;
use std::collections::BTreeMap;

const FRAME_HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const PADDED: u8 = 8;
/// A flag for compression, and the length.
const MESSAGE_HEADER_BYTES: usize = 5;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The bytes, as Protobuf has them.
    pub bytes: Vec<u8>,
    /// Where in the trace the call began that sent the last of them.
    pub sent_at: usize,
}

/// A connection's bytes so far.
#[derive(Default)]
struct Connection {
    pending: Vec<u8>,
    /// By stream: the data that is no whole message yet.
    streams: BTreeMap<u32, Vec<u8>>,
}

/// Everything that was said on connections to this listener (`127.0.0.1:9650`).
pub fn messages(calls: &[Call], listener: &str) -> Vec<Message> {
    let ours = format!("TCP:[{listener}->");
    let mut sends: Vec<&Call> = calls.iter().filter(|call| call.file.starts_with(&ours)).collect();
    sends.sort_by_key(|call| call.began);
    let mut connections: BTreeMap<&str, Connection> = BTreeMap::new();
    let mut messages = Vec::new();
    for call in sends {
        let connection = connections.entry(&call.file).or_default();
        connection.pending.extend_from_slice(&call.data);
        let said = connection.take_messages();
        messages.extend(said.into_iter().map(|bytes| Message { bytes, sent_at: call.began }));
    }
    messages
}

impl Connection {
    fn take_messages(&mut self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some(header) = self.pending.first_chunk::<FRAME_HEADER_BYTES>() {
            let [a, b, c, kind, flags, stream @ ..] = *header;
            let end = FRAME_HEADER_BYTES + u32::from_be_bytes([0, a, b, c]) as usize;
            if self.pending.len() < end {
                break;
            }
            let frame: Vec<u8> = self.pending.drain(..end).skip(FRAME_HEADER_BYTES).collect();
            if kind == DATA {
                assert_eq!(flags & PADDED, 0, "the broker does not pad");
                let data = self.streams.entry(u32::from_be_bytes(stream)).or_default();
                data.extend_from_slice(&frame);
                messages.extend(std::iter::from_fn(|| take_message(data)));
            }
        }
        messages
    }
}

fn take_message(data: &mut Vec<u8>) -> Option<Vec<u8>> {
    let [compressed, len @ ..] = *data.first_chunk::<MESSAGE_HEADER_BYTES>()?;
    assert_eq!(compressed, 0, "nobody asked for compressed answers");
    let end = MESSAGE_HEADER_BYTES + u32::from_be_bytes(len) as usize;
    (data.len() >= end).then(|| data.drain(..end).skip(MESSAGE_HEADER_BYTES).collect())
}
