//! What goes, when, and when nothing may go.

use crate::shell::{Broker, DAY_MS};
use mq_engine::api::{Acks, Error, Reply, Request};
use mq_engine::partition::Control;
use mq_engine::{Event, Input};
use mq_types::{Offset, QuorumId};

/// Segments hold about 64 KiB: six batches of 100 records of 100 bytes.
fn with_records(batches: u32, configs: &[(&str, &str)]) -> (Broker, QuorumId) {
    let mut broker = Broker::founded(1);
    let configs: Vec<_> = configs.iter().copied().chain([("segment.bytes", "65536")]).collect();
    let quorum = broker.create_topic("a", 1, &configs)[0];
    append(&mut broker, quorum, batches);
    (broker, quorum)
}

fn append(broker: &mut Broker, quorum: QuorumId, batches: u32) {
    for _ in 0..batches {
        broker.produce(quorum, 100, Acks::Quorum);
        broker.settle();
    }
}

fn delete_before(quorum: QuorumId, before: Option<u64>) -> Request {
    Request::DeleteRecords { quorum, before: before.map(Offset), validate_only: false }
}

/// Wall time passes while the process is suspended as long, a little under a day at a time.
fn skip(broker: &mut Broker, ms: i64) {
    broker.now.wall_ms += ms;
    broker.now.monotonic_ms += ms as u64;
}

#[test]
fn size_retention_drops_whole_old_segments_through_the_log() {
    let (mut broker, quorum) = with_records(40, &[("retention.bytes", "200000")]);
    let before = broker.stored(quorum).segments.len();
    broker.pass(1_100);
    let stored = broker.stored(quorum);
    assert!(stored.segments.len() < before);
    let offset = stored.start.log_start;
    assert_eq!(stored.controls().len(), 1);
    assert_eq!(Control::decode(stored.controls()[0]).unwrap(), Control::SetLogStart { offset });
    let view = &broker.views[&quorum];
    assert_eq!((view.log_start, view.high_watermark), (offset, Offset(4_000)));
    assert!((200_000..300_000).contains(&view.size_bytes), "{} bytes are left", view.size_bytes);
    assert!(broker.events.contains(&Event::Trimmed { quorum, log_start: offset }));
}

#[test]
fn time_retention_empties_a_partition_whose_records_are_all_too_old() {
    let (mut broker, quorum) = with_records(10, &[("retention.ms", "3600000")]);
    broker.pass(1_100);
    assert_eq!(broker.views[&quorum].log_start, Offset(0));
    skip(&mut broker, 3_700_000);
    broker.pass(1_100);
    assert_eq!(broker.views[&quorum].log_start, Offset(1_000));
    broker.pass(1_100);
    assert_eq!(broker.stored(quorum).record_count(), 0);
    append(&mut broker, quorum, 1);
    assert_eq!(broker.views[&quorum].high_watermark, Offset(1_100));
    broker.pass(1_100);
    let trims = broker.events.iter().filter(|event| matches!(event, Event::Trimmed { .. }));
    assert_eq!(trims.count(), 1, "nothing is ordered twice");
}

#[test]
fn an_old_active_segment_is_closed() {
    let (mut broker, quorum) = with_records(1, &[("segment.ms", "60000")]);
    assert_eq!(broker.stored(quorum).segments.len(), 1);
    broker.pass(62_000);
    assert_eq!(broker.stored(quorum).segments.len(), 2);
    broker.pass(62_000);
    assert_eq!(broker.stored(quorum).segments.len(), 2, "an empty segment has no age");
}

#[test]
fn a_topic_in_the_trash_keeps_everything() {
    let (mut broker, quorum) = with_records(10, &[("retention.ms", "1000")]);
    let delete = mq_engine::controller::Request::DeleteTopic {
        name: "a".to_owned(),
        topic_id: None,
        purge: false,
        validate_only: false,
    };
    broker.control(delete).unwrap();
    broker.pass(10_000);
    assert_eq!(broker.stored(quorum).record_count(), 1_000);
}

#[test]
fn a_jump_of_the_wall_clock_pauses_retention_for_an_hour() {
    let (mut broker, quorum) = with_records(10, &[("retention.ms", "3600000")]);
    broker.pass(1_100);
    broker.now.wall_ms += 400 * DAY_MS;
    broker.pass(1_100);
    assert_eq!(broker.views[&quorum].log_start, Offset(0));
    assert!(broker.events.contains(&Event::RetentionPaused { jumped_ms: 400 * DAY_MS }));
    skip(&mut broker, 30 * 60 * 1_000);
    broker.pass(1_100);
    assert_eq!(broker.views[&quorum].log_start, Offset(0));
    skip(&mut broker, 31 * 60 * 1_000);
    broker.pass(1_100);
    assert_eq!(broker.views[&quorum].log_start, Offset(1_000));
}

#[test]
fn records_are_deleted_on_request_and_the_answer_waits_for_the_trim() {
    let (mut broker, quorum) = with_records(20, &[]);
    let id = broker.ask(delete_before(quorum, Some(1_050)));
    broker.turn();
    assert_eq!(broker.views[&quorum].log_start, Offset(0));
    broker.sync(); // the order is durable
    broker.turn(); // and applied
    assert_eq!(broker.views[&quorum].log_start, Offset(1_050), "readers are refused at once");
    assert!(!broker.replies.contains_key(&id));
    broker.sync(); // the trim is durable
    broker.turn();
    assert!(matches!(broker.replies[&id], Ok(Reply::Deleted { log_start: Offset(1_050) })));
    assert!(broker.stored(quorum).record_count() < 2_000);

    let below = broker.call(delete_before(quorum, Some(7)));
    assert!(matches!(below, Ok(Reply::Deleted { log_start: Offset(1_050) })));
    let all = broker.call(delete_before(quorum, None));
    assert!(matches!(all, Ok(Reply::Deleted { log_start: Offset(2_000) })));
    broker.pass(2_200);
    assert_eq!(broker.stored(quorum).record_count(), 0);
    let writes = broker.stored(quorum).segments.clone();
    broker.pass(5_000);
    assert_eq!(broker.stored(quorum).segments, writes, "an empty log is left alone");
    let beyond = broker.call(delete_before(quorum, Some(2_001)));
    assert!(matches!(
        beyond,
        Err(Error::OffsetOutOfRange { asked: 2_001, high_watermark: Offset(2_000), .. })
    ));
}

#[test]
fn a_trim_that_was_not_durable_is_done_again_after_a_crash() {
    let (mut broker, quorum) = with_records(20, &[]);
    broker.ask(delete_before(quorum, Some(1_050)));
    broker.turn();
    broker.sync();
    broker.turn();
    // More is written with the trim on its way: the commit index that goes with it must not pass the order.
    broker.produce(quorum, 1, Acks::Quorum);
    broker.turn();
    let order = broker.stored(quorum).last_index();
    let commits: Vec<_> = broker.shards[0].writes.iter().map(|(_, write)| write.commit).collect();
    assert_eq!(commits.len(), 2);
    assert!(commits.iter().all(|commit| *commit < order), "commits {commits:?} reach the order at {order}");
    let mut broker = broker.crash();
    broker.settle();
    assert_eq!(broker.views[&quorum].log_start, Offset(1_050));
    assert_eq!(broker.stored(quorum).start.log_start, Offset(1_050));
}

#[test]
fn a_check_only_deletes_nothing() {
    let (mut broker, quorum) = with_records(2, &[]);
    let checked =
        broker.call(Request::DeleteRecords { quorum, before: Some(Offset(50)), validate_only: true });
    assert!(matches!(checked, Ok(Reply::Deleted { log_start: Offset(50) })));
    assert_eq!(broker.views[&quorum].log_start, Offset(0));
}

#[test]
fn a_changed_segment_size_reaches_the_log() {
    let (mut broker, quorum) = with_records(1, &[]);
    assert_eq!(broker.stored(quorum).segment_size_bytes_max, 65_536);
    let altered = broker.control(mq_engine::controller::Request::AlterTopicConfigs {
        name: "a".to_owned(),
        set: [("segment.bytes".to_owned(), "131072".to_owned())].into(),
        unset: Vec::new(),
        validate_only: false,
    });
    altered.unwrap();
    append(&mut broker, quorum, 1);
    assert_eq!(broker.stored(quorum).segment_size_bytes_max, 131_072);
    let mut broker = broker.crash();
    broker.shards[0].disk.replicas.get_mut(&quorum).unwrap().segment_size_bytes_max = 1;
    broker.settle();
    broker.shards[0].inputs.push(Input::Tick);
    append(&mut broker, quorum, 1);
    assert_eq!(broker.stored(quorum).segment_size_bytes_max, 131_072, "it is given anew after every open");
}
