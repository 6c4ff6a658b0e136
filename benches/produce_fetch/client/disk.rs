//! What the disk can do: plain writes into files that are there already, each made durable before the next.
//!
//! The files hold zeros, so no write changes anything but data; each write is a whole number of pages, so nothing is
//! read; and the pages are not cached at first, as they are not for a log that grows.

use super::{histogram, quantile_us, record};
use crate::payload::RECORD_BYTES;
use crate::task::Sample;
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Instant;

/// Zeros are written in pieces of this size.
const ZEROS_BYTES: u64 = 1 << 20;

/// Every writer has a thread and a file of its own in `dir`; the files stay for the next time.
pub(super) fn run(dir: &Path, writers: u32, writes: u32, write_bytes: u64) -> Result<Sample> {
    let file_bytes = u64::from(writes) * write_bytes;
    let files = (0..writers)
        .map(|writer| {
            let path = dir.join(format!("limit-{writer}"));
            preallocated(&path, file_bytes).with_context(|| format!("cannot prepare {}", path.display()))
        })
        .collect::<Result<Vec<File>>>()?;
    let mut data =
        rand::random::<[u8; RECORD_BYTES]>().repeat(usize::try_from(write_bytes)?.div_ceil(RECORD_BYTES));
    data.truncate(usize::try_from(write_bytes)?);

    let began = Instant::now();
    let latencies = thread::scope(|scope| {
        let threads: Vec<_> = files.iter().map(|file| scope.spawn(|| fill(file, writes, &data))).collect();
        let mut all = histogram();
        for thread in threads {
            let latencies = thread.join().expect("a writer does not panic").context("cannot write")?;
            all.add(latencies).expect("all histograms have the same bounds");
        }
        anyhow::Ok(all)
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let messages = u64::from(writers) * u64::from(writes);
    let (p50_us, p99_us) = (quantile_us(&latencies, 0.5), quantile_us(&latencies, 0.99));
    Ok(Sample { seconds, records: 0, bytes: messages * write_bytes, messages, p50_us, p99_us })
}

/// A file of zeros of at least this size, on the disk and not in memory.
fn preallocated(path: &Path, size_bytes: u64) -> std::io::Result<File> {
    let mut file = File::options().create(true).append(true).open(path)?;
    let zeros = vec![0; ZEROS_BYTES as usize];
    let mut there = file.metadata()?.len();
    while there < size_bytes {
        file.write_all(&zeros)?;
        there += ZEROS_BYTES;
    }
    file.sync_all()?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    File::options().write(true).open(path) // one that appends would ignore positions
}

fn fill(file: &File, writes: u32, data: &[u8]) -> std::io::Result<Histogram<u64>> {
    let mut latencies = histogram();
    for position in (0..u64::from(writes)).map(|write| write * data.len() as u64) {
        let began = Instant::now();
        file.write_all_at(data, position)?;
        file.sync_data()?;
        record(&mut latencies, began.elapsed());
    }
    Ok(latencies)
}
