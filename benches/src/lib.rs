//! What every benchmark needs: the machine it runs on, the processes that take part, what those used of the machine
//! and what somebody else used, and medians.
//!
//! No benchmark is here, and nothing is asserted about figures.

pub mod helper;
pub mod machine;
pub mod meter;
pub mod mqd;
pub mod spread;
