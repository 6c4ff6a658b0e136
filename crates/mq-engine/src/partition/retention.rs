//! What is too old or too much, and whether the clock may be believed.
//!
//! Only whole segments go. The leader decides and orders; every replica trims at the same offset.

use crate::{Now, controller::TopicConfig};
use mq_types::Offset;
use mq_types::persist::SegmentInfo;

/// A difference between wall time and monotonic time that no clock makes by itself, in ms.
const JUMP_MS: i64 = 24 * 60 * 60 * 1_000;
/// How long the wall clock must be steady before anything is deleted by age again, in ms.
const STEADY_MS: u64 = 60 * 60 * 1_000;

/// The offset at which a log should start, if that is higher than `log_start`.
///
/// The active segment goes too when all of it is too old, never because there is too much.
pub fn new_log_start(
    segments: &[SegmentInfo],
    log_start: Offset,
    high_watermark: Offset,
    config: &TopicConfig,
    wall_ms: Option<i64>,
) -> Option<Offset> {
    let mut left_bytes: u64 = segments.iter().map(|segment| segment.size_bytes).sum();
    let mut start = log_start;
    for (at, segment) in segments.iter().enumerate() {
        let is_active = at + 1 == segments.len();
        left_bytes -= segment.size_bytes;
        let too_much = !is_active && config.retention_bytes.is_some_and(|max| left_bytes >= max);
        let expired = match (config.retention_ms, segment.last_appended_at_ms, wall_ms) {
            (Some(max), Some(last), Some(now)) => now.saturating_sub(last) > max,
            // Nothing in it is nothing to keep; an empty active segment ends where it begins.
            (_, None, _) => true,
            _ => false,
        };
        if !(too_much || expired) || segment.end_offset > high_watermark {
            break;
        }
        start = start.max(segment.end_offset);
    }
    (start > log_start).then_some(start)
}

/// Whether the active segment has waited long enough to be closed, so that age can be judged by whole segments.
pub fn should_roll(segments: &[SegmentInfo], config: &TopicConfig, wall_ms: i64) -> bool {
    let first = segments.last().and_then(|active| active.first_appended_at_ms);
    first.is_some_and(|first| wall_ms.saturating_sub(first) > config.segment_ms)
}

/// Watches the wall clock: after a jump nothing may be deleted by age until it has been steady for an hour.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClockGuard {
    last: Option<Now>,
    paused_until_ms: u64,
}

impl ClockGuard {
    /// Takes the time of a turn. Answers how far the wall clock jumped, if it did.
    pub(crate) fn observe(&mut self, now: Now) -> Option<i64> {
        let last = self.last.replace(now)?;
        let passed_ms = now.monotonic_ms.saturating_sub(last.monotonic_ms);
        let passed_wall_ms = now.wall_ms.saturating_sub(last.wall_ms);
        let jumped_ms = passed_wall_ms.saturating_sub(i64::try_from(passed_ms).unwrap_or(i64::MAX));
        if jumped_ms.saturating_abs() <= JUMP_MS {
            return None;
        }
        self.paused_until_ms = now.monotonic_ms.saturating_add(STEADY_MS);
        Some(jumped_ms)
    }

    /// The wall time by which age is judged; `None` while the clock is not believed.
    pub(crate) fn wall_ms(&self, now: Now) -> Option<i64> {
        (now.monotonic_ms >= self.paused_until_ms).then_some(now.wall_ms)
    }
}
