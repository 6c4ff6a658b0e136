//! A few members, each with a disk, and a wire between them. Nothing moves unless the test says so.
//!
//! Every step is checked: what leaves before it may, what commits twice, who leads a term.

use crate::disk::Disk;
use mq_raft::{
    Kind, Limits, Member, MembershipChange, Options, Persist, ReadIndex, ReadRequest, Role, RoleChange,
    SendAfterPersist, StepError,
};
use mq_types::batch::{BatchBuilder, NewRecord};
use mq_types::persist::Membership;
use mq_types::{Body, Compression, Entry, EntryMeta, Index, Message, QuorumId, ReplicaId, Term};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) const QUORUM: QuorumId = QuorumId(1024);
/// Rounds in which a quorum without faults must fall silent.
const ROUNDS_MAX: usize = 10_000;

pub(crate) fn id(number: u64) -> ReplicaId {
    ReplicaId(number)
}

/// One member and what its owner holds for it.
pub(crate) struct Replica {
    pub(crate) disk: Disk,
    /// `None` while it is down.
    pub(crate) member: Option<Member>,
    /// Writes in flight, oldest first, each with the commit index at the time it was given out.
    pub(crate) writes: VecDeque<(Persist, Index)>,
    pub(crate) held: Vec<SendAfterPersist>,
    pub(crate) reads: Vec<ReadRequest>,
    /// Start snapshots that it accepted since it was made.
    pub(crate) restores: usize,
    /// Reads that were answered since it was made.
    pub(crate) reads_served: usize,
    pub(crate) role: RoleChange,
    /// What was handed out to apply since it was opened.
    pub(crate) applied: Vec<EntryMeta>,
    pub(crate) read_indexes: Vec<ReadIndex>,
    /// Members that were handed out to be recorded.
    pub(crate) change: Option<MembershipChange>,
    /// The highest commit index seen since it was opened.
    pub(crate) commit: Index,
    runs: u64,
}

impl Replica {
    /// It has never been up.
    pub(crate) fn on(disk: Disk) -> Replica {
        Replica {
            disk,
            member: None,
            writes: VecDeque::new(),
            held: Vec::new(),
            reads: Vec::new(),
            restores: 0,
            reads_served: 0,
            role: RoleChange::default(),
            applied: Vec::new(),
            read_indexes: Vec::new(),
            change: None,
            commit: Index(0),
            runs: 0,
        }
    }
}

pub(crate) struct World {
    pub(crate) replicas: BTreeMap<ReplicaId, Replica>,
    /// Messages on their way, in the order in which they were sent.
    pub(crate) wire: Vec<Message>,
    /// Ways on which every message is lost.
    pub(crate) cuts: BTreeSet<(ReplicaId, ReplicaId)>,
    pub(crate) limits: Limits,
    pub(crate) kind: Kind,
    /// Applies what is handed out at once; else the test says when.
    pub(crate) applies_at_once: bool,
    /// Records changes of the members as soon as everything before them is applied; else the test says when.
    pub(crate) records_at_once: bool,
    /// Every entry that any member took for committed.
    pub(crate) committed: BTreeMap<Index, EntryMeta>,
    pub(crate) leaders: BTreeMap<Term, ReplicaId>,
    /// All members that any member had, by the entry that made them so.
    pub(crate) memberships: BTreeMap<Index, Membership>,
    clock_ms: i64,
}

impl World {
    pub(crate) fn new(voters: u64) -> World {
        World::with_learners(voters, 0)
    }

    /// Voters 1, 2, …, then learners.
    pub(crate) fn with_learners(voters: u64, learners: u64) -> World {
        let membership = Membership {
            conf_index: Index(1),
            voters: (1..=voters).map(ReplicaId).collect(),
            learners: (voters + 1..=voters + learners).map(ReplicaId).collect(),
            ..Membership::default()
        };
        let mut world = World {
            replicas: BTreeMap::new(),
            wire: Vec::new(),
            cuts: BTreeSet::new(),
            limits: Limits::PARTITION,
            kind: Kind::Partition,
            applies_at_once: true,
            records_at_once: true,
            committed: BTreeMap::new(),
            leaders: BTreeMap::new(),
            memberships: BTreeMap::from([(membership.conf_index, membership.clone())]),
            clock_ms: 1_000,
        };
        for replica in (1..=voters + learners).map(ReplicaId) {
            world.replicas.insert(replica, Replica::on(Disk::founding(membership.clone())));
            world.start(replica);
        }
        world
    }

    pub(crate) fn ids(&self) -> Vec<ReplicaId> {
        self.replicas.keys().copied().collect()
    }

    pub(crate) fn replica(&mut self, replica: ReplicaId) -> &mut Replica {
        self.replicas.get_mut(&replica).expect("a replica of this world")
    }

    pub(crate) fn disk(&mut self, replica: ReplicaId) -> &mut Disk {
        &mut self.replica(replica).disk
    }

    pub(crate) fn member(&mut self, replica: ReplicaId) -> &mut Member {
        self.replica(replica).member.as_mut().expect("this replica is down")
    }

    pub(crate) fn is_up(&self, replica: ReplicaId) -> bool {
        self.replicas.get(&replica).is_some_and(|state| state.member.is_some())
    }

    /// The process ends: whatever was not durable is gone.
    pub(crate) fn crash(&mut self, replica: ReplicaId) {
        let state = self.replica(replica);
        state.member = None;
        state.writes.clear();
        state.held.clear();
        state.reads.clear();
        state.applied.clear();
        state.read_indexes.clear();
        state.change = None;
        state.commit = Index(0);
    }

    /// Opens what is on the disk.
    pub(crate) fn start(&mut self, replica: ReplicaId) {
        let (kind, limits) = (self.kind, self.limits);
        let state = self.replica(replica);
        state.runs += 1;
        let options = Options { quorum: QUORUM, replica, kind, seed: replica.0 << 32 | state.runs, limits };
        let member = Member::open(options, &state.disk.recover(replica, kind));
        state.role = RoleChange { role: Role::Follower, leader: None, term: member.term() };
        state.member = Some(member);
    }

    pub(crate) fn restart(&mut self, replica: ReplicaId) {
        self.crash(replica);
        self.start(replica);
    }

    /// Takes a member's work as far as no disk is needed. Returns how many entries were handed out.
    pub(crate) fn work(&mut self, replica: ReplicaId) -> usize {
        let mut handed_out = 0;
        for _ in 0..ROUNDS_MAX {
            if !self.is_up(replica) {
                return handed_out;
            }
            let work = self.member(replica).take_work();
            let has_work = self.member(replica).has_work();
            if work.is_empty() && !has_work {
                return handed_out;
            }
            let commit = self.member(replica).commit();
            let state = self.replica(replica);
            assert!(commit >= state.commit, "the commit index of replica {replica} falls");
            state.commit = commit;
            if let Some(persist) = work.persist {
                self.begin_write(replica, persist);
            }
            let state = self.replica(replica);
            state.held.extend(work.send_after_persist);
            state.reads.extend(work.read);
            state.read_indexes.extend(work.read_indexes);
            handed_out += work.committed.len();
            for message in work.send_now {
                self.send(message);
            }
            for committed in work.committed {
                self.note_committed(replica, committed.meta, committed.body.as_ref());
            }
            if let Some(change) = work.membership {
                self.note_change(replica, change);
                handed_out += 1;
            }
            if let Some(role) = work.role {
                self.note_role(replica, role);
            }
            if self.applies_at_once {
                self.apply(replica);
            }
            if self.records_at_once {
                self.record(replica);
            }
        }
        panic!("replica {replica} never runs out of work");
    }

    pub(crate) fn apply(&mut self, replica: ReplicaId) {
        let last = self.replica(replica).applied.last().map(|meta| meta.index);
        if let Some(index) = last.filter(|&index| index > self.member(replica).applied_index()) {
            self.member(replica).applied(index);
        }
    }

    /// The oldest write in flight becomes durable, and what waited for it leaves.
    pub(crate) fn sync(&mut self, replica: ReplicaId) {
        let state = self.replica(replica);
        let Some((persist, commit)) = state.writes.pop_front() else { return };
        state.disk.write(&persist, commit);
        let held = std::mem::take(&mut state.held);
        let (free, held) = held.into_iter().partition(|waiting| waiting.number <= persist.number);
        state.held = held;
        self.member(replica).persisted(persist.number);
        if let Some(restored) = &persist.restore {
            assert_eq!(self.member(replica).applied_index(), restored.start.prev_index);
            assert!(!self.member(replica).is_restoring());
        }
        let free: Vec<SendAfterPersist> = free;
        for message in free.into_iter().flat_map(|free| free.messages) {
            self.send(message);
        }
    }

    pub(crate) fn sync_all(&mut self, replica: ReplicaId) {
        while !self.replica(replica).writes.is_empty() {
            self.sync(replica);
        }
    }

    /// Answers the oldest read from the disk.
    pub(crate) fn serve_read(&mut self, replica: ReplicaId) {
        let state = self.replica(replica);
        if state.reads.is_empty() {
            return;
        }
        let request = state.reads.remove(0);
        state.reads_served += 1;
        let (first, end) = (request.first_index.0, request.end_index.0);
        let mut bytes = 0;
        let mut entries = Vec::new();
        for index in first..end {
            let Some(entry) = state.disk.entry(Index(index)) else { break };
            bytes += entry.body.len_bytes() as u64;
            if bytes > request.bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        let answer = if entries.is_empty() { Err(mq_raft::ReadFailed) } else { Ok(entries) };
        self.member(replica).entries_read(request.id, answer);
    }

    /// Delivers the message at this place of the wire.
    pub(crate) fn deliver(&mut self, at: usize) {
        let message = self.wire.remove(at);
        self.give(message);
    }

    /// Gives a message to its addressee, if the way is open and somebody is there. Who is no member any more is not
    /// listened to.
    pub(crate) fn give(&mut self, message: Message) {
        let (from, to) = (message.from, message.to);
        if !self.cuts.contains(&(from, to)) && self.is_up(to) {
            let taken = self.member(to).step(message);
            let is_stranger = taken == Err(StepError::UnknownMember { from });
            assert!(taken.is_ok() || is_stranger, "members understand each other: {taken:?}");
        }
    }

    /// Works, writes, reads and delivers until nothing moves any more. Time stands still.
    pub(crate) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            for replica in self.ids() {
                self.settle_one(replica);
            }
            if self.wire.is_empty() {
                return;
            }
            for message in std::mem::take(&mut self.wire) {
                self.give(message);
            }
        }
        panic!("the quorum never falls silent");
    }

    /// Works, writes and reads of one replica until it waits for its peers.
    pub(crate) fn settle_one(&mut self, replica: ReplicaId) {
        for _ in 0..ROUNDS_MAX {
            self.work(replica);
            let state = self.replica(replica);
            if state.member.is_none() || (state.writes.is_empty() && state.reads.is_empty()) {
                return;
            }
            self.sync_all(replica);
            self.serve_read(replica);
        }
        panic!("replica {replica} never falls silent");
    }

    /// Time passes for everybody.
    pub(crate) fn pass(&mut self, ticks: usize) {
        for _ in 0..ticks {
            for replica in self.ids() {
                if self.is_up(replica) {
                    self.member(replica).tick();
                }
            }
            self.settle();
        }
    }

    /// Makes this replica lead; nobody may lead yet.
    pub(crate) fn elect(&mut self, replica: ReplicaId) {
        self.member(replica).campaign();
        self.settle();
        assert!(self.member(replica).is_leader(), "replica {replica} was not elected");
    }

    pub(crate) fn leader(&self) -> Option<ReplicaId> {
        let leads =
            |state: &Replica| state.member.as_ref().filter(|member| member.is_leader()).map(Member::term);
        let leaders = self.replicas.iter().filter_map(|(&id, state)| Some((leads(state)?, id)));
        leaders.max().map(|(_, id)| id)
    }

    /// Replica 1 leads, and remembers nothing that it has applied; the last replica has missed some entries.
    pub(crate) fn leave_last_behind(&mut self) {
        self.limits.retained_bytes_max = 0;
        for replica in self.ids() {
            self.restart(replica);
        }
        self.elect(id(1));
        self.isolate(*self.ids().last().expect("there are replicas"));
        for number in 0..20 {
            self.propose(id(1), &[&format!("value {number}")]);
            self.settle();
        }
    }

    /// Cuts the ways between a replica and all others, both ways.
    pub(crate) fn isolate(&mut self, replica: ReplicaId) {
        for other in self.ids() {
            self.cuts.insert((replica, other));
            self.cuts.insert((other, replica));
        }
    }

    /// The entries that this member would propose next: one batch of one record per value.
    pub(crate) fn entries(&mut self, replica: ReplicaId, values: &[&str]) -> Vec<Entry> {
        self.clock_ms += 1;
        let appended_at_ms = self.clock_ms.max(self.member(replica).last_appended_at_ms());
        let member = self.member(replica);
        let (mut index, mut base_offset, term) = (member.last_index(), member.next_offset(), member.term());
        let mut entries = Vec::new();
        for value in values {
            let mut builder = BatchBuilder::new();
            let record = NewRecord { value: Some(value.as_bytes()), ..NewRecord::default() };
            builder.push(&record).expect("a small record");
            let mut batch = builder.finish(Compression::None);
            batch.stamp(base_offset, term);
            index = index.next();
            let body = match self.kind {
                Kind::Partition => Body::Data(batch),
                Kind::Machine => Body::Command(value.to_string().into()),
            };
            let entry = Entry { index, term, base_offset, appended_at_ms, body };
            base_offset = entry.meta().end_offset();
            entries.push(entry);
        }
        entries
    }

    pub(crate) fn propose(&mut self, replica: ReplicaId, values: &[&str]) {
        let entries = self.entries(replica, values);
        self.member(replica).propose(entries).expect("this replica leads");
    }

    /// The values of all records up to the commit index on this replica's disk.
    pub(crate) fn values(&mut self, replica: ReplicaId) -> Vec<String> {
        let commit = self.member(replica).commit();
        let log = &self.replica(replica).disk.log;
        let value = |entry: &Entry| match &entry.body {
            Body::Data(batch) => {
                let mut records = batch.records(1 << 20).expect("a sound batch");
                let record = records.next().expect("one record").expect("a sound record");
                Some(String::from_utf8(record.value.expect("a value").to_vec()).expect("text"))
            }
            Body::Command(value) => Some(String::from_utf8(value.to_vec()).expect("text")),
            _ => None,
        };
        log.iter().filter(|entry| entry.index <= commit).filter_map(value).collect()
    }
}
