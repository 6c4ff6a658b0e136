//! The whole command tree, as the arguments are written: the doc comments are the help texts. What a command does is
//! in `commands`, the examples below each help text in `examples`.

pub mod bench;
pub mod log;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::{
    examples,
    offset_range::{OffsetRange, Point},
    output::{Output, OutputFormat},
};

/// Talks to mq brokers: topics, records, the cluster, and logs on disk.
#[derive(Debug, Parser)]
#[command(name = "mqctl", version, propagate_version = false, max_term_width = 110, after_help = examples::ROOT)]
pub struct Cli {
    /// Where to and how loud.
    #[command(flatten)]
    pub globals: Globals,
    /// How answers are printed; also after the command.
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum)]
    pub format: Option<OutputFormat>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Globals {
    /// Brokers to try in turn, host:port,host:port
    #[arg(
        long,
        global = true,
        env = "MQ_BROKERS",
        value_name = "A,B",
        value_delimiter = ',',
        default_value = mq_client::DEFAULT_ENDPOINT
    )]
    pub brokers: Vec<String>,
    /// A connection setting: client.id, connect.timeout.ms, request.timeout.ms
    #[arg(short = 'X', global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub settings: Vec<(String, String)>,
    /// Print no messages but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more messages
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// How answers are printed, after the command.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// How answers are printed
    #[arg(short = 'o', long = "output", id = "leaf_output", value_name = "FORMAT", value_enum)]
    format: Option<OutputFormat>,
}

impl OutputArgs {
    /// What was said here, else before the command, else a table.
    pub fn or(self, before: Option<OutputFormat>) -> Output {
        Output { format: self.format.or(before).unwrap_or_default() }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, list, describe, change and delete topics
    #[command(subcommand, after_help = examples::TOPIC)]
    Topic(Topic),
    /// Send records: lines of stdin, arguments, or a file
    #[command(after_help = examples::PRODUCE)]
    Produce(Produce),
    /// Print records
    #[command(after_help = examples::CONSUME)]
    Consume(Consume),
    /// The cluster and its brokers
    #[command(subcommand, after_help = examples::CLUSTER)]
    Cluster(Cluster),
    /// Partitions and where they live
    #[command(subcommand, after_help = examples::PARTITION)]
    Partition(Partition),
    /// Logs on disk, of a broker that is stopped
    #[command(subcommand, after_help = examples::LOG)]
    Log(log::Log),
    /// Measure how fast records go in and come out
    #[command(subcommand, after_help = examples::BENCH)]
    Bench(bench::Bench),
    /// Print what other tools need
    #[command(subcommand, after_help = examples::GENERATE)]
    Generate(Generate),
    /// Exit with 0 if a broker answers, else with 10
    #[command(after_help = examples::HEALTHCHECK)]
    Healthcheck(Healthcheck),
    /// Print the version
    #[command(after_help = examples::VERSION)]
    Version(Version),
}

/// Create, list, describe, change and delete topics.
#[derive(Debug, Subcommand)]
pub enum Topic {
    /// Create topics
    #[command(after_help = examples::TOPIC_CREATE)]
    Create(TopicCreate),
    /// List topics
    #[command(after_help = examples::TOPIC_LIST)]
    List(TopicList),
    /// Show topics with their partitions and configs
    #[command(after_help = examples::TOPIC_DESCRIBE)]
    Describe(TopicDescribe),
    /// Change configs, or add partitions
    #[command(after_help = examples::TOPIC_ALTER)]
    Alter(TopicAlter),
    /// Delete topics: to the trash, or for good
    #[command(after_help = examples::TOPIC_DELETE)]
    Delete(TopicDelete),
    /// Delete the oldest records: those before a point
    #[command(after_help = examples::TOPIC_TRIM)]
    Trim(TopicTrim),
    /// Deleted topics that can still be restored
    #[command(subcommand, after_help = examples::TRASH)]
    Trash(Trash),
}

/// `topic create`.
#[derive(Debug, Args)]
pub struct TopicCreate {
    /// Their names
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// How many partitions each has; without it, as the broker is configured
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// How many copies of each partition; without it, as the broker is configured
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    pub replication_factor: Option<i32>,
    /// A config, e.g. retention.ms=86400000
    #[arg(short, long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
    pub configs: Vec<(String, String)>,
    /// One that exists already is no error, and stays as it is
    #[arg(long)]
    pub if_not_exists: bool,
    /// Only check whether it could be done
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `topic list`.
#[derive(Debug, Args)]
pub struct TopicList {
    /// Only names that fit as a whole (RE2)
    #[arg(long, value_name = "REGEX")]
    pub pattern: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `topic describe`.
#[derive(Debug, Args)]
pub struct TopicDescribe {
    /// Their names
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `topic alter`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").args(["set", "unset", "partitions"]).required(true).multiple(true))]
pub struct TopicAlter {
    /// Its name
    pub topic: String,
    /// Set a config
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
    /// Back to the default
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Add partitions up to this total; keys are spread anew from then on
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,
    /// Only check whether it could be done
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `topic delete`.
#[derive(Debug, Args)]
pub struct TopicDelete {
    /// Their names
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// For good, not to the trash
    #[arg(long)]
    pub purge: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only check whether it could be done
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `topic trim`.
#[derive(Debug, Args)]
pub struct TopicTrim {
    /// Its name
    pub topic: String,
    /// The first record to keep: end, an offset, -N (keep the last N), @time
    #[arg(long, value_name = "POINT", allow_hyphen_values = true)]
    pub to: Point,
    /// Only these partitions
    #[arg(short, long = "partition", value_name = "N", value_delimiter = ',', allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(0..))]
    pub partitions: Vec<i32>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only check whether it could be done
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Deleted topics that can still be restored.
#[derive(Debug, Subcommand)]
pub enum Trash {
    /// List them
    #[command(after_help = examples::TRASH_LIST)]
    List(TrashList),
    /// Bring one back
    #[command(after_help = examples::TRASH_RESTORE)]
    Restore(TrashRestore),
    /// Remove one for good, now
    #[command(after_help = examples::TRASH_PURGE)]
    Purge(TrashPurge),
}

/// `topic trash list`.
#[derive(Debug, Args)]
pub struct TrashList {
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `topic trash restore`.
#[derive(Debug, Args)]
pub struct TrashRestore {
    /// Its name or id
    pub topic: String,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `topic trash purge`.
#[derive(Debug, Args)]
pub struct TrashPurge {
    /// Its name or id
    pub topic: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only check whether it could be done
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `produce`.
#[derive(Debug, Args)]
pub struct Produce {
    /// Where to
    pub topic: String,
    /// Values, one record each; without them (and --file), stdin
    #[arg(value_name = "VALUE", conflicts_with_all = ["file", "input_format"])]
    pub values: Vec<String>,
    /// Read records from this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// The key of every record
    #[arg(short, long)]
    pub key: Option<String>,
    /// A header of every record
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE", value_parser = key_value)]
    pub headers: Vec<(String, String)>,
    /// How the broker stores them; without it, as the topic says
    #[arg(short = 'z', long, value_name = "CODEC", value_enum)]
    pub compression: Option<Codec>,
    /// What an ack waits for
    #[arg(long, value_enum, default_value_t = Acks::Quorum)]
    pub acks: Acks,
    /// How records are cut out of the input
    #[arg(short = 'f', long = "format", value_name = "FORMAT", default_value = "%v\\n", id = "input_format")]
    pub format: String,
    /// The partition; without it, by the key, or spread
    #[arg(short, long, value_name = "N", allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How records are compressed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// What an ack waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// For nothing: accepted, nothing promised
    None,
    /// Synced to the leader's disk
    Leader,
    /// Synced to the disks of a majority
    Quorum,
}

/// `consume`.
#[derive(Debug, Args)]
pub struct Consume {
    /// What to read
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// Where to begin: start, end, N, -N (the last N of each partition), @time; FROM:TO stops there, or at the end as
    /// it is now. Times: @2026-01-31T12:00:00Z, @1769860800000 (ms), @-1h
    #[arg(short, long, value_name = "OFFSET", default_value = "start", allow_hyphen_values = true)]
    pub offset: OffsetRange,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Only these partitions
    #[arg(short, long = "partition", value_name = "N", value_delimiter = ',', allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(0..))]
    pub partitions: Vec<i32>,
    /// Consume as a member of this group
    #[arg(short, long)]
    pub group: Option<String>,
    /// How a record is printed
    #[arg(short = 'f', long = "format", value_name = "FORMAT", default_value = "%v\\n")]
    pub format: String,
    /// Wait for new records; so it is anyway unless the offset is a range
    #[arg(long)]
    pub follow: bool,
    /// json prints one object per line; here -o is the offset
    #[arg(long = "output", id = "leaf_output", value_name = "FORMAT", value_enum)]
    pub output: Option<OutputFormat>,
}

/// The cluster and its brokers.
#[derive(Debug, Subcommand)]
pub enum Cluster {
    /// Show id, features and brokers
    #[command(after_help = examples::CLUSTER_INFO)]
    Info(ClusterInfo),
    /// Say what is not as it should be; exit with 10 if anything is
    #[command(after_help = examples::CLUSTER_HEALTH)]
    Health(ClusterHealth),
    /// List the brokers
    #[command(after_help = examples::CLUSTER_BROKERS)]
    Brokers(ClusterInfo),
}

/// `cluster info` and `cluster brokers`.
#[derive(Debug, Args)]
pub struct ClusterInfo {
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `cluster health`.
#[derive(Debug, Args)]
pub struct ClusterHealth {
    /// Look again every two seconds, and print what changed, until ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Partitions and where they live.
#[derive(Debug, Subcommand)]
pub enum Partition {
    /// List partitions with their offsets and sizes
    #[command(after_help = examples::PARTITION)]
    List(PartitionList),
}

/// `partition list`.
#[derive(Debug, Args)]
pub struct PartitionList {
    /// Only of these topics
    #[arg(value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// Only those without a leader
    #[arg(long)]
    pub leaderless: bool,
    /// Only those with a replica that is not in sync
    #[arg(long)]
    pub under_replicated: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Print what other tools need.
#[derive(Debug, Subcommand)]
pub enum Generate {
    /// A shell's completion script
    #[command(after_help = examples::GENERATE)]
    Completion {
        /// Which shell
        shell: Shell,
    },
}

/// `healthcheck`.
#[derive(Debug, Args)]
pub struct Healthcheck {
    /// How long the answer may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub timeout: std::time::Duration,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `version`.
#[derive(Debug, Args)]
pub struct Version {
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `key=value`; the value may hold further signs of equality, or be empty.
fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write key=value".to_owned()),
    }
}
