//! One replica of one quorum: Raft's member, the writes, and what is served from the log, kept in step.
//!
//! ```text
//!  creating ──► waiting ──► opening ──► open ──► removing ──► gone
//!  (first write)  (for the controller)      └──► lost
//! ```
//!
//! Every arrow but the second is a durable write. What the entries mean is the business of what is served.

mod durable;
mod feeding;
pub(crate) mod membership;
mod orders;
mod stamper;
mod work;

pub(crate) use stamper::Stamper;

use crate::controller::Health;
use crate::partition::Partition;
use crate::seat::Seat;
use crate::segments::Segments;
use crate::turn::Turn;
use crate::writes::Writes;
use crate::{Event, ReadId, WriteNumber, controller};
use feeding::Feeding;
use membership::{Parting, Wanted, is_sole_voter};
use mq_raft::{Kind, Limits, Member, MembershipChange, Role, RoleChange, StepError};
use mq_types::persist::{Create, LogStatus, LostReason, RecoveredReplica, Standing, Start};
use mq_types::{Entry, Index, Message, QuorumId, ReplicaId, Term};

/// Where a replica stands in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Its first write is in flight.
    Creating(Box<Create>),
    /// The controller has not accepted it yet.
    Waiting,
    /// The controller's acceptance is being written.
    Opening,
    /// It takes part.
    Open,
    /// It may not be trusted.
    Lost,
    /// Its removal is being written.
    Removing,
    /// Nothing of it is left.
    Gone,
}

/// What is served from the log.
pub(crate) enum Serves {
    /// Records.
    Partition(Box<Partition>),
    /// The cluster's metadata.
    Controller(Box<Seat>),
}

/// What a replica is at this moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standpoint {
    /// The quorum.
    pub(crate) quorum: QuorumId,
    /// The replica.
    pub(crate) replica: ReplicaId,
    /// Its role, leader and term.
    pub(crate) role: RoleChange,
    /// It has applied an entry of this term: it knows everything that was committed in earlier ones, and no less than
    /// it did before it was opened.
    pub(crate) caught_up: bool,
    /// It leads, and is caught up.
    pub(crate) serving: bool,
    /// The last applied index.
    pub(crate) applied: Index,
    /// How far it may be trusted.
    pub(crate) standing: Standing,
    /// Nobody else has a vote.
    pub(crate) is_sole_voter: bool,
    /// Another log is being put in the place of this one: nothing of the old one is stored or trimmed any more.
    pub(crate) is_restoring: bool,
}

/// One replica of one quorum.
pub(crate) struct Replica {
    quorum: QuorumId,
    replica: ReplicaId,
    seed: u64,
    phase: Phase,
    standing: Standing,
    /// False only for a replica whose directory is missing.
    is_on_disk: bool,
    is_sole_voter: bool,
    /// While it can take part, or waits to.
    member: Option<Member>,
    writes: Writes,
    segments: Segments,
    applied: Index,
    applied_term: Term,
    /// The term and the last index with which it was opened: up to there it may have applied, in a life before, what
    /// it does not know to be committed now. The index falls when entries give way.
    opened_with: (Term, Index),
    led_in: Option<Term>,
    /// The members that the controller wants.
    wanted: Wanted,
    /// Ticks since it is known who is wanted.
    wanted_ticks: usize,
    /// Whether it has handed over before it loses its vote, as they want it to.
    parting: Parting,
    /// A committed change of the members whose record is being written.
    membership_write: Option<MembershipChange>,
    /// When to look next whether another one should lead.
    next_better_ms: u64,
    /// Whether it can bring the others further, where it leads.
    feeding: Feeding,
    serves: Serves,
    /// Something has happened since readers and waiters were last told.
    is_stirred: bool,
}

/// The ways to begin.
impl Replica {
    /// A new replica; its first write goes out with this turn.
    pub(crate) fn create(
        quorum: QuorumId,
        replica: ReplicaId,
        seed: u64,
        create: Create,
        serves: Serves,
    ) -> Replica {
        let segments = Segments::new(create.start, Vec::new());
        let mut made = Replica::bare(quorum, replica, seed, segments, create.start.prev_index, serves);
        made.is_sole_voter = is_sole_voter(&create.membership, replica);
        made.writes.due().create = Some(create.clone());
        made.phase = Phase::Creating(Box::new(create));
        made
    }

    /// As recovery found it.
    pub(crate) fn recovered(found: &RecoveredReplica, seed: u64, serves: Serves) -> Replica {
        let segments = Segments::new(found.start, found.segments.clone());
        let commit = found.commit.max(found.start.prev_index);
        let mut replica = Replica::bare(found.quorum, found.replica, seed, segments, commit, serves);
        replica.standing = found.standing;
        replica.opened_with = (found.vote.term, found.last_index);
        replica.is_sole_voter = is_sole_voter(&found.membership, found.replica);
        replica.phase = match found.standing {
            Standing::Lost(_) | Standing::Gone => Phase::Lost,
            Standing::Sound | Standing::Damaged if found.opened => Phase::Open,
            Standing::Sound | Standing::Damaged => Phase::Waiting,
        };
        if replica.phase != Phase::Lost {
            let member = replica.open_member(found);
            replica.applied = member.applied_index();
            // A snapshot may hold all there is: nothing need be applied in this life to know it.
            replica.applied_term = found.term_runs.term(replica.applied).unwrap_or_default();
            replica.member = Some(member);
        }
        replica
    }

    /// A replica that the controller bound to this directory, and that is not in it.
    pub(crate) fn missing(quorum: QuorumId, replica: ReplicaId, serves: Serves) -> Replica {
        let segments = Segments::new(Start::BOOTSTRAP, Vec::new());
        let mut missing = Replica::bare(quorum, replica, 0, segments, Start::BOOTSTRAP.prev_index, serves);
        missing.standing = Standing::Lost(LostReason::OpenRefused);
        missing.phase = Phase::Lost;
        missing.is_on_disk = false;
        missing
    }

    fn bare(
        quorum: QuorumId,
        replica: ReplicaId,
        seed: u64,
        segments: Segments,
        commit: Index,
        serves: Serves,
    ) -> Replica {
        Replica {
            quorum,
            replica,
            seed,
            phase: Phase::Waiting,
            standing: Standing::Sound,
            is_on_disk: true,
            is_sole_voter: false,
            member: None,
            writes: Writes::new(quorum, replica, commit),
            segments,
            applied: commit,
            applied_term: Term(0),
            opened_with: (Term(0), commit),
            led_in: None,
            wanted: Wanted::default(),
            wanted_ticks: 0,
            parting: Parting::NotBegun,
            membership_write: None,
            next_better_ms: 0,
            feeding: Feeding::default(),
            serves,
            is_stirred: true,
        }
    }

    fn open_member(&self, found: &RecoveredReplica) -> Member {
        let (kind, limits) = match self.serves {
            Serves::Partition(_) => (Kind::Partition, Limits::PARTITION),
            Serves::Controller(_) => (Kind::Machine, Limits::CONTROLLER),
        };
        let (quorum, replica, seed) = (self.quorum, self.replica, self.seed);
        Member::open(mq_raft::Options { quorum, replica, kind, seed, limits }, found)
    }
}

/// What it is.
impl Replica {
    /// Its id.
    pub(crate) fn id(&self) -> ReplicaId {
        self.replica
    }

    /// What is served from it, to be told something, and the writes that may follow from that.
    pub(crate) fn serves_mut(&mut self) -> (&mut Serves, &mut Writes) {
        self.is_stirred = true;
        (&mut self.serves, &mut self.writes)
    }

    /// Its quorum.
    pub(crate) fn quorum(&self) -> QuorumId {
        self.quorum
    }

    /// Whether it may not be trusted.
    pub(crate) fn is_lost(&self) -> bool {
        self.phase == Phase::Lost
    }

    /// How far it may be trusted, in the controller's words.
    pub(crate) fn health(&self) -> Health {
        match self.standing {
            Standing::Sound | Standing::Gone => Health::Sound,
            Standing::Damaged => Health::Damaged,
            Standing::Lost(_) => Health::Lost,
        }
    }

    /// Whether it has promised nothing to anybody: the controller has not accepted it, or refuses to.
    pub(crate) fn was_never_opened(&self) -> bool {
        self.phase == Phase::Waiting || self.standing == Standing::Lost(LostReason::OpenRefused)
    }

    /// Nothing of it is left.
    pub(crate) fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    /// Nobody waits for it, and nothing of it is being written.
    pub(crate) fn is_quiet(&self) -> bool {
        let nobody_waits = match &self.serves {
            Serves::Partition(partition) => partition.is_quiet(),
            Serves::Controller(seat) => seat.is_quiet(),
        };
        nobody_waits && self.writes.is_quiet()
    }

    /// What the controller has to learn of it, if anything.
    pub(crate) fn announcement(&self, directory: mq_types::DirectoryId) -> Option<controller::Command> {
        let (quorum, replica) = (self.quorum, self.replica);
        (self.phase == Phase::Waiting).then_some(controller::Command::OpenReplica {
            quorum,
            replica,
            directory,
        })
    }

    /// What it is at this moment.
    pub(crate) fn here(&self) -> Standpoint {
        let role = self.member.as_ref().map_or_else(RoleChange::default, |member| RoleChange {
            role: if member.is_leader() { Role::Leader } else { Role::Follower },
            leader: member.leader(),
            term: member.term(),
        });
        let (opened_term, opened_last) = self.opened_with;
        let knows_again = role.term > opened_term || self.applied >= opened_last;
        let knows_all = (self.applied_term == role.term && knows_again)
            || mq_types::planted!("serves_before_its_term_commits");
        let caught_up = self.member.is_some() && knows_all;
        Standpoint {
            quorum: self.quorum,
            replica: self.replica,
            role,
            caught_up,
            serving: caught_up && role.role == Role::Leader,
            applied: self.applied,
            standing: self.standing,
            is_sole_voter: self.is_sole_voter,
            is_restoring: self.member.as_ref().is_some_and(Member::is_restoring),
        }
    }
}

/// What the controller decides about it.
impl Replica {
    /// The controller has accepted it: it takes part as soon as that is durable here.
    pub(crate) fn accepted(&mut self) {
        if self.phase == Phase::Waiting {
            self.phase = Phase::Opening;
            self.writes.due().open = true;
        }
    }

    /// It may not be trusted any more. The verdict is durable before it has any other effect.
    pub(crate) fn lose(&mut self, reason: LostReason) {
        let is_trusted = matches!(self.phase, Phase::Waiting | Phase::Opening | Phase::Open);
        if is_trusted && !self.writes.is_losing() {
            self.writes.due().standing = Some(Standing::Lost(reason));
        }
    }

    /// Its log has a bad place below an intact end. The verdict is durable before it has any other effect.
    pub(crate) fn damage(&mut self) {
        let is_trusted = matches!(self.phase, Phase::Waiting | Phase::Opening | Phase::Open);
        if is_trusted && self.standing == Standing::Sound && !self.writes.has_verdict() {
            self.writes.due().standing = Some(Standing::Damaged);
        }
    }

    /// It was deleted for good.
    pub(crate) fn remove(&mut self, turn: &mut Turn) {
        if matches!(self.phase, Phase::Removing | Phase::Gone | Phase::Creating(_)) {
            return; // one that is being made is removed when it is there
        }
        self.leave();
        if let Serves::Partition(partition) = &mut self.serves {
            partition.abandon(self.quorum, turn);
        }
        if self.is_on_disk {
            self.phase = Phase::Removing;
            self.writes.remove();
        } else {
            self.phase = Phase::Gone;
        }
    }

    /// It takes no part any more, and says nothing more.
    fn leave(&mut self) {
        self.member = None;
        self.writes.drop_messages();
        self.is_stirred = true;
    }
}

/// What happens to it.
impl Replica {
    /// The broker has started: nobody else could be waited for where there is only one voter.
    pub(crate) fn start(&mut self) {
        self.is_stirred = true;
        if let (Phase::Open, true, Some(member)) = (&self.phase, self.is_sole_voter, &mut self.member) {
            member.campaign();
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, turn: &mut Turn) {
        self.wanted_ticks = self.wanted_ticks.saturating_add(1);
        let Some(member) = &mut self.member else { return };
        member.tick();
        if let Serves::Partition(partition) = &mut self.serves {
            for context in partition.tick(turn) {
                member.read_index(context);
            }
        }
    }

    /// A peer's message.
    pub(crate) fn step(&mut self, mut message: Message, turn: &mut Turn) {
        let (quorum, from) = (self.quorum, message.from);
        if let (Serves::Partition(partition), Some(offered)) = (&self.serves, &mut message.start) {
            // Its sender may not know yet how much was ordered away; what is gone does not come back.
            offered.start.log_start = offered.start.log_start.max(partition.log_start());
        }
        let Some(member) = &mut self.member else { return };
        if let Err(problem) = orders::check(&self.serves, &message) {
            turn.event(Event::MessageRefused { quorum, from, problem });
            return;
        }
        match member.step(message) {
            Ok(()) => {}
            Err(error) => {
                if let StepError::ShorterThanAcknowledged { .. } = error {
                    self.lose(LostReason::ShorterThanAcknowledged);
                }
                turn.event(Event::MessageRefused { quorum, from, problem: error.to_string() });
            }
        }
    }

    /// Entries that were read for a peer.
    pub(crate) fn entries_read(&mut self, read: ReadId, entries: Option<Vec<Entry>>) {
        if entries.is_none() {
            self.feeding.refused();
        }
        if let Some(member) = &mut self.member {
            member.entries_read(mq_raft::ReadId(read.0), entries.ok_or(mq_raft::ReadFailed));
        }
    }

    /// Retention looks. `wall_ms`: the time by which age is judged, if the clock is believed.
    pub(crate) fn retain(&mut self, wall_ms: Option<i64>) {
        let here = self.here();
        if let (Serves::Partition(partition), Some(member)) = (&mut self.serves, &self.member)
            && !here.is_restoring
        {
            let is_at_rest = self.writes.is_quiet() && member.last_index() == self.applied;
            partition.retain(wall_ms, is_at_rest, &here, &self.segments, &mut self.writes);
        }
    }

    /// A write and all before it are durable.
    pub(crate) fn persisted(&mut self, number: WriteNumber, status: Option<LogStatus>, turn: &mut Turn) {
        self.is_stirred = true;
        let mut settled = self.writes.persisted(number);
        turn.send(std::mem::take(&mut settled.messages));
        let last_index = settled.appended.last().map(|appended| appended.last_index);
        let restored = settled.restored.take();
        match status {
            Some(status) => {
                let start = status.start;
                if self.segments.report(status)
                    && restored.is_none()
                    && let Some(member) = &mut self.member
                {
                    member.compacted(start);
                }
            }
            None => settled.appended.drain(..).for_each(|appended| self.segments.append(appended)),
        }
        if let (Some(raft), Some(member)) = (settled.raft, &mut self.member) {
            member.persisted(raft);
        }
        if let Some(restored) = restored {
            self.restored(restored, turn);
        }
        if let (Some(snapshot), Some(member)) = (settled.snapshot.take(), &mut self.member) {
            member.machine_snapshot_stored(snapshot);
        }
        if settled.members_changed {
            self.members_changed(turn);
        }
        if let Serves::Partition(partition) = &mut self.serves {
            if let Some(last_index) = last_index {
                partition.synced(last_index);
            }
            partition.persisted(number, turn);
        }
        self.advance(&settled, turn);
    }
}
