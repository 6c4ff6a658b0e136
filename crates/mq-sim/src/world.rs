//! The world of one run: brokers, the network between them, clients, faults, and one queue of what happens next.
//!
//! Everything runs on one thread in virtual time; the same seed gives the same run.

use crate::broker::{Broker, End, broker_id};
use crate::clients::{Clients, Line};
use crate::copies::Copies;
use crate::faults::{Faults, Kill};
use crate::network::Network;
use crate::queue::{At, Event, Queue};
use crate::random::Random;
use crate::record::Record;
use crate::sometimes;
use crate::stage::{Out, Stage};
use crate::swarm::Swarm;
use crate::tally::Tally;
use crate::tell;
use crate::transcript::{Keep, Transcript};
use mq_engine::Input;
use mq_log::MemDisk;
use mq_types::Message;
use mq_types::message::MessageKind;
use std::sync::Arc;

/// One run's world.
pub(crate) struct World {
    pub(crate) swarm: Arc<Swarm>,
    pub(crate) stage: Stage,
    pub(crate) brokers: Vec<Broker>,
    pub(crate) network: Network,
    pub(crate) clients: Clients,
    pub(crate) faults: Faults,
    /// How long processes that ended by themselves stay down, and how the world looks otherwise.
    random: Random,
}

impl World {
    /// A world in which nothing has happened: no process runs, and disks are empty.
    pub(crate) fn new(swarm: Swarm, keep: Keep) -> World {
        let swarm = Arc::new(swarm);
        let prints = keep == Keep::Print;
        let stage = Stage {
            queue: Queue::default(),
            transcript: Transcript::new(keep),
            record: Record::new(prints),
            copies: Copies::new(swarm.moves),
            tally: Tally { seeds: 1, ..Tally::default() },
            out: Vec::new(),
        };
        let brokers = (0..swarm.brokers).map(|at| Broker::new(at, &swarm, MemDisk::new()));
        World {
            brokers: brokers.collect(),
            network: Network::new(swarm.brokers, swarm.network, Random::new(swarm.seed, "network")),
            clients: Clients::new(&swarm),
            faults: Faults::new(&swarm),
            random: Random::new(swarm.seed, "world"),
            stage,
            swarm,
        }
    }

    /// Everybody begins.
    pub(crate) fn start(&mut self) {
        for at in 0..self.brokers.len() {
            let delay_us = self.random.below(300_000);
            self.stage.queue.after(delay_us, Event::Start { at, life: 0 });
        }
        self.clients.start(&mut self.stage);
        // Faults while the cluster comes into being are rarer than later ones, but there are some.
        let from_us = if self.random.one_in(4) { 0 } else { 6_000_000 };
        self.faults.start(from_us, &mut self.stage);
    }

    /// Lets everything happen until that time, or until a promise is broken.
    pub(crate) fn run_until(&mut self, until_us: u64) -> Result<(), String> {
        while let Some(event) = self.stage.queue.next(until_us) {
            self.stage.tally.events += 1;
            self.stage.step(&tell::event_numbers(&event), || tell::event(&event));
            self.happen(event)?;
            if let Some(violation) = self.stage.record.violation() {
                return Err(violation);
            }
        }
        Ok(())
    }

    /// The faults are over.
    pub(crate) fn heal(&mut self) {
        self.stage.step(&[100], || "the faults are over".to_owned());
        self.faults.heal(&mut self.brokers, &mut self.network, &mut self.stage);
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Producer { number } => self.with_clients(|clients, line| clients.produce(number, line)),
            Event::Consumer { number } => self.with_clients(|clients, line| clients.consume(number, line)),
            Event::Admin => {
                let at = self.random.below(self.brokers.len() as u64) as At;
                if let Some(process) = &self.brokers[at].process {
                    self.clients.learn(&process.image, &mut self.stage);
                }
                self.with_clients(Clients::administer);
            }
            Event::Answer { call, answer } => {
                self.with_clients(|clients, line| clients.answer(call, *answer, line));
            }
            Event::Timeout { call } => self.clients.timeout(call, &mut self.stage),
            Event::Fault { kind } => {
                let (brokers, network) = (&mut self.brokers, &mut self.network);
                let kills = self.faults.begin(kind, brokers, network, &mut self.stage);
                kills.into_iter().for_each(|kill| self.kill(kill));
            }
            Event::Heal { fault } => {
                let (brokers, network) = (&mut self.brokers, &mut self.network);
                if let Some(kill) = self.faults.end(fault, brokers, network, &mut self.stage) {
                    self.kill(kill);
                }
            }
            Event::Call { at, call, ask } => {
                self.brokers[at].call(call, *ask, &mut self.stage);
                self.route(at);
            }
            Event::Join { at, from, life, info } => {
                self.brokers[at].join((from, life), *info, &mut self.stage);
                self.route(at);
            }
            Event::Joined { at, life, replica } => {
                if life == self.brokers[at].life {
                    self.brokers[at].give(0, Input::Joined { replica }, &mut self.stage);
                }
            }
            Event::Unreachable { at, life, to } => {
                if life == self.brokers[at].life {
                    self.brokers[at].unreachable(to, &mut self.stage);
                }
            }
            Event::Command { at, command } => self.brokers[at].command(*command, &mut self.stage),
            Event::Peer { at, life, message } => {
                if life != self.brokers[at].life {
                    sometimes!("a message arrived at a later process than the one it was sent to");
                }
                self.brokers[at].peer(*message, &mut self.stage);
            }
            event => return self.in_broker(event),
        }
        Ok(())
    }

    fn with_clients(&mut self, act: impl FnOnce(&mut Clients, &mut Line<'_>)) {
        act(&mut self.clients, &mut Line { network: &mut self.network, stage: &mut self.stage });
    }

    /// What a broker's process does.
    fn in_broker(&mut self, event: Event) -> Result<(), String> {
        let (at, life) = match &event {
            Event::Start { at, life }
            | Event::Tick { at, life }
            | Event::Turn { at, life, .. }
            | Event::GoOn { at, life, .. }
            | Event::Round { at, life, .. }
            | Event::Entries { at, life, .. }
            | Event::Trash { at, life }
            | Event::Read { at, life, .. } => (*at, *life),
            other => panic!("this does not happen in a broker: {other:?}"),
        };
        let broker = &mut self.brokers[at];
        if life != broker.life {
            return Ok(());
        }
        let Some(event) = broker.defers(event) else { return Ok(()) };
        let stage = &mut self.stage;
        let ended = match event {
            Event::Start { .. } => broker.start(stage),
            Event::Tick { .. } => broker.tick(stage),
            Event::Turn { shard, .. } => broker.turn(shard, stage),
            Event::GoOn { shard, .. } => broker.go_on(shard, stage),
            Event::Round { shard, .. } => broker.end_round(shard, stage),
            Event::Trash { .. } => broker.empty_trash(),
            Event::Entries { shard, wanted, .. } => broker.entries(shard, &wanted, stage),
            Event::Read { read, .. } => broker.read(*read, stage),
            other => panic!("this does not happen in a broker: {other:?}"),
        };
        let is_down = broker.process.is_none();
        self.route(at);
        match ended {
            Ok(()) => Ok(()),
            Err(End::Broken(what)) => Err(format!("broker {}: {what}", broker_id(at))),
            Err(end) => {
                if is_down {
                    sometimes!("a broker crashed while it recovered");
                }
                // A failed write ends the process, not the machine.
                let is_machine = matches!(end, End::Stopped) && self.random.one_in(2);
                let down_us = self.random.scaled(50_000..=4_000_000);
                self.end_process(Kill { at, is_machine, loses_disk: false, down_us });
                Ok(())
            }
        }
    }

    /// Kills a process, if one runs.
    fn kill(&mut self, kill: Kill) {
        if self.brokers[kill.at].process.is_some() {
            self.end_process(kill);
        }
    }

    fn end_process(&mut self, kill: Kill) {
        let Kill { at, is_machine, loses_disk, down_us } = kill;
        let what = match (is_machine, loses_disk) {
            (_, true) => "loses its disk",
            (true, _) => "loses its power",
            _ => "is killed",
        };
        let numbers = [101, at as u64, u64::from(is_machine), u64::from(loses_disk)];
        self.stage.step(&numbers, || format!("b{} {what}", at + 1));
        let broker = &mut self.brokers[at];
        broker.crash(is_machine);
        if loses_disk {
            broker.lose_disk();
            self.stage.copies.lose();
            self.stage.record.disk_lost(self.stage.queue.now_us(), broker_id(at));
        }
        self.stage.queue.after(down_us, Event::Start { at, life: broker.life });
    }

    /// What has left a broker goes its way.
    fn route(&mut self, from: At) {
        let now_us = self.stage.now_us();
        for out in std::mem::take(&mut self.stage.out) {
            match out {
                Out::Peer(message) => self.send(from, message),
                Out::Command(command) => {
                    for at in 0..self.brokers.len() {
                        let arrivals = match at == from {
                            true => [Some(now_us), None],
                            false => self.network.send(from, at, now_us),
                        };
                        for arrival_us in arrivals.into_iter().flatten() {
                            let command = command.clone();
                            self.stage.queue.at(arrival_us, Event::Command { at, command });
                        }
                    }
                }
                Out::Join(info) => {
                    let life = self.brokers[from].life;
                    for at in (0..self.brokers.len()).filter(|at| *at != from) {
                        for arrival_us in self.network.send(from, at, now_us).into_iter().flatten() {
                            let info = info.clone();
                            self.stage.queue.at(arrival_us, Event::Join { at, from, life, info });
                        }
                    }
                }
                Out::Joined(at, life, replica) => {
                    for arrival_us in self.network.send(from, at, now_us).into_iter().flatten() {
                        self.stage.queue.at(arrival_us, Event::Joined { at, life, replica });
                    }
                }
                Out::Answer(call, answer) => {
                    let clients = self.network.clients();
                    if let Some(arrival_us) = self.network.call(from, clients, now_us) {
                        self.stage.queue.at(arrival_us, Event::Answer { call, answer });
                    }
                }
            }
        }
    }

    fn send(&mut self, from: At, message: Box<Message>) {
        let at = message.to.broker().0 as At - 1;
        let life = self.brokers[at].life;
        let (now_us, is_down) = (self.stage.now_us(), self.brokers[at].process.is_none());
        if self.network.tells_loss(from, at, is_down, now_us) {
            let after_us = self.random.scaled(1_000..=2_000_000);
            let event = Event::Unreachable { at: from, life: self.brokers[from].life, to: at };
            self.stage.queue.after(after_us, event);
        }
        let [first, second] = match message.kind {
            MessageKind::Snapshot => self.network.send_large(from, at, now_us),
            _ => self.network.send(from, at, now_us),
        };
        if let Some(arrival_us) = second {
            sometimes!("a message arrived twice");
            let message = message.clone();
            self.stage.queue.at(arrival_us, Event::Peer { at, life, message });
        }
        if let Some(arrival_us) = first {
            self.stage.queue.at(arrival_us, Event::Peer { at, life, message });
        }
    }
}
