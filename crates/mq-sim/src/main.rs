//! The program `mq-sim`: runs seeds and says what they came to.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use mq_sim::Scenario;
use mq_sim::mutants;
use mq_sim::report::Summary;
use mq_sim::runner::{self, Plan};
use signal_hook::consts::{SIGINT, SIGPIPE, SIGTERM};
use signal_hook::flag;
use std::io;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What a run allocates is small and short-lived: much faster than by glibc.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whole clusters in virtual time, with faults from a seed.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  mq-sim --seeds 0..1000\n  mq-sim --seeds 17..18 --trace\n  mq-sim --hours 20\n  \
                  mq-sim --seeds 5000.. --minutes 10 -o json\n  mq-sim --mutants --seeds 0..500\n\n\
                  Ctrl-C ends with what was reached so far."
)]
struct Cli {
    /// The seeds to run, as FIRST..END (END is not run), or FIRST.. with --hours or --minutes.
    #[arg(long, value_parser = parse_seeds, value_name = "N..M")]
    seeds: Option<Range<u64>>,
    /// Run seeds until so many hours were simulated; fails if those were idle, or are not reached.
    #[arg(long, value_parser = parse_amount, value_name = "H", allow_negative_numbers = true)]
    hours: Option<f64>,
    /// End after so many minutes, whatever is left.
    #[arg(long, value_parser = parse_amount, value_name = "T", allow_negative_numbers = true)]
    minutes: Option<f64>,
    /// Which faults a run may draw from.
    #[arg(long, value_enum, default_value_t)]
    scenario: Scenario,
    /// Threads; as many as there are processors by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Run each seed twice and compare what happened.
    #[arg(long)]
    twice: bool,
    /// Print everything that happens, one seed after another.
    #[arg(long)]
    trace: bool,
    /// Fail if one of the rare situations that a long run should meet was never met.
    #[arg(long)]
    markers: bool,
    /// Hunt the planted bugs, in a build of their own, and print how each was found; 500 seeds each by default.
    #[arg(long, conflicts_with_all = ["hours", "twice", "trace", "markers"])]
    mutants: bool,
    /// Hunt this planted bug only; may be given several times.
    #[arg(long, requires = "mutants", value_name = "NAME")]
    mutant: Vec<String>,
    /// How to print the summary.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Output {
    /// For a person.
    #[default]
    Text,
    /// For a program.
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.check();
    if cli.mutants && !mutants::ARE_BUILT_IN {
        let error = mutants::build_and_hunt(std::env::args_os().skip(1));
        return failed("the planted bugs cannot be hunted", &error);
    }
    let plan = match listen() {
        Ok(interrupt) => cli.plan(interrupt),
        Err(error) => return failed("signals cannot be listened to", &error),
    };
    let passed = if cli.mutants {
        let table = mutants::hunt(&plan, &cli.mutant);
        print_as(cli.output, &table, mutants::Table::text);
        table.is_good()
    } else {
        let summary = Summary::of(&plan, &runner::run(&plan), cli.markers);
        print_as(cli.output, &summary, Summary::text);
        summary.passed
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Cli {
    /// Ends the program if what each argument says is sound, but not all together.
    fn check(&self) {
        let is_endless = self.seeds.as_ref().is_some_and(|seeds| seeds.end == u64::MAX);
        if is_endless && self.hours.is_none() && self.minutes.is_none() {
            let what = "these seeds have no end: give --hours or --minutes, or write FIRST..END";
            Cli::command().error(ErrorKind::MissingRequiredArgument, what).exit();
        }
        if let Err(error) = mutants::check(&self.mutant) {
            Cli::command().error(ErrorKind::InvalidValue, error).exit();
        }
    }

    fn plan(&self, interrupt: Arc<AtomicBool>) -> Plan {
        let all = match () {
            () if self.mutants => 0..500,
            () if self.hours.is_some() || self.minutes.is_some() => 0..u64::MAX,
            () => 0..100,
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Plan {
            scenario: self.scenario,
            hours: self.hours,
            time_max: self.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
            jobs: if self.trace { 1 } else { self.jobs.map_or(processors, usize::from) },
            twice: self.twice,
            trace: self.trace,
            progress: true,
            interrupt,
            ..Plan::new(self.seeds.clone().unwrap_or(all))
        }
    }
}

/// What is set when somebody wants us to end. Who says so twice is obeyed at once.
fn listen() -> io::Result<Arc<AtomicBool>> {
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&interrupt))?;
        flag::register(signal, Arc::clone(&interrupt))?;
    }
    // Whoever reads a trace has read enough of it.
    flag::register_conditional_shutdown(SIGPIPE, 128 + SIGPIPE, Arc::new(AtomicBool::new(true)))?;
    Ok(interrupt)
}

fn failed(what: &str, error: &io::Error) -> ExitCode {
    eprintln!("error: {what}: {error}");
    ExitCode::FAILURE
}

fn print_as<T: serde::Serialize>(output: Output, figures: &T, text: impl Fn(&T) -> String) {
    match output {
        Output::Text => print!("{}", text(figures)),
        Output::Json => {
            println!("{}", serde_json::to_string_pretty(figures).expect("figures have a JSON form"));
        }
    }
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || "write FIRST..END, e.g. 0..1000, or FIRST.. with --hours or --minutes".to_owned();
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let first = first.parse().map_err(|_| wrong())?;
    let end = if end.is_empty() { u64::MAX } else { end.parse().map_err(|_| wrong())? };
    let seeds: Range<u64> = first..end;
    if seeds.is_empty() {
        return Err(format!(
            "END is not run, so there is no seed in it; for one alone: {first}..{}",
            first.saturating_add(1)
        ));
    }
    Ok(seeds)
}

/// So many hours or minutes.
fn parse_amount(text: &str) -> Result<f64, String> {
    let amount: f64 = text.parse().map_err(|_| "write a number, e.g. 20 or 0.5".to_owned())?;
    // Nobody waits a thousand years; and no sum overflows.
    let is_sound = amount > 0.0 && amount <= 1e9;
    if is_sound { Ok(amount) } else { Err("it must be more than 0 and at most 1000000000".to_owned()) }
}
