//! One file per command; here they are only told apart.

pub mod bench;
mod cluster;
mod completion;
mod consume;
mod healthcheck;
mod log;
mod log_repair;
mod partition;
mod produce;
mod produce_tally;
mod topic;
mod topic_alter;
mod topic_delete;
mod topic_trash;
mod topic_trim;
mod version;

use crate::{
    cli::{Cli, Cluster, Command, Generate, Globals, OutputArgs, Partition, Topic, Trash, log::Log},
    exit::Exit,
    output::{Output, OutputFormat},
    session::Session,
};

/// Runs one command.
pub async fn run(cli: Cli) -> anyhow::Result<Exit> {
    let Cli { globals, format, command } = cli;
    let output = |leaf: OutputArgs| leaf.or(format);
    match command {
        Command::Topic(command) => topic(&globals, format, command).await,
        Command::Produce(args) => produce::run(&globals, output(args.output), args).await,
        Command::Consume(args) => {
            let output = Output { format: args.output.or(format).unwrap_or_default() };
            consume::run(&globals, output, args).await
        }
        Command::Cluster(Cluster::Info(args)) => {
            cluster::info(&Session::open(&globals, output(args.output)).await?).await
        }
        Command::Cluster(Cluster::Brokers(args)) => {
            cluster::brokers(&Session::open(&globals, output(args.output)).await?).await
        }
        Command::Cluster(Cluster::Health(args)) => {
            cluster::health(&Session::open(&globals, output(args.output)).await?, args.watch).await
        }
        Command::Partition(Partition::List(args)) => {
            partition::list(&Session::open(&globals, output(args.output)).await?, args).await
        }
        Command::Log(Log::Dump(args)) => log::dump(output(args.output), &args, globals.quiet),
        Command::Log(Log::Verify(args)) => log::verify(output(args.output), &args, globals.quiet),
        Command::Log(Log::Repair(args)) => log_repair::run(output(args.output), &args, globals.quiet),
        Command::Bench(command) => bench::run(&globals, format, command).await,
        Command::Generate(Generate::Completion { shell }) => completion::run(shell),
        Command::Healthcheck(args) => healthcheck::run(&globals, output(args.output), args).await,
        Command::Version(args) => version::run(output(args.output)),
    }
}

async fn topic(globals: &Globals, before: Option<OutputFormat>, command: Topic) -> anyhow::Result<Exit> {
    let open = async |leaf: OutputArgs| Session::open(globals, leaf.or(before)).await;
    match command {
        Topic::Create(args) => topic::create(&open(args.output).await?, args).await,
        Topic::List(args) => topic::list(&open(args.output).await?, args).await,
        Topic::Describe(args) => topic::describe(&open(args.output).await?, args).await,
        Topic::Alter(args) => topic_alter::run(&open(args.output).await?, args).await,
        Topic::Delete(args) => topic_delete::run(&open(args.output).await?, args).await,
        Topic::Trim(args) => topic_trim::run(&open(args.output).await?, args).await,
        Topic::Trash(Trash::List(args)) => topic_trash::list(&open(args.output).await?).await,
        Topic::Trash(Trash::Restore(args)) => {
            topic_trash::restore(&open(args.output).await?, &args.topic).await
        }
        Topic::Trash(Trash::Purge(args)) => topic_trash::purge(&open(args.output).await?, args).await,
    }
}
