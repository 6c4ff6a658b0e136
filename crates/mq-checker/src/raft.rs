//! C15, and C8 as far as disks know: one quorum's leaders, logs, terms, votes and members.
//!
//! It is only as strong as what is recorded; a quorum of which no replica was ever recorded is not judged.

mod commits;
mod log;
mod votes;

use crate::history::{EntryFact, Opened};
use crate::violation::{Check, Findings};
use log::{Noted, ReplicaLog, TermLogs};
use mq_types::persist::{Membership, Standing, Start, Vote};
use mq_types::{Index, Offset, ReplicaId, Term};
use std::collections::BTreeMap;
pub(crate) use votes::Leaving;

/// One replica.
#[derive(Debug)]
struct Replica {
    /// As it was handed to its disk.
    log: ReplicaLog,
    /// The last index that its disk has synced, cut since or not: the cut is not durable yet.
    synced: Index,
    /// What its disk has synced.
    vote: Vote,
    /// It neither votes nor acknowledges.
    is_lost: bool,
    is_removed: bool,
    /// It has written and said nothing since it was made: it has promised nothing.
    is_blank: bool,
    /// All that it had is gone: what is heard under its id since is nobody's.
    is_nobody: bool,
    /// The index of the membership entry that it applied last.
    conf_index: Index,
    /// What it published since it was opened.
    published: Option<Published>,
}

/// What a replica shows its readers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    pub(crate) replica: ReplicaId,
    pub(crate) term: Term,
    pub(crate) leader: Option<ReplicaId>,
    pub(crate) serving: bool,
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
}

/// One quorum.
#[derive(Debug, Default)]
pub(crate) struct Quorum {
    terms: TermLogs,
    replicas: BTreeMap<ReplicaId, Replica>,
    /// Who led each term, and the event that showed it.
    leaders: BTreeMap<Term, (ReplicaId, u32)>,
    /// For whom each replica was heard to vote in each term.
    votes_heard: BTreeMap<(ReplicaId, Term), ReplicaId>,
    /// All memberships that were in force, by the index that made them so, with the event that showed it.
    memberships: BTreeMap<Index, (Membership, u32)>,
    /// What was committed: where each term of it begins, and its last entry.
    committed_runs: Vec<(Index, Term)>,
    /// Up to where everything was committed by the leader of this term or an earlier one.
    committed_by: Vec<(Index, Term)>,
    committed: Index,
    committed_event: u32,
    /// The highest high watermark of which a majority was seen to have everything, and the event.
    verified: Offset,
}

impl Quorum {
    /// The highest high watermark that may be shown; `None`: nothing is known of this quorum's disks.
    pub(crate) fn high_watermark_max(&self) -> Option<Offset> {
        (!self.replicas.is_empty()).then_some(self.verified)
    }

    /// A replica comes up.
    pub(crate) fn open(&mut self, opened: &Opened, findings: &mut Findings) {
        let is_lost = matches!(opened.standing, Standing::Lost(_) | Standing::Gone);
        // One that has promised nothing may be made again, from the beginning or as it should have been then.
        if let Some(before) = self.replicas.get(&opened.replica).filter(|before| !before.is_blank) {
            if before.is_nobody {
                return;
            }
            if before.is_removed {
                let text = format!("replica {} was removed and is back under the same id", opened.replica);
                findings.add(Check::C15, text);
            }
            if before.is_lost && !is_lost {
                let text = format!("replica {} was lost and is back under the same id", opened.replica);
                findings.add(Check::C15, text);
            }
            if !is_lost {
                votes::check_reopened(opened, before.vote, findings);
            }
        }
        let runs: Vec<(Index, Term)> =
            opened.term_runs.runs().iter().map(|run| (run.first_index, run.term)).collect();
        let was_blank = self.replicas.get(&opened.replica).is_none_or(|before| before.is_blank);
        let is_blank = was_blank && opened.last_index == opened.start.prev_index;
        self.forget_terms_led_alone(opened);
        self.check_recovered(opened.replica, &runs, opened.last_index, findings);
        if let Some(before) = self.replicas.get_mut(&opened.replica).filter(|_| is_lost) {
            // What it had durably until then counts: others may learn of it later.
            (before.is_lost, before.published) = (true, None);
            return;
        }
        let durable = if is_lost { Index(0) } else { opened.last_index };
        let mut log = ReplicaLog::new(runs, opened.last_index, durable);
        let uncommitted = self.committed.max(log.prev_index).0 + 1..=log.last.0;
        let is_membership =
            |index: &Index| log.term(*index).is_some_and(|term| self.terms.is_membership(*index, term));
        log.memberships = uncommitted.map(Index).filter(is_membership).collect();
        let replica = Replica {
            log,
            synced: durable,
            vote: opened.vote,
            is_lost,
            is_removed: false,
            is_blank,
            is_nobody: false,
            conf_index: opened.membership.conf_index,
            published: None,
        };
        self.replicas.insert(opened.replica, replica);
        if !is_lost {
            self.note_membership(opened.replica, &opened.membership, findings);
        }
    }

    /// The only voter leads a term as soon as it votes for itself. If it loses its power before that vote is on its disk,
    /// nobody has heard of the term, and it may lead the same term once more, with other entries.
    fn forget_terms_led_alone(&mut self, opened: &Opened) {
        let synced = self.replicas.get(&opened.replica).map_or(Term(0), |before| before.vote.term);
        let held = opened.term_runs.runs().last().map_or(Term(0), |run| run.term);
        let known = synced.max(held).max(opened.vote.term);
        let leaders =
            self.leaders.iter().filter(|(term, (leader, _))| **term > known && *leader == opened.replica);
        for term in leaders.map(|(term, _)| *term).collect::<Vec<_>>() {
            self.leaders.remove(&term);
            self.terms.terms.remove(&term);
        }
    }

    /// What a disk gives back was written by somebody once.
    fn check_recovered(
        &self,
        replica: ReplicaId,
        runs: &[(Index, Term)],
        last: Index,
        findings: &mut Findings,
    ) {
        for (place, (first, term)) in runs.iter().enumerate() {
            let run_last = runs.get(place + 1).map_or(last, |next| next.0.previous());
            let before = place.checked_sub(1).map(|before| runs[before].1);
            let known = self.terms.terms.get(term);
            let begins = before
                .is_none_or(|before| known.is_some_and(|log| (log.first, log.previous) == (*first, before)));
            let is_start = before.is_none() && run_last == *first; // the entry before the log
            if !begins || !is_start && self.terms.end_offset(run_last, *term).is_none() {
                let text = format!(
                    "replica {replica} recovered entries {first} to {run_last} of term {term}, behind one of term \
                     {}; nobody wrote that",
                    before.unwrap_or_default()
                );
                findings.add(Check::C15, text);
            }
        }
    }

    /// A replica is removed for good. What it had durably until then counts: others may learn of it later.
    pub(crate) fn remove(&mut self, replica: ReplicaId) {
        if let Some(replica) = self.replicas.get_mut(&replica) {
            replica.is_removed = true;
        }
    }

    /// A replica's disk is gone. What it had durably until then counts: others may learn of it later. One that had
    /// promised nothing may be made again.
    pub(crate) fn lose_disk(&mut self, replica: ReplicaId) {
        if self.replicas.get(&replica).is_some_and(|replica| replica.is_blank) {
            self.replicas.remove(&replica);
        } else if let Some(replica) = self.replicas.get_mut(&replica) {
            (replica.is_nobody, replica.is_lost) = (true, true);
        }
    }

    /// A replica writes.
    pub(crate) fn write(
        &mut self,
        replica: ReplicaId,
        reset: Option<Start>,
        entries: &[EntryFact],
        findings: &mut Findings,
    ) {
        let Some(state) = known(&mut self.replicas, replica, findings) else { return };
        state.is_blank = false;
        if let Some(start) = reset {
            state.log =
                ReplicaLog::new(vec![(start.prev_index, start.prev_term)], start.prev_index, Index(0));
        }
        if let Some(first) = entries.first().map(|entry| entry.index)
            && first <= state.log.last
            && first > state.log.prev_index
        {
            self.cut(replica, first, findings);
        }
        for entry in entries {
            if !self.append(replica, entry, findings) {
                return;
            }
        }
    }

    /// A replica cuts its log, which must not touch what it holds of the committed log.
    fn cut(&mut self, replica: ReplicaId, first: Index, findings: &mut Findings) {
        let state = self.replicas.get_mut(&replica).expect("it writes");
        let is_committed =
            first <= self.committed && state.log.term(first) == commits::term_in(&self.committed_runs, first);
        if is_committed {
            let (committed, event) = (self.committed, self.committed_event);
            let text = format!(
                "replica {replica} cuts its log before entry {first}, but entries up to {committed} are committed \
                 (event {event})"
            );
            findings.add(Check::C15, text);
        }
        state.log.cut(first);
    }

    /// A replica appends; false: that makes no sense, and neither will what follows.
    fn append(&mut self, replica: ReplicaId, entry: &EntryFact, findings: &mut Findings) -> bool {
        let EntryFact { index, term, .. } = *entry;
        let state = self.replicas.get_mut(&replica).expect("it writes");
        let (last, last_term) = (state.log.last, state.log.term(state.log.last).unwrap_or_default());
        if index != last.next() || term < last_term {
            let text = format!(
                "replica {replica} appends entry {index} of term {term} behind entry {last} of term {last_term}"
            );
            findings.add(Check::C15, text);
            return false;
        }
        match self.terms.note(entry, last_term) {
            Noted::Same => {}
            Noted::Differs(how) => findings.add(Check::C15, format!("replica {replica}: {how}")),
            Noted::NewTerm => commits::check_new_term(self, term, index, last_term, findings),
        }
        let state = self.replicas.get_mut(&replica).expect("it writes");
        state.log.append(index, term);
        if self.terms.is_membership(index, term) {
            let committed = self.committed;
            state.log.memberships.retain(|membership| *membership > committed);
            if let Some(other) = state.log.memberships.last() {
                let text = format!(
                    "replica {replica} appends a membership change at entry {index} while the one at entry {other} \
                     is not committed (everything up to {committed} is)"
                );
                findings.add(Check::C15, text);
            }
            state.log.memberships.push(index);
        }
        true
    }

    /// A replica's disk has synced its log.
    pub(crate) fn sync_log(
        &mut self,
        replica: ReplicaId,
        (last, term): (Index, Term),
        findings: &mut Findings,
    ) {
        let Some(state) = known(&mut self.replicas, replica, findings) else { return };
        state.log.sync(last, term);
        state.synced = last;
    }

    /// Members are in force at a replica.
    pub(crate) fn apply_membership(
        &mut self,
        replica: ReplicaId,
        membership: &Membership,
        findings: &mut Findings,
    ) {
        let Some(state) = known(&mut self.replicas, replica, findings) else { return };
        let index = membership.conf_index;
        if index < state.conf_index {
            let text = format!(
                "replica {replica} goes back from the members of entry {} to those of {index}",
                state.conf_index
            );
            findings.add(Check::C15, text);
        }
        state.conf_index = index;
        // A start snapshot brings members that may be newer than what is in the log yet.
        let claims_commit = index <= state.log.last;
        self.note_membership(replica, membership, findings);
        if claims_commit {
            self.commit(replica, index, findings);
        }
    }

    fn note_membership(&mut self, replica: ReplicaId, membership: &Membership, findings: &mut Findings) {
        if membership.voters.is_empty() {
            return; // a replica that waits for its start snapshot
        }
        let mut sorted = membership.clone();
        for members in
            [&mut sorted.voters, &mut sorted.learners, &mut sorted.voters_outgoing, &mut sorted.learners_next]
        {
            members.sort_unstable();
        }
        let entry = self.memberships.entry(sorted.conf_index);
        let (known, event) = entry.or_insert_with(|| (sorted.clone(), findings.event));
        if *known != sorted {
            let text = format!("replica {replica} has members {sorted:?}; event {event} showed {known:?}");
            findings.add(Check::C15, text);
        }
    }
}

/// The replica of which something is recorded; it must have been opened. `None` also for one that is nobody.
fn known<'a>(
    replicas: &'a mut BTreeMap<ReplicaId, Replica>,
    replica: ReplicaId,
    findings: &mut Findings,
) -> Option<&'a mut Replica> {
    let state = replicas.get_mut(&replica);
    if state.is_none() {
        findings.add(Check::History, format!("replica {replica} was never opened"));
    }
    state.filter(|state| !state.is_nobody)
}
