//! The ballast: a file that does nothing but take space, so that there is some to give up when the disk is full.
//!
//! The reserve (`space`) is enough while only this broker grows. When somebody else fills the file system to the last
//! byte, the ballast is what elections, trims, deletions and the state log live on until there is room again.
//!
//! Nothing in it is ever read, so nothing about it has to be durable: a crash costs at most that it is made again. On a
//! file system without reservations it holds nothing.

use mq_log::{Disk, DiskFile};
use std::io;
use std::path::Path;

/// Its name in the data directory.
const NAME: &str = "ballast";
/// One part in so many stays when a running broker gives the ballast up: opening the log writes a little too, and a
/// broker that is restarted on the full disk must find room for that.
const KEPT_FOR_START_DIVISOR: u64 = 4;

/// The space that is kept for bad times.
#[derive(Debug)]
pub(crate) struct Ballast<D: Disk> {
    disk: D,
    /// `None` until it is made for the first time.
    file: Option<D::File>,
    /// What it should hold.
    size_bytes: u64,
    /// What it holds.
    held_bytes: u64,
}

impl<D: Disk> Ballast<D> {
    /// Finds what there is of it; makes nothing new, but gives back what is beyond `size_bytes`.
    pub(crate) fn open(disk: D, size_bytes: u64) -> io::Result<Ballast<D>> {
        let file = match disk.open(Path::new(NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        let mut held_bytes = 0;
        if let Some(file) = &file {
            held_bytes = file.len_bytes()?.min(size_bytes);
            file.set_len(held_bytes)?;
            // In a directory that was copied it may be nothing but a hole.
            if file.allocate(held_bytes).is_err() {
                held_bytes = 0;
                file.set_len(0)?;
            }
        }
        Ok(Ballast { disk, file, size_bytes, held_bytes })
    }

    /// What it holds, in bytes.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// What it lacks, in bytes.
    pub(crate) fn missing_bytes(&self) -> u64 {
        self.size_bytes - self.held_bytes
    }

    /// Fills it up. After an error it is as it was before, and may be filled up some other time.
    pub(crate) fn restore(&mut self) -> io::Result<()> {
        if self.missing_bytes() == 0 {
            return Ok(());
        }
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.file.insert(self.disk.create(Path::new(NAME))?).clone(),
        };
        // Its length says what it holds, so it grows only after the space is there.
        let grown = file.allocate(self.size_bytes).and_then(|()| file.set_len(self.size_bytes));
        if let Err(error) = grown {
            // A reservation that fails may have taken a part of it.
            file.set_len(self.held_bytes)?;
            return Err(error);
        }
        self.held_bytes = self.size_bytes;
        assert_eq!(self.missing_bytes(), 0, "the ballast is whole");
        Ok(())
    }

    /// Gives up what a running broker may: all but a last part, which is for its next start. Answers how many bytes are
    /// free now that were not.
    pub(crate) fn give_up(&mut self) -> io::Result<u64> {
        self.shrink_to(self.size_bytes / KEPT_FOR_START_DIVISOR)
    }

    /// Gives up everything.
    pub(crate) fn give_up_all(&mut self) -> io::Result<u64> {
        self.shrink_to(0)
    }

    fn shrink_to(&mut self, bytes: u64) -> io::Result<u64> {
        let freed_bytes = self.held_bytes.saturating_sub(bytes);
        if let (Some(file), 1..) = (&self.file, freed_bytes) {
            file.set_len(bytes)?;
            self.held_bytes = bytes;
        }
        assert!(self.held_bytes <= self.size_bytes, "{} bytes of ballast is too much", self.held_bytes);
        Ok(freed_bytes)
    }
}

#[cfg(test)]
mod tests;
