//! Builds histories in a few readable lines. It decides nothing: a story may tell what cannot happen.

use mq_checker::history::{
    CallId, Durability, Event, Fact, FetchAnswer, FinalContent, FinalLog, Identity, Placed, ProduceOutcome,
    ProduceSent, Producer, RunningHash, SessionId, StreamId,
};
use mq_checker::{Check, Checker, Deadlines, Violation};
use mq_types::{Index, Offset, QuorumId, ReplicaId, Term};
use std::collections::BTreeMap;

pub(crate) const PARTITION: QuorumId = QuorumId(1024);
/// Time between two events, unless the story says otherwise.
const STEP_US: u64 = 1_000;

/// A batch that was sent once.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) call: CallId,
    pub(crate) records: Vec<Identity>,
}

/// A history being told. The public fields hold for what is told next.
pub(crate) struct Story {
    pub(crate) quorum: QuorumId,
    pub(crate) epoch: u32,
    pub(crate) idempotent: bool,
    pub(crate) stream: Option<StreamId>,
    /// What answers say besides records.
    pub(crate) term: u64,
    pub(crate) log_start: u64,
    /// The index up to which final logs are applied.
    pub(crate) applied: u64,
    pub(crate) at_us: u64,
    pub(crate) events: Vec<Event>,
    calls: u64,
    sequences: BTreeMap<Producer, u64>,
}

impl Story {
    pub(crate) fn new() -> Story {
        Story {
            quorum: PARTITION,
            epoch: 0,
            idempotent: false,
            stream: None,
            term: 2,
            log_start: 0,
            applied: 100,
            at_us: 0,
            events: Vec::new(),
            calls: 0,
            sequences: BTreeMap::new(),
        }
    }

    pub(crate) fn tell(&mut self, fact: Fact) {
        self.at_us += STEP_US;
        self.events.push(Event { at_us: self.at_us, fact });
    }

    pub(crate) fn wait_s(&mut self, seconds: u64) {
        self.at_us += seconds * 1_000_000;
    }

    fn call(&mut self) -> CallId {
        self.calls += 1;
        CallId(self.calls)
    }

    /// The producer sends its next records.
    pub(crate) fn send(&mut self, producer: u32, count: u64) -> Batch {
        let producer = Producer { run: 1, id: producer, epoch: self.epoch };
        let next = self.sequences.entry(producer).or_default();
        let sequences = *next..*next + count;
        *next += count;
        let records = sequences.map(|sequence| Identity {
            producer,
            sequence,
            length_bytes: 100,
            hash: sequence as u32 ^ 0x5eed,
        });
        self.attempt(1, records.collect())
    }

    /// The same records once more.
    pub(crate) fn resend(&mut self, batch: &Batch) -> Batch {
        self.attempt(2, batch.records.clone())
    }

    pub(crate) fn attempt(&mut self, attempt: u32, records: Vec<Identity>) -> Batch {
        let call = self.call();
        let (quorum, stream, idempotent) = (self.quorum, self.stream, self.idempotent);
        let sent =
            ProduceSent { call, client: 1, quorum, stream, idempotent, attempt, records: records.clone() };
        self.tell(Fact::ProduceSent(sent));
        Batch { call, records }
    }

    pub(crate) fn ok(&mut self, batch: &Batch, base: u64) {
        self.ok_as(batch, base, Durability::Quorum);
    }

    pub(crate) fn ok_as(&mut self, batch: &Batch, base: u64, durability: Durability) {
        let outcome = ProduceOutcome::Ok { base_offset: Offset(base), term: Term(self.term), durability };
        self.tell(Fact::ProduceEnded { call: batch.call, outcome });
    }

    pub(crate) fn fail(&mut self, batch: &Batch) {
        self.tell(Fact::ProduceEnded { call: batch.call, outcome: ProduceOutcome::Fail });
    }

    pub(crate) fn info(&mut self, batch: &Batch) {
        self.tell(Fact::ProduceEnded { call: batch.call, outcome: ProduceOutcome::Info });
    }

    /// Sent and acknowledged.
    pub(crate) fn produce(&mut self, producer: u32, count: u64, base: u64) -> Batch {
        let batch = self.send(producer, count);
        self.ok(&batch, base);
        batch
    }

    pub(crate) fn ask(&mut self, session: u32, position: u64) -> CallId {
        let call = self.call();
        let (session, quorum, replica) = (SessionId(session), self.quorum, ReplicaId(1));
        self.tell(Fact::FetchAsked { call, session, quorum, replica, position: Offset(position) });
        call
    }

    /// Answers with records from this offset on.
    pub(crate) fn answer(&mut self, call: CallId, from: u64, records: &[Identity], high_watermark: u64) {
        let answer = FetchAnswer::Records {
            records: placed(from, records),
            high_watermark: Offset(high_watermark),
            log_start: Offset(self.log_start),
            term: Term(self.term),
        };
        self.tell(Fact::FetchAnswered { call, answer });
    }

    pub(crate) fn answer_out_of_range(&mut self, call: CallId, high_watermark: u64) {
        let (log_start, term) = (Offset(self.log_start), Term(self.term));
        let answer = FetchAnswer::OutOfRange { high_watermark: Offset(high_watermark), log_start, term };
        self.tell(Fact::FetchAnswered { call, answer });
    }

    /// Asks for an offset and is given these batches from there on.
    pub(crate) fn read(&mut self, session: u32, position: u64, batches: &[&Batch], high_watermark: u64) {
        let call = self.ask(session, position);
        self.answer(call, position, &all(batches), high_watermark);
    }

    pub(crate) fn seek(&mut self, session: u32, position: u64) {
        let quorum = self.quorum;
        self.tell(Fact::Seek { session: SessionId(session), quorum, position: Offset(position) });
    }

    pub(crate) fn ask_latest(&mut self) -> CallId {
        let (call, quorum) = (self.call(), self.quorum);
        self.tell(Fact::LatestAsked { call, quorum });
        call
    }

    pub(crate) fn answer_latest(&mut self, call: CallId, latest: u64) {
        self.tell(Fact::LatestAnswered { call, latest: Offset(latest) });
    }

    pub(crate) fn ask_delete(&mut self, before: u64) -> CallId {
        let (call, quorum) = (self.call(), self.quorum);
        self.tell(Fact::DeleteAsked { call, quorum, before: Some(Offset(before)) });
        call
    }

    pub(crate) fn delete_done(&mut self, call: CallId, log_start: u64) {
        let term = Term(self.term);
        self.tell(Fact::DeleteDone { call, log_start: Offset(log_start), term });
    }

    pub(crate) fn policy(&mut self, retention: bool) {
        let quorum = self.quorum;
        self.tell(Fact::Policy { quorum, retention });
    }

    /// All faults end; the partition must acknowledge, and this reader must reach the end.
    pub(crate) fn heal(&mut self, reader: u32) {
        let quorum = self.quorum;
        let readers = vec![(SessionId(reader), quorum)];
        self.tell(Fact::Healed { partitions: vec![quorum], readers });
    }

    /// One replica's final log.
    pub(crate) fn last(&mut self, replica: u64, from: u64, batches: &[&Batch]) {
        let records = placed(from, &all(batches));
        let end = from + records.len() as u64;
        self.last_as(replica, (from, end), FinalContent::Records(records));
    }

    /// One replica's final log, of which only the hash is known.
    pub(crate) fn last_hash(&mut self, replica: u64, from: u64, batches: &[&Batch]) {
        let mut hash = RunningHash::default();
        let records = placed(from, &all(batches));
        records.iter().for_each(|placed| hash.add(placed));
        self.last_as(replica, (from, from + records.len() as u64), FinalContent::Hash(hash));
    }

    pub(crate) fn last_as(&mut self, replica: u64, (from, end): (u64, u64), content: FinalContent) {
        let log = FinalLog {
            quorum: self.quorum,
            replica: ReplicaId(replica),
            applied: Index(self.applied),
            log_start: Offset(from),
            high_watermark: Offset(end),
            content,
        };
        self.tell(Fact::FinalLog(log));
    }

    /// The final logs of three replicas that agree.
    pub(crate) fn end(&mut self, from: u64, batches: &[&Batch]) {
        for replica in 1..=3 {
            self.last(replica, from, batches);
        }
    }

    fn violations(&self) -> Vec<Violation> {
        let mut checker = Checker::new(Deadlines::default());
        for event in &self.events {
            checker.observe(event);
        }
        checker.finish()
    }

    /// The history breaks this promise; the checker says so, and in its account this phrase.
    #[track_caller]
    pub(crate) fn breaks(&self, check: Check, phrase: &str) {
        let violations = self.violations();
        let said = violations.iter().any(|found| found.check == check && found.text.contains(phrase));
        let is_judged =
            check == Check::History || violations.iter().all(|found| found.check != Check::History);
        assert!(said && is_judged, "{check} ({phrase}) is broken, but: {violations:#?}");
    }

    /// The history is legal.
    #[track_caller]
    pub(crate) fn is_legal(&self) {
        let violations = self.violations();
        assert!(violations.is_empty(), "nothing is wrong, but: {violations:#?}");
    }
}

/// The records of these batches, one after the other.
pub(crate) fn all(batches: &[&Batch]) -> Vec<Identity> {
    batches.iter().flat_map(|batch| batch.records.iter().copied()).collect()
}

/// Records at successive offsets.
pub(crate) fn placed(from: u64, records: &[Identity]) -> Vec<Placed> {
    let offsets = (from..).map(Offset);
    offsets.zip(records).map(|(offset, identity)| Placed { offset, identity: *identity }).collect()
}

/// A part of a batch.
pub(crate) fn part(batch: &Batch, records: std::ops::Range<usize>) -> Batch {
    Batch { call: batch.call, records: batch.records[records].to_vec() }
}
