//! Several writes of one replica in one round become one: group commit must not cost more than one sync.

use mq_types::persist::{ReplicaWrite, Trim};

/// Makes rounds in which every quorum appears once. There is one round, unless a quorum's replica is removed and
/// another one made.
pub(crate) fn rounds(writes: Vec<ReplicaWrite>) -> Vec<Vec<ReplicaWrite>> {
    let mut rounds: Vec<Vec<ReplicaWrite>> = vec![Vec::new()];
    for write in writes {
        let round = rounds.last_mut().expect("there is always one");
        match round.iter_mut().find(|earlier| earlier.quorum == write.quorum) {
            None => round.push(write),
            Some(earlier)
                if earlier.replica == write.replica && !earlier.remove && write.create.is_none() =>
            {
                merge(earlier, write);
            }
            Some(_) => rounds.push(vec![write]),
        }
    }
    rounds
}

/// Adds a later write of the same replica to an earlier one. What both say, the later one says.
fn merge(earlier: &mut ReplicaWrite, later: ReplicaWrite) {
    assert_eq!((earlier.quorum, earlier.replica), (later.quorum, later.replica), "one replica's writes");
    if later.reset.is_some() {
        earlier.reset = later.reset;
        earlier.entries.clear();
        earlier.membership = None;
        earlier.snapshot = None;
        earlier.trim = None;
        earlier.roll = false;
    }
    if let Some(first) = later.entries.first() {
        // An earlier entry from there on would be cut off again at once.
        let kept = earlier.entries.partition_point(|entry| entry.index < first.index);
        earlier.entries.truncate(kept);
    }
    earlier.entries.extend(later.entries);
    earlier.vote = later.vote.or(earlier.vote);
    earlier.commit = earlier.commit.max(later.commit);
    earlier.membership = later.membership.or(earlier.membership.take());
    earlier.open |= later.open;
    earlier.standing = later.standing.or(earlier.standing);
    earlier.snapshot = later.snapshot.or(earlier.snapshot.take());
    earlier.roll |= later.roll;
    earlier.trim = match (earlier.trim, later.trim) {
        (Some(Trim::Offset(a)), Some(Trim::Offset(b))) => Some(Trim::Offset(a.max(b))),
        (Some(Trim::Index(a)), Some(Trim::Index(b))) => Some(Trim::Index(a.max(b))),
        (earlier, later) => later.or(earlier),
    };
    earlier.segment_size_bytes_max = later.segment_size_bytes_max.or(earlier.segment_size_bytes_max);
    earlier.remove |= later.remove;
}
