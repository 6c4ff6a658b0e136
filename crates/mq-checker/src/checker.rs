//! The checker: takes a history in, event by event, and says what is wrong with it.

use crate::history::{CallId, Event, Fact, FetchAnswer, ProduceOutcome};
use crate::liveness::{Deadlines, Liveness};
use crate::partition::{Latest, Partition, Produce, acknowledged};
use crate::places::Witness;
use crate::raft::{Leaving, Published, Quorum};
use crate::reads::{Bounds, Fetch, Readers};
use crate::violation::{Check, Findings, Violation};
use mq_types::{Offset, QuorumId, Term};
use std::collections::BTreeMap;

/// Judges one history. Time and memory grow with the history's length alone.
#[derive(Debug, Default)]
pub struct Checker {
    deadlines: Deadlines,
    findings: Findings,
    calls: BTreeMap<CallId, Call>,
    partitions: BTreeMap<QuorumId, Partition>,
    quorums: BTreeMap<QuorumId, Quorum>,
    readers: Readers,
    liveness: Liveness,
    counts: Counts,
}

/// A call without an answer yet.
#[derive(Clone, Copy, Debug)]
enum Call {
    Produce(Produce),
    Fetch(Fetch),
    Latest(Latest),
    Delete { quorum: QuorumId, before: Option<Offset> },
}

/// How much there was to judge: a check of nothing proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Batches that were acknowledged by a majority.
    pub acknowledged: u64,
    /// Records that were read.
    pub read: u64,
}

impl Checker {
    /// A checker that allows this much time after the faults have ended.
    #[must_use]
    pub fn new(deadlines: Deadlines) -> Checker {
        Checker { deadlines, ..Checker::default() }
    }

    /// Takes the next event in; gives back what it shows to be wrong.
    pub fn observe(&mut self, event: &Event) -> &[Violation] {
        let before = self.findings.kept.len();
        self.findings.event =
            u32::try_from(self.counts.events).expect("a history has fewer than 2^32 events");
        self.counts.events += 1;
        if event.at_us < self.findings.at_us {
            self.findings.add(Check::History, "time goes back".to_owned());
        } else {
            self.findings.at_us = event.at_us;
        }
        self.liveness.check(&self.deadlines, false, &mut self.findings);
        self.judge(&event.fact);
        &self.findings.kept[before..]
    }

    /// Says what the whole history shows to be wrong, with what was said before (of very many, the first ones).
    #[must_use]
    pub fn finish(mut self) -> Vec<Violation> {
        self.findings.event =
            u32::try_from(self.counts.events).expect("a history has fewer than 2^32 events");
        self.liveness.check(&self.deadlines, true, &mut self.findings);
        for (quorum, partition) in &self.partitions {
            self.findings.quorum = Some(*quorum);
            partition.finish(&mut self.findings);
        }
        self.findings.kept
    }

    /// How much there was to judge until now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many violations were found until now, including those of which no account was kept.
    #[must_use]
    pub fn violation_count(&self) -> u64 {
        self.findings.count
    }

    fn judge(&mut self, fact: &Fact) {
        match fact {
            Fact::Policy { .. }
            | Fact::Deleted { .. }
            | Fact::ProduceSent(_)
            | Fact::ProduceEnded { .. }
            | Fact::LatestAsked { .. }
            | Fact::LatestAnswered { .. }
            | Fact::DeleteAsked { .. }
            | Fact::DeleteDone { .. }
            | Fact::Healed { .. }
            | Fact::FinalLog(_) => self.judge_partition(fact),
            Fact::FetchAsked { call, session, quorum, replica, position } => {
                let partition = self.partition(*quorum);
                let done = (partition.acknowledged, partition.log_start.done);
                let asked = (*replica, *position);
                let fetch = self.readers.ask(*session, *quorum, asked, done, &mut self.findings);
                self.open(*call, Call::Fetch(fetch));
            }
            Fact::FetchAnswered { call, answer } => self.answer_fetch(*call, answer),
            Fact::Seek { session, quorum, position } => self.readers.seek(*session, *quorum, *position),
            _ => self.judge_replica(fact),
        }
    }

    /// What is about a partition and its clients, but for reading.
    fn judge_partition(&mut self, fact: &Fact) {
        match fact {
            Fact::Policy { quorum, retention } => self.partition(*quorum).log_start.set_retention(*retention),
            Fact::Deleted { quorum } => {
                self.partition(*quorum).delete();
                self.liveness.forget(*quorum);
            }
            Fact::ProduceSent(sent) => {
                let (partition, findings) = self.partition_and_findings(sent.quorum);
                if let Some(produce) = partition.send(sent, findings) {
                    self.open(sent.call, Call::Produce(produce));
                }
            }
            Fact::ProduceEnded { call, outcome } => self.end_produce(*call, outcome),
            Fact::LatestAsked { call, quorum } => {
                let latest = self.partition(*quorum).ask_latest(*quorum);
                self.open(*call, Call::Latest(latest));
            }
            Fact::LatestAnswered { call, latest } => {
                if let Some(Call::Latest(asked)) = self.close(*call, |call| matches!(call, Call::Latest(_))) {
                    Partition::answer_latest(asked, *latest, &mut self.findings);
                    self.check_high_watermark(asked.quorum, *latest, "LATEST");
                }
            }
            Fact::DeleteAsked { call, quorum, before } => {
                self.partition(*quorum).log_start.request(*before);
                self.open(*call, Call::Delete { quorum: *quorum, before: *before });
            }
            Fact::DeleteDone { call, log_start, term } => self.end_delete(*call, *log_start, *term),
            Fact::Healed { partitions, readers } => {
                let ends = readers.iter().map(|reader| {
                    let end = self.partitions.get(&reader.1).map_or(Offset(0), Partition::acknowledged_end);
                    (*reader, end)
                });
                self.liveness.heal(partitions, ends, &self.findings);
            }
            Fact::FinalLog(log) => {
                let (partition, findings) = self.partition_and_findings(log.quorum);
                partition.add_final(log, findings);
            }
            _ => unreachable!("what is about a partition was sorted out above"),
        }
    }

    /// What is about one replica.
    fn judge_replica(&mut self, fact: &Fact) {
        match fact {
            Fact::Published { quorum, replica, term, leader, serving, log_start, high_watermark } => {
                let (partition, findings) = self.partition_and_findings(*quorum);
                partition.log_start.check(*log_start, "a replica", findings);
                let published = Published {
                    replica: *replica,
                    term: *term,
                    leader: *leader,
                    serving: *serving,
                    log_start: *log_start,
                    high_watermark: *high_watermark,
                };
                let (quorum, findings) = self.quorum_and_findings(*quorum);
                quorum.publish(published, findings);
            }
            Fact::Opened(opened) => {
                let (quorum, findings) = self.quorum_and_findings(opened.quorum);
                quorum.open(opened, findings);
            }
            Fact::Removed { quorum, replica } => self.quorum_and_findings(*quorum).0.remove(*replica),
            Fact::DiskLost { quorum, replica } => self.quorum_and_findings(*quorum).0.lose_disk(*replica),
            Fact::Written { quorum, replica, reset, entries } => {
                let (quorum, findings) = self.quorum_and_findings(*quorum);
                quorum.write(*replica, *reset, entries, findings);
            }
            Fact::LogDurable { quorum, replica, last, term } => {
                let (quorum, findings) = self.quorum_and_findings(*quorum);
                quorum.sync_log(*replica, (*last, *term), findings);
            }
            Fact::VoteDurable { quorum, replica, vote } => {
                let (quorum, findings) = self.quorum_and_findings(*quorum);
                quorum.sync_vote(*replica, *vote, findings);
            }
            Fact::MembershipApplied { quorum, replica, membership } => {
                let (quorum, findings) = self.quorum_and_findings(*quorum);
                quorum.apply_membership(*replica, membership, findings);
            }
            Fact::Committed { quorum, replica, through } => {
                let (quorum, findings) = self.quorum_and_findings(*quorum);
                quorum.commit(*replica, *through, findings);
            }
            Fact::MessageSent { quorum, from, to, kind, term, index, reject } => {
                let (quorum, findings) = self.quorum_and_findings(*quorum);
                let (from, to, kind) = (*from, *to, *kind);
                let leaving = Leaving { from, to, kind, term: *term, index: *index, reject: *reject };
                quorum.send(leaving, findings);
            }
            _ => unreachable!("what is about clients was sorted out above"),
        }
    }

    fn end_produce(&mut self, call: CallId, outcome: &ProduceOutcome) {
        let Some(Call::Produce(produce)) = self.close(call, |call| matches!(call, Call::Produce(_))) else {
            return;
        };
        let (partition, findings) = self.partition_and_findings(produce.quorum);
        if let Some(placed) = acknowledged(outcome) {
            partition.end(&produce, placed, findings);
            self.liveness.acknowledge(produce.quorum, produce.sent_event);
            self.counts.acknowledged += 1;
        } else if matches!(outcome, ProduceOutcome::Fail) {
            partition.fail(&produce, findings);
        }
    }

    fn end_delete(&mut self, call: CallId, log_start: Offset, term: Term) {
        let Some(Call::Delete { quorum, before }) =
            self.close(call, |call| matches!(call, Call::Delete { .. }))
        else {
            return;
        };
        let (partition, findings) = self.partition_and_findings(quorum);
        partition.log_start.delete(before, log_start, term, findings);
    }

    fn answer_fetch(&mut self, call: CallId, answer: &FetchAnswer) {
        let Some(Call::Fetch(fetch)) = self.close(call, |call| matches!(call, Call::Fetch(_))) else {
            return;
        };
        let Some(bounds) = Bounds::of(answer) else { return };
        let (partition, findings) = self.partition_and_findings(fetch.quorum);
        partition.log_start.check(bounds.log_start, "an answer to a fetch", findings);
        if let FetchAnswer::Records { records, .. } = answer {
            partition.find(records, Witness::Read, findings);
            self.counts.read += records.len() as u64;
        }
        self.check_high_watermark(fetch.quorum, bounds.high_watermark, "an answer to a fetch");
        if let Some(position) = self.readers.answer(call, &fetch, answer, &mut self.findings) {
            self.liveness.at_end(fetch.session, fetch.quorum, position);
        }
    }

    /// C8: nobody is told of more than a majority has.
    fn check_high_watermark(&mut self, quorum: QuorumId, told: Offset, who: &str) {
        let allowed = self.quorums.get(&quorum).and_then(Quorum::high_watermark_max);
        if let Some(allowed) = allowed.filter(|allowed| told > *allowed) {
            let text =
                format!("{who} says that the high watermark is {told}; only {allowed} was ever published");
            self.findings.add(Check::C8, text);
        }
    }

    /// The partition that an event is about.
    fn partition(&mut self, quorum: QuorumId) -> &mut Partition {
        self.partition_and_findings(quorum).0
    }

    /// The partition that an event is about, and where to put what is wrong with it.
    fn partition_and_findings(&mut self, quorum: QuorumId) -> (&mut Partition, &mut Findings) {
        self.findings.quorum = Some(quorum);
        (self.partitions.entry(quorum).or_default(), &mut self.findings)
    }

    /// The quorum that an event is about, and where to put what is wrong with it.
    fn quorum_and_findings(&mut self, quorum: QuorumId) -> (&mut Quorum, &mut Findings) {
        self.findings.quorum = Some(quorum);
        (self.quorums.entry(quorum).or_default(), &mut self.findings)
    }

    fn open(&mut self, id: CallId, call: Call) {
        if self.calls.insert(id, call).is_some() {
            self.findings.add(Check::History, format!("call {} was begun twice", id.0));
        }
    }

    /// The call that ends, if it is of the kind that can end so.
    fn close(&mut self, id: CallId, is_kind: impl Fn(&Call) -> bool) -> Option<Call> {
        let call = self.calls.remove(&id).filter(is_kind);
        if call.is_none() {
            self.findings
                .add(Check::History, format!("call {} ends, but was not begun or ended before", id.0));
        }
        call
    }
}
