//! Messages of peers to a live engine: of all kinds, with terms, indexes and entries that are right, nearly right or
//! wrong, with changes of the members and start snapshots, between which it is given work, loses power, or hears from
//! peers that keep to the protocol.
//!
//! Whatever they say, nothing panics, what was committed here is never another, and afterwards the partition still
//! elects its leader and appends; or the replica says that it is lost, as a message can prove to it; or it has no vote
//! any more, as the members can decide.

use crate::input::Input;
use crate::live_broker::{Broker, FIRST_TERM, HERE, PARTITION, PEERS, batch};
use bytes::Bytes;
use mq_engine::api::{Error, Outcome, Reply};
use mq_engine::partition::Control;
use mq_engine::{RequestId, View};
use mq_log::ReadError;
use mq_types::message::{Message, MessageKind};
use mq_types::persist::{Membership, Standing, Start, StartSnapshot};
use mq_types::{Batch, Body, Entry, Index, Offset, QuorumId, ReplicaId, Term};
use std::collections::BTreeMap;

/// Things that happen to one broker.
const STEPS_MAX: usize = 60;
/// Entries of one message.
const ENTRIES_MAX: usize = 4;
/// So many ticks are enough for an election among three of whom two do as they are asked.
const ELECTION_TICKS_MAX: usize = 120;
/// The last offset that a record can have.
const OFFSET_MAX: u64 = i64::MAX as u64 - 1;
/// So many are enough to answer a request: what was lost on the way is found with a heartbeat.
const ANSWER_TICKS_MAX: usize = 10;
/// How many messages are kept for peers that answer late.
const SENT_MAX: usize = 100;
const CONTEXT_BYTES: usize = 24;
/// Changes of single members in one entry.
const CHANGES_MAX: usize = 4;
/// Who may be a member.
const REPLICAS: [ReplicaId; 5] = [HERE, PEERS[0], PEERS[1], ReplicaId(4 << 32 | 2), ReplicaId(9 << 32 | 2)];

/// All kinds there are. A new one is only added here, and to the answers of [`answer`] if it asks something.
const KINDS: [MessageKind; 12] = [
    MessageKind::Append,
    MessageKind::AppendResponse,
    MessageKind::Heartbeat,
    MessageKind::HeartbeatResponse,
    MessageKind::PreVote,
    MessageKind::PreVoteResponse,
    MessageKind::Vote,
    MessageKind::VoteResponse,
    MessageKind::TimeoutNow,
    MessageKind::ReadIndex,
    MessageKind::ReadIndexResponse,
    MessageKind::Snapshot,
];

/// A broker, and what it has shown.
struct Run {
    broker: Broker,
    /// The batches that could be read below the high watermark.
    committed: BTreeMap<Offset, Batch>,
    high_watermark: Offset,
    asked: BTreeMap<RequestId, u64>,
    number: u64,
}

/// Checks everything that holds whatever peers say.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let mut run = Run {
        broker: Broker::start(),
        committed: BTreeMap::new(),
        high_watermark: Offset(0),
        asked: BTreeMap::new(),
        number: 1_000,
    };
    run.observe();
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        run.step(&mut input);
        run.observe();
    }
    run.broker.settle();
    run.observe();
    run.still_works();
}

/// Inputs to begin with: each kind of message, alone and to a leader; and noise.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new()];
    // It is told to campaign, and elected.
    let elect: &[u8] = &[0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 14, 14, 14, 14, 10, 14];
    for kind in 0..KINDS.len() as u8 {
        for variant in [0, 0x55, 0xC0, 0xFF] {
            let message = [&[0, kind][..], &[0, variant, variant, variant, 2, 0, variant, 0, 0, 0]].concat();
            seeds.push([&message[..], &[13, 2, 14]].concat());
            seeds.push([elect, &message, &[10, 12, 14, 13, 2]].concat());
        }
    }
    // An append with a change of the members, which commits it: to leave what may not be joint, to add one, to let go of
    // one, of this one, and of two jointly.
    let changes: [&[u8]; 5] =
        [&[0, 0], &[1, 0, 3, 2, 0], &[1, 0, 1, 1, 0], &[1, 0, 0, 1, 0], &[2, 0, 0, 1, 3, 0, 2]];
    for change in changes {
        let append = [&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4], change, &[0, 0, 0]].concat();
        seeds.push([&append[..], &[13, 31, 14, 13, 31, 14]].concat());
        seeds.push([&append[..], &[15], &append, &append, elect, &[10, 14, 13, 5, 14]].concat());
    }
    // A start snapshot a little beyond the log, with the members that there are, others, or without this one.
    for members in
        [&[0, 0][..], &[0, 100, 7, 8, 0, 0, 0], &[0, 100, 3, 4, 24, 16, 0], &[0, 100, 6, 0, 0, 0, 0]]
    {
        let start = [&[0, 11, 0, 0, 0, 200, 0, 0, 0, 0, 200, 0, 200, 0], members].concat();
        seeds.push([&start[..], &[13, 31, 14, 13, 31, 14]].concat());
        seeds.push([&start[..], &[15], elect, &[10, 14], &start].concat());
    }
    let noise = |seed: u32| (0..400_u32).map(move |at| ((at + seed).wrapping_mul(0x9E37_79B9) >> 24) as u8);
    seeds.extend((0..6).map(|seed| noise(seed * 1_000).collect()));
    seeds
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            at @ 0..=9 => {
                let message = self.message(input);
                self.broker.peer(message);
                match at % 3 {
                    0 => self.broker.settle(),
                    1 => self.broker.turn(),
                    _ => {}
                }
            }
            10 => self.produce(),
            11 => self.broker.turn(),
            12 => self.broker.sync(),
            13 => (0..=input.u8() % 32).for_each(|_| self.broker.tick()),
            14 => self.peers_answer(),
            _ => {
                self.broker.crash();
                self.asked.clear();
                // Only while a process lives do offsets that readers see never go back; and what it does not know to
                // be committed, peers that lie can replace.
                self.high_watermark = self.broker.view().high_watermark;
                self.committed.retain(|_, batch| batch.end_offset() <= self.high_watermark);
            }
        }
        let too_many = self.broker.sent.len().saturating_sub(SENT_MAX);
        self.broker.sent.drain(..too_many);
    }

    fn produce(&mut self) {
        self.number += 1;
        let id = self.broker.produce(self.number);
        self.asked.insert(id, self.number);
    }

    /// The peers do what they are asked in all messages since they did so last.
    fn peers_answer(&mut self) {
        for message in std::mem::take(&mut self.broker.sent) {
            if let Some(answer) = answer(message) {
                self.broker.peer(answer);
            }
        }
        self.broker.settle();
    }

    /// What readers see goes on from what they saw, and what was acknowledged is in it.
    fn observe(&mut self) {
        let View { mut log_start, high_watermark, .. } = *self.broker.view();
        assert!(high_watermark >= self.high_watermark, "{high_watermark} after {}", self.high_watermark);
        self.high_watermark = high_watermark;
        let mut found = BTreeMap::new();
        let mut next = log_start;
        while next < high_watermark {
            let read = match self.broker.reader().read(next, high_watermark, 1 << 20) {
                // The log has begun anew on the disk, and the engine's next turn says so.
                Err(ReadError::BelowStart { log_start: start }) if start > log_start => {
                    (log_start, next) = (start, start);
                    found.clear();
                    continue;
                }
                read => read.expect("what readers may see can be read"),
            };
            assert!(read.next_offset > next, "nothing can be read at {next}");
            next = read.next_offset;
            found.extend(read.batches.into_iter().map(|batch| (batch.base_offset(), batch)));
        }
        for (offset, batch) in &self.committed {
            let is_same = found.get(offset) == Some(batch);
            let is_beyond = batch.end_offset() > high_watermark || batch.end_offset() <= log_start;
            assert!(is_same || is_beyond, "another batch is committed at {offset}");
        }
        self.committed.extend(found);
        for (id, outcome) in std::mem::take(&mut self.broker.replies) {
            let Some(number) = self.asked.remove(&id) else { continue };
            let Ok(Reply::Produced(produced)) = outcome else { continue };
            let offset = produced.base_offset.expect("it is the acknowledgement of a record");
            let expected = batch(offset, produced.term, number);
            let is_there = self.committed.get(&offset) == Some(&expected);
            assert!(is_there || offset < log_start, "record {number} was acknowledged at {offset}");
        }
    }

    /// From now on the peers keep to the protocol, and grant whatever is asked: a record is appended in the end.
    fn still_works(&mut self) {
        self.broker.sent.clear();
        let mut outcome = None;
        for _ in 0..ELECTION_TICKS_MAX {
            self.broker.tick();
            self.peers_answer();
            self.observe();
            if self.broker.view().serving {
                outcome = Some(self.produce_with_peers());
                self.observe();
            }
            if outcome.as_ref().is_some_and(Result::is_ok) {
                return;
            }
        }
        if !self.broker.votes() {
            return;
        }
        let is_lost = matches!(self.broker.view().standing, Standing::Lost(_));
        assert!(is_lost && outcome.is_none(), "{outcome:?}, {:?}", self.broker.view());
        let outcome = self.produce_with_peers();
        assert!(matches!(outcome, Err(Error::NoLeader { .. })), "{outcome:?}");
    }

    fn produce_with_peers(&mut self) -> Outcome {
        self.number += 1;
        let id = self.broker.produce(self.number);
        for _ in 0..ANSWER_TICKS_MAX {
            self.broker.tick();
            self.peers_answer();
        }
        self.broker.replies.remove(&id).expect("it is answered")
    }

    /// A message, as the input has it: what it says is near the truth unless a byte says otherwise.
    fn message(&self, input: &mut Input<'_>) -> Message {
        let kind = *input.one_of(&KINDS);
        let (to, quorum) = match input.u8() {
            255 => (PEERS[0], PARTITION),
            254 => (HERE, QuorumId(1027)),
            _ => (HERE, PARTITION),
        };
        let from = *input.one_of(&[PEERS[0], PEERS[1], PEERS[0], PEERS[1], HERE, ReplicaId(9 << 32 | 2)]);
        let term = match kind {
            MessageKind::ReadIndex if input.u8() < 240 => Term(0),
            _ => Term(near(self.broker.view().term.0.max(FIRST_TERM.0), input)),
        };
        let index = Index(near(self.broker.last_index().0, input));
        let log_term = match input.u8() {
            byte @ 240.. => Term(near(u64::from(byte), input)),
            _ => self.term_at(index).unwrap_or(term),
        };
        let entries = match kind {
            MessageKind::Append => self.entries(index, log_term, term, input),
            _ if input.u8() == 255 => self.entries(index, log_term, term, input),
            _ => Vec::new(),
        };
        let flags = input.u8();
        let commit = Index(near(index.0.saturating_add(entries.len() as u64), input));
        let context = self.context(kind, flags, input);
        let has_start = (kind == MessageKind::Snapshot) != (flags & 0x30 == 0x30);
        let start = has_start.then(|| Box::new(self.start_snapshot(index, log_term, input)));
        Message {
            quorum,
            from,
            to,
            kind,
            term,
            index,
            log_term,
            commit,
            commit_term: self.term_at(commit).unwrap_or(term),
            entries,
            reject: flags & 1 != 0,
            reject_hint: if flags & 2 != 0 { Index(near(index.0, input)) } else { Index(0) },
            context,
            priority: i64::from(flags as i8 >> 6),
            start,
        }
    }

    /// A start snapshot as of this entry, be it here or not.
    fn start_snapshot(&self, prev_index: Index, prev_term: Term, input: &mut Input<'_>) -> StartSnapshot {
        let entry = self.broker.entries.iter().rev().find(|entry| entry.index <= prev_index);
        let end = entry.map_or(self.broker.start.base_offset, mq_types::EntryMeta::end_offset);
        let base_offset = Offset(near(end.0, input));
        let start = Start {
            prev_index,
            prev_term,
            prev_appended_at_ms: near(10, input) as i64,
            base_offset,
            log_start: Offset(near(base_offset.0, input)),
        };
        let machine = (input.u8() == 255).then(|| Bytes::from_static(b"a machine's"));
        StartSnapshot { start, membership: self.members(prev_index, input), machine }
    }

    /// The members that there are here, or others.
    fn members(&self, prev_index: Index, input: &mut Input<'_>) -> Membership {
        let known = &self.broker.members;
        let conf_index = Index(near(prev_index.0.min(known.conf_index.0), input));
        if input.u8() < 96 {
            return Membership { conf_index, ..known.clone() };
        }
        let mut some = || -> Vec<ReplicaId> {
            let which = input.u8();
            REPLICAS
                .into_iter()
                .enumerate()
                .filter(|(at, _)| which & 1 << at != 0)
                .map(|(_, id)| id)
                .collect()
        };
        let mut members = Membership {
            conf_index,
            voters: some(),
            learners: some(),
            voters_outgoing: some(),
            learners_next: some(),
            auto_leave: false,
        };
        let flaws = input.u8();
        if flaws < 192 {
            // As they can be: who votes does not learn.
            let Membership { voters, learners, voters_outgoing, learners_next, .. } = &mut members;
            learners.retain(|id| !voters.contains(id) && !voters_outgoing.contains(id));
            learners_next.retain(|id| voters_outgoing.contains(id) && !voters.contains(id));
        }
        members.auto_leave = flaws == 255;
        members
    }

    /// A change of the members, as the Raft library writes it; empty: leave the joint configuration.
    fn change(input: &mut Input<'_>) -> Bytes {
        let count = input.below(CHANGES_MAX + 1);
        let mut bytes = Vec::new();
        for _ in 0..count {
            let replica = input.one_of(&REPLICAS).0;
            let kind = input.u8() % 4; // the last one is none
            let mut change = vec![8, kind, 16];
            // A number of seven bits a byte, the lowest first.
            change.extend((0..10).map(|at| (replica >> (7 * at)) as u8 & 0x7F | u8::from(at < 9) << 7));
            bytes.extend([&[18, change.len() as u8], &change[..]].concat());
        }
        if count > 0 {
            bytes.extend([8, input.u8() % 4]); // how: simply, or jointly
        }
        if input.u8() == 255 {
            bytes.extend_from_slice(input.bytes(3));
        }
        bytes.into()
    }

    fn term_at(&self, index: Index) -> Option<Term> {
        self.broker.entries.iter().find(|entry| entry.index == index).map(|entry| entry.term)
    }

    /// Entries that go on from each other and from what is here, but for what the input breaks.
    fn entries(&self, index: Index, log_term: Term, term: Term, input: &mut Input<'_>) -> Vec<Entry> {
        let before = self.broker.entries.iter().find(|entry| entry.index == index);
        let mut next_offset = before.map_or(Offset(0), mq_types::EntryMeta::end_offset);
        let mut at_ms = before.map_or(10, |entry| entry.appended_at_ms);
        let mut entries = Vec::new();
        for number in 0..input.below(ENTRIES_MAX + 1) as u64 {
            let flaw = input.u8();
            let mut index = Index(index.0.wrapping_add(1 + number));
            let mut entry_term = if flaw & 1 == 0 { term } else { log_term };
            let mut base_offset = next_offset;
            let mut stamped_at = base_offset;
            match flaw {
                248 => index = Index(near(index.0, input)),
                249 => entry_term = Term(near(term.0, input)),
                250 => base_offset = Offset(near(base_offset.0, input)),
                251 => stamped_at = Offset(near(base_offset.0, input).min(OFFSET_MAX)),
                252 => at_ms = near(at_ms as u64, input) as i64,
                253 => at_ms = i64::MAX,
                254 => (base_offset, stamped_at) = (Offset(OFFSET_MAX), Offset(OFFSET_MAX)),
                _ => {}
            }
            let body = self.body(stamped_at, entry_term, input);
            let entry = Entry { index, term: entry_term, base_offset, appended_at_ms: at_ms, body };
            next_offset =
                Offset(entry.base_offset.0.saturating_add(u64::from(entry.body.span())).min(OFFSET_MAX));
            entries.push(entry);
        }
        entries
    }

    fn body(&self, base_offset: Offset, term: Term, input: &mut Input<'_>) -> Body {
        match input.u8() % 16 {
            0 => Body::NoOp,
            1 => {
                let offset = Offset(near(self.high_watermark.0, input));
                Body::Control(Control::SetLogStart { offset }.encode())
            }
            2 => {
                let count = input.below(20);
                Body::Control(Bytes::copy_from_slice(input.bytes(count)))
            }
            3 => Body::Command(Bytes::from_static(b"a machine's")),
            4 | 5 => Body::Membership(Run::change(input)),
            number => Body::Data(batch(base_offset, term, u64::from(number))),
        }
    }

    /// A context: of a message that was sent here or from here, or of the right form, or of any.
    fn context(&self, kind: MessageKind, flags: u8, input: &mut Input<'_>) -> Bytes {
        let is_read = matches!(kind, MessageKind::ReadIndex | MessageKind::ReadIndexResponse);
        let known = self.broker.sent.iter().rev().map(|message| &message.context);
        match (flags >> 2) % 4 {
            0 => match known.into_iter().find(|context| !context.is_empty()) {
                Some(context) => context.clone(),
                None if is_read => Bytes::from_static(&[1; CONTEXT_BYTES]),
                None => Bytes::new(),
            },
            1 if is_read => {
                let replica = input.one_of(&[HERE, PEERS[0]]).0;
                let parts = [replica, 1, u64::from(input.u8())];
                parts.iter().flat_map(|part| part.to_le_bytes()).collect()
            }
            2 => {
                let count = input.below(40);
                Bytes::copy_from_slice(input.bytes(count))
            }
            _ => Bytes::new(),
        }
    }
}

/// A number near this one, most of the time; otherwise a small or an absurd one.
fn near(number: u64, input: &mut Input<'_>) -> u64 {
    match input.u8() {
        0..96 => number,
        96..160 => number.saturating_add(1),
        160..192 => number.saturating_sub(1),
        byte @ 192..216 => number.saturating_add(u64::from(byte - 190)),
        byte @ 216..240 => number.saturating_sub(u64::from(byte - 214)),
        byte @ 240..248 => u64::from(byte - 240),
        248..252 => u64::from(input.u16()),
        252 | 253 => input.u64() | 1 << 63,
        254 => u64::MAX - 1,
        255 => u64::MAX,
    }
}

/// What a peer answers that has everything and agrees to everything.
fn answer(message: Message) -> Option<Message> {
    let Message { from, to, kind, term, index, .. } = message;
    let restored = message.start.as_ref().map(|offered| offered.start.prev_index);
    let matched = restored.unwrap_or(Index(index.0 + message.entries.len() as u64));
    let kind = match kind {
        MessageKind::Append | MessageKind::Snapshot => MessageKind::AppendResponse,
        MessageKind::Heartbeat => MessageKind::HeartbeatResponse,
        MessageKind::PreVote => MessageKind::PreVoteResponse,
        MessageKind::Vote => MessageKind::VoteResponse,
        _ => return None,
    };
    let index = if kind == MessageKind::AppendResponse { matched } else { Index(0) };
    Some(Message {
        from: to,
        to: from,
        kind,
        term,
        index,
        log_term: Term(0),
        commit: message.commit.min(matched),
        commit_term: Term(0),
        entries: Vec::new(),
        reject: false,
        reject_hint: Index(0),
        start: None,
        ..message
    })
}
