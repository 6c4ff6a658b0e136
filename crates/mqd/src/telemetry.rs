//! The log: on stderr, for people or as JSON, with a level that can be changed while the process runs; and what
//! happens when a promise of our own is broken.

use crate::config::{Format, Level};
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// Changes the level of the log.
#[derive(Clone)]
pub(crate) struct LevelSwitch {
    filter: reload::Handle<Targets, Registry>,
    level: Arc<Mutex<Level>>,
}

impl LevelSwitch {
    /// The level now.
    pub(crate) fn level(&self) -> Level {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another one from now on.
    pub(crate) fn set(&self, level: Level) {
        let mut current = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        // It fails only where there is no log any more, and then there is no level to change.
        if self.filter.reload(level.targets()).is_ok() {
            *current = level;
        }
    }
}

/// Starts the log of this process; called once. From here on a panic ends the process.
pub(crate) fn start(level: &Level, format: Format) -> LevelSwitch {
    let (filter, handle) = reload::Layer::new(level.targets());
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        Format::Text => lines.with_ansi(colours(&std::io::stderr())).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    abort_on_panic();
    LevelSwitch { filter: handle, level: Arc::new(Mutex::new(level.clone())) }
}

/// Colours are for terminals whose owner has nothing against them (<https://no-color.org>).
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A panic is a broken promise of our own. To go on with a thread missing would break more of them, and what is on
/// the disk is good for a restart at any moment.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic without words");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or_default();
        let backtrace = std::backtrace::Backtrace::force_capture();
        tracing::error!(place, thread, %backtrace, "this is a bug in mq, and the process ends: {message}");
        std::process::abort();
    }));
}
