//! What is made of the texts of `/proc`, of the broker's metrics and of samples.

use mq_benches::machine::mounted_at;
use mq_benches::meter::{Memory, memory_in, ticks_of_kernel_thread, ticks_of_machine, ticks_of_process};
use mq_benches::mqd::{Rounds, rounds_of};
use mq_benches::payload;
use mq_benches::report::{Row, Target, ratio};
use mq_benches::schedule::Schedule;
use mq_benches::spread::Spread;
use mq_benches::task::Latencies;
use std::path::Path;
use std::time::Duration;

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

#[test]
fn a_kernel_thread_is_known_by_its_flag() {
    let stat = |flags: u64| format!("15 (kworker/0:1) I 2 0 0 0 -1 {flags} 0 0 0 0 3 4 0 0 20 0 1 0 5 0 0");
    assert_eq!(ticks_of_kernel_thread(&stat(0x0420_8060)), Some(7));
    assert_eq!(ticks_of_kernel_thread(&stat(0x0040_0000)), None);
}

#[test]
fn memory_is_read_in_bytes() {
    let status =
        "Name:\tmqd\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t     512 kB\nRssFile:\t 4 kB\n";
    assert_eq!(memory_in(status), Some(Memory { resident: 1 << 20, anonymous: 1 << 19, peak: 1 << 21 }));
    assert_eq!(memory_in("Name:\tkworker\n"), None);
}

#[test]
fn rounds_are_divided_by_their_neighbours_and_not_medians_by_medians() {
    let found = ratio(&[10.0, 30.0, 20.0], &[10.0, 60.0, 10.0]).expect("there are samples");
    assert_eq!(found, Spread { median: 1.0, smallest: 0.5, largest: 2.0 });
    assert_eq!(ratio(&[], &[]), None);
}

#[test]
fn a_target_is_met_by_the_median_at_its_border() {
    let row = || Row::new("a limit", "MB/s", vec![100.0, 100.0, 200.0]).beside(&[80.0, 70.0, 160.0]);
    assert_eq!(row().aim(Target::RatioAtLeast(0.8)).met, Some(true));
    assert_eq!(row().aim(Target::RatioAtLeast(0.81)).met, Some(false));
    assert_eq!(row().aim(Target::RatioAtMost(0.79)).met, Some(false));
    assert_eq!(row().aim(Target::ValueAtMost(100.0)).met, Some(true));
    assert_eq!(row().aim(Target::ValueAtLeast(100.5)).met, Some(false));
    let alone = Row::new("without anything beside it", "MB/s", vec![1.0]);
    assert_eq!(alone.aim(Target::RatioAtLeast(0.5)).met, None);
}

#[test]
fn a_request_is_due_exactly_when_it_counts_as_due() {
    for per_second in [1, 3, 7, 1_000, 40_000, 999_983] {
        let schedule = Schedule { per_second };
        assert_eq!(schedule.due(0), Duration::ZERO);
        for number in [1, 2, 3, 10, 1_001, 123_456_789] {
            let due = schedule.due(number);
            assert_eq!(schedule.due_count(due), number + 1, "{per_second} a second, number {number}");
            assert_eq!(schedule.due_count(due - Duration::from_nanos(1)), number, "just before");
        }
    }
}

#[test]
fn a_rate_is_kept_over_hours() {
    let schedule = Schedule { per_second: 30_000 };
    assert_eq!(schedule.due(30_000 * 3_600), Duration::from_secs(3_600));
}

#[test]
fn percentiles_are_of_all_that_was_recorded_and_the_maximum_is_never_lost() {
    let (mut one, mut two) = (Latencies::default(), Latencies::default());
    (1..=99).for_each(|us| one.record(Duration::from_micros(us)));
    two.record(Duration::from_millis(50));
    one.add(&two);
    let found = one.summary();
    let near = |value: f64, expected: f64| (value - expected).abs() <= 0.5 + expected / 1_000.0;
    assert!(near(found.p50_us, 50.0), "{found:?}");
    assert!(near(found.p99_us, 99.0), "{found:?}");
    assert!(near(found.p999_us, 50_000.0) && near(found.max_us, 50_000.0), "{found:?}");
}

#[test]
fn a_batch_is_filled_as_far_as_its_size_allows() {
    for size_bytes in [16 << 10, 256 << 10, 1 << 20] {
        let records = payload::records_in(size_bytes);
        let bytes = payload::batch(records).expect("it is one batch").len_bytes();
        let another = bytes / records as usize;
        assert!(bytes <= size_bytes && bytes + 2 * another > size_bytes, "{records} records, {bytes} bytes");
    }
    assert_eq!(payload::records_in(1), 1);
}
