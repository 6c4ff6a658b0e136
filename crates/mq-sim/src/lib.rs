//! Whole clusters in one thread, in virtual time, with faults from a seed: the other shell around the engine.
//!
//! Engines, Raft and logs are the real ones; disks are in memory and know what is durable, the network and the clocks
//! are numbers. Whatever a cluster does is written down and judged by `mq-checker`. One seed gives one run, always the
//! same.
//!
//! Reading order: `swarm` (what a run is like), `run` and `world` (how it goes), `broker` and `shard` (what stands in
//! for `mq-broker`), `faults`, `network`, `disk`, `rot` and `time` (what goes wrong), `clients` (who uses the cluster),
//! `liveness` (what must be true in the end), `runner` (many seeds), `mutants` (what a bug that was
//! planted is found by).

mod ask;
mod backlog;
mod broker;
mod clients;
mod copies;
mod disk;
mod events;
mod fault_kind;
mod faults;
mod fetch;
mod liveness;
mod log_reads;
pub mod markers;
pub mod mutants;
mod network;
mod payload;
mod progress;
mod queue;
mod random;
mod record;
pub mod report;
mod rot;
mod run;
pub mod runner;
mod shard;
mod stage;
mod swarm;
mod tally;
mod tell;
mod time;
mod transcript;
mod turn;
mod whole;
mod world;

pub use fault_kind::FaultKind;
pub use run::{Outcome, run};
pub use swarm::{Scenario, Swarm};
pub use tally::Tally;
pub use transcript::{Keep, Transcript};
