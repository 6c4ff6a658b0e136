//! What counts as a planted bug found, on what tests print.

use xtask::mutants::{Hunt, judge};

const LOST: &str =
    "broken after 12 power cuts: quorum 5 offset 7: the batch acknowledged is lost; replay with MQ_SEED=3";

#[test]
fn a_bug_is_found_when_the_test_fails_for_the_right_reason() {
    let printed = format!("running 2 tests\nthread 'a' panicked at b.rs:1:2:\n{LOST}\n");
    let Hunt::Found { after, what } = judge(false, &printed, "is lost") else { panic!("it was found") };
    assert_eq!(after, "12 power cuts");
    assert!(what.starts_with("quorum 5 offset 7") && what.ends_with("MQ_SEED=3"), "{what}");
}

#[test]
fn anything_else_is_no_find() {
    assert_eq!(judge(true, LOST, "is lost"), Hunt::Missed, "the test passed");
    assert_eq!(judge(false, LOST, "other bytes"), Hunt::Missed, "another reason");
    assert_eq!(judge(false, "error: could not compile", "is lost"), Hunt::Missed, "it did not run");
    assert_eq!(judge(true, "test result: ok", "is lost"), Hunt::Missed, "nothing was found");
    assert_eq!(judge(false, "skipped: no strace", "is lost"), Hunt::Missed, "it failed beside the skip");
}

#[test]
fn a_test_that_cannot_run_says_why() {
    let printed = "running 1 test\nskipped: acknowledgements: no strace\ntest result: ok";
    assert_eq!(judge(true, printed, "x"), Hunt::Skipped("acknowledgements: no strace".to_owned()));
}
