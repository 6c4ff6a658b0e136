//! What can go wrong, told apart by what the caller can do next.
//!
//! A broker that refuses says why in trailers and status details; [`Failure`] is that, as one value. Everything
//! without a reason came from the transport or a proxy, and its outcome is unknown.

use std::{collections::BTreeMap, error::Error, fmt, io, time::Duration};

use mq_proto::v1::{ErrorReason, ItemError, ProduceResponse};
use prost::Message;
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::StatusExt;

/// Why a call, or one item of a stream, did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// An endpoint that is not `host:port` or `http://host:port`. Nothing was sent.
    #[error("{endpoint:?} is not an endpoint: write host:port, e.g. 127.0.0.1:9650")]
    BadEndpoint {
        /// As it was given.
        endpoint: String,
    },
    /// A client id that cannot stand in request metadata. Nothing was sent.
    #[error("{client_id:?} is not a client id: use visible ASCII characters")]
    BadClientId {
        /// As it was given.
        client_id: String,
    },
    /// No broker could be reached. Nothing was sent, so sending again is safe.
    #[error("{}", describe_attempts(.attempts))]
    Unreachable {
        /// Every endpoint tried, in turn.
        attempts: Vec<Attempt>,
    },
    /// The broker said no, and why.
    #[error("{0}")]
    Refused(Box<Failure>),
    /// The deadline passed without an answer: the outcome is unknown.
    #[error("no answer from {endpoint} within {} s: whether it was carried out is unknown", .waited.as_secs_f32())]
    TimedOut {
        /// The broker asked.
        endpoint: String,
        /// How long the answer was waited for.
        waited: Duration,
    },
    /// The connection broke, or something between client and broker answered: the outcome is unknown.
    #[error(
        "the connection to {endpoint} failed: {message} ({code:?}); whether it was carried out is unknown"
    )]
    Transport {
        /// The broker asked.
        endpoint: String,
        /// The gRPC code made of it.
        code: Code,
        /// What the transport said.
        message: String,
    },
    /// A record larger than the topic takes. Nothing was sent.
    #[error(
        "the record has {size_bytes} bytes; the topic's max.message.bytes is {max_bytes}: send less, or raise that"
    )]
    RecordTooLarge {
        /// Its key, value and headers.
        size_bytes: usize,
        /// What the topic takes.
        max_bytes: usize,
    },
    /// A record waited in the producer for longer than `delivery_timeout`: certainly not appended.
    #[error("not appended: still undelivered after {} s{}", .waited.as_secs_f32(), because(.last.as_deref()))]
    DeliveryTimedOut {
        /// From `send` until it was given up.
        waited: Duration,
        /// What the last attempt met, if there was one.
        last: Option<Box<ClientError>>,
    },
    /// The answer does not fit the question: a bug in the broker, or another protocol version.
    #[error("{endpoint} answered with something unexpected: {what}")]
    UnexpectedAnswer {
        /// The broker asked.
        endpoint: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// One endpoint that could not be reached, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// `host:port`, as it was tried.
    pub endpoint: String,
    /// Why it failed, e.g. "connection refused".
    pub cause: String,
}

/// A broker's refusal.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// Which of the closed list; `Unspecified` for one that this client is too old to know.
    pub reason: ErrorReason,
    /// For people: what happened, with the numbers, and what to do.
    pub message: String,
    /// The keys that stand beside the reason in `error.proto`.
    pub metadata: BTreeMap<String, String>,
    /// Certainly not carried out, and worth sending again.
    pub retriable: bool,
    /// Not before this; zero: at once.
    pub retry_after: Duration,
    /// With `PARTLY_APPENDED`: which records were appended and which were not.
    pub produced: Option<ProduceResponse>,
}

impl ClientError {
    /// The broker's reason; `Unspecified` where no broker gave one.
    pub fn reason(&self) -> ErrorReason {
        self.failure().map_or(ErrorReason::Unspecified, |failure| failure.reason)
    }

    /// One word for it: the broker's reason, or what went wrong before or without the broker.
    pub fn word(&self) -> &'static str {
        match self {
            ClientError::BadEndpoint { .. } => "BAD_ENDPOINT",
            ClientError::BadClientId { .. } => "BAD_CLIENT_ID",
            ClientError::Unreachable { .. } => "UNREACHABLE",
            ClientError::Refused(failure) => failure.word(),
            ClientError::TimedOut { .. } => "TIMED_OUT",
            ClientError::Transport { .. } => "TRANSPORT",
            ClientError::RecordTooLarge { .. } => "RECORD_TOO_LARGE",
            ClientError::DeliveryTimedOut { .. } => "DELIVERY_TIMED_OUT",
            ClientError::UnexpectedAnswer { .. } => "UNEXPECTED_ANSWER",
        }
    }

    /// The broker's refusal, if it is one.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            ClientError::Refused(failure) => Some(failure),
            _ => None,
        }
    }

    /// Certainly not carried out, and worth sending again.
    pub fn retriable(&self) -> bool {
        match self {
            ClientError::Refused(failure) => failure.retriable,
            ClientError::Unreachable { .. } => true,
            _ => false,
        }
    }

    /// How long to wait before sending again; zero: at once.
    pub fn retry_after(&self) -> Duration {
        self.failure().map_or(Duration::ZERO, |failure| failure.retry_after)
    }

    /// It may have been carried out: sending again may do it twice.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            ClientError::Transport { .. }
            | ClientError::TimedOut { .. }
            | ClientError::UnexpectedAnswer { .. } => true,
            ClientError::Refused(failure) => failure.reason == ErrorReason::OutcomeUnknown,
            _ => false,
        }
    }

    /// A call's status: the broker's refusal where it carries a reason, else the transport's failure.
    pub(crate) fn from_status(endpoint: &str, status: &Status, waited: Duration) -> ClientError {
        let endpoint = endpoint.to_owned();
        if let Some(failure) = Failure::from_status(status) {
            return ClientError::Refused(Box::new(failure));
        }
        if in_chain::<tonic::ConnectError>(status) {
            return ClientError::Unreachable {
                attempts: vec![Attempt { endpoint, cause: root_cause(status) }],
            };
        }
        if status.code() == Code::DeadlineExceeded || in_chain::<tonic::TimeoutExpired>(status) {
            return ClientError::TimedOut { endpoint, waited };
        }
        ClientError::Transport { endpoint, code: status.code(), message: transport_message(status) }
    }
}

impl From<ItemError> for ClientError {
    fn from(item: ItemError) -> ClientError {
        ClientError::Refused(Box::new(Failure {
            reason: item.reason(),
            message: item.message,
            metadata: item.metadata,
            retriable: item.retriable,
            retry_after: milliseconds(item.retry_after_ms),
            produced: None,
        }))
    }
}

impl Failure {
    /// The value beside one of the reason's metadata keys.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The reason without its prefix.
    fn word(&self) -> &'static str {
        let name = self.reason.as_str_name();
        name.strip_prefix(REASON_PREFIX).unwrap_or(name)
    }

    /// None if no broker spoke: neither trailers nor details carry a reason.
    fn from_status(status: &Status) -> Option<Failure> {
        let info = status.get_details_error_info();
        let trailers = status.metadata();
        let word = trailer(trailers, "mq-reason").or(info.as_ref().map(|info| info.reason.as_str()))?;
        let retry_after = match trailer(trailers, "mq-retry-after-ms").and_then(|value| value.parse().ok()) {
            Some(ms) => milliseconds(ms),
            None => status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or_default(),
        };
        Some(Failure {
            reason: parse_reason(word),
            message: status.message().to_owned(),
            retriable: trailer(trailers, "mq-retriable") == Some("true"),
            retry_after,
            metadata: info.map(|info| info.metadata.into_iter().collect()).unwrap_or_default(),
            produced: produced(status),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word();
        match self.message.is_empty() {
            true => f.write_str(word),
            false => write!(f, "{} ({word})", self.message),
        }
    }
}

const REASON_PREFIX: &str = "ERROR_REASON_";

fn parse_reason(word: &str) -> ErrorReason {
    ErrorReason::from_str_name(word)
        .or_else(|| ErrorReason::from_str_name(&format!("{REASON_PREFIX}{word}")))
        .unwrap_or_default()
}

fn produced(status: &Status) -> Option<ProduceResponse> {
    let details = tonic_types::Status::decode(status.details()).ok()?.details;
    let any = details.iter().find(|any| any.type_url.ends_with("/mq.v1.ProduceResponse"))?;
    ProduceResponse::decode(any.value.as_slice()).ok()
}

fn trailer<'a>(trailers: &'a MetadataMap, key: &str) -> Option<&'a str> {
    trailers.get(key)?.to_str().ok()
}

/// A negative number is somebody's mistake, and means at once.
fn milliseconds(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn in_chain<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(<dyn Error>::is::<E>)
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// What lies at the bottom, in the words people know.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let root = chain(error).last().expect("a chain begins with its error");
    match root.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::TimedOut) => "timed out".to_owned(),
        _ => root.to_string(),
    }
}

/// The transport wraps the cause in layers that say nothing ("transport error").
fn transport_message(status: &Status) -> String {
    match status.source() {
        Some(source) => root_cause(source),
        None => status.message().to_owned(),
    }
}

fn describe_attempts(attempts: &[Attempt]) -> String {
    let tried: Vec<String> =
        attempts.iter().map(|a| format!("could not reach {}: {}", a.endpoint, a.cause)).collect();
    format!("{}; is mqd running?", tried.join("; "))
}

fn because(last: Option<&ClientError>) -> String {
    last.map(|error| format!("; last: {error}")).unwrap_or_default()
}
