//! What the disk can do: plain writes into files that have their space already, each made durable before the next.

use crate::payload::RECORD_BYTES;
use crate::task::{Latencies, Sample, Space};
use anyhow::{Context, Result};
use rustix::fs::{Advice, FallocateFlags};
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Instant;

/// Zeros are written in pieces of this size.
const ZEROS_BYTES: u64 = 1 << 20;

/// Every writer has a thread and a file of its own in `dir`. Zeroed files stay for the next time, reserved ones go.
pub(super) fn run(dir: &Path, space: Space, writers: u32, writes: u32, write_bytes: u64) -> Result<Sample> {
    let file_bytes = u64::from(writes) * write_bytes;
    let paths: Vec<_> = (0..writers).map(|writer| dir.join(format!("limit-{space:?}-{writer}"))).collect();
    let mut files = Vec::new();
    for path in &paths {
        let file = match space {
            Space::Reserved => reserved(path, file_bytes),
            Space::Zeroed => zeroed(path, file_bytes),
        };
        files.push(file.with_context(|| format!("cannot prepare {}", path.display()))?);
    }
    let mut data =
        rand::random::<[u8; RECORD_BYTES]>().repeat(usize::try_from(write_bytes)?.div_ceil(RECORD_BYTES));
    data.truncate(usize::try_from(write_bytes)?);

    let began = Instant::now();
    let latencies = thread::scope(|scope| {
        let threads: Vec<_> = files.iter().map(|file| scope.spawn(|| fill(file, writes, &data))).collect();
        let mut all = Latencies::default();
        for thread in threads {
            all.add(&thread.join().expect("a writer does not panic").context("cannot write")?);
        }
        anyhow::Ok(all)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    if space == Space::Reserved {
        paths.iter().try_for_each(std::fs::remove_file).context("cannot remove what was written")?;
    }
    let messages = u64::from(writers) * u64::from(writes);
    Ok(Sample { seconds, records: 0, bytes: messages * write_bytes, messages, latency: latencies.summary() })
}

/// A new file with this much space reserved, and nothing in it. As in the log, the length stays what was written.
///
/// # Errors
/// The disk refuses.
pub fn reserved(path: &Path, size_bytes: u64) -> io::Result<File> {
    let file = File::options().create(true).write(true).truncate(true).open(path)?;
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, size_bytes)?;
    file.sync_all()?;
    Ok(file)
}

/// A file of zeros of at least this size, on the disk and not in memory: the pages are not cached at first, as they
/// are not for a log that grows.
///
/// # Errors
/// The disk refuses.
pub fn zeroed(path: &Path, size_bytes: u64) -> io::Result<File> {
    let mut file = File::options().create(true).append(true).open(path)?;
    let zeros = vec![0; ZEROS_BYTES as usize];
    let mut there = file.metadata()?.len();
    while there < size_bytes {
        file.write_all(&zeros)?;
        there += ZEROS_BYTES;
    }
    file.sync_all()?;
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
    File::options().write(true).open(path) // one that appends would ignore positions
}

fn fill(file: &File, writes: u32, data: &[u8]) -> io::Result<Latencies> {
    let mut latencies = Latencies::default();
    for position in (0..u64::from(writes)).map(|write| write * data.len() as u64) {
        let began = Instant::now();
        file.write_all_at(data, position)?;
        file.sync_data()?;
        latencies.record(began.elapsed());
    }
    Ok(latencies)
}
