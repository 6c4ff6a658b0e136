//! What engines say of themselves, as far as it is a marker.

use crate::sometimes;
use mq_engine::{Effect, Event, View};
use mq_types::message::MessageKind;
use mq_types::persist::{LostReason, Standing};
use mq_types::{Message, QuorumId};
use std::collections::BTreeMap;

/// What must not be said where no disk has lost more than it may: bits flip only where that is noticed.
pub(crate) fn broken(effect: &Effect, has_lost_disk: bool) -> Option<String> {
    let Effect::Event(Event::Lost { quorum, replica, reason }) = effect else { return None };
    let is_proven = *reason == LostReason::ShorterThanAcknowledged && !has_lost_disk;
    is_proven.then(|| {
        format!("a message proves that replica {replica} of quorum {quorum} has less than it acknowledged")
    })
}

/// Notes a message that leaves.
pub(crate) fn mark_sent(message: &Message, views: &BTreeMap<QuorumId, View>) {
    if message.kind == MessageKind::TimeoutNow && is_damaged(message.quorum, views) {
        sometimes!("a damaged leader handed over");
    }
}

fn is_damaged(quorum: QuorumId, views: &BTreeMap<QuorumId, View>) -> bool {
    views.get(&quorum).is_some_and(|view| view.standing == Standing::Damaged)
}

/// Notes an engine's event.
pub(crate) fn mark(event: &Event, views: &BTreeMap<QuorumId, View>) {
    match event {
        Event::BecameLeader { quorum, .. } if is_damaged(*quorum, views) => {
            sometimes!("a damaged replica led because nobody else could");
        }
        Event::SteppedDown { .. } => sometimes!("a leader stepped down"),
        Event::Restored { .. } => sometimes!("a replica began anew where the leader's log does"),
        Event::Lost { .. } => sometimes!("a replica was lost"),
        Event::MembersChanged { quorum: QuorumId::CONTROLLER, .. } => {
            sometimes!("the members of the controller changed");
        }
        Event::MembersChanged { .. } => sometimes!("the members of a partition changed"),
        _ => {}
    }
}
