//! A replica's segments as retention sees them: as last reported by the log, brought forward by what was written since.
//!
//! Nothing here is durable or exact to the byte; it decides only what is worth trimming, rolling and showing.

use mq_types::persist::{LogStatus, SegmentInfo, Start};
use mq_types::{Entry, Index, Offset};

/// Bytes of a frame's header, which every entry has in front of it on disk.
const FRAME_HEADER_BYTES: u64 = 64;

/// Entries that were appended together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// The last one's index.
    pub(crate) last_index: Index,
    size_bytes: u64,
    end_offset: Offset,
    /// Of the first one that has a time: the entry with which a leader begins an empty log has none (0).
    first_appended_at_ms: Option<i64>,
    last_appended_at_ms: i64,
}

impl Appended {
    /// What these entries add to a log; `None`: there are none.
    pub(crate) fn of(entries: &[Entry]) -> Option<Appended> {
        let last = entries.last()?;
        let size_bytes = entries.iter().map(|entry| FRAME_HEADER_BYTES + entry.body.len_bytes() as u64).sum();
        Some(Appended {
            last_index: last.index,
            size_bytes,
            end_offset: last.meta().end_offset(),
            first_appended_at_ms: entries.iter().map(|entry| entry.appended_at_ms).find(|ms| *ms > 0),
            last_appended_at_ms: last.appended_at_ms,
        })
    }
}

/// The segments, oldest first; the last one is the active one.
#[derive(Clone, Debug)]
pub(crate) struct Segments {
    start: Start,
    list: Vec<SegmentInfo>,
    size_bytes: u64,
}

impl Segments {
    /// As recovery, or the log, told.
    pub(crate) fn new(start: Start, list: Vec<SegmentInfo>) -> Segments {
        let (size_bytes, list) = (size_of_all(&list), timed(list));
        Segments { start, list, size_bytes }
    }

    /// The segments, oldest first.
    pub(crate) fn list(&self) -> &[SegmentInfo] {
        &self.list
    }

    /// Bytes of all of them.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The end of the segments that can go because nothing in them is kept; `None`: there are none. `commit`: what the
    /// log takes for committed. The active one goes only if all of it is: `is_all_committed`.
    pub(crate) fn dead_until(
        &self,
        log_start: Offset,
        commit: Index,
        is_all_committed: bool,
    ) -> Option<Offset> {
        if let [active] = self.list.as_slice() {
            let has_records = active.base_offset < active.end_offset;
            let is_dead = has_records && active.end_offset <= log_start && is_all_committed;
            return is_dead.then_some(active.end_offset);
        }
        let is_dead = |pair: &&[SegmentInfo]| {
            pair[0].end_offset <= log_start && pair[1].first_index.previous() <= commit
        };
        self.list.windows(2).take_while(is_dead).last().map(|pair| pair[0].end_offset)
    }

    /// These entries are durable, and the log did not say that its segments have changed.
    pub(crate) fn append(&mut self, appended: Appended) {
        let Some(active) = self.list.last_mut() else { return };
        active.size_bytes += appended.size_bytes;
        self.size_bytes += appended.size_bytes;
        active.end_offset = active.end_offset.max(appended.end_offset);
        active.first_appended_at_ms = active.first_appended_at_ms.or(appended.first_appended_at_ms);
        active.last_appended_at_ms = Some(appended.last_appended_at_ms);
    }

    /// The log told how it stands. Answers whether its start is another now.
    pub(crate) fn report(&mut self, status: LogStatus) -> bool {
        let moved = self.start != status.start;
        assert!(
            status.start.log_start >= self.start.log_start,
            "the log start went back from {} to {}",
            self.start.log_start,
            status.start.log_start
        );
        self.start = status.start;
        self.size_bytes = size_of_all(&status.segments);
        self.list = timed(status.segments);
        moved
    }
}

/// The segments, none of which is as old as an entry that has no time: it is as old as its last one, if that has.
fn timed(mut segments: Vec<SegmentInfo>) -> Vec<SegmentInfo> {
    for segment in segments.iter_mut().filter(|segment| segment.first_appended_at_ms == Some(0)) {
        segment.first_appended_at_ms = segment.last_appended_at_ms.filter(|ms| *ms > 0);
    }
    segments
}

fn size_of_all(segments: &[SegmentInfo]) -> u64 {
    segments.iter().map(|segment| segment.size_bytes).sum()
}
