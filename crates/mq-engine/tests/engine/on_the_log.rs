//! The engine on the real log, on a disk that loses what was not synced: what is acknowledged stays.

use crate::shell::{Broker, base_offset, options};
use mq_engine::api::{Acks, Error, Reply, Request};
use mq_engine::controller;
use mq_engine::{Input, Options, RequestId};
use mq_log::MemDisk;
use mq_log::disk::Crash;
use mq_types::persist::Standing;
use mq_types::{Offset, QuorumId};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What happens to a broker.
#[derive(Clone, Debug)]
enum Step {
    /// Records are sent to a partition.
    Produce { partition: usize, records: u32, acks: bool },
    /// Records are deleted up to a part of the log.
    Delete { partition: usize, eighths: u64 },
    /// The engine runs, and nothing becomes durable.
    Turn,
    /// What was given out becomes durable, and the engine does not hear of it.
    Sync,
    /// Everything follows.
    Settle,
    /// Time passes.
    Pass { ms: u64 },
    /// The machine loses power.
    Crash { seed: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_usize, 1..40_u32, any::<bool>())
            .prop_map(|(partition, records, acks)| Step::Produce { partition, records, acks }),
        1 => (0..3_usize, 0..9_u64).prop_map(|(partition, eighths)| Step::Delete { partition, eighths }),
        4 => Just(Step::Turn),
        3 => Just(Step::Sync),
        2 => Just(Step::Settle),
        1 => (100..3_000_u64).prop_map(|ms| Step::Pass { ms }),
        1 => any::<u64>().prop_map(|seed| Step::Crash { seed }),
    ]
}

/// A broker on a log, and what it has promised.
struct Run {
    broker: Broker,
    disk: MemDisk,
    quorums: Vec<QuorumId>,
    /// Who waits for what to be appended, and to be deleted.
    appends: BTreeMap<RequestId, (QuorumId, u32)>,
    deletes: BTreeMap<RequestId, QuorumId>,
    /// The end of what was acknowledged, and the highest log start that was.
    ends: BTreeMap<QuorumId, Offset>,
    starts: BTreeMap<QuorumId, Offset>,
}

impl Run {
    fn start() -> Run {
        let disk = MemDisk::new();
        let mut broker = Broker::start_on_log(Run::options(), disk.clone());
        broker.settle();
        let configs = [("segment.bytes", "65536"), ("retention.bytes", "150000")];
        let quorums = broker.create_topic("a", 3, &configs);
        let (appends, deletes) = (BTreeMap::new(), BTreeMap::new());
        Run { broker, disk, quorums, appends, deletes, ends: BTreeMap::new(), starts: BTreeMap::new() }
    }

    fn options() -> Options {
        let mut options = options(1, 2);
        options.partition_inflight_bytes_max = 1 << 20;
        options
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Produce { partition, records, acks } => {
                let quorum = self.quorums[partition];
                let acks = if acks { Acks::Quorum } else { Acks::Leader };
                let id = self.broker.produce(quorum, records, acks);
                self.appends.insert(id, (quorum, records));
            }
            Step::Delete { partition, eighths } => {
                let quorum = self.quorums[partition];
                let before = Some(Offset(self.broker.views[&quorum].high_watermark.0 * eighths / 8));
                let id = self.broker.ask(Request::DeleteRecords { quorum, before, validate_only: false });
                self.deletes.insert(id, quorum);
            }
            Step::Turn => self.broker.turn(),
            Step::Sync => self.broker.sync(),
            Step::Settle => self.broker.settle(),
            Step::Pass { ms } => self.broker.pass(ms),
            Step::Crash { seed } => self.crash(seed),
        }
        self.note_answers();
    }

    fn note_answers(&mut self) {
        for (id, outcome) in std::mem::take(&mut self.broker.replies) {
            if let Some((quorum, records)) = self.appends.remove(&id) {
                if outcome.is_ok() {
                    let end = base_offset(&outcome).plus(records);
                    let known = self.ends.entry(quorum).or_default();
                    *known = end.max(*known);
                }
            } else if let (Some(quorum), Ok(Reply::Deleted { log_start })) =
                (self.deletes.remove(&id), outcome)
            {
                let known = self.starts.entry(quorum).or_default();
                *known = log_start.max(*known);
            }
        }
    }

    fn crash(&mut self, seed: u64) {
        let now = self.broker.now;
        self.disk = self.disk.crash(Crash::Machine { seed });
        self.broker = Broker::start_on_log(Run::options(), self.disk.clone());
        self.broker.now.wall_ms = now.wall_ms;
        self.appends.clear();
        self.deletes.clear();
        self.broker.settle();
        self.check();
    }

    /// Everything promised is there, and every record between start and end can be read, once and in order.
    fn check(&mut self) {
        for quorum in &self.quorums {
            let view = &self.broker.views[quorum];
            assert!(view.serving, "quorum {quorum} serves");
            let end = self.ends.get(quorum).copied().unwrap_or_default();
            let start = self.starts.get(quorum).copied().unwrap_or_default();
            assert!(view.high_watermark >= end, "{end} was acknowledged, {} is there", view.high_watermark);
            assert!(view.log_start >= start, "deleted up to {start}, but it starts at {}", view.log_start);
            let shard = &self.broker.shards[usize::from(quorum.shard(2).0)];
            let log = shard.log.as_ref().expect("it runs on a log");
            let reader = log.reader(*quorum).expect("it is open");
            let mut next = view.log_start;
            while next < view.high_watermark {
                let read = reader.read(next, view.high_watermark, 1 << 16).expect("it is sound");
                let first = read.batches.first().expect("something is there");
                assert!(first.base_offset() <= next && next < first.end_offset());
                for pair in read.batches.windows(2) {
                    assert_eq!(pair[0].end_offset(), pair[1].base_offset());
                }
                assert_eq!(read.batches.last().map(mq_types::Batch::end_offset), Some(read.next_offset));
                assert!(read.batches.iter().all(mq_types::Batch::checksum_matches));
                next = read.next_offset;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_promised_survives_power_cuts(steps in prop::collection::vec(step(), 1..120)) {
        let mut run = Run::start();
        for step in &steps {
            run.step(step);
        }
        run.broker.settle();
        run.note_answers();
        prop_assert!(run.appends.is_empty() && run.deletes.is_empty(), "everybody is answered");
        run.check();
        run.crash(7);
    }
}

#[test]
fn topics_are_purged_from_a_real_log_and_the_controllers_log_is_trimmed() {
    let mut run = Run::start();
    for round in 0..30 {
        run.broker.create_topic(&format!("t{round}"), 2, &[]);
        let purge = controller::Request::DeleteTopic {
            name: format!("t{round}"),
            topic_id: None,
            purge: true,
            validate_only: false,
        };
        run.broker.control(purge).expect("it is there");
    }
    assert!(run.broker.image.tombstones.is_empty());
    let image = run.broker.image.clone();
    run.crash(11);
    assert_eq!(run.broker.image, image);
    let log = run.broker.shards[0].log.as_ref().expect("it runs on a log");
    assert_eq!(log.reader(QuorumId(1026)).map(|reader| reader.log_start()), Some(Offset(0)));
    assert!(log.reader(QuorumId(1028)).is_none(), "purged");
}

/// The oldest write becomes durable; those after it stay on their way.
fn sync_oldest(broker: &mut Broker) {
    let later = broker.shards[1].writes.split_off(1);
    broker.sync();
    broker.shards[1].writes = later;
}

#[test]
fn a_log_that_starts_inside_a_batch_not_known_to_be_committed_comes_back() {
    let mut run = Run::start();
    let quorum = *run.quorums.iter().find(|quorum| quorum.0 % 2 == 1).expect("shard 1 has one");
    let delete =
        |before| Request::DeleteRecords { quorum, before: Some(Offset(before)), validate_only: false };
    let broker = &mut run.broker;
    broker.produce(quorum, 10, Acks::Quorum);
    broker.settle();
    // One write a round, as when every turn finds the disk busy with the one before.
    let first = broker.ask(delete(5));
    broker.turn();
    broker.produce(quorum, 10, Acks::Quorum);
    broker.turn();
    sync_oldest(broker); // the first order
    broker.turn();
    sync_oldest(broker); // the second batch
    broker.turn();
    assert_eq!(broker.views[&quorum].high_watermark, Offset(20));
    // The first trim is still on its way, so that the commit index stored with the next order stays below it.
    let second = broker.ask(delete(15));
    broker.turn();
    for _ in 0..3 {
        sync_oldest(broker); // the first trim, the second order, the second trim
        broker.turn();
    }
    for id in [first, second] {
        assert!(matches!(broker.replies[&id], Ok(Reply::Deleted { .. })), "{:?}", broker.replies[&id]);
    }
    run.ends.insert(quorum, Offset(20));
    run.starts.insert(quorum, Offset(15));
    run.crash(1);
}

#[test]
fn nothing_is_written_to_a_log_after_the_verdict_that_it_is_lost() {
    let mut run = Run::start();
    let quorum = *run.quorums.iter().find(|quorum| quorum.0 % 2 == 1).expect("shard 1 has one");
    let broker = &mut run.broker;
    let here = broker.views[&quorum].replica;
    broker.shards[1].inputs.push(Input::Peer(crate::lost::heartbeat_beyond(quorum, here)));
    broker.turn();
    let id = broker.produce(quorum, 1, Acks::Quorum);
    broker.turn();
    sync_oldest(broker); // the verdict, in a round of its own
    broker.settle();
    assert!(matches!(broker.views[&quorum].standing, Standing::Lost(_)));
    assert!(matches!(broker.replies[&id], Err(Error::OutcomeUnknown { .. })), "{:?}", broker.replies[&id]);
}
