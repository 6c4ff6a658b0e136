//! Entries of a peer that order what this version cannot carry out: they never get into a log.

use crate::lost::heartbeat_beyond;
use crate::shell::Broker;
use bytes::Bytes;
use mq_engine::api::Acks;
use mq_engine::partition::Control;
use mq_engine::{Event, Input};
use mq_types::message::{Message, MessageKind};
use mq_types::{Body, Entry, Index, Offset, QuorumId, Term};

/// An append to this log, from a leader of a later term.
fn append(broker: &Broker, quorum: QuorumId, body: Body) -> Message {
    let stored = broker.stored(quorum);
    let last = stored.entries.last().expect("a leader's first entry");
    let (index, log_term, term) = (last.index, last.term, Term(50));
    let entry = Entry {
        index: index.next(),
        term,
        base_offset: last.meta().end_offset(),
        appended_at_ms: last.appended_at_ms,
        body,
    };
    Message {
        kind: MessageKind::Append,
        index,
        log_term,
        commit: index.next(),
        entries: vec![entry],
        ..heartbeat_beyond(quorum, stored.replica)
    }
}

/// Why the message was refused; `None`: its entries were taken.
fn refused(broker: &mut Broker, quorum: QuorumId, body: Body) -> Option<String> {
    let last_index = |broker: &Broker| broker.stored(quorum).entries.last().map(|entry| entry.index);
    let before = last_index(broker);
    let message = append(broker, quorum, body);
    let shard = usize::from(quorum.shard(2).0);
    broker.shards[shard].inputs.push(Input::Peer(message));
    broker.settle();
    let problem = broker.events.drain(..).find_map(|event| match event {
        Event::MessageRefused { problem, .. } => Some(problem),
        _ => None,
    });
    assert_eq!(problem.is_some(), last_index(broker) == before, "{problem:?}");
    problem
}

#[test]
fn orders_that_cannot_be_carried_out_are_refused_before_they_are_appended() {
    let mut broker = Broker::founded(2);
    let quorum = broker.create_topic("a", 2, &[])[1];
    broker.produce(quorum, 5, Acks::Quorum);
    broker.settle();
    let unknown = Body::Control(Bytes::new());
    let why = refused(&mut broker, quorum, unknown).expect("an order of a newer version");
    assert!(why.contains("start a newer mq"), "{why}");
    let order = |offset| Body::Control(Control::SetLogStart { offset: Offset(offset) }.encode());
    let why = refused(&mut broker, quorum, order(6)).expect("records that do not exist");
    assert!(why.contains("ends at 5"), "{why}");
    let unknown = Body::Command(Bytes::from_static(b"?"));
    let why = refused(&mut broker, QuorumId::CONTROLLER, unknown).expect("a command of a newer version");
    assert!(why.starts_with("its entry"), "{why}");
    assert!(broker.stored(quorum).entries.last().is_some_and(|entry| entry.index > Index(2)));
    assert_eq!(refused(&mut broker, quorum, order(5)), None);
    assert_eq!(broker.views[&quorum].log_start, Offset(5));
}
