//! Measurements with a broker: what each is called, what limits it, and its rounds, interleaved.
//!
//! What is made of the rounds is in `figures`.

use crate::arena::{Arena, Contender, Observed, Sizes, Work};
use crate::bench::Run;
use crate::figures;
use crate::report::{Entry, Target};
use crate::task::Space;
use anyhow::{Context, Result};
use indicatif::ProgressBar;

/// One thing that is measured.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Its name.
    pub name: String,
    /// What is done.
    pub work: Work,
    /// Beside whom, with what is aimed at there.
    pub limits: Vec<(Contender, Option<Target>)>,
    /// What is aimed at for the CPU time of the broker, in ms per MB of values.
    pub cpu_ms_per_mb_max: Option<f64>,
    /// What is aimed at for the figure itself, or for its ratio to the sum of what limits it.
    pub target: Option<Target>,
}

/// What the rounds of a measurement gave.
pub struct Measured {
    /// What was measured.
    pub measurement: Measurement,
    /// By contender: the broker first if it took part, then the limits. All have the same number of rounds.
    pub rounds: Vec<(Contender, Vec<Observed>)>,
    /// The most memory that the broker had meanwhile.
    pub peak_bytes: Option<u64>,
}

/// The server that stores nothing, without a target.
pub const GRPC: (Contender, Option<Target>) = (Contender::Grpc, None);
/// Plain writes into files made as the log makes them, without a target.
pub const RESERVED: (Contender, Option<Target>) = (Contender::Disk(Space::Reserved), None);
/// Plain writes into files of zeros, without a target.
pub const ZEROED: (Contender, Option<Target>) = (Contender::Disk(Space::Zeroed), None);

/// Runs those that were asked for.
///
/// # Errors
/// Something does not do what it should.
pub fn run_all(run: &Run, measurements: Vec<Measurement>, sizes: Sizes) -> Result<Vec<Entry>> {
    let wanted = measurements.into_iter().filter(|measurement| run.arguments.wants(&measurement.name));
    let wanted: Vec<_> = wanted.collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let mut arena = Arena::start(run.new_dir()?, run.broker()?.as_deref(), sizes)?;
    let turns = run.arguments.rounds();
    for measurement in &wanted {
        let contenders = measurement.limits.len() as u64 + u64::from(arena.has_broker());
        run.announce(contenders * (u64::from(turns) + 1));
    }
    let mut entries = Vec::new();
    for measurement in wanted {
        let measured = measurement.run(&mut arena, turns, &run.progress)?;
        entries.push(figures::entry(&measured, run.machine.cores));
    }
    Ok(entries)
}

impl Measurement {
    /// One without targets.
    pub fn new(name: impl Into<String>, work: Work, limits: &[(Contender, Option<Target>)]) -> Measurement {
        let (name, limits) = (name.into(), limits.to_vec());
        Measurement { name, work, limits, cpu_ms_per_mb_max: None, target: None }
    }

    /// One round of each in turn, again and again; the first turn warms up and does not count.
    fn run(self, arena: &mut Arena, turns: u32, progress: &ProgressBar) -> Result<Measured> {
        let ours = arena.has_broker().then_some(Contender::Ours);
        let contenders = ours.into_iter().chain(self.limits.iter().map(|(who, _)| *who));
        let mut rounds: Vec<_> = contenders.map(|who| (who, Vec::new())).collect();
        progress.set_message(self.name.clone());
        let prepared = arena.prepare(self.work)?;
        for turn in 0..=turns {
            for (who, observed) in &mut rounds {
                let round = arena.round(self.work, *who, prepared.as_deref());
                let round = round.with_context(|| format!("{}: a round of {who:?} failed", self.name))?;
                if turn > 0 {
                    observed.push(round);
                }
                progress.inc(1);
            }
        }
        let peak_bytes = arena.finish(self.work, prepared.as_deref())?;
        Ok(Measured { measurement: self, rounds, peak_bytes })
    }
}
