//! The checker's own proof: of each promise, histories that break it and are found out, and odd but legal ones.

mod cluster;
mod deletion;
mod liveness;
mod marks;
mod order;
mod raft;
mod records;
mod replicas;
mod story;
