//! What the system asks of the process: SIGTERM and SIGINT stop it, a second one ends it at once, SIGHUP does nothing.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code of a process that was told to end twice.
const EXIT_AT_ONCE: i32 = 130;

/// The signals, from when this is made on.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until the process is asked to stop; the signal's name.
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                // The terminal went away, or somebody hopes for a reload: neither is a reason to stop.
                _ = self.hang_up.recv() => tracing::info!("SIGHUP is ignored; a changed configuration needs a restart"),
            }
        }
    }

    /// The next signal to stop ends the process, whatever it is doing. Nothing acknowledged is lost by that.
    pub(crate) fn exit_at_next(mut self) {
        tokio::spawn(async move {
            let signal = self.stop().await;
            tracing::warn!(signal, "ending at once; what is not yet answered has an unknown outcome");
            std::process::exit(EXIT_AT_ONCE);
        });
    }
}
