//! Producing and fetching over loopback, beside what loopback and the disk can do in the same minutes.
//!
//! The broker, the client and a server that stores nothing are processes of their own; this one only directs them.
//! What the figures mean stands in the README beside this directory. Nothing is asserted about them.

use anyhow::Result;
use mq_benches::arena::{Contender, Sizes, Work};
use mq_benches::bench::{self, Run};
use mq_benches::measurement::{self, GRPC, Measurement, ZEROED};
use mq_benches::report::{Entry, Target};
use mq_benches::task::{Call, Form, Space};

/// As in the broker: glibc's allocator is several times slower for large messages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FULL: Sizes = Sizes { bulk_bytes: 256 << 20, passes: 4, single_records: 8_000, open_loop_ms: 0 };
const QUICK: Sizes = Sizes { bulk_bytes: 32 << 20, passes: 2, single_records: 800, open_loop_ms: 0 };

/// The sizes of a batch.
const BATCH_BYTES: [usize; 3] = [16 << 10, 256 << 10, 1 << 20];
/// The one that is usual, and has the targets.
const USUAL_BYTES: usize = 256 << 10;
const CONNECTIONS: [u32; 2] = [1, 4];
const SMALL_CLIENTS: u32 = 256;

/// Of four pipelined connections with batches of the usual size, beside plain writes of the same sizes.
const PRODUCE_RATIO_MIN: f64 = 0.7;
/// Beside a plain stream of messages of the same size.
const FETCH_RATIO_MIN: f64 = 0.6;
const IN_CPU_MS_PER_MB_MAX: f64 = 0.6;
const OUT_CPU_MS_PER_MB_MAX: f64 = 0.4;
const SMALL_CLIENTS_ACKS_PER_SECOND_MIN: f64 = 40_000.0;

fn main() -> Result<()> {
    bench::main("produce_fetch", measure)
}

fn measure(run: &Run) -> Result<Vec<Entry>> {
    let sizes = if run.arguments.quick { QUICK } else { FULL };
    let mut measurements = Vec::new();
    for batch_bytes in BATCH_BYTES {
        measurements.extend(CONNECTIONS.map(|connections| produce(Form::Batch, batch_bytes, connections)));
    }
    measurements.extend(CONNECTIONS.map(|connections| produce(Form::Records, USUAL_BYTES, connections)));
    for batch_bytes in BATCH_BYTES {
        measurements.push(fetch(Form::Batch, batch_bytes, 1));
    }
    measurements.push(fetch(Form::Batch, USUAL_BYTES, 4));
    measurements.push(fetch(Form::Records, USUAL_BYTES, 1));
    measurements.push(small_clients("few connections", 4, Call::Stream));
    measurements.push(small_clients("one connection each", SMALL_CLIENTS, Call::Stream));
    measurements.push(small_clients("unary, few connections", 4, Call::Unary));
    measurement::run_all(run, measurements, sizes)
}

fn produce(form: Form, batch_bytes: usize, connections: u32) -> Measurement {
    let headline = form == Form::Batch && batch_bytes == USUAL_BYTES && connections == 4;
    let ratio = headline.then_some(Target::RatioAtLeast(PRODUCE_RATIO_MIN));
    let opaque_and_large = form == Form::Batch && batch_bytes >= USUAL_BYTES;
    Measurement {
        cpu_ms_per_mb_max: opaque_and_large.then_some(IN_CPU_MS_PER_MB_MAX),
        ..Measurement::new(
            format!("produce {}", shape(form, batch_bytes, connections)),
            Work::Produce { form, batch_bytes, connections },
            &[GRPC, (Contender::Disk(Space::Reserved), ratio), ZEROED],
        )
    }
}

fn fetch(form: Form, batch_bytes: usize, connections: u32) -> Measurement {
    let opaque = form == Form::Batch;
    let opaque_and_large = opaque && batch_bytes >= USUAL_BYTES;
    let call = if opaque { "fetch" } else { "read" };
    Measurement {
        cpu_ms_per_mb_max: opaque_and_large.then_some(OUT_CPU_MS_PER_MB_MAX),
        ..Measurement::new(
            format!("{call} {}, warm", shape(form, batch_bytes, connections)),
            Work::Fetch { form, batch_bytes, connections },
            &[(Contender::Grpc, opaque_and_large.then_some(Target::RatioAtLeast(FETCH_RATIO_MIN)))],
        )
    }
}

fn small_clients(how: &str, connections: u32, call: Call) -> Measurement {
    Measurement {
        target: (call == Call::Stream).then_some(Target::ValueAtLeast(SMALL_CLIENTS_ACKS_PER_SECOND_MIN)),
        ..Measurement::new(
            format!("{SMALL_CLIENTS} small clients, {how}"),
            Work::ManyClients { clients: SMALL_CLIENTS, connections, call },
            &[GRPC],
        )
    }
}

fn shape(form: Form, batch_bytes: usize, connections: u32) -> String {
    let form = match form {
        Form::Batch => "batches",
        Form::Records => "records",
    };
    let connections =
        if connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") };
    format!("{form} of {} KiB, {connections}", batch_bytes >> 10)
}
