//! The figures of a measurement with a broker, from its rounds.

use crate::arena::{Contender, Observed, Work};
use crate::measurement::Measured;
use crate::report::{Entry, Row, Target};
use crate::task::{Form, Sample, Space};

const MB: f64 = 1e6;
const MIB: f64 = 1_048_576.0;

/// What the figure of a kind of work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Throughput,
    Latency,
    Answers,
}

impl Kind {
    fn of(work: Work) -> Kind {
        match work {
            Work::Produce { .. } | Work::Fetch { .. } => Kind::Throughput,
            Work::OneAtATime | Work::OpenLoop { .. } => Kind::Latency,
            Work::ManyClients { .. } => Kind::Answers,
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Kind::Throughput => "MB/s",
            Kind::Latency => "µs p50",
            Kind::Answers => "acks/s",
        }
    }

    fn figure(self, sample: &Sample) -> f64 {
        match self {
            Kind::Throughput => sample.bytes as f64 / MB / sample.seconds,
            Kind::Latency => sample.latency.p50_us,
            Kind::Answers => sample.messages as f64 / sample.seconds,
        }
    }
}

/// All figures of these rounds. There is at least one round of each contender.
pub fn entry(measured: &Measured, cores: usize) -> Entry {
    let Measured { measurement, rounds, peak_bytes } = measured;
    let kind = Kind::of(measurement.work);
    let figures = |rounds: &[Observed]| rounds.iter().map(|round| kind.figure(&round.sample)).collect();
    let ours: Option<Vec<f64>> =
        rounds.iter().find(|(who, _)| *who == Contender::Ours).map(|(_, rounds)| figures(rounds));
    let mut main_rows = Vec::new();
    for (who, rounds) in rounds {
        let row = Row::new(name(measurement.work, *who, rounds), kind.unit(), figures(rounds));
        if *who == Contender::Ours {
            let own = measurement.target.filter(|target| matches!(target, Target::ValueAtLeast(_)));
            main_rows.push(aimed(row, own));
        } else {
            let row = ours.iter().fold(row, |row, ours| row.beside(ours));
            let limit = measurement.limits.iter().find(|(limit, _)| limit == who);
            main_rows.push(aimed(row, limit.and_then(|(_, target)| *target)));
        }
    }
    if matches!(measurement.work, Work::OneAtATime) {
        let samples_of = |limit| {
            let place = rounds.iter().position(|(who, _)| *who == limit)?;
            Some(&main_rows[place].samples[..])
        };
        let both = (samples_of(Contender::Grpc), samples_of(Contender::Disk(Space::Reserved)));
        if let (Some(grpc), Some(disk)) = both {
            let row = one_after_the_other(grpc, disk);
            main_rows.push(match &ours {
                Some(ours) => aimed(row.beside(ours), measurement.target),
                None => row,
            });
        }
    }
    let mut entry = Entry::new(&measurement.name);
    entry.rows = main_rows;
    for (who, rounds) in rounds {
        if kind != Kind::Throughput {
            entry.rows.extend(tail(measurement.work, *who, rounds));
        }
        if let (Work::OpenLoop { per_second }, Contender::Ours) = (measurement.work, who) {
            let kept = |sample: &Sample| sample.records as f64 / sample.seconds / f64::from(per_second);
            let kept = rounds.iter().map(|round| 100.0 * kept(&round.sample)).collect();
            entry.rows.push(Row::new("mq, kept of the rate", "%", kept));
        }
        entry.rows.extend(cpu(measured, *who, rounds));
    }
    if let Some(bytes) = peak_bytes {
        entry.rows.push(Row::new("mq, peak memory", "MiB", vec![*bytes as f64 / MIB]));
    }
    entry.note_usage(rounds.iter().flat_map(|(_, rounds)| rounds).map(|round| &round.usage), cores);
    entry
}

fn aimed(row: Row, target: Option<Target>) -> Row {
    target.into_iter().fold(row, Row::aim)
}

fn name(work: Work, who: Contender, rounds: &[Observed]) -> String {
    let bytes: f64 = rounds.iter().map(|round| round.sample.bytes as f64).sum();
    let messages: f64 = rounds.iter().map(|round| round.sample.messages as f64).sum();
    let kib = bytes / messages / 1024.0;
    let messages = if matches!(work, Work::Fetch { .. }) { format!(", {kib:.0} KiB") } else { String::new() };
    match who {
        Contender::Ours => format!("mq{messages}"),
        Contender::Grpc => format!("gRPC, nothing stored{messages}"),
        Contender::Disk(Space::Reserved) => format!("write + fdatasync, {kib:.1} KiB"),
        Contender::Disk(Space::Zeroed) => format!("the same into zeros, {kib:.0} KiB"),
    }
}

/// What it takes at least to send a record and then to make it durable. Percentiles of sums are not sums of
/// percentiles, except nearly so in the middle: there is none but the median.
fn one_after_the_other(grpc: &[f64], disk: &[f64]) -> Row {
    let sums = grpc.iter().zip(disk).map(|(grpc, disk)| grpc + disk).collect();
    Row::new("gRPC, then write + fdatasync", Kind::Latency.unit(), sums)
}

/// The percentiles that are not the figure already.
fn tail(work: Work, who: Contender, rounds: &[Observed]) -> Vec<Row> {
    let latencies = || rounds.iter().map(|round| round.sample.latency);
    let columns: [(&'static str, Vec<f64>); 4] = [
        ("µs p50", latencies().map(|latency| latency.p50_us).collect()),
        ("µs p99", latencies().map(|latency| latency.p99_us).collect()),
        ("µs p99.9", latencies().map(|latency| latency.p999_us).collect()),
        ("µs max", latencies().map(|latency| latency.max_us).collect()),
    ];
    let shown = columns.into_iter().filter(|(unit, _)| *unit != Kind::of(work).unit());
    shown.map(|(unit, samples)| Row::new(name(work, who, rounds), unit, samples)).collect()
}

/// User and system time of both sides, for what they moved.
fn cpu(measured: &Measured, who: Contender, rounds: &[Observed]) -> Vec<Row> {
    let server = match who {
        Contender::Ours => "mq, CPU of the broker",
        Contender::Grpc => "gRPC, CPU of the server",
        Contender::Disk(_) => return Vec::new(),
    };
    let client = if who == Contender::Ours { "mq, CPU of the client" } else { "gRPC, CPU of the client" };
    let work = measured.measurement.work;
    let row = |what: &str, unit: &'static str, process: usize, scale: fn(&Sample) -> f64| {
        let of_round = |round: &Observed| round.usage.cpu[process].as_secs_f64() * scale(&round.sample);
        Row::new(what, unit, rounds.iter().map(of_round).collect())
    };
    let ms_per_mb = |sample: &Sample| 1e3 * MB / sample.bytes as f64;
    let us_per_record = |sample: &Sample| 1e6 / sample.records as f64;
    let single = !matches!(work, Work::Produce { .. } | Work::Fetch { .. });
    let form = match work {
        Work::Produce { form, .. } | Work::Fetch { form, .. } => form,
        _ => Form::Batch,
    };
    let mut rows = Vec::new();
    if !single {
        let bound = measured.measurement.cpu_ms_per_mb_max.filter(|_| who == Contender::Ours);
        rows.push(aimed(row(server, "ms/MB", 1, ms_per_mb), bound.map(Target::ValueAtMost)));
        rows.push(row(client, "ms/MB", 0, ms_per_mb));
    }
    if single || form == Form::Records {
        rows.push(row(server, "µs/record", 1, us_per_record));
    }
    rows
}
