//! The logs of one quorum: what every term holds, and which terms a replica's log is made of.
//!
//! A term has one leader, so it has one sequence of entries, and one entry before them. With that checked, a log is
//! known by its terms alone, and two logs that share an entry share everything before it.

use crate::history::EntryFact;
use mq_types::{EntryKind, Index, Offset, Term};
use std::collections::BTreeMap;

/// What is known of one entry besides its index and term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    kind: EntryKind,
    end_offset: Offset,
    hash: u32,
}

/// The entries of one term.
#[derive(Debug)]
pub(crate) struct TermLog {
    pub(crate) first: Index,
    /// The term of the entry before the first.
    pub(crate) previous: Term,
    held: Vec<Held>,
}

/// The entries of all terms.
#[derive(Debug, Default)]
pub(crate) struct TermLogs {
    pub(crate) terms: BTreeMap<Term, TermLog>,
}

/// What became of an entry that is written.
#[derive(Debug)]
pub(crate) enum Noted {
    /// It is the first of its term.
    NewTerm,
    /// It is as everybody knows it, or the next one.
    Same,
    /// It contradicts what another log holds.
    Differs(String),
}

impl TermLogs {
    /// An entry is written behind one of term `previous`.
    pub(crate) fn note(&mut self, entry: &EntryFact, previous: Term) -> Noted {
        let EntryFact { index, term, kind, end_offset, hash } = *entry;
        let held = Held { kind, end_offset, hash };
        let Some(log) = self.terms.get_mut(&term) else {
            self.terms.insert(term, TermLog { first: index, previous, held: vec![held] });
            return Noted::NewTerm;
        };
        let expected = if index == log.first { log.previous } else { term };
        if index < log.first || previous != expected {
            let (first, before) = (log.first, log.previous);
            return Noted::Differs(format!(
                "entry {index} of term {term} follows on term {previous}, but term {term} begins at entry {first}, \
                 behind one of term {before}"
            ));
        }
        match log.held.get((index.0 - log.first.0) as usize) {
            Some(known) if *known == held => Noted::Same,
            Some(known) => {
                Noted::Differs(format!("entry {index} of term {term} is {held:?}, another log has {known:?}"))
            }
            None if index.0 == log.first.0 + log.held.len() as u64 => {
                log.held.push(held);
                Noted::Same
            }
            None => Noted::Differs(format!("entry {index} of term {term} follows on one that nobody wrote")),
        }
    }

    fn held(&self, index: Index, term: Term) -> Option<&Held> {
        let log = self.terms.get(&term)?;
        log.held.get(index.0.checked_sub(log.first.0)? as usize)
    }

    /// The first offset after this entry, if it is known.
    pub(crate) fn end_offset(&self, index: Index, term: Term) -> Option<Offset> {
        self.held(index, term).map(|held| held.end_offset)
    }

    pub(crate) fn is_membership(&self, index: Index, term: Term) -> bool {
        self.held(index, term).is_some_and(|held| held.kind == EntryKind::Membership)
    }

    /// The term of entry `index` in every log whose last entry is of `term`, so far as it is known.
    pub(crate) fn term_below(&self, mut term: Term, index: Index) -> Option<Term> {
        loop {
            let log = self.terms.get(&term)?;
            if log.first <= index {
                return Some(term);
            }
            if log.previous >= term {
                return None; // the bootstrap's own term
            }
            term = log.previous;
        }
    }
}

/// One replica's log.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplicaLog {
    /// The entry before the first, and where each later term begins.
    runs: Vec<(Index, Term)>,
    pub(crate) prev_index: Index,
    pub(crate) last: Index,
    /// What its disk has synced; 0: not even where it begins.
    pub(crate) durable: Index,
    /// Its membership entries, as far as they may not be committed.
    pub(crate) memberships: Vec<Index>,
}

impl ReplicaLog {
    /// A log of these runs, the first of which is the entry before the log's first one.
    pub(crate) fn new(runs: Vec<(Index, Term)>, last: Index, durable: Index) -> ReplicaLog {
        let prev_index = runs.first().map_or(Index(0), |run| run.0);
        ReplicaLog { runs, prev_index, last, durable, memberships: Vec::new() }
    }

    /// The term of an entry; `None`: it is not in this log.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        let after = self.runs.partition_point(|run| run.0 <= index);
        let run = after.checked_sub(1).filter(|_| index <= self.last)?;
        Some(self.runs[run].1)
    }

    pub(crate) fn runs(&self) -> &[(Index, Term)] {
        &self.runs
    }

    /// Everything from here on goes.
    pub(crate) fn cut(&mut self, index: Index) {
        self.runs.retain(|run| run.0 < index);
        self.last = index.previous();
        self.durable = self.durable.min(self.last);
        self.memberships.retain(|membership| *membership < index);
    }

    /// An entry that continues the log is appended.
    pub(crate) fn append(&mut self, index: Index, term: Term) {
        if self.runs.last().is_none_or(|run| run.1 != term) {
            self.runs.push((index, term));
        }
        self.last = index;
    }

    /// Its disk has synced the write that ended with this entry. What was written over since, by a leader of a later
    /// term, is not synced by that.
    pub(crate) fn sync(&mut self, last: Index, term: Term) {
        let after = self.runs.partition_point(|run| run.1 <= term);
        let replaced = self.runs.get(after).map_or(self.last, |run| run.0.previous());
        self.durable = self.durable.max(last.min(replaced).min(self.last));
    }

    /// Its disk holds this entry, or a start that stands for it.
    pub(crate) fn has_durable(&self, index: Index, term: Term) -> bool {
        self.durable >= index && (index <= self.prev_index || self.term(index) == Some(term))
    }
}
