//! Quorums of members over disks and a wire in memory: scripts that a person can follow, and a seeded random run.

mod disk;
mod elections;
mod incoming;
mod random;
mod reading;
mod replication;
mod restarts;
mod sole_voter;
mod world;
