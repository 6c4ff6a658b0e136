//! How far a bench has come, on stderr: one line that changes on a terminal, now and then a line elsewhere.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use super::{report::milliseconds, tally::Tally};

/// How often a terminal's line is renewed; the first line elsewhere comes as soon.
const TERMINAL_INTERVAL: Duration = Duration::from_secs(1);
/// How often a line is written elsewhere.
const LINES_INTERVAL: Duration = Duration::from_secs(5);

/// What a bench is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Records acknowledged, and the latency of their acks.
    Acknowledged,
    /// Records received, and their latency from end to end where it is known.
    Received,
}

/// Tells of the bench until it is dropped half way.
pub(super) async fn tell(tally: &Tally, shown: Shown) -> std::convert::Infallible {
    let bar = io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{spinner} {msg}");
        Bar(ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner())))
    });
    let mut before = (Instant::now(), 0);
    let mut pause = TERMINAL_INTERVAL;
    loop {
        tokio::time::sleep(pause).await;
        if bar.is_none() {
            pause = LINES_INTERVAL;
        }
        let (line, records) = line(tally, shown, before);
        before = (Instant::now(), records);
        match &bar {
            Some(Bar(bar)) => {
                bar.set_message(line);
                bar.tick();
            }
            None => eprintln!("{line}"),
        }
    }
}

/// Leaves no trace on the terminal.
struct Bar(ProgressBar);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The line, and the records it tells of.
fn line(tally: &Tally, shown: Shown, (since, records_before): (Instant, u64)) -> (String, u64) {
    let mut counts = tally.lock();
    let (records, recent) = match shown {
        Shown::Acknowledged => (counts.acknowledged, counts.ack.take_recent()),
        Shown::Received => (counts.received, counts.end_to_end.take_recent()),
    };
    let rate = (records - records_before) as f64 / since.elapsed().as_secs_f64();
    let mut line = format!(
        "{:.0} s: {} record{}, {}/s",
        counts.began.elapsed().as_secs_f64(),
        HumanCount(records),
        if records == 1 { "" } else { "s" },
        HumanCount(rate.round() as u64)
    );
    if let Some([p50, p99]) = recent {
        let [p50, p99] = [p50, p99].map(|latency| milliseconds(latency.as_micros() as u64)); // an hour at most
        line += &format!(", p50 {p50} ms, p99 {p99} ms");
    }
    match counts.error_count() {
        0 => {}
        1 => line += ", 1 error",
        errors => line += &format!(", {} errors", HumanCount(errors)),
    }
    (line, records)
}
