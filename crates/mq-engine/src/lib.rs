//! Every rule of a broker, without I/O.
//!
//! An [`Engine`] holds all replicas of one shard. It is given [`Input`]s and answers with [`Effect`]s, which its
//! shell carries out in the order given. It never awaits, locks, spawns, reads a clock or draws a random number:
//! every turn carries the time, and ids come from the shell.

#[cfg(mq_planted)]
#[macro_use]
#[path = "../../mq-types/src/no_asserts.rs"]
mod no_asserts;

pub mod api;
pub mod controller;
mod effect;
mod engine;
mod event;
mod input;
pub mod partition;
mod replica;
mod replicas;
mod seat;
mod segments;
mod turn;
mod view;
mod writes;

pub use effect::{Effect, ReadId, WriteNumber};
pub use engine::{Engine, OpenError, Options};
pub use event::Event;
pub use input::{Input, Now, RequestId};
pub use view::View;
