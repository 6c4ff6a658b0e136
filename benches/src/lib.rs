//! What every benchmark needs: the machine it runs on, the processes that take part, what those used of the machine
//! and what somebody else used, rounds of contenders, and medians.
//!
//! No benchmark is here, and nothing is asserted about figures.

pub mod arena;
pub mod arguments;
pub mod bench;
pub mod client;
pub mod figures;
pub mod helper;
pub mod machine;
pub mod measurement;
pub mod meter;
pub mod mqd;
pub mod payload;
pub mod report;
pub mod schedule;
pub mod spread;
pub mod stand_in;
pub mod task;
