//! What may be read on this broker: per quorum the published view, and the reader of its log.
//!
//! Engines publish and writers bring readers; whoever serves clients looks up. Nothing is decided here.

use mq_engine::View;
use mq_log::{OsDisk, Reader};
use mq_types::QuorumId;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use tokio::sync::watch;

/// The views and readers of all shards.
pub(crate) struct Views {
    views: RwLock<HashMap<QuorumId, watch::Sender<View>>>,
    readers: RwLock<HashMap<QuorumId, Reader<OsDisk>>>,
    /// Changes when a quorum's first view comes, or its last one goes.
    population: watch::Sender<u64>,
}

impl Views {
    pub(crate) fn new() -> Views {
        Views { views: RwLock::default(), readers: RwLock::default(), population: watch::Sender::new(0) }
    }

    /// Shows a new view and wakes whoever watches.
    pub(crate) fn publish(&self, quorum: QuorumId, view: View) {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = views.get(&quorum) {
            watched.send_replace(view);
            return;
        }
        drop(views);
        let mut views = self.views.write().unwrap_or_else(PoisonError::into_inner);
        views.insert(quorum, watch::Sender::new(view));
        drop(views);
        self.population.send_modify(|changes| *changes += 1);
    }

    /// Takes a log's reader; replaces the one before.
    pub(crate) fn set_reader(&self, quorum: QuorumId, reader: Reader<OsDisk>) {
        self.readers.write().unwrap_or_else(PoisonError::into_inner).insert(quorum, reader);
    }

    /// Forgets a quorum. Whoever watches it sees that nobody publishes any more.
    pub(crate) fn close(&self, quorum: QuorumId) {
        self.views.write().unwrap_or_else(PoisonError::into_inner).remove(&quorum);
        self.readers.write().unwrap_or_else(PoisonError::into_inner).remove(&quorum);
        self.population.send_modify(|changes| *changes += 1);
    }

    /// Forgets everything, when nobody publishes any more.
    pub(crate) fn clear(&self) {
        self.views.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.readers.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The view as it is now.
    pub(crate) fn view(&self, quorum: QuorumId) -> Option<View> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        views.get(&quorum).map(|watched| watched.borrow().clone())
    }

    /// The view and all that follow.
    pub(crate) fn watch(&self, quorum: QuorumId) -> Option<watch::Receiver<View>> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        views.get(&quorum).map(watch::Sender::subscribe)
    }

    /// The log's reader.
    pub(crate) fn reader(&self, quorum: QuorumId) -> Option<Reader<OsDisk>> {
        self.readers.read().unwrap_or_else(PoisonError::into_inner).get(&quorum).cloned()
    }

    /// The first quorum behind this one (the first of all for `None`) whose log is here.
    pub(crate) fn log_after(&self, before: Option<QuorumId>) -> Option<QuorumId> {
        let readers = self.readers.read().unwrap_or_else(PoisonError::into_inner);
        readers.keys().copied().filter(|quorum| before.is_none_or(|before| *quorum > before)).min()
    }

    /// Waits until `quorum` has a leader that serves: this replica, or another one that it knows of.
    pub(crate) async fn led(&self, quorum: QuorumId) {
        let mut population = self.population.subscribe();
        loop {
            if let Some(mut watched) = self.watch(quorum)
                && watched.wait_for(|view| view.serving || led_elsewhere(view)).await.is_ok()
            {
                return;
            }
            if population.changed().await.is_err() {
                return;
            }
        }
    }

    /// Of all quorums, in no order.
    pub(crate) fn all(&self) -> Vec<(QuorumId, View)> {
        let views = self.views.read().unwrap_or_else(PoisonError::into_inner);
        views.iter().map(|(quorum, watched)| (*quorum, watched.borrow().clone())).collect()
    }
}

fn led_elsewhere(view: &View) -> bool {
    view.leader.is_some_and(|leader| leader != view.replica)
}
