//! Connections: how many there may be, what each may send ahead of being read, and when one is closed.
//!
//! HTTP/2 lets a client send as much ahead as it was granted a window for, whoever reads it or not. So windows come
//! out of one budget: each connection is granted a part of what is left, the first ones a large window, and when many
//! are open the next ones a small one. What is said on a connection is not known here.

use crate::outlet::Outlet;
use crate::server::Options;
use crate::workers::Workers;
use http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service;

/// The receiver's frame size decides throughput: the default of 16 KiB costs half of it. In bytes.
const FRAME_BYTES_MAX: u32 = 256 << 10;
/// The least frame size that HTTP/2 allows, in bytes.
const FRAME_BYTES_MIN: u32 = 16 << 10;
/// The largest flow-control window of one stream, in bytes.
const STREAM_WINDOW_BYTES_MAX: u32 = 16 << 20;
/// The largest flow-control window of one connection, in bytes.
const CONNECTION_WINDOW_BYTES_MAX: u32 = 32 << 20;
/// HTTP/2's own window, which cannot be made smaller, in bytes.
const WINDOW_BYTES_MIN: u32 = (64 << 10) - 1;
/// A new connection is granted this part of the budget for windows that is left.
const WINDOW_PART: usize = 8;
/// Header lists beyond this are refused, in bytes.
const HEADER_LIST_BYTES_MAX: u32 = 8 << 10;
/// What a connection may keep in memory of HTTP/1 that was not read or not sent, in bytes.
const HTTP1_BUFFER_BYTES_MAX: usize = 64 << 10;
/// What HTTP/2 keeps of one stream's answers beyond the message that is being sent, in bytes.
const SEND_BUFFER_BYTES_MAX: usize = 64 << 10;
/// Streams that we reset after a client's error, before the connection is closed.
const LOCAL_ERROR_RESETS_MAX_COUNT: usize = 100;
/// Streams reset by the client before we accepted them, before the connection is closed.
const PENDING_ACCEPT_RESETS_MAX_COUNT: usize = 20;
/// A connection without traffic is asked for a sign of life so often.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A connection that gives none for so long is closed.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls that a connection may have open whatever others do.
const CALLS_OF_OWN_COUNT: usize = 4;
/// Partitions that a connection may follow whatever others do.
const POSITIONS_OF_OWN_COUNT: usize = 16;
/// Calls that are refused one after the other for want of a place, before the connection is closed: each refusal waits
/// in memory for its client.
const REFUSED_CALLS_MAX_COUNT: u64 = 32;
/// The first words of HTTP/2 ("PRI * HTTP/2.0" and so on), in bytes; no request of HTTP/1 that we serve is shorter.
const PREFACE_BYTES: usize = 24;
/// The pause after the system could not give a connection (it has no file descriptors left, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often it is told that connections are refused.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// One connection, as the calls on it know it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The other end.
    pub(crate) address: SocketAddr,
    /// Its share of the room for answers, in bytes.
    pub(crate) share: Arc<Semaphore>,
    /// Its share of the room for requests that are arriving, in bytes.
    pub(crate) requests_share: Arc<Semaphore>,
    /// Places for calls that nobody can take from it.
    pub(crate) calls_of_own: Arc<Semaphore>,
    /// Places for partitions to follow that nobody can take from it.
    pub(crate) positions_of_own: Arc<Semaphore>,
    /// The connection is closed, with all that is on it.
    pub(crate) cut: CancellationToken,
    /// Calls that were refused since one was taken.
    refused_calls: AtomicU64,
    /// Answers that are being made or sent, the oldest first.
    answers: Mutex<BTreeSet<(Instant, u64)>>,
    answers_begun: AtomicU64,
}

impl Connection {
    fn new(address: SocketAddr, share_bytes: usize, requests_share_bytes: usize) -> Connection {
        Connection {
            address,
            share: Arc::new(Semaphore::new(share_bytes)),
            requests_share: Arc::new(Semaphore::new(requests_share_bytes)),
            calls_of_own: Arc::new(Semaphore::new(CALLS_OF_OWN_COUNT)),
            positions_of_own: Arc::new(Semaphore::new(POSITIONS_OF_OWN_COUNT)),
            cut: CancellationToken::new(),
            refused_calls: AtomicU64::new(0),
            answers: Mutex::default(),
            answers_begun: AtomicU64::new(0),
        }
    }

    /// The one on which a request came.
    pub(crate) fn of<T>(request: &Request<T>) -> &Arc<Connection> {
        request.extensions().get().expect("every request comes on a connection")
    }

    /// An answer has room from now on; under the name that is returned.
    pub(crate) fn answer_begins(&self) -> (Instant, u64) {
        let name = (Instant::now(), self.answers_begun.fetch_add(1, Ordering::Relaxed));
        self.answers().insert(name);
        name
    }

    /// It was sent, or given up.
    pub(crate) fn answer_ended(&self, name: (Instant, u64)) {
        let known = self.answers().remove(&name);
        assert!(known, "an answer ends once, after it began: {name:?}");
    }

    /// Since when the oldest answer has been there.
    pub(crate) fn oldest_answer(&self) -> Option<Instant> {
        self.answers().first().map(|(since, _)| *since)
    }

    /// A call found a place.
    pub(crate) fn call_taken(&self) {
        self.refused_calls.store(0, Ordering::Relaxed);
    }

    /// A call found none; a client that goes on regardless is shown the door.
    pub(crate) fn call_refused(&self) {
        if self.refused_calls.fetch_add(1, Ordering::Relaxed) >= REFUSED_CALLS_MAX_COUNT {
            self.cut.cancel();
        }
    }

    fn answers(&self) -> MutexGuard<'_, BTreeSet<(Instant, u64)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All connections of a server.
pub(crate) struct Connections {
    outlet: Arc<Outlet>,
    requests_share_bytes: usize,
    places_max: usize,
    places: Arc<Semaphore>,
    windows: Arc<Semaphore>,
    streams_max_count: u32,
    handshake_max: Duration,
    threads: usize,
}

impl Connections {
    pub(crate) fn new(options: &Options, outlet: Arc<Outlet>, requests_share_bytes: usize) -> Connections {
        let windows = options.windows_bytes_max.min(Semaphore::MAX_PERMITS);
        Connections {
            outlet,
            requests_share_bytes,
            places_max: options.connections_max_count,
            places: Arc::new(Semaphore::new(options.connections_max_count)),
            windows: Arc::new(Semaphore::new(windows)),
            streams_max_count: options.connection_streams_max_count,
            handshake_max: Duration::from_millis(options.handshake_ms_max),
            threads: options.threads_count,
        }
    }

    /// Serves until `stopped` is ready; then accepts nothing more and returns when the last connection has ended. Each
    /// request has its [`Connection`] among its extensions. Dropping it closes all connections.
    pub(crate) async fn serve<S>(self, listener: TcpListener, service: S, stopped: impl Future<Output = ()>)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
    {
        let stopping = CancellationToken::new();
        let workers = Workers::start(self.threads);
        let mut open = JoinSet::new();
        let mut stopped = pin!(stopped);
        let mut told: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stopped => break,
                Some(_) = open.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let accepted =
                accepted.and_then(|(stream, address)| stream.into_std().map(|stream| (stream, address)));
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "the gRPC port could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                    told = Some(Instant::now());
                    tracing::warn!(
                        open = self.places_max,
                        "connections are refused: as many are open as may be"
                    );
                }
                continue; // closed at once: the client can try another broker, where waiting would tell it nothing
            };
            let connection =
                Arc::new(Connection::new(address, self.outlet.share_bytes(), self.requests_share_bytes));
            self.outlet.add(&connection);
            let (service, stopping) = (service.clone(), stopping.clone());
            let (builder, window) = self.builder();
            let handshake_max = self.handshake_max;
            let worker = workers.place();
            let runtime = worker.runtime.clone();
            let serving = async move {
                let _held = (place, window, worker);
                // Here, since a socket belongs to the runtime it is made on.
                match TcpStream::from_std(stream) {
                    Ok(stream) => run(&builder, stream, &connection, service, stopping, handshake_max).await,
                    Err(error) => tracing::warn!(%error, "a connection could not be served"),
                }
            };
            open.spawn_on(serving, &runtime);
        }
        drop(listener);
        stopping.cancel();
        while open.join_next().await.is_some() {}
    }

    /// How a new connection is spoken to, and its part of the budget for windows.
    fn builder(&self) -> (Builder<TokioExecutor>, Option<OwnedSemaphorePermit>) {
        let most = u32::try_from(self.windows.available_permits() / WINDOW_PART).unwrap_or(u32::MAX);
        let window = most.min(CONNECTION_WINDOW_BYTES_MAX);
        let taken = Arc::clone(&self.windows).try_acquire_many_owned(window).ok();
        let taken = taken.filter(|_| window > WINDOW_BYTES_MIN);
        let window = if taken.is_some() { window } else { WINDOW_BYTES_MIN };
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1() // grpc-web
            .timer(TokioTimer::new())
            .header_read_timeout(self.handshake_max)
            .max_buf_size(HTTP1_BUFFER_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_frame_size(window.clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX))
            .initial_stream_window_size(window.min(STREAM_WINDOW_BYTES_MAX))
            .initial_connection_window_size(window)
            .max_concurrent_streams(self.streams_max_count)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .max_local_error_reset_streams(LOCAL_ERROR_RESETS_MAX_COUNT)
            .max_pending_accept_reset_streams(PENDING_ACCEPT_RESETS_MAX_COUNT)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        (builder, taken)
    }
}

/// One connection from its first byte to its last.
async fn run<S>(
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    connection: &Arc<Connection>,
    service: S,
    stopping: CancellationToken,
    handshake_max: Duration,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    // An answer that waits for the one before it to be acknowledged comes tens of milliseconds late.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, client = %connection.address, "the connection ended before it began");
        return;
    }
    let named = Arc::clone(connection);
    let service = tower::ServiceBuilder::new()
        .map_request(move |request: Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Arc::clone(&named));
            request
        })
        .service(service);
    let greeted = CancellationToken::new();
    let stream = Greeting { stream, left_bytes: PREFACE_BYTES, greeted: greeted.clone() };
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let mut silent = pin!(async {
        if tokio::time::timeout(handshake_max, greeted.cancelled()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    });
    let mut told = false;
    loop {
        tokio::select! {
            // What a stranger sends wrongly is his affair: hyper has answered it, and nothing here depends on it.
            _ = &mut served => return,
            () = connection.cut.cancelled() => return,
            () = &mut silent => return,
            () = stopping.cancelled(), if !told => {
                told = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// A socket that tells when it has said enough to be more than an open port's visitor.
struct Greeting {
    stream: TcpStream,
    /// What is to come before it has.
    left_bytes: usize,
    greeted: CancellationToken,
}

impl AsyncRead for Greeting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if self.left_bytes > 0 {
            self.left_bytes = self.left_bytes.saturating_sub(buffer.filled().len() - before);
            if self.left_bytes == 0 {
                self.greeted.cancel();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
