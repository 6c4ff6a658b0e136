//! The controller's place in this broker: what a replica of quorum 0 does with the controller.
//!
//! What commands mean is the controller's business; here they are proposed, applied, and told about.

use crate::RequestId;
use crate::api::Error;
use crate::controller::{Command, Controller, Planned, Request};
use crate::replica::{Stamper, Standpoint};
use crate::turn::Turn;
use crate::writes::Writes;
use bytes::Bytes;
use mq_raft::Role;
use mq_types::persist::{Snapshot, Standing, Trim};
use mq_types::{Body, BrokerId, EntryMeta, Index, QuorumId, Term};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A replica of quorum 0, above its log.
pub(crate) struct Seat {
    controller: Controller,
    /// Asked for in this turn.
    requests: Vec<(RequestId, Request)>,
    /// To be proposed in this turn.
    commands: Vec<Command>,
    /// Stamped in this turn for somebody.
    stamped: Vec<(RequestId, Index)>,
    waiting_count: usize,
    /// The image has caught up with what was committed before this broker started, or joined. An older one must not be acted
    /// upon: it may ask for replicas that were removed long ago.
    is_current: bool,
    /// The revision of the image that everybody was given last.
    given: Option<Index>,
    /// The term in which it was the leader when it last settled.
    led_in: Option<Term>,
}

impl Seat {
    /// Takes the controller's place.
    pub(crate) fn new(controller: Controller) -> Seat {
        Seat {
            controller,
            requests: Vec::new(),
            commands: Vec::new(),
            stamped: Vec::new(),
            waiting_count: 0,
            is_current: false,
            given: None,
            led_in: None,
        }
    }

    /// The replica is lost: what it knows to be committed is all that there will be. That is acted upon only if nobody
    /// else knows more.
    pub(crate) fn new_read_only(mut controller: Controller, known: &[(EntryMeta, Body)]) -> Seat {
        for (meta, body) in known {
            controller.apply(meta, command_bytes(Some(body)));
        }
        Seat::new(controller)
    }

    /// Takes a request; it is decided upon at the end of the turn.
    pub(crate) fn request(&mut self, id: RequestId, request: Request) {
        self.requests.push((id, request));
    }

    /// Takes what an engine wants the controller to know.
    pub(crate) fn command(&mut self, command: Command) {
        self.commands.push(command);
    }

    /// Whether anything waits to be proposed.
    pub(crate) fn has_proposals(&self) -> bool {
        !self.requests.is_empty() || !self.commands.is_empty()
    }

    /// Whether nobody waits for anything.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.has_proposals() && self.waiting_count == 0
    }

    /// What has become due by itself, e.g. a topic whose time in the trash is over.
    pub(crate) fn look_around(&mut self, wall_ms: i64, here: &Standpoint) {
        if here.serving {
            self.commands.extend(self.controller.tick(wall_ms));
        }
    }

    /// The leader hears nothing of these brokers.
    pub(crate) fn set_silent(&mut self, silent: BTreeSet<BrokerId>) {
        self.controller.set_silent(silent);
    }

    /// Stamps what was asked for in this turn, or refuses it. Only an image that knows all that is committed may be
    /// planned on.
    pub(crate) fn stamp(&mut self, here: &Standpoint, stamper: &mut Option<Stamper>, turn: &mut Turn) {
        assert!(self.stamped.is_empty(), "every proposal was taken or refused in the turn that made it");
        let requests = std::mem::take(&mut self.requests);
        let commands = std::mem::take(&mut self.commands);
        let Some(stamper) = stamper.as_mut().filter(|_| here.serving) else {
            for (id, _) in requests {
                turn.reply(id, Err(turn.not_leader(here.role)));
            }
            return;
        };
        for (id, request) in requests {
            match self.controller.plan(turn.now.wall_ms, request) {
                Ok(Planned::Command(command)) if turn.admission.disk_full && makes_replicas(&command) => {
                    turn.reply(id, Err(Error::DiskFull));
                }
                Ok(Planned::Command(command)) => {
                    let index = stamper.push(Body::Command(command.encode()));
                    self.stamped.push((id, index));
                }
                Ok(Planned::Answer(reply)) => turn.reply(id, Ok(crate::api::Reply::Controller(reply))),
                Err(error) => turn.reply(id, Err(error)),
            }
        }
        for command in commands {
            stamper.push(Body::Command(command.encode()));
        }
    }

    /// Raft has taken all that was stamped in this turn, or none of it.
    pub(crate) fn proposed(&mut self, taken: bool, here: &Standpoint, turn: &mut Turn) {
        for (id, index) in std::mem::take(&mut self.stamped) {
            if taken {
                self.controller.proposed(id, index, here.role.term);
                self.waiting_count += 1;
            } else {
                turn.reply(id, Err(turn.not_leader(here.role)));
            }
        }
    }

    /// An entry is committed.
    pub(crate) fn apply(&mut self, meta: &EntryMeta, body: Option<&Body>, turn: &mut Turn) {
        if let Some((id, outcome)) = self.controller.apply(meta, command_bytes(body)) {
            self.waiting_count -= 1;
            turn.reply(id, outcome);
        }
    }

    /// The log begins anew with this image: what was committed before is all in it.
    pub(crate) fn restored(&mut self, index: Index, data: Bytes, turn: &mut Turn) {
        for (id, outcome) in self.controller.leadership_lost() {
            turn.reply(id, outcome);
        }
        self.waiting_count = 0;
        let snapshot = Snapshot { index, data };
        // It was checked when it came; to go on without it would be to go on without what was decided.
        self.controller = Controller::recover(&snapshot, turn.options.controller)
            .expect("a start snapshot of the controller holds an image");
    }

    /// All of the turn is done: whoever needs the image is given it, and it is stored from time to time.
    pub(crate) fn settle(&mut self, here: &Standpoint, writes: &mut Writes, turn: &mut Turn) {
        let leads_in = (here.role.role == Role::Leader).then_some(here.role.term);
        let led_in = std::mem::replace(&mut self.led_in, leads_in);
        if led_in.is_some() && led_in != leads_in {
            for (id, outcome) in self.controller.leadership_lost() {
                turn.reply(id, outcome);
            }
            self.waiting_count = 0;
        }
        let is_lost = matches!(here.standing, Standing::Lost(_));
        self.is_current |= (here.caught_up && self.is_named(here)) || (is_lost && here.is_sole_voter);
        self.is_current |= mq_types::planted!("absence_deletes");
        let image = self.controller.image();
        if self.is_current && self.given != Some(image.revision) {
            self.given = Some(image.revision);
            turn.image_changed(Arc::clone(image));
        }
        if is_lost || here.is_restoring {
            return; // nothing is written to this log any more
        }
        if let Some(snapshot) = self.controller.take_snapshot_if_due(here.applied) {
            writes.trim(Trim::Index(snapshot.index));
            let due = writes.due();
            // Only whole segments go, so that this one must end for the next snapshot to let it go.
            due.roll = true;
            due.snapshot = Some(snapshot);
        }
    }

    /// Whether the image names this replica. One that took another's place here catches up from before: what it reads
    /// on the way may want replicas that this broker has removed since, under ids that must not come back.
    fn is_named(&self, here: &Standpoint) -> bool {
        here.is_sole_voter || self.controller.image().names(QuorumId::CONTROLLER, here.replica)
    }
}

/// Whether a command takes room on the disks, and more of it with every one of its kind.
fn makes_replicas(command: &Command) -> bool {
    matches!(command, Command::CreateTopic { .. } | Command::AddPartitions { .. })
}

/// A command's bytes; nothing for entries of other kinds.
fn command_bytes(body: Option<&Body>) -> &Bytes {
    static NOTHING: Bytes = Bytes::new();
    match body {
        Some(Body::Command(bytes)) => bytes,
        _ => &NOTHING,
    }
}
