//! One shard of a broker: its engine, its store, and what waits for either.
//!
//! Turns and rounds are the shell's; what they mean is not known here.

use crate::backlog::{Backlog, Numbered};
use crate::disk::BrokerDisk;
use crate::record::Record;
use crate::sometimes;
use mq_engine::{Effect, Engine, Input};
use mq_log::{MemDisk, PersistError, RoundReport, ShardStore};
use mq_types::QuorumId;
use mq_types::persist::LogStatus;
use std::collections::{BTreeMap, VecDeque};

/// A full disk is tried again, and a quiet log noted, after so long.
const QUIET_US: u64 = 1_000_000;

/// One shard.
pub(crate) struct Shard {
    pub(crate) engine: Engine,
    pub(crate) store: ShardStore<MemDisk>,
    pub(crate) inputs: Vec<Input>,
    /// What rounds have done; comes before all other inputs, as in a broker.
    pub(crate) done: Vec<Input>,
    /// A tick is among the inputs: those that were missed are not made up for.
    pub(crate) has_tick: bool,
    pub(crate) backlog: Backlog,
    /// What is left of a turn whose thread is held up. Nothing else begins before that is done.
    pub(crate) halted: Option<VecDeque<Effect>>,
    /// What the disk is at work on.
    pub(crate) round: Option<Vec<Numbered>>,
    pub(crate) turn_is_due: bool,
    /// What the engine was told last.
    has_room: bool,
    /// When the last round ended, if the log has not noted it as durable.
    unnoted_since_us: Option<u64>,
    tried_at_us: u64,
}

/// What a round has done.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) inputs: Vec<Input>,
    /// Quorums that have a new replica here.
    pub(crate) created: Vec<QuorumId>,
    pub(crate) has_removed: bool,
}

impl Shard {
    pub(crate) fn new(engine: Engine, store: ShardStore<MemDisk>) -> Shard {
        Shard {
            engine,
            store,
            inputs: Vec::new(),
            done: Vec::new(),
            has_tick: false,
            backlog: Backlog::default(),
            halted: None,
            round: None,
            turn_is_due: false,
            has_room: true,
            unnoted_since_us: None,
            tried_at_us: 0,
        }
    }

    /// Takes a tick, unless one waits.
    pub(crate) fn tick(&mut self) {
        if !std::mem::replace(&mut self.has_tick, true) {
            self.inputs.push(Input::Tick);
        }
    }

    /// Takes what is to be written next to the disk. False: there is nothing, or the disk is at work.
    pub(crate) fn begin_round(&mut self, segment_bytes: u64) -> bool {
        if self.round.is_some() || self.halted.is_some() || self.backlog.is_empty() {
            return false;
        }
        let mut round = self.backlog.next_round();
        for part in &mut round {
            if !part.write.entries.is_empty() {
                // Smaller than a topic may ask for, so that there are many.
                part.write.segment_size_bytes_max = Some(segment_bytes);
            }
            if part.merged > 1 {
                sometimes!("a round of the disk merged several writes");
            }
            if part.write.snapshot.is_some() && part.write.create.is_none() {
                sometimes!("the controller's image was stored");
            }
        }
        self.round = Some(round);
        true
    }

    /// Whether the round both appends to a log and changes what is on record of that replica.
    pub(crate) fn writes_log_and_record(&self) -> bool {
        self.round.iter().flatten().map(|part| &part.write).any(|write| {
            let has_record = write.membership.is_some() || write.trim.is_some() || write.vote.is_some();
            has_record && !write.entries.is_empty()
        })
    }

    /// The disk has carried out the round. If it has no room for all of it, each quorum's part on its own.
    pub(crate) fn end_round(
        &mut self,
        now_us: u64,
        disk: &BrokerDisk,
        record: &mut Record,
    ) -> Result<Done, PersistError> {
        let round = self.round.take().expect("a round ends that has begun");
        let mut done = Done::default();
        if !self.persist(&round, now_us, record, &mut done)? {
            sometimes!("a disk was full while a write was due");
            let alone = round.len() == 1;
            for part in round {
                let part = [part];
                if alone || !self.persist(&part, now_us, record, &mut done)? {
                    sometimes!("a write waited for room on a full disk");
                    part.into_iter().for_each(|part| self.backlog.hold(part));
                }
            }
        }
        self.unnoted_since_us = Some(now_us);
        done.inputs.extend(self.look_for_room(disk));
        Ok(done)
    }

    /// The process ends within the round: a part of it may have been done.
    pub(crate) fn break_round(&mut self) {
        if let Some(round) = self.round.take() {
            let _ = self.store.persist_round(round.into_iter().map(|part| *part.write).collect());
        }
    }

    /// What is done from time to time.
    pub(crate) fn look_after(&mut self, now_us: u64, disk: &BrokerDisk) -> Result<(), PersistError> {
        if self.backlog.is_held() && now_us - self.tried_at_us >= QUIET_US {
            self.tried_at_us = now_us;
            self.backlog.retry();
        }
        let is_quiet = self.unnoted_since_us.is_some_and(|since_us| now_us - since_us >= QUIET_US);
        if is_quiet && self.round.is_none() && self.store.idle()? {
            self.unnoted_since_us = None;
        }
        let room = self.look_for_room(disk);
        self.done.extend(room);
        Ok(())
    }

    /// False: the disk is full, and nothing was done.
    fn persist(
        &mut self,
        round: &[Numbered],
        now_us: u64,
        record: &mut Record,
        done: &mut Done,
    ) -> Result<bool, PersistError> {
        let writes = round.iter().map(|part| (*part.write).clone()).collect();
        let RoundReport { changed, .. } = match self.store.persist_round(writes) {
            Ok(report) => report,
            Err(PersistError::DiskFull { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut changed: BTreeMap<QuorumId, LogStatus> = changed.into_iter().collect();
        for part in round {
            record.durable(now_us, &part.write);
            let quorum = part.write.quorum;
            if part.write.create.is_some() {
                done.created.push(quorum);
            }
            done.has_removed |= part.write.remove;
            let status = changed.remove(&quorum);
            if status.as_ref().is_some_and(|status| status.segments.len() > 1) {
                sometimes!("a segment was rolled");
            }
            done.inputs.push(Input::Persisted { quorum, number: part.number, status });
        }
        Ok(true)
    }

    /// Whether there is room for records, if that has changed.
    fn look_for_room(&mut self, disk: &BrokerDisk) -> Option<Input> {
        let available = !self.backlog.is_held() && disk.has_room();
        self.store.set_reserves_ahead(available);
        (std::mem::replace(&mut self.has_room, available) != available)
            .then_some(Input::DiskRoom { available })
    }
}
