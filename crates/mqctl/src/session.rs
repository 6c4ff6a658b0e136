//! What every command that talks to a cluster needs: the client, the output, and how an error is made helpful.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    time::Duration,
};

use anyhow::{Context, anyhow};
use mq_client::{
    Client, ClientError, Options,
    v1::{ConfigScope, DescribeConfigsRequest, ErrorReason, ListTopicsRequest},
};

use crate::{cli::Globals, exit::usage, output::Output, suggest::nearest};

/// A connected command.
#[derive(Debug)]
pub struct Session {
    /// The connection.
    pub client: Client,
    /// Where answers go.
    pub output: Output,
    /// No messages but errors.
    pub quiet: bool,
    /// More messages.
    pub verbose: bool,
}

/// The settings that `-X` takes.
const SETTINGS: [&str; 3] = ["client.id", "connect.timeout.ms", "request.timeout.ms"];

impl Session {
    /// Connects to one of the brokers named.
    pub async fn open(globals: &Globals, output: Output) -> anyhow::Result<Session> {
        let options = options(&globals.settings)?;
        let client = Client::connect(&globals.brokers, options).await.map_err(|error| match error {
            ClientError::BadEndpoint { .. } => usage(format!("--brokers (or MQ_BROKERS): {error}")),
            error => error.into(),
        })?;
        if globals.verbose {
            eprintln!("mqctl: connected to {}", client.endpoint());
        }
        Ok(Session { client, output, quiet: globals.quiet, verbose: globals.verbose })
    }

    /// A message for people, on stderr, unless `-q`.
    pub fn say(&self, message: &str) {
        if !self.quiet {
            eprintln!("{message}");
        }
    }

    /// The error for people: with the nearest name where a topic is unknown.
    pub async fn explain(&self, error: ClientError, topic: &str) -> anyhow::Error {
        if error.reason() != ErrorReason::UnknownTopic {
            return error.into();
        }
        let Ok(topics) = self.client.list_topics(ListTopicsRequest::default()).await else {
            return error.into();
        };
        match nearest(topic, topics.iter().map(|topic| topic.name.as_str())) {
            Some(name) => anyhow!("{error}; did you mean {name:?}?"),
            None if topics.is_empty() => {
                anyhow!("{error}; there are no topics yet: mqctl topic create {topic}")
            }
            None => anyhow!("{error}; mqctl topic list shows those that exist"),
        }
    }

    /// The error for people: with the nearest names where a topic config is unknown. `topic` is any that exists.
    pub async fn explain_config(
        &self,
        error: ClientError,
        topic: Option<&str>,
        keys: &[&str],
    ) -> anyhow::Error {
        if error.reason() != ErrorReason::InvalidRequest {
            return error.into();
        }
        let Some(known) = self.config_keys(topic).await else { return error.into() };
        let unknown = keys.iter().filter(|key| !known.iter().any(|known| known == *key));
        let hints =
            unknown.filter_map(|key| nearest(key, known.iter().map(String::as_str)).map(|near| (key, near)));
        let hints: Vec<String> = hints.map(|(key, near)| format!("{key}: did you mean {near:?}?")).collect();
        if hints.is_empty() { error.into() } else { anyhow!("{error}; {}", hints.join(" ")) }
    }

    async fn config_keys(&self, topic: Option<&str>) -> Option<Vec<String>> {
        let name = match topic {
            Some(topic) => topic.to_owned(),
            None => {
                self.client.list_topics(ListTopicsRequest::default()).await.ok()?.into_iter().next()?.name
            }
        };
        let request = DescribeConfigsRequest { scope: ConfigScope::Topic.into(), name, keys: Vec::new() };
        let configs = self.client.describe_configs(request).await.ok()?;
        Some(configs.into_iter().map(|config| config.key).collect())
    }
}

/// Whether to go on with what destroys: `--yes`, or a person who says so. No question without a terminal.
pub fn confirm(question: &str, yes: bool) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(usage(format!(
            "{question} Nobody can answer here: add --yes, or --dry-run to see what would happen"
        )));
    }
    eprint!("{question} Type yes: ");
    io::stderr().flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).context("no answer")?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}

/// Connection settings from `-X key=value`.
fn options(settings: &[(String, String)]) -> anyhow::Result<Options> {
    let mut options = Options { client_id: "mqctl".to_owned(), ..Options::default() };
    for (key, value) in settings {
        let milliseconds = || {
            let parsed = value.parse().map(Duration::from_millis);
            parsed.map_err(|_| usage(format!("-X {key}={value}: write a number of milliseconds")))
        };
        match key.as_str() {
            "client.id" => options.client_id.clone_from(value),
            "connect.timeout.ms" => options.connect_timeout = milliseconds()?,
            "request.timeout.ms" => options.request_timeout = milliseconds()?,
            _ => {
                let hint = nearest(key, SETTINGS).map(|near| format!("did you mean {near:?}? "));
                let (hint, known) = (hint.unwrap_or_default(), SETTINGS.join(", "));
                return Err(usage(format!("-X {key}: no such setting; {hint}there are {known}")));
            }
        }
    }
    Ok(options)
}
