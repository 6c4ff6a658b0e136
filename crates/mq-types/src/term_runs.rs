//! Which term each index of a log has, as runs (Kafka calls the same thing the leader epoch cache).
//!
//! A log has few terms, so this answers `term(index)` from memory without a scan. It knows nothing of what the
//! entries hold.

use crate::{Index, Offset, Term};

/// One run: from this index (and offset) on, entries have this term, until the next run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermRun {
    /// The term.
    pub term: Term,
    /// The first index that has it.
    pub first_index: Index,
    /// Where the term's records begin: the first one's offset, or the one it will have. It stays when a trim moves
    /// `first_index`.
    pub base_offset: Offset,
}

/// The terms of a log from the entry before its first one to its last one.
///
/// Invariant: runs are ordered; terms and first indexes strictly increase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TermRuns {
    runs: Vec<TermRun>,
}

impl TermRuns {
    /// The runs of an empty log whose previous entry has this index and term.
    pub fn starting_at(prev_index: Index, prev_term: Term, base_offset: Offset) -> TermRuns {
        TermRuns { runs: vec![TermRun { term: prev_term, first_index: prev_index, base_offset }] }
    }

    /// Takes runs as they were stored; `None` if they are not ordered or empty.
    pub fn from_stored(runs: Vec<TermRun>) -> Option<TermRuns> {
        let ordered = runs.windows(2).all(|pair| {
            pair[0].term < pair[1].term
                && pair[0].first_index < pair[1].first_index
                && pair[0].base_offset <= pair[1].base_offset
        });
        (ordered && !runs.is_empty()).then_some(TermRuns { runs })
    }

    /// The runs, oldest first.
    pub fn runs(&self) -> &[TermRun] {
        &self.runs
    }

    /// The term of the newest run.
    pub fn last_term(&self) -> Term {
        self.runs.last().map_or(Term(0), |run| run.term)
    }

    /// Notes that the entry at `index`, beginning at `base_offset`, has this term.
    pub fn append(&mut self, index: Index, term: Term, base_offset: Offset) {
        if let Some(last) = self.runs.last() {
            assert!(term >= last.term, "terms never fall: {term} after {} at index {index}", last.term);
            assert!(index > last.first_index, "indexes grow: {index} after {}", last.first_index);
            assert!(
                base_offset >= last.base_offset,
                "offsets never fall: {base_offset} after {} at index {index}",
                last.base_offset
            );
            if term == last.term {
                return;
            }
        }
        self.runs.push(TermRun { term, first_index: index, base_offset });
    }

    /// The term at `index`; `None` below the first run. Asking beyond the last entry answers the last term: the
    /// caller knows where its log ends.
    pub fn term(&self, index: Index) -> Option<Term> {
        let after = self.runs.partition_point(|run| run.first_index <= index);
        after.checked_sub(1).map(|at| self.runs[at].term)
    }

    /// The greatest term up to `term` that the log has, and the offset at which it ends there: what a reader whose
    /// last record was of `term` compares its position with, to notice that the log was cut below it (KIP-320).
    ///
    /// `next_offset` is where the log ends. A term older than all that are known answers itself and the offset at
    /// which the first known one begins; a newer one than all answers `None`.
    pub fn end_of_term(&self, term: Term, next_offset: Offset) -> Option<(Term, Offset)> {
        let after = self.runs.partition_point(|run| run.term <= term);
        let known = after.checked_sub(1).map(|at| self.runs[at].term);
        match (known, self.runs.get(after)) {
            (known, Some(next)) => Some((known.unwrap_or(term), next.base_offset)),
            (Some(last), None) if last == term => Some((last, next_offset)),
            (_, None) => None,
        }
    }

    /// Forgets everything from `index` on.
    pub fn cut(&mut self, index: Index) {
        let kept = self.runs.partition_point(|run| run.first_index < index);
        assert!(kept > 0, "a cut at index {index} would leave no term at all");
        self.runs.truncate(kept);
    }

    /// Forgets the runs wholly below `prev_index`, which becomes the first index that is known. Nothing happens if
    /// it lies before the first one.
    pub fn trim(&mut self, prev_index: Index) {
        let after = self.runs.partition_point(|run| run.first_index <= prev_index);
        if let Some(first) = after.checked_sub(1) {
            self.runs.drain(..first);
            self.runs[0].first_index = prev_index;
        }
    }
}
