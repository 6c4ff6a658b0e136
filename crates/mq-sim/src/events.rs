//! What engines say of themselves, as far as it is a marker.

use crate::sometimes;
use mq_engine::Event;
use mq_types::QuorumId;

/// Notes an engine's event.
pub(crate) fn mark(event: &Event) {
    match event {
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
