//! The bad places that reads and scrubs have met in logs: each told once, to the engine and in the broker's log.
//!
//! What they mean for a replica is the engine's decision, and durable; the places themselves are in memory only, and
//! are met again after a restart. Nothing here repairs anything.

use crate::events;
use crate::inbox::Inbox;
use crate::metrics::Metrics;
use crate::routing::Images;
use crate::views::Views;
use mq_engine::Input;
use mq_log::{BadPlace, OsDisk, Reader};
use mq_types::{Offset, Position, QuorumId, ReplicaId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many places are remembered of one replica; a person needs no more to know what to do.
const PLACES_PER_REPLICA_MAX: usize = 16;

/// The bad places of this broker's logs.
pub(crate) struct BadPlaces {
    pub(crate) data_dir: PathBuf,
    pub(crate) inboxes: Arc<[Arc<Inbox>]>,
    pub(crate) views: Arc<Views>,
    pub(crate) images: Arc<Images>,
    pub(crate) metrics: Arc<Metrics>,
    /// At most one for each replica of this broker.
    pub(crate) known: Mutex<BTreeMap<QuorumId, Known>>,
}

/// Those of one replica.
pub(crate) struct Known {
    replica: ReplicaId,
    places: BTreeMap<(PathBuf, Position), BadPlace>,
    /// There are more than are remembered.
    has_more: bool,
}

/// What is known of one replica, for people.
pub(crate) struct Report {
    /// In the order of the log.
    pub(crate) places: Vec<BadPlace>,
    /// There are more.
    pub(crate) has_more: bool,
}

impl BadPlaces {
    /// A read or a scrub has met this place.
    pub(crate) fn found(&self, reader: &Reader<OsDisk>, place: &BadPlace) {
        let (quorum, replica) = (reader.quorum(), reader.replica());
        if !self.is_here(quorum, replica) {
            return; // of a log that is gone, perhaps with another one in its place
        }
        if !self.remember(quorum, replica, place) {
            return;
        }
        self.metrics.corrupt_frame();
        let partition = events::name(&self.images.current(), quorum);
        tracing::error!(partition, %quorum, %replica, "{place}; `mqctl cluster health` says what to do");
        let shards = u16::try_from(self.inboxes.len()).expect("options allow no more shards");
        let inbox = &self.inboxes[usize::from(quorum.shard(shards).0)];
        inbox.push([Input::Damaged { quorum, replica }]);
    }

    /// This replica was found damaged in an earlier run; where is not known any more.
    pub(crate) fn on_record(&self, quorum: QuorumId, replica: ReplicaId) {
        self.lock().insert(quorum, Known { replica, places: BTreeMap::new(), has_more: false });
    }

    /// What is known of the log here, if any bad place was ever found in it. What lies below `log_start` is nobody's
    /// concern any more.
    pub(crate) fn of(&self, quorum: QuorumId, log_start: Offset) -> Option<Report> {
        let here = self.views.reader(quorum)?.replica();
        let known = self.lock();
        let known = known.get(&quorum).filter(|known| known.replica == here)?;
        let is_kept = |place: &&BadPlace| place.end_offset > log_start || place.offset >= log_start;
        let places = known.places.values().filter(is_kept).cloned().collect();
        Some(Report { places, has_more: known.has_more })
    }

    /// Where the logs are, for people.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Whether the place is new; false too for one that there is no room to remember.
    fn remember(&self, quorum: QuorumId, replica: ReplicaId, place: &BadPlace) -> bool {
        let mut all = self.lock();
        if all.get(&quorum).is_none_or(|known| known.replica != replica) {
            all.retain(|quorum, known| self.is_here(*quorum, known.replica));
            all.insert(quorum, Known { replica, places: BTreeMap::new(), has_more: false });
        }
        let known = all.get_mut(&quorum).expect("it was there, or was just made");
        let key = (place.file.clone(), place.position);
        if known.places.contains_key(&key) {
            return false;
        }
        if known.places.len() >= PLACES_PER_REPLICA_MAX {
            known.has_more = true;
            return false;
        }
        known.places.insert(key, place.clone());
        true
    }

    /// Whether this is the replica whose log is read here.
    fn is_here(&self, quorum: QuorumId, replica: ReplicaId) -> bool {
        self.views.reader(quorum).is_some_and(|reader| reader.replica() == replica)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<QuorumId, Known>> {
        // What is under the lock is whole after each statement, so a panic elsewhere does not spoil it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
