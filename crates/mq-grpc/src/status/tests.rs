//! Every failure says the same in its details, in its trailers and as an item.

use super::{MESSAGE_BYTES_MAX, VALUE_BYTES_MAX, grpc_code, item_error, partly_appended, status};
use mq_broker::api::Error;
use mq_proto::v1;
use mq_types::{BrokerId, ErrorCode, Offset, Term, TopicId};
use prost::Message;
use std::collections::BTreeSet;
use tonic::{Code, Status};
use tonic_types::pb;

/// One of each failure that there is; a new one does not compile until it stands here.
fn every_error() -> Vec<Error> {
    let topic = || "orders".to_owned();
    let topic_id = TopicId([7; 16]);
    let all = vec![
        Error::InvalidRequest { field: "acks", problem: "it is 9".to_owned() },
        Error::Unimplemented { what: "this".to_owned() },
        Error::Overloaded { what: "8 requests".to_owned(), retry_after_ms: 20 },
        Error::AnswersNotRead { waiting: 256, waited_ms: 30_000 },
        Error::NotLeader { leader: BrokerId(2), endpoint: "two:9650".to_owned(), term: Term(5) },
        Error::NoLeader { retry_after_ms: 100 },
        Error::OutcomeUnknown { why: "no answer" },
        Error::DiskFull,
        Error::CorruptLog { offset: Offset(3), what: "a bad checksum".to_owned() },
        Error::UnknownTopic { topic: topic() },
        Error::UnknownPartition { topic: topic(), partition: 9, partition_count: 3 },
        Error::TopicIdMismatch { topic: topic(), asked: TopicId([8; 16]), found: topic_id },
        Error::TopicExists { topic: topic(), topic_id },
        Error::UnknownBroker { broker: 4 },
        Error::BatchTooLarge { size_bytes: 2_000, max_bytes: 1_000 },
        Error::CorruptBatch { problem: "magic 1".to_owned() },
        Error::UnexpectedNextOffset { expected: Offset(1), next_offset: Offset(2) },
        Error::OffsetOutOfRange { asked: -1, log_start: Offset(1), high_watermark: Offset(2) },
        Error::OffsetNotAvailable { asked: Offset(1), retry_after_ms: 100 },
        Error::PartlyAppended { appended: 1, failed: 1 },
        Error::Internal { what: "a test" },
    ];
    for error in &all {
        match error {
            Error::InvalidRequest { .. }
            | Error::Unimplemented { .. }
            | Error::Overloaded { .. }
            | Error::AnswersNotRead { .. }
            | Error::NotLeader { .. }
            | Error::NoLeader { .. }
            | Error::OutcomeUnknown { .. }
            | Error::DiskFull
            | Error::CorruptLog { .. }
            | Error::UnknownTopic { .. }
            | Error::UnknownPartition { .. }
            | Error::TopicIdMismatch { .. }
            | Error::TopicExists { .. }
            | Error::UnknownBroker { .. }
            | Error::BatchTooLarge { .. }
            | Error::CorruptBatch { .. }
            | Error::UnexpectedNextOffset { .. }
            | Error::OffsetOutOfRange { .. }
            | Error::OffsetNotAvailable { .. }
            | Error::PartlyAppended { .. }
            | Error::Internal { .. } => {}
        }
    }
    assert_eq!(all.iter().map(Error::code).collect::<BTreeSet<_>>().len(), all.len(), "one of each");
    all
}

fn detail<M: Message + Default>(status: &Status, name: &str) -> Option<M> {
    let details = pb::Status::decode(status.details()).expect("google.rpc.Status").details;
    let found = details.into_iter().find(|any| any.type_url == format!("type.googleapis.com/{name}"))?;
    Some(M::decode(&*found.value).expect("it decodes"))
}

fn trailer<'status>(status: &'status Status, name: &str) -> &'status str {
    status.metadata().get(name).expect("every trailer is there").to_str().expect("ASCII")
}

#[test]
fn details_trailers_and_items_agree_for_every_failure() {
    for error in every_error() {
        let (status, item) = (status(&error), item_error(&error));
        let rich = pb::Status::decode(status.details()).expect("google.rpc.Status");
        assert_eq!((rich.code, rich.message.as_str()), (status.code() as i32, status.message()));
        assert_eq!(item.message, status.message());
        let info: pb::ErrorInfo = detail(&status, "google.rpc.ErrorInfo").expect("every failure has one");
        assert_eq!(info.domain, "mq");
        assert_eq!(trailer(&status, "mq-reason"), info.reason);
        assert_eq!(item.reason().as_str_name(), format!("ERROR_REASON_{}", info.reason));
        assert_eq!(item.metadata, info.metadata.into_iter().collect());
        assert_eq!(trailer(&status, "mq-retriable"), item.retriable.to_string());
        assert_eq!(trailer(&status, "mq-retry-after-ms"), item.retry_after_ms.to_string());
        let retry: Option<pb::RetryInfo> = detail(&status, "google.rpc.RetryInfo");
        assert_eq!(retry.is_some(), item.retriable, "{error:?}");
        let delay = retry.and_then(|retry| retry.retry_delay).unwrap_or_default();
        let delay_ms = delay.seconds * 1_000 + i64::from(delay.nanos) / 1_000_000;
        assert_eq!(delay_ms, if item.retriable { i64::from(item.retry_after_ms) } else { 0 });
    }
}

/// The list in error.proto, in its comments: the code in brackets and the metadata keys behind it.
#[test]
fn codes_and_keys_are_those_that_the_proto_promises() {
    let proto = include_str!("../../../../proto/mq/v1/error.proto");
    let promised = |name: &str| {
        let line = proto.lines().find(|line| line.contains(&format!("ERROR_REASON_{name} = ")));
        let line = line.unwrap_or_else(|| panic!("{name} is not in error.proto"));
        let (code, keys) = {
            let inside =
                line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).expect("[CODE: keys]").0;
            inside.split_once(": ").unwrap_or((inside, ""))
        };
        let keys: Vec<String> = keys.split(", ").filter(|key| !key.is_empty()).map(str::to_owned).collect();
        (code.to_owned(), keys)
    };
    for reason in ErrorCode::ALL {
        let code = format!("{:?}", grpc_code(*reason)).to_uppercase();
        assert_eq!(promised(reason.name()).0.replace('_', ""), code, "{reason}");
    }
    for error in every_error() {
        let mut keys = promised(error.code().name()).1;
        keys.sort();
        assert_eq!(error.metadata().into_keys().collect::<Vec<_>>(), keys, "{error:?}");
    }
}

#[test]
fn what_a_client_sent_does_not_swell_the_trailers() {
    let error = Error::UnknownTopic { topic: "ß".repeat(1 << 20) };
    let status = status(&error);
    assert!(status.message().len() <= MESSAGE_BYTES_MAX && status.message().ends_with('…'));
    let item = item_error(&error);
    assert!(item.metadata["topic"].len() <= VALUE_BYTES_MAX && item.message == status.message());
}

#[test]
fn a_response_that_is_too_large_for_trailers_is_left_out_and_the_reason_stays() {
    let error = Error::PartlyAppended { appended: 1, failed: 1 };
    let response = |records| v1::ProduceResponse {
        partitions: vec![v1::ProducedPartition {
            record_indexes: (0..records).collect(),
            ..Default::default()
        }],
    };
    let of = |response: &v1::ProduceResponse| {
        let status = partly_appended(&error, response);
        assert_eq!((status.code(), trailer(&status, "mq-reason")), (Code::Aborted, "PARTLY_APPENDED"));
        assert!(status.details().len() < 5_000, "{} bytes of details", status.details().len());
        detail::<v1::ProduceResponse>(&status, "mq.v1.ProduceResponse")
    };
    assert_eq!(of(&response(1_000)), Some(response(1_000)));
    assert_eq!(of(&response(100_000)), None);
}
