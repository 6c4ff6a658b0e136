//! How a leader that is to leave goes: it hands over first, so that nobody waits for an election.
//!
//! It tries once for each change of what is wanted: who leaves must not stay because nobody takes over. Who could take
//! over, and the step by which it leaves, are not decided here.

use mq_types::ReplicaId;

/// How long a leader that is about to lose its vote waits for somebody to hand over to, in ms: about as long as the
/// election that this saves.
const WAIT_MS: u64 = 2_000;

/// Whether a leader that is to leave has handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// It did not have to yet.
    NotBegun,
    /// It waits for somebody who can take over.
    Waiting {
        /// For how long, on the monotonic clock.
        until_ms: u64,
    },
    /// It has tried to, or nobody could take over in time.
    Over,
}

/// Those who could lead in the leader's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heirs {
    /// This one could at once.
    Ready(ReplicaId),
    /// Some answer, and none is ready.
    Late,
    /// None that answers.
    None,
}

/// What comes before a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handover {
    /// Leadership goes to this one, who takes the step.
    To(ReplicaId),
    /// Nothing yet: somebody will be ready soon.
    Wait,
    /// Nothing: the step can be taken.
    No,
}

impl Parting {
    /// What to do before the step that takes the leader's own vote.
    pub(super) fn next(&mut self, heirs: Heirs, now_ms: u64) -> Handover {
        let (next, handover) = match (*self, heirs) {
            (Parting::Over, _) | (_, Heirs::None) => (*self, Handover::No),
            (_, Heirs::Ready(heir)) => (Parting::Over, Handover::To(heir)),
            (Parting::NotBegun, Heirs::Late) => {
                (Parting::Waiting { until_ms: now_ms.saturating_add(WAIT_MS) }, Handover::Wait)
            }
            (Parting::Waiting { until_ms }, Heirs::Late) if now_ms < until_ms => (*self, Handover::Wait),
            (Parting::Waiting { .. }, Heirs::Late) => (Parting::Over, Handover::No),
        };
        *self = next;
        handover
    }
}
