//! Terms and votes are monotone, and durable before they are heard of; a term has one leader.

use super::{Published, Quorum, known};
use crate::history::Opened;
use crate::violation::{Check, Findings};
use mq_types::message::MessageKind;
use mq_types::persist::Vote;
use mq_types::{Index, ReplicaId, Term};

/// A message that leaves a replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving {
    pub(crate) from: ReplicaId,
    pub(crate) to: ReplicaId,
    pub(crate) kind: MessageKind,
    pub(crate) term: Term,
    pub(crate) index: Index,
    pub(crate) reject: bool,
}

/// Whether a vote may follow on another.
fn may_follow(before: Vote, after: Vote) -> bool {
    after.term > before.term
        || after.term == before.term && (before.voted_for.is_none() || before.voted_for == after.voted_for)
}

fn describe(vote: Vote) -> String {
    let Vote { term, voted_for } = vote;
    voted_for.map_or_else(|| format!("term {term}, no vote"), |whom| format!("term {term}, vote for {whom}"))
}

/// What comes up must be what was synced, or later.
pub(super) fn check_reopened(opened: &Opened, before: Vote, findings: &mut Findings) {
    if !may_follow(before, opened.vote) {
        let text = format!(
            "replica {} had {} on its disk and comes up with {}",
            opened.replica,
            describe(before),
            describe(opened.vote)
        );
        findings.add(Check::C15, text);
    }
}

impl Quorum {
    /// A replica's disk has synced its term and vote.
    pub(crate) fn sync_vote(&mut self, replica: ReplicaId, vote: Vote, findings: &mut Findings) {
        let Some(state) = known(&mut self.replicas, replica, findings) else { return };
        if !may_follow(state.vote, vote) {
            let text = format!("replica {replica} goes from {} to {}", describe(state.vote), describe(vote));
            findings.add(Check::C15, text);
        }
        (state.vote, state.is_blank) = (vote, false);
    }

    /// A message leaves a replica.
    pub(crate) fn send(&mut self, leaving: Leaving, findings: &mut Findings) {
        let Leaving { from, to, kind, term, index, reject } = leaving;
        let Some(state) = self.replicas.get_mut(&from) else {
            return findings.add(Check::History, format!("replica {from} was never opened"));
        };
        state.is_blank = false;
        if matches!(kind, MessageKind::PreVote | MessageKind::PreVoteResponse) {
            return; // they carry a term that nobody has taken yet
        }
        if term > state.vote.term && !state.is_nobody {
            let durable = describe(state.vote);
            let text = format!("a {kind:?} of term {term} leaves replica {from}, whose disk has {durable}");
            findings.add(Check::C15, text);
        }
        let elects = match kind {
            MessageKind::Vote => Some(from),
            MessageKind::VoteResponse if !reject => Some(to),
            _ => None,
        };
        let durable = state.vote;
        if let Some(whom) = elects {
            // A later term on the disk is as good: the replica can never vote in this one again.
            let voted = *self.votes_heard.entry((from, term)).or_insert(whom);
            let is_durable = durable.term > term || durable.term == term && durable.voted_for == Some(whom);
            if !is_durable || voted != whom {
                let durable = describe(durable);
                let text =
                    format!("replica {from} votes for {whom} in term {term}, but its disk has {durable}");
                let before =
                    if voted == whom { String::new() } else { format!(", and it voted for {voted} before") };
                findings.add(Check::C15, text + &before);
            }
        }
        // What waited until a later term's entries were durable in its place convinces nobody any more: the leader of the
        // later term was elected by those who would have to be convinced.
        let acknowledges = kind == MessageKind::AppendResponse && !reject && term >= state.vote.term;
        if acknowledges && !state.is_lost && index > state.synced {
            let durable = state.synced;
            let text =
                format!("replica {from} acknowledges entry {index}, but its disk has synced up to {durable}");
            findings.add(Check::C8, text);
        }
        if state.is_lost && (elects.is_some() || acknowledges) {
            findings.add(Check::C15, format!("replica {from} is lost, but sends a {kind:?}"));
        }
        if matches!(kind, MessageKind::Append | MessageKind::Heartbeat) {
            self.note_leader(from, term, findings);
        }
    }

    fn note_leader(&mut self, replica: ReplicaId, term: Term, findings: &mut Findings) {
        let (leader, event) = *self.leaders.entry(term).or_insert((replica, findings.event));
        if leader != replica {
            let text =
                format!("replica {replica} leads term {term}; event {event} showed {leader} as its leader");
            findings.add(Check::C15, text);
        }
    }

    /// A replica shows its readers what there is.
    pub(crate) fn publish(&mut self, published: Published, findings: &mut Findings) {
        let Published { replica, term, leader, serving, log_start, high_watermark } = published;
        let leads = serving.then_some(replica);
        if term > Term(0)
            && let Some(leader) = leads.or(leader)
        {
            self.note_leader(leader, term, findings);
        }
        if log_start > high_watermark {
            let text =
                format!("replica {replica} publishes log start {log_start} above its end {high_watermark}");
            findings.add(Check::C10, text);
        }
        let Some(state) = self.replicas.get_mut(&replica).filter(|state| !state.is_nobody) else { return };
        if let Some(before) = state.published.replace(published) {
            // One that was refused before it had a part in anything has no term.
            if term < before.term && !state.is_blank {
                findings
                    .add(Check::C15, format!("replica {replica} goes from term {} to {term}", before.term));
            }
            if high_watermark < before.high_watermark {
                let before = before.high_watermark;
                let text =
                    format!("replica {replica}: the high watermark goes from {before} to {high_watermark}");
                findings.add(Check::C8, text);
            }
            if log_start < before.log_start {
                let before = before.log_start;
                findings.add(
                    Check::C10,
                    format!("replica {replica}: the log start goes from {before} to {log_start}"),
                );
            }
        }
        if high_watermark > self.verified {
            self.verify(replica, high_watermark, findings);
        }
    }
}
