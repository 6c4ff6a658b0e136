//! When the requests of an open loop are due: at a fixed rate, whatever the server does.
//!
//! A latency counts from when its request was due, not from when it could be sent: a server that stalls is charged for
//! every request that should have come meanwhile (no coordinated omission).

use std::time::Duration;

const SECOND_NS: u128 = 1_000_000_000;

/// Requests at even distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// How many there are in a second; at least 1.
    pub per_second: u32,
}

impl Schedule {
    /// When the request of this number is due, after the beginning. The first one has the number 0.
    pub fn due(self, number: u64) -> Duration {
        let ns = u128::from(number) * SECOND_NS / u128::from(self.per_second);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// How many requests are due so long after the beginning.
    pub fn due_count(self, elapsed: Duration) -> u64 {
        // The last one that is due has the largest number with number * SECOND_NS / rate <= elapsed, rounded down.
        let ns = elapsed.as_nanos() + 1;
        u64::try_from((ns * u128::from(self.per_second)).div_ceil(SECOND_NS)).unwrap_or(u64::MAX)
    }
}
