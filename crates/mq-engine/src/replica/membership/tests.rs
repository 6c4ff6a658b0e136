//! What a leader does next about the members of its quorum.

use super::parting::{Handover, Heirs, Parting};
use super::{CAUGHT_UP_ENTRIES, Outlook, Step, Wanted, better_leader, next_target};
use crate::controller::{Health, Members, ReplicaInfo};
use mq_raft::{ELECTION_TICKS, MembershipTarget, Peer};
use mq_types::persist::Membership;
use mq_types::{BrokerId, DirectoryId, Index, ReplicaId};
use std::collections::BTreeSet;

const LAST: u64 = 1_000;

/// The first replica of a broker, or a later one.
fn id(broker: u32, allocation: u32) -> ReplicaId {
    ReplicaId::new(BrokerId(broker), allocation)
}

fn info(replica: ReplicaId) -> ReplicaInfo {
    ReplicaInfo { replica, opened_in: Some(DirectoryId([1; 16])), is_added: false, health: Health::Sound }
}

fn wanted(replicas: &[ReplicaInfo], leaving: &[ReplicaId]) -> Wanted {
    Wanted::all_voting(&Members {
        replicas: replicas.to_vec(),
        leaving: leaving.iter().map(|id| info(*id)).collect(),
    })
}

fn peer(replica: ReplicaId, matched: u64) -> Peer {
    Peer { replica, matched: Index(matched), committed: Index(matched), silent_ticks: 0 }
}

/// What broker 1's replica knows as leader of these; nobody has left before.
fn outlook<'a>(current: &'a Membership, peers: &'a [Peer]) -> Outlook<'a> {
    static NOBODY: BTreeSet<ReplicaId> = BTreeSet::new();
    Outlook { current, own: id(1, 2), peers, commit: Index(LAST), wanted_ticks: 10, returned: &NOBODY }
}

/// The step that broker 1's replica takes as leader of these; all peers are active.
fn step(
    wanted: &Wanted,
    voters: &[ReplicaId],
    learners: &[ReplicaId],
    peers: &[Peer],
) -> Option<MembershipTarget> {
    let current =
        Membership { voters: voters.to_vec(), learners: learners.to_vec(), ..Membership::default() };
    next_target(wanted, &outlook(&current, peers))
}

fn target(voters: &[ReplicaId], learners: &[ReplicaId]) -> Option<MembershipTarget> {
    Some(MembershipTarget {
        voters: voters.iter().copied().collect(),
        learners: learners.iter().copied().collect(),
    })
}

#[test]
fn nothing_is_done_where_the_members_are_the_wanted_ones() {
    let (a, b) = (id(1, 2), id(2, 2));
    assert_eq!(step(&wanted(&[info(a), info(b)], &[]), &[a, b], &[], &[peer(b, 0)]), None);
    assert_eq!(
        step(&Wanted::default(), &[a, b], &[], &[peer(b, 0)]),
        None,
        "nothing is known of what is wanted"
    );
}

#[test]
fn an_opened_replica_becomes_a_learner_first() {
    let (a, b) = (id(1, 2), id(2, 2));
    assert_eq!(step(&wanted(&[info(a), info(b)], &[]), &[a], &[], &[]), target(&[a], &[b]));
    let unopened = ReplicaInfo { opened_in: None, ..info(b) };
    assert_eq!(step(&wanted(&[info(a), unopened], &[]), &[a], &[], &[]), None);
    let lost = ReplicaInfo { health: Health::Lost, ..info(b) };
    assert_eq!(step(&wanted(&[info(a), lost], &[]), &[a], &[], &[]), None);
}

#[test]
fn a_learner_votes_when_it_has_caught_up_and_answers() {
    let (a, b) = (id(1, 2), id(2, 2));
    let wanted = wanted(&[info(a), info(b)], &[]);
    assert_eq!(step(&wanted, &[a], &[b], &[peer(b, LAST - CAUGHT_UP_ENTRIES - 1)]), None);
    assert_eq!(step(&wanted, &[a], &[b], &[peer(b, LAST - CAUGHT_UP_ENTRIES)]), target(&[a, b], &[]));
    let silent = Peer { silent_ticks: ELECTION_TICKS, ..peer(b, LAST) };
    assert_eq!(step(&wanted, &[a], &[b], &[silent]), None);
}

#[test]
fn who_leaves_goes_by_the_change_that_gives_the_newcomer_its_vote() {
    let (a, b, c, d) = (id(1, 2), id(2, 2), id(3, 2), id(4, 2));
    let wanted = wanted(&[info(a), info(b), info(d)], &[c]);
    let peers = |matched| [peer(b, LAST), peer(c, LAST), peer(d, matched)];
    assert_eq!(step(&wanted, &[a, b, c], &[d], &peers(5)), None, "it still catches up");
    assert_eq!(step(&wanted, &[a, b, c], &[d], &peers(LAST)), target(&[a, b, d], &[]));
}

#[test]
fn who_has_left_and_was_let_in_again_goes_whether_it_votes_or_not() {
    let (a, b, gone) = (id(1, 2), id(2, 2), id(3, 2));
    let next = |voters: &[ReplicaId], learners: &[ReplicaId]| {
        let current =
            Membership { voters: voters.to_vec(), learners: learners.to_vec(), ..Membership::default() };
        let peers = [peer(b, LAST)];
        let returned = BTreeSet::from([gone]);
        next_target(
            &wanted(&[info(a), info(b)], &[]),
            &Outlook { returned: &returned, ..outlook(&current, &peers) },
        )
    };
    assert_eq!(next(&[a, b, gone], &[]), target(&[a, b], &[]));
    assert_eq!(next(&[a, b], &[gone]), target(&[a, b], &[]));
    assert_eq!(next(&[a, b], &[]), None);
}

#[test]
fn nobody_goes_who_is_not_named_as_leaving() {
    let (a, b, c) = (id(1, 2), id(2, 2), id(3, 2));
    let peers = [peer(b, LAST), peer(c, LAST)];
    assert_eq!(step(&wanted(&[info(a), info(b)], &[]), &[a, b, c], &[], &peers), None);
    assert_eq!(step(&wanted(&[info(a), info(b)], &[c]), &[a, b, c], &[], &peers), target(&[a, b], &[]));
}

/// As many voters of the controller are wanted as make it safer; one more may have come while another was lost.
#[test]
fn a_voter_too_many_listens_when_all_wanted_ones_vote() {
    let [a, b, c, d] = [1, 2, 3, 4].map(|broker| id(broker, 2));
    let mut three = wanted(&[info(a), info(b), info(c), info(d)], &[]);
    three.voters.remove(&d);
    let peers = [peer(b, LAST), peer(c, LAST), peer(d, LAST)];
    assert_eq!(step(&three, &[a, b, c, d], &[], &peers), target(&[a, b, c], &[d]));
    let behind = [peer(b, LAST), peer(c, 0), peer(d, LAST)];
    assert_eq!(step(&three, &[a, b, d], &[c], &behind), None);
    assert_eq!(step(&three, &[a, b, d], &[c], &peers), target(&[a, b, c], &[d]));
}

#[test]
fn a_predecessor_on_the_same_broker_goes_before_its_successor_can_come() {
    let (a, b, old, new) = (id(1, 2), id(2, 2), id(3, 2), id(3, 3));
    let unopened = ReplicaInfo { opened_in: None, is_added: true, ..info(new) };
    let peers = [peer(b, LAST), peer(old, LAST)];
    let wanted = wanted(&[info(a), info(b), unopened], &[old]);
    assert_eq!(step(&wanted, &[a, b, old], &[], &peers), target(&[a, b], &[]));
}

#[test]
fn nobody_goes_before_those_who_stay_have_answered_since_that_is_wanted() {
    let (a, b, c) = (id(1, 2), id(2, 2), id(3, 2));
    let wanted = wanted(&[info(a), info(b)], &[c]);
    let heard = |silent_ticks| [Peer { silent_ticks, ..peer(b, LAST) }, peer(c, LAST)];
    assert_eq!(step(&wanted, &[a, b, c], &[], &heard(10)), None, "it may have been gone before");
    assert_eq!(step(&wanted, &[a, b, c], &[], &heard(9)), target(&[a, b], &[]));
}

#[test]
fn a_change_whose_voters_do_not_answer_is_not_begun() {
    let (a, b, c) = (id(1, 2), id(2, 2), id(3, 2));
    let silent = Peer { silent_ticks: ELECTION_TICKS, ..peer(b, LAST) };
    let wanted = wanted(&[info(a), info(b)], &[c]);
    assert_eq!(step(&wanted, &[a, b, c], &[], &[silent, peer(c, LAST)]), None);
}

#[test]
fn the_leader_itself_may_leave() {
    let (a, b) = (id(1, 2), id(2, 2));
    let wanted = wanted(&[info(b)], &[a]);
    assert_eq!(step(&wanted, &[a], &[b], &[peer(b, LAST)]), target(&[b], &[]));
}

/// Who could lead when broker 1's replica, which leads these, takes its own vote with the next step.
fn heirs(wanted: &Wanted, current: &Membership, peers: &[Peer]) -> Heirs {
    let outlook = outlook(current, peers);
    let step = Step::next(wanted, &outlook).expect("there is something to do");
    assert!(!step.keeps(id(1, 2), current), "{step:?}");
    step.heirs(wanted, &outlook)
}

#[test]
fn a_leader_that_leaves_hands_over_to_a_sound_voter_that_stays() {
    let (a, b, c, d) = (id(1, 2), id(2, 2), id(3, 2), id(4, 2));
    let damaged = ReplicaInfo { health: Health::Damaged, ..info(b) };
    let current = Membership { voters: vec![a, b, c], learners: vec![d], ..Membership::default() };
    let peers = |b_at, c_at| [peer(b, b_at), peer(c, c_at), peer(d, LAST)];
    let sound = wanted(&[info(b), info(c), info(d)], &[a]);
    assert_eq!(heirs(&sound, &current, &peers(LAST, LAST)), Heirs::Ready(b), "the first one that is wanted");
    assert_eq!(heirs(&sound, &current, &peers(1, LAST)), Heirs::Ready(c), "b is far behind");
    assert_eq!(heirs(&sound, &current, &peers(1, 1)), Heirs::Late);
    let wanted = wanted(&[damaged, info(c), info(d)], &[a]);
    assert_eq!(heirs(&wanted, &current, &peers(LAST, LAST)), Heirs::Ready(c));
    assert_eq!(heirs(&wanted, &current, &peers(LAST, 1)), Heirs::Ready(b), "a damaged one can lead");
}

#[test]
fn the_only_voter_hands_over_when_its_successor_knows_that_it_votes() {
    let (a, b) = (id(1, 2), id(2, 2));
    let wanted = wanted(&[info(b)], &[a]);
    let alone = Membership { voters: vec![a], learners: vec![b], ..Membership::default() };
    assert_eq!(heirs(&wanted, &alone, &[peer(b, LAST)]), Heirs::None, "a learner cannot lead");
    let conf_index = Index(LAST);
    let joint = Membership { voters: vec![b], voters_outgoing: vec![a], conf_index, ..Membership::default() };
    let unaware = Peer { committed: Index(LAST - 1), ..peer(b, LAST) };
    assert_eq!(heirs(&wanted, &joint, &[unaware]), Heirs::Late);
    assert_eq!(heirs(&wanted, &joint, &[peer(b, LAST)]), Heirs::Ready(b));
    let silent = Peer { silent_ticks: ELECTION_TICKS, ..peer(b, LAST) };
    assert_eq!(heirs(&wanted, &joint, &[silent]), Heirs::None);
}

#[test]
fn a_leader_that_leaves_tries_once_and_waits_for_a_bounded_time() {
    let heir = id(2, 2);
    let mut parting = Parting::NotBegun;
    assert_eq!(parting.next(Heirs::None, 1_000), Handover::No);
    assert_eq!(parting.next(Heirs::Late, 1_000), Handover::Wait);
    assert_eq!(parting.next(Heirs::Late, 2_999), Handover::Wait);
    assert_eq!(parting.next(Heirs::Ready(heir), 2_999), Handover::To(heir));
    assert_eq!(parting.next(Heirs::Ready(heir), 3_000), Handover::No, "it was not taken");
    let mut parting = Parting::NotBegun;
    assert_eq!(parting.next(Heirs::Late, 1_000), Handover::Wait);
    assert_eq!(parting.next(Heirs::Late, 3_000), Handover::No);
    assert_eq!(parting.next(Heirs::Late, 3_100), Handover::No);
}

#[test]
fn a_better_leader_is_sound_and_close() {
    let (a, b, c) = (id(1, 2), id(2, 2), id(3, 2));
    let current = Membership { voters: vec![a, b, c], ..Membership::default() };
    let better = |replicas: &[ReplicaInfo], own_health: Health, peers: &[Peer]| {
        let outlook = outlook(&current, peers);
        better_leader(&wanted(replicas, &[]), &outlook, own_health)
    };
    let (sound, damaged) = (Health::Sound, Health::Damaged);
    let close = [peer(b, LAST), peer(c, LAST)];
    assert_eq!(better(&[info(b), info(a), info(c)], sound, &close), Some(b), "the preferred one");
    assert_eq!(better(&[info(b), info(a), info(c)], sound, &[peer(b, 1), peer(c, LAST)]), None);
    let bad = |replica| ReplicaInfo { health: damaged, ..info(replica) };
    assert_eq!(better(&[bad(b), info(a), info(c)], sound, &close), None);
    assert_eq!(better(&[info(a), bad(b), info(c)], sound, &close), None);
    // A damaged leader makes way for any, before the controller knows of it too.
    assert_eq!(better(&[info(a), bad(b), info(c)], damaged, &close), Some(c));
    let apart = [peer(b, LAST - 1), peer(c, LAST)];
    assert_eq!(better(&[bad(a), info(b), info(c)], damaged, &apart), Some(c), "b may wait for what is bad");
    assert_eq!(better(&[bad(a), bad(b), bad(c)], damaged, &close), None, "nobody would do better");
}
