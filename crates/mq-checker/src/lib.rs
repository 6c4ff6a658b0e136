//! Says whether what was observed of a cluster may have happened.
//!
//! A recorder writes down what it saw ([`history`]), the [`Checker`] reads it once, event by event, and reports each
//! promise that was broken as soon as an event shows it. It needs no search: the cluster itself says which offset
//! each record has. Nothing here knows whether the cluster was simulated or real.
//!
//! ```
//! use mq_checker::history::{Event, Fact};
//! use mq_checker::{Checker, Deadlines};
//!
//! let mut checker = Checker::new(Deadlines::default());
//! let fact = Fact::Policy { quorum: mq_types::QuorumId(1024), retention: false };
//! assert!(checker.observe(&Event { at_us: 0, fact }).is_empty());
//! assert!(checker.finish().is_empty());
//! ```

mod checker;
mod finals;
pub mod history;
mod liveness;
mod log_start;
mod order;
mod partition;
mod places;
mod raft;
mod reads;
mod sent;
mod violation;

pub use checker::{Checker, Counts};
pub use liveness::Deadlines;
pub use violation::{Check, Violation};
