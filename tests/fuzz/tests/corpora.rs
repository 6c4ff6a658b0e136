//! Every input of every corpus, and every input that fuzzing begins with: what a fuzzer once found stays found.

use mq_fuzz::{TARGETS, Target};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a corpus may take in the repository, in bytes and in files.
const CORPUS_BYTES_MAX: usize = 1 << 20;
const CORPUS_FILES_MAX: usize = 400;

fn check(target: &Target, name: &str, input: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    assert!(
        outcome.is_ok(),
        "{} fails on {name}; replay it: cargo run -p mq-fuzz --bin {0} -- FILE",
        target.name
    );
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("it is a target");
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "there is something to begin with");
    for (number, seed) in seeds.iter().enumerate() {
        check(target, &format!("seed {number}"), seed);
    }
    let directory = target.corpus();
    let (mut files, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(&directory).expect("every target has a corpus") {
        let path = entry.expect("a directory can be listed").path();
        let input = std::fs::read(&path).expect("a file of the corpus can be read");
        check(target, &path.display().to_string(), &input);
        (files, bytes) = (files + 1, bytes + input.len());
    }
    assert!(files > 0, "{} is empty", directory.display());
    assert!(
        files <= CORPUS_FILES_MAX && bytes <= CORPUS_BYTES_MAX,
        "{files} files, {bytes} bytes: minimize it"
    );
}

#[test]
fn the_corpus_of_the_batch_decoder_passes() {
    run("batch_decoder");
}

#[test]
fn the_corpus_of_the_segment_recovery_passes() {
    run("segment_recovery");
}

#[test]
fn the_corpus_of_the_state_log_passes() {
    run("state_log");
}

#[test]
fn the_corpus_of_the_configuration_passes() {
    run("configuration");
}

#[test]
fn the_corpus_of_the_log_operations_passes() {
    run("log_operations");
}

#[test]
fn the_corpus_of_the_peer_message_passes() {
    run("peer_message");
}
