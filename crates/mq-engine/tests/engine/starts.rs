//! Start snapshots, as a peer sends them.

use crate::brokers::Cluster;
use crate::lost::heartbeat_beyond;
use crate::members::restored;
use mq_engine::{Event, Input};
use mq_types::message::{Message, MessageKind};
use mq_types::persist::{Membership, Start, StartSnapshot};
use mq_types::{BrokerId, Entry, Index, Offset, QuorumId, Term};

/// A message of this quorum's leader, but for its kind and what it carries.
fn message(cluster: &Cluster, quorum: QuorumId, term: Term, (from, to): (usize, usize)) -> Message {
    let members = cluster.members(quorum);
    let [from, to] =
        [from, to].map(|at| members.on(BrokerId(at as u32 + 1)).expect("both are members").replica);
    Message { from, term, commit: Index(0), ..heartbeat_beyond(quorum, to) }
}

/// The same with a start snapshot.
fn offer(message: Message, prev: (u64, Term), base_offset: u64, log_start: u64) -> Message {
    let start = Start {
        prev_index: Index(prev.0),
        prev_term: prev.1,
        prev_appended_at_ms: 10,
        base_offset: Offset(base_offset),
        log_start: Offset(log_start),
    };
    let voters = vec![message.from, message.to];
    let membership = Membership { conf_index: Index(1), voters, ..Membership::default() };
    let start = Some(Box::new(StartSnapshot { start, membership, machine: None }));
    Message { kind: MessageKind::Snapshot, start, ..message }
}

/// Three replicas, of which one hears nothing any more; that one, and what the leader's messages to it are like.
fn one_behind() -> (Cluster, QuorumId, usize, Message) {
    let mut cluster = Cluster::of(3);
    let quorum = cluster.create_topic(3);
    cluster.produce(quorum, 10);
    cluster.pass(500);
    let leader = cluster.leader(quorum);
    let behind = (leader + 1) % 3;
    cluster.cut.insert(behind);
    let term = cluster.brokers[leader].views[&quorum].term;
    let message = message(&cluster, quorum, term, (leader, behind));
    (cluster, quorum, behind, message)
}

fn give(cluster: &mut Cluster, to: usize, message: Message) {
    cluster.brokers[to].shards[0].inputs.push(Input::Peer(message));
    cluster.settle();
}

/// It begins with a start snapshot of a leader whose log start lies inside a segment, and has a part of that when retention
/// looks for what nobody keeps: it must not trim up to a log start that its log does not reach yet.
#[test]
fn a_log_that_does_not_reach_its_log_start_yet_is_trimmed_no_further_than_it_goes() {
    let (mut cluster, quorum, behind, message) = one_behind();
    let term = message.term;
    let mut batch = crate::shell::batch(5).into_batch();
    batch.stamp(Offset(20), term);
    let entry = Entry {
        index: Index(51),
        term,
        base_offset: Offset(20),
        appended_at_ms: 20,
        body: mq_types::Body::Data(batch),
    };
    give(&mut cluster, behind, offer(message.clone(), (50, term), 20, 45));
    let (index, log_term, commit) = (Index(50), term, entry.index);
    let append =
        Message { kind: MessageKind::Append, index, log_term, commit, entries: vec![entry], ..message };
    give(&mut cluster, behind, append);
    assert!(restored(&cluster.brokers[behind], quorum));
    cluster.pass(2_500);
    let view = &cluster.brokers[behind].views[&quorum];
    assert_eq!((view.log_start, view.high_watermark), (Offset(45), Offset(45)));
    cluster.restart(behind, |_| {});
    cluster.pass(500);
    assert_eq!(cluster.brokers[behind].views[&quorum].log_start, Offset(45));
}

/// A leader may have trimmed up to an entry, and not know yet that a later one, which orders more of the log away, is
/// committed; another leader knew.
#[test]
fn a_log_start_does_not_go_back_with_a_second_start_snapshot() {
    let (mut cluster, quorum, behind, message) = one_behind();
    let term = message.term;
    for (prev, base_offset, log_start) in [(50, 20, 45), (60, 30, 40)] {
        give(&mut cluster, behind, offer(message.clone(), (prev, term), base_offset, log_start));
    }
    let starts = |event: &&Event| matches!(event, Event::Restored { quorum: of, .. } if *of == quorum);
    assert_eq!(cluster.brokers[behind].events.iter().filter(starts).count(), 2);
    assert_eq!(cluster.brokers[behind].views[&quorum].log_start, Offset(45));
    cluster.restart(behind, |_| {});
    cluster.pass(500);
    assert_eq!(cluster.brokers[behind].views[&quorum].log_start, Offset(45));
}

#[test]
fn an_image_from_the_future_is_refused() {
    let mut cluster = Cluster::of(3);
    cluster.create_topic(3);
    let message = message(&cluster, QuorumId::CONTROLLER, Term(50), (0, 2));
    let mut image = (*cluster.image()).clone();
    image.revision = Index(5_001);
    cluster.cut.insert(2);
    let mut offered = offer(message, (5_000, Term(50)), 0, 0);
    let start = offered.start.as_mut().expect("it was just made");
    (start.machine, start.start.prev_appended_at_ms) = (Some(image.encode()), i64::MAX);
    give(&mut cluster, 2, offered);
    let refused = |event: &Event| matches!(event, Event::MessageRefused { problem, .. } if problem.contains("5001") && problem.contains("5000"));
    assert!(cluster.brokers[2].events.iter().any(refused));
}
