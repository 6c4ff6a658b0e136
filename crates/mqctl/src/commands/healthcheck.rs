//! `mqctl healthcheck`: for containers. It asks whether a broker answers, not whether the cluster is well: a broker
//! must not be restarted because another one is down.

use mq_client::ClientError;

use crate::{
    cli::{Globals, Healthcheck},
    exit::Exit,
    json,
    output::Output,
    session::Session,
};

/// 0 if a broker answers within the timeout, else 10.
pub(super) async fn run(globals: &Globals, output: Output, args: Healthcheck) -> anyhow::Result<Exit> {
    let asked = async {
        let session = Session::open(globals, output).await?;
        session.client.describe_cluster(&[]).await?;
        anyhow::Ok(session.client.endpoint())
    };
    let error = match tokio::time::timeout(args.timeout, asked).await {
        Ok(Ok(endpoint)) => {
            if !globals.quiet {
                eprintln!("{endpoint} answers");
            }
            output.print_json(&json::Healthcheck { answers: true, endpoint: Some(endpoint), error: None })?;
            return Ok(Exit::Ok);
        }
        Ok(Err(error)) if error.is::<ClientError>() => format!("{error:#}"),
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            let (brokers, seconds) = (globals.brokers.join(","), args.timeout.as_secs_f32());
            format!("no answer from {brokers} within {seconds} s")
        }
    };
    eprintln!("mqctl: {error}");
    output.print_json(&json::Healthcheck { answers: false, endpoint: None, error: Some(error) })?;
    Ok(Exit::Unhealthy)
}
