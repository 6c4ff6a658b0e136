//! Term runs against a model that remembers the term of every single entry.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use mq_types::term_runs::TermRun;
use mq_types::{Index, Offset, Term, TermRuns};
use proptest::prelude::*;

/// A log as a plain list: (index, term, offset before the entry). The first is the entry before the log.
#[derive(Clone, Debug)]
struct Model {
    entries: Vec<(u64, u64, u64)>,
    next_offset: u64,
}

impl Model {
    fn term(&self, index: u64) -> Option<Term> {
        self.entries.iter().find(|entry| entry.0 == index).map(|entry| Term(entry.1))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append { term_rise: u64, span: u64 },
    Cut { back: usize },
    Trim { forward: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (prop_oneof![3 => Just(0), 1 => 1..4_u64], 0..5_u64)
            .prop_map(|(term_rise, span)| Step::Append { term_rise, span }),
        1 => (1..6_usize).prop_map(|back| Step::Cut { back }),
        1 => (0..6_usize).prop_map(|forward| Step::Trim { forward }),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn every_answer_is_that_of_a_list_of_all_entries(steps in steps()) {
        let mut model = Model { entries: vec![(10, 3, 100)], next_offset: 100 };
        let mut runs = TermRuns::starting_at(Index(10), Term(3), Offset(100));
        // Terms only grow, also over a cut: the new leader's term is higher than all before it.
        let mut term = 3;
        for step in steps {
            match step {
                Step::Append { term_rise, span } => {
                    term += term_rise;
                    let index = model.entries.last().unwrap().0 + 1;
                    model.entries.push((index, term, model.next_offset));
                    runs.append(Index(index), Term(term), Offset(model.next_offset));
                    model.next_offset += span;
                }
                Step::Cut { back } => {
                    let back = back.min(model.entries.len() - 1);
                    if back > 0 {
                        let at = model.entries.len() - back;
                        let (index, _, offset) = model.entries[at];
                        model.entries.truncate(at);
                        model.next_offset = offset;
                        runs.cut(Index(index));
                    }
                }
                Step::Trim { forward } => {
                    model.entries.drain(..forward.min(model.entries.len() - 1));
                    runs.trim(Index(model.entries[0].0));
                }
            }
            let (first, last) = (model.entries[0].0, model.entries.last().unwrap().0);
            for index in first.saturating_sub(2)..=last {
                prop_assert_eq!(runs.term(Index(index)), model.term(index), "index {}", index);
            }
            prop_assert_eq!(runs.last_term(), Term(model.entries.last().unwrap().1));
            prop_assert_eq!(TermRuns::from_stored(runs.runs().to_vec()), Some(runs.clone()));
            check_ends(&runs, &model, term)?;
        }
    }
}

/// For every term that the log still has, and for those beyond.
fn check_ends(runs: &TermRuns, model: &Model, term_max: u64) -> Result<(), TestCaseError> {
    let next = Offset(model.next_offset);
    let last_term = model.entries.last().unwrap().1;
    for term in model.entries[0].1..=term_max + 1 {
        let known = model.entries.iter().rfind(|entry| entry.1 <= term).unwrap().1;
        let after = model.entries.iter().find(|entry| entry.1 > term).map(|entry| Offset(entry.2));
        let expected = match after {
            Some(end) => Some((Term(known), end)),
            None if term == last_term => Some((Term(known), next)),
            None => None,
        };
        prop_assert_eq!(runs.end_of_term(Term(term), next), expected, "term {}", term);
    }
    Ok(())
}

fn run(term: u64, first_index: u64, base_offset: u64) -> TermRun {
    TermRun { term: Term(term), first_index: Index(first_index), base_offset: Offset(base_offset) }
}

#[test]
fn a_reader_of_a_lost_term_learns_where_its_log_parted() {
    // Term 2 has offsets 0 to 9, term 5 goes on from 10. A reader that saw offset 14 in term 3 finds that the log
    // ended at 10 after term 2: its records from 10 on were never committed.
    let runs = TermRuns::from_stored(vec![run(2, 1, 0), run(5, 11, 10)]).unwrap();
    let next = Offset(30);
    assert_eq!(runs.end_of_term(Term(3), next), Some((Term(2), Offset(10))));
    assert_eq!(runs.end_of_term(Term(2), next), Some((Term(2), Offset(10))));
    assert_eq!(runs.end_of_term(Term(5), next), Some((Term(5), next)));
    assert_eq!(runs.end_of_term(Term(1), next), Some((Term(1), Offset(0))));
    assert_eq!(runs.end_of_term(Term(6), next), None);
}

#[test]
fn stored_runs_that_are_not_ordered_are_refused() {
    assert_eq!(TermRuns::from_stored(vec![]), None);
    for second in [run(2, 20, 10), run(3, 1, 10), run(3, 20, 4)] {
        assert_eq!(TermRuns::from_stored(vec![run(2, 1, 5), second]), None, "{second:?}");
    }
}

#[test]
#[should_panic(expected = "would leave no term at all")]
fn a_cut_of_everything_is_a_broken_promise() {
    TermRuns::starting_at(Index(7), Term(1), Offset(0)).cut(Index(7));
}

#[test]
#[should_panic(expected = "terms never fall")]
fn a_falling_term_is_a_broken_promise() {
    TermRuns::starting_at(Index(7), Term(2), Offset(0)).append(Index(8), Term(1), Offset(0));
}
