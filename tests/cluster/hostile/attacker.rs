//! A client without manners: HTTP/2 frames made by hand, in any order, with any lie in them.
//!
//! What it reads it throws away; what it does not read stays in the broker's way.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const SETTING_INITIAL_WINDOW: u16 = 4;
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// How long it tries to get rid of its bytes; a broker that reads no more has won.
const WRITE_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct Attacker {
    stream: TcpStream,
    next_stream: u32,
}

impl Attacker {
    /// Only the TCP connection.
    pub(crate) async fn connect(address: SocketAddr) -> Attacker {
        let stream = TcpStream::connect(address).await.expect("the kernel accepts");
        Attacker { stream, next_stream: 1 }
    }

    /// A connection of HTTP/2, whose streams begin with this window for answers, in bytes.
    pub(crate) async fn greet(address: SocketAddr, window_bytes: u32) -> Attacker {
        let mut attacker = Attacker::connect(address).await;
        let mut hello = PREFACE.to_vec();
        let mut setting = SETTING_INITIAL_WINDOW.to_be_bytes().to_vec();
        setting.extend(window_bytes.to_be_bytes());
        hello.extend(frame(SETTINGS, 0, 0, &setting));
        hello.extend(frame(WINDOW_UPDATE, 0, 0, &(WINDOW_BYTES_MAX - 65_535).to_be_bytes()));
        attacker.send(&hello).await;
        attacker
    }

    /// Sends bytes; whether the broker still took them.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(tokio::time::timeout(WRITE_WAIT, self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Takes what is there, without waiting for more than a moment; whether the connection is open.
    pub(crate) async fn drain(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match tokio::time::timeout(Duration::from_millis(1), self.stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return false,
                Ok(Ok(_)) => {}
                Err(_) => return true,
            }
        }
    }

    /// Reads until the broker closes the connection.
    pub(crate) async fn closed_within(&mut self, wait: Duration) -> bool {
        let mut buffer = vec![0; 64 << 10];
        let closed = async { while !matches!(self.stream.read(&mut buffer).await, Ok(0) | Err(_)) {} };
        tokio::time::timeout(wait, closed).await.is_ok()
    }

    /// The frames that begin a call, and the number of its stream.
    pub(crate) fn call(&mut self, path: &str) -> (u32, Vec<u8>) {
        let id = self.next_stream;
        self.next_stream += 2;
        (id, frame(HEADERS, END_HEADERS, id, &header_block(path)))
    }

    /// Begins a call with this message and ends its body; whether the broker took it.
    pub(crate) async fn ask(&mut self, path: &str, message: &impl prost::Message) -> bool {
        let (id, mut frames) = self.call(path);
        frames.extend(frame(DATA, END_STREAM, id, &grpc(&message.encode_to_vec())));
        self.send(&frames).await
    }

    /// As [`Attacker::ask`], with the body left open.
    pub(crate) async fn ask_on(&mut self, path: &str, message: &impl prost::Message) -> bool {
        let (id, mut frames) = self.call(path);
        frames.extend(frame(DATA, 0, id, &grpc(&message.encode_to_vec())));
        self.send(&frames).await
    }
}

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).expect("it fits").to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A message with gRPC's prefix.
pub(crate) fn grpc(message: &[u8]) -> Vec<u8> {
    let mut framed = promise(message.len());
    framed.extend(message);
    framed
}

/// Only the prefix of a message of this length.
pub(crate) fn promise(length: usize) -> Vec<u8> {
    let mut prefix = vec![0];
    prefix.extend(u32::try_from(length).expect("32 bits").to_be_bytes());
    prefix
}

/// The headers of a call, in HPACK's plainest form: literal, not indexed, not compressed.
pub(crate) fn header_block(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        field.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text"));
        field.extend(text.as_bytes());
    }
    field
}
