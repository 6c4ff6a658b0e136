//! The only place where a reason becomes a gRPC status.
//!
//! A failed call says why three times: in google.rpc status details, in plain trailers (`mq-reason`, `mq-retriable`,
//! `mq-retry-after-ms`) for clients without google/rpc, and in words.

use mq_broker::Broker;
use mq_broker::api::Error;
use mq_proto::v1;
use mq_types::ErrorCode;
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::pb;

/// The domain of our reasons in google.rpc.ErrorInfo.
const DOMAIN: &str = "mq";
/// The trailer with the reason's name.
const REASON: &str = "mq-reason";
/// The longest message, in bytes. It quotes clients, and what a client quotes has no bounds; many gRPC clients refuse
/// trailers over 8 KiB, and with them the reason.
const MESSAGE_BYTES_MAX: usize = 512;
/// The longest value in the metadata, in bytes.
const VALUE_BYTES_MAX: usize = 256;
/// The largest ProduceResponse that fits into trailers with the rest, in bytes.
const RESPONSE_BYTES_MAX: usize = 3 << 10;
/// When to come again to a broker that stops, in ms: another one leads by then, or this one is back.
const RETRY_STOPPING_MS: u32 = 1_000;

/// The status that tells a client of this failure.
pub(crate) fn status(error: &Error) -> Status {
    build(error, None)
}

/// As [`status`], for what is refused here, before the broker was asked: it is counted.
pub(crate) fn refused(broker: &Broker, error: &Error) -> Status {
    broker.refused(error);
    status(error)
}

/// As [`status`], with what was appended and what was not in the details, unless that is too much for trailers.
pub(crate) fn partly_appended(error: &Error, response: &v1::ProduceResponse) -> Status {
    let fits = response.encoded_len() <= RESPONSE_BYTES_MAX;
    build(error, fits.then(|| any("mq.v1.ProduceResponse", response)))
}

/// The status of a stream that the broker ends because it stops: come again, here or elsewhere.
pub(crate) fn stopping() -> Status {
    status(&Error::NoLeader { retry_after_ms: RETRY_STOPPING_MS })
}

/// The status of a request that names a field wrongly.
pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> Status {
    status(&Error::InvalidRequest { field, problem: problem.into() })
}

/// The status of a stream whose next request could not be read: with a reason, if it is one of the client's making.
pub(crate) fn unreadable(broker: &Broker, broken: Status) -> Status {
    match broken.code() {
        Code::InvalidArgument if broken.metadata().get(REASON).is_none() => {
            let problem = broken.message().to_owned();
            refused(broker, &Error::InvalidRequest { field: "message", problem })
        }
        _ => broken,
    }
}

/// The status of what is not built yet.
pub(crate) fn unimplemented(what: &str) -> Status {
    status(&Error::Unimplemented { what: what.to_owned() })
}

/// The same failure for one item of a stream or of a batch.
pub(crate) fn item_error(error: &Error) -> v1::ItemError {
    let code = error.code();
    v1::ItemError {
        reason: i32::from(code.number()),
        message: message(error),
        metadata: metadata(error).collect(),
        retriable: code.retriable(),
        retry_after_ms: i32::try_from(error.retry_after_ms()).unwrap_or(i32::MAX),
    }
}

fn build(error: &Error, detail: Option<prost_types::Any>) -> Status {
    let reason = error.code();
    let info = pb::ErrorInfo {
        reason: reason.name().to_owned(),
        domain: DOMAIN.to_owned(),
        metadata: metadata(error).collect(),
    };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if reason.retriable() {
        let delay = std::time::Duration::from_millis(u64::from(error.retry_after_ms()));
        let retry = pb::RetryInfo { retry_delay: prost_types::Duration::try_from(delay).ok() };
        details.push(any("google.rpc.RetryInfo", &retry));
    }
    details.extend(detail);
    let code = grpc_code(reason);
    let message = message(error);
    let rich = pb::Status { code: code as i32, message: message.clone(), details };
    Status::with_details_and_metadata(code, message, rich.encode_to_vec().into(), trailers(error))
}

fn message(error: &Error) -> String {
    cut(error.to_string(), MESSAGE_BYTES_MAX)
}

fn metadata(error: &Error) -> impl Iterator<Item = (String, String)> {
    error.metadata().into_iter().map(|(key, value)| (key.to_owned(), cut(value, VALUE_BYTES_MAX)))
}

/// The text, or its beginning and an ellipsis: `bytes_max` bytes at the most.
fn cut(mut text: String, bytes_max: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max - ELLIPSIS.len()));
        text.push_str(ELLIPSIS);
    }
    text
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

fn trailers(error: &Error) -> MetadataMap {
    let reason = error.code();
    let mut trailers = MetadataMap::new();
    trailers.insert(REASON, tonic::metadata::MetadataValue::from_static(reason.name()));
    trailers
        .insert("mq-retriable", (if reason.retriable() { "true" } else { "false" }).parse().expect("ASCII"));
    trailers.insert("mq-retry-after-ms", error.retry_after_ms().into());
    trailers
}

/// Gives a reason to what is refused before one of our services sees it, calls that this version does not even know and
/// messages that are none: without one, a client would have to take it for a proxy's.
pub(crate) fn add_reason<Body>(broker: &Broker, mut response: http::Response<Body>) -> http::Response<Body> {
    let headers = response.headers_mut();
    if headers.contains_key(REASON) {
        return response;
    }
    let error = match Status::from_header_map(headers).map(|status| status.code()) {
        Some(Code::Unimplemented) => Error::Unimplemented { what: "this call".to_owned() },
        Some(Code::InvalidArgument) => {
            Error::InvalidRequest { field: "message", problem: "it cannot be read".to_owned() }
        }
        _ => return response,
    };
    broker.refused(&error);
    headers.extend(trailers(&error).into_headers());
    response
}

/// The gRPC code of each reason, as error.proto promises it.
fn grpc_code(reason: ErrorCode) -> Code {
    match reason {
        ErrorCode::InvalidRequest | ErrorCode::BatchTooLarge | ErrorCode::CorruptBatch => {
            Code::InvalidArgument
        }
        ErrorCode::Unauthenticated => Code::Unauthenticated,
        ErrorCode::Forbidden => Code::PermissionDenied,
        ErrorCode::Unimplemented => Code::Unimplemented,
        ErrorCode::Internal => Code::Internal,
        ErrorCode::Overloaded
        | ErrorCode::QuotaExceeded
        | ErrorCode::AnswersNotRead
        | ErrorCode::DiskFull => Code::ResourceExhausted,
        ErrorCode::NotLeader | ErrorCode::NoLeader | ErrorCode::OffsetNotAvailable => Code::Unavailable,
        ErrorCode::OutcomeUnknown => Code::Unknown,
        ErrorCode::CorruptLog => Code::DataLoss,
        ErrorCode::UnknownTopic
        | ErrorCode::UnknownPartition
        | ErrorCode::UnknownBroker
        | ErrorCode::UnknownGroup
        | ErrorCode::UnknownMember => Code::NotFound,
        ErrorCode::TopicExists | ErrorCode::DuplicateSequence => Code::AlreadyExists,
        ErrorCode::TopicIdMismatch
        | ErrorCode::OutOfOrderSequence
        | ErrorCode::UnknownProducer
        | ErrorCode::FencedEpoch
        | ErrorCode::UnexpectedNextOffset
        | ErrorCode::GroupNotEmpty
        | ErrorCode::LockLost => Code::FailedPrecondition,
        ErrorCode::PartlyAppended => Code::Aborted,
        ErrorCode::OffsetOutOfRange => Code::OutOfRange,
    }
}

#[cfg(test)]
mod tests;
