//! Makes a shard's writes durable, round by round, on the shard's thread: nobody else writes to its logs.
//!
//! Everything that waits goes into one round with one sync (group commit). Rules of order within a round are
//! `mq-log`'s; here only the writes of one quorum keep their order.
//!
//! A failed write or sync is final: what the disk holds is unknown, so the process must end. A full disk is not a
//! failed write: the round was not begun, and is tried again until there is room. What waits for room holds back the
//! later writes of its own quorum, and nobody else's. That is the last resort: engines are told to refuse records while
//! a reserve is still free, and the ballast is given up before anything waits, so that trims, deletions, votes and the
//! controller go on.

use crate::metrics::Metrics;
use crate::space::Space;
use crate::views::Views;
use mq_engine::{Input, WriteNumber};
use mq_log::{OsDisk, PersistError, RoundReport, ShardStore};
use mq_types::persist::ReplicaWrite;
use mq_types::{QuorumId, ShardId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// After so long without a round the log notes what is durable; and a full disk is tried again.
const QUIET: Duration = Duration::from_secs(1);

/// The file system is asked for its free space when so much was written since, or so much time has passed.
const LOOK_BYTES: u64 = 1 << 20;
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A write with its number within its quorum.
pub(crate) struct Numbered {
    pub(crate) number: WriteNumber,
    pub(crate) write: Box<ReplicaWrite>,
}

/// What makes a shard's writes durable.
pub(crate) struct Writer {
    shard: ShardId,
    store: ShardStore<OsDisk>,
    with: WritesWith,
    backlog: Backlog,
    /// What the engine was told last.
    has_room: bool,
    /// When the file system was last looked at; `None`: not yet.
    looked_at: Option<Instant>,
    /// What was written since.
    unlooked_bytes: u64,
    /// When those that wait for room were last tried.
    tried_at: Instant,
    /// When something was last written that the log has not noted as durable yet.
    unnoted_since: Option<Instant>,
}

/// What all writers share.
#[derive(Clone)]
pub(crate) struct WritesWith {
    pub(crate) views: Arc<Views>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) space: Arc<Space>,
    /// Told when a replica has been moved to the trash.
    pub(crate) trashed: Arc<Notify>,
}

/// Writes that wait.
#[derive(Default)]
struct Backlog {
    /// In the order in which they came.
    ready: VecDeque<Numbered>,
    /// For which the disk had no room: in order, by quorum.
    held: BTreeMap<QuorumId, VecDeque<Numbered>>,
}

impl Writer {
    /// A writer that has nothing to do yet.
    pub(crate) fn new(shard: ShardId, store: ShardStore<OsDisk>, with: WritesWith) -> Writer {
        Writer {
            shard,
            store,
            with,
            backlog: Backlog::default(),
            has_room: true,
            looked_at: None,
            unlooked_bytes: 0,
            tried_at: Instant::now(),
            unnoted_since: None,
        }
    }

    /// Takes what is to be written; [`Writer::round`] writes it.
    pub(crate) fn take(&mut self, write: Numbered) {
        self.backlog.push(write);
    }

    /// One round with everything that waits. Gives back what the engine is to know of it; nothing, if nothing waited.
    pub(crate) fn round(&mut self) -> Result<Vec<Input>, PersistError> {
        let mut done = Vec::new();
        if !self.backlog.held.is_empty() && self.tried_at.elapsed() >= QUIET {
            self.backlog.retry();
            self.tried_at = Instant::now();
        }
        let round = self.backlog.next_round();
        if !round.is_empty() {
            self.carry_out(round, &mut done)?;
            self.unnoted_since = Some(Instant::now());
        } else if self.unnoted_since.is_some_and(|since| since.elapsed() >= QUIET) && self.note()? {
            self.unnoted_since = None;
        }
        // Before the first round too: a broker may be started on a full disk.
        let is_late = |at: Instant| at.elapsed() >= LOOK_INTERVAL;
        if self.unlooked_bytes >= LOOK_BYTES || !self.has_room || self.looked_at.is_none_or(is_late) {
            done.extend(self.look_for_room());
        }
        Ok(done)
    }

    /// To be called when the shard has ended: the last words of a clean stop.
    pub(crate) fn close(self) -> Result<(), PersistError> {
        if !self.backlog.held.is_empty() {
            let quorums = self.backlog.held.len();
            tracing::warn!(shard = %self.shard, quorums, "stopping with a full disk: unacknowledged writes are dropped");
        }
        self.store.close()
    }

    /// One round. If the disk has no room for all of it, each quorum's part on its own, so that only those wait
    /// which need the room.
    fn carry_out(&mut self, round: Vec<Numbered>, done: &mut Vec<Input>) -> Result<(), PersistError> {
        if self.persist(&round, done)? {
            return Ok(());
        }
        let alone = round.len() == 1;
        for part in round {
            let part = vec![part];
            if alone || !self.persist(&part, done)? {
                part.into_iter().for_each(|part| self.backlog.hold(part));
            }
        }
        Ok(())
    }

    /// What is done in a quiet moment. False: the disk has no room for it.
    fn note(&mut self) -> Result<bool, PersistError> {
        let is_noted = self.store.idle()? || (self.with.space.give_up_ballast() && self.store.idle()?);
        // A replica that had found no room in the trash may be there now.
        self.with.trashed.notify_one();
        Ok(is_noted)
    }

    /// False: the disk is full, even without the ballast, and nothing was done.
    fn persist(&mut self, round: &[Numbered], done: &mut Vec<Input>) -> Result<bool, PersistError> {
        let began = Instant::now();
        let writes = round.iter().map(|part| ReplicaWrite::clone(&part.write)).collect();
        match self.store.persist_round(writes) {
            Ok(report) => {
                self.with.metrics.round(began.elapsed(), report.written_bytes);
                self.unlooked_bytes += report.written_bytes;
                self.report(round, report, done);
                Ok(true)
            }
            Err(PersistError::DiskFull { .. }) if self.with.space.give_up_ballast() => {
                self.store.set_reserves_ahead(false);
                self.persist(round, done)
            }
            Err(PersistError::DiskFull { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is durable now; readers of new logs come first, since views rest on them.
    fn report(&self, round: &[Numbered], report: RoundReport, done: &mut Vec<Input>) {
        for part in round.iter().filter(|part| part.write.create.is_some()) {
            let quorum = part.write.quorum;
            let reader = self.store.reader(quorum).expect("the replica was made in this round");
            self.with.views.set_reader(quorum, reader);
        }
        if round.iter().any(|part| part.write.remove) {
            self.with.trashed.notify_one();
        }
        let mut changed: BTreeMap<_, _> = report.changed.into_iter().collect();
        done.extend(round.iter().map(|part| {
            let quorum = part.write.quorum;
            Input::Persisted { quorum, number: part.number, status: changed.remove(&quorum) }
        }));
    }

    /// Whether there is room for records, if that has changed.
    fn look_for_room(&mut self) -> Option<Input> {
        self.looked_at = Some(Instant::now());
        self.unlooked_bytes = 0;
        let available = self.backlog.held.is_empty() && self.with.space.has_room(self.has_room);
        self.with.metrics.set_disk_ballast(self.with.space.ballast_bytes());
        // Also if nothing has changed: it was switched off if the ballast was given up in between.
        self.store.set_reserves_ahead(available);
        if available == self.has_room {
            return None;
        }
        self.has_room = available;
        self.with.metrics.set_disk_room(self.shard, available);
        if available {
            tracing::info!(shard = %self.shard, "the disk has room again: writing goes on");
        } else {
            tracing::error!(shard = %self.shard, "the disk is full: records are refused until there is room");
        }
        Some(Input::DiskRoom { available })
    }
}

impl Backlog {
    fn push(&mut self, numbered: Numbered) {
        if numbered.write.remove {
            // What was to be written before the end of the replica needs no room any more.
            self.held.remove(&numbered.write.quorum);
        }
        match self.held.get_mut(&numbered.write.quorum) {
            Some(held) => held.push_back(numbered),
            None => self.ready.push_back(numbered),
        }
    }

    /// There was no room for this one: it waits, and before all later ones of its quorum.
    fn hold(&mut self, numbered: Numbered) {
        let quorum = numbered.write.quorum;
        let (later, others) =
            std::mem::take(&mut self.ready).into_iter().partition(|n| n.write.quorum == quorum);
        self.ready = others;
        let held = self.held.entry(quorum).or_default();
        assert!(held.is_empty(), "a quorum that waits for room is in no round");
        *held = later;
        held.push_front(numbered);
    }

    /// Everything that waits for room is tried again.
    fn retry(&mut self) {
        for held in std::mem::take(&mut self.held).into_values() {
            self.ready.extend(held);
        }
    }

    /// Takes what can be written at once: at most one write for each quorum, into which later ones are merged.
    fn next_round(&mut self) -> Vec<Numbered> {
        let mut round: Vec<Numbered> = Vec::new();
        let mut places: BTreeMap<QuorumId, usize> = BTreeMap::new();
        let mut full: BTreeSet<QuorumId> = BTreeSet::new();
        for next in std::mem::take(&mut self.ready) {
            let quorum = next.write.quorum;
            let Some(place) = places.get(&quorum) else {
                places.insert(quorum, round.len());
                round.push(next);
                continue;
            };
            if full.contains(&quorum) {
                self.ready.push_back(next);
            } else if let Some(next) = round[*place].merge(next) {
                full.insert(quorum);
                self.ready.push_back(next);
            }
        }
        round
    }
}

impl Numbered {
    /// Gives back what cannot be carried out together with this.
    fn merge(&mut self, next: Numbered) -> Option<Numbered> {
        let number = next.number;
        assert!(
            number > self.number,
            "write {} of quorum {} after {}",
            number.0,
            self.write.quorum,
            self.number.0
        );
        if next.write.replica != self.write.replica {
            return Some(next);
        }
        match self.write.try_merge(*next.write) {
            Ok(()) => self.number = number,
            Err(write) => return Some(Numbered { number, write: Box::new(write) }),
        }
        None
    }
}

#[cfg(test)]
mod tests;
