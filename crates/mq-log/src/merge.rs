//! Several writes of one replica in one round become one: group commit must not cost more than one sync.

use mq_types::persist::{ReplicaWrite, Trim};

/// Makes of the writes of each replica one, in the order in which the replicas come.
pub(crate) fn by_replica(writes: Vec<ReplicaWrite>) -> Vec<ReplicaWrite> {
    let mut round: Vec<ReplicaWrite> = Vec::new();
    for write in writes {
        match round.iter_mut().find(|earlier| earlier.quorum == write.quorum) {
            None => round.push(write),
            Some(earlier) => {
                let (quorum, replica) = (earlier.quorum, earlier.replica);
                assert!(
                    !earlier.remove,
                    "replica {replica} of quorum {quorum} is removed and written to at once"
                );
                merge(earlier, write);
            }
        }
    }
    round
}

/// Adds a later write of the same replica to an earlier one. What both say, the later one says.
fn merge(earlier: &mut ReplicaWrite, later: ReplicaWrite) {
    assert_eq!((earlier.quorum, earlier.replica), (later.quorum, later.replica), "one replica's writes");
    assert!(later.create.is_none(), "replica {} is made and was there before", later.replica);
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
    earlier.trim = Trim::both(earlier.trim, later.trim);
    earlier.segment_size_bytes_max = later.segment_size_bytes_max.or(earlier.segment_size_bytes_max);
    earlier.remove |= later.remove;
}
