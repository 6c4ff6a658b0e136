//! One broker: a disk that outlives its processes, clocks, and the process that runs now, if one does.
//!
//! It does what `mq-broker` does with threads and sockets: turns, rounds, and effects carried out in the order given.
//! When it fails is decided elsewhere.

use crate::ask::{Answer, Ask};
use crate::disk::BrokerDisk;
use crate::fetch::Then;
use crate::queue::{At, CallId, Event, Life};
use crate::random::Random;
use crate::shard::{Done, Shard};
use crate::sometimes;
use crate::stage::{Out, Stage};
use crate::swarm::Swarm;
use crate::time::Clock;
use crate::turn::Halt;
use mq_engine::api::{Acks, Outcome, Produce, Reply, Request};
use mq_engine::controller::{BrokerInfo, Command, Image};
use mq_engine::{Engine, Input, RequestId, View, controller};
use mq_log::{MemDisk, OpenError, PersistError, Reader, Scrubber};
use mq_types::persist::Standing;
use mq_types::{BrokerId, DirectoryId, Message, QuorumId, ShardId, Term};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a process came to an end.
#[derive(Debug)]
pub(crate) enum End {
    /// It was stopped where that was planned.
    Stopped,
    /// Its disk failed, as was planned.
    DiskFailed,
    /// What must not happen has happened.
    Broken(String),
}

/// One broker.
pub(crate) struct Broker {
    pub(crate) at: At,
    pub(crate) disk: BrokerDisk,
    pub(crate) clock: Clock,
    swarm: Arc<Swarm>,
    random: Random,
    pub(crate) shards: u16,
    /// Names what is on the disk, which may be another disk than before.
    pub(crate) directory: DirectoryId,
    /// Grows with every process that ends.
    pub(crate) life: Life,
    pub(crate) process: Option<Process>,
    /// So many faults keep the process from running.
    pub(crate) paused: u32,
    /// What is due when it runs again, or when its disk does.
    pub(crate) deferred: Vec<Event>,
    /// What happens after carrying out so many more effects.
    pub(crate) halt: Option<(u64, Halt)>,
    /// The process ends within the next round of its disk that both appends to a log and changes its record.
    pub(crate) stops_at_record: bool,
    pub(crate) has_lost_disk: bool,
    /// It is to found the cluster, which is not there yet.
    pub(crate) founds: bool,
}

/// A running process.
pub(crate) struct Process {
    pub(crate) shards: Vec<Shard>,
    pub(crate) views: BTreeMap<QuorumId, View>,
    pub(crate) readers: BTreeMap<QuorumId, Reader<MemDisk>>,
    pub(crate) image: Arc<Image>,
    pub(crate) open: BTreeMap<(usize, RequestId), (CallId, Then)>,
    /// Reads the logs through in the background, if anybody does.
    pub(crate) scrubber: Option<Scrubber>,
    last_request: u64,
}

/// What identifies a broker.
pub(crate) fn broker_id(at: At) -> BrokerId {
    BrokerId(at as u32 + 1)
}

/// Which broker that is.
pub(crate) fn place(broker: BrokerId) -> At {
    broker.0 as At - 1
}

/// The life of a process.
impl Broker {
    pub(crate) fn new(at: At, swarm: &Arc<Swarm>, mem: MemDisk) -> Broker {
        let seed = swarm.seed.wrapping_add((at as u64) << 48);
        Broker {
            at,
            disk: BrokerDisk::new(mem, swarm.disk, Random::new(seed, "disk")),
            clock: Clock::default(),
            swarm: Arc::clone(swarm),
            random: Random::new(seed, "broker"),
            shards: swarm.shards[at],
            directory: DirectoryId([broker_id(at).0 as u8; 16]),
            life: 0,
            process: None,
            paused: 0,
            deferred: Vec::new(),
            halt: None,
            stops_at_record: false,
            has_lost_disk: false,
            founds: at == 0,
        }
    }

    /// Starts a process on what the disk holds.
    pub(crate) fn start(&mut self, stage: &mut Stage) -> Result<(), End> {
        assert!(self.process.is_none(), "a broker has one process");
        let log_options = self.disk.log_options(self.shards);
        let opened = mq_log::open(self.disk.mem().clone(), log_options);
        let opened = opened.map_err(|error| match &error {
            // As a broker does: it does not start without room, and whoever watches it tries again.
            OpenError::Io { source, .. } if self.disk.is_full(source) => End::DiskFailed,
            _ => self.ended_by("the log does not open", &error),
        })?;
        self.clock.begin_process(stage.now_us());
        let seed = self.random.draw();
        let mut process = Process {
            shards: Vec::new(),
            views: BTreeMap::new(),
            readers: BTreeMap::new(),
            image: Arc::new(Image::default()),
            open: BTreeMap::new(),
            scrubber: self.swarm.scrub.and_then(|options| Scrubber::new(options, 0)),
            last_request: 0,
        };
        for (shard, found) in opened.into_iter().enumerate() {
            for replica in &found.recovered {
                if let Standing::Lost(reason) = replica.standing
                    && !self.may_be_lost(replica, reason)
                {
                    let (quorum, replica) = (replica.quorum, replica.replica);
                    let what =
                        format!("recovery takes replica {replica} of quorum {quorum} for lost: {reason:?}");
                    return Err(End::Broken(what));
                }
                stage.record.opened(stage.queue.now_us(), replica);
                let reader = found.store.reader(replica.quorum).expect("recovery found this replica");
                process.readers.insert(replica.quorum, reader);
            }
            let engine = Engine::new(self.engine_options(ShardId(shard as u16), seed), found.recovered);
            let engine = engine.map_err(|error| End::Broken(format!("an engine does not open: {error}")))?;
            process.shards.push(Shard::new(engine, found.store));
        }
        self.process = Some(process);
        for shard in 0..usize::from(self.shards) {
            self.wake(shard, stage);
        }
        stage.queue.after(self.clock.tick_us(), Event::Tick { at: self.at, life: self.life });
        Ok(())
    }

    /// The process ends, or the whole machine does. What its disk was at work on may be done in part.
    pub(crate) fn crash(&mut self, is_machine: bool) {
        if let Some(mut process) = self.process.take() {
            let mut at_work: Vec<usize> =
                (0..process.shards.len()).filter(|shard| process.shards[*shard].round.is_some()).collect();
            if at_work.len() > 1 && self.random.one_in(2) {
                at_work.reverse();
            }
            while let Some(shard) = at_work.pop() {
                sometimes!("a broker crashed while a round was on its disk");
                // The last one in the middle, those before it completely or not at all.
                if at_work.is_empty() {
                    let moment = self.disk.crash_moment();
                    self.disk.plan_stop(moment);
                } else if self.random.one_in(2) {
                    continue;
                }
                process.shards[shard].break_round();
            }
        }
        self.disk.crash(is_machine);
        self.life += 1;
        (self.paused, self.halt, self.stops_at_record) = (0, None, false);
        self.deferred.clear();
        if self.swarm.reshards && self.random.one_in(2) {
            self.shards = 3 - self.shards;
            sometimes!("the number of shards changed at a restart");
        }
    }

    /// The machine has an empty disk in the place of the one that it had; no process runs.
    pub(crate) fn lose_disk(&mut self) {
        self.disk.wipe();
        (self.has_lost_disk, self.founds) = (true, false);
        self.directory.0[15] += 100;
    }

    fn engine_options(&self, shard: ShardId, seed: u64) -> mq_engine::Options {
        let broker = broker_id(self.at);
        let directory = self.directory;
        mq_engine::Options {
            broker,
            directory,
            shard,
            shards: self.shards,
            seed,
            info: BrokerInfo {
                directory,
                grpc_endpoint: format!("b{broker}:9650"),
                peer_endpoint: format!("b{broker}:9651"),
                ..BrokerInfo::default()
            },
            // A broker whose disk is empty again finds a cluster that is there.
            found_cluster: self.founds.then(|| "sim".to_owned()),
            controller: controller::Options {
                snapshot_interval_entries: self.swarm.snapshot_interval_entries,
                trash_grace_ms: self.swarm.trash_grace_ms,
                ..controller::Options::default()
            },
            retention_interval_ms: self.swarm.retention_interval_ms,
            partition_inflight_bytes_max: self.swarm.inflight_bytes_max,
        }
    }

    /// Why an operation that failed ends the process.
    fn ended_by(&self, what: &str, error: &dyn std::error::Error) -> End {
        if self.disk.has_stopped() {
            End::Stopped
        } else if self.disk.has_failed() {
            sometimes!("a disk failed a write or a sync");
            End::DiskFailed
        } else if self.disk.has_refused_read() {
            sometimes!("a process ended because a read failed");
            End::DiskFailed
        } else {
            End::Broken(format!("{what}: {error}"))
        }
    }

    fn ended_by_write(&self, error: &PersistError) -> End {
        self.ended_by("a round failed on a sound disk", error)
    }

    /// Whether the process does not get to what is due now; it is kept then.
    pub(crate) fn defers(&mut self, event: Event) -> Option<Event> {
        let needs_disk = !matches!(event, Event::Tick { .. } | Event::Turn { .. } | Event::GoOn { .. });
        if self.paused > 0 || (needs_disk && self.disk.hung > 0) {
            self.deferred.push(event);
            return None;
        }
        Some(event)
    }

    /// It runs again, or its disk does: what was deferred is due now.
    pub(crate) fn resume(&mut self, stage: &mut Stage) {
        for event in std::mem::take(&mut self.deferred) {
            stage.queue.after(0, event);
        }
    }
}

/// What the process does.
impl Broker {
    /// Lets the shard take a turn soon.
    pub(crate) fn wake(&mut self, shard: usize, stage: &mut Stage) {
        let Some(process) = &mut self.process else { return };
        let waiting = &mut process.shards[shard];
        if waiting.turn_is_due || (waiting.round.is_some() && !self.swarm.turns_during_rounds) {
            return;
        }
        waiting.turn_is_due = true;
        stage.queue.after(self.swarm.turn_us, Event::Turn { at: self.at, life: self.life, shard });
    }

    /// Something comes for the shard.
    pub(crate) fn give(&mut self, shard: usize, input: Input, stage: &mut Stage) {
        let Some(process) = &mut self.process else { return };
        process.shards[shard].inputs.push(input);
        self.wake(shard, stage);
    }

    /// A message comes for one of the replicas.
    pub(crate) fn peer(&mut self, message: Message, stage: &mut Stage) {
        let shard = message.quorum.shard(self.shards);
        self.give(usize::from(shard.0), Input::Peer(message), stage);
    }

    /// Messages to another broker were lost.
    pub(crate) fn unreachable(&mut self, to: At, stage: &mut Stage) {
        for shard in 0..usize::from(self.shards) {
            self.give(shard, Input::Unreachable { broker: broker_id(to) }, stage);
        }
    }

    /// A command comes for the controller.
    pub(crate) fn command(&mut self, command: Command, stage: &mut Stage) {
        self.give(0, Input::Command(command), stage);
    }

    /// About 100 ms have passed.
    pub(crate) fn tick(&mut self, stage: &mut Stage) -> Result<(), End> {
        let Some(process) = &mut self.process else { return Ok(()) };
        for shard in &mut process.shards {
            shard.tick();
            if let Err(error) = shard.look_after(stage.queue.now_us(), &self.disk) {
                return Err(self.ended_by_write(&error));
            }
        }
        for shard in 0..usize::from(self.shards) {
            self.begin_round(shard, stage);
            self.wake(shard, stage);
        }
        self.scrub(stage)?;
        stage.queue.after(self.clock.tick_us(), Event::Tick { at: self.at, life: self.life });
        Ok(())
    }

    pub(crate) fn begin_round(&mut self, shard: usize, stage: &mut Stage) {
        let Some(process) = &mut self.process else { return };
        let segment_bytes = self.disk.segment_bytes();
        if process.shards[shard].begin_round(segment_bytes) {
            let round_us = self.disk.round_us();
            stage.queue.after(round_us, Event::Round { at: self.at, life: self.life, shard });
        }
    }

    /// The disk has carried out a round.
    pub(crate) fn end_round(&mut self, shard: usize, stage: &mut Stage) -> Result<(), End> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if self.stops_at_record && process.shards[shard].writes_log_and_record() {
            self.stops_at_record = false;
            let moment = self.disk.crash_moment();
            self.disk.plan_stop(moment);
        }
        let done = process.shards[shard].end_round(stage.queue.now_us(), &self.disk, &mut stage.record);
        let done = done.map_err(|error| self.ended_by_write(&error))?;
        let Some(process) = &mut self.process else { return Ok(()) };
        let Done { inputs, created, has_removed } = done;
        let running = &mut process.shards[shard];
        for quorum in created {
            let reader = running.store.reader(quorum).expect("the replica was made in this round");
            process.readers.insert(quorum, reader);
        }
        running.done.extend(inputs);
        if has_removed {
            sometimes!("a replica was removed");
            stage.queue.after(1_000, Event::Trash { at: self.at, life: self.life });
        }
        self.begin_round(shard, stage);
        self.wake(shard, stage);
        Ok(())
    }

    /// Deletes what is in the trash.
    pub(crate) fn empty_trash(&mut self) -> Result<(), End> {
        let disk = self.disk.mem();
        let deleted = mq_log::trash::list(disk).and_then(|list| {
            list.into_iter().try_for_each(|trashed| mq_log::trash::delete(disk, trashed).map(drop))
        });
        match deleted {
            Err(_) if self.disk.has_stopped() => Err(End::Stopped),
            // It is tried again after the next removal, or the next start.
            _ => Ok(()),
        }
    }
}

/// What clients ask.
impl Broker {
    /// A client's call has arrived.
    pub(crate) fn call(&mut self, call: CallId, ask: Ask, stage: &mut Stage) {
        if self.process.is_none() {
            sometimes!("a client's request met a broker that was down");
            return stage.out.push(Out::Answer(call, Box::new(Answer::Refused)));
        }
        match ask {
            Ask::Produce { quorum, batch, acks } => {
                let produce = Produce { quorum, batch, acks, expected_next_offset: None };
                if acks == Acks::Leader {
                    sometimes!("a produce was answered by synced on the leader");
                }
                self.request(quorum, Request::Produce(produce), (call, Then::Answer), stage);
            }
            Ask::Fetch { quorum, from, bytes_max, from_any } => {
                self.fetch(call, crate::fetch::Fetch { quorum, from, bytes_max, from_any }, stage);
            }
            Ask::Latest { quorum } => {
                self.request(quorum, Request::ReadIndex { quorum }, (call, Then::Answer), stage);
            }
            Ask::DeleteRecords { quorum, before } => {
                let request = Request::DeleteRecords { quorum, before, validate_only: false };
                self.request(quorum, request, (call, Then::Delete(quorum)), stage);
            }
            Ask::Controller(request) => {
                let request = Request::Controller(*request);
                self.request(QuorumId::CONTROLLER, request, (call, Then::Answer), stage);
            }
        }
    }

    /// Another broker, or this one, wants to take part.
    pub(crate) fn join(&mut self, (from, life): (At, Life), info: BrokerInfo, stage: &mut Stage) {
        let join = controller::Request::JoinBroker { broker: broker_id(from), info };
        let waiter = (CallId(u64::MAX), Then::Join(from, life));
        self.request(QuorumId::CONTROLLER, Request::Controller(join), waiter, stage);
    }

    /// Asks an engine.
    pub(crate) fn request(
        &mut self,
        quorum: QuorumId,
        request: Request,
        waiter: (CallId, Then),
        stage: &mut Stage,
    ) {
        let shard = usize::from(quorum.shard(self.shards).0);
        let Some(process) = &mut self.process else { return };
        process.last_request += 1;
        let id = RequestId(process.last_request);
        process.open.insert((shard, id), waiter);
        self.give(shard, Input::Request { id, request }, stage);
    }

    pub(crate) fn reply(&mut self, shard: usize, id: RequestId, outcome: Outcome, stage: &mut Stage) {
        let Some(process) = &mut self.process else { return };
        let waiter = process.open.remove(&(shard, id));
        let (call, then) = waiter.unwrap_or_else(|| panic!("{id:?} was answered twice or never asked"));
        match then {
            Then::Delete(quorum) => {
                let term = process.views.get(&quorum).map_or(Term(0), |view| view.term);
                let answer = match outcome {
                    Ok(Reply::Deleted { log_start }) => Answer::Deleted { log_start, term },
                    outcome => Answer::Engine(outcome),
                };
                stage.out.push(Out::Answer(call, Box::new(answer)));
            }
            Then::Answer => stage.out.push(Out::Answer(call, Box::new(Answer::Engine(outcome)))),
            Then::Join(to, life) => {
                if let Ok(Reply::Controller(controller::Reply::Joined { replica })) = outcome {
                    stage.out.push(Out::Joined(to, life, replica));
                }
            }
            Then::Fetch(fetch) => self.fetch_confirmed(call, fetch, outcome, stage),
        }
    }
}
