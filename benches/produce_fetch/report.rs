//! From rounds to figures: medians, ratios, the table for a terminal and the JSON for a file.

use crate::arena::{Contender, Observed, Work};
use crate::measurement::Measured;
use comfy_table::{CellAlignment, Table, presets};
use mq_benches::machine::Machine;
use mq_benches::spread::Spread;
use serde::Serialize;
use std::time::Duration;

/// A measurement during which others used more of all cores' time than this is flagged.
const ELSEWHERE_PERCENT_MAX: f64 = 5.0;

/// All that a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// A run to see that the benchmark works; its figures mean nothing.
    pub(crate) quick: bool,
    /// Rounds of each.
    pub(crate) rounds: u32,
    pub(crate) measurements: Vec<Entry>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    name: &'static str,
    unit: Unit,
    ours: Option<Figure>,
    limits: Vec<Figure>,
    /// The most memory that the broker had meanwhile.
    broker_peak_bytes: Option<u64>,
    /// How much of all cores' time was used neither by the benchmark nor by what it measured.
    elsewhere_percent: f64,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, Serialize)]
enum Unit {
    /// 10^6 bytes of values a second; more is better.
    #[serde(rename = "MB/s")]
    Throughput,
    /// Half of the answers came within it; less is better.
    #[serde(rename = "us (p50)")]
    Latency,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    /// In the unit of the measurement.
    value: Spread,
    p99_us: Option<Spread>,
    /// Ours divided by this one, round by round.
    ratio: Option<Spread>,
    server_cpu_us_per_kib: Option<f64>,
    client_cpu_us_per_kib: f64,
    bytes_per_message: f64,
    /// Of each round.
    values: Vec<f64>,
}

impl Entry {
    /// The figures of these rounds. There is at least one round of each.
    pub(crate) fn new(measured: &Measured, cores: usize) -> Entry {
        let unit = match measured.measurement.work {
            Work::OneAtATime => Unit::Latency,
            Work::Produce { .. } | Work::Fetch { .. } => Unit::Throughput,
        };
        let mut ours = None;
        let mut limits = Vec::new();
        for (who, rounds) in &measured.rounds {
            let figure = Figure::new(*who, unit, rounds);
            match who {
                Contender::Ours => ours = Some(figure),
                Contender::Grpc | Contender::Disk => limits.push(figure),
            }
        }
        if let (Unit::Latency, [grpc, disk]) = (unit, &limits[..]) {
            limits.push(Figure::one_after_the_other(grpc, disk));
        }
        if let Some(ours) = &ours {
            limits.iter_mut().for_each(|limit| limit.compare(ours));
        }
        let rounds = || measured.rounds.iter().flat_map(|(_, rounds)| rounds);
        let elsewhere: Duration = rounds().map(|round| round.elsewhere).sum();
        let wall: Duration = rounds().map(|round| round.wall).sum();
        let elsewhere_percent = 100.0 * elsewhere.as_secs_f64() / (wall.as_secs_f64() * cores as f64);
        let broker_peak_bytes = measured.peak_bytes;
        Entry { name: measured.measurement.name, unit, ours, limits, broker_peak_bytes, elsewhere_percent }
    }

    /// What spoils the figures, if anything did.
    pub(crate) fn warning(&self) -> Option<String> {
        let Entry { name, elsewhere_percent, .. } = self;
        (*elsewhere_percent > ELSEWHERE_PERCENT_MAX)
            .then(|| format!("noisy: {elsewhere_percent:.0} % of the CPU went elsewhere ({name})"))
    }
}

impl Figure {
    fn new(who: Contender, unit: Unit, rounds: &[Observed]) -> Figure {
        let samples = || rounds.iter().map(|round| &round.sample);
        let values: Vec<f64> = match unit {
            Unit::Throughput => samples().map(|s| s.bytes as f64 / 1e6 / s.seconds).collect(),
            Unit::Latency => samples().map(|s| s.p50_us).collect(),
        };
        let kib = samples().map(|s| s.bytes as f64 / 1024.0).sum::<f64>();
        let messages = samples().map(|s| s.messages as f64).sum::<f64>();
        let bytes_per_message = kib * 1024.0 / messages;
        let name = match who {
            Contender::Ours => "mq".to_owned(),
            Contender::Grpc => "gRPC, nothing stored".to_owned(),
            Contender::Disk => format!("write + fdatasync, {:.0} KiB", bytes_per_message / 1024.0),
        };
        let per_kib = |cpu: Duration| cpu.as_secs_f64() * 1e6 / kib;
        let server_cpu: Option<Duration> = rounds.iter().map(|round| round.server_cpu).sum();
        Figure {
            name,
            value: spread(values.iter().copied()),
            p99_us: matches!(unit, Unit::Latency).then(|| spread(samples().map(|s| s.p99_us))),
            ratio: None,
            server_cpu_us_per_kib: server_cpu.map(per_kib),
            client_cpu_us_per_kib: per_kib(rounds.iter().map(|round| round.client_cpu).sum()),
            bytes_per_message,
            values,
        }
    }

    /// What it takes at least to send a record and then to make it durable. Percentiles of sums are not sums of
    /// percentiles, except nearly so in the middle: there is no p99.
    fn one_after_the_other(first: &Figure, second: &Figure) -> Figure {
        let values: Vec<f64> = first.values.iter().zip(&second.values).map(|(a, b)| a + b).collect();
        Figure {
            name: "both, one after the other".to_owned(),
            value: spread(values.iter().copied()),
            p99_us: None,
            ratio: None,
            server_cpu_us_per_kib: first.server_cpu_us_per_kib,
            client_cpu_us_per_kib: first.client_cpu_us_per_kib + second.client_cpu_us_per_kib,
            bytes_per_message: first.bytes_per_message,
            values,
        }
    }

    /// Neighbouring rounds are compared: what drifts during a run touches both.
    fn compare(&mut self, ours: &Figure) {
        self.ratio = Some(spread(ours.values.iter().zip(&self.values).map(|(ours, limit)| ours / limit)));
    }
}

fn spread(samples: impl Iterator<Item = f64>) -> Spread {
    Spread::of(samples).expect("every contender has at least one round")
}

/// The table, one line for the broker and one for each limit. It is Markdown as well.
pub(crate) fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "measurement",
        "who",
        "median",
        "min – max",
        "p99",
        "mq / limit",
        "CPU server",
        "CPU client",
        "peak memory",
    ]);
    for entry in &report.measurements {
        for (place, figure) in entry.ours.iter().chain(&entry.limits).enumerate() {
            let is_ours = place == 0 && entry.ours.is_some();
            let Spread { median, smallest, largest } = figure.value;
            let unit = match entry.unit {
                Unit::Throughput => "MB/s",
                Unit::Latency => "µs",
            };
            let optional = |text: Option<String>| text.unwrap_or_default();
            table.add_row([
                if place == 0 { entry.name.to_owned() } else { String::new() },
                figure.name.clone(),
                format!("{median:.0} {unit}"),
                format!("{smallest:.0} – {largest:.0}"),
                optional(figure.p99_us.map(|p99| format!("{:.0} µs", p99.median))),
                optional(figure.ratio.map(|ratio| format!("{:.2}", ratio.median))),
                optional(figure.server_cpu_us_per_kib.map(|cpu| format!("{cpu:.2}"))),
                format!("{:.2}", figure.client_cpu_us_per_kib),
                optional(
                    entry.broker_peak_bytes.filter(|_| is_ours).map(|peak| format!("{} MiB", peak >> 20)),
                ),
            ]);
        }
    }
    table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}
