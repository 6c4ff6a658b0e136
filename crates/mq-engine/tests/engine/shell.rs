//! One broker in memory: its engines, what is durable, and what was published and answered.

use crate::disk::Disk;
use mq_engine::api::{self, Acks, Outcome, Produce, Request};
use mq_engine::controller::{self, BrokerInfo, Command, Image, Topic};
use mq_engine::{Effect, Engine, Event, Input, Now, Options, RequestId, View, WriteNumber};
use mq_log::{MemDisk, PersistError, ReadError, Reader, ShardOpen, ShardStore};
use mq_types::batch::{BatchBuilder, Checked, NewRecord, ValidateOptions, validate};
use mq_types::compression::Compression;
use mq_types::persist::{LogStatus, RecoveredReplica, ReplicaWrite};
use mq_types::{BrokerId, DirectoryId, Message, Offset, QuorumId, ShardId, TopicId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(crate) const DIRECTORY: DirectoryId = DirectoryId([7; 16]);
pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// One shard: its engine and what waits for it.
pub(crate) struct Shard {
    pub(crate) engine: Engine,
    pub(crate) disk: Disk,
    /// A real log, in place of the map.
    pub(crate) log: Option<ShardStore<MemDisk>>,
    pub(crate) writes: VecDeque<(WriteNumber, ReplicaWrite)>,
    pub(crate) inputs: Vec<Input>,
}

impl Shard {
    fn start(
        options: &Options,
        shard: usize,
        disk: Disk,
        log: Option<ShardStore<MemDisk>>,
        recovered: Vec<RecoveredReplica>,
    ) -> Shard {
        let options = Options { shard: ShardId(shard as u16), ..options.clone() };
        let engine = Engine::new(options, recovered).expect("it was written here");
        Shard { engine, disk, log, writes: VecDeque::new(), inputs: Vec::new() }
    }

    /// Makes these durable; what changed of which log.
    fn persist(&mut self, writes: Vec<ReplicaWrite>) -> Result<BTreeMap<QuorumId, LogStatus>, PersistError> {
        match &mut self.log {
            Some(log) => Ok(log.persist_round(writes)?.changed.into_iter().collect()),
            None => {
                let mut changed = BTreeMap::new();
                for write in writes {
                    let quorum = write.quorum;
                    changed.extend(self.disk.write(write).map(|status| (quorum, status)));
                }
                Ok(changed)
            }
        }
    }
}

/// One broker.
pub(crate) struct Broker {
    pub(crate) options: Options,
    pub(crate) shards: Vec<Shard>,
    pub(crate) now: Now,
    pub(crate) replies: BTreeMap<RequestId, Outcome>,
    pub(crate) views: BTreeMap<QuorumId, View>,
    pub(crate) events: Vec<Event>,
    pub(crate) sent: Vec<Message>,
    pub(crate) commands: Vec<Command>,
    /// How often it asked to take part.
    pub(crate) joins: Vec<BrokerInfo>,
    pub(crate) image: Arc<Image>,
    /// Commands are given to shard 0, as a broker's shell does.
    pub(crate) routes_commands: bool,
    /// A round failed: the process would end here, and nothing may be asked of it any more.
    pub(crate) failed: Option<PersistError>,
    last_request: u64,
}

pub(crate) fn options(broker: u32, shards: u16) -> Options {
    Options {
        broker: BrokerId(broker),
        directory: DIRECTORY,
        shard: ShardId(0),
        shards,
        seed: u64::from(broker),
        info: BrokerInfo {
            directory: DIRECTORY,
            grpc_endpoint: format!("b{broker}:9650"),
            ..BrokerInfo::default()
        },
        found_cluster: Some("test".to_owned()),
        controller: controller::Options {
            trash_grace_ms: 60_000,
            snapshot_interval_entries: 20,
            ..Default::default()
        },
        retention_interval_ms: 1_000,
        partition_inflight_bytes_max: 4_096,
    }
}

impl Broker {
    /// Starts on what is durable; nothing has run yet.
    pub(crate) fn start(options: Options, disks: Vec<Disk>) -> Broker {
        let shards = disks.into_iter().enumerate().map(|(shard, disk)| {
            let recovered = disk.recover();
            Shard::start(&options, shard, disk, None, recovered)
        });
        let shards = shards.collect();
        Broker::of(options, shards)
    }

    /// Starts on a real log, whatever the disk under it holds.
    pub(crate) fn start_on_log(options: Options, disk: MemDisk) -> Broker {
        let opened =
            mq_log::open(disk, mq_log::Options::new(options.shards, [3; 32])).expect("the disk is sound");
        Broker::start_on_opened(options, opened)
    }

    /// Starts on a real log that is open.
    pub(crate) fn start_on_opened(options: Options, opened: Vec<ShardOpen<MemDisk>>) -> Broker {
        let shards = opened.into_iter().enumerate().map(|(shard, opened)| {
            Shard::start(&options, shard, Disk::default(), Some(opened.store), opened.recovered)
        });
        let shards = shards.collect();
        Broker::of(options, shards)
    }

    fn of(options: Options, shards: Vec<Shard>) -> Broker {
        assert_eq!(shards.len(), usize::from(options.shards));
        Broker {
            shards,
            options,
            now: Now { monotonic_ms: 0, wall_ms: 1_000_000 },
            replies: BTreeMap::new(),
            views: BTreeMap::new(),
            events: Vec::new(),
            sent: Vec::new(),
            commands: Vec::new(),
            joins: Vec::new(),
            image: Arc::new(Image::default()),
            routes_commands: true,
            failed: None,
            last_request: 0,
        }
    }

    /// A founded broker that has come to rest.
    pub(crate) fn founded(shards: u16) -> Broker {
        let mut broker = Broker::start(options(1, shards), vec![Disk::default(); usize::from(shards)]);
        broker.settle();
        broker
    }

    /// Everything that is not durable is lost, and the broker starts again.
    pub(crate) fn crash(self) -> Broker {
        let disks = self.shards.into_iter().map(|shard| shard.disk).collect();
        let mut broker = Broker::start(self.options, disks);
        broker.now = Now { monotonic_ms: 0, wall_ms: self.now.wall_ms };
        broker
    }

    /// One turn of each shard that has something to do (of all shards the first time).
    pub(crate) fn turn(&mut self) {
        if let Some(error) = &self.failed {
            panic!("the broker goes on after a failed round: {error}");
        }
        for shard in 0..self.shards.len() {
            let inputs = std::mem::take(&mut self.shards[shard].inputs);
            let effects = self.shards[shard].engine.turn(self.now, inputs);
            self.carry_out(shard, effects);
        }
    }

    fn carry_out(&mut self, shard: usize, effects: Vec<Effect>) {
        let mut published = Vec::new();
        let mut has_replied = false;
        for effect in effects {
            let tells = matches!(effect, Effect::Publish { .. } | Effect::Image(_) | Effect::Persist { .. });
            assert!(!(has_replied && tells), "an answer left before what it rests on: {effect:?}");
            has_replied |= matches!(effect, Effect::Reply { .. });
            match effect {
                Effect::Persist { number, write } => self.shards[shard].writes.push_back((number, *write)),
                Effect::Send(message) => self.sent.push(message),
                Effect::Publish { quorum, view } => {
                    assert!(!published.contains(&quorum), "quorum {quorum} was published twice in a turn");
                    published.push(quorum);
                    self.views.insert(quorum, view);
                }
                Effect::Reply { id, outcome } => {
                    assert!(self.replies.insert(id, outcome).is_none(), "{id:?} was answered twice");
                }
                Effect::Image(image) => {
                    self.image = Arc::clone(&image);
                    for other in 1..self.shards.len() {
                        self.shards[other].inputs.push(Input::Image(Arc::clone(&image)));
                    }
                }
                Effect::Command(command) if self.routes_commands => {
                    self.commands.push(command.clone());
                    self.shards[0].inputs.push(Input::Command(command));
                }
                Effect::Command(command) => self.commands.push(command),
                Effect::Closed { quorum } => {
                    self.views.remove(&quorum);
                }
                Effect::Event(event) => self.events.push(event),
                Effect::Join(info) => self.joins.push(info),
                Effect::Read { quorum, replica, read, from, until, size_bytes_max } => {
                    let shard = &mut self.shards[shard];
                    let log = shard.log.as_ref().expect("nobody is far behind without a real log");
                    let reader = log.reader(quorum).filter(|reader| reader.replica() == replica);
                    let read_of = |reader: Reader<MemDisk>| reader.entries(from, until, size_bytes_max);
                    let found = reader.map(read_of);
                    if matches!(found, Some(Err(ReadError::Corrupt(_)))) {
                        shard.inputs.push(Input::Damaged { quorum, replica });
                    }
                    let entries = found.and_then(Result::ok);
                    shard.inputs.push(Input::EntriesRead { quorum, replica, read, entries });
                }
            }
        }
    }

    /// Makes everything durable that was given out, as one round per shard; the engines do not hear of it yet.
    pub(crate) fn sync(&mut self) {
        for shard in &mut self.shards {
            let mut round: Vec<(WriteNumber, ReplicaWrite)> = Vec::new();
            for (number, write) in std::mem::take(&mut shard.writes) {
                let newest = round.iter_mut().rev().find(|earlier| earlier.1.quorum == write.quorum);
                let Some(newest) = newest else {
                    round.push((number, write));
                    continue;
                };
                match newest.1.try_merge(write) {
                    Ok(()) => newest.0 = number,
                    Err(write) => round.push((number, write)),
                }
            }
            let numbers: Vec<_> = round.iter().map(|(number, write)| (write.quorum, *number)).collect();
            let mut changed = match shard.persist(round.into_iter().map(|(_, write)| write).collect()) {
                Ok(changed) => changed,
                Err(error) => {
                    self.failed = Some(error);
                    return;
                }
            };
            for (at, &(quorum, number)) in numbers.iter().enumerate() {
                // What has changed is known when the last write of the quorum is durable.
                let is_last = numbers[at + 1..].iter().all(|later| later.0 != quorum);
                let status = if is_last { changed.remove(&quorum) } else { None };
                shard.inputs.push(Input::Persisted { quorum, number, status });
            }
        }
    }

    /// Nothing more follows from what is durable and what was asked.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100 {
            self.turn();
            self.sync();
            if self.failed.is_some() || self.shards.iter().all(|shard| shard.inputs.is_empty()) {
                return;
            }
        }
        panic!("the broker does not come to rest");
    }

    /// Time passes, a tick at a time.
    pub(crate) fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(100) {
            if self.failed.is_some() {
                return;
            }
            self.now.monotonic_ms += 100;
            self.now.wall_ms += 100;
            for shard in &mut self.shards {
                shard.inputs.push(Input::Tick);
            }
            self.settle();
        }
    }

    fn shard_of(&mut self, quorum: QuorumId) -> &mut Shard {
        let shard = quorum.shard(self.options.shards);
        &mut self.shards[usize::from(shard.0)]
    }

    /// What is durable of a quorum.
    pub(crate) fn stored(&self, quorum: QuorumId) -> &crate::disk::Stored {
        let shard = quorum.shard(self.options.shards);
        &self.shards[usize::from(shard.0)].disk.replicas[&quorum]
    }

    /// Asks; the engine hears of it with the next turn.
    pub(crate) fn ask(&mut self, request: Request) -> RequestId {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        let quorum = match &request {
            Request::Produce(produce) => produce.quorum,
            Request::ReadIndex { quorum } | Request::DeleteRecords { quorum, .. } => *quorum,
            Request::Controller(_) => QuorumId::CONTROLLER,
        };
        self.shard_of(quorum).inputs.push(Input::Request { id, request });
        id
    }

    /// Asks to append so many records of 100 bytes.
    pub(crate) fn produce(&mut self, quorum: QuorumId, records: u32, acks: Acks) -> RequestId {
        self.ask(Request::Produce(Produce {
            quorum,
            batch: batch(records),
            acks,
            expected_next_offset: None,
        }))
    }

    /// Asks, and lets everything follow.
    pub(crate) fn call(&mut self, request: Request) -> Outcome {
        let id = self.ask(request);
        self.settle();
        self.replies.remove(&id).expect("every request is answered")
    }

    /// Asks the controller, and lets everything follow.
    pub(crate) fn control(&mut self, request: controller::Request) -> Outcome {
        self.call(Request::Controller(request))
    }

    /// Makes a topic of this many partitions. Answers their quorums.
    pub(crate) fn create_topic(
        &mut self,
        name: &str,
        partitions: u32,
        configs: &[(&str, &str)],
    ) -> Vec<QuorumId> {
        let topic = self.control(controller::Request::CreateTopic {
            name: name.to_owned(),
            topic_id: TopicId([self.image.topics.len() as u8 + 1; 16]),
            partition_count: Some(partitions),
            replication_factor: None,
            configs: configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            validate_only: false,
        });
        topic_of(topic).partitions.iter().map(|partition| partition.quorum).collect()
    }
}

pub(crate) fn topic_of(outcome: Outcome) -> Arc<Topic> {
    match outcome {
        Ok(api::Reply::Controller(controller::Reply::Topic(topic))) => topic,
        other => panic!("not a topic: {other:?}"),
    }
}

pub(crate) fn produced(outcome: &Outcome) -> api::Produced {
    match outcome {
        Ok(api::Reply::Produced(produced)) => *produced,
        other => panic!("not produced: {other:?}"),
    }
}

pub(crate) fn base_offset(outcome: &Outcome) -> Offset {
    produced(outcome).base_offset.expect("a base offset")
}

pub(crate) fn batch(records: u32) -> Checked {
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        let record = NewRecord { timestamp_ms: 5, key: None, value: Some(&[b'x'; 100]), headers: &[] };
        builder.push(&record).expect("it is small");
    }
    let limits = ValidateOptions { size_bytes_max: 1 << 20, decompressed_bytes_max: 1 << 20 };
    validate(&builder.finish(Compression::None), &limits).expect("it is well-formed")
}
