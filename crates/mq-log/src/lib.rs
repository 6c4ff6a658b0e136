//! A segmented log on disk, many replicas a store, and nothing else.
//!
//! It knows entries, indexes, offsets, and terms as stamps. Of topics, leaders and commit rules it knows nothing;
//! term, vote and membership are opaque values that it keeps and gives back.
//!
//! Reading order: [`ShardStore`] (what a shard's writer calls), `round` (the one order in which a round becomes
//! durable), `log` and `segment`, `frame` (the bytes), `recovery`, [`repair`], [`Reader`], `scrub`.

#[cfg(mq_planted)]
#[macro_use]
#[path = "../../mq-types/src/no_asserts.rs"]
mod no_asserts;

mod active;
mod cached_tail;
pub mod disk;
mod frame;
mod head;
pub mod inspect;
mod log;
mod log_recovery;
mod merge;
mod options;
mod paths;
mod reader;
mod recovery;
pub mod repair;
mod replica_recovery;
mod reserve;
mod round;
mod salts;
mod scrub;
mod segment;
mod shard_store;
mod snapshot;
mod sparse_index;
mod state_log;
mod state_record;
mod state_recovery;
mod sync_plan;
pub mod trash;
mod walk;

pub use disk::{Disk, DiskFile, MemDisk, OsDisk};
pub use options::Options;
pub use reader::{BadPlace, ReadBatches, ReadError, Reader};
pub use recovery::{OpenError, ShardOpen, open};
pub use scrub::{ScrubOptions, ScrubPlace, ScrubStep, Scrubbed, Scrubber};
pub use shard_store::{PersistError, RoundReport, ShardStore};
