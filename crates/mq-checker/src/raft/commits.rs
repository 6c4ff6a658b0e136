//! What is committed stays so: on a majority's disks, the same everywhere, and in the log of every later leader.

use super::log::ReplicaLog;
use super::{Quorum, known};
use crate::violation::{Check, Findings};
use mq_types::persist::Membership;
use mq_types::{Index, Offset, ReplicaId, Term};
use std::ops::Bound;

/// How many of the newest memberships may have been in force when an entry was committed: a change takes effect when
/// it is applied, which may be after entries behind it were committed, and a joint change has two steps.
const MEMBERSHIPS_IN_QUESTION: usize = 3;

/// The term of an index in runs that say where each term begins.
pub(super) fn term_in(runs: &[(Index, Term)], index: Index) -> Option<Term> {
    let after = runs.partition_point(|run| run.0 <= index);
    after.checked_sub(1).map(|run| runs[run].1)
}

/// A term's first entry shows the log that its leader began with: everything committed in earlier terms is in it.
pub(super) fn check_new_term(
    quorum: &Quorum,
    term: Term,
    first: Index,
    previous: Term,
    findings: &mut Findings,
) {
    let earlier = quorum.committed_by.iter().rev().find(|(_, by)| *by < term);
    let Some(&(last, _)) = earlier else { return };
    let Some(last_term) = term_in(&quorum.committed_runs, last) else { return };
    check_complete(quorum, (term, first, previous), (last, last_term), findings);
}

/// Leader completeness: the log of `term`, which begins at `first` behind an entry of `previous`, holds what was
/// committed in an earlier term (by whose leader, not: of which term the entry is).
fn check_complete(
    quorum: &Quorum,
    (term, first, previous): (Term, Index, Term),
    (committed, committed_term): (Index, Term),
    findings: &mut Findings,
) {
    let found = quorum.terms.term_below(previous, committed);
    if first <= committed || found.is_some_and(|found| found != committed_term) {
        let leader =
            quorum.leaders.get(&term).map_or_else(String::new, |leader| format!(" (leader {})", leader.0));
        let event = quorum.committed_event;
        let text = format!(
            "term {term}{leader} begins at entry {first}, behind one of term {previous}, and so lacks entry \
             {committed} of term {committed_term}, which is committed (event {event} or before)"
        );
        findings.add(Check::C15, text);
    }
}

impl Quorum {
    /// A replica takes everything up to here for committed.
    pub(crate) fn commit(&mut self, replica: ReplicaId, through: Index, findings: &mut Findings) {
        let Some(state) = known(&mut self.replicas, replica, findings) else { return };
        if through <= state.log.prev_index {
            return; // a start stands for it
        }
        let Some(term) = state.log.term(through) else {
            let last = state.log.last;
            let text =
                format!("replica {replica} takes entry {through} for committed; its log ends at {last}");
            findings.add(Check::C15, text);
            return;
        };
        let shared = through.min(self.committed);
        let (mine, theirs) = (state.log.term(shared), term_in(&self.committed_runs, shared));
        if let (Some(mine), Some(theirs)) = (mine, theirs)
            && shared > state.log.prev_index
            && mine != theirs
        {
            let event = self.committed_event;
            let text = format!(
                "replica {replica} takes entry {shared} of term {mine} for committed; it is committed in term \
                 {theirs} (event {event} or before)"
            );
            findings.add(Check::C15, text);
            return;
        }
        if through <= self.committed {
            return;
        }
        if !self.majority_has(through, term) {
            let text = format!(
                "replica {replica} takes entry {through} of term {term} for committed, but no majority has it \
                 durably: {}",
                self.describe_disks(through, term)
            );
            findings.add(Check::C8, text);
        }
        self.extend_committed(replica, through, findings);
    }

    /// Takes over the terms of what is newly committed, and looks whether a later leader lacks it.
    fn extend_committed(&mut self, replica: ReplicaId, through: Index, findings: &mut Findings) {
        let from = self.committed;
        let Some(state) = self.replicas.get(&replica) else { return };
        // Whoever committed it led this term or an earlier one.
        let by = state.vote.term.max(state.published.map_or(Term(0), |published| published.term));
        match self.committed_by.last_mut().filter(|last| last.1 == by) {
            Some(last) => last.0 = through,
            None => self.committed_by.push((through, by)),
        }
        let first_run = state.log.runs().partition_point(|run| run.0 <= from.next()).saturating_sub(1);
        let new_runs: Vec<(Index, Term)> =
            state.log.runs()[first_run..].iter().copied().take_while(|run| run.0 <= through).collect();
        (self.committed, self.committed_event) = (through, findings.event);
        if state.log.prev_index > from.next() {
            self.committed_runs.clear(); // what lies between is not known
        }
        for (place, (first, term)) in new_runs.iter().enumerate() {
            if self.committed_runs.last().is_none_or(|run| run.1 < *term) {
                self.committed_runs.push(((*first).max(from.next()), *term));
            }
            let last = new_runs.get(place + 1).map_or(through, |next| next.0.previous());
            if last <= from {
                continue;
            }
            for (later, log) in self.terms.terms.range((Bound::Excluded(by.max(*term)), Bound::Unbounded)) {
                check_complete(self, (*later, log.first, log.previous), (last, *term), findings);
            }
        }
    }

    /// A replica publishes a high watermark above all that were published before.
    pub(super) fn verify(&mut self, replica: ReplicaId, high_watermark: Offset, findings: &mut Findings) {
        let log = &self.replicas[&replica].log;
        let Some(index) = self.entry_reaching(log, high_watermark) else {
            let text =
                format!("replica {replica} publishes high watermark {high_watermark}, its log ends before");
            findings.add(Check::C8, text);
            return;
        };
        let term = log.term(index).expect("it was found there");
        if !log.has_durable(index, term) || !self.majority_has(index, term) {
            let text = format!(
                "replica {replica} publishes high watermark {high_watermark}, but entry {index} of term {term}, \
                 which ends there, is not durable both with it and with a majority: {}",
                self.describe_disks(index, term)
            );
            findings.add(Check::C8, text);
        }
        self.verified = high_watermark; // said once
    }

    /// The first entry of a log that ends at or above this offset; the entry before the log if only that can.
    fn entry_reaching(&self, log: &ReplicaLog, end: Offset) -> Option<Index> {
        let reaches = |index: Index| {
            let term = log.term(index)?;
            self.terms.end_offset(index, term).map(|its_end| its_end >= end)
        };
        if log.last == log.prev_index {
            return Some(log.prev_index); // a start snapshot stands for all of it
        }
        if reaches(log.last) != Some(true) {
            return None;
        }
        let (mut below, mut at) = (log.prev_index, log.last);
        while below.next() < at {
            let middle = Index(below.0.midpoint(at.0));
            if reaches(middle) == Some(true) {
                at = middle;
            } else {
                below = middle;
            }
        }
        Some(at)
    }

    /// Whether a majority of those who could decide has this entry on disk.
    fn majority_has(&self, index: Index, term: Term) -> bool {
        let has = |voters: &[ReplicaId]| {
            let count = voters.iter().filter(|voter| self.disk_has(**voter, index, term)).count();
            voters.is_empty() || count > voters.len() / 2
        };
        let decides = |membership: &Membership| has(&membership.voters) && has(&membership.voters_outgoing);
        let mut newest = self.memberships.values().rev().take(MEMBERSHIPS_IN_QUESTION);
        self.memberships.is_empty() || newest.any(|(membership, _)| decides(membership))
    }

    fn disk_has(&self, replica: ReplicaId, index: Index, term: Term) -> bool {
        self.replicas.get(&replica).is_some_and(|state| state.log.has_durable(index, term))
    }

    fn describe_disks(&self, index: Index, term: Term) -> String {
        let Some((membership, _)) = self.memberships.values().next_back() else { return String::new() };
        let mut voters: Vec<ReplicaId> = membership.voters.clone();
        voters.extend(&membership.voters_outgoing);
        let one = |voter: &ReplicaId| {
            let has = if self.disk_has(*voter, index, term) { "has it" } else { "has not" };
            let durable = self.replicas.get(voter).map_or(Index(0), |state| state.log.durable);
            format!("{voter} {has} (durable up to {durable})")
        };
        voters.iter().map(one).collect::<Vec<String>>().join(", ")
    }
}
