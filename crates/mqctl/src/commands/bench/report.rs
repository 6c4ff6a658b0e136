//! The summary of a bench on stdout: tables for people, JSON for scripts.

use std::time::Duration;

use super::tally::Tally;
use crate::{
    exit::Exit,
    json::{Bench, BenchLatency},
    output::table,
    session::Session,
};

/// Less than this part of the rate asked for is told of.
const RATE_KEPT_RATIO_MIN: f64 = 0.95;
/// Shorter benches end between two records too often to judge their rate.
const RATE_JUDGED_AFTER_SECONDS: f64 = 1.0;

/// What was measured.
pub(super) struct Subject {
    pub(super) bench: &'static str,
    pub(super) topic: String,
    pub(super) connections: u16,
    /// None: as they were found.
    pub(super) record_size_bytes: Option<usize>,
    /// Records per second that were asked for.
    pub(super) rate: Option<u32>,
}

/// Prints what came of it. An error if any record met one.
pub(super) fn print(
    session: &Session,
    tally: &Tally,
    subject: &Subject,
    interrupted: bool,
) -> anyhow::Result<Exit> {
    let bench = summary(tally, subject, interrupted);
    session.output.print(&bench, |_| text(&bench))?;
    if let Some(rate) = bench.rate
        && bench.records_per_second < f64::from(rate) * RATE_KEPT_RATIO_MIN
        && bench.seconds > RATE_JUDGED_AFTER_SECONDS
    {
        session.say(&format!(
            "{:.0} of the {rate} records per second asked for were reached: the latencies are those of an overload",
            bench.records_per_second
        ));
    }
    if interrupted {
        session.say("interrupted before the end");
    }
    Ok(if bench.errors.is_empty() { Exit::Ok } else { Exit::Error })
}

fn summary(tally: &Tally, subject: &Subject, interrupted: bool) -> Bench {
    let mut counts = tally.lock();
    let unanswered = counts.unanswered;
    if unanswered > 0 {
        counts.error("UNANSWERED", unanswered, || "no answer came before the end of the bench".to_owned());
    }
    let seconds = counts.elapsed().as_secs_f64();
    let sends = subject.bench != "consume";
    let reads = subject.bench != "produce";
    let records = if reads { counts.received } else { counts.acknowledged };
    let bytes = match subject.record_size_bytes {
        Some(size_bytes) => records * size_bytes as u64, // usize is at most 64 bits wide
        None => counts.bytes,
    };
    let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    Bench {
        bench: subject.bench,
        topic: subject.topic.clone(),
        connections: subject.connections,
        record_size_bytes: subject.record_size_bytes,
        rate: subject.rate,
        seconds,
        records,
        bytes,
        records_per_second: per_second(records),
        bytes_per_second: per_second(bytes),
        sent: sends.then_some(counts.sent),
        acknowledged: sends.then_some(counts.acknowledged),
        received: reads.then_some(counts.received),
        verified: reads.then_some(counts.verified),
        ack_latency: counts.ack.summary(),
        end_to_end_latency: counts.end_to_end.summary(),
        errors: counts.errors(),
        interrupted,
    }
}

fn text(bench: &Bench) -> String {
    let mut totals = table(&["RECORDS", "SECONDS", "RECORDS/S", "MB/S"]);
    let mut row = vec![
        bench.records.to_string(),
        format!("{:.2}", bench.seconds),
        format!("{:.0}", bench.records_per_second),
        format!("{:.2}", bench.bytes_per_second / 1e6),
    ];
    if let Some(verified) = bench.verified {
        totals.set_header(["RECORDS", "SECONDS", "RECORDS/S", "MB/S", "VERIFIED"]);
        row.push(verified.to_string());
    }
    totals.add_row(row);
    let mut parts = vec![totals.trim_fmt()];
    let latencies = [("ack", &bench.ack_latency), ("end to end", &bench.end_to_end_latency)];
    let known: Vec<(&str, &BenchLatency)> =
        latencies.iter().filter_map(|(name, latency)| Some((*name, latency.as_ref()?))).collect();
    if !known.is_empty() {
        let mut table = table(&["LATENCY (MS)", "P50", "P90", "P99", "P99.9", "MAX"]);
        for (name, &BenchLatency { p50_us, p90_us, p99_us, p999_us, max_us }) in known {
            let figures = [p50_us, p90_us, p99_us, p999_us, max_us].map(milliseconds);
            table.add_row(std::iter::once(name.to_owned()).chain(figures));
        }
        parts.push(table.trim_fmt());
    }
    if !bench.errors.is_empty() {
        let mut table = table(&["ERROR", "COUNT", "THE FIRST"]);
        for error in &bench.errors {
            table.add_row([error.reason, &error.count.to_string(), &error.example]);
        }
        parts.push(table.trim_fmt());
    }
    parts.join("\n\n")
}

/// Microseconds as milliseconds, with three digits behind the point.
pub(super) fn milliseconds(us: u64) -> String {
    format!("{:.3}", Duration::from_micros(us).as_secs_f64() * 1e3)
}
