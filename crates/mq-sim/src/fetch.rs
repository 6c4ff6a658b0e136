//! How a broker serves reads: from the published view and the log's reader, as `mq-broker` does.
//!
//! Besides, a replica that does not lead can be read as it is: what it publishes as committed must be so.

use crate::ask::{Answer, FetchError, Fetched};
use crate::broker::{Broker, End};
use crate::queue::{At, CallId, Event, Life};
use crate::random::Random;
use crate::sometimes;
use crate::stage::{Out, Stage};
use mq_engine::View;
use mq_engine::api::{Error, Outcome, Reply, Request};
use mq_log::ReadError;
use mq_types::{Offset, QuorumId, ReplicaId, Term};

/// When to try again, in ms.
const RETRY_SOON_MS: u32 = 50;
/// One read in so many waits until one of the threads that read is free, for so long at most, in microseconds. Much can
/// happen to a log in the meantime.
const WAIT_EVERY: u64 = 50;
const WAIT_US_MAX: u64 = 300_000;

/// A fetch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetch {
    pub(crate) quorum: QuorumId,
    pub(crate) from: Offset,
    pub(crate) bytes_max: usize,
    pub(crate) from_any: bool,
}

impl Fetch {
    /// Whose word the answer is: the leader's of a term, or nobody's.
    fn term_of(&self, view: &View) -> Term {
        if self.from_any { Term(0) } else { view.term }
    }
}

/// What an engine's answer is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// It is the client's.
    Answer,
    /// It is the client's, and it wants to know who says so.
    Delete(QuorumId),
    /// It is for a process of a broker that wants to take part.
    Join(At, Life),
    /// It says whether this position is out of range.
    Fetch(Fetch),
}

/// A read of the log that is under way.
#[derive(Debug)]
pub(crate) struct PendingRead {
    call: CallId,
    fetch: Fetch,
    /// As it was when the read began.
    view: View,
}

impl Broker {
    /// Serves a fetch, now or when the disk or the engine has answered.
    pub(crate) fn fetch(&mut self, call: CallId, fetch: Fetch, stage: &mut Stage) {
        let view = match self.readable(&fetch) {
            Ok(view) => view,
            Err(error) => return refuse(call, error, Term(0), stage),
        };
        if fetch.from_any && !view.serving {
            sometimes!("a fetch read a replica that does not lead");
        }
        if fetch.from < view.log_start {
            let error = out_of_range(&fetch, view.log_start, view.high_watermark);
            return refuse(call, error, fetch.term_of(&view), stage);
        }
        if fetch.from > view.high_watermark {
            sometimes!("a consumer's position was above a replica's high watermark");
            if view.serving {
                let request = Request::ReadIndex { quorum: fetch.quorum };
                return self.request(fetch.quorum, request, (call, Then::Fetch(fetch)), stage);
            }
            return refuse(call, not_available(&fetch), Term(0), stage);
        }
        if fetch.from == view.high_watermark {
            return answer(call, Ok(nothing(&fetch, &view)), stage);
        }
        let read = Box::new(PendingRead { call, fetch, view });
        let event = Event::Read { at: self.at, life: self.life, read };
        stage.queue.after(wait_us(call, stage.now_us()) + self.disk.read_us(), event);
    }

    /// The leader has said where the partition ends.
    pub(crate) fn fetch_confirmed(
        &mut self,
        call: CallId,
        fetch: Fetch,
        outcome: Outcome,
        stage: &mut Stage,
    ) {
        let (error, term) = match outcome {
            Ok(Reply::ReadIndex { log_start, high_watermark, term }) if fetch.from > high_watermark => {
                (out_of_range(&fetch, log_start, high_watermark), term)
            }
            Ok(_) => (not_available(&fetch), Term(0)),
            Err(error) => (error, Term(0)),
        };
        refuse(call, error, term, stage);
    }

    /// The disk has what a fetch wants.
    pub(crate) fn read(&mut self, pending: PendingRead, stage: &mut Stage) -> Result<(), End> {
        let PendingRead { call, fetch, view } = pending;
        let Some(process) = &self.process else { return Ok(()) };
        let no_leader = Error::NoLeader { retry_after_ms: RETRY_SOON_MS };
        let Some(reader) = process.readers.get(&fetch.quorum) else {
            refuse(call, no_leader, Term(0), stage);
            return Ok(());
        };
        let found = match reader.read(fetch.from, view.high_watermark, fetch.bytes_max) {
            Ok(read) => Ok(Fetched {
                batches: read.batches,
                next_offset: read.next_offset,
                term: fetch.term_of(&view),
                log_start: view.log_start,
                high_watermark: view.high_watermark,
            }),
            Err(ReadError::BelowStart { log_start }) => {
                sometimes!("a read of a partition met its trim");
                // The trim is durable before readers are told of it: the view may not know it yet.
                let now = process.views.get(&fetch.quorum).unwrap_or(&view);
                let log_start = log_start.max(now.log_start);
                Err(out_of_range(&fetch, log_start, now.high_watermark.max(log_start)))
            }
            Err(ReadError::Gone) => Err(no_leader),
            Err(ReadError::Corrupt(place)) => {
                sometimes!("a flipped bit was found by a read");
                let (of, what) = ((reader.quorum(), reader.replica()), place.to_string());
                self.found_bad(of, &place, stage)?;
                Err(Error::CorruptLog { offset: place.offset, what })
            }
            Err(ReadError::Io { .. }) => Err(Error::Internal { what: "the disk refused a read" }),
        };
        let term = fetch.term_of(&view);
        answer(call, found.map_err(|error| FetchError { error, term }), stage);
        Ok(())
    }

    /// The view of a live partition that may be read here.
    fn readable(&self, fetch: &Fetch) -> Result<View, Error> {
        let no_leader = Error::NoLeader { retry_after_ms: RETRY_SOON_MS };
        let process = self.process.as_ref().ok_or_else(|| no_leader.clone())?;
        let topic = process.image.partition(fetch.quorum).map(|(topic, _)| topic);
        if topic.is_none_or(|topic| topic.deleted_at_ms.is_some()) {
            return Err(Error::UnknownTopic { topic: format!("of quorum {}", fetch.quorum) });
        }
        let view = process.views.get(&fetch.quorum).ok_or_else(|| no_leader.clone())?;
        if view.serving || fetch.from_any {
            return Ok(view.clone());
        }
        match view.leader.map(ReplicaId::broker) {
            Some(leader) if view.leader != Some(view.replica) => {
                Err(Error::NotLeader { leader, endpoint: String::new(), term: view.term })
            }
            _ => Err(no_leader),
        }
    }
}

/// How long a read waits for its turn.
fn wait_us(call: CallId, now_us: u64) -> u64 {
    let mut random = Random::new(now_us ^ call.0.rotate_left(32), "reads");
    if random.one_in(WAIT_EVERY) { random.scaled(1_000..=WAIT_US_MAX) } else { 0 }
}

fn nothing(fetch: &Fetch, view: &View) -> Fetched {
    Fetched {
        batches: Vec::new(),
        next_offset: fetch.from,
        term: fetch.term_of(view),
        log_start: view.log_start,
        high_watermark: view.high_watermark,
    }
}

fn out_of_range(fetch: &Fetch, log_start: Offset, high_watermark: Offset) -> Error {
    Error::OffsetOutOfRange { asked: fetch.from.as_i64(), log_start, high_watermark }
}

fn not_available(fetch: &Fetch) -> Error {
    Error::OffsetNotAvailable { asked: fetch.from, retry_after_ms: RETRY_SOON_MS }
}

fn refuse(call: CallId, error: Error, term: Term, stage: &mut Stage) {
    answer(call, Err(FetchError { error, term }), stage);
}

fn answer(call: CallId, found: Result<Fetched, FetchError>, stage: &mut Stage) {
    stage.out.push(Out::Answer(call, Box::new(Answer::Fetched(found))));
}
