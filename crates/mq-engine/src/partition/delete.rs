//! Deleting records from the beginning: on request, and by retention. Read indexes are taken in here too, since both
//! are about where the log begins and ends.

use super::{Control, Partition, retention};
use crate::RequestId;
use crate::api::{Error, Reply};
use crate::replica::Standpoint;
use crate::segments::Segments;
use crate::turn::{STOPPING_RETRY_MS, Turn};
use crate::writes::Writes;
use mq_types::Offset;
use mq_types::persist::Trim;

/// When to try again after too many read indexes were asked for, in ms.
const OVERLOADED_RETRY_MS: u32 = 100;

impl Partition {
    /// Moves the log start up to `before`, or to the high watermark. Answered when the trim is durable here.
    pub(crate) fn delete_records(
        &mut self,
        id: RequestId,
        before: Option<Offset>,
        validate_only: bool,
        here: &Standpoint,
        turn: &mut Turn,
    ) {
        match self.check_delete(before, here, turn) {
            Err(error) => turn.reply(id, Err(error)),
            Ok(offset) if validate_only || offset <= self.log_start => {
                turn.reply(id, Ok(Reply::Deleted { log_start: offset.max(self.log_start) }));
            }
            Ok(offset) => self.controls.push((Some(id), Control::SetLogStart { offset })),
        }
    }

    fn check_delete(&self, before: Option<Offset>, here: &Standpoint, turn: &Turn) -> Result<Offset, Error> {
        if turn.admission.stopping {
            return Err(Error::NoLeader { retry_after_ms: STOPPING_RETRY_MS });
        }
        self.check_standing(here)?;
        self.check_topic(here, turn)?;
        if !here.serving {
            return Err(turn.not_leader(here.role));
        }
        let offset = before.unwrap_or(self.high_watermark);
        if offset > self.high_watermark {
            let (log_start, high_watermark) = (self.log_start, self.high_watermark);
            return Err(Error::OffsetOutOfRange { asked: offset.as_i64(), log_start, high_watermark });
        }
        Ok(offset)
    }

    /// Takes a request to confirm leadership.
    pub(crate) fn read_index(&mut self, id: RequestId, turn: &mut Turn) {
        if !self.reads.add(id) {
            let what =
                format!("{} read indexes waiting for this partition", super::reads::WAITING_REQUESTS_MAX);
            turn.reply(id, Err(Error::Overloaded { what, retry_after_ms: OVERLOADED_RETRY_MS }));
        }
    }

    /// Closes an old active segment, and as leader orders away what is too old or too much. `wall_ms`: the time by
    /// which age is judged, if the clock is believed. `is_at_rest`: everything in the log is applied and durable.
    pub(crate) fn retain(
        &mut self,
        wall_ms: Option<i64>,
        is_at_rest: bool,
        here: &Standpoint,
        segments: &Segments,
        writes: &mut Writes,
    ) {
        let Some(topic) = self.topic.as_ref().filter(|topic| !topic.in_trash) else { return };
        // The segment in which an order to delete stands cannot go with that order: recovery has to find the order
        // until its effect is on record. It goes here, when nothing else in it is kept. The log start is on record already,
        // and may be beyond the end of a log that began with a start snapshot and does not have everything yet.
        let commit = writes.next_commit(here.applied);
        if let Some(dead_until) = segments.dead_until(self.log_start, commit, is_at_rest) {
            writes.trim(Trim::Offset(dead_until));
        }
        let is_old = |wall_ms| retention::should_roll(segments.list(), &topic.config, wall_ms);
        if !writes.is_rolling() && wall_ms.is_some_and(is_old) {
            writes.due().roll = true;
        }
        if !here.serving {
            return;
        }
        let (start, end) = (self.log_start, self.high_watermark);
        let new_start = retention::new_log_start(segments.list(), start, end, &topic.config, wall_ms);
        if let Some(offset) = new_start {
            self.controls.push((None, Control::SetLogStart { offset }));
        }
    }
}
