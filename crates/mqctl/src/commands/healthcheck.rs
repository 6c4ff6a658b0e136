//! `mqctl healthcheck`: for containers. It asks whether a broker answers, not whether the cluster is well: a broker
//! must not be restarted because another one is down.

use mq_client::ClientError;

use crate::{
    cli::{Globals, Healthcheck},
    exit::Exit,
    output::Output,
    session::Session,
};

/// 0 if a broker answers within the timeout, else 10.
pub(super) async fn run(globals: &Globals, args: Healthcheck) -> anyhow::Result<Exit> {
    let asked = async {
        let session = Session::open(globals, Output { format: Default::default() }).await?;
        session.client.describe_cluster(&[]).await?;
        anyhow::Ok(session.client.endpoint())
    };
    match tokio::time::timeout(args.timeout, asked).await {
        Ok(Ok(endpoint)) => {
            if !globals.quiet {
                eprintln!("{endpoint} answers");
            }
            Ok(Exit::Ok)
        }
        Ok(Err(error)) if error.is::<ClientError>() => {
            eprintln!("mqctl: {error:#}");
            Ok(Exit::Unhealthy)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let (brokers, seconds) = (globals.brokers.join(","), args.timeout.as_secs_f32());
            eprintln!("mqctl: no answer from {brokers} within {seconds} s");
            Ok(Exit::Unhealthy)
        }
    }
}
