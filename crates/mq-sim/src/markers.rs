//! Rare situations by name, and how often a run met them: a long run that never met one has not tested it.
//!
//! Counting has no effect on a run. Counters belong to the thread, since a run does.

use std::cell::RefCell;

/// Every marker. A long run should hit each of them.
pub const ALL: [&str; 43] = [
    "a broker crashed while a round was on its disk",
    "a broker crashed while it recovered",
    "a client's request met a broker that was down",
    "a clock jumped back",
    "a clock jumped by more than a day",
    "a consumer was told that its position is out of range",
    "a consumer's position was above a replica's high watermark",
    "a damaged leader handed over",
    "a damaged replica led because nobody else could",
    "a deleted topic was restored",
    "a disk failed a write or a sync",
    "a disk was lost while replicas moved",
    "a disk was full while a write was due",
    "a fetch read a replica that does not lead",
    "a flipped bit was found by a read",
    "a flipped bit was found by a scrub",
    "a flipped bit was found by recovery",
    "a leader stepped down",
    "a log read for a peer was refused",
    "a message arrived at a later process than the one it was sent to",
    "a message arrived twice",
    "a peer was sent entries read from the log",
    "a process ended because a read failed",
    "a produce was answered by synced on the leader",
    "a produce was answered not leader",
    "a produce's outcome was unknown",
    "a read of a partition met its trim",
    "a replica began anew where the leader's log does",
    "a replica was lost",
    "a replica was removed",
    "a retry was acknowledged",
    "a round of the disk merged several writes",
    "a segment was rolled",
    "a thread was held up between two effects",
    "a topic was created while faults were on",
    "a write waited for room on a full disk",
    "all brokers were down",
    "the controller's image was stored",
    "the log start moved",
    "the members of a partition changed",
    "the members of the controller changed",
    "the number of shards changed at a restart",
    "the replicas of a partition were to move",
];

thread_local! {
    static HITS: RefCell<[u64; ALL.len()]> = const { RefCell::new([0; ALL.len()]) };
}

/// Where this name stands in [`ALL`]; one that does not stand there does not compile.
#[must_use]
pub const fn place(name: &str) -> usize {
    let mut at = 0;
    while at < ALL.len() {
        if is_equal(ALL[at].as_bytes(), name.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("this marker is not in markers::ALL")
}

const fn is_equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Counts one hit of the marker at this place.
pub fn hit(place: usize) {
    HITS.with_borrow_mut(|hits| hits[place] += 1);
}

/// The hits of this thread since the last call, in the order of [`ALL`].
#[must_use]
pub fn take() -> [u64; ALL.len()] {
    HITS.with_borrow_mut(|hits| std::mem::replace(hits, [0; ALL.len()]))
}

/// Says that a rare situation was met.
#[macro_export]
macro_rules! sometimes {
    ($name:literal) => {
        $crate::markers::hit(const { $crate::markers::place($name) })
    };
}
