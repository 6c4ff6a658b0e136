//! Serving one broker from start to stop, and the two flags that only look at the configuration.

use crate::cli::Serve;
use crate::config::{self, Config, Format, Loaded};
use crate::signals::Signals;
use crate::telemetry;
use crate::wire::Running;
use anyhow::Context;
use std::io::{ErrorKind, Write};

/// Does what the flags ask for; serving ends with a signal.
///
/// # Errors
/// The configuration is refused, the broker cannot start, or it did not stop cleanly; the message says why.
pub(crate) async fn run(flags: &Serve) -> anyhow::Result<()> {
    let loaded = config::load(flags.config.as_deref(), std::env::vars_os(), &flags.settings())?;
    if flags.check_config || flags.print_config {
        for unread in &loaded.unread {
            eprintln!("mqd: {unread}");
        }
        let good = "the configuration is good\n".to_owned();
        return print(&if flags.check_config { good } else { config::print(&loaded) });
    }
    serve(&loaded).await
}

/// To stdout. A reader that goes away has had enough (`mqd --print-config | head`).
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("could not write to stdout"),
    }
}

async fn serve(Loaded { config, unread, .. }: &Loaded) -> anyhow::Result<()> {
    // First of all: a stop that comes while the logs are recovered is not lost.
    let mut signals = Signals::listen().context("the system gave no signal handlers")?;
    let switch = telemetry::start(&config.log_level, config.log_format);
    for unread in unread {
        tracing::warn!("{unread}");
    }
    let mut running = tokio::select! {
        started = Running::start(config, switch) => started?,
        signal = signals.stop() => {
            tracing::info!(signal, "stopped while starting");
            return Ok(());
        }
    };
    announce(config, &running);
    let failure = tokio::select! {
        signal = signals.stop() => {
            tracing::info!(signal, timeout = ?config.stop_timeout, "stopping: answering what is in flight");
            None
        }
        error = running.failed() => Some(error),
    };
    signals.exit_at_next();
    let stopped = running.stop(config.stop_timeout).await;
    match failure {
        Some(error) => return Err(error),
        None => stopped?,
    }
    tracing::info!("stopped");
    Ok(())
}

/// One line that says that, and where, this broker can be reached: on stdout for people and scripts, or among the
/// log's JSON. Nobody may be listening on stdout; that is no error.
fn announce(config: &Config, running: &Running) {
    let (version, broker) = (env!("CARGO_PKG_VERSION"), config.broker_id);
    let (grpc, admin, data) = (running.grpc_address(), running.admin_address(), config.data_dir.display());
    let (partitions, ms) = (running.partition_count(), running.start_duration().as_millis());
    match config.log_format {
        Format::Json => {
            tracing::info!(version, broker, %grpc, %admin, %data, partitions, start_ms = ms, "ready");
        }
        Format::Text => {
            let recovered = match partitions {
                0 => "no partitions yet".to_owned(),
                1 => format!("1 partition recovered in {ms} ms"),
                many => format!("{many} partitions recovered in {ms} ms"),
            };
            let line = format!(
                "mqd {version} is ready: gRPC {grpc}, admin http://{admin}, broker {broker}, data {data}, {recovered}"
            );
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
}
