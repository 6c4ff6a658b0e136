//! Writes of one replica that become one.

use mq_types::persist::{ReplicaWrite, Trim};
use mq_types::{Index, Offset, QuorumId, ReplicaId};

/// A write that trims, and nothing else.
fn trim(trim: Trim) -> ReplicaWrite {
    ReplicaWrite { trim: Some(trim), ..ReplicaWrite::new(QuorumId(7), ReplicaId(1)) }
}

#[test]
fn two_trims_become_the_one_that_goes_farther_whichever_comes_first() {
    let pairs = [
        (Trim::Offset(Offset(731)), Trim::Offset(Offset(738))),
        (Trim::Index(Index(5)), Trim::Index(Index(9))),
    ];
    for (near, far) in pairs {
        for (first, second) in [(near, far), (far, near)] {
            let mut write = trim(first);
            write.try_merge(trim(second)).expect("trims merge");
            assert_eq!(write.trim, Some(far));
        }
    }
}

#[test]
fn a_trim_stays_when_a_write_without_one_follows() {
    let mut write = trim(Trim::Offset(Offset(3)));
    write.try_merge(ReplicaWrite::new(QuorumId(7), ReplicaId(1))).expect("nothing merges with anything");
    assert_eq!(write.trim, Some(Trim::Offset(Offset(3))));
}
