//! The only randomness of a run: streams of numbers, each named and each from the run's seed.
//!
//! Every kind of fault draws from a stream of its own, so that switching one kind off leaves the others as they were.

use std::ops::RangeInclusive;

/// A stream of numbers (SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators").
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of this name.
    pub(crate) fn new(seed: u64, stream: &str) -> Random {
        let mut random = Random(seed);
        for byte in stream.bytes() {
            random.0 = random.draw() ^ u64::from(byte);
        }
        random
    }

    /// Any number.
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "there is no number below 0");
        self.draw() % end
    }

    /// A number of this range, each as likely.
    pub(crate) fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (first, last) = range.into_inner();
        assert!(first <= last, "the range {first}..={last} is empty");
        first + self.below(last - first + 1)
    }

    /// A number of this range, each order of magnitude as likely: for durations and sizes.
    pub(crate) fn scaled(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (first, last) = range.into_inner();
        assert!(0 < first && first <= last, "the range {first}..={last} has no magnitudes");
        let doublings = u64::from((last / first).ilog2());
        let floor = first << self.below(doublings + 1);
        self.between(floor..=last.min(floor.saturating_mul(2)))
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// True so many times in a million.
    pub(crate) fn per_million(&mut self, times: u32) -> bool {
        times > 0 && self.below(1_000_000) < u64::from(times)
    }

    /// One of these, each as likely.
    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len() as u64) as usize]
    }
}
