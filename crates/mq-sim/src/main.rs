//! The program `mq-sim`: runs seeds and says what they came to.

use clap::Parser;
use mq_sim::Scenario;
use mq_sim::mutants;
use mq_sim::report::Summary;
use mq_sim::runner::{self, Plan};
use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

/// Whole clusters in virtual time, with faults from a seed.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  mq-sim --seeds 0..1000\n  mq-sim --seeds 17..18 --trace\n  mq-sim --minutes 10 -o json\n  mq-sim --mutants --seeds 0..500"
)]
struct Cli {
    /// The seeds to run, as FIRST..END (END is not run).
    #[arg(long, value_parser = parse_seeds, value_name = "N..M")]
    seeds: Option<Range<u64>>,
    /// End after so many minutes, whatever is left.
    #[arg(long, value_name = "T")]
    minutes: Option<f64>,
    /// Which faults a run may draw from.
    #[arg(long, value_enum, default_value_t)]
    scenario: Scenario,
    /// Threads; as many as there are processors by default.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Run each seed twice and compare what happened.
    #[arg(long)]
    twice: bool,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
    /// Hunt the planted bugs, in a build of their own, and print how each was found; 500 seeds each by default.
    #[arg(long, conflicts_with_all = ["twice", "trace"])]
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
    if cli.mutants && !mutants::ARE_BUILT_IN {
        return match mutants::build_and_hunt(std::env::args_os().skip(1)) {
            Ok(code) => code,
            Err(error) => {
                eprintln!("error: the planted bugs cannot be hunted: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let all = match (cli.mutants, cli.minutes) {
        (true, _) => 0..500,
        (false, Some(_)) => 0..u64::MAX,
        (false, None) => 0..100,
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = if cli.trace { 1 } else { cli.jobs.unwrap_or(processors).max(1) };
    let plan = Plan {
        seeds: cli.seeds.unwrap_or(all),
        scenario: cli.scenario,
        time_max: cli.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
        jobs,
        twice: cli.twice,
        trace: cli.trace,
        progress: true,
    };
    if cli.mutants {
        let table = mutants::hunt(&plan, &cli.mutant);
        print_as(cli.output, &table, mutants::Table::text);
        return if table.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let summary = Summary::of(&runner::run(&plan));
    print_as(cli.output, &summary, Summary::text);
    if summary.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
    let wrong = || format!("{text:?} is not FIRST..END, e.g. 0..1000");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let seeds = first.parse().map_err(|_| wrong())?..end.parse().map_err(|_| wrong())?;
    if seeds.is_empty() { Err(format!("there is no seed in {text}")) } else { Ok(seeds) }
}
