//! Every state that a crash of the machine may leave: the scenario is stopped inside each operation, and of what is
//! not durable then every allowed part survives, or, where that is too many, all of the newest and a sample.
//!
//! Each state is opened once and held against what is known. A sample of them crashes a second time in that recovery,
//! and the process that is killed alone is followed by a crash of the machine: neither may change anything.

use crate::fixture::known::Known;
use crate::fixture::*;
use crate::scenario::{Shards, run_until, run_whole};
use mq_log::disk::{Crash, Fault, Unsynced};
use mq_log::{Disk, MemDisk, ShardOpen};
use mq_types::SegmentNumber;
use mq_types::persist::RecoveredReplica;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

/// Of so many unsynced changes every subset is tried; of more, every subset of the newest, with all and with none of
/// the older ones, and so many that are drawn.
const ALL_SUBSETS_CHANGES_MAX: usize = 9;
const NEWEST_CHANGES: usize = 6;
const DRAWN_SUBSETS: usize = 48;
/// One state of so many crashes a second time, inside its recovery.
const SECOND_CRASH_INTERVAL: u64 = 12;
/// So many subsets are drawn for a second crash, beside all and nothing.
const SECOND_CRASH_SUBSETS: usize = 3;

/// What has been tried.
#[derive(Default)]
struct Tally {
    /// What the disk held and what was known, of every state that was opened.
    seen: BTreeSet<(u64, u64)>,
    states: u64,
    second_crashes: u64,
    process_crashes: u64,
    unsynced_max: usize,
}

struct Search {
    random: ChaCha8Rng,
    tally: Tally,
}

impl Search {
    fn operation(&mut self, operation: u64, shards: Shards) -> Result<(), String> {
        let (disk, known) = run_until(operation, shards);
        let unsynced = disk.unsynced();
        self.tally.unsynced_max = unsynced.len().max(self.tally.unsynced_max);
        for kept in self.subsets(&unsynced) {
            let crashed = disk.fork().crash_keeping(kept.iter().copied());
            if !self.tally.seen.insert((fingerprint(&crashed), known.moment)) {
                continue;
            }
            self.tally.states += 1;
            let outcome = match self.tally.states % SECOND_CRASH_INTERVAL {
                0 => self.second_crash(&crashed, &known),
                _ => open_and_check(&crashed, &known).map(drop),
            };
            outcome.map_err(|what| format!("{what}\nkept {kept:#?}\nof {unsynced:#?}"))?;
        }
        self.process_crash(&disk, &known)
    }

    /// The parts of what is not durable that are to survive, one after the other.
    fn subsets<'a>(&mut self, unsynced: &'a [Unsynced]) -> Vec<Vec<&'a Unsynced>> {
        let count = unsynced.len();
        let every = |newest: usize, older: bool| {
            (0..1_u32 << newest).map(move |bits| {
                let is_kept = move |at: usize| match (at + newest).checked_sub(count) {
                    Some(bit) => bits & (1 << bit) != 0,
                    None => older,
                };
                (0..count).filter(|at| is_kept(*at)).map(|at| &unsynced[at]).collect()
            })
        };
        if count <= ALL_SUBSETS_CHANGES_MAX {
            return every(count, false).collect();
        }
        let newest = every(NEWEST_CHANGES, false).chain(every(NEWEST_CHANGES, true));
        let drawn = (0..DRAWN_SUBSETS).map(|_| self.draw(unsynced));
        newest.chain(drawn).collect()
    }

    fn draw<'a>(&mut self, unsynced: &'a [Unsynced]) -> Vec<&'a Unsynced> {
        unsynced.iter().filter(|_| self.random.next_u32().is_multiple_of(2)).collect()
    }

    /// Opens a state, and the same state after a crash of the machine in the middle of that, and at its end.
    fn second_crash(&mut self, crashed: &MemDisk, known: &Known) -> Result<(), String> {
        let whole = crashed.fork();
        let before = whole.operations();
        let found = open_and_check(&whole, known)?;
        let operations = whole.operations() - before;
        self.same_after(&whole, &found)?;
        let stopped = crashed.fork();
        stopped.plan_fault(before + self.random.next_u64() % operations, Fault::Stop);
        let opened = mq_log::open(stopped.clone(), options());
        assert!(opened.is_err(), "it was stopped before its end");
        let unsynced = stopped.unsynced();
        let mut subsets = vec![Vec::new(), unsynced.iter().collect()];
        subsets.extend((0..SECOND_CRASH_SUBSETS).map(|_| self.draw(&unsynced)));
        for kept in subsets {
            self.tally.second_crashes += 1;
            let again = open_and_check(&stopped.fork().crash_keeping(kept), known)?;
            same(&found, &again)?;
        }
        Ok(())
    }

    /// The process alone is killed, and the next one too, in the middle of its recovery: what that one has said must
    /// have become durable, whatever of the rest does.
    fn process_crash(&mut self, disk: &MemDisk, known: &Known) -> Result<(), String> {
        self.tally.process_crashes += 1;
        let killed = disk.fork().crash(Crash::Process);
        let whole = killed.fork();
        let before = whole.operations();
        let found = open_and_check(&whole, known)?;
        let operations = whole.operations() - before;
        self.same_after(&whole, &found)?;
        let stopped = killed;
        stopped.plan_fault(before + self.random.next_u64() % operations, Fault::Stop);
        let opened = mq_log::open(stopped.clone(), options());
        assert!(opened.is_err(), "it was stopped before its end");
        let unsynced = stopped.unsynced();
        let kept = self.draw(&unsynced);
        open_and_check(&stopped.crash_keeping(kept), known).map(drop)
    }

    /// Nothing of what an open has said is lost if the machine crashes right after it.
    fn same_after(&mut self, opened: &MemDisk, found: &[RecoveredReplica]) -> Result<(), String> {
        let unsynced = opened.unsynced();
        for kept in [Vec::new(), self.draw(&unsynced)] {
            let crashed = opened.fork().crash_keeping(kept);
            same(found, &recovered(&open_shards(&crashed)?))?;
        }
        Ok(())
    }
}

fn options() -> mq_log::Options {
    small_options(2, 200)
}

fn open_shards(disk: &MemDisk) -> Result<Vec<ShardOpen<MemDisk>>, String> {
    mq_log::open(disk.clone(), options()).map_err(|error| format!("the store does not open: {error}"))
}

fn open_and_check(disk: &MemDisk, known: &Known) -> Result<Vec<RecoveredReplica>, String> {
    let shards = open_shards(disk)?;
    known.settle(&shards)?;
    Ok(recovered(&shards))
}

/// What was found, without the numbers of segments: those that a crash has used up are passed over.
fn recovered(shards: &[ShardOpen<MemDisk>]) -> Vec<RecoveredReplica> {
    let mut found: Vec<_> = shards.iter().flat_map(|shard| shard.recovered.clone()).collect();
    for segment in found.iter_mut().flat_map(|replica| &mut replica.segments) {
        segment.number = SegmentNumber(0);
    }
    found
}

fn same(before: &[RecoveredReplica], after: &[RecoveredReplica]) -> Result<(), String> {
    if before == after {
        return Ok(());
    }
    Err(format!("a second recovery found something else\nfirst {before:#?}\nthen {after:#?}"))
}

/// Of all names and bytes on a disk.
fn fingerprint(disk: &MemDisk) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in disk.list(&directory).expect("it exists") {
            let path = directory.join(entry.name);
            path.hash(&mut hasher);
            if entry.is_dir {
                directories.push(path);
            } else {
                bytes_of(disk, &path).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

/// Tries all states of a scenario. A failure is told in one line, with everything that it takes behind it.
fn search(shards: Shards) {
    let (disk, _) = run_whole(shards);
    let mut search = Search { random: ChaCha8Rng::seed_from_u64(7), tally: Tally::default() };
    for operation in 0..disk.operations() {
        if let Err(what) = search.operation(operation, shards) {
            panic!("broken after {} crash states: {what}\nin operation {operation}", search.tally.states);
        }
    }
    let Tally { states, second_crashes, process_crashes, unsynced_max, .. } = search.tally;
    println!(
        "{states} crash states of {} operations, with {unsynced_max} unsynced changes at most; {second_crashes} \
         crashes in a recovery, {process_crashes} of the process alone",
        disk.operations()
    );
    assert!(states > 5_000 && second_crashes > states / 4, "too little was tried");
}

#[test]
fn every_state_that_a_crash_may_leave_is_what_was_written() {
    search([1, 1, 1]);
}
