//! When records are taken and when they are refused.

use super::{Space, needed_bytes};
use crate::options::Limits;
use mq_log::OsDisk;

#[test]
fn the_ballast_comes_before_records_and_a_margin_keeps_the_answer_from_changing_with_every_round() {
    assert_eq!(needed_bytes(400, 0, true), 400);
    assert_eq!(needed_bytes(400, 0, false), 500);
    assert_eq!(needed_bytes(400, 70, true), 470);
    assert_eq!(needed_bytes(0, 70, false), 70);
}

#[test]
fn where_there_is_room_the_ballast_is_put_in_place_given_up_once_and_put_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let limits = Limits { disk_reserve_bytes: 1 << 20, disk_ballast_bytes: 1 << 20, ..Limits::default() };
    let space = Space::open(&OsDisk::new(directory.path()), &limits).expect("it is a file system");
    assert_eq!(space.ballast_bytes(), 0, "a start alone takes nothing");
    assert!(space.has_room(true));
    assert_eq!(space.ballast_bytes(), 1 << 20);
    assert!(space.give_up_ballast());
    assert_eq!(space.ballast_bytes(), 256 << 10);
    assert!(!space.give_up_ballast(), "what is left is for the next start");
    assert!(space.has_room(false));
    assert_eq!(space.ballast_bytes(), 1 << 20);
}
