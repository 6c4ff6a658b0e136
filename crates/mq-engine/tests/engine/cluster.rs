//! Three brokers and one partition: nothing in an engine rests on being the only voter.
//!
//! Each broker runs the shard that the partition lives in; the image is made by hand, as the controller would make it.

use crate::disk::Disk;
use crate::shell::{Broker, DIRECTORY, base_offset, options, produced};
use mq_engine::api::{Acks, Durability, Error, Outcome, Reply, Request};
use mq_engine::controller::{BrokerInfo, Command, Health, Image, Members, PartitionInfo, ReplicaInfo, Topic};
use mq_engine::{Event, Input, RequestId};
use mq_types::message::MessageKind;
use mq_types::{BrokerId, Index, Offset, PartitionId, QuorumId, ReplicaId, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const QUORUM: QuorumId = QuorumId(1025);

struct Cluster {
    brokers: Vec<Broker>,
    image: Image,
    /// Brokers that hear and reach nobody.
    isolated: BTreeSet<usize>,
}

impl Cluster {
    fn start() -> Cluster {
        let replica = |broker| ReplicaInfo {
            replica: ReplicaId::new(BrokerId(broker), 2),
            opened_in: None,
            is_added: false,
            health: Health::Sound,
        };
        let members = Members { replicas: (1..=3).map(replica).collect(), leaving: Vec::new() };
        let partition = PartitionInfo { id: PartitionId(0), quorum: QUORUM, members };
        let topic = Topic {
            id: TopicId([1; 16]),
            name: "a".to_owned(),
            configs: BTreeMap::new(),
            replication_factor: 3,
            partitions: vec![partition],
            deleted_at_ms: None,
        };
        let info = |broker: u32| {
            (
                BrokerId(broker),
                BrokerInfo { grpc_endpoint: format!("b{broker}:9650"), ..BrokerInfo::default() },
            )
        };
        let image = Image {
            revision: Index(5),
            brokers: (1..=3).map(info).collect(),
            names: [("a".to_owned(), topic.id)].into(),
            topics: [(topic.id, Arc::new(topic))].into(),
            ..Image::default()
        };
        let broker = |broker| {
            let mut options = options(broker, 2);
            options.found_cluster = None;
            let mut broker = Broker::start(options, vec![Disk::default(); 2]);
            broker.routes_commands = false;
            broker
        };
        let mut cluster =
            Cluster { brokers: (1..=3).map(broker).collect(), image, isolated: BTreeSet::new() };
        cluster.publish_image();
        cluster
    }

    fn publish_image(&mut self) {
        let image = Arc::new(self.image.clone());
        for broker in &mut self.brokers {
            broker.shards[1].inputs.push(Input::Image(Arc::clone(&image)));
        }
    }

    /// Turns, syncs and messages until nothing more follows.
    fn settle(&mut self) {
        for _ in 0..200 {
            for broker in &mut self.brokers {
                broker.turn();
                broker.sync();
            }
            self.deliver();
            self.open_replicas();
            let is_quiet = |broker: &Broker| broker.shards.iter().all(|shard| shard.inputs.is_empty());
            if self.brokers.iter().all(is_quiet) {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    fn deliver(&mut self) {
        for from in 0..self.brokers.len() {
            for message in std::mem::take(&mut self.brokers[from].sent) {
                let to = message.to.broker().0 as usize - 1;
                if !self.isolated.contains(&from) && !self.isolated.contains(&to) {
                    self.brokers[to].shards[1].inputs.push(Input::Peer(message));
                }
            }
        }
    }

    fn open_replicas(&mut self) {
        let mut changed = false;
        for broker in &mut self.brokers {
            for command in std::mem::take(&mut broker.commands) {
                let Command::OpenReplica { replica, directory, .. } = command else { continue };
                let topic = Arc::make_mut(self.image.topics.values_mut().next().expect("one topic"));
                let replicas = &mut topic.partitions[0].members.replicas;
                let asks = replicas.iter_mut().find(|info| info.replica == replica);
                let Some(asks) = asks else { continue }; // the controller knows it no more
                asks.opened_in = Some(directory);
                self.image.revision = self.image.revision.next();
                changed = true;
            }
        }
        if changed {
            self.publish_image();
        }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            for broker in &mut self.brokers {
                broker.now.monotonic_ms += 100;
                broker.now.wall_ms += 100;
                broker.shards[1].inputs.push(Input::Tick);
            }
            self.settle();
        }
    }

    /// The broker that leads, isolated ones left out.
    fn leader(&self) -> usize {
        let leads = |&at: &usize| {
            !self.isolated.contains(&at)
                && self.brokers[at].views.get(&QUORUM).is_some_and(|view| view.serving)
        };
        let leaders: Vec<usize> = (0..3).filter(leads).collect();
        assert_eq!(leaders.len(), 1, "exactly one leads: {leaders:?}");
        leaders[0]
    }

    fn produce(&mut self, at: usize, records: u32, acks: Acks) -> RequestId {
        self.brokers[at].produce(QUORUM, records, acks)
    }

    fn crash(&mut self, at: usize) {
        self.crash_without_image(at);
        self.brokers[at].shards[1].inputs.push(Input::Image(Arc::new(self.image.clone())));
    }

    /// It starts again, and hears nothing of the controller.
    fn crash_without_image(&mut self, at: usize) {
        let fresh = {
            let mut options = options(at as u32 + 1, 2);
            options.found_cluster = None;
            options.seed += 100;
            Broker::start(options, vec![Disk::default(); 2])
        };
        let now = self.brokers[at].now;
        let mut broker = std::mem::replace(&mut self.brokers[at], fresh).crash();
        (broker.now.monotonic_ms, broker.routes_commands) = (now.monotonic_ms, false);
        self.brokers[at] = broker;
    }
}

fn elected() -> Cluster {
    let mut cluster = Cluster::start();
    cluster.settle();
    for broker in &cluster.brokers {
        assert!(broker.stored(QUORUM).opened);
        assert_eq!(broker.options.directory, DIRECTORY);
    }
    cluster.pass(4_000);
    cluster
}

#[test]
fn three_brokers_elect_one_and_acknowledge_what_a_majority_has() {
    let mut cluster = elected();
    let leader = cluster.leader();
    let id = cluster.produce(leader, 5, Acks::Quorum);
    cluster.settle();
    assert_eq!(base_offset(&cluster.brokers[leader].replies[&id]), Offset(0));
    cluster.pass(500);
    for broker in &cluster.brokers {
        assert_eq!(broker.views[&QUORUM].high_watermark, Offset(5));
        assert_eq!(broker.stored(QUORUM).entries, cluster.brokers[leader].stored(QUORUM).entries);
    }
}

#[test]
fn a_follower_names_the_leader_and_where_it_is() {
    let mut cluster = elected();
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    let produce = cluster.produce(follower, 1, Acks::Quorum);
    let read = cluster.brokers[follower].ask(Request::ReadIndex { quorum: QUORUM });
    cluster.settle();
    for id in [produce, read] {
        let error = cluster.brokers[follower].replies[&id].as_ref().unwrap_err();
        let Error::NotLeader { leader: named, endpoint, .. } = error else { panic!("{error}") };
        assert_eq!(
            (named.0 as usize, endpoint.as_str()),
            (leader + 1, format!("b{}:9650", leader + 1).as_str())
        );
    }
}

/// What the leader answers to a request to append, to delete and to confirm that it leads.
fn answers(cluster: &mut Cluster) -> [Outcome; 3] {
    let leader = cluster.leader();
    let delete = Request::DeleteRecords { quorum: QUORUM, before: Some(Offset(0)), validate_only: false };
    let ids = [
        cluster.produce(leader, 1, Acks::Quorum),
        cluster.brokers[leader].ask(delete),
        cluster.brokers[leader].ask(Request::ReadIndex { quorum: QUORUM }),
    ];
    cluster.settle();
    ids.map(|id| cluster.brokers[leader].replies.remove(&id).expect("every request is answered"))
}

#[test]
fn a_topic_is_unknown_only_where_the_metadata_say_so() {
    let mut cluster = elected();
    (0..3).for_each(|at| cluster.crash_without_image(at));
    cluster.pass(4_000);
    let [produced, deleted, read] = answers(&mut cluster);
    let is_retriable = |outcome: &Outcome| matches!(outcome, Err(Error::NoLeader { .. }));
    assert!(is_retriable(&produced) && is_retriable(&deleted) && read.is_ok(), "{produced:?}, {deleted:?}");
    let leader = cluster.leader();
    let id = cluster.produce((leader + 1) % 3, 1, Acks::Quorum);
    cluster.settle();
    let named = &cluster.brokers[(leader + 1) % 3].replies[&id];
    assert!(matches!(named, Err(Error::NotLeader { .. })), "{named:?}");

    cluster.publish_image();
    let [produced, deleted, _] = answers(&mut cluster);
    assert!(produced.is_ok() && deleted.is_ok(), "{produced:?}, {deleted:?}");

    cluster.image.topics.clear();
    cluster.image.names.clear();
    cluster.publish_image();
    let [produced, deleted, _] = answers(&mut cluster);
    let is_final = |outcome: &Outcome| matches!(outcome, Err(Error::UnknownTopic { .. }));
    assert!(is_final(&produced) && is_final(&deleted), "{produced:?}, {deleted:?}");
}

#[test]
fn who_waits_for_a_replica_that_moves_away_is_told_to_try_again() {
    let mut cluster = elected();
    let leader = cluster.leader();
    let replica = cluster.brokers[leader].stored(QUORUM).replica;
    cluster.image.tombstones.insert(QUORUM, [replica].into());
    let topic = Arc::make_mut(cluster.image.topics.values_mut().next().expect("one topic"));
    topic.partitions[0].members.replicas.retain(|info| info.replica != replica);
    let read = cluster.brokers[leader].ask(Request::ReadIndex { quorum: QUORUM });
    let produce = cluster.produce(leader, 1, Acks::Quorum);
    cluster.publish_image();
    cluster.settle();
    for id in [read, produce] {
        let outcome = &cluster.brokers[leader].replies[&id];
        assert!(matches!(outcome, Err(Error::NoLeader { .. })), "{outcome:?}");
    }
}

#[test]
fn leader_acks_come_before_a_majority_has_the_records() {
    let mut cluster = elected();
    let leader = cluster.leader();
    let synced = cluster.produce(leader, 1, Acks::Leader);
    let committed = cluster.produce(leader, 1, Acks::Quorum);
    let broker = &mut cluster.brokers[leader];
    broker.turn();
    assert!(!broker.replies.contains_key(&synced));
    broker.sync();
    broker.turn();
    assert_eq!(produced(&broker.replies[&synced]).durability, Durability::LeaderFsync);
    assert!(!broker.replies.contains_key(&committed));
    assert_eq!(broker.views[&QUORUM].high_watermark, Offset(0));
    cluster.settle();
    assert!(cluster.brokers[leader].replies[&committed].is_ok());
}

#[test]
fn a_cut_off_leader_acknowledges_nothing_and_its_records_give_way() {
    let mut cluster = elected();
    let old = cluster.leader();
    let kept = cluster.produce(old, 2, Acks::Quorum);
    cluster.settle();
    assert!(cluster.brokers[old].replies[&kept].is_ok());
    cluster.isolated.insert(old);
    let unknown = cluster.produce(old, 3, Acks::Quorum);
    cluster.settle();
    assert!(!cluster.brokers[old].replies.contains_key(&unknown));
    assert_eq!(cluster.brokers[old].stored(QUORUM).record_count(), 5);

    cluster.pass(8_000);
    assert!(matches!(cluster.brokers[old].replies[&unknown], Err(Error::OutcomeUnknown { .. })));
    assert!(cluster.brokers[old].events.iter().any(|event| matches!(event, Event::SteppedDown { .. })));
    let new = cluster.leader();
    let id = cluster.produce(new, 1, Acks::Quorum);
    cluster.settle();
    assert_eq!(base_offset(&cluster.brokers[new].replies[&id]), Offset(2));

    cluster.isolated.clear();
    cluster.pass(4_000);
    for broker in &cluster.brokers {
        assert_eq!(broker.views[&QUORUM].high_watermark, Offset(3));
        assert_eq!(broker.stored(QUORUM).entries, cluster.brokers[new].stored(QUORUM).entries);
    }
}

#[test]
fn a_read_index_is_not_answered_by_a_leader_that_reaches_nobody() {
    let mut cluster = elected();
    let old = cluster.leader();
    let asked = cluster.brokers[old].ask(Request::ReadIndex { quorum: QUORUM });
    cluster.settle();
    assert!(matches!(cluster.brokers[old].replies[&asked], Ok(Reply::ReadIndex { .. })));
    cluster.isolated.insert(old);
    let asked = cluster.brokers[old].ask(Request::ReadIndex { quorum: QUORUM });
    cluster.pass(6_000);
    assert!(matches!(cluster.brokers[old].replies[&asked], Err(Error::NoLeader { .. })));
}

#[test]
fn every_replica_trims_alike() {
    let mut cluster = elected();
    let leader = cluster.leader();
    cluster.produce(leader, 9, Acks::Quorum);
    cluster.settle();
    let request = Request::DeleteRecords { quorum: QUORUM, before: None, validate_only: false };
    let id = cluster.brokers[leader].ask(request);
    cluster.settle();
    assert!(matches!(cluster.brokers[leader].replies[&id], Ok(Reply::Deleted { log_start: Offset(9) })));
    cluster.pass(2_500);
    for broker in &cluster.brokers {
        assert_eq!(broker.stored(QUORUM).start.log_start, Offset(9));
        assert_eq!(broker.stored(QUORUM).record_count(), 0);
        assert_eq!(broker.views[&QUORUM].log_start, Offset(9));
    }
}

#[test]
fn what_was_acknowledged_survives_any_crash_of_any_one_broker() {
    for crashed in 0..3 {
        let mut cluster = elected();
        let mut acknowledged = 0;
        for round in 0..6 {
            let leader = cluster.leader();
            let id = cluster.produce(leader, 2, Acks::Quorum);
            for broker in &mut cluster.brokers {
                broker.turn();
            }
            if round == 3 {
                cluster.crash(crashed);
            }
            cluster.settle();
            if let Some(Ok(_)) = cluster.brokers[leader].replies.get(&id) {
                acknowledged += 2;
            }
            cluster.pass(6_000);
        }
        let leader = cluster.leader();
        let end = cluster.brokers[leader].views[&QUORUM].high_watermark;
        assert!(end >= Offset(acknowledged) && acknowledged >= 10, "{acknowledged} acknowledged, {end} kept");
        for broker in &cluster.brokers {
            assert_eq!(broker.stored(QUORUM).entries, cluster.brokers[leader].stored(QUORUM).entries);
        }
    }
}

#[test]
fn a_follower_acknowledges_an_append_only_when_it_is_durable() {
    let mut cluster = elected();
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    cluster.produce(leader, 1, Acks::Quorum);
    cluster.brokers[leader].turn();
    cluster.deliver();
    let broker = &mut cluster.brokers[follower];
    broker.turn();
    assert_eq!(broker.shards[1].writes.len(), 1, "the append is on its way to the disk");
    assert!(broker.sent.is_empty(), "{:?}", broker.sent);
    broker.sync();
    assert!(broker.sent.is_empty());
    broker.turn();
    assert!(broker.sent.iter().any(|message| message.kind == MessageKind::AppendResponse && !message.reject));
}

#[test]
fn a_vote_is_given_only_when_it_is_durable() {
    let mut cluster = elected();
    let old = cluster.leader();
    cluster.isolated.insert(old);
    for _ in 0..100 {
        for broker in &mut cluster.brokers {
            broker.now.monotonic_ms += 100;
            broker.shards[1].inputs.push(Input::Tick);
        }
        for at in 0..3 {
            let broker = &mut cluster.brokers[at];
            broker.turn();
            let votes = broker.shards[1].writes.iter().any(|(_, write)| write.vote.is_some());
            let speaks = |kind| matches!(kind, MessageKind::Vote | MessageKind::VoteResponse);
            let spoke = broker.sent.iter().any(|message| speaks(message.kind) && !message.reject);
            assert!(!(votes && spoke), "a vote left with its write still on its way");
            broker.sync();
        }
        cluster.deliver();
    }
    assert_ne!(cluster.leader(), old);
}

/// So it is on a broker that lost its disk and follows the metadata from the beginning: what it makes first was replaced
/// long ago, and whoever could have told it so has heard that it is gone.
#[test]
fn a_replica_that_was_made_by_old_metadata_gives_way_to_the_one_that_is_wanted() {
    let mut cluster = Cluster::start();
    cluster.isolated = [0, 1, 2].into();
    let old = ReplicaId::new(BrokerId(3), 2);
    let new = ReplicaId::new(BrokerId(3), 3);
    cluster.brokers[2].turn();
    cluster.brokers[2].sync();
    assert_eq!(cluster.brokers[2].stored(QUORUM).replica, old);

    let topic = Arc::make_mut(cluster.image.topics.values_mut().next().unwrap());
    let own = &mut topic.partitions[0].members.replicas[2];
    (own.replica, own.is_added) = (new, true);
    cluster.image.next_allocation = [(BrokerId(3), 4)].into();
    cluster.image.revision = cluster.image.revision.next();
    cluster.publish_image();
    cluster.settle();
    assert_eq!(cluster.brokers[2].stored(QUORUM).replica, new);
    assert!(cluster.brokers[2].stored(QUORUM).opened);
}
