//! How long one record takes: alone, and at fixed rates, beside what loopback and the disk take for the same bytes.
//!
//! What the figures mean stands in the README beside this directory. Nothing is asserted about them.

use anyhow::Result;
use mq_benches::arena::{Sizes, Work};
use mq_benches::bench::{self, Run};
use mq_benches::measurement::{self, GRPC, Measurement, RESERVED, ZEROED};
use mq_benches::report::{Entry, Target};

/// As in the broker: glibc's allocator is several times slower for large messages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FULL: Sizes = Sizes { bulk_bytes: 0, passes: 0, single_records: 5_000, open_loop_ms: 3_000 };
const QUICK: Sizes = Sizes { bulk_bytes: 0, passes: 0, single_records: 500, open_loop_ms: 300 };

/// Of the open loops, in records a second.
const RATES: [u32; 3] = [1_000, 10_000, 40_000];
/// Of the p50 of one record alone, beside the p50 of its way there and back and that of making it durable.
const ALONE_RATIO_MAX: f64 = 1.5;

fn main() -> Result<()> {
    bench::main("latency", measure)
}

fn measure(run: &Run) -> Result<Vec<Entry>> {
    let sizes = if run.arguments.quick { QUICK } else { FULL };
    let alone = Measurement {
        target: Some(Target::RatioAtMost(ALONE_RATIO_MAX)),
        ..Measurement::new("latency of one record at a time", Work::OneAtATime, &[GRPC, RESERVED, ZEROED])
    };
    let mut measurements = vec![alone];
    measurements.extend(RATES.map(|per_second| {
        let name = format!("latency at {per_second} records/s");
        Measurement::new(name, Work::OpenLoop { per_second }, &[GRPC])
    }));
    measurement::run_all(run, measurements, sizes)
}
