//! How the program ends: 0 done, 1 an error, 2 a usage error, 10 not healthy.

use std::process::ExitCode;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done as asked.
    Ok,
    /// It failed, and said why.
    Error,
    /// The arguments make no sense together.
    Usage,
    /// The broker or the cluster is not as it should be.
    Unhealthy,
}

/// Arguments that make no sense together, found after parsing.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// A usage error as the commands return it.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError { message: message.into() }.into()
}

impl Exit {
    /// The code for an error that ends the program.
    pub fn of(error: &anyhow::Error) -> Exit {
        if error.is::<UsageError>() { Exit::Usage } else { Exit::Error }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Ok => 0,
            Exit::Error => 1,
            Exit::Usage => 2,
            Exit::Unhealthy => 10,
        })
    }
}
