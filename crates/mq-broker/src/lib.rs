//! The tokio shell around the engine: shards, writers, readers, and the one handle that every front end calls.
//!
//! Reading order: [`Broker`] (what can be asked), `start` (what runs), `shard` and `writer` (the two threads of a
//! shard), `inbox` between them and everybody, `views` and `fetch` (reading, past the engine), `shutdown`. Rules of the
//! log, of replication and of topics are not here: the shell carries out what the engine decides.

mod bad_places;
mod ballast;
mod broker;
mod control;
mod data_dir;
mod events;
mod fetch;
mod health;
mod inbox;
mod metrics;
mod options;
mod produce;
mod routing;
mod scrub;
mod shard;
mod shutdown;
mod space;
mod start;
mod ticker;
mod trash;
mod views;
mod writer;

pub use broker::{Broker, Fetched, FoundOffset, OffsetSpec, Produce, Resolved, TopicPartition, WhenFull};
pub use data_dir::DataDirError;
pub use health::{Finding, Severity};
pub use metrics::Metrics;
pub use mq_engine::{View, api, controller};
pub use mq_log::ScrubOptions;
pub use options::{FatalError, FatalHook, Limits, Options, StartError, StopError};
pub use produce::ProduceTicket;
