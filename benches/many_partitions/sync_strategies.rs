//! Ways to make a little of many files durable, as plain operations: what a strategy of the log can win here.

use anyhow::{Context, Result};
use mq_benches::bench::{self, Run};
use mq_benches::client::{reserved, zeroed};
use mq_benches::meter::{Meter, Usage};
use mq_benches::report::{Entry, Row};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const FILES: [usize; 4] = [1, 10, 100, 1_000];
/// Appended to each file each time.
const WRITE_BYTES: usize = 4 << 10;
/// How often in a round. A checkpoint follows the last time where a strategy needs one.
const TIMES: usize = 8;
const QUICK_TIMES: usize = 2;
const THREADS: usize = 8;

/// All begin by writing to every file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strategy {
    Each,
    EachInThreads,
    FileSystem,
    Journal,
}

const STRATEGIES: [(Strategy, &str); 4] = [
    (Strategy::Each, "fdatasync each"),
    (Strategy::EachInThreads, "fdatasync each, 8 threads"),
    (Strategy::FileSystem, "one syncfs"),
    (Strategy::Journal, "journal of zeros, one fdatasync"),
];

/// So many files, and a journal that has room for a round.
struct Files {
    segments: Vec<File>,
    journal: File,
    /// Where the next writes to the segments go.
    position: u64,
}

/// Beside the way the log does it now, which is the first.
pub(super) fn measure(run: &Run) -> Result<Vec<Entry>> {
    let name = |count| format!("4 KiB durable in each of {count} files");
    let wanted: Vec<_> = FILES.into_iter().filter(|count| run.arguments.wants(&name(*count))).collect();
    let turns = run.arguments.rounds();
    wanted.iter().for_each(|_| run.announce(u64::from(turns) + 1));
    let mut entries = Vec::new();
    for count in wanted {
        run.progress.set_message(name(count));
        entries.push(measure_files(run, name(count), count, turns)?);
    }
    Ok(entries)
}

fn measure_files(run: &Run, name: String, count: usize, turns: u32) -> Result<Entry> {
    let mut entry = Entry::new(name);
    let dir = run.new_dir()?;
    let times = if run.arguments.quick { QUICK_TIMES } else { TIMES };
    let rounds_count = (turns as usize + 1) * STRATEGIES.len();
    let mut files = Files::make(dir.path(), count, times, rounds_count).context("cannot make the files")?;
    let mut samples = STRATEGIES.map(|_| Vec::new());
    let mut with_checkpoint = Vec::new();
    let mut usages: Vec<Usage> = Vec::new();
    for turn in 0..=turns {
        for ((strategy, _), samples) in STRATEGIES.iter().zip(&mut samples) {
            bench::settle(dir.path())?;
            let meter = Meter::start(&[])?;
            let took = files.round(*strategy, times).context("cannot write and sync")?;
            let began = Instant::now();
            bench::settle(dir.path())?; // the checkpoint: the segments, which nobody has synced
            let checkpoint = began.elapsed();
            if turn > 0 {
                let ms = |took: Duration| took.as_secs_f64() * 1e3 / times as f64;
                samples.push(ms(took));
                if *strategy == Strategy::Journal {
                    with_checkpoint.push(ms(took + checkpoint));
                }
                usages.push(meter.stop()?);
            }
        }
        run.progress.inc(1);
    }
    let each = samples[0].clone();
    let mut rows: Vec<_> = STRATEGIES
        .iter()
        .zip(samples)
        .map(|((strategy, name), samples)| {
            let row = Row::new(*name, "ms", samples);
            if *strategy == Strategy::Each { row } else { row.beside(&each) }
        })
        .collect();
    rows.push(
        Row::new(format!("… and a checkpoint every {times} times"), "ms", with_checkpoint).beside(&each),
    );
    entry.rows = rows;
    entry.note_usage(&usages, run.machine.cores);
    Ok(entry)
}

impl Files {
    fn make(dir: &Path, count: usize, times: usize, rounds: usize) -> io::Result<Files> {
        let segment_bytes = (times * rounds * WRITE_BYTES) as u64;
        let segments: io::Result<_> = (0..count)
            .map(|number| reserved(&dir.join(format!("segment-{number}")), segment_bytes))
            .collect();
        let journal = zeroed(&dir.join("journal"), (times * count * WRITE_BYTES) as u64)?;
        Ok(Files { segments: segments?, journal, position: 0 })
    }

    /// Writes and makes durable, so many times; how long all of it took.
    fn round(&mut self, strategy: Strategy, times: usize) -> io::Result<Duration> {
        let one = vec![1; WRITE_BYTES];
        let all = vec![1; WRITE_BYTES * self.segments.len()];
        let began = Instant::now();
        for time in 0..times as u64 {
            for segment in &self.segments {
                segment.write_all_at(&one, self.position)?;
            }
            self.position += WRITE_BYTES as u64;
            match strategy {
                Strategy::Each => self.segments.iter().try_for_each(File::sync_data)?,
                Strategy::EachInThreads => self.sync_in_threads()?,
                Strategy::FileSystem => rustix::fs::syncfs(&self.journal)?,
                Strategy::Journal => {
                    self.journal.write_all_at(&all, time * all.len() as u64)?;
                    self.journal.sync_data()?;
                }
            }
        }
        Ok(began.elapsed())
    }

    fn sync_in_threads(&self) -> io::Result<()> {
        let share = self.segments.len().div_ceil(THREADS);
        std::thread::scope(|scope| {
            let sync = |files: &[File]| files.iter().try_for_each(File::sync_data);
            let threads: Vec<_> =
                self.segments.chunks(share).map(|files| scope.spawn(move || sync(files))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a sync does not panic"))
        })
    }
}
