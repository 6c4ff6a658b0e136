//! Each broker's idea of the time: a monotonic clock and a wall clock, both of which run a little fast or slow, and a
//! wall clock that somebody may set.

use mq_engine::Now;

/// When every run begins, in ms since the Unix epoch.
pub(crate) const EPOCH_WALL_MS: i64 = 1_700_000_000_000;

/// Two ticks are so far apart, by the broker's own clock.
pub(crate) const TICK_US: u64 = 100_000;

/// A broker's clocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// How much faster than virtual time they run, in millionths; negative: slower.
    drift_ppm: i64,
    /// When the drift changed last, in virtual time, and what the clock showed then.
    since_us: u64,
    shown_us: u64,
    /// What somebody has added to the wall clock, in ms.
    set_by_ms: i64,
    /// What the clock showed when the process began, in microseconds.
    process_began_us: u64,
}

impl Clock {
    /// A process begins: its monotonic time does.
    pub(crate) fn begin_process(&mut self, now_us: u64) {
        self.process_began_us = self.shown_us(now_us);
    }

    /// What a process reads now.
    pub(crate) fn read(&self, now_us: u64) -> Now {
        let shown_us = self.shown_us(now_us);
        Now {
            monotonic_ms: (shown_us - self.process_began_us) / 1_000,
            wall_ms: EPOCH_WALL_MS + (shown_us / 1_000) as i64 + self.set_by_ms,
        }
    }

    /// How long in virtual time a tick takes.
    pub(crate) fn tick_us(&self) -> u64 {
        (TICK_US as i64 - TICK_US as i64 * self.drift_ppm / 1_000_000) as u64
    }

    /// From now on the clocks run at another speed.
    pub(crate) fn drift(&mut self, now_us: u64, drift_ppm: i64) {
        self.shown_us = self.shown_us(now_us);
        (self.since_us, self.drift_ppm) = (now_us, drift_ppm);
    }

    /// Somebody sets the wall clock.
    pub(crate) fn jump(&mut self, by_ms: i64) {
        self.set_by_ms += by_ms;
    }

    /// Somebody sets the wall clock right.
    pub(crate) fn set_right(&mut self, now_us: u64) {
        self.drift(now_us, 0);
        self.set_by_ms = (now_us as i64 - self.shown_us as i64) / 1_000;
    }

    fn shown_us(&self, now_us: u64) -> u64 {
        let passed_us = (now_us - self.since_us) as i64;
        self.shown_us + (passed_us + passed_us * self.drift_ppm / 1_000_000) as u64
    }
}
