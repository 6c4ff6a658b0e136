//! Where reading begins and ends (`consume -o`, `topic trim --to`): `start`, `end`, `N`, `-N` (the last N of each
//! partition), `@time`, and `A:B` for a range that ends. A time is RFC 3339, milliseconds since the Unix epoch, or a
//! duration before now (`@-1h`).

use std::{
    str::FromStr,
    time::{Duration, SystemTime},
};

use prost_types::Timestamp;

/// A point in every partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The first record still kept.
    Start,
    /// After the last record there is now.
    End,
    /// So many records before the end.
    Last(i64),
    /// An offset.
    At(i64),
    /// The first record appended at or after it, in ms since the Unix epoch.
    Time(i64),
    /// So long before now.
    Ago(Duration),
}

/// From where, and up to (not including) where; without an end, reading follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// The first to read.
    pub from: Point,
    /// The first not to read.
    pub to: Option<Point>,
}

/// What is no point or no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffsetError {
    /// No point.
    #[error("{text:?} is no offset: write start, end, 42, -10 (the last ten), @2026-01-31T12:00:00Z or @-1h")]
    NoPoint {
        /// As it was given.
        text: String,
    },
    /// Neither, where a range may stand.
    #[error(
        "{text:?} is no offset: write start, end, 42, -10 (the last ten), @2026-01-31T12:00:00Z, @-1h, or FROM:TO"
    )]
    NoRange {
        /// As it was given.
        text: String,
    },
    /// `-o json`, as every other command has it.
    #[error("here -o is the offset to begin at; write --output {format}")]
    Format {
        /// As it was given.
        format: String,
    },
    /// A range that ends before it begins.
    #[error("the range {from}:{to} is empty: it ends before it begins")]
    Backwards {
        /// Its first offset.
        from: i64,
        /// The one it ends before.
        to: i64,
    },
}

impl FromStr for Point {
    type Err = OffsetError;

    fn from_str(text: &str) -> Result<Point, OffsetError> {
        let no_point = || OffsetError::NoPoint { text: text.to_owned() };
        if let Some(time) = text.strip_prefix('@') {
            return parse_time(time).ok_or_else(no_point);
        }
        if let Some(count) = text.strip_prefix('-') {
            return digits(count).map(Point::Last).ok_or_else(no_point);
        }
        match text {
            "start" | "earliest" | "beginning" => Ok(Point::Start),
            "end" | "latest" => Ok(Point::End),
            _ => digits(text).map(Point::At).ok_or_else(no_point),
        }
    }
}

impl FromStr for OffsetRange {
    type Err = OffsetError;

    fn from_str(text: &str) -> Result<OffsetRange, OffsetError> {
        if let Ok(from) = text.parse() {
            return Ok(OffsetRange { from, to: None });
        }
        // A time may have colons of its own, so the range is cut where both sides are points.
        let cuts = text.match_indices(':').map(|(cut, _)| (&text[..cut], &text[cut + 1..]));
        let parsed = cuts.filter_map(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?))).next();
        match parsed {
            Some((Point::At(from), Point::At(to))) if to < from => Err(OffsetError::Backwards { from, to }),
            Some((from, to)) => Ok(OffsetRange { from, to: Some(to) }),
            None if matches!(text, "table" | "wide" | "json") => {
                Err(OffsetError::Format { format: text.to_owned() })
            }
            None => Err(OffsetError::NoRange { text: text.to_owned() }),
        }
    }
}

impl Point {
    /// The time it stands for, if it is one; `now` is what durations count back from.
    pub fn timestamp(self, now: SystemTime) -> Option<Timestamp> {
        match self {
            Point::Time(ms) => Some(Timestamp {
                seconds: ms.div_euclid(1000),
                nanos: (ms.rem_euclid(1000) * 1_000_000) as i32, // below a second, so it fits
            }),
            Point::Ago(before) => {
                let at = now.checked_sub(before).unwrap_or(SystemTime::UNIX_EPOCH);
                Some(at.max(SystemTime::UNIX_EPOCH).into())
            }
            Point::Start | Point::End | Point::Last(_) | Point::At(_) => None,
        }
    }
}

fn parse_time(text: &str) -> Option<Point> {
    if let Some(before) = text.strip_prefix('-') {
        return humantime::parse_duration(before).ok().map(Point::Ago);
    }
    if let Some(ms) = digits(text) {
        return Some(Point::Time(ms));
    }
    // A date and a time with its zone, so that what is left of a cut at a colon is not taken for one.
    let (_, time) = text.split_once(['T', 't'])?;
    let has_zone = time.ends_with(['Z', 'z']) || time.contains(['+', '-']);
    let at: Timestamp = text.parse().ok().filter(|_| has_zone)?;
    Some(Point::Time(at.seconds.checked_mul(1000)?.checked_add(i64::from(at.nanos / 1_000_000))?))
}

/// Digits and nothing else: `+5` and `1_000` are mistakes.
fn digits(text: &str) -> Option<i64> {
    let only_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| only_digits)
}
