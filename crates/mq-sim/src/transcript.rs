//! What a run did, as one number: equal runs have equal transcripts.
//!
//! Every step adds to a running hash. On demand each step's hash is kept, to find where two runs part, and each step is
//! told in words.

use std::fmt::Write;

/// What is kept besides the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// The hash after every step.
    Hashes,
    /// The words of these steps.
    Words(std::ops::Range<usize>),
    /// Every step is printed as it happens.
    Print,
}

/// A run's transcript.
#[derive(Clone, Debug)]
pub struct Transcript {
    hash: u64,
    steps: usize,
    keep: Keep,
    hashes: Vec<u64>,
    words: String,
}

impl Transcript {
    /// Of a run that has not begun.
    #[must_use]
    pub fn new(keep: Keep) -> Transcript {
        Transcript { hash: 0, steps: 0, keep, hashes: Vec::new(), words: String::new() }
    }

    /// One step: `numbers` are its facts, `words` tells it.
    pub(crate) fn step(&mut self, now_us: u64, numbers: &[u64], words: impl FnOnce() -> String) {
        self.hash = mix(self.hash ^ now_us);
        for number in numbers {
            self.hash = mix(self.hash ^ number);
        }
        let step = self.steps;
        self.steps += 1;
        match &self.keep {
            Keep::Nothing => {}
            Keep::Hashes => self.hashes.push(self.hash),
            Keep::Words(range) if !range.contains(&step) => {}
            Keep::Words(_) => {
                let _ = writeln!(self.words, "{}", line(step, now_us, &words()));
            }
            Keep::Print => println!("{}", line(step, now_us, &words())),
        }
    }

    /// All steps so far as one number.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many steps there were.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The words kept.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.words
    }

    /// The first step that differs; `None`: the runs are equal. Both must have kept their hashes.
    #[must_use]
    pub fn first_difference(&self, other: &Transcript) -> Option<usize> {
        assert!(self.keep == Keep::Hashes && other.keep == Keep::Hashes, "both have kept their hashes");
        let pairs = self.hashes.iter().zip(&other.hashes);
        let same = pairs.take_while(|(a, b)| a == b).count();
        (same < self.hashes.len() || same < other.hashes.len()).then_some(same)
    }
}

fn line(step: usize, now_us: u64, words: &str) -> String {
    format!("{step:>8} {:>6}.{:06} {words}", now_us / 1_000_000, now_us % 1_000_000)
}

/// A number that depends on every bit of this one (the finalizer of MurmurHash3 by Austin Appleby, with constants of
/// David Stafford).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
