//! The threads that connections are served on, usually one for each core, each with a runtime of its own.
//!
//! Everything that happens on a connection happens on one thread. An answer that is ready wakes that thread and no
//! other; on a runtime that shares its tasks among its threads, each answer of a quiet connection wakes several of
//! them, which costs more than all the work there is to do. A connection stays where it began, on the thread that had
//! the fewest.

use std::sync::Arc;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The threads; they end when this is dropped, and with them what still runs on them.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    _ended: DropGuard,
}

struct Worker {
    runtime: Handle,
    /// One more reference than it has connections.
    connections: Arc<()>,
}

/// A connection's place on a thread, to be kept as long as it lasts.
pub(crate) struct Place {
    pub(crate) runtime: Handle,
    _counted: Arc<()>,
}

impl Workers {
    /// So many threads, as far as the system gives them; without any, the caller's runtime does the work.
    pub(crate) fn start(threads: usize) -> Workers {
        let ended = CancellationToken::new();
        let start = |number: usize| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let ended = ended.clone();
            let name = format!("grpc-{number}");
            std::thread::Builder::new().name(name).spawn(move || runtime.block_on(ended.cancelled()))?;
            Ok::<_, std::io::Error>(handle)
        };
        let mut workers = Vec::with_capacity(threads);
        for number in 0..threads {
            match start(number) {
                Ok(runtime) => workers.push(Worker { runtime, connections: Arc::default() }),
                Err(error) => {
                    tracing::warn!(%error, number, "the system gave no thread to serve connections on");
                }
            }
        }
        if workers.is_empty() {
            workers.push(Worker { runtime: Handle::current(), connections: Arc::default() });
        }
        Workers { workers, _ended: ended.drop_guard() }
    }

    /// A place on the thread with the fewest connections.
    pub(crate) fn place(&self) -> Place {
        let worker = self.workers.iter().min_by_key(|worker| Arc::strong_count(&worker.connections));
        let worker = worker.expect("there is at least one");
        Place { runtime: worker.runtime.clone(), _counted: Arc::clone(&worker.connections) }
    }
}
