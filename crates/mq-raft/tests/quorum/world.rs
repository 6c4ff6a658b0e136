//! A few members, each with a disk, and a wire between them. Nothing moves unless the test says so.
//!
//! Every step is checked: what leaves before it may, what commits twice, who leads a term.

use crate::disk::Disk;
use mq_raft::{
    Kind, Limits, Member, Options, Persist, ReadIndex, ReadRequest, Role, RoleChange, SendAfterPersist,
};
use mq_types::batch::{BatchBuilder, NewRecord};
use mq_types::message::MessageKind;
use mq_types::persist::{Membership, Standing, Start, Vote};
use mq_types::{Body, Compression, Entry, EntryKind, EntryMeta, Index, Message, QuorumId, ReplicaId, Term};
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
    pub(crate) role: RoleChange,
    /// What was handed out to apply since it was opened.
    pub(crate) applied: Vec<EntryMeta>,
    pub(crate) read_indexes: Vec<ReadIndex>,
    /// The highest commit index seen since it was opened.
    commit: Index,
    runs: u64,
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
    /// Every entry that any member took for committed.
    pub(crate) committed: BTreeMap<Index, EntryMeta>,
    pub(crate) leaders: BTreeMap<Term, ReplicaId>,
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
            committed: BTreeMap::new(),
            leaders: BTreeMap::new(),
            clock_ms: 1_000,
        };
        for replica in (1..=voters + learners).map(ReplicaId) {
            let disk = Disk {
                vote: Vote::default(),
                start: Start::BOOTSTRAP,
                log: Vec::new(),
                commit: Start::BOOTSTRAP.prev_index,
                membership: membership.clone(),
                opened: true,
                standing: Standing::Sound,
            };
            let replica_state = Replica {
                disk,
                member: None,
                writes: VecDeque::new(),
                held: Vec::new(),
                reads: Vec::new(),
                role: RoleChange::default(),
                applied: Vec::new(),
                read_indexes: Vec::new(),
                commit: Index(0),
                runs: 0,
            };
            world.replicas.insert(replica, replica_state);
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
        self.replicas[&replica].member.is_some()
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
        state.commit = Index(0);
    }

    /// Opens what is on the disk.
    pub(crate) fn start(&mut self, replica: ReplicaId) {
        let (kind, limits) = (self.kind, self.limits);
        let state = self.replica(replica);
        state.runs += 1;
        let options = Options { quorum: QUORUM, replica, kind, seed: replica.0 << 32 | state.runs, limits };
        let member = Member::open(options, &state.disk.recover(replica));
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
                assert!(persist.vote.is_some() || !persist.entries.is_empty(), "an empty write");
                state.writes.push_back((persist, commit));
            }
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
            if let Some(role) = work.role {
                self.note_role(replica, role);
            }
            if self.applies_at_once {
                self.apply(replica);
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

    /// Gives a message to its addressee, if the way is open and somebody is there.
    pub(crate) fn give(&mut self, message: Message) {
        let (from, to) = (message.from, message.to);
        if !self.cuts.contains(&(from, to)) && self.is_up(to) {
            self.member(to).step(message).expect("members understand each other");
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
            entries.push(Entry { index, term, base_offset, appended_at_ms, body: Body::Data(batch) });
            base_offset = base_offset.plus(1);
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
            _ => None,
        };
        log.iter().filter(|entry| entry.index <= commit).filter_map(value).collect()
    }

    /// Puts a message on the wire, after checking that it may leave.
    fn send(&mut self, message: Message) {
        let disk = &self.replicas[&message.from].disk;
        let asks_before_the_term = matches!(
            message.kind,
            MessageKind::PreVote | MessageKind::PreVoteResponse | MessageKind::ReadIndex
        );
        if !asks_before_the_term {
            // Term 1 is that of the bootstrap: no vote of it is ever on record.
            let durable = disk.vote.term.max(Start::BOOTSTRAP.prev_term);
            assert!(message.term <= durable, "{message:?} leaves before its term is durable");
        }
        if message.kind == MessageKind::AppendResponse && !message.reject {
            assert!(message.index <= disk.last_index(), "{message:?} leaves before its entries are durable");
        }
        if message.kind == MessageKind::VoteResponse && !message.reject {
            assert_eq!(
                disk.vote.voted_for,
                Some(message.to),
                "{message:?} leaves before the vote is durable"
            );
        }
        self.wire.push(message);
    }

    fn note_committed(&mut self, replica: ReplicaId, meta: EntryMeta, body: Option<&Body>) {
        assert_eq!(body.is_none(), meta.kind == EntryKind::Data, "payloads are handed out except for data");
        let known = *self.committed.entry(meta.index).or_insert(meta);
        assert_eq!(meta, known, "replica {replica} commits another entry at {}", meta.index);
        let durable = self.replicas[&replica].disk.entry(meta.index).map(Entry::meta);
        assert_eq!(durable, Some(meta), "replica {replica} hands out an entry that is not durable");
        self.replica(replica).applied.push(meta);
    }

    fn note_role(&mut self, replica: ReplicaId, role: RoleChange) {
        assert!(role.term >= self.replicas[&replica].role.term, "the term of replica {replica} falls");
        self.replica(replica).role = role;
        if role.role != Role::Leader {
            return;
        }
        let known = *self.leaders.entry(role.term).or_insert(replica);
        assert_eq!(known, replica, "two leaders in term {}", role.term);
        let member = self.replicas[&replica].member.as_ref().expect("it leads");
        for (&index, meta) in &self.committed {
            let has_it = index <= member.last_index() && member.term_runs().term(index) == Some(meta.term);
            let trimmed = index <= member.start().prev_index;
            assert!(has_it || trimmed, "the leader of term {} lacks committed entry {index}", role.term);
        }
    }

    /// If two logs agree on an entry's index and term, they agree on it and on everything before it.
    pub(crate) fn assert_logs_match(&self) {
        let disks: Vec<&Disk> = self.replicas.values().map(|state| &state.disk).collect();
        for (at, one) in disks.iter().enumerate() {
            for other in &disks[at + 1..] {
                let mut must_agree = false;
                for entry in one.log.iter().rev() {
                    let Some(twin) = other.entry(entry.index) else { continue };
                    must_agree |= entry.term == twin.term;
                    assert!(!must_agree || entry == twin, "logs disagree at entry {}", entry.index);
                }
            }
        }
    }

    /// Every committed entry is on a majority of the voters' disks.
    pub(crate) fn assert_committed_is_on_a_majority(&self) {
        let voters = &self.replicas.values().next().expect("a replica").disk.membership.voters;
        for (&index, meta) in &self.committed {
            let has_it = |voter: &&ReplicaId| {
                let disk = &self.replicas[voter].disk;
                index <= disk.start.prev_index || disk.entry(index).map(Entry::meta) == Some(*meta)
            };
            let copies = voters.iter().filter(has_it).count();
            assert!(copies * 2 > voters.len(), "committed entry {index} is on {copies} disks only");
        }
    }
}
