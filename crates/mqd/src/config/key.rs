//! One key: which field it fills, from what, within which range, and how its value is written.
//!
//! Which keys there are stands in `table`.

use super::{Config, Format, Level};
use bytesize::ByteSize;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// The longest text a key takes, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// A value as it was written, before it is known what it should be.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// From the environment or a flag: only its key knows what it is.
    Untyped(String),
    /// A TOML string.
    Text(String),
    /// A TOML integer, its digits.
    Number(String),
    /// A TOML boolean.
    Switch(bool),
    /// Something that no key takes, by the name of its kind.
    Other(&'static str),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raw::Untyped(text) => write!(f, "{text:?}"),
            Raw::Text(text) => write!(f, "the string {text:?}"),
            Raw::Number(digits) => write!(f, "the number {digits}"),
            Raw::Switch(on) => write!(f, "the boolean {on}"),
            Raw::Other(kind) => f.write_str(kind),
        }
    }
}

/// The field that a key fills, and what it takes.
pub(super) enum Field {
    Address(fn(&mut Config) -> &mut SocketAddr),
    /// In bytes.
    Size(fn(&mut Config) -> &mut u64, RangeInclusive<u64>),
    Span(fn(&mut Config) -> &mut Duration, RangeInclusive<Duration>),
    Number(fn(&mut Config) -> &mut u32, RangeInclusive<u32>),
    Switch(fn(&mut Config) -> &mut bool),
    Text(fn(&mut Config) -> &mut String),
    /// `host:port`, or empty.
    Endpoint(fn(&mut Config) -> &mut String),
    Path(fn(&mut Config) -> &mut PathBuf),
    Level(fn(&mut Config) -> &mut Level),
    Format(fn(&mut Config) -> &mut Format),
}

impl Field {
    /// Fills the field; false, and nothing is changed, if the value is not what the key takes.
    pub(super) fn set(&self, config: &mut Config, raw: &Raw) -> bool {
        match self {
            Field::Address(field) => fill(field(config), text(raw).and_then(|text| text.parse().ok())),
            Field::Size(field, range) => fill(field(config), size(raw).filter(|size| range.contains(size))),
            Field::Span(field, range) => {
                let span = text(raw).and_then(|text| humantime::parse_duration(text).ok());
                // Below a millisecond nothing is measured, so nothing is promised.
                let span = span.filter(|span| range.contains(span) && span.subsec_nanos() % 1_000_000 == 0);
                fill(field(config), span)
            }
            Field::Number(field, range) => fill(
                field(config),
                digits(raw).and_then(|digits| digits.parse().ok()).filter(|n| range.contains(n)),
            ),
            Field::Switch(field) => fill(field(config), switch(raw)),
            Field::Text(field) => {
                let plain = |text: &&str| text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control);
                fill(field(config), text(raw).filter(plain).map(str::to_owned))
            }
            Field::Endpoint(field) => {
                let good = |text: &&str| text.is_empty() || is_endpoint(text);
                fill(field(config), text(raw).filter(good).map(str::to_owned))
            }
            Field::Path(field) => {
                let good = |text: &&str| !text.is_empty() && !text.contains('\0');
                fill(field(config), text(raw).filter(good).map(PathBuf::from))
            }
            Field::Level(field) => fill(field(config), text(raw).and_then(|text| text.parse().ok())),
            Field::Format(field) => fill(field(config), text(raw).and_then(format)),
        }
    }

    /// What the key takes, for people.
    pub(super) fn expects(&self) -> String {
        match self {
            Field::Address(_) => {
                "an IP address and a port, such as \"127.0.0.1:9650\" or \"[::1]:9650\"".to_owned()
            }
            Field::Size(_, range) => {
                let (from, to) = (show_size(*range.start()), show_size(*range.end()));
                format!("a size from {from} to {to}, such as \"64KiB\", \"16MiB\" or a number of bytes")
            }
            Field::Span(_, range) => {
                let (from, to) = (show_span(*range.start()), show_span(*range.end()));
                format!("a duration from {from} to {to}, such as \"500ms\", \"30s\" or \"1h 30m\"")
            }
            Field::Number(_, range) => format!("a whole number from {} to {}", range.start(), range.end()),
            Field::Switch(_) => "true or false".to_owned(),
            Field::Text(_) => {
                format!("a string of at most {TEXT_BYTES_MAX} bytes without control characters")
            }
            Field::Endpoint(_) => "a host and a port, such as \"broker-1.example.org:9650\"".to_owned(),
            Field::Path(_) => "the path of a directory, such as \"/var/lib/mq\"".to_owned(),
            Field::Level(_) => Level::EXPECTED.to_owned(),
            Field::Format(_) => "\"text\" or \"json\"".to_owned(),
        }
    }

    /// The field's value as TOML that [`Field::set`] takes back.
    pub(super) fn to_toml(&self, config: &mut Config) -> String {
        match self {
            Field::Address(field) => quoted(&field(config).to_string()),
            Field::Size(field, _) => quoted(&show_size(*field(config))),
            Field::Span(field, _) => quoted(&show_span(*field(config))),
            Field::Number(field, _) => field(config).to_string(),
            Field::Switch(field) => field(config).to_string(),
            Field::Text(field) | Field::Endpoint(field) => quoted(field(config)),
            Field::Path(field) => quoted(&field(config).to_string_lossy()),
            Field::Level(field) => quoted(field(config).as_str()),
            Field::Format(field) => quoted(match field(config) {
                Format::Text => "text",
                Format::Json => "json",
            }),
        }
    }
}

fn fill<T>(field: &mut T, value: Option<T>) -> bool {
    let good = value.is_some();
    if let Some(value) = value {
        *field = value;
    }
    good
}

fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Untyped(text) | Raw::Text(text) => Some(text),
        Raw::Number(_) | Raw::Switch(_) | Raw::Other(_) => None,
    }
}

fn digits(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Untyped(digits) | Raw::Number(digits) => Some(digits),
        Raw::Text(_) | Raw::Switch(_) | Raw::Other(_) => None,
    }
}

fn switch(raw: &Raw) -> Option<bool> {
    match raw {
        Raw::Switch(on) => Some(*on),
        Raw::Untyped(text) => text.parse().ok(),
        Raw::Text(_) | Raw::Number(_) | Raw::Other(_) => None,
    }
}

/// In bytes. A number without a unit is one of bytes.
fn size(raw: &Raw) -> Option<u64> {
    match raw {
        Raw::Untyped(text) | Raw::Text(text) | Raw::Number(text) => {
            text.parse().ok().map(|ByteSize(bytes)| bytes)
        }
        Raw::Switch(_) | Raw::Other(_) => None,
    }
}

fn format(text: &str) -> Option<Format> {
    match text {
        "text" => Some(Format::Text),
        "json" => Some(Format::Json),
        _ => None,
    }
}

/// `host:port`; the host is a name or an address and is not looked up.
fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_good = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    };
    host_is_good && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Exact: the largest unit that divides it.
fn show_size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

fn show_span(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
