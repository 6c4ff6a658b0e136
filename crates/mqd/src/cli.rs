//! The command line: what can be asked for. What a flag's value means is the business of `config`.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  mqd demo                        see it work: produce, read back, compare
  mqd --data-dir ./mq-data        serve one broker, gRPC on 127.0.0.1:9650
  mqd --print-config > mqd.toml   every key, documented; then mqd --config mqd.toml

Every key can also be set by the environment: grpc.listen is MQ__GRPC__LISTEN, and so on.
SIGTERM or Ctrl-C stops it in good order; a second one ends it at once.";

const DEMO_EXAMPLES: &str = "\
Examples:
  mqd demo                     the lines of mq's README
  mqd demo /etc/services       the lines of this file
  mqd demo | cat               without colours; they are left out too where NO_COLOR is set";

/// mq: a durable, replicated log with a gRPC API. Without a command it serves one broker.
#[derive(Debug, Parser)]
#[command(name = "mqd", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

/// What is done instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a broker on a temporary directory, produces the lines of a file, reads them back and compares them.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(Demo),
}

/// How to serve.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything durable lies [default: ./mq-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// The address of the API [default: 127.0.0.1:9650].
    #[arg(long, value_name = "ADDR")]
    grpc_listen: Option<String>,
    /// The address for other brokers; reserved, nothing listens there yet [default: 127.0.0.1:9651].
    #[arg(long, value_name = "ADDR")]
    peer_listen: Option<String>,
    /// The address of /metrics, /livez, /readyz and /log-level [default: 127.0.0.1:9652].
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<String>,
    /// The broker's number in its cluster, 1 or more [default: 1].
    #[arg(long, value_name = "N")]
    broker_id: Option<String>,
    /// Checks the configuration and ends: exit code 0 if it is good, 1 if not.
    #[arg(long, conflicts_with = "print_config")]
    pub(crate) check_config: bool,
    /// Prints the effective configuration with the source of every value, and ends.
    #[arg(long)]
    pub(crate) print_config: bool,
}

impl Serve {
    /// The flags that set a key: the flag, the key, the value.
    pub(crate) fn settings(&self) -> [(&'static str, &'static str, Option<&str>); 5] {
        [
            ("--data-dir", "broker.data_dir", self.data_dir.as_deref()),
            ("--grpc-listen", "grpc.listen", self.grpc_listen.as_deref()),
            ("--peer-listen", "peer.listen", self.peer_listen.as_deref()),
            ("--admin-listen", "admin.listen", self.admin_listen.as_deref()),
            ("--broker-id", "broker.id", self.broker_id.as_deref()),
        ]
    }
}

/// What to show.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How many brokers; this version runs one.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) brokers: u32,
    /// The file whose lines are produced [default: mq's README].
    pub(crate) file: Option<PathBuf>,
}
