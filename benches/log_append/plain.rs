//! A plain file that gets the same bytes in the same pieces: what the log cannot be faster than.

use crate::{Pattern, Spent};
use anyhow::{Context, Result};
use mq_benches::client::{reserved, zeroed};
use mq_benches::task::Space;
use mq_types::Batch;
use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;

/// The most slices one call may carry (Linux's IOV_MAX).
const SLICES_MAX: usize = 1024;
/// What is written into a file of zeros is whole pages: nothing must be read for it.
const PAGE_BYTES: usize = 4096;

/// One round into a file of its own (reserved) or into the one that is there (zeroed).
pub(crate) fn round(pattern: &Pattern, batch: &Batch, space: Space, dir: &Path) -> Result<Spent> {
    let bytes = batch.to_bytes();
    let mut slices = vec![&bytes[..]; pattern.batches];
    let padding =
        vec![0; (bytes.len() * pattern.batches).next_multiple_of(PAGE_BYTES) - bytes.len() * pattern.batches];
    let path = dir.join(format!("plain-{space:?}"));
    let file_bytes = (pattern.writes * (pattern.batches * bytes.len() + PAGE_BYTES)) as u64;
    let file = match space {
        Space::Reserved => reserved(&path, file_bytes),
        Space::Zeroed => {
            slices.push(&padding);
            zeroed(&path, file_bytes)
        }
    };
    let file = file.with_context(|| format!("cannot prepare {}", path.display()))?;
    let write_bytes: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
    let payload_bytes = (bytes.len() * pattern.batches) as u64;
    let mut spent = Spent::default();
    for write in 0..pattern.writes as u64 {
        let mut slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        let done = spent.measure(payload_bytes, || {
            write_all(&file, write * write_bytes, &mut slices)?;
            if pattern.synced { file.sync_data() } else { Ok(()) }
        });
        done.with_context(|| format!("cannot write to {}", path.display()))?;
    }
    if space == Space::Reserved {
        std::fs::remove_file(&path).context("cannot remove what was written")?;
    }
    Ok(spent)
}

fn write_all(file: &File, mut position: u64, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0); // skips leading empty slices
    while !slices.is_empty() {
        let count = rustix::io::pwritev(file, &slices[..slices.len().min(SLICES_MAX)], position)?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        position += count as u64;
        IoSlice::advance_slices(&mut slices, count);
    }
    Ok(())
}
