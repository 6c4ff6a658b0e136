//! How a client connects. It holds no endpoints: those are given to [`crate::Client::connect`].

use std::time::Duration;

/// Where a broker listens when nobody says otherwise.
pub const DEFAULT_ENDPOINT: &str = "127.0.0.1:9650";

/// Settings of a connection. The defaults are those measured as best for bulk on loopback and LAN.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names this client in the broker's logs, quotas and group descriptions (request metadata `mq-client-id`).
    /// Visible ASCII.
    pub client_id: String,
    /// How long one endpoint may take to accept a connection before the next one is tried.
    pub connect_timeout: Duration,
    /// The deadline of one unary call; retries of what was certainly not carried out stay within it.
    pub request_timeout: Duration,
    /// The largest answer accepted, in bytes. Brokers stay under 4 MiB except for a single larger record or batch.
    pub answer_bytes_max: usize,
    /// The largest HTTP/2 frame this side receives, in bytes: 16 KiB, HTTP/2's default, halves the throughput.
    pub frame_bytes_max: u32,
    /// HTTP/2 flow-control window of one stream, in bytes.
    pub stream_window_bytes: u32,
    /// HTTP/2 flow-control window of one connection, in bytes.
    pub connection_window_bytes: u32,
    /// A ping is sent after so long without traffic, and a connection that does not answer is given up after half
    /// of it.
    pub keep_alive_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            client_id: "mq-client".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            answer_bytes_max: (16 << 20) + (64 << 10),
            frame_bytes_max: 256 << 10,
            stream_window_bytes: 16 << 20,
            connection_window_bytes: 32 << 20,
            keep_alive_interval: Duration::from_secs(20),
        }
    }
}
