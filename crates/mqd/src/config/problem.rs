//! What can be wrong with a configuration: where, what, and what to write instead.

use super::Source;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The most that a message repeats of what somebody wrote, in characters.
const SHOWN_CHARS_MAX_COUNT: usize = 200;

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// The file cannot be read.
    #[error("could not read the configuration file {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}: this is not TOML: {}", .path.display(), shown(.message))]
    NotToml {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// Nobody knows this key.
    #[error("{at}: unknown key \"{}\"{}", shown(.key), did_you_mean(.near))]
    UnknownKey {
        /// Where.
        at: Source,
        /// As it was written.
        key: String,
        /// What may be meant.
        near: Vec<String>,
    },
    /// A section stands where a key should.
    #[error("{at}: \"{section}\" is a section; write [{section}] on a line of its own, and its keys below")]
    NotASection {
        /// Where.
        at: Source,
        /// The section.
        section: String,
    },
    /// Nobody knows this variable, and its name says that it is meant for us.
    #[error("unknown environment variable {}{}", shown(.name), did_you_mean(.near.as_slice()))]
    UnknownVariable {
        /// Its name.
        name: String,
        /// What may be meant.
        near: Option<String>,
    },
    /// A variable of ours is not text.
    #[error("the environment variable {name} is not UTF-8 text")]
    NotUtf8 {
        /// Its name.
        name: String,
    },
    /// A value of a wrong kind, malformed, or out of range.
    #[error("{at}: {key} is {}; expected {expected}", shown(.value))]
    BadValue {
        /// Where.
        at: Source,
        /// The key.
        key: &'static str,
        /// The value, as it was written.
        value: String,
        /// What the key takes.
        expected: String,
    },
    /// A listener that strangers could reach.
    #[error(
        "{at}: {key} is {address}, which other machines may reach, and this version has neither TLS nor \
         authentication: whoever reaches it can read, write and delete everything. Listen on 127.0.0.1, or, where \
         the network itself keeps strangers out, set security.allow_insecure_listeners = true in the file or \
         MQ__SECURITY__ALLOW_INSECURE_LISTENERS=true in the environment"
    )]
    Insecure {
        /// Where.
        at: Source,
        /// The listener's key.
        key: &'static str,
        /// Its address.
        address: SocketAddr,
    },
    /// Two listeners cannot have one address.
    #[error("{at}: {key} is {address}, and so is {other}; give them different ports")]
    SameAddress {
        /// Where.
        at: Source,
        /// One listener's key.
        key: &'static str,
        /// The other's.
        other: &'static str,
        /// The address of both.
        address: SocketAddr,
    },
    /// Clients would be sent to 0.0.0.0.
    #[error(
        "{at}: grpc.listen is {address}, which is no address that clients could connect to; set grpc.advertise \
         to the host and port under which they reach this broker"
    )]
    NothingToAdvertise {
        /// Where.
        at: Source,
        /// The address.
        address: SocketAddr,
    },
    /// More would be reserved than a segment holds.
    #[error(
        "{at}: log.preallocate_bytes is {preallocate_bytes} bytes, more than log.segment_bytes with \
         {segment_bytes}; set log.preallocate_bytes to at most as much"
    )]
    PreallocatesTooMuch {
        /// Where.
        at: Source,
        /// The one.
        preallocate_bytes: u64,
        /// The other.
        segment_bytes: u64,
    },
}

/// All that is wrong with a configuration: a line for each.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Vec<Problem>);

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert!(!self.0.is_empty(), "a configuration without a problem is not refused");
        for (number, problem) in self.0.iter().enumerate() {
            let line_end = if number == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        Ok(())
    }
}

/// What somebody wrote, fit for one line: without control characters, and cut if it is long.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (number, character) in text.chars().enumerate() {
        match character {
            _ if number == SHOWN_CHARS_MAX_COUNT => return shown + "…",
            _ if character.is_control() => shown.extend(character.escape_default()),
            _ => shown.push(character),
        }
    }
    shown
}

fn did_you_mean<'a>(near: impl IntoIterator<Item = &'a String>) -> String {
    let near: Vec<String> = near.into_iter().map(|name| format!("\"{name}\"")).collect();
    if near.is_empty() {
        "; mqd --print-config shows every key".to_owned()
    } else {
        format!("; did you mean {}?", near.join(" or "))
    }
}
