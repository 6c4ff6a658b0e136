//! How long a caller waits, as it says in `grpc-timeout`. An answer that comes later reaches nobody.

use std::time::Duration;
use tonic::metadata::MetadataMap;

/// Kept back for the answer's way: a tenth of the caller's time, at most this.
const WAY_MAX: Duration = Duration::from_millis(100);
/// The longest value that gRPC allows, in digits.
const DIGITS_MAX: usize = 8;

/// How long the work on a call may take, if the caller set it a deadline.
pub(crate) fn time_left(metadata: &MetadataMap) -> Option<Duration> {
    let timeout = parse(metadata.get("grpc-timeout")?.to_str().ok()?)?;
    Some(timeout - (timeout / 10).min(WAY_MAX))
}

/// `grpc-timeout` as the gRPC protocol ("gRPC over HTTP2") defines it: up to 8 digits and a unit.
fn parse(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}
