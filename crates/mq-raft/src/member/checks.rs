//! What a member insists on: of its peers with an error, of its owner with an assertion.

use super::Member;
use crate::convert::Tip;
use crate::incoming::{self, Malformation, StepError};
use mq_types::message::MessageKind;
use mq_types::{Body, Entry, Message};

/// What it insists on.
impl Member {
    pub(super) fn check(&self, message: &Message) -> Result<(), StepError> {
        let Message { quorum, from, to, kind, .. } = *message;
        if (quorum, to) != (self.options.quorum, self.options.replica) {
            return Err(StepError::OtherAddressee { to, quorum });
        }
        if incoming::is_response(kind) && self.node.raft.prs().get(from.0).is_none() {
            return Err(StepError::UnknownMember { from });
        }
        let malformed = |malformation| StepError::Malformed { from, malformation };
        incoming::check_form(message, self.options.kind).map_err(malformed)?;
        // While the log is being replaced, nothing is heeded that could go on from it.
        if !self.is_restoring() {
            self.check_continuity(message).map_err(malformed)?;
        }

        let last_index = self.last_index();
        if kind == MessageKind::Heartbeat && message.commit > last_index {
            return Err(StepError::ShorterThanAcknowledged { acknowledged: message.commit, last_index });
        }
        let answered = message.index.max(message.reject_hint);
        let mine = self.is_leader() && message.term == self.term();
        if kind == MessageKind::AppendResponse && mine && answered > last_index {
            return Err(malformed(Malformation::NeverSent(answered)));
        }
        Ok(())
    }

    pub(super) fn assert_they_go_on(&self, entries: &[Entry]) {
        let (mut index, mut tip, term) = (self.last_index(), self.tip(), self.term());
        for entry in entries {
            index = index.next();
            assert_eq!(entry.index, index, "a proposed entry leaves a gap");
            assert_eq!(entry.term, term, "proposed entry {index} is of another term");
            assert_eq!(entry.base_offset, tip.next_offset, "proposed entry {index} leaves a gap in offsets");
            assert!(
                entry.appended_at_ms >= tip.last_appended_at_ms,
                "proposed entry {index} is older than the last"
            );
            match &entry.body {
                Body::Data(batch) => {
                    assert_eq!(batch.base_offset(), entry.base_offset, "entry {index} is not stamped");
                }
                Body::Control(_) | Body::Command(_) => {}
                Body::NoOp | Body::Membership(_) => {
                    panic!("entry {index}: only Raft proposes {:?}", entry.body.kind())
                }
            }
            tip = Tip::after(&entry.meta());
        }
    }
}
