//! What goes wrong, and when: each kind of fault comes by itself, again and again, and ends by itself.
//!
//! A fault is counted once, however long it lasts. How a broker, a disk or a link behaves under it is theirs to know.

use crate::broker::Broker;
use crate::fault_kind::FaultKind;
use crate::network::Network;
use crate::queue::{At, Event, Life};
use crate::random::Random;
use crate::sometimes;
use crate::stage::Stage;
use crate::swarm::Swarm;
use crate::turn::Halt;
use crate::whole;
use std::collections::BTreeMap;

/// Names a fault that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FaultId(pub(crate) u64);

/// What is undone when a fault ends.
#[derive(Debug)]
enum Ending {
    /// These links are mended.
    Mend(Vec<(usize, usize)>),
    /// These links come back and go again, so many times.
    Flap { links: Vec<(usize, usize)>, is_cut: bool, times_left: u64 },
    /// These links lose no more than others.
    LoseNothing(Vec<(usize, usize)>),
    /// This process runs again.
    Resume(At, Life),
    /// This disk is as fast as before.
    SpeedUp(At),
    /// This disk works again.
    Unhang(At),
    /// This disk has room again.
    Empty(At),
    /// This process is killed again, so many times.
    KillAgain(At, u64),
}

/// A process that is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    pub(crate) at: At,
    /// The whole machine loses its power.
    pub(crate) is_machine: bool,
    /// What was on its disk is gone.
    pub(crate) loses_disk: bool,
    /// After so long a new process starts, in microseconds.
    pub(crate) down_us: u64,
}

/// All that goes wrong.
#[derive(Debug)]
pub(crate) struct Faults {
    /// A stream of numbers for each kind.
    random: BTreeMap<FaultKind, Random>,
    means_us: BTreeMap<FaultKind, u64>,
    endings: BTreeMap<FaultId, Ending>,
    last: u64,
    /// No more faults begin.
    pub(crate) is_over: bool,
}

impl Faults {
    pub(crate) fn new(swarm: &Swarm) -> Faults {
        let stream = |kind: FaultKind| (kind, Random::new(swarm.seed, &kind.name()));
        Faults {
            random: FaultKind::ALL.into_iter().map(stream).collect(),
            means_us: swarm.faults.clone(),
            endings: BTreeMap::new(),
            last: 0,
            is_over: false,
        }
    }

    /// The first fault of each kind is due.
    pub(crate) fn start(&mut self, from_us: u64, stage: &mut Stage) {
        for (kind, mean_us) in &self.means_us {
            let random = self.random.get_mut(kind).expect("there is a stream for every kind");
            let first_us = from_us + random.below(2 * mean_us);
            stage.queue.at(first_us, Event::Fault { kind: *kind });
        }
    }

    /// A fault begins. Gives back the processes that are to end.
    pub(crate) fn begin(
        &mut self,
        kind: FaultKind,
        brokers: &mut [Broker],
        network: &mut Network,
        stage: &mut Stage,
    ) -> Vec<Kill> {
        if self.is_over {
            return Vec::new();
        }
        let mut random = self.random.remove(&kind).expect("there is a stream for every kind");
        let mut next_us = 1 + random.below(2 * self.means_us[&kind]);
        let mut at = Some(random.below(brokers.len() as u64) as At);
        if kind == FaultKind::DiskLost {
            at = at.and_then(|at| stage.copies.disk_to_lose(at, brokers, &stage.record, &mut random));
            next_us = stage.copies.looks_again_us().unwrap_or(next_us);
        }
        if kind == FaultKind::BitFlip {
            at = at.filter(|at| flip_bits(*at, brokers, &mut random, stage));
        }
        stage.queue.after(next_us, Event::Fault { kind });
        let Some(at) = at else {
            self.random.insert(kind, random);
            return Vec::new();
        };
        *stage.tally.faults.entry(kind).or_default() += 1;
        let kills = self.strike(kind, at, &mut random, brokers, network, stage);
        self.random.insert(kind, random);
        kills
    }

    fn strike(
        &mut self,
        kind: FaultKind,
        at: At,
        random: &mut Random,
        brokers: &mut [Broker],
        network: &mut Network,
        stage: &mut Stage,
    ) -> Vec<Kill> {
        match kind {
            FaultKind::Crash
            | FaultKind::PowerCut
            | FaultKind::PowerCutOfAll
            | FaultKind::CrashLoop
            | FaultKind::DiskLost => self.kill(kind, at, brokers.len(), random, stage),
            // Found when it starts again, unless something has read it before.
            FaultKind::BitFlip if random.one_in(2) => {
                let kind = if random.one_in(2) { FaultKind::CrashLoop } else { FaultKind::Crash };
                self.kill(kind, at, brokers.len(), random, stage)
            }
            FaultKind::BitFlip => Vec::new(),
            FaultKind::ReadError if random.one_in(4) => {
                let (reads_ahead, count) = (random.scaled(1..=200), random.scaled(1..=20));
                brokers[at].disk.plan_read_errors_at_start(reads_ahead - 1, count);
                self.kill(FaultKind::Crash, at, brokers.len(), random, stage)
            }
            FaultKind::StopAtOperation
            | FaultKind::StopAtRecord
            | FaultKind::StopAtEffect
            | FaultKind::PauseAtEffect
            | FaultKind::Pause => {
                self.process(kind, &mut brokers[at], random, stage);
                Vec::new()
            }
            FaultKind::DiskError
            | FaultKind::DiskFull
            | FaultKind::DiskSlow
            | FaultKind::DiskHung
            | FaultKind::ReadError => {
                self.disk(kind, &mut brokers[at], random, stage);
                Vec::new()
            }
            FaultKind::ClockJump | FaultKind::ClockDrift => {
                clock(kind, &mut brokers[at], random, stage.now_us());
                Vec::new()
            }
            _ => {
                self.network(kind, at, brokers.len(), network, random, stage);
                Vec::new()
            }
        }
    }

    fn kill(
        &mut self,
        kind: FaultKind,
        at: At,
        brokers: usize,
        random: &mut Random,
        stage: &mut Stage,
    ) -> Vec<Kill> {
        let is_machine = kind != FaultKind::Crash && !(kind == FaultKind::CrashLoop && random.one_in(2));
        let loses_disk = kind == FaultKind::DiskLost;
        let mut kill = |at| Kill { at, is_machine, loses_disk, down_us: random.scaled(50_000..=4_000_000) };
        match kind {
            FaultKind::PowerCutOfAll => {
                sometimes!("all brokers were down");
                (0..brokers).map(kill).collect()
            }
            FaultKind::CrashLoop => {
                let first = Kill { down_us: 20_000, ..kill(at) };
                let times = random.between(2..=6);
                self.ends(random.scaled(30_000..=500_000), Ending::KillAgain(at, times), stage);
                vec![first]
            }
            _ => vec![kill(at)],
        }
    }

    fn process(&mut self, kind: FaultKind, broker: &mut Broker, random: &mut Random, stage: &mut Stage) {
        if broker.process.is_none() {
            return;
        }
        match kind {
            FaultKind::StopAtOperation => broker.disk.plan_stop(random.scaled(1..=200)),
            FaultKind::StopAtRecord => broker.stops_at_record = true,
            FaultKind::StopAtEffect => broker.plan_halt(random.scaled(1..=400), Halt::ForEver),
            FaultKind::PauseAtEffect => {
                let halt = Halt::Us(random.scaled(1_000..=2_000_000));
                broker.plan_halt(random.scaled(1..=400), halt);
            }
            _ => {
                broker.paused += 1;
                let ending = Ending::Resume(broker.at, broker.life);
                self.ends(random.scaled(20_000..=6_000_000), ending, stage);
            }
        }
    }

    fn disk(&mut self, kind: FaultKind, broker: &mut Broker, random: &mut Random, stage: &mut Stage) {
        let at = broker.at;
        match kind {
            FaultKind::DiskError => broker.disk.plan_error(random.scaled(1..=100)),
            FaultKind::ReadError => broker.disk.plan_read_errors(random.below(300), random.scaled(1..=20)),
            FaultKind::DiskFull => {
                broker.disk.fill(random.below(600_000));
                self.ends(random.scaled(200_000..=8_000_000), Ending::Empty(at), stage);
            }
            FaultKind::DiskSlow => {
                broker.disk.slow += 1;
                self.ends(random.scaled(100_000..=5_000_000), Ending::SpeedUp(at), stage);
            }
            _ => {
                broker.disk.hung += 1;
                self.ends(random.scaled(100_000..=6_000_000), Ending::Unhang(at), stage);
            }
        }
    }

    fn network(
        &mut self,
        kind: FaultKind,
        at: At,
        brokers: usize,
        network: &mut Network,
        random: &mut Random,
        stage: &mut Stage,
    ) {
        let clients = network.clients();
        let other = (at + 1 + random.below(brokers as u64) as usize) % (brokers + 1);
        let other = if other == at { clients } else { other };
        let both = |a, b| [(a, b), (b, a)];
        let links: Vec<(usize, usize)> = match kind {
            FaultKind::CutPair | FaultKind::Flap => both(at, other).to_vec(),
            FaultKind::CutOneWay if random.one_in(2) => vec![(at, other)],
            FaultKind::CutOneWay => vec![(other, at)],
            FaultKind::Isolate => {
                let nodes = if random.one_in(2) { brokers } else { brokers + 1 };
                (0..nodes).filter(|node| *node != at).flat_map(|node| both(at, node)).collect()
            }
            FaultKind::Bridge => both((at + 1) % brokers, (at + 2) % brokers).to_vec(),
            _ => (0..=brokers).filter(|node| *node != at).flat_map(|node| both(at, node)).collect(),
        };
        let lasts_us = random.scaled(50_000..=6_000_000);
        match kind {
            FaultKind::Lossy => {
                let loss_ppm = random.between(50_000..=600_000) as u32;
                links.iter().for_each(|(from, to)| network.lose(*from, *to, loss_ppm));
                self.ends(lasts_us, Ending::LoseNothing(links), stage);
            }
            FaultKind::Flap => {
                links.iter().for_each(|(from, to)| network.cut(*from, *to));
                let times_left = random.between(3..=20);
                let ending = Ending::Flap { links, is_cut: true, times_left };
                self.ends(random.scaled(10_000..=500_000), ending, stage);
            }
            _ => {
                links.iter().for_each(|(from, to)| network.cut(*from, *to));
                self.ends(lasts_us, Ending::Mend(links), stage);
            }
        }
    }

    fn ends(&mut self, after_us: u64, ending: Ending, stage: &mut Stage) {
        self.last += 1;
        let fault = FaultId(self.last);
        self.endings.insert(fault, ending);
        stage.queue.after(after_us, Event::Heal { fault });
    }

    /// A fault ends. Gives back a process that is to end once more.
    pub(crate) fn end(
        &mut self,
        fault: FaultId,
        brokers: &mut [Broker],
        network: &mut Network,
        stage: &mut Stage,
    ) -> Option<Kill> {
        match self.endings.remove(&fault)? {
            Ending::Mend(links) => links.iter().for_each(|(from, to)| network.mend(*from, *to)),
            Ending::Flap { links, is_cut, times_left } => {
                if is_cut {
                    links.iter().for_each(|(from, to)| network.mend(*from, *to));
                } else {
                    links.iter().for_each(|(from, to)| network.cut(*from, *to));
                }
                if times_left > 0 || !is_cut {
                    let random = self.random.get_mut(&FaultKind::Flap).expect("there is a stream for it");
                    let after_us = random.scaled(10_000..=500_000);
                    let times_left = times_left.saturating_sub(1);
                    self.ends(after_us, Ending::Flap { links, is_cut: !is_cut, times_left }, stage);
                }
            }
            Ending::LoseNothing(links) => links.iter().for_each(|(from, to)| network.lose(*from, *to, 0)),
            Ending::Resume(at, life) if brokers[at].life == life => {
                brokers[at].paused -= 1;
                brokers[at].resume(stage);
            }
            Ending::Resume(..) => {}
            Ending::SpeedUp(at) => brokers[at].disk.slow -= 1,
            Ending::Unhang(at) => {
                brokers[at].disk.hung -= 1;
                brokers[at].resume(stage);
            }
            Ending::Empty(at) => brokers[at].disk.empty(),
            Ending::KillAgain(at, times_left) => {
                let random = self.random.get_mut(&FaultKind::CrashLoop).expect("there is a stream for it");
                let (after_us, is_machine) = (random.scaled(30_000..=500_000), random.one_in(2));
                if times_left > 1 {
                    self.ends(after_us, Ending::KillAgain(at, times_left - 1), stage);
                }
                return Some(Kill { at, is_machine, loses_disk: false, down_us: 20_000 });
            }
        }
        None
    }

    /// Everything works again, and nothing more goes wrong. What is down starts by itself.
    pub(crate) fn heal(&mut self, brokers: &mut [Broker], network: &mut Network, stage: &mut Stage) {
        self.is_over = true;
        self.endings.clear();
        network.heal();
        for broker in brokers {
            broker.disk.mend();
            broker.paused = 0;
            broker.clock.set_right(stage.now_us());
            broker.resume(stage);
            broker.stops_at_record = false;
            broker.end_halts(stage);
        }
    }
}

/// Bits flip of one of this broker's replicas. False: of none may any.
fn flip_bits(at: At, brokers: &mut [Broker], random: &mut Random, stage: &mut Stage) -> bool {
    let may = whole::can_rot(at, brokers, &stage.record);
    if may.is_empty() {
        return false;
    }
    let (quorum, replica) = *random.pick(&may);
    let has_flipped = brokers[at].disk.flip_bits((quorum, replica), random);
    if has_flipped {
        stage.copies.rot(quorum);
        let numbers = [102, at as u64, quorum.0, replica.0];
        stage.step(&numbers, || format!("b{}: bits of q{quorum} flip", at + 1));
    }
    has_flipped
}

fn clock(kind: FaultKind, broker: &mut Broker, random: &mut Random, now_us: u64) {
    let is_back = random.one_in(2);
    let sign = if is_back { -1 } else { 1 };
    if kind == FaultKind::ClockDrift {
        return broker.clock.drift(now_us, sign * random.scaled(10..=100_000) as i64);
    }
    if is_back {
        sometimes!("a clock jumped back");
    }
    let by_ms = random.scaled(1..=200_000_000);
    if by_ms > 24 * 60 * 60 * 1_000 {
        sometimes!("a clock jumped by more than a day");
    }
    broker.clock.jump(sign * by_ms as i64);
}
