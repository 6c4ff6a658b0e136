//! The controller as every member of quorum 0 runs it: an image that follows the log, and what waits for it.
//!
//! It does not know whether it leads, is committed or is durable: the engine tells it what to do and when. Nothing
//! here reads a clock.

use super::plan::{self, Planned};
use super::{Applied, Command, DecodeError, Image, Rejection, Request};
use crate::{RequestId, api};
use bytes::Bytes;
use mq_types::persist::{Snapshot, Start};
use mq_types::{BrokerId, EntryKind, EntryMeta, Index, Term, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Topics purged per tick at most, so that emptying a large trash does not crowd out clients' changes.
const PURGES_PER_TICK_MAX: usize = 16;
/// When a purge that was proposed and has not been applied is proposed again, in ms. Twice does no harm.
const PURGE_RETRY_MS: i64 = 10_000;
/// When to try again after another leader has taken over, in ms: an election is over by then.
const NEW_LEADER_RETRY_MS: u32 = 100;

/// How the controller is set up. Every limit has a unit in its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Entries after which the image is stored anew, so that the log can be trimmed.
    pub snapshot_interval_entries: u64,
    /// How long a deleted topic stays in the trash.
    pub trash_grace_ms: u64,
    /// Partitions of a topic that does not say.
    pub partitions_default_count: u32,
    /// Replicas of a topic that does not say.
    pub replication_factor_default: u32,
    /// Partitions that a topic may have.
    pub partitions_per_topic_max: u32,
    /// Partitions that all topics together may have, those in the trash included.
    pub partitions_per_cluster_max: u32,
    /// The largest request that a broker accepts, in bytes: no topic may allow larger batches.
    pub request_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            snapshot_interval_entries: 1_000,
            trash_grace_ms: 24 * 60 * 60 * 1_000,
            partitions_default_count: 1,
            replication_factor_default: 1,
            partitions_per_topic_max: 1_000,
            partitions_per_cluster_max: 10_000,
            request_bytes_max: 16 << 20,
        }
    }
}

/// Why a snapshot is not the controller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// Its bytes are not an image.
    #[error("the controller's snapshot at index {index} cannot be read: {error}")]
    Decode {
        /// Where the snapshot was taken.
        index: Index,
        /// What is wrong.
        error: DecodeError,
    },
    /// It contains what had not happened yet when it was taken.
    #[error("the controller's snapshot at index {index} contains the command at index {revision}")]
    FromTheFuture {
        /// Where the snapshot was taken.
        index: Index,
        /// The last command in it.
        revision: Index,
    },
}

/// A client's request whose command was appended here and is not applied yet.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: RequestId,
    term: Term,
}

/// The working half of the machine.
#[derive(Debug)]
pub struct Controller {
    options: Options,
    image: Arc<Image>,
    /// The last index that it was given; at least the image's revision.
    applied: Index,
    /// The index of the newest snapshot.
    snapshot_index: Index,
    /// By the index at which the command was appended. All above `applied`.
    waiting: BTreeMap<Index, Waiting>,
    /// Brokers that do not answer: nothing new is placed there.
    silent: BTreeSet<BrokerId>,
    /// Topics whose purge was proposed and not yet applied, and when, in wall time.
    purging: BTreeMap<TopicId, i64>,
}

impl Controller {
    /// The snapshot with which every log of quorum 0 begins: the image of a cluster that nobody has founded yet.
    pub fn first_snapshot() -> Snapshot {
        Snapshot { index: Start::BOOTSTRAP.prev_index, data: Image::default().encode() }
    }

    /// The snapshot with which the replica of a broker that joins begins, before it is sent what there is.
    pub fn empty_snapshot() -> Snapshot {
        Snapshot { index: Start::EMPTY.prev_index, data: Image::default().encode() }
    }

    /// Takes over a snapshot; the entries after it are to be applied next.
    ///
    /// # Errors
    /// The snapshot is not one of the controller's.
    pub fn recover(snapshot: &Snapshot, options: Options) -> Result<Controller, RecoverError> {
        let index = snapshot.index;
        let image = Image::decode(&snapshot.data).map_err(|error| RecoverError::Decode { index, error })?;
        if image.revision > index {
            return Err(RecoverError::FromTheFuture { index, revision: image.revision });
        }
        Ok(Controller {
            options,
            image: Arc::new(image),
            applied: index,
            snapshot_index: index,
            waiting: BTreeMap::new(),
            silent: BTreeSet::new(),
            purging: BTreeMap::new(),
        })
    }

    /// The image as of the last applied entry.
    pub fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// The leader hears nothing of these brokers.
    pub fn set_silent(&mut self, silent: BTreeSet<BrokerId>) {
        self.silent = silent;
    }

    /// What a client's request comes to. Only for the leader, once it has applied an entry of its own term: before,
    /// the image may lack what is committed.
    ///
    /// # Errors
    /// Why it cannot be done; nothing is to be proposed then.
    pub fn plan(&self, now_wall_ms: i64, request: Request) -> Result<Planned, api::Error> {
        plan::plan(&self.image, &self.silent, &self.options, now_wall_ms, request)
    }

    /// Remembers that this request waits for the command that was appended here at `index` in `term`.
    pub fn proposed(&mut self, id: RequestId, index: Index, term: Term) {
        assert!(index > self.applied, "the entry at {index} is not applied yet; {} is", self.applied);
        let earlier = self.waiting.insert(index, Waiting { id, term });
        assert!(earlier.is_none(), "one request waits for index {index}: {id:?} came after {earlier:?}");
    }

    /// Follows one committed entry of whatever kind; every one, in order. `body` is a command's bytes, and ignored
    /// for other kinds.
    ///
    /// If a request waited for it, this is its answer.
    ///
    /// # Panics
    /// The entry is committed and cannot be understood. Going on without it would give this broker another image
    /// than the others have.
    pub fn apply(&mut self, meta: &EntryMeta, body: &Bytes) -> Option<(RequestId, api::Outcome)> {
        assert!(meta.index > self.applied, "entries come in order: {} after {}", meta.index, self.applied);
        self.applied = meta.index;
        let applied = (meta.kind == EntryKind::Command).then(|| self.apply_command(meta, body));
        let first = self.waiting.first_key_value().map(|(index, _)| *index);
        assert!(first.is_none_or(|first| first >= meta.index), "no entry was left out before {}", meta.index);
        let waiting = self.waiting.remove(&meta.index)?;
        if waiting.term != meta.term {
            // One entry stands at one index: the one of this request was cut away and appended nowhere.
            return Some((waiting.id, Err(api::Error::NoLeader { retry_after_ms: NEW_LEADER_RETRY_MS })));
        }
        let applied = applied.expect("index and term name one entry, and a command was proposed");
        Some((waiting.id, outcome(applied)))
    }

    /// Gives up what is in flight: whether it will be committed is for the next leader to show.
    pub fn leadership_lost(&mut self) -> Vec<(RequestId, api::Outcome)> {
        self.purging.clear();
        let why = "this broker stopped leading the controller before the change was committed";
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_values().map(|waiting| (waiting.id, Err(api::Error::OutcomeUnknown { why }))).collect()
    }

    /// Commands that time makes necessary: purges of topics that have been in the trash for long enough. Only for the
    /// leader, and not while the clock is doubtful.
    pub fn tick(&mut self, now_wall_ms: i64) -> Vec<Command> {
        let image = &self.image;
        self.purging.retain(|topic_id, _| image.topics.contains_key(topic_id));
        let in_trash = image.topics.len() - image.names.len();
        if in_trash == 0 {
            return Vec::new();
        }
        let grace_ms = i64::try_from(self.options.trash_grace_ms).unwrap_or(i64::MAX);
        let over = |since_ms: i64, wait_ms: i64| now_wall_ms >= since_ms.saturating_add(wait_ms);
        let due = image.topics.values().filter(|topic| {
            let grace_is_over = topic.deleted_at_ms.is_some_and(|since_ms| over(since_ms, grace_ms));
            let proposed = self.purging.get(&topic.id);
            grace_is_over && proposed.is_none_or(|since_ms| over(*since_ms, PURGE_RETRY_MS))
        });
        let purges: Vec<Command> = due
            .take(PURGES_PER_TICK_MAX)
            .map(|topic| Command::PurgeTopic { topic_id: topic.id, in_trash_since_ms: topic.deleted_at_ms })
            .collect();
        for purge in &purges {
            if let Command::PurgeTopic { topic_id, .. } = purge {
                self.purging.insert(*topic_id, now_wall_ms);
            }
        }
        purges
    }

    /// A snapshot of the image, if enough entries were applied since the last one. The log up to it may be trimmed
    /// once it is durable. `applied` is the last index given to [`Controller::apply`].
    pub fn take_snapshot_if_due(&mut self, applied: Index) -> Option<Snapshot> {
        assert_eq!(applied, self.applied, "a snapshot is taken of what was applied");
        let entries = applied.0 - self.snapshot_index.0;
        if entries < self.options.snapshot_interval_entries.max(1) {
            return None;
        }
        self.snapshot_index = applied;
        Some(Snapshot { index: applied, data: self.image.encode() })
    }

    fn apply_command(&mut self, meta: &EntryMeta, body: &Bytes) -> Result<Applied, Rejection> {
        let command = match Command::decode(body) {
            Ok(command) => command,
            Err(error) => panic!("the committed command at index {} cannot be read: {error}", meta.index),
        };
        Arc::make_mut(&mut self.image).apply(&command, meta.index, meta.appended_at_ms)
    }
}

fn outcome(applied: Result<Applied, Rejection>) -> api::Outcome {
    plan::reply(applied?).map(api::Reply::Controller)
}
