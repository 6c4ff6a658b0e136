//! One shard, the engine on the real log, through ten thousand power cuts at random operations of its disk, those of
//! recovery included: what was promised before a cut is there after it.
//!
//! A run begins with an empty disk and lives through some cuts; everything in it follows from its seed. What is held
//! against the log after each recovery is in `promises`. What a killed process leaves is tested on real ones.

mod promises;

use crate::shell::{Broker, options};
use mq_engine::api::{Acks, Error, Produce, Reply, Request};
use mq_engine::{Input, Options, RequestId};
use mq_log::MemDisk;
use mq_log::disk::{Crash, Fault};
use mq_types::batch::{BatchBuilder, Checked, NewRecord, ValidateOptions, validate};
use mq_types::compression::Compression;
use mq_types::persist::Vote;
use mq_types::{Offset, QuorumId};
use promises::Promises;
use std::collections::BTreeMap;

const CUTS: u64 = 10_000;
const CUTS_PER_RUN: u64 = 50;
const PARTITIONS: u32 = 3;
/// Small, so that a few batches fill one.
const SEGMENT_BYTES: u64 = 4 << 10;
/// About how many operations of the disk it takes to recover, and how many are worth cutting after that.
const OPERATIONS_OF_RECOVERY: u64 = 65;
const OPERATIONS_OF_LOAD: u64 = 150;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What the runs have done, so that idle ones are noticed.
#[derive(Debug, Default)]
struct Tally {
    power_cuts: u64,
    process_crashes: u64,
    /// Lives that ended before their recovery did.
    cuts_in_recovery: u64,
    acknowledged: u64,
    deletions: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.power_cuts += other.power_cuts;
        self.process_crashes += other.process_crashes;
        self.cuts_in_recovery += other.cuts_in_recovery;
        self.acknowledged += other.acknowledged;
        self.deletions += other.deletions;
    }
}

/// A request that is not answered yet.
enum Asked {
    Append { quorum: QuorumId, sequence: u64 },
    Delete { quorum: QuorumId },
}

/// One run: the disk, what was promised on it, and what happens next.
struct Run {
    random: Random,
    disk: MemDisk,
    /// The operation of the disk at which this life ends, if it comes to that.
    cut_at: u64,
    promises: BTreeMap<QuorumId, Promises>,
    /// The newest durable vote of every quorum, the controller's too.
    votes: BTreeMap<QuorumId, Vote>,
    asked: BTreeMap<RequestId, Asked>,
    sequence: u64,
    tally: Tally,
}

fn broker_options() -> Options {
    Options { partition_inflight_bytes_max: 1 << 20, ..options(1, 1) }
}

fn log_options() -> mq_log::Options {
    mq_log::Options {
        preallocate_step_bytes: 4 << 10,
        index_interval_bytes: 512,
        state_log_size_bytes_max: 4 << 10,
        ..mq_log::Options::new(1, [3; 32])
    }
}

impl Run {
    /// A founded broker with its topic, before the first cut.
    fn start(seed: u64) -> (Run, Broker) {
        let disk = MemDisk::new();
        let opened = mq_log::open(disk.clone(), log_options()).expect("an empty disk opens");
        let mut broker = Broker::start_on_opened(broker_options(), opened);
        broker.settle();
        let quorums = broker.create_topic("a", PARTITIONS, &[]);
        let run = Run {
            random: Random(seed),
            disk,
            cut_at: u64::MAX,
            promises: quorums.into_iter().map(|quorum| (quorum, Promises::new(quorum))).collect(),
            votes: BTreeMap::new(),
            asked: BTreeMap::new(),
            sequence: 0,
            tally: Tally::default(),
        };
        (run, broker)
    }

    /// Lives through so many power cuts; the first broken promise ends it.
    fn go(&mut self, cuts: u64, mut broker: Broker) -> Result<(), String> {
        self.load(&mut broker)?;
        while self.tally.power_cuts < cuts {
            let now = broker.now;
            self.crash();
            self.cut_at = self.disk.operations() + self.moment();
            self.disk.plan_fault(self.cut_at, Fault::Stop);
            let opened = match mq_log::open(self.disk.clone(), log_options()) {
                Ok(opened) => opened,
                Err(_) if self.has_stopped() => {
                    self.tally.cuts_in_recovery += 1;
                    continue;
                }
                Err(error) => return Err(format!("the log does not open: {error}")),
            };
            for replica in &opened[0].recovered {
                self.check_vote(replica.quorum, replica.vote)?;
            }
            broker = Broker::start_on_opened(broker_options(), opened);
            broker.now.wall_ms = now.wall_ms;
            self.settle(&mut broker)?;
            if broker.failed.is_some() {
                self.tally.cuts_in_recovery += 1;
                continue;
            }
            self.check(&broker)?;
            self.load(&mut broker)?;
        }
        Ok(())
    }

    /// Ends a life: by a power cut, or by a crash of the process alone, after which everything that was written can
    /// still be read and no more of it is durable.
    fn crash(&mut self) {
        let crash = match self.random.below(3) {
            0 => Crash::Process,
            _ => Crash::Machine { seed: self.random.next() },
        };
        match crash {
            Crash::Process => self.tally.process_crashes += 1,
            Crash::Machine { .. } => self.tally.power_cuts += 1,
        }
        self.disk = self.disk.crash(crash);
        self.asked.clear();
    }

    /// How many operations the next life has: one in three ends while it recovers.
    fn moment(&mut self) -> u64 {
        match self.random.below(3) {
            0 => self.random.below(OPERATIONS_OF_RECOVERY),
            _ => OPERATIONS_OF_RECOVERY + self.random.below(OPERATIONS_OF_LOAD),
        }
    }

    fn has_stopped(&self) -> bool {
        self.disk.operations() > self.cut_at
    }

    /// Appends, deletions and the passing of time, with as much or as little durable as it happens.
    fn load(&mut self, broker: &mut Broker) -> Result<(), String> {
        for _ in 0..self.random.below(40) {
            match self.random.below(20) {
                0..9 => self.append(broker),
                9 => self.delete(broker),
                10..14 => self.turn(broker),
                14..17 => self.sync(broker)?,
                17 => self.settle(broker)?,
                18 => self.idle(broker),
                _ => self.tick(broker)?,
            }
            if broker.failed.is_some() {
                return Ok(());
            }
        }
        self.settle(broker)
    }

    fn partition(&mut self) -> QuorumId {
        let at = self.random.below(self.promises.len() as u64) as usize;
        *self.promises.keys().nth(at).expect("it is one of them")
    }

    fn append(&mut self, broker: &mut Broker) {
        let quorum = self.partition();
        let batch = self.batch(quorum);
        let acks = if self.random.below(4) == 0 { Acks::Leader } else { Acks::Quorum };
        let promises = self.promises.get_mut(&quorum).expect("it is one of them");
        promises.send(self.sequence, batch.batch());
        let produce = Produce { quorum, batch, acks, expected_next_offset: None };
        let id = broker.ask(Request::Produce(produce));
        self.asked.insert(id, Asked::Append { quorum, sequence: self.sequence });
    }

    /// A batch that no other one is equal to.
    fn batch(&mut self, quorum: QuorumId) -> Checked {
        self.sequence += 1;
        let mut builder = BatchBuilder::new();
        for _ in 0..=self.random.below(4) {
            let mut value = [quorum.0.to_le_bytes().as_slice(), &self.sequence.to_le_bytes()].concat();
            value.resize(16 + self.random.below(900) as usize, self.sequence as u8);
            let record = NewRecord { timestamp_ms: 5, key: None, value: Some(&value), headers: &[] };
            builder.push(&record).expect("it is small");
        }
        let limits = ValidateOptions { size_bytes_max: 1 << 20, decompressed_bytes_max: 1 << 20 };
        validate(&builder.finish(Compression::None), &limits).expect("it is well-formed")
    }

    fn delete(&mut self, broker: &mut Broker) {
        let quorum = self.partition();
        let view = &broker.views[&quorum];
        let count = view.high_watermark.0 - view.log_start.0;
        let before = Offset(view.log_start.0 + self.random.below(count + 1));
        self.promises.get_mut(&quorum).expect("it is one of them").delete_before(before);
        let id = broker.ask(Request::DeleteRecords { quorum, before: Some(before), validate_only: false });
        self.asked.insert(id, Asked::Delete { quorum });
    }

    fn idle(&mut self, broker: &mut Broker) {
        let log = broker.shards[0].log.as_mut().expect("it runs on a log");
        broker.failed = log.idle().err();
    }

    fn tick(&mut self, broker: &mut Broker) -> Result<(), String> {
        broker.now.monotonic_ms += 100;
        broker.now.wall_ms += 100;
        broker.shards[0].inputs.push(Input::Tick);
        self.settle(broker)
    }

    fn settle(&mut self, broker: &mut Broker) -> Result<(), String> {
        for _ in 0..100 {
            self.turn(broker);
            self.sync(broker)?;
            if broker.failed.is_some() || broker.shards[0].inputs.is_empty() {
                return Ok(());
            }
        }
        Err("the broker does not come to rest".to_owned())
    }

    /// The engine runs; what it says to clients and readers from now on binds it.
    fn turn(&mut self, broker: &mut Broker) {
        broker.turn();
        for (quorum, view) in &broker.views {
            if let Some(promises) = self.promises.get_mut(quorum) {
                promises.publish(view);
            }
        }
        for (id, outcome) in std::mem::take(&mut broker.replies) {
            match (self.asked.remove(&id), outcome) {
                (Some(Asked::Append { quorum, sequence }), Ok(Reply::Produced(produced))) => {
                    self.tally.acknowledged += 1;
                    let base_offset = produced.base_offset.expect("it is the acknowledgement of records");
                    self.promises.get_mut(&quorum).expect("it was asked").acknowledge(sequence, base_offset);
                }
                (Some(Asked::Append { .. }), Err(Error::OutcomeUnknown { .. })) => {}
                (Some(Asked::Append { quorum, sequence }), Err(_)) => {
                    self.promises.get_mut(&quorum).expect("it was asked").refuse(sequence);
                }
                (Some(Asked::Delete { quorum }), Ok(Reply::Deleted { log_start })) => {
                    self.tally.deletions += 1;
                    self.promises.get_mut(&quorum).expect("it was asked").deleted(log_start);
                }
                _ => {}
            }
        }
    }

    /// What was given out becomes durable, unless the power is cut before.
    fn sync(&mut self, broker: &mut Broker) -> Result<(), String> {
        let writes = &mut broker.shards[0].writes;
        for (_, write) in writes.iter_mut().filter(|(_, write)| !write.entries.is_empty()) {
            write.segment_size_bytes_max = Some(SEGMENT_BYTES);
        }
        let votes: Vec<_> =
            writes.iter().filter_map(|(_, write)| Some((write.quorum, write.vote?))).collect();
        broker.sync();
        match &broker.failed {
            None => self.votes.extend(votes),
            Some(_) if self.has_stopped() => {}
            Some(error) => return Err(format!("a round failed on a sound disk: {error}")),
        }
        Ok(())
    }

    fn check_vote(&self, quorum: QuorumId, found: Vote) -> Result<(), String> {
        let Some(known) = self.votes.get(&quorum) else { return Ok(()) };
        let is_later = found.term > known.term;
        if is_later || (found.term == known.term && found.voted_for == known.voted_for) {
            return Ok(());
        }
        Err(format!("quorum {quorum}: {known:?} was durable, {found:?} is there"))
    }

    fn check(&mut self, broker: &Broker) -> Result<(), String> {
        let log = broker.shards[0].log.as_ref().expect("it runs on a log");
        for (quorum, promises) in &mut self.promises {
            let (Some(view), Some(reader)) = (broker.views.get(quorum), log.reader(*quorum)) else {
                return Err(format!("quorum {quorum} is not there"));
            };
            promises.check(view, &reader)?;
        }
        Ok(())
    }
}

/// One run of its own; a broken promise is told with the seed that breaks it again.
fn run(seed: u64, cuts: u64) -> Tally {
    let (mut run, broker) = Run::start(seed);
    let kept = run.go(cuts, broker);
    let tally = run.tally;
    if let Err(what) = kept {
        panic!(
            "broken after {} power cuts and {} crashes of the process: {what}; replay with MQ_SEED={seed}",
            tally.power_cuts, tally.process_crashes
        );
    }
    tally
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {value:?}")))
}

/// Every second run, so that two cores share them.
fn runs(first_seed: u64) {
    if let Some(seed) = number("MQ_SEED") {
        if seed % 2 == first_seed {
            run(seed, CUTS_PER_RUN);
        }
        return;
    }
    let cuts = number("MQ_CUTS").unwrap_or(CUTS);
    let mut total = Tally::default();
    for seed in (first_seed..cuts.div_ceil(CUTS_PER_RUN)).step_by(2) {
        total.add(&run(seed, CUTS_PER_RUN));
    }
    println!("{total:?}");
    assert!(total.cuts_in_recovery > total.power_cuts / 20, "too few cuts hit a recovery: {total:?}");
    assert!(total.process_crashes > total.power_cuts / 5, "too few crashes of the process alone: {total:?}");
    assert!(total.acknowledged > total.power_cuts, "too little was acknowledged: {total:?}");
    assert!(total.deletions > total.power_cuts / 20, "too little was deleted: {total:?}");
}

#[test]
fn what_was_promised_survives_power_cuts_anywhere_with_even_seeds() {
    runs(0);
}

#[test]
fn what_was_promised_survives_power_cuts_anywhere_with_odd_seeds() {
    runs(1);
}
