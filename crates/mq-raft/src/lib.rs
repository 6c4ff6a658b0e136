//! One member of one quorum, as a pure state machine around the `raft` crate's `RawNode`.
//!
//! Whoever owns a [`Member`] feeds it what happens (`tick`, `step`, `propose`, `persisted`, `entries_read`, …) and
//! asks it for [`Work`] until there is none. Work is to be done in the order of its fields; that order, together with
//! the numbers of writes, is all that durability rests on.
//!
//! ```text
//!   tick, step, propose ──► Member ──► Work { persist, send_now, send_after_persist, read, committed, membership, … }
//!   persisted, entries_read ──►│
//!   applied, compacted ────────┤
//!   membership_applied ────────┘
//! ```
//!
//! This crate does no I/O, knows no clock and draws no random number; it is the only one that names `raft`. It knows
//! nothing of partitions and machines but how eagerly followers must learn of commits, and it keeps no record: the
//! bytes belong to the log, and only the recent tail is shared here so that peers need no disk.

#[cfg(mq_planted)]
#[macro_use]
#[path = "../../mq-types/src/no_asserts.rs"]
mod no_asserts;

mod convert;
mod incoming;
mod member;
mod membership;
mod options;
mod peers;
mod reads;
mod shadow;
mod work;

pub use incoming::{Malformation, StepError};
pub use member::{Member, ProposeError};
pub use membership::{MembershipTarget, ProposeMembershipError};
pub use options::{ELECTION_TICKS, HEARTBEAT_TICKS, Kind, Limits, Options};
pub use peers::Peer;
pub use reads::{ReadFailed, ReadId, ReadRequest};
pub use work::{Committed, MembershipChange, Persist, ReadIndex, Role, RoleChange, SendAfterPersist, Work};
