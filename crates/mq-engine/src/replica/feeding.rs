//! Whether a leader can still read from its log what its peers need.

use mq_types::Index;

/// After so long without a read that succeeds a leader that commits nothing is stuck, in ms: about as long as an
/// election takes.
const STUCK_MS: u64 = 1_000;

/// What became of the reads for peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Feeding {
    refused: Option<Refused>,
}

/// All reads are refused, and nothing more is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused {
    /// On the monotonic clock.
    since_ms: u64,
    commit: Index,
}

impl Feeding {
    /// One more read has ended.
    pub(super) fn read(&mut self, has_succeeded: bool, commit: Index, now_ms: u64) {
        let before = self.refused.filter(|refused| refused.commit == commit);
        let refused = before.unwrap_or(Refused { since_ms: now_ms, commit });
        self.refused = (!has_succeeded).then_some(refused);
    }

    /// Whether entries wait to be committed and no peer can be sent what it lacks.
    pub(super) fn is_stuck(&self, commit: Index, last_index: Index, now_ms: u64) -> bool {
        let is_long = |refused: Refused| now_ms.saturating_sub(refused.since_ms) >= STUCK_MS;
        commit < last_index
            && self.refused.is_some_and(|refused| refused.commit == commit && is_long(refused))
    }
}

#[cfg(test)]
mod tests {
    use super::{Feeding, STUCK_MS};
    use mq_types::Index;

    #[test]
    fn a_leader_is_stuck_when_every_read_was_refused_for_long_while_entries_wait_to_be_committed() {
        let (commit, last) = (Index(7), Index(9));
        let mut feeding = Feeding::default();
        assert!(!feeding.is_stuck(commit, last, 10_000), "nothing was read");
        feeding.read(false, commit, 10_000);
        feeding.read(false, commit, 10_900);
        assert!(!feeding.is_stuck(commit, last, 10_000 + STUCK_MS - 1));
        assert!(feeding.is_stuck(commit, last, 10_000 + STUCK_MS));
        assert!(!feeding.is_stuck(last, last, 20_000), "all was committed");
        assert!(!feeding.is_stuck(Index(8), last, 20_000), "something was committed meanwhile");
        feeding.read(false, Index(8), 20_000);
        assert!(!feeding.is_stuck(Index(8), last, 20_500));
        feeding.read(true, Index(8), 20_600);
        assert!(!feeding.is_stuck(Index(8), last, 30_000), "a peer was sent something");
    }
}
