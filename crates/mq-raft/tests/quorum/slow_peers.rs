//! What a leader sends to a peer that answers late, or never, while the others go on: a window, and no more.

use crate::world::{World, id};
use mq_raft::{HEARTBEAT_TICKS, Kind, Limits};
use mq_types::message::{Message, MessageKind};
use mq_types::{Index, ReplicaId};
use std::collections::VecDeque;

/// The peer whose messages, both ways, take so many ticks.
const SLOW: ReplicaId = ReplicaId(3);
/// A batch of about so many bytes.
const BATCH_BYTES: usize = 10 << 10;
/// A sixteenth of a partition's.
const LIMITS: Limits =
    Limits { append_bytes_max: 64 << 10, retained_bytes_max: 256 << 10, ..Limits::PARTITION };

/// A quorum of three with one slow peer.
struct Slowly {
    world: World,
    now: usize,
    delay_ticks: usize,
    /// Kinds of messages from the slow peer that get lost.
    lost: Vec<MessageKind>,
    /// When they arrive, in order.
    late: VecDeque<(usize, Message)>,
    /// Entries that were sent to it and that it has not answered: the last index and the bytes of each
    /// message.
    unanswered: VecDeque<(Index, usize)>,
    sent: usize,
    sent_bytes: usize,
    unanswered_max: usize,
    unanswered_bytes_max: usize,
}

impl Slowly {
    fn of(kind: Kind, delay_ticks: usize) -> Slowly {
        let mut world = World::new(3);
        (world.kind, world.limits) = (kind, LIMITS);
        world.ids().into_iter().for_each(|replica| world.restart(replica));
        world.elect(id(1));
        world.propose(id(1), &["first"]);
        world.settle();
        Slowly {
            world,
            now: 0,
            delay_ticks,
            lost: Vec::new(),
            late: VecDeque::new(),
            unanswered: VecDeque::new(),
            sent: 0,
            sent_bytes: 0,
            unanswered_max: 0,
            unanswered_bytes_max: 0,
        }
    }

    /// Time passes while this many batches are appended in each tick, each in a message of its own.
    fn pass(&mut self, ticks: usize, batches_per_tick: usize) {
        for _ in 0..ticks {
            self.now += 1;
            self.world.ids().into_iter().for_each(|replica| self.world.member(replica).tick());
            while self.late.front().is_some_and(|late| late.0 <= self.now) {
                let (_, message) = self.late.pop_front().expect("there is one");
                self.arrive(message);
                self.settle();
            }
            for _ in 0..batches_per_tick {
                self.world.propose(id(1), &[&"x".repeat(BATCH_BYTES)]);
                self.settle();
            }
            self.settle();
            assert_eq!(self.world.leader(), Some(id(1)), "the others go on");
        }
    }

    fn settle(&mut self) {
        for _ in 0..1_000 {
            self.world.ids().into_iter().for_each(|replica| self.world.settle_one(replica));
            if self.world.wire.is_empty() {
                return;
            }
            for message in std::mem::take(&mut self.world.wire) {
                match message.from == SLOW || message.to == SLOW {
                    true => self.delay(message),
                    false => self.world.give(message),
                }
            }
        }
        panic!("the quorum never falls silent");
    }

    fn delay(&mut self, message: Message) {
        if self.lost.contains(&message.kind) {
            return;
        }
        if message.to == SLOW && message.kind == MessageKind::Append {
            let bytes = message.entries.iter().map(|entry| entry.body.len_bytes()).sum();
            let last = message.entries.last().map_or(message.index, |entry| entry.index);
            self.unanswered.extend((bytes > 0).then_some((last, bytes)));
            (self.sent, self.sent_bytes) = (self.sent + 1, self.sent_bytes + bytes);
            let unanswered_bytes = self.unanswered.iter().map(|(_, bytes)| bytes).sum();
            self.unanswered_max = self.unanswered_max.max(self.unanswered.len());
            self.unanswered_bytes_max = self.unanswered_bytes_max.max(unanswered_bytes);
        }
        self.late.push_back((self.now + self.delay_ticks, message));
    }

    fn arrive(&mut self, message: Message) {
        if message.to == id(1) && message.kind == MessageKind::AppendResponse {
            self.unanswered.retain(|(last, _)| *last > message.index);
        }
        self.world.give(message);
    }
}

/// A window of these many bytes is what `limits` allow for.
fn window_bytes(limits: Limits) -> usize {
    limits.appends_in_flight_max * limits.append_bytes_max as usize
}

#[test]
fn a_peer_that_never_answers_is_sent_one_window() {
    // A machine's leader tells of each commit by an append without entries.
    for (kind, most) in [(Kind::Partition, 32), (Kind::Machine, 64)] {
        let mut slowly = Slowly::of(kind, usize::MAX / 2);
        slowly.pass(20, 10);
        assert!(slowly.sent >= most / 2 && slowly.sent <= most, "{} messages", slowly.sent);
        assert!(slowly.sent_bytes <= window_bytes(LIMITS), "{} bytes", slowly.sent_bytes);
        let sent = slowly.sent;
        slowly.pass(50, 10);
        assert_eq!(slowly.sent, sent, "nothing more, however long the others go on");

        // The leader does not keep for it what it lacks, either: that comes from the disk. (A machine's, which has no
        // snapshot here, keeps all that the next one covers.)
        slowly.late.clear();
        slowly.delay_ticks = 0;
        slowly.pass(30, 0);
        assert!(kind == Kind::Machine || slowly.world.replica(id(1)).reads_served > 0);
        assert!(slowly.world.values(SLOW) == slowly.world.values(id(1)));
    }
}

#[test]
fn a_peer_whose_messages_were_dropped_is_sent_nothing_until_it_answers() {
    let mut slowly = Slowly::of(Kind::Partition, usize::MAX / 2);
    slowly.pass(2, 2);
    slowly.world.member(id(1)).unreachable(SLOW);
    slowly.pass(1, 1);
    let sent = slowly.sent;
    slowly.pass(50, 10);
    assert_eq!(slowly.sent, sent, "it was probed once");
}

#[test]
fn a_peer_that_answers_late_has_no_more_than_a_window_to_answer() {
    for delay_ticks in [5, 20] {
        let mut slowly = Slowly::of(Kind::Partition, delay_ticks);
        slowly.pass(150, 10);
        // A heartbeat that is answered makes room for one more: what is in the window may have been lost.
        let heartbeats = 2 * delay_ticks / HEARTBEAT_TICKS + 1;
        let most = LIMITS.appends_in_flight_max + heartbeats;
        assert!(slowly.unanswered_max <= most, "{} messages wait", slowly.unanswered_max);
        let most_bytes = window_bytes(LIMITS) + heartbeats * LIMITS.append_bytes_max as usize;
        assert!(slowly.unanswered_bytes_max <= most_bytes, "{} bytes wait", slowly.unanswered_bytes_max);
        slowly.delay_ticks = 0;
        slowly.pass(60, 0);
        assert!(slowly.world.values(SLOW) == slowly.world.values(id(1)));
    }
}

#[test]
fn a_peer_that_answers_heartbeats_alone_is_sent_one_append_for_each() {
    let mut slowly = Slowly::of(Kind::Partition, 1);
    slowly.lost.push(MessageKind::AppendResponse);
    let ticks = 150;
    slowly.pass(ticks, 10);
    let most = LIMITS.appends_in_flight_max + ticks / HEARTBEAT_TICKS;
    assert!(slowly.sent <= most, "{} messages in {ticks} ticks", slowly.sent);
    assert!(slowly.sent_bytes <= most * LIMITS.append_bytes_max as usize);
}

#[test]
fn a_window_is_of_some_megabytes() {
    assert_eq!(window_bytes(Limits::PARTITION), 32 << 20);
    assert_eq!(window_bytes(Limits::CONTROLLER), 16 << 20);
}
