//! Whether a new leader gets anywhere: whether it can read from its log what its peers lack.
//!
//! Once it has committed an entry of its own term, all that is not committed is in its memory, and who lacks what is
//! committed could not be elected in its place.

use mq_raft::Peer;
use mq_types::{Index, ReplicaId, Term};

/// A leader that has brought nobody further for so long is stuck, in ms: about as long as an election takes.
const STUCK_MS: u64 = 1_000;

/// How far a leader that has committed nothing in its term has brought the other voters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Feeding {
    reached: Reached,
    /// When that was first so, on the monotonic clock.
    since_ms: u64,
    /// A read for a peer was refused since.
    is_refused: bool,
    /// How many were let campaign in its place, one after the other.
    attempts: usize,
}

/// Up to where each voter is known to hold the log of this term's leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reached {
    term: Term,
    matched: Vec<(ReplicaId, Index)>,
}

impl Feeding {
    /// A read for a peer was refused.
    pub(super) fn refused(&mut self) {
        self.is_refused = true;
    }

    /// Whether reads are refused and nobody gets any further. To be asked at every tick of such a leader.
    pub(super) fn is_stuck(&mut self, term: Term, voters: &[ReplicaId], peers: &[Peer], now_ms: u64) -> bool {
        let others = peers.iter().filter(|peer| voters.contains(&peer.replica));
        let reached = Reached { term, matched: others.map(|peer| (peer.replica, peer.matched)).collect() };
        if reached != self.reached {
            (self.reached, self.since_ms, self.is_refused) = (reached, now_ms, false);
        }
        self.is_refused && now_ms.saturating_sub(self.since_ms) >= STUCK_MS
    }

    /// The one of these who is to try it next; it is given as long as the leader was.
    pub(super) fn next_heir(&mut self, heirs: &[ReplicaId], now_ms: u64) -> Option<ReplicaId> {
        let heir = heirs.get(self.attempts.checked_rem(heirs.len())?).copied();
        (self.attempts, self.since_ms) = (self.attempts + 1, now_ms);
        heir
    }
}

#[cfg(test)]
mod tests {
    use super::{Feeding, STUCK_MS};
    use mq_raft::Peer;
    use mq_types::{BrokerId, Index, ReplicaId, Term};

    fn id(broker: u32) -> ReplicaId {
        ReplicaId::new(BrokerId(broker), 2)
    }

    fn peer(broker: u32, matched: u64) -> Peer {
        Peer { replica: id(broker), matched: Index(matched), committed: Index(0), silent_ticks: 0 }
    }

    #[test]
    fn a_leader_is_stuck_when_reads_are_refused_and_no_voter_gets_further() {
        let (voters, term) = ([id(1), id(2), id(3)], Term(4));
        let mut feeding = Feeding::default();
        let mut is_stuck = |term, refused: bool, peers: &[Peer], now_ms| {
            if refused {
                feeding.refused();
            }
            feeding.is_stuck(term, &voters, peers, now_ms)
        };
        let still = [peer(2, 7), peer(3, 0), peer(4, 9)];
        assert!(!is_stuck(term, true, &still, 10_000), "it has just begun");
        assert!(!is_stuck(term, false, &still, 20_000), "nothing was refused since");
        assert!(is_stuck(term, true, &still, 20_000));
        let fed = [peer(2, 7), peer(3, 1), peer(4, 9)];
        assert!(!is_stuck(term, true, &fed, 21_000), "one is being fed");
        assert!(!is_stuck(term, true, &fed, 21_000 + STUCK_MS - 1));
        assert!(is_stuck(term, true, &fed, 21_000 + STUCK_MS));
        let learning = [peer(2, 7), peer(3, 1), peer(4, 99)];
        assert!(is_stuck(term, true, &learning, 30_000), "a learner does not help");
        assert!(!is_stuck(Term(5), true, &learning, 40_000), "the next term is another one");
    }

    #[test]
    fn each_heir_gets_its_turn_and_its_time() {
        let mut feeding = Feeding::default();
        assert_eq!(feeding.next_heir(&[], 0), None);
        let heirs = [id(2), id(3)];
        let tries: Vec<_> = (0..3).map(|_| feeding.next_heir(&heirs, 10_000)).collect();
        assert_eq!(tries, [Some(id(2)), Some(id(3)), Some(id(2))]);
        feeding.is_stuck(Term(1), &[], &[], 10_000);
        feeding.next_heir(&heirs, 15_000);
        feeding.refused();
        assert!(!feeding.is_stuck(Term(1), &[], &[], 15_000 + STUCK_MS - 1));
        assert!(feeding.is_stuck(Term(1), &[], &[], 15_000 + STUCK_MS));
    }
}
