//! Reads all logs through in the background, slowly, so that a rotten place is found before somebody needs it.
//!
//! What is read when is `mq-log`'s decision; what follows from a bad place is `bad_places`' and the engine's.

use crate::bad_places::BadPlaces;
use crate::metrics::Metrics;
use crate::views::Views;
use mq_log::{ReadError, ScrubOptions, ScrubPlace, ScrubStep, Scrubber};
use mq_types::QuorumId;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// What a scrub works with.
pub(crate) struct Scrub {
    pub(crate) views: Arc<Views>,
    pub(crate) bad_places: Arc<BadPlaces>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Scrub {
    /// Runs until `stopping`; a piece that is being read then is read to its end.
    pub(crate) async fn run(self: Arc<Scrub>, options: ScrubOptions, stopping: CancellationToken) {
        let epoch = Instant::now();
        let now_ms = || u64::try_from(epoch.elapsed().as_millis()).expect("a process lives no 2^64 ms");
        let Some(mut scrubber) = Scrubber::new(options, now_ms()) else { return };
        while !stopping.is_cancelled() {
            let now = now_ms();
            match scrubber.next(now, |before| self.views.log_after(before)) {
                ScrubStep::Wait { until_ms } => {
                    let pause = tokio::time::sleep(Duration::from_millis(until_ms.saturating_sub(now)));
                    stopping.run_until_cancelled(pause).await;
                }
                ScrubStep::Read { quorum, from, bytes_max } => {
                    let scrub = Arc::clone(&self);
                    let piece = move || scrub.read(quorum, from, bytes_max);
                    // The runtime is shutting down if there is no answer.
                    let Ok((read_bytes, next)) = tokio::task::spawn_blocking(piece).await else { return };
                    scrubber.read(now_ms(), read_bytes, next);
                }
                ScrubStep::PassEnded { took_ms } => {
                    // A clock before 1970 is as wrong as any other, and nothing is decided by it.
                    let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    self.metrics.scrub_pass_ended(Duration::from_millis(took_ms), ended);
                }
            }
        }
    }

    /// Reads one piece: how much it was, and where to go on.
    fn read(&self, quorum: QuorumId, from: Option<ScrubPlace>, bytes_max: u64) -> (u64, Option<ScrubPlace>) {
        let Some(reader) = self.views.reader(quorum) else { return (0, None) };
        match reader.scrub(from, bytes_max) {
            Ok(scrubbed) => {
                self.metrics.scrubbed(scrubbed.read_bytes);
                scrubbed.bad.iter().for_each(|place| self.bad_places.found(&reader, place));
                (scrubbed.read_bytes, scrubbed.next)
            }
            Err(ReadError::Gone) => (0, None),
            // Not a verdict: the disk may answer another time. Said once a pass, as the rest of the log is left out.
            Err(error) => {
                tracing::warn!(%quorum, %error, "could not verify a log to its end; the next pass tries again");
                (0, None)
            }
        }
    }
}
