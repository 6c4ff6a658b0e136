//! Tells every shard that time passes.

use crate::inbox::Inbox;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How far apart ticks are. Election and heartbeat timeouts are counted in them.
const TICK: Duration = Duration::from_millis(100);

/// Runs until `ended`. A tick that was missed is not made up for: engines are told the time, not the number of ticks.
pub(crate) async fn run(inboxes: Arc<[Arc<Inbox>]>, ended: CancellationToken) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while ended.run_until_cancelled(ticks.tick()).await.is_some() {
        inboxes.iter().for_each(|inbox| inbox.tick());
    }
}
