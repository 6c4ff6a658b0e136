//! How much of the file system is left, so that records are refused while there is still room for what makes room.
//!
//! Deletions, trims, elections and the controller write a little too. If records could take the last block, nothing
//! could be deleted any more.

use std::path::PathBuf;

/// A file system is never asked to keep more than one part in so many of itself free.
const RESERVE_DIVISOR: u64 = 20;

/// The file system under the data directory.
pub(crate) struct Space {
    pub(crate) path: PathBuf,
    /// Records are refused when less is free.
    pub(crate) reserve_bytes: u64,
}

impl Space {
    /// Whether there is room for records, given whether there was: once it is full, a quarter more must become free,
    /// so that the answer does not change with every round.
    pub(crate) fn has_room(&self, had_room: bool) -> bool {
        // If nobody knows, a write will tell.
        let Ok(stats) = fs4::statvfs(&self.path) else { return true };
        let reserve_bytes = self.reserve_bytes.min(stats.total_space() / RESERVE_DIVISOR);
        let needed_bytes = if had_room { reserve_bytes } else { reserve_bytes + reserve_bytes / 4 };
        stats.available_space() >= needed_bytes
    }
}
