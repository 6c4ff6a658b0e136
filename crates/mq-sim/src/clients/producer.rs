//! Producers: several batches outstanding, and another attempt where the outcome was bad or is unknown.

use super::{Clients, Line, Purpose, history_id};
use crate::ask::{Answer, Ask};
use crate::payload;
use crate::queue::{CallId, Event};
use crate::random::Random;
use crate::sometimes;
use crate::stage::Stage;
use crate::swarm::LoadOptions;
use crate::time::EPOCH_WALL_MS;
use mq_checker::history::{self, Durability, Fact, Identity, ProduceOutcome, ProduceSent, StreamId};
use mq_engine::api::{self, Acks, Error, Reply};
use mq_types::QuorumId;
use std::collections::{BTreeMap, VecDeque};

/// When a producer tries again after a bad outcome, in microseconds.
const RETRY_US: u64 = 60_000;

/// A producer.
#[derive(Debug)]
pub(super) struct Producer {
    id: history::Producer,
    /// The next sequence number of each partition.
    next: BTreeMap<QuorumId, u64>,
    outstanding: usize,
    /// What is to be tried again, and not before when.
    again: VecDeque<(u64, Attempt)>,
}

/// A batch that is sent once more, or for the first time.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    producer: usize,
    pub(super) quorum: QuorumId,
    first_sequence: u64,
    value_bytes: Vec<usize>,
    acks: Acks,
    /// From 1.
    attempt: u32,
    sent_us: u64,
    at: usize,
}

impl Producer {
    pub(super) fn new(run: u32, number: usize) -> Producer {
        Producer {
            id: history::Producer { run, id: number as u32, epoch: 0 },
            next: BTreeMap::new(),
            outstanding: 0,
            again: VecDeque::new(),
        }
    }

    /// A batch never sent before.
    fn fresh(&mut self, number: usize, quorum: QuorumId, load: &LoadOptions, random: &mut Random) -> Attempt {
        let count = random.between(1..=load.records_max);
        let value_bytes =
            (0..count).map(|_| random.scaled(20..=load.value_bytes_max) as usize).collect::<Vec<_>>();
        let next = self.next.entry(quorum).or_default();
        let first_sequence = *next;
        *next += count;
        let acks = match random.below(1_000) < load.weak_acks_per_mille {
            false => Acks::Quorum,
            true => *random.pick(&[Acks::Leader, Acks::None]),
        };
        Attempt { producer: number, quorum, first_sequence, value_bytes, acks, attempt: 1, sent_us: 0, at: 0 }
    }
}

impl Clients {
    /// A producer looks whether it may send.
    pub(crate) fn produce(&mut self, number: usize, line: &mut Line<'_>) {
        let load = self.swarm.load;
        let now_us = line.stage.now_us();
        let pause_us = 1 + self.random.below(load.pause_us_max);
        line.stage.queue.after(pause_us, Event::Producer { number });
        let partitions = self.partitions();
        let producer = &mut self.producers[number];
        if producer.outstanding >= load.window || partitions.is_empty() {
            return;
        }
        let retry = match producer.again.front() {
            Some((due_us, _)) if *due_us <= now_us => producer.again.pop_front(),
            _ => None,
        };
        let attempt = match retry {
            Some((_, attempt)) if partitions.contains(&attempt.quorum) => attempt,
            _ if self.is_closing => return,
            _ => {
                let quorum = *self.random.pick(&partitions);
                producer.fresh(number, quorum, &load, &mut self.random)
            }
        };
        self.send(attempt, line);
    }

    fn send(&mut self, mut attempt: Attempt, line: &mut Line<'_>) {
        let at = self.leader(attempt.quorum);
        (attempt.sent_us, attempt.at) = (line.stage.now_us(), at);
        let producer = &mut self.producers[attempt.producer];
        producer.outstanding += 1;
        let id = producer.id;
        let sized = (attempt.first_sequence..).zip(&attempt.value_bytes);
        let values: Vec<Vec<u8>> =
            sized.map(|(sequence, bytes)| payload::value(id, sequence, *bytes)).collect();
        let records: Vec<Identity> = values.iter().map(|value| payload::identity(value)).collect();
        let batch = payload::batch(&values, EPOCH_WALL_MS + (attempt.sent_us / 1_000) as i64);
        let (quorum, acks, attempts) = (attempt.quorum, attempt.acks, attempt.attempt);
        let stream = StreamId(id.id * self.swarm.brokers as u32 + at as u32);
        let call = self.ask(at, Ask::Produce { quorum, batch, acks }, Purpose::Produce(attempt), line);
        let sent = ProduceSent {
            call: history_id(call),
            client: id.id,
            quorum,
            stream: Some(stream),
            idempotent: false,
            attempt: attempts,
            records,
        };
        line.stage.record.fact(line.stage.queue.now_us(), Fact::ProduceSent(sent));
        line.stage.tally.sent += 1;
    }

    pub(super) fn produce_answered(
        &mut self,
        call: CallId,
        attempt: Attempt,
        answer: &Answer,
        stage: &mut Stage,
    ) {
        let outcome = match answer {
            Answer::Engine(Ok(Reply::Produced(produced))) => {
                self.metadata.led(attempt.quorum, attempt.at, produced.term);
                match produced.base_offset {
                    None => ProduceOutcome::Info,
                    Some(base_offset) => {
                        let durability = durability(produced.durability);
                        ProduceOutcome::Ok { base_offset, term: produced.term, durability }
                    }
                }
            }
            Answer::Engine(Err(Error::OutcomeUnknown { .. })) => {
                sometimes!("a produce's outcome was unknown");
                ProduceOutcome::Info
            }
            Answer::Engine(Err(error)) => {
                if matches!(error, Error::NotLeader { .. }) {
                    sometimes!("a produce was answered not leader");
                }
                ProduceOutcome::Fail
            }
            Answer::Refused => ProduceOutcome::Fail,
            Answer::Engine(Ok(_)) | Answer::Deleted { .. } | Answer::Fetched(_) => {
                panic!("a produce was answered by something else: {answer:?}")
            }
        };
        self.ended(call, attempt, outcome, stage);
    }

    pub(super) fn produce_unknown(&mut self, call: CallId, attempt: Attempt, stage: &mut Stage) {
        self.ended(call, attempt, ProduceOutcome::Info, stage);
    }

    fn ended(&mut self, call: CallId, attempt: Attempt, outcome: ProduceOutcome, stage: &mut Stage) {
        let now_us = stage.now_us();
        let producer = &mut self.producers[attempt.producer];
        producer.outstanding -= 1;
        let is_acknowledged = matches!(outcome, ProduceOutcome::Ok { durability: Durability::Quorum, .. });
        if is_acknowledged {
            stage.tally.acknowledged += 1;
            if attempt.attempt > 1 {
                sometimes!("a retry was acknowledged");
            }
            if self.healed_at_us.is_some_and(|healed_at_us| attempt.sent_us >= healed_at_us) {
                self.alive.insert(attempt.quorum);
            }
        }
        stage.record.fact(now_us, Fact::ProduceEnded { call: history_id(call), outcome });
        let is_stored = matches!(outcome, ProduceOutcome::Ok { .. }) || attempt.acks == Acks::None;
        if !is_stored && attempt.attempt < self.swarm.load.attempts_max {
            let attempt = Attempt { attempt: attempt.attempt + 1, ..attempt };
            producer.again.push_back((now_us + RETRY_US, attempt));
        }
    }
}

fn durability(promised: api::Durability) -> Durability {
    match promised {
        api::Durability::None => Durability::None,
        api::Durability::LeaderFsync => Durability::Leader,
        api::Durability::QuorumFsync => Durability::Quorum,
    }
}
