//! Consumers: each reads all partitions, a piece of one after a piece of another, and goes back now and then.

use super::{Clients, Line, Purpose, history_id};
use crate::ask::{Answer, Ask, FetchError, Fetched};
use crate::payload;
use crate::queue::{At, CallId, Event};
use crate::sometimes;
use crate::stage::Stage;
use mq_checker::history::{Fact, FetchAnswer, Placed, SessionId};
use mq_engine::api::Error;
use mq_types::{Offset, QuorumId};
use std::collections::BTreeMap;

/// How long a consumer pauses after it was given something, and after it was not, in microseconds.
const PAUSE_US: u64 = 10_000;
const IDLE_US: u64 = 60_000;
/// One fetch in so many is of an earlier position, or asks where the partition ends.
const SEEK_EVERY: u64 = 200;
const LATEST_EVERY: u64 = 20;
/// One fetch in so many comes with the question where the partition ends to the leader before this one, which may not
/// know better than that it still leads.
const DOUBTFUL_LATEST_EVERY: u64 = 8;
/// How far a consumer goes back at most, in records.
const BACK_RECORDS_MAX: u64 = 200;

/// A consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    session: SessionId,
    /// It reads from any replica, which may be behind another: every such read is a session of its own.
    from_any: bool,
    reads: u32,
    positions: BTreeMap<QuorumId, Offset>,
    /// The partition that it asked for last.
    last: QuorumId,
}

/// A fetch that is not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetching {
    consumer: usize,
    pub(super) quorum: QuorumId,
    position: Offset,
    pub(super) from_any: bool,
    at: At,
}

impl Consumer {
    pub(super) fn new(number: usize, from_any: bool) -> Consumer {
        let session = SessionId(number as u32);
        Consumer { session, from_any, reads: 0, positions: BTreeMap::new(), last: QuorumId(0) }
    }

    /// The session of one that reads from leaders.
    pub(super) fn session(&self) -> Option<SessionId> {
        (!self.from_any).then_some(self.session)
    }

    /// The session of the next read.
    fn next_session(&mut self) -> SessionId {
        if !self.from_any {
            return self.session;
        }
        self.reads += 1;
        SessionId((self.session.0 + 1) << 24 | self.reads)
    }

    pub(super) fn position(&self, quorum: QuorumId) -> Offset {
        self.positions.get(&quorum).copied().unwrap_or_default()
    }

    fn seek(&mut self, quorum: QuorumId, position: Offset, stage: &mut Stage) {
        self.positions.insert(quorum, position);
        if let Some(session) = self.session() {
            stage.record.fact(stage.queue.now_us(), Fact::Seek { session, quorum, position });
        }
    }
}

impl Clients {
    /// A consumer asks for more.
    pub(crate) fn consume(&mut self, number: usize, line: &mut Line<'_>) {
        let partitions = self.partitions();
        let last = self.consumers[number].last;
        let next = partitions.iter().find(|quorum| **quorum > last).or(partitions.first());
        let Some(&quorum) = next else {
            return line.stage.queue.after(IDLE_US, Event::Consumer { number });
        };
        self.consumers[number].last = quorum;
        if !self.is_closing && self.random.one_in(LATEST_EVERY) {
            let at = self.leader(quorum);
            self.ask_latest(quorum, (at, true), line);
        }
        if !self.is_closing && self.random.one_in(DOUBTFUL_LATEST_EVERY) {
            let former = self.metadata.partitions[&quorum].former_leader();
            let at = former.unwrap_or_else(|| self.replica_of(quorum));
            self.ask_latest(quorum, (at, false), line);
        }
        if !self.is_closing && self.random.one_in(SEEK_EVERY) {
            let position = self.consumers[number].position(quorum).0;
            let back = self.random.below(position.min(BACK_RECORDS_MAX) + 1);
            self.consumers[number].seek(quorum, Offset(position - back), line.stage);
        }
        let from_any = self.consumers[number].from_any;
        let at = if from_any { self.replica_of(quorum) } else { self.leader(quorum) };
        let Some(&replica) = self.metadata.partitions[&quorum].replicas.get(&at) else {
            return line.stage.queue.after(IDLE_US, Event::Consumer { number });
        };
        let consumer = &mut self.consumers[number];
        let (position, session) = (consumer.position(quorum), consumer.next_session());
        let bytes_max = self.swarm.load.fetch_bytes_max;
        let fetching = Fetching { consumer: number, quorum, position, from_any, at };
        let ask = Ask::Fetch { quorum, from: position, bytes_max, from_any };
        let call = self.ask(at, ask, Purpose::Fetch(fetching), line);
        let fact = Fact::FetchAsked { call: history_id(call), session, quorum, replica, position };
        line.stage.record.fact(line.stage.queue.now_us(), fact);
    }

    fn ask_latest(&mut self, quorum: QuorumId, (at, is_hinted): (At, bool), line: &mut Line<'_>) {
        let call = self.ask(at, Ask::Latest { quorum }, Purpose::Latest { quorum, is_hinted }, line);
        let fact = Fact::LatestAsked { call: history_id(call), quorum };
        line.stage.record.fact(line.stage.queue.now_us(), fact);
    }

    pub(super) fn fetch_answered(
        &mut self,
        call: CallId,
        fetching: Fetching,
        answer: Answer,
        stage: &mut Stage,
    ) {
        let Fetching { consumer: number, quorum, position, .. } = fetching;
        let mut pause_us = IDLE_US;
        let answer = match answer {
            Answer::Fetched(Ok(fetched)) => {
                let records = placed(&fetched, position);
                stage.tally.records_read += records.len() as u64;
                if fetched.next_offset > position {
                    pause_us = PAUSE_US;
                    self.consumers[number].positions.insert(quorum, fetched.next_offset);
                }
                if !fetching.from_any {
                    self.metadata.led(quorum, fetching.at, fetched.term);
                }
                let Fetched { high_watermark, log_start, term, .. } = fetched;
                FetchAnswer::Records { records, high_watermark, log_start, term }
            }
            Answer::Fetched(Err(FetchError {
                error: Error::OffsetOutOfRange { log_start, high_watermark, .. },
                term,
            })) => {
                sometimes!("a consumer was told that its position is out of range");
                let to = position.clamp(log_start, high_watermark);
                let answered = FetchAnswer::OutOfRange { high_watermark, log_start, term };
                let fact = Fact::FetchAnswered { call: history_id(call), answer: answered };
                stage.record.fact(stage.queue.now_us(), fact);
                self.consumers[number].seek(quorum, to, stage);
                return stage.queue.after(PAUSE_US, Event::Consumer { number });
            }
            _ => FetchAnswer::Refused,
        };
        let fact = Fact::FetchAnswered { call: history_id(call), answer };
        stage.record.fact(stage.queue.now_us(), fact);
        stage.queue.after(self.random.between(1..=pause_us), Event::Consumer { number });
    }

    pub(super) fn fetch_lost(&mut self, call: CallId, fetching: &Fetching, stage: &mut Stage) {
        let fact = Fact::FetchAnswered { call: history_id(call), answer: FetchAnswer::Refused };
        stage.record.fact(stage.queue.now_us(), fact);
        stage.queue.after(1, Event::Consumer { number: fetching.consumer });
    }
}

/// The records of an answer, without those before the position.
fn placed(fetched: &Fetched, position: Offset) -> Vec<Placed> {
    let mut placed = Vec::new();
    for batch in &fetched.batches {
        assert!(
            batch.checksum_matches(),
            "a batch that was read at {} is not as it was",
            batch.base_offset()
        );
        let records = payload::records(batch).expect("what was validated can be read");
        let wanted = records.into_iter().filter(|(offset, _)| *offset >= position);
        placed.extend(wanted.map(|(offset, identity)| Placed { offset, identity }));
    }
    placed
}
