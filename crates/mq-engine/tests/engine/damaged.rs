//! A bad place in a log, below its end: the replica says so durably, and goes on.

use crate::brokers::Cluster;
use crate::shell::{Broker, produced};
use mq_engine::api::{Acks, Reply, Request};
use mq_engine::controller::Health;
use mq_engine::{Event, Input};
use mq_log::MemDisk;
use mq_log::disk::{Disk, DiskFile};
use mq_types::message::MessageKind;
use mq_types::persist::{LostReason, Standing};
use mq_types::{Offset, QuorumId, ReplicaId};
use std::path::Path;

/// A broker whose shard 1 holds 5 records of the partition, and the partition's replica here.
fn with_records() -> (Broker, QuorumId, ReplicaId) {
    let mut broker = Broker::founded(2);
    let quorum = broker.create_topic("a", 2, &[])[1];
    broker.produce(quorum, 5, Acks::Quorum);
    broker.settle();
    let replica = broker.stored(quorum).replica;
    (broker, quorum, replica)
}

fn damaged_events(broker: &Broker) -> usize {
    broker.events.iter().filter(|event| matches!(event, Event::Damaged { .. })).count()
}

#[test]
fn a_bad_place_is_on_record_before_anybody_sees_that_the_replica_is_damaged() {
    let (mut broker, quorum, replica) = with_records();
    broker.shards[1].inputs.push(Input::Damaged { quorum, replica });
    broker.turn();
    assert_eq!(broker.views[&quorum].standing, Standing::Sound);
    assert_eq!(damaged_events(&broker), 0);
    let verdicts: Vec<_> = broker.shards[1].writes.iter().filter_map(|(_, write)| write.standing).collect();
    assert_eq!(verdicts, [Standing::Damaged]);
    broker.settle();
    assert_eq!(broker.stored(quorum).standing, Standing::Damaged);
    assert_eq!(broker.views[&quorum].standing, Standing::Damaged);
    assert_eq!(damaged_events(&broker), 1);
}

#[test]
fn a_replica_that_is_damaged_acknowledges_and_answers_as_before() {
    let (mut broker, quorum, replica) = with_records();
    // The verdict and the records are written together.
    broker.shards[1].inputs.push(Input::Damaged { quorum, replica });
    let id = broker.produce(quorum, 2, Acks::Quorum);
    broker.settle();
    assert_eq!(produced(&broker.replies[&id]).base_offset, Some(Offset(5)));
    let id = broker.produce(quorum, 1, Acks::Quorum);
    broker.settle();
    assert_eq!(produced(&broker.replies[&id]).base_offset, Some(Offset(7)));
    let view = &broker.views[&quorum];
    assert!(view.serving && view.standing == Standing::Damaged && view.high_watermark == Offset(8));
    let read = broker.call(Request::ReadIndex { quorum });
    assert!(matches!(read, Ok(Reply::ReadIndex { high_watermark: Offset(8), .. })), "{read:?}");
}

#[test]
fn the_verdict_is_written_once_however_often_the_place_is_met() {
    let (mut broker, quorum, replica) = with_records();
    for _ in 0..3 {
        broker.shards[1].inputs.push(Input::Damaged { quorum, replica });
        broker.shards[1].inputs.push(Input::Damaged { quorum, replica });
        broker.turn();
    }
    assert_eq!(broker.shards[1].writes.iter().filter(|(_, write)| write.standing.is_some()).count(), 1);
    broker.settle();
    broker.shards[1].inputs.push(Input::Damaged { quorum, replica });
    broker.turn();
    assert!(broker.shards[1].writes.is_empty());
    assert_eq!(damaged_events(&broker), 1);
}

#[test]
fn the_verdict_outlives_a_crash_once_it_is_on_record_and_not_before() {
    let (mut broker, quorum, replica) = with_records();
    broker.shards[1].inputs.push(Input::Damaged { quorum, replica });
    broker.turn();
    let mut broker = broker.crash();
    broker.settle();
    assert_eq!(broker.views[&quorum].standing, Standing::Sound);
    broker.shards[1].inputs.push(Input::Damaged { quorum, replica });
    broker.settle();
    let mut broker = broker.crash();
    broker.settle();
    assert_eq!(broker.views[&quorum].standing, Standing::Damaged);
    let id = broker.produce(quorum, 1, Acks::Quorum);
    broker.settle();
    assert!(broker.replies[&id].is_ok());
}

#[test]
fn a_bad_place_of_a_former_replica_or_of_a_lost_one_changes_nothing() {
    let (mut broker, quorum, replica) = with_records();
    let former = ReplicaId(replica.0 - 1);
    broker.shards[1].inputs.push(Input::Damaged { quorum, replica: former });
    broker.shards[1].inputs.push(Input::Damaged { quorum: QuorumId(quorum.0 + 2), replica });
    broker.turn();
    assert!(broker.shards[1].writes.is_empty());
    let heartbeat = crate::lost::heartbeat_beyond(quorum, replica);
    broker.shards[1].inputs.push(Input::Peer(heartbeat));
    broker.shards[1].inputs.push(Input::Damaged { quorum, replica });
    broker.settle();
    broker.shards[1].inputs.push(Input::Damaged { quorum, replica });
    broker.settle();
    let lost = Standing::Lost(LostReason::ShorterThanAcknowledged);
    assert_eq!((broker.stored(quorum).standing, broker.views[&quorum].standing), (lost, lost));
}

#[test]
fn a_replica_found_damaged_and_then_lost_is_lost() {
    let (mut broker, quorum, replica) = with_records();
    broker.shards[1].inputs.push(Input::Damaged { quorum, replica });
    broker.turn();
    let heartbeat = crate::lost::heartbeat_beyond(quorum, replica);
    broker.shards[1].inputs.push(Input::Peer(heartbeat));
    broker.settle();
    let lost = Standing::Lost(LostReason::ShorterThanAcknowledged);
    assert_eq!((broker.stored(quorum).standing, broker.views[&quorum].standing), (lost, lost));
}

#[test]
fn an_answer_to_a_read_of_a_former_replica_is_passed_over() {
    let (mut broker, quorum, replica) = with_records();
    let former = ReplicaId(replica.0 - 1);
    let read = mq_engine::ReadId(1);
    broker.shards[1].inputs.push(Input::EntriesRead { quorum, replica: former, read, entries: None });
    broker.settle();
    assert!(broker.views[&quorum].serving);
}

#[test]
fn a_damaged_controller_goes_on_changing_the_metadata() {
    let (mut broker, ..) = with_records();
    let (quorum, replica) = (QuorumId::CONTROLLER, broker.stored(QuorumId::CONTROLLER).replica);
    broker.shards[0].inputs.push(Input::Damaged { quorum, replica });
    broker.settle();
    assert_eq!(broker.stored(quorum).standing, Standing::Damaged);
    assert_eq!(broker.create_topic("b", 1, &[]).len(), 1);
}

/// It hands over as soon as it is found; when that fails, it must not go on leading for ever.
#[test]
fn a_damaged_leader_makes_way_however_often_that_fails_and_goes_on_voting() {
    let mut cluster = Cluster::of(3);
    let quorum = cluster.create_topic(3);
    cluster.produce(quorum, 5);
    cluster.pass(6_000);
    let leader = cluster.leader(quorum);
    let replica = cluster.brokers[leader].views[&quorum].replica;
    cluster.lost = Some(MessageKind::TimeoutNow);
    cluster.brokers[leader].shards[0].inputs.push(Input::Damaged { quorum, replica });
    cluster.pass(8_000);
    assert_eq!(cluster.leader(quorum), leader, "nobody heard that it should take over");
    assert_eq!(cluster.members(quorum).get(replica).map(|info| info.health), Some(Health::Damaged));
    cluster.lost = None;
    cluster.pass(6_000);
    assert_ne!(cluster.leader(quorum), leader);
    cluster.pass(20_000);
    assert_ne!(cluster.leader(quorum), leader, "it was the preferred one");

    // With one of the others away, nothing is committed without it.
    let other = (0..3).find(|at| *at != leader && *at != cluster.leader(quorum)).expect("there are three");
    cluster.cut.insert(other);
    cluster.pass(3_000);
    assert_eq!(cluster.produce(quorum, 1), Offset(6));
}

/// Of the only segment of this quorum's log.
fn flip_a_bit_in_the_middle(disk: &MemDisk, quorum: QuorumId) {
    let find = |dir: &Path, is_it: &dyn Fn(&str) -> bool| {
        let entries = disk.list(dir).expect("it exists");
        let mut found =
            entries.into_iter().filter(|entry| is_it(&entry.name)).map(|entry| dir.join(entry.name));
        found.next().filter(|_| found.next().is_none()).expect("there is one")
    };
    let dir = find(Path::new("quorums"), &|name| name.starts_with(&format!("{quorum}-")));
    let segment = find(&dir, &|name| name.ends_with(".seg"));
    let bytes = disk.open(&segment).expect("it exists").read_at(0, usize::MAX).expect("it can be read");
    let frames = bytes.iter().rposition(|byte| *byte != 0).expect("it has frames");
    disk.flip_bit(&segment, frames as u64 * 8 / 2).expect("it exists");
}

/// Entries that only a damaged leader has, and that nobody can read: without them the others can go on.
#[test]
fn a_leader_that_cannot_read_what_its_peers_lack_makes_way() {
    let mut cluster = Cluster::of(3);
    let quorum = cluster.create_topic(3);
    cluster.produce(quorum, 5);
    let alone = cluster.leader(quorum);
    cluster.cut = (0..3).collect();
    for _ in 0..20 {
        cluster.brokers[alone].produce(quorum, 1, Acks::Quorum);
        cluster.settle();
    }
    cluster.restart(alone, |_| ());
    flip_a_bit_in_the_middle(&cluster.disks[alone], quorum);
    cluster.pass(3_000);
    cluster.cut.clear();
    // The others do not see time pass, so that it is the one that is elected.
    let leads = |cluster: &Cluster| {
        let view = &cluster.brokers[alone].views[&quorum];
        view.leader == Some(view.replica)
    };
    for _ in 0..40 {
        if leads(&cluster) {
            break;
        }
        cluster.brokers[alone].now.monotonic_ms += 100;
        cluster.brokers[alone].shards[0].inputs.push(Input::Tick);
        cluster.settle();
    }
    assert!(leads(&cluster), "it has the longest log, and was the first to ask");
    cluster.pass(10_000);
    assert_ne!(cluster.leader(quorum), alone);
    let end = cluster.produce(quorum, 1);
    assert!(end > Offset(6) && end < Offset(25), "what can be read was sent before: {end}");
    cluster.pass(2_000);
    assert_eq!(cluster.end_of(alone, quorum), end);
}
