//! One broker with its engine and its log on a disk in memory, as a shell runs them; of a three-voter partition it has
//! one replica, and the other two are whoever talks to it.

use mq_engine::api::{Acks, Outcome, Produce, Request};
use mq_engine::controller::{self, BrokerInfo, Health, Image, Members, PartitionInfo, ReplicaInfo, Topic};
use mq_engine::{Effect, Engine, Input, Now, Options, RequestId, View, WriteNumber};
use mq_log::disk::Crash;
use mq_log::{MemDisk, Reader, ShardStore};
use mq_types::batch::{Checked, ValidateOptions, validate};
use mq_types::persist::{Create, Membership, ReplicaWrite, Start, Vote};
use mq_types::{
    Batch, BrokerId, DirectoryId, Entry, EntryMeta, Index, Message, Offset, PartitionId, QuorumId, ReplicaId,
    ShardId, Term, TopicId,
};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// The partition, which lives in the second of two shards.
pub(crate) const PARTITION: QuorumId = QuorumId(1025);
/// This broker's replica of it, and the other two.
pub(crate) const HERE: ReplicaId = ReplicaId(1 << 32 | 2);
pub(crate) const PEERS: [ReplicaId; 2] = [ReplicaId(2 << 32 | 2), ReplicaId(3 << 32 | 2)];
/// The term of the entries that are there from the beginning.
pub(crate) const FIRST_TERM: Term = Term(2);

const SHARDS: u16 = 2;
const SHARD: usize = 1;
const DIRECTORY: DirectoryId = DirectoryId([7; 16]);
/// Turns that may follow from one thing; more is a loop that does not end.
const TURNS_MAX: usize = 100;

/// The broker.
pub(crate) struct Broker {
    disk: MemDisk,
    engine: Engine,
    log: ShardStore<MemDisk>,
    now: Now,
    writes: Vec<(WriteNumber, ReplicaWrite)>,
    inputs: Vec<Input>,
    /// Not delivered to anybody yet.
    pub(crate) sent: Vec<Message>,
    pub(crate) replies: BTreeMap<RequestId, Outcome>,
    view: Option<View>,
    /// The entries that were given out to be written, durable or not.
    pub(crate) entries: Vec<EntryMeta>,
    /// Where they begin, in the same way.
    pub(crate) start: Start,
    /// Who the members are, in the same way.
    pub(crate) members: Membership,
    requests: u64,
}

/// A disk with the partition's replica, five entries in it, the first three of them committed.
fn written() -> &'static MemDisk {
    static WRITTEN: OnceLock<MemDisk> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let disk = MemDisk::new();
        let mut log = open(&disk).0;
        let membership = Membership {
            conf_index: Start::BOOTSTRAP.prev_index,
            voters: [HERE].into_iter().chain(PEERS).collect(),
            ..Membership::default()
        };
        let create = Create { start: Start::BOOTSTRAP, membership, opened: true, snapshot: None };
        let mut write = ReplicaWrite::new(PARTITION, HERE);
        let vote = Some(Vote { term: FIRST_TERM, voted_for: Some(PEERS[0]) });
        let entry = |index: u64| {
            let body = match index {
                2 => mq_types::Body::NoOp,
                _ => mq_types::Body::Data(batch(Offset(index - 3), FIRST_TERM, index)),
            };
            let base_offset = Offset(index.saturating_sub(3));
            Entry { index: Index(index), term: FIRST_TERM, base_offset, appended_at_ms: 10, body }
        };
        (write.create, write.vote) = (Some(create), vote);
        write.entries = (2..=5).map(entry).collect();
        let mut next = ReplicaWrite::new(PARTITION, HERE);
        (next.entries, next.commit) = (vec![entry(6)], Index(4));
        for write in [write, next] {
            log.persist_round(vec![write]).expect("nothing fails");
        }
        drop(log);
        disk.crash(Crash::Process)
    })
}

/// A batch of one record, stamped.
pub(crate) fn batch(base_offset: Offset, term: Term, number: u64) -> Batch {
    let mut batch = checked(number).batch().clone();
    batch.stamp(base_offset, term);
    batch
}

fn checked(number: u64) -> Checked {
    let mut builder = mq_types::batch::BatchBuilder::new();
    let value = number.to_le_bytes();
    let record = mq_types::batch::NewRecord { value: Some(&value), ..Default::default() };
    builder.push(&record).expect("it is small");
    let limits = ValidateOptions { size_bytes_max: 1 << 20, decompressed_bytes_max: 1 << 20 };
    validate(&builder.finish(mq_types::Compression::None), &limits).expect("it is well-formed")
}

fn open(disk: &MemDisk) -> (ShardStore<MemDisk>, Vec<mq_types::persist::RecoveredReplica>) {
    let options = mq_log::Options {
        segment_size_bytes_max: 2_000,
        preallocate_step_bytes: 1 << 10,
        ..mq_log::Options::new(SHARDS, [3; 32])
    };
    let mut shards = mq_log::open(disk.clone(), options).expect("the disk is sound");
    let shard = shards.swap_remove(SHARD);
    (shard.store, shard.recovered)
}

fn options() -> Options {
    Options {
        broker: HERE.broker(),
        directory: DIRECTORY,
        shard: ShardId(SHARD as u16),
        shards: SHARDS,
        seed: 1,
        info: BrokerInfo::default(),
        found_cluster: None,
        controller: controller::Options::default(),
        retention_interval_ms: 1_000,
        partition_inflight_bytes_max: 4_096,
    }
}

fn image() -> Arc<Image> {
    let replica =
        |replica| ReplicaInfo { replica, opened_in: Some(DIRECTORY), is_added: false, health: Health::Sound };
    let replicas = [HERE].into_iter().chain(PEERS).map(replica).collect();
    let partition = PartitionInfo {
        id: PartitionId(0),
        quorum: PARTITION,
        members: Members { replicas, leaving: Vec::new() },
    };
    let topic = Topic {
        id: TopicId([1; 16]),
        name: "a".to_owned(),
        configs: BTreeMap::new(),
        replication_factor: 3,
        partitions: vec![partition],
        deleted_at_ms: None,
    };
    let info = |broker| (BrokerId(broker), BrokerInfo::default());
    Arc::new(Image {
        revision: Index(5),
        brokers: (1..=3).map(info).collect(),
        names: [("a".to_owned(), topic.id)].into(),
        topics: [(topic.id, Arc::new(topic))].into(),
        ..Image::default()
    })
}

impl Broker {
    pub(crate) fn start() -> Broker {
        let now = Now { monotonic_ms: 0, wall_ms: 1_000_000 };
        Broker::start_on(written().fork(), now)
    }

    fn start_on(disk: MemDisk, now: Now) -> Broker {
        let (log, recovered) = open(&disk);
        let reader = log.reader(PARTITION).expect("it was written");
        let (from, until) = (recovered[0].start.prev_index.next(), recovered[0].last_index.next());
        let mut entries: Vec<EntryMeta> = Vec::new();
        while let next = entries.last().map_or(from, |entry| entry.index.next())
            && next < until
        {
            let some = reader.entries(next, until, 1 << 20).expect("nothing is damaged");
            entries.extend(some.iter().map(Entry::meta));
        }
        let (start, members) = (recovered[0].start, recovered[0].membership.clone());
        let engine = Engine::new(options(), recovered).expect("there is no controller to be read");
        let mut broker = Broker {
            disk,
            engine,
            log,
            now,
            writes: Vec::new(),
            inputs: vec![Input::Image(image())],
            sent: Vec::new(),
            replies: BTreeMap::new(),
            view: None,
            entries,
            start,
            members,
            requests: 0,
        };
        broker.settle();
        broker
    }

    /// The machine loses power, with everything that was not synced, and the broker starts again.
    pub(crate) fn crash(&mut self) {
        *self = Broker::start_on(self.disk.crash_keeping(&[]), self.now);
    }

    pub(crate) fn view(&self) -> &View {
        self.view.as_ref().expect("it was published with the first turn")
    }

    pub(crate) fn reader(&self) -> Reader<MemDisk> {
        self.log.reader(PARTITION).expect("it is never removed")
    }

    /// The engine hears of it with the next turn.
    pub(crate) fn peer(&mut self, message: Message) {
        self.inputs.push(Input::Peer(message));
    }

    /// Asks to append one record with this number.
    pub(crate) fn produce(&mut self, number: u64) -> RequestId {
        let (quorum, batch) = (PARTITION, checked(number));
        self.requests += 1;
        let id = RequestId(self.requests);
        let produce = Produce { quorum, batch, acks: Acks::Quorum, expected_next_offset: None };
        self.inputs.push(Input::Request { id, request: Request::Produce(produce) });
        id
    }

    pub(crate) fn turn(&mut self) {
        let inputs = std::mem::take(&mut self.inputs);
        for effect in self.engine.turn(self.now, inputs) {
            match effect {
                Effect::Persist { number, write } => self.give_out(number, *write),
                Effect::Send(message) => self.sent.push(message),
                Effect::Publish { view, .. } => self.view = Some(view),
                Effect::Reply { id, outcome } => {
                    assert!(self.replies.insert(id, outcome).is_none(), "{id:?} was answered twice");
                }
                Effect::Read { quorum, replica, read, from, until, size_bytes_max } => {
                    let entries = self.reader().entries(from, until, size_bytes_max).ok();
                    self.inputs.push(Input::EntriesRead { quorum, replica, read, entries });
                }
                _ => {}
            }
        }
    }

    /// The last entry, or the one before the first one.
    pub(crate) fn last_index(&self) -> Index {
        self.entries.last().map_or(self.start.prev_index, |entry| entry.index)
    }

    /// Whether its replica has a vote.
    pub(crate) fn votes(&self) -> bool {
        self.members.voters.contains(&HERE) || self.members.voters_outgoing.contains(&HERE)
    }

    fn give_out(&mut self, number: WriteNumber, write: ReplicaWrite) {
        if let Some((start, members)) = &write.reset {
            (self.start, self.members) = (*start, members.clone());
            self.entries.clear();
        }
        if let Some(members) = &write.membership {
            self.members = members.clone();
        }
        if let Some(first) = write.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(write.entries.iter().map(Entry::meta));
        }
        self.writes.push((number, write));
    }

    /// What was given out becomes durable; the engine hears of it with the next turn.
    pub(crate) fn sync(&mut self) {
        let Some(&(number, _)) = self.writes.last() else { return };
        let writes = std::mem::take(&mut self.writes).into_iter().map(|(_, write)| write).collect();
        let changed = self.log.persist_round(writes).expect("the disk is sound").changed;
        let status = changed.into_iter().map(|(_, status)| status).next_back();
        self.inputs.push(Input::Persisted { quorum: PARTITION, number, status });
    }

    /// Everything that follows from what has happened, messages apart.
    pub(crate) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            self.turn();
            self.sync();
            if self.inputs.is_empty() {
                return;
            }
        }
        panic!("the broker does not come to rest");
    }

    /// A tick, and everything that follows.
    pub(crate) fn tick(&mut self) {
        self.now.monotonic_ms += 100;
        self.now.wall_ms += 100;
        self.inputs.push(Input::Tick);
        self.settle();
    }
}
