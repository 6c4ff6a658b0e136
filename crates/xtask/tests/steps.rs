//! How the steps of `cargo xtask test` hang together. What the steps find is theirs; here they only pass or fail.

use xtask::steps::{Outcome, names, run, summary};

/// Runs all steps, those named failing; gives what was executed and how each step ended.
fn run_failing(failing: &[&str]) -> (Vec<&'static str>, Vec<(&'static str, Outcome)>) {
    let mut executed = Vec::new();
    let outcomes = run(None, |step| {
        executed.push(step.name);
        Ok(!failing.contains(&step.name))
    });
    (executed, outcomes)
}

fn failures(outcomes: &[(&'static str, Outcome)]) -> Vec<&'static str> {
    outcomes.iter().filter(|(_, outcome)| outcome.is_failure()).map(|(name, _)| *name).collect()
}

#[test]
fn every_step_has_an_outcome_and_a_line_in_the_summary() {
    let (_, outcomes) = run_failing(&[]);
    assert_eq!(outcomes.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names());
    let text = summary(&outcomes);
    for name in names() {
        assert!(
            text.lines().any(|line| line.split_whitespace().next() == Some(name)),
            "{name} is not in\n{text}"
        );
    }
    assert!(text.contains(" 0 failed"), "{text}");
}

#[test]
fn a_failure_does_not_keep_the_other_steps_from_running() {
    let (executed, outcomes) = run_failing(&["fmt", "clippy"]);
    assert_eq!(failures(&outcomes), ["fmt", "clippy"]);
    assert!(executed.contains(&"test") && executed.contains(&"doc"), "{executed:?}");
    assert!(summary(&outcomes).contains(" 2 failed"));
}

#[test]
fn tests_are_skipped_with_the_reason_when_the_build_fails() {
    let (executed, outcomes) = run_failing(&["build"]);
    assert!(!executed.contains(&"test"), "{executed:?}");
    let test = outcomes.iter().find(|(name, _)| *name == "test").map(|(_, outcome)| outcome.to_string());
    assert_eq!(test.as_deref(), Some("skipped: the step build failed"));
    assert!(!executed.contains(&"mutants"), "{executed:?}");
}

#[test]
fn a_step_that_cannot_be_carried_out_has_failed() {
    let outcomes = run(Some("fmt"), |_| Err(std::io::Error::other("no such program").into()));
    assert_eq!(failures(&outcomes), ["fmt"]);
}

#[test]
fn one_step_can_be_run_alone() {
    for name in names() {
        let outcomes = run(Some(name), |_| Ok(true));
        assert_eq!(outcomes.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [name]);
    }
}
