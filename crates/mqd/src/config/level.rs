//! What is logged: a level for all, and others for single modules.
//!
//! Where log lines go, and how they look, is the business of `telemetry`.

use std::str::FromStr;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// The longest list of modules, in bytes.
const BYTES_MAX: usize = 1024;
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// A level, and others by module, such as `info,mq_raft=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    text: String,
}

/// The text is not a level.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("expected {}", Level::EXPECTED)]
pub(crate) struct NotALevel;

impl Level {
    /// What can be written, for people.
    pub(crate) const EXPECTED: &str =
        "error, warn, info, debug, trace or off, and others by module, such as \"info,mq_raft=debug\"";

    /// What runs by default.
    pub(crate) fn info() -> Level {
        Level { text: "info".to_owned() }
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// As the log understands it. A module that is not named has the level that stands alone, or else none.
    pub(crate) fn targets(&self) -> Targets {
        self.text.split(',').fold(Targets::new(), |targets, part| match part.split_once('=') {
            Some((module, level)) => targets.with_target(module, known(level).expect("checked when parsed")),
            None => targets.with_default(known(part).expect("checked when parsed")),
        })
    }
}

impl FromStr for Level {
    type Err = NotALevel;

    /// Strict, unlike the log's own parser: to that a mistyped level is the name of a module.
    fn from_str(text: &str) -> Result<Level, NotALevel> {
        let good = |part: &str| match part.split_once('=') {
            Some((module, level)) => is_module(module) && known(level).is_some(),
            None => known(part).is_some(),
        };
        let text: String = text.split(',').map(str::trim).collect::<Vec<_>>().join(",");
        if text.len() <= BYTES_MAX && text.split(',').all(good) { Ok(Level { text }) } else { Err(NotALevel) }
    }
}

fn known(level: &str) -> Option<LevelFilter> {
    LEVELS.iter().find(|(name, _)| *name == level).map(|(_, filter)| *filter)
}

fn is_module(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
}
