//! Seeded random runs: everything that a wire, a disk and a process may do, in any order.
//!
//! Each seed draws which faults it has and how many; a failure names its seed. After the faults the quorum must
//! recover by itself.

mod moving;

use crate::members::names;
use crate::world::{World, id};
use mq_raft::{HEARTBEAT_TICKS, Kind};
use mq_types::{Index, ReplicaId};
use std::collections::BTreeMap;

const SEEDS: u64 = 60;
const STEPS_PER_SEED: usize = 12_000;
/// Messages on the wire; the oldest are lost beyond it.
const WIRE_MESSAGES_MAX: usize = 200;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True once in so many times; never if that is 0.
    fn once_in(&mut self, times: usize) -> bool {
        times > 0 && self.below(times) == 0
    }
}

/// How often each fault happens: once in so many steps, 0 is never.
struct Faults {
    drop: usize,
    duplicate: usize,
    reorder: bool,
    restart: usize,
    cut: usize,
    transfer: usize,
    change: usize,
    trim: usize,
}

/// What the run has done, so that an idle run is noticed.
#[derive(Default)]
struct Tally {
    proposed: u64,
    restarts: u64,
    reads: u64,
    answers: u64,
    changes: usize,
    restores: usize,
}

struct Run {
    random: Random,
    faults: Faults,
    world: World,
    tally: Tally,
    /// Per read index asked for: what was committed when it was asked.
    asked: BTreeMap<(ReplicaId, u64), Index>,
}

impl Run {
    /// `moving`: members come and go, and logs are trimmed.
    fn new(seed: u64, moving: bool) -> Run {
        let mut random = Random(seed);
        let (voters, learners) = [(1, 0), (1, 1), (2, 0), (3, 0), (3, 0), (3, 1), (5, 0)][random.below(7)];
        let mut world = World::with_learners(voters, learners);
        world.kind = if random.once_in(2) { Kind::Machine } else { Kind::Partition };
        world.limits.retained_bytes_max = [0, 1_000, 1 << 20][random.below(3)];
        world.limits.append_bytes_max = [0, 300, 1 << 20][random.below(3)];
        world.limits.appends_in_flight_max = 1 + random.below(8);
        world.applies_at_once = random.once_in(2);
        world.records_at_once = random.once_in(2);
        for replica in world.ids() {
            world.restart(replica);
        }
        let mut rate = |rates: [usize; 3]| rates[random.below(3)];
        let faults = Faults {
            drop: rate([0, 50, 5]),
            duplicate: rate([0, 50, 5]),
            reorder: rate([0, 1, 1]) == 1,
            restart: rate([0, 400, 60]),
            cut: rate([0, 400, 100]),
            transfer: rate([0, 0, 300]),
            change: if moving { rate([20, 50, 200]) } else { 0 },
            trim: if moving { rate([0, 50, 200]) } else { 0 },
        };
        Run { random, faults, world, tally: Tally::default(), asked: BTreeMap::new() }
    }

    fn any(&mut self) -> ReplicaId {
        let ids = self.world.ids();
        ids[self.random.below(ids.len())]
    }

    fn step(&mut self) {
        let replica = self.any();
        self.fault(replica);
        if !self.world.is_up(replica) {
            if self.random.once_in(20) {
                self.world.start(replica);
            }
            return;
        }
        match self.random.below(20) {
            0..4 => {
                self.world.member(replica).tick();
            }
            4 => {
                self.world.work(replica);
            }
            5..8 => {
                self.world.work(replica);
                self.world.sync(replica);
            }
            8 => self.world.serve_read(replica),
            9 => {
                self.world.apply(replica);
                self.world.record(replica);
            }
            10 => self.ask(replica),
            11..13 => self.propose(replica),
            _ => self.deliver(),
        }
        self.check_answers(replica);
    }

    fn fault(&mut self, replica: ReplicaId) {
        let other = self.any();
        if self.random.once_in(self.faults.restart) {
            self.tally.restarts += 1;
            if self.random.once_in(2) {
                self.record_and_crash(replica);
            }
            if self.random.once_in(3) {
                self.world.crash(replica);
            } else {
                self.world.restart(replica);
            }
        }
        if self.random.once_in(self.faults.cut) {
            match self.random.below(4) {
                0 => self.world.isolate(replica),
                1 => {
                    self.world.cuts.insert((replica, other));
                }
                _ => self.world.cuts.clear(),
            }
        }
        if self.random.once_in(self.faults.trim) && self.world.is_up(replica) {
            self.trim(replica);
        }
        if self.random.once_in(self.faults.change)
            && let Some(leader) = self.world.leader()
        {
            self.change_members(leader);
        }
        if self.random.once_in(self.faults.transfer) && self.world.is_up(replica) {
            self.world.member(replica).transfer_leader(other);
        }
    }

    fn deliver(&mut self) {
        if self.world.wire.is_empty() {
            return;
        }
        let at = if self.faults.reorder { self.random.below(self.world.wire.len()) } else { 0 };
        if self.random.once_in(self.faults.duplicate) {
            let twin = self.world.wire[at].clone();
            self.world.wire.push(twin);
        }
        if self.random.once_in(self.faults.drop) {
            let lost = self.world.wire.remove(at);
            if self.random.once_in(2) && self.world.is_up(lost.from) {
                self.world.member(lost.from).unreachable(lost.to);
            }
        } else {
            self.world.deliver(at);
        }
        let excess = self.world.wire.len().saturating_sub(WIRE_MESSAGES_MAX);
        self.world.wire.drain(..excess);
    }

    fn propose(&mut self, replica: ReplicaId) {
        if !self.world.member(replica).is_leader() {
            return;
        }
        let count = 1 + self.random.below(4);
        let entries = self.world.entries(replica, &["value"; 4][..count]);
        if self.world.member(replica).propose(entries).is_ok() {
            self.tally.proposed += count as u64;
        }
    }

    fn ask(&mut self, replica: ReplicaId) {
        let committed = self.world.committed.last_key_value().map_or(Index(0), |(&index, _)| index);
        self.tally.reads += 1;
        let context = self.tally.reads;
        self.asked.insert((replica, context), committed);
        self.world.member(replica).read_index(context);
    }

    fn check_answers(&mut self, replica: ReplicaId) {
        for answer in std::mem::take(&mut self.world.replica(replica).read_indexes) {
            let committed = self.asked[&(replica, answer.context)];
            assert!(
                answer.index >= committed,
                "a read index lies before what was committed when it was asked for"
            );
            self.tally.answers += 1;
        }
    }

    /// Ends all faults; then the quorum must elect, commit, and agree.
    fn heal(&mut self) {
        self.world.cuts.clear();
        self.world.applies_at_once = true;
        self.world.records_at_once = true;
        for replica in self.world.ids() {
            if !self.world.is_up(replica) {
                self.world.start(replica);
            }
            self.world.apply(replica);
            self.world.record(replica);
        }
        self.world.settle();
        self.leave_joint();
        let leader = self.world.leader().expect("a leader after all faults have ended");
        self.world.propose(leader, &["the last"]);
        self.world.settle();
        self.world.pass(4 * HEARTBEAT_TICKS);
        let membership = self.world.member(leader).membership().clone();
        let last_index = self.world.member(leader).last_index();
        for replica in self.world.ids().into_iter().filter(|id| names(&membership, *id)) {
            let values = self.world.values(replica);
            assert_eq!(values.last().map(String::as_str), Some("the last"), "replica {replica} is behind");
            assert_eq!(self.world.member(replica).commit(), last_index, "replica {replica} is behind");
            assert_eq!(self.world.member(replica).applied_index(), last_index, "replica {replica} is behind");
            assert_eq!(*self.world.member(replica).membership(), membership, "replica {replica}");
        }
    }

    fn check(&self) {
        self.world.assert_logs_match();
        self.world.assert_committed_is_on_a_majority();
        if self.faults.change == 0 {
            self.world.assert_committed_is_on_a_majority_of_the_founders();
        }
    }
}

fn run(seed: u64, moving: bool) -> Run {
    let mut run = Run::new(seed, moving);
    for step in 0..STEPS_PER_SEED {
        run.step();
        if step % 500 == 0 {
            run.check();
        }
    }
    run.heal();
    run.check();
    run.tally.changes = run.world.memberships.len() - 1;
    run.tally.restores = run.world.replicas.values().map(|state| state.restores).sum();
    run
}

/// Runs all seeds; a run that does nothing proves nothing.
fn run_all(moving: bool) -> Tally {
    let mut total = Tally::default();
    let (mut committed, mut leaders) = (0, 0);
    for seed in 0..SEEDS {
        let finished = std::panic::catch_unwind(|| run(seed, moving));
        let run = finished.unwrap_or_else(|_| panic!("seed {seed} fails; see the message above"));
        total.proposed += run.tally.proposed;
        total.restarts += run.tally.restarts;
        total.reads += run.tally.reads;
        total.answers += run.tally.answers;
        total.changes += run.tally.changes;
        total.restores += run.tally.restores;
        committed += run.world.committed.len();
        leaders += run.world.leaders.len();
    }
    let busy = format!(
        "{} proposed, {committed} committed, {leaders} leaders, {} restarts, {} of {} read indexes answered, \
         {} changes of the members, {} start snapshots",
        total.proposed, total.restarts, total.answers, total.reads, total.changes, total.restores
    );
    println!("{busy}");
    assert!(committed as u64 > 150 * SEEDS && leaders as u64 > 4 * SEEDS, "{busy}");
    assert!(total.restarts > 10 * SEEDS && total.answers > 10 * SEEDS, "{busy}");
    total
}

#[test]
fn nothing_committed_is_lost_and_no_term_has_two_leaders() {
    let total = run_all(false);
    assert_eq!((total.changes, total.restores), (0, 0));
}

#[test]
fn nothing_committed_is_lost_while_members_come_and_go_and_logs_begin_anew() {
    let total = run_all(true);
    let seeds = SEEDS as usize;
    assert!(total.changes > 3 * seeds && total.restores > 2 * seeds, "see the counts above");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for moving in [false, true] {
        let first = run(11, moving);
        let second = run(11, moving);
        assert_eq!(first.world.committed, second.world.committed);
        assert_eq!(first.world.leaders, second.world.leaders);
        assert_eq!(first.world.memberships, second.world.memberships);
        assert!(first.world.is_up(id(1)));
    }
}
