//! What is made of the texts of `/proc`, of the broker's metrics and of samples.

use mq_benches::machine::mounted_at;
use mq_benches::meter::{ticks_of_machine, ticks_of_process};
use mq_benches::mqd::{Rounds, rounds_of};
use mq_benches::spread::Spread;
use std::path::Path;

#[test]
fn a_median_stands_between_the_two_in_the_middle() {
    let spread = |samples: &[f64]| Spread::of(samples.iter().copied());
    assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, smallest: 1.0, largest: 3.0 }));
    assert_eq!(spread(&[4.0, 1.0, 2.0, 10.0]), Some(Spread { median: 3.0, smallest: 1.0, largest: 10.0 }));
    assert_eq!(spread(&[]), None);
}

#[test]
fn the_name_of_a_process_may_look_like_the_end_of_its_name() {
    let stat = "42 (a) b) R 1 42 42 0 -1 4194304 100 0 0 0 70 7 1 2 20 0 1 0 100 0 0";
    assert_eq!(ticks_of_process(stat), Some(77));
    assert_eq!(ticks_of_process("42 (a) R 1"), None);
}

#[test]
fn idle_time_waiting_and_interrupts_are_not_used_time() {
    let stat = "cpu  100 20 3 9000 800 70 60 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
    assert_eq!(ticks_of_machine(stat), Some(127));
}

#[test]
fn a_path_is_on_the_deepest_mount_and_on_the_last_one_there() {
    let mounts = "\
        22 1 254:0 / / rw - ext4 /dev/root rw\n\
        23 22 0:5 / /data rw shared:1 - xfs /dev/sdb rw\n\
        24 22 0:6 / /data rw - tmpfs tmpfs rw\n\
        25 22 0:7 / /with\\040space rw - btrfs /dev/sdc rw\n";
    let kind = |path: &str| mounted_at(mounts, Path::new(path));
    assert_eq!(kind("/data/a").as_deref(), Some("tmpfs"));
    assert_eq!(kind("/database").as_deref(), Some("ext4"));
    assert_eq!(kind("/with space/a").as_deref(), Some("btrfs"));
}

#[test]
fn rounds_are_read_from_the_sum_and_count_of_their_histogram() {
    let page = "# TYPE mq_round_bytes histogram\nmq_round_seconds_sum 9.5\nmq_round_bytes_sum 8192.0\n\
                mq_round_bytes_count 2\nmq_round_bytes_bucket{le=\"256.0\"} 0\n# EOF\n";
    assert_eq!(rounds_of(page), Some(Rounds { count: 2.0, bytes: 8192.0 }));
    assert_eq!(rounds_of("# EOF\n"), None);
}
