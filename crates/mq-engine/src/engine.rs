//! The engine: hands each input to its quorum and collects what follows.
//!
//! What a quorum does with its inputs is its replica's business, which replicas there should be is decided in
//! `replicas`.

use crate::controller::{BrokerInfo, Controller, Image, RecoverError};
use crate::partition::Partition;
use crate::partition::retention::ClockGuard;
use crate::replica::{Replica, Serves};
use crate::seat::Seat;
use crate::turn::{Admission, NO_LEADER_RETRY_MS, Turn};
use crate::{Effect, Event, Input, Now, RequestId, api, controller};
use mq_types::persist::{RecoveredReplica, Standing};
use mq_types::{Body, BrokerId, DirectoryId, EntryMeta, QuorumId, ReplicaId, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often the controller is told again what it has not heard yet, in ms.
const ANNOUNCE_INTERVAL_MS: u64 = 1_000;

/// How an engine is set up. Every limit has a unit in its name.
#[derive(Clone, Debug)]
pub struct Options {
    /// This broker.
    pub broker: BrokerId,
    /// Its data directory.
    pub directory: DirectoryId,
    /// Which shard this engine is.
    pub shard: ShardId,
    /// How many shards the broker runs.
    pub shards: u16,
    /// Drawn afresh whenever a broker starts: it spreads election timeouts, and tells this run's read indexes from
    /// those of the run before.
    pub seed: u64,
    /// How this broker registers with the controller.
    pub info: BrokerInfo,
    /// Set on the founder of a cluster until it is founded: found quorum 0 with this cluster id.
    pub found_cluster: Option<String>,
    /// How the controller is set up (shard 0 only).
    pub controller: controller::Options,
    /// How often retention looks.
    pub retention_interval_ms: u64,
    /// Bytes of one partition's records that may wait to be committed before produces are refused.
    pub partition_inflight_bytes_max: usize,
}

/// Why an engine cannot take over what recovery found. The broker must not start from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The controller's replica has no snapshot, without which its log means nothing.
    #[error("quorum 0 has no snapshot (`mqctl log verify` names it): put it back, or replace the broker")]
    NoImage,
    /// The snapshot cannot be read.
    #[error("{0}; start a newer mq if a newer one wrote it, or replace the broker")]
    Image(#[from] RecoverError),
}

/// All replicas of one shard.
pub struct Engine {
    pub(crate) options: Arc<Options>,
    pub(crate) replicas: BTreeMap<QuorumId, Replica>,
    /// The quorums to which something happened in this turn.
    pub(crate) touched: BTreeSet<QuorumId>,
    /// The metadata as they were last given here.
    pub(crate) image: Arc<Image>,
    /// False until the first ones came: what they do not say means nothing before.
    pub(crate) is_image_known: bool,
    admission: Admission,
    clock: ClockGuard,
    is_started: bool,
    /// The newest id of a replica of quorum 0 that was here in this run: an older answer to a join means nothing.
    pub(crate) newest_seat: Option<ReplicaId>,
    next_retention_ms: u64,
    next_announcement_ms: u64,
}

impl Engine {
    /// Takes over what recovery found. What follows from it comes with the first turn.
    ///
    /// # Errors
    /// The controller's state cannot be read.
    pub fn new(options: Options, recovered: Vec<RecoveredReplica>) -> Result<Engine, OpenError> {
        assert!(options.shard.0 < options.shards, "shard {} of {}", options.shard, options.shards);
        let mut replicas = BTreeMap::new();
        for found in recovered {
            let quorum = found.quorum;
            assert_eq!(
                quorum.shard(options.shards),
                options.shard,
                "quorum {quorum} belongs to another shard"
            );
            if found.standing == Standing::Gone {
                continue;
            }
            let serves = serves(&options, &found)?;
            let replica = Replica::recovered(&found, options.seed, serves);
            assert!(replicas.insert(quorum, replica).is_none(), "quorum {quorum} was recovered twice");
        }
        let newest_seat = replicas.get(&QuorumId::CONTROLLER).map(Replica::id);
        Ok(Engine {
            options: Arc::new(options),
            replicas,
            touched: BTreeSet::new(),
            image: Arc::new(Image::default()),
            is_image_known: false,
            admission: Admission::default(),
            clock: ClockGuard::default(),
            is_started: false,
            newest_seat,
            next_retention_ms: 0,
            next_announcement_ms: 0,
        })
    }

    /// One turn: all that happened since the last one, in order; what is to be done, in order.
    pub fn turn(&mut self, now: Now, inputs: Vec<Input>) -> Vec<Effect> {
        let options = Arc::clone(&self.options);
        let mut turn = Turn::new(now, options, Arc::clone(&self.image), self.admission);
        if !std::mem::replace(&mut self.is_started, true) {
            self.start(&mut turn);
        }
        for input in inputs {
            self.take(input, &mut turn);
        }
        // The controller first: what it decides may make, open and remove other replicas in the same turn.
        self.run(QuorumId::CONTROLLER, &mut turn);
        if self.options.shard == ShardId(0) && !Arc::ptr_eq(&turn.image, &self.image) {
            self.image_changed(&Arc::clone(&turn.image), &mut turn);
        }
        for quorum in std::mem::take(&mut self.touched) {
            self.run(quorum, &mut turn);
        }
        turn.into_effects()
    }

    /// Whether nobody waits for an answer and everything given out to persist is durable.
    pub fn is_quiet(&self) -> bool {
        self.replicas.values().all(Replica::is_quiet)
    }

    fn start(&mut self, turn: &mut Turn) {
        self.found(turn);
        for (quorum, replica) in &mut self.replicas {
            replica.start();
            self.touched.insert(*quorum);
        }
        self.next_announcement_ms = turn.now.monotonic_ms.saturating_add(ANNOUNCE_INTERVAL_MS);
        self.next_retention_ms = turn.now.monotonic_ms.saturating_add(self.options.retention_interval_ms);
    }

    /// Lets one quorum propose and do what follows from this turn.
    fn run(&mut self, quorum: QuorumId, turn: &mut Turn) {
        self.touched.remove(&quorum);
        let Some(replica) = self.replicas.get_mut(&quorum) else { return };
        replica.propose(turn);
        replica.drain(turn);
        if replica.is_gone() {
            self.forget(quorum, turn);
        }
    }

    fn take(&mut self, input: Input, turn: &mut Turn) {
        match input {
            Input::Tick => self.tick(turn),
            Input::Request { id, request } => self.request(id, request, turn),
            Input::Persisted { quorum, number, status } => {
                let replica = self.touch(quorum).expect("a replica stays until its last write is durable");
                replica.persisted(number, status, turn);
                self.remove_if_tombstoned(quorum, turn);
            }
            Input::EntriesRead { quorum, replica, read, entries } => {
                if let Some(replica) = self.touch(quorum).filter(|here| here.id() == replica) {
                    replica.entries_read(read, entries);
                }
            }
            Input::Damaged { quorum, replica } => {
                if let Some(replica) = self.touch(quorum).filter(|here| here.id() == replica) {
                    replica.damage();
                }
            }
            Input::Joined { replica } => self.joined(replica, turn),
            Input::Unreachable { broker } => {
                for (quorum, replica) in &mut self.replicas {
                    replica.unreachable(broker);
                    self.touched.insert(*quorum);
                }
            }
            Input::Peer(message) => {
                if let Some(replica) = self.touch(message.quorum) {
                    replica.step(message, turn);
                }
            }
            Input::Image(image) => {
                assert_ne!(self.options.shard, ShardId(0), "shard 0 makes the image, it is not given it");
                turn.image = Arc::clone(&image);
                self.image_changed(&image, turn);
            }
            Input::Command(command) => {
                if let Some(seat) = self.seat() {
                    seat.command(command);
                }
            }
            Input::DiskRoom { available } => {
                self.admission.disk_full = !available;
                turn.admission = self.admission;
            }
            Input::Stop => {
                self.admission.stopping = true;
                turn.admission = self.admission;
            }
        }
    }

    fn request(&mut self, id: RequestId, request: api::Request, turn: &mut Turn) {
        let quorum = match &request {
            api::Request::Produce(produce) => produce.quorum,
            api::Request::ReadIndex { quorum } | api::Request::DeleteRecords { quorum, .. } => *quorum,
            api::Request::Controller(_) => QuorumId::CONTROLLER,
        };
        let not_here = api::Error::NoLeader { retry_after_ms: NO_LEADER_RETRY_MS };
        let Some(replica) = self.touch(quorum) else { return turn.reply(id, Err(not_here)) };
        let here = replica.here();
        match (replica.serves_mut().0, request) {
            (Serves::Partition(partition), api::Request::Produce(produce)) => partition.produce(id, produce),
            (Serves::Partition(partition), api::Request::ReadIndex { .. }) => partition.read_index(id, turn),
            (Serves::Partition(partition), api::Request::DeleteRecords { before, validate_only, .. }) => {
                partition.delete_records(id, before, validate_only, &here, turn);
            }
            (Serves::Controller(seat), api::Request::Controller(request)) => seat.request(id, request),
            _ => {
                turn.reply(
                    id,
                    Err(api::Error::Internal { what: "a request was routed to the wrong quorum" }),
                );
            }
        }
    }

    fn tick(&mut self, turn: &mut Turn) {
        for (quorum, replica) in &mut self.replicas {
            replica.tick(turn);
            replica.reconcile(turn);
            self.touched.insert(*quorum);
        }
        if let Some(jumped_ms) = self.clock.observe(turn.now) {
            turn.event(Event::RetentionPaused { jumped_ms });
        }
        let wall_ms = self.clock.wall_ms(turn.now);
        if let Some(replica) = self.replicas.get_mut(&QuorumId::CONTROLLER)
            && let Some(wall_ms) = wall_ms
        {
            let here = replica.here();
            if let (Serves::Controller(seat), _) = replica.serves_mut() {
                seat.look_around(wall_ms, &here);
            }
        }
        if turn.now.monotonic_ms >= self.next_retention_ms {
            self.next_retention_ms = turn.now.monotonic_ms.saturating_add(self.options.retention_interval_ms);
            self.replicas.values_mut().for_each(|replica| replica.retain(wall_ms));
        }
        if turn.now.monotonic_ms >= self.next_announcement_ms {
            self.next_announcement_ms = turn.now.monotonic_ms.saturating_add(ANNOUNCE_INTERVAL_MS);
            self.announce(turn);
        }
    }

    /// The replica of this quorum; something happens to it.
    pub(crate) fn touch(&mut self, quorum: QuorumId) -> Option<&mut Replica> {
        let replica = self.replicas.get_mut(&quorum)?;
        self.touched.insert(quorum);
        Some(replica)
    }

    fn seat(&mut self) -> Option<&mut Seat> {
        match self.touch(QuorumId::CONTROLLER)?.serves_mut().0 {
            Serves::Controller(seat) => Some(seat),
            Serves::Partition(_) => None,
        }
    }
}

/// What a recovered replica serves.
fn serves(options: &Options, found: &RecoveredReplica) -> Result<Serves, OpenError> {
    if found.quorum != QuorumId::CONTROLLER {
        let partition = Partition::new(found.start.log_start, found.high_watermark);
        return Ok(Serves::Partition(Box::new(partition)));
    }
    let snapshot = found.snapshot.as_ref().ok_or(OpenError::NoImage)?;
    let controller = Controller::recover(snapshot, options.controller)?;
    let seat = if matches!(found.standing, Standing::Lost(_)) {
        let known = found.tail.iter().filter(|entry| entry.meta.index <= found.commit);
        let known: Vec<(EntryMeta, Body)> =
            known.filter_map(|entry| Some((entry.meta, entry.body.clone()?))).collect();
        Seat::new_read_only(controller, &known)
    } else {
        Seat::new(controller)
    };
    Ok(Serves::Controller(Box::new(seat)))
}
