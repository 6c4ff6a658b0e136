//! One member of one quorum.
//!
//! Every input leaves the library in a state from which [`Member::take_work`] builds what is to be done. What the
//! library leaves to its user is decided here: what is durable, which messages must wait for it, and when a sole
//! voter may campaign.

mod changes;
mod checks;
mod continuity;
mod ready;
mod restore;

use self::changes::Changing;
use self::restore::Restoring;
use crate::convert::{self, Tip};
use crate::incoming::{READ_CONTEXT_BYTES, StepError};
use crate::options::{COMMITTED_BYTES_PER_WORK_MAX, ELECTION_TICKS, HEARTBEAT_TICKS, Kind, Options};
use crate::peers::Silences;
use crate::reads::{ReadFailed, ReadId};
use crate::shadow::Shadow;
use crate::work::{Role, RoleChange};
use mq_types::message::MessageKind;
use mq_types::persist::{RecoveredReplica, Standing, Start, Vote};
use mq_types::{Entry, Index, Message, Offset, ReplicaId, Term, TermRuns};
use raft::{RawNode, ReadOnlyOption, SnapshotStatus, StateRole, eraftpb};
use std::cmp::Reverse;
use std::collections::VecDeque;

/// The Raft priority of a damaged replica: any sound one with as long a log is preferred.
const PRIORITY_DAMAGED: i64 = -1;
/// The Raft priority of a sound replica.
const PRIORITY_SOUND: i64 = 0;

/// Why entries were not proposed. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another member leads, or none: propose there.
    #[error("this replica does not lead its quorum; the leader is {leader:?}")]
    NotLeader {
        /// Who does, if it is known.
        leader: Option<ReplicaId>,
    },
    /// Leadership is being handed over: try again, here or there, in an election timeout at most.
    #[error("this replica is handing leadership over to replica {to}")]
    HandingOver {
        /// To whom.
        to: ReplicaId,
    },
}

/// A write that was handed out and is not known to be durable.
struct Flight {
    number: u64,
    vote: Option<Vote>,
}

/// One member of one quorum.
pub struct Member {
    options: Options,
    node: RawNode<Shadow>,
    /// Neither votes nor campaigns nor acknowledges: not accepted by the controller yet, or lost.
    muted: bool,
    /// Term and vote that are durable.
    durable: Vote,
    /// Term and vote that were handed out to become durable.
    written: Vote,
    /// Writes in flight, oldest first.
    flights: VecDeque<Flight>,
    /// The last committed entry that the library has given.
    committed: Index,
    /// The last committed entry that was handed out. What lies in between waits for a change of the members.
    handed_out: Index,
    /// That change.
    changing: Option<Changing>,
    /// The start snapshot that replaces the log.
    restoring: Option<Restoring>,
    /// How long its peers have been silent, while it leads.
    silences: Silences,
    /// What the owner was last told.
    reported: RoleChange,
    /// The election timeout that is in force, and its term.
    timeout: (Term, usize),
}

/// A shard may be made on one thread and run on another.
const _: () = {
    const fn moves_between_threads<T: Send>() {}
    moves_between_threads::<Member>();
};

/// Opening, and the standing of the replica.
impl Member {
    /// A member as recovery found it. All of `recovered` must be durable: the library takes it for acknowledged.
    ///
    /// It is muted unless the controller has accepted the replica and it is not lost.
    pub fn open(options: Options, recovered: &RecoveredReplica) -> Member {
        assert_eq!(recovered.quorum, options.quorum, "the recovered replica is of another quorum");
        assert_eq!(recovered.replica, options.replica, "the recovered replica is another one");
        let durable = recovered_vote(recovered);
        let prev_index = recovered.start.prev_index;
        let snapshot_index = recovered.snapshot.as_ref().map(|snapshot| snapshot.index);
        let commit = recovered.commit.max(prev_index).max(snapshot_index.unwrap_or_default());
        let applied = snapshot_index.unwrap_or(commit).max(prev_index);
        assert!(
            commit <= recovered.last_index,
            "commit {commit} is beyond the last entry {}",
            recovered.last_index
        );

        let shadow = Shadow::open(recovered, options.kind, durable, commit, applied);
        let damaged = recovered.standing == Standing::Damaged;
        let config = library_config(&options, applied, damaged);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, shadow, &logger)
            .expect("the configuration is valid, and storage is memory");
        let lost = matches!(recovered.standing, Standing::Lost(_) | Standing::Gone);
        let mut member = Member {
            options,
            node,
            muted: lost || !recovered.opened,
            durable,
            written: durable,
            flights: VecDeque::new(),
            committed: applied,
            handed_out: applied,
            changing: None,
            restoring: None,
            silences: Silences::default(),
            reported: RoleChange { role: Role::Follower, leader: None, term: durable.term },
            timeout: (Term(0), ELECTION_TICKS),
        };
        member.members_changed();
        member.after_call();
        member
    }

    /// The controller has accepted this replica, and that is durable: from now on it takes part.
    pub fn unmute(&mut self) {
        self.muted = false;
    }

    /// The replica is lost, and that verdict is durable: from now on it neither votes nor campaigns nor
    /// acknowledges. The owner drops this member's messages that still wait for a write.
    pub fn mute(&mut self) {
        let term = self.node.raft.term;
        self.node.raft.become_follower(term, raft::INVALID_ID);
        self.muted = true;
        self.after_call();
    }

    /// Whether it is kept from taking part.
    pub fn is_muted(&self) -> bool {
        self.muted
    }

    /// A bad entry was found below an intact end: from now on it leads only if nobody else can. If it leads, it hands
    /// leadership over to the voter that is furthest along, if one answers.
    pub fn set_damaged(&mut self) {
        self.node.set_priority(PRIORITY_DAMAGED);
        let prs = self.node.raft.prs();
        let is_heir = |id: u64, progress: &raft::Progress| {
            id != self.options.replica.0 && progress.recent_active && self.can_lead(ReplicaId(id))
        };
        let heirs = prs.iter().filter(|(id, progress)| is_heir(**id, progress));
        let heir = heirs.max_by_key(|(id, progress)| (progress.matched, Reverse(**id))).map(|(id, _)| *id);
        if let Some(heir) = heir {
            self.transfer_leader(ReplicaId(heir));
        }
    }
}

/// What happens to it.
impl Member {
    /// Campaigns now instead of waiting for the election timeout: what a sole voter does once when it has opened.
    /// Nothing happens if it leads already, has no vote, or has a committed membership change yet to apply.
    pub fn campaign(&mut self) {
        if self.is_deaf() || !self.node.raft.promotable() || self.must_not_campaign() {
            return;
        }
        self.node.campaign().expect("a campaign is always accepted");
        self.after_call();
    }

    /// Time has passed: one tick.
    pub fn tick(&mut self) {
        if self.is_deaf() || self.must_not_campaign() {
            return;
        }
        self.node.tick();
        self.tick_peers();
        self.after_call();
    }

    /// A peer's message.
    pub fn step(&mut self, mut message: Message) -> Result<(), StepError> {
        self.check(&message)?;
        if self.is_leader() && self.node.raft.prs().get(message.from.0).is_some() {
            self.silences.heard(message.from);
        }
        let ignored = match message.kind {
            MessageKind::TimeoutNow => self.must_not_campaign(),
            // The library would pass it on to whom it takes for the leader, and so round and round.
            MessageKind::ReadIndex => !self.is_leader(),
            MessageKind::Snapshot => self.must_not_restore(&message),
            _ => false,
        };
        if self.is_deaf() || ignored {
            return Ok(());
        }
        self.leave_out_later_changes(&mut message);
        self.honour_a_later_log(&mut message);
        if mq_types::planted!("no_term_guard") && message.term < self.term() && message.term > Term(0) {
            message.term = self.term();
        }
        let offered = message.start.clone();
        self.node.step(convert::message_to_raft(message)).expect("only proposals are ever dropped");
        if let Some(offered) = offered {
            self.note_restore(*offered);
        }
        self.after_call();
        Ok(())
    }

    /// The library lets the priority overrule a later last term where the log is no longer than this one: a damaged
    /// replica whose log is the only whole one would never be elected. Whoever has a later term than this one cannot be
    /// beaten by it, so that to refuse its vote could leave nobody.
    fn honour_a_later_log(&self, message: &mut Message) {
        let asks = matches!(message.kind, MessageKind::PreVote | MessageKind::Vote);
        if asks && message.log_term.0 > self.node.raft.raft_log.last_term() {
            message.priority = message.priority.max(PRIORITY_SOUND);
        }
    }

    /// Proposes entries, all in one append. They must go on from [`Member::last_index`], [`Member::next_offset`] and
    /// [`Member::last_appended_at_ms`], be of the current term, and hold data, controls or commands.
    pub fn propose(&mut self, entries: Vec<Entry>) -> Result<(), ProposeError> {
        if !self.is_leader() {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        if let Some(to) = self.node.raft.lead_transferee {
            return Err(ProposeError::HandingOver { to: ReplicaId(to) });
        }
        let Some(last) = entries.last() else { return Ok(()) };
        let last_index = last.index;
        self.assert_they_go_on(&entries);
        self.step_proposal(entries.into_iter().map(|entry| convert::entry_to_raft(&entry)).collect());
        assert_eq!(self.last_index(), last_index, "the proposal was taken whole");
        Ok(())
    }

    /// The write with this number is durable, and so are all before it.
    pub fn persisted(&mut self, number: u64) {
        let mut newest = None;
        while let Some(flight) = self.flights.pop_front_if(|flight| flight.number <= number) {
            self.durable = flight.vote.unwrap_or(self.durable);
            newest = Some(flight.number);
        }
        let newest = newest.unwrap_or_else(|| panic!("write {number} became durable but is not in flight"));
        self.node.on_persist_ready(newest);
        self.complete_restore(newest);
        self.after_call();
    }

    /// The answer to a read request. A good answer has at least one entry and may have fewer than were asked for.
    pub fn entries_read(&mut self, id: ReadId, result: Result<Vec<Entry>, ReadFailed>) {
        for waiter in self.node.mut_store().entries_read(id, result) {
            self.node.on_entries_fetched(waiter);
        }
        self.node.mut_store().forget_fetched();
        self.after_call();
    }

    /// Asks for a read index. It is never answered if there is no leader, or it has committed nothing in its term, or
    /// a message is lost: the owner asks again, with a `context` that this member has not seen before.
    pub fn read_index(&mut self, context: u64) {
        if self.is_deaf() {
            return;
        }
        let mut bytes = Vec::with_capacity(READ_CONTEXT_BYTES);
        for number in [self.options.replica.0, self.options.seed, context] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        self.node.read_index(bytes);
        self.after_call();
    }

    /// Every entry up to `index` is applied. What is being replaced by a start snapshot does not count any more.
    pub fn applied(&mut self, index: Index) {
        if self.is_restoring() {
            return;
        }
        let handed_out = self.handed_out;
        assert!(index <= handed_out, "applied {index}, but only entries up to {handed_out} were handed out");
        self.node.advance_apply_to(index.0);
        self.node.mut_store().applied(index);
        self.after_call();
    }

    /// The log was trimmed and begins here now. Only what is applied may be trimmed. A log that is being replaced by
    /// a start snapshot begins where that says.
    pub fn compacted(&mut self, start: Start) {
        if !self.is_restoring() {
            self.node.mut_store().compacted(start);
        }
    }

    /// Hands leadership over to a voter that stays one, which is brought up to date first. Until that is done, or an election
    /// timeout has passed, nothing can be proposed. Nothing happens if this member does not lead.
    pub fn transfer_leader(&mut self, to: ReplicaId) {
        if self.is_leader() && self.can_lead(to) {
            self.node.transfer_leader(to.0);
            self.after_call();
        }
    }

    /// Lets a voter that stays one campaign at once, whatever it lacks of this log: for a leader that cannot bring it up to
    /// date. It is elected if most of the others have no more than it has. Nothing happens if this member does not lead.
    pub fn let_campaign(&mut self, voter: ReplicaId) {
        if self.is_leader() && self.can_lead(voter) {
            self.node.raft.send_timeout_now(voter.0);
            self.after_call();
        }
    }

    /// Messages to this peer were lost, a start snapshot too if it was sent one: it is probed before it is sent more.
    pub fn unreachable(&mut self, peer: ReplicaId) {
        if !self.is_deaf() {
            self.node.report_unreachable(peer.0);
            self.node.report_snapshot(peer.0, SnapshotStatus::Failure);
            self.after_call();
        }
    }
}

/// What it is.
impl Member {
    /// Whether it leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Who leads, as far as it knows.
    pub fn leader(&self) -> Option<ReplicaId> {
        convert::replica(self.node.raft.leader_id)
    }

    /// Its term. It need not be durable yet.
    pub fn term(&self) -> Term {
        Term(self.node.raft.term)
    }

    /// Whether it leads and has committed an entry of its own term: only then does it know what is committed, and
    /// may answer reads.
    pub fn has_committed_in_term(&self) -> bool {
        self.is_leader() && self.node.raft.commit_to_current_term()
    }

    /// The last entry's index, durable or not.
    pub fn last_index(&self) -> Index {
        Index(self.node.raft.raft_log.last_index())
    }

    /// The offset that the next record will have.
    pub fn next_offset(&self) -> Offset {
        self.tip().next_offset
    }

    /// The last entry's `appended_at_ms`; 0 if it is not known.
    pub fn last_appended_at_ms(&self) -> i64 {
        self.tip().last_appended_at_ms
    }

    /// The last index that is known to be committed; it need not be durable here.
    pub fn commit(&self) -> Index {
        Index(self.node.raft.raft_log.committed)
    }

    /// Up to where the owner has applied. A start snapshot counts when it is durable.
    pub fn applied_index(&self) -> Index {
        Index(self.node.raft.raft_log.applied)
    }

    /// Where its log begins.
    pub fn start(&self) -> Start {
        self.node.store().start()
    }

    /// The runs of terms of everything that was handed out to persist.
    pub fn term_runs(&self) -> &TermRuns {
        self.node.store().term_runs()
    }

    /// Term and vote that are durable.
    pub fn durable_vote(&self) -> Vote {
        self.durable
    }

    /// Who votes, in order of their ids; in a joint configuration the voters of both.
    pub fn voters(&self) -> Vec<ReplicaId> {
        let mut voters: Vec<_> = self.node.raft.prs().conf().voters().ids().iter().map(ReplicaId).collect();
        voters.sort_unstable();
        voters
    }

    /// Whether this member is the only one with a vote.
    pub fn is_sole_voter(&self) -> bool {
        // A joint configuration may have the same single voter on both sides, which the library does not count as one.
        let voters = self.node.raft.prs().conf().voters();
        self.node.raft.promotable() && voters.ids().iter().all(|id| id == self.options.replica.0)
    }

    /// Whether this member has a vote that it keeps when a joint configuration is left.
    fn can_lead(&self, replica: ReplicaId) -> bool {
        self.membership().voters.contains(&replica)
    }

    /// Whether nothing may reach the library.
    fn is_deaf(&self) -> bool {
        self.muted || self.is_restoring()
    }

    /// Proposes on a leader that is not handing over.
    fn step_proposal(&mut self, entries: Vec<eraftpb::Entry>) {
        let proposal = eraftpb::Message {
            msg_type: eraftpb::MessageType::MsgPropose,
            from: self.options.replica.0,
            entries: entries.into(),
            ..Default::default()
        };
        self.node.raft.step(proposal).expect("a leader that is not handing over takes every proposal");
        self.after_call();
    }

    /// A sole voter wins the moment it campaigns, and the library panics if its log is not durable then.
    fn must_not_campaign(&self) -> bool {
        let log = &self.node.raft.raft_log;
        let settled = self.flights.is_empty() && log.persisted == log.last_index();
        self.is_sole_voter() && !self.is_leader() && !settled
    }

    /// What the next entry goes on from, be the last one handed out already or not.
    fn tip(&self) -> Tip {
        let unwritten = self.node.raft.raft_log.unstable_entries().iter().rev();
        // An entry that the library made leaves the tip where it is.
        let last = unwritten.filter_map(convert::entry_from_raft).next();
        last.map_or_else(|| self.node.store().tip(), |entry| Tip::after(&entry.meta()))
    }

    /// The library draws election timeouts from the thread's random numbers; ours must be repeatable.
    fn after_call(&mut self) {
        let term = self.term();
        if self.timeout.0 != term {
            self.timeout = (term, self.options.election_timeout_ticks(term));
        }
        self.node.raft.set_randomized_election_timeout(self.timeout.1);
    }
}

/// Term and vote as recovered. A log can be ahead of the record: entries of a term prove that it was entered.
fn recovered_vote(recovered: &RecoveredReplica) -> Vote {
    let log_term = recovered.term_runs.last_term();
    if log_term > recovered.vote.term { Vote { term: log_term, voted_for: None } } else { recovered.vote }
}

fn library_config(options: &Options, applied: Index, damaged: bool) -> raft::Config {
    raft::Config {
        id: options.replica.0,
        election_tick: ELECTION_TICKS,
        heartbeat_tick: HEARTBEAT_TICKS,
        applied: applied.0,
        max_size_per_msg: options.limits.append_bytes_max,
        max_inflight_msgs: options.limits.appends_in_flight_max,
        // Both are needed: without the one a cut-off member deposes a working leader when it comes back, without the
        // other a leader that cannot hear keeps a quorum from electing a better one.
        pre_vote: true,
        check_quorum: true,
        // The lease would trust clocks.
        read_only_option: match mq_types::planted!("read_index_by_lease") {
            true => ReadOnlyOption::LeaseBased,
            false => ReadOnlyOption::Safe,
        },
        skip_bcast_commit: options.kind == Kind::Partition,
        // Its merged messages have no bound.
        batch_append: false,
        priority: if damaged { PRIORITY_DAMAGED } else { PRIORITY_SOUND },
        // Byte budgets are the owner's: the library cannot count what storage gives it without payloads.
        max_uncommitted_size: raft::NO_LIMIT,
        max_committed_size_per_ready: COMMITTED_BYTES_PER_WORK_MAX,
        ..raft::Config::default()
    }
}
