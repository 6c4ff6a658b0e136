//! What a run is like: a random subset of the kinds of faults, rates and sizes, all from the seed.
//!
//! A fixed mix of faults finds rare bugs about ten times more slowly than a different one for each seed ("Swarm
//! Testing", Groce et al., 2012).

use crate::fault_kind::FaultKind;
use crate::random::Random;
use mq_log::ScrubOptions;
use std::collections::BTreeMap;

/// Which faults a run may draw from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Any subset of all of them.
    #[default]
    Swarm,
    /// None.
    Calm,
    /// Those of the network.
    Network,
    /// Those of the disk.
    Disk,
    /// Those of processes.
    Process,
    /// Those of clocks.
    Time,
}

/// The network's part. Rates are in millionths of all messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkOptions {
    pub(crate) delay_us_min: u64,
    pub(crate) delay_us_max: u64,
    pub(crate) loss_ppm: u32,
    /// Of the start snapshots.
    pub(crate) large_loss_ppm: u32,
    pub(crate) duplicate_ppm: u32,
    pub(crate) late_ppm: u32,
    pub(crate) reorders: bool,
}

/// The disks' part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskOptions {
    pub(crate) round_us_min: u64,
    pub(crate) round_us_max: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) preallocate_step_bytes: u64,
    pub(crate) index_interval_bytes: u64,
    pub(crate) state_log_bytes: u64,
}

/// The clients' part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadOptions {
    pub(crate) producers: usize,
    /// Batches that a producer has outstanding at most.
    pub(crate) window: usize,
    /// How long a producer pauses between batches, in microseconds.
    pub(crate) pause_us_max: u64,
    pub(crate) records_max: u64,
    pub(crate) value_bytes_max: u64,
    pub(crate) attempts_max: u32,
    pub(crate) timeout_us: u64,
    /// Of a thousand batches, so many ask for less than a quorum's acknowledgement.
    pub(crate) weak_acks_per_mille: u64,
    pub(crate) consumers: usize,
    pub(crate) fetch_bytes_max: usize,
    /// Of the consumers, those with a number divisible by this read from any replica.
    pub(crate) reads_any_every: usize,
    pub(crate) admin_us: u64,
}

/// What a run is like.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// The seed that all of it comes from.
    pub seed: u64,
    pub(crate) brokers: usize,
    /// Replicas are moved from broker to broker.
    pub(crate) moves: bool,
    /// So many replicas of a partition are wanted at least.
    pub(crate) copies_min: u64,
    pub(crate) partitions: u32,
    /// How long faults last, in microseconds.
    pub(crate) safety_us: u64,
    /// Shards of each broker, when it first starts.
    pub(crate) shards: Vec<u16>,
    /// A restart may change a broker's number of shards.
    pub(crate) reshards: bool,
    /// A shard goes on taking turns while its round is on disk; else it waits, as a broker's thread does.
    pub(crate) turns_during_rounds: bool,
    pub(crate) turn_us: u64,
    /// Records are deleted, by request and by retention.
    pub(crate) trims: bool,
    pub(crate) snapshot_interval_entries: u64,
    pub(crate) retention_interval_ms: u64,
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) inflight_bytes_max: usize,
    pub(crate) trash_grace_ms: u64,
    pub(crate) network: NetworkOptions,
    pub(crate) disk: DiskOptions,
    /// Logs are read through in the background.
    pub(crate) scrub: Option<ScrubOptions>,
    pub(crate) load: LoadOptions,
    /// The mean time between two faults of a kind, in microseconds.
    pub(crate) faults: BTreeMap<FaultKind, u64>,
}

impl Swarm {
    /// Draws what the run of this seed is like.
    #[must_use]
    pub fn draw(seed: u64, scenario: Scenario) -> Swarm {
        let mut random = Random::new(seed, "swarm");
        let random = &mut random;
        // A stream of its own: the rest of a run is what it would be without.
        let mut members = Random::new(seed, "members");
        let (has_more, moves) = (members.one_in(2), members.one_in(2));
        let copies_min = if members.one_in(2) { 3 } else { 1 };
        let has_more = has_more || moves && copies_min > 1;
        let brokers = if has_more { members.between(4..=5) as usize } else { 3 };
        let trims = !random.one_in(4);
        let rot = draw_faults(&mut Random::new(seed, "rot"), scenario, is_of_reads);
        Swarm {
            seed,
            brokers,
            moves,
            // Where bits flip, the last good copy of something must not be moved away from.
            copies_min: if rot.contains_key(&FaultKind::BitFlip) { 3 } else { copies_min },
            partitions: random.between(2..=5) as u32,
            safety_us: random.between(40..=100) * 1_000_000,
            shards: (0..brokers).map(|_| random.between(1..=2) as u16).collect(),
            reshards: random.one_in(4),
            turns_during_rounds: random.one_in(2),
            turn_us: random.scaled(5..=200),
            trims,
            snapshot_interval_entries: random.scaled(5..=200),
            retention_interval_ms: random.scaled(200..=5_000),
            retention_bytes: (trims && random.one_in(2)).then(|| random.scaled(8_000..=200_000)),
            inflight_bytes_max: random.scaled(4_000..=1_000_000) as usize,
            trash_grace_ms: random.scaled(1_000..=30_000),
            network: draw_network(random, &mut members, scenario),
            disk: draw_disk(random),
            scrub: draw_scrub(&mut Random::new(seed, "scrub")),
            load: draw_load(random),
            faults: draw_faults(random, scenario, |kind| !is_of_reads(kind)).into_iter().chain(rot).collect(),
        }
    }
}

fn draw_network(random: &mut Random, members: &mut Random, scenario: Scenario) -> NetworkOptions {
    let delay_us_min = random.scaled(20..=1_000);
    let is_faulty = matches!(scenario, Scenario::Swarm | Scenario::Network);
    let mut rate = |most: u64| {
        let rate = random.scaled(1..=most) as u32;
        if is_faulty && random.one_in(2) { rate } else { 0 }
    };
    let (loss_ppm, duplicate_ppm, late_ppm) = (rate(20_000), rate(20_000), rate(2_000));
    NetworkOptions {
        delay_us_min,
        delay_us_max: delay_us_min * random.between(1..=10),
        loss_ppm,
        large_loss_ppm: match is_faulty && members.one_in(2) {
            true => members.scaled(20_000..=500_000) as u32,
            false => 0,
        },
        duplicate_ppm,
        late_ppm,
        reorders: is_faulty && random.one_in(2),
    }
}

fn draw_disk(random: &mut Random) -> DiskOptions {
    let round_us_min = random.scaled(50..=2_000);
    DiskOptions {
        round_us_min,
        round_us_max: round_us_min * random.between(1..=10),
        segment_bytes: random.scaled(2_000..=64_000),
        preallocate_step_bytes: random.scaled(500..=8_000),
        index_interval_bytes: random.scaled(256..=8_192),
        state_log_bytes: random.scaled(4_000..=64_000),
    }
}

/// Faster and more often than anybody would: a run is short, and its logs are small.
fn draw_scrub(random: &mut Random) -> Option<ScrubOptions> {
    let bytes_per_second = random.scaled(16_000..=256_000);
    let interval_ms = random.scaled(1_000..=20_000);
    random.one_in(2).then_some(ScrubOptions { bytes_per_second, interval_ms })
}

fn draw_load(random: &mut Random) -> LoadOptions {
    let producers = random.between(3..=6);
    LoadOptions {
        producers: producers as usize,
        window: random.scaled(1..=16) as usize,
        pause_us_max: producers * random.between(11_500..=19_000),
        records_max: random.scaled(1..=8),
        value_bytes_max: random.scaled(40..=2_000),
        attempts_max: random.between(1..=4) as u32,
        timeout_us: random.scaled(500_000..=5_000_000),
        weak_acks_per_mille: if random.one_in(2) { random.below(300) } else { 0 },
        consumers: random.between(2..=4) as usize,
        fetch_bytes_max: random.scaled(16_000..=256_000) as usize,
        reads_any_every: random.between(1..=3) as usize,
        admin_us: random.scaled(200_000..=5_000_000),
    }
}

/// What is drawn from a stream of its own.
fn is_of_reads(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::BitFlip | FaultKind::ReadError)
}

/// Any subset; each kind as often as it happens. More kinds at once are rarer each.
fn draw_faults(
    random: &mut Random,
    scenario: Scenario,
    is_wanted: impl Fn(FaultKind) -> bool,
) -> BTreeMap<FaultKind, u64> {
    let mut faults = BTreeMap::new();
    for kind in FaultKind::ALL.into_iter().filter(|kind| kind.is_of(scenario) && is_wanted(*kind)) {
        let mean_us = random.scaled(kind.mean_us()..=kind.mean_us() * 2);
        if random.one_in(2) {
            faults.insert(kind, mean_us);
        }
    }
    faults
}
