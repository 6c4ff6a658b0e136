//! How much of the file system is left, so that records are refused while there is still room for what makes room.
//!
//! Deletions, trims, elections and the controller write a little too. If records could take the last block, nothing
//! could be deleted any more. Two things prevent it: a reserve, below which records are refused, against this broker's
//! own growth; and the ballast, which is given up when something else has taken the reserve as well.

use crate::ballast::Ballast;
use crate::options::Limits;
use mq_log::OsDisk;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Neither the reserve nor the ballast is ever more than one part in so many of the file system.
const PART_DIVISOR: u64 = 20;

/// The file system under the data directory; all writers share it.
pub(crate) struct Space {
    path: PathBuf,
    /// Records are refused when less is free.
    reserve_bytes: u64,
    ballast: Mutex<Ballast<OsDisk>>,
}

impl Space {
    /// Looks at the file system, and gives the ballast up at once if the log could not be opened without its space.
    pub(crate) fn open(disk: &OsDisk, limits: &Limits) -> io::Result<Space> {
        let path = disk.root().to_owned();
        let stats = fs4::statvfs(&path)?;
        let part_bytes_max = stats.total_space() / PART_DIVISOR;
        let size_bytes = limits.disk_ballast_bytes.min(part_bytes_max);
        let mut ballast = Ballast::open(disk.clone(), size_bytes)?;
        if stats.available_space() < size_bytes {
            let freed_bytes = ballast.give_up_all()?;
            let available_bytes = stats.available_space();
            tracing::warn!(
                available_bytes,
                freed_bytes,
                "the disk is full: ballast is given up to open the log"
            );
        }
        let reserve_bytes = limits.disk_reserve_bytes.min(part_bytes_max);
        Ok(Space { path, reserve_bytes, ballast: Mutex::new(ballast) })
    }

    /// Whether there is room for records, given whether there was. Room for the ballast comes first: it is filled up
    /// again before records are taken.
    pub(crate) fn has_room(&self, had_room: bool) -> bool {
        // If nobody knows, a write will tell.
        let Ok(stats) = fs4::statvfs(&self.path) else { return true };
        let mut ballast = self.ballast();
        if stats.available_space() < needed_bytes(self.reserve_bytes, ballast.missing_bytes(), had_room) {
            return false;
        }
        let missing_bytes = ballast.missing_bytes();
        match ballast.restore() {
            Ok(()) if missing_bytes > 0 => {
                tracing::info!(ballast_bytes = ballast.held_bytes(), "the ballast is in place");
                true
            }
            Ok(()) => true,
            // A quota, perhaps, of which the file system's figures say nothing.
            Err(error) => {
                if had_room {
                    tracing::warn!(%error, missing_bytes, "there is no room for the ballast, so there is none for records");
                }
                false
            }
        }
    }

    /// Gives up ballast because something found no room. True: there is more room now than there was.
    pub(crate) fn give_up_ballast(&self) -> bool {
        let mut ballast = self.ballast();
        match ballast.give_up() {
            Ok(0) => false,
            Ok(freed_bytes) => {
                let kept_bytes = ballast.held_bytes();
                tracing::warn!(
                    freed_bytes,
                    kept_bytes,
                    "the disk is full to the last byte: ballast is given up"
                );
                true
            }
            Err(error) => {
                tracing::error!(%error, "the disk is full, and the ballast could not be given up");
                false
            }
        }
    }

    /// What the ballast holds, in bytes.
    pub(crate) fn ballast_bytes(&self) -> u64 {
        self.ballast().held_bytes()
    }

    fn ballast(&self) -> MutexGuard<'_, Ballast<OsDisk>> {
        self.ballast.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What must be free for records to be taken. Once they are refused it is a quarter of the reserve more, so that the
/// answer does not change with every round.
fn needed_bytes(reserve_bytes: u64, missing_ballast_bytes: u64, had_room: bool) -> u64 {
    let margin_bytes = if had_room { 0 } else { reserve_bytes / 4 };
    missing_ballast_bytes + reserve_bytes + margin_bytes
}

#[cfg(test)]
mod tests;
