//! Deletes what `mq-log` moved to the trash, away from the writers: unlinking gigabytes takes seconds.

use mq_log::{OsDisk, trash};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// After a failure the trash is looked at again after so long.
const RETRY: Duration = Duration::from_secs(60);

/// Runs until `ended`, once at the start and again whenever something was thrown away.
pub(crate) async fn run(disk: OsDisk, trashed: Arc<Notify>, ended: CancellationToken) {
    loop {
        let disk = disk.clone();
        let emptied = tokio::task::spawn_blocking(move || empty(&disk)).await;
        let again = match emptied {
            Ok(Ok(())) => Duration::MAX,
            Ok(Err(error)) => {
                tracing::warn!(%error, "could not empty trash/; trying again in {} s", RETRY.as_secs());
                RETRY
            }
            Err(_) => return, // the runtime is shutting down
        };
        let next = tokio::time::timeout(again, trashed.notified());
        if ended.run_until_cancelled(next).await.is_none() {
            return;
        }
    }
}

fn empty(disk: &OsDisk) -> std::io::Result<()> {
    for trashed in trash::list(disk)? {
        let freed_bytes = trash::delete(disk, trashed)?;
        tracing::info!(quorum = %trashed.quorum, replica = %trashed.replica, freed_bytes, "deleted a removed replica");
    }
    Ok(())
}
