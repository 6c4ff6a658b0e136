//! The kinds of faults: what they are called, which scenario has them, and how often they come.

use crate::swarm::Scenario;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A process is killed.
    Crash,
    /// A machine loses its power.
    PowerCut,
    /// All machines lose their power.
    PowerCutOfAll,
    /// A process is killed again and again while it starts.
    CrashLoop,
    /// A process ends at an operation of its disk.
    StopAtOperation,
    /// A process ends while its disk appends to a log and puts on record what that replica is, the one after the other.
    StopAtRecord,
    /// A process ends between two effects of a turn.
    StopAtEffect,
    /// A thread does not run for a while, from between two effects of a turn on; the others of its process do.
    PauseAtEffect,
    /// A process does not run for a while.
    Pause,
    /// A write or a sync fails.
    DiskError,
    /// A disk has no room for a while.
    DiskFull,
    /// A disk is slow for a while.
    DiskSlow,
    /// A disk finishes nothing for a while.
    DiskHung,
    /// A few bits of a log flip.
    BitFlip,
    /// A few reads fail.
    ReadError,
    /// A broker's machine breaks, and another one with an empty disk takes its place.
    DiskLost,
    /// Two nodes do not reach each other.
    CutPair,
    /// One node does not reach another.
    CutOneWay,
    /// A broker reaches nobody; clients may reach it.
    Isolate,
    /// Two brokers reach each other through the third one only.
    Bridge,
    /// A link comes and goes.
    Flap,
    /// Links lose many messages.
    Lossy,
    /// A wall clock is set.
    ClockJump,
    /// A clock runs fast or slow.
    ClockDrift,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [FaultKind; 24] = [
        FaultKind::Crash,
        FaultKind::PowerCut,
        FaultKind::PowerCutOfAll,
        FaultKind::CrashLoop,
        FaultKind::StopAtOperation,
        FaultKind::StopAtRecord,
        FaultKind::StopAtEffect,
        FaultKind::PauseAtEffect,
        FaultKind::Pause,
        FaultKind::DiskError,
        FaultKind::DiskFull,
        FaultKind::DiskSlow,
        FaultKind::DiskHung,
        FaultKind::BitFlip,
        FaultKind::ReadError,
        FaultKind::DiskLost,
        FaultKind::CutPair,
        FaultKind::CutOneWay,
        FaultKind::Isolate,
        FaultKind::Bridge,
        FaultKind::Flap,
        FaultKind::Lossy,
        FaultKind::ClockJump,
        FaultKind::ClockDrift,
    ];

    /// Its name, for people.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Whether it is among those of a scenario.
    pub(crate) fn is_of(self, scenario: Scenario) -> bool {
        match scenario {
            Scenario::Swarm => true,
            Scenario::Calm => false,
            Scenario::Process => self <= FaultKind::Pause,
            Scenario::Disk => (FaultKind::DiskError..=FaultKind::DiskLost).contains(&self),
            Scenario::Network => (FaultKind::CutPair..=FaultKind::Lossy).contains(&self),
            Scenario::Time => self >= FaultKind::ClockJump,
        }
    }

    /// The least mean time between two of this kind, in microseconds.
    pub(crate) fn mean_us(self) -> u64 {
        let seconds = match self {
            FaultKind::PowerCutOfAll | FaultKind::CrashLoop => 25,
            FaultKind::DiskError | FaultKind::DiskFull | FaultKind::DiskHung | FaultKind::DiskLost => 10,
            FaultKind::Bridge | FaultKind::Isolate | FaultKind::Flap => 8,
            FaultKind::Crash
            | FaultKind::PowerCut
            | FaultKind::StopAtOperation
            | FaultKind::StopAtRecord
            | FaultKind::StopAtEffect => 6,
            FaultKind::PauseAtEffect
            | FaultKind::Pause
            | FaultKind::CutPair
            | FaultKind::CutOneWay
            | FaultKind::BitFlip
            | FaultKind::ReadError => 3,
            FaultKind::DiskSlow | FaultKind::Lossy | FaultKind::ClockJump | FaultKind::ClockDrift => 2,
        };
        seconds * 1_000_000
    }
}
