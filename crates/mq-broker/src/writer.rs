//! The thread that makes things durable: one per shard, the only one that writes to the shard's logs.
//!
//! While a round is on the disk, the next one collects: everything that waits goes into one round with one sync
//! (group commit). Rules of order within a round are `mq-log`'s; here only the writes of one quorum keep their order.
//!
//! A failed write or sync is final: what the disk holds is unknown, so the process must end. A full disk is not a
//! failed write: the round was not begun, and is tried again until there is room. What waits for room holds back the
//! later writes of its own quorum, and nobody else's. That is the last resort: engines are told to refuse records while
//! a reserve is still free, so that trims, deletions, votes and the controller go on.

use crate::inbox::Inbox;
use crate::metrics::Metrics;
use crate::options::{FatalError, FatalHook};
use crate::space::Space;
use crate::views::Views;
use mq_engine::{Input, WriteNumber};
use mq_log::{OsDisk, PersistError, RoundReport, ShardStore};
use mq_types::persist::ReplicaWrite;
use mq_types::{QuorumId, ShardId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How many turns' writes may wait in the channel while a round is on the disk; then the shard waits.
pub(crate) const TURNS_WAITING_MAX: usize = 64;
/// After so long without a round the log notes what is durable; and a full disk is tried again.
const QUIET: Duration = Duration::from_secs(1);

/// A write with its number within its quorum.
pub(crate) struct Numbered {
    pub(crate) number: WriteNumber,
    pub(crate) write: Box<ReplicaWrite>,
}

/// What a writer works with.
pub(crate) struct Writer {
    pub(crate) shard: ShardId,
    pub(crate) store: ShardStore<OsDisk>,
    /// Ends when the shard has ended.
    pub(crate) incoming: Receiver<Vec<Numbered>>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) views: Arc<Views>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) fatal: FatalHook,
    pub(crate) space: Space,
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
    /// Runs until the shard has ended and everything is durable, or until the disk fails.
    pub(crate) fn run(mut self) -> Result<(), PersistError> {
        let result = self.work();
        let result = match result {
            Ok(()) => self.store.close(),
            failed => failed,
        };
        if let Err(error) = &result {
            // Nothing that depends on this write is ever answered: the inbox stays shut from here on.
            self.inbox.close();
            (self.fatal)(FatalError { shard: self.shard, error });
        }
        result
    }

    /// Round after round, each with all that came meanwhile.
    fn work(&mut self) -> Result<(), PersistError> {
        let mut backlog = Backlog::default();
        let (mut is_noted, mut has_room) = (true, true);
        let mut tried = Instant::now();
        loop {
            let wait = if backlog.ready.is_empty() { QUIET } else { Duration::ZERO };
            let came = self.incoming.recv_timeout(wait);
            let is_last = matches!(came, Err(RecvTimeoutError::Disconnected));
            came.into_iter().chain(self.incoming.try_iter()).for_each(|writes| backlog.push(writes));
            if !backlog.held.is_empty() && tried.elapsed() >= QUIET {
                backlog.retry();
                tried = Instant::now();
            }
            let round = backlog.next_round();
            if !round.is_empty() {
                self.carry_out(round, &mut backlog)?;
                is_noted = false;
            } else if is_last {
                break;
            } else if !std::mem::replace(&mut is_noted, true) {
                self.store.idle()?;
            }
            if has_room != (backlog.held.is_empty() && self.space.has_room(has_room)) {
                has_room = !has_room;
                self.report_room(has_room);
            }
        }
        if !backlog.held.is_empty() {
            let quorums = backlog.held.len();
            tracing::warn!(shard = %self.shard, quorums, "stopping with a full disk: unacknowledged writes are dropped");
        }
        Ok(())
    }

    /// One round. If the disk has no room for all of it, each quorum's part on its own, so that only those wait
    /// which need the room.
    fn carry_out(&mut self, round: Vec<Numbered>, backlog: &mut Backlog) -> Result<(), PersistError> {
        if self.persist(&round)? {
            return Ok(());
        }
        let alone = round.len() == 1;
        for part in round {
            let part = vec![part];
            if alone || !self.persist(&part)? {
                part.into_iter().for_each(|part| backlog.hold(part));
            }
        }
        Ok(())
    }

    /// False: the disk is full, and nothing was done.
    fn persist(&mut self, round: &[Numbered]) -> Result<bool, PersistError> {
        let began = Instant::now();
        let writes = round.iter().map(|part| ReplicaWrite::clone(&part.write)).collect();
        match self.store.persist_round(writes) {
            Ok(report) => {
                self.metrics.round(began.elapsed(), report.written_bytes);
                self.report(round, report);
                Ok(true)
            }
            Err(PersistError::DiskFull { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tells the engine what is durable; readers of new logs come first, since views rest on them.
    fn report(&self, round: &[Numbered], report: RoundReport) {
        for part in round.iter().filter(|part| part.write.create.is_some()) {
            let quorum = part.write.quorum;
            let reader = self.store.reader(quorum).expect("the replica was made in this round");
            self.views.set_reader(quorum, reader);
        }
        if round.iter().any(|part| part.write.remove) {
            self.trashed.notify_one();
        }
        let mut changed: BTreeMap<_, _> = report.changed.into_iter().collect();
        self.inbox.push(round.iter().map(|part| {
            let quorum = part.write.quorum;
            Input::Persisted { quorum, number: part.number, status: changed.remove(&quorum) }
        }));
    }

    fn report_room(&self, available: bool) {
        if available {
            tracing::info!(shard = %self.shard, "the disk has room again: writing goes on");
        } else {
            tracing::error!(shard = %self.shard, "the disk is full: records are refused until there is room");
        }
        self.metrics.set_disk_room(self.shard, available);
        self.inbox.push([Input::DiskRoom { available }]);
    }
}

impl Backlog {
    fn push(&mut self, writes: Vec<Numbered>) {
        for numbered in writes {
            if numbered.write.remove {
                // What was to be written before the end of the replica needs no room any more.
                self.held.remove(&numbered.write.quorum);
            }
            match self.held.get_mut(&numbered.write.quorum) {
                Some(held) => held.push_back(numbered),
                None => self.ready.push_back(numbered),
            }
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
