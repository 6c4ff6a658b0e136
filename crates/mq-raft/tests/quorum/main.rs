//! Quorums of members over disks and a wire in memory: scripts that a person can follow, and a seeded random run.

mod checks;
mod disk;
mod elections;
mod incoming;
mod members;
mod membership;
mod random;
mod reading;
mod replication;
mod restarts;
mod slow_peers;
mod sole_voter;
mod start_offers;
mod start_snapshots;
mod two_changes;
mod world;
