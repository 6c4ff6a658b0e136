//! The measurements: what each is called, what limits it, and its rounds, interleaved.

use crate::arena::{Arena, Contender, Observed, Work};
use crate::task::Form;
use anyhow::{Context, Result};
use indicatif::ProgressBar;

/// One thing that is measured.
#[derive(Debug)]
pub(crate) struct Measurement {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    /// What no broker on this machine could do better than.
    pub(crate) limits: &'static [Contender],
}

const STORED: &[Contender] = &[Contender::Grpc, Contender::Disk];
const WARM: &[Contender] = &[Contender::Grpc];

/// All of them, in the order in which they are run.
pub(crate) const MEASUREMENTS: [Measurement; 7] = [
    produce("produce batches, 1 connection", Form::Batch, 1),
    produce("produce batches, 4 connections", Form::Batch, 4),
    produce("produce records, 1 connection", Form::Records, 1),
    produce("produce records, 4 connections", Form::Records, 4),
    Measurement { name: "fetch batches, warm", work: Work::Fetch { form: Form::Batch }, limits: WARM },
    Measurement { name: "read records, warm", work: Work::Fetch { form: Form::Records }, limits: WARM },
    Measurement { name: "one record at a time", work: Work::OneAtATime, limits: STORED },
];

const fn produce(name: &'static str, form: Form, connections: u32) -> Measurement {
    Measurement { name, work: Work::Produce { form, connections }, limits: STORED }
}

/// What the rounds of a measurement gave.
pub(crate) struct Measured {
    pub(crate) measurement: &'static Measurement,
    /// By contender: the broker first if it took part, then the limits. All have the same number of rounds.
    pub(crate) rounds: Vec<(Contender, Vec<Observed>)>,
    /// The most memory that the broker had meanwhile.
    pub(crate) peak_bytes: Option<u64>,
}

impl Measurement {
    /// One round of each in turn, again and again; the first turn warms up and does not count.
    pub(crate) fn run(
        &'static self,
        arena: &mut Arena,
        turns: u32,
        progress: &ProgressBar,
    ) -> Result<Measured> {
        let ours = arena.has_broker().then_some(Contender::Ours);
        let mut rounds: Vec<_> =
            ours.into_iter().chain(self.limits.iter().copied()).map(|who| (who, Vec::new())).collect();
        progress.set_message(self.name);
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
        let peak_bytes = arena.finish(prepared.as_deref())?;
        Ok(Measured { measurement: self, rounds, peak_bytes })
    }

    /// How many steps of progress its run has.
    pub(crate) fn steps_count(&self, has_broker: bool, turns: u32) -> u64 {
        (self.limits.len() as u64 + u64::from(has_broker)) * (u64::from(turns) + 1)
    }
}
