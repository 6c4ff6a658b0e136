//! What `consume -o` understands.

use std::time::{Duration, SystemTime};

use mqctl::offset_range::{OffsetError, OffsetRange, Point};

fn range(text: &str) -> OffsetRange {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn follows(from: Point) -> OffsetRange {
    OffsetRange { from, to: None }
}

fn ends(from: Point, to: Point) -> OffsetRange {
    OffsetRange { from, to: Some(to) }
}

#[test]
fn a_single_point_is_followed() {
    assert_eq!(range("start"), follows(Point::Start));
    assert_eq!(range("end"), follows(Point::End));
    assert_eq!(range("42"), follows(Point::At(42)));
    assert_eq!(range("-10"), follows(Point::Last(10)));
}

#[test]
fn a_range_has_an_end() {
    assert_eq!(range("start:end"), ends(Point::Start, Point::End));
    assert_eq!(range("5:9"), ends(Point::At(5), Point::At(9)));
    assert_eq!(range("-3:end"), ends(Point::Last(3), Point::End));
}

#[test]
fn times_are_rfc3339_milliseconds_or_before_now() {
    assert_eq!(range("@1700000000123"), follows(Point::Time(1_700_000_000_123)));
    assert_eq!(range("@2023-11-14T22:13:20Z"), follows(Point::Time(1_700_000_000_000)));
    assert_eq!(range("@2023-11-14T23:13:20.5+01:00"), follows(Point::Time(1_700_000_000_500)));
    assert_eq!(range("@-1h"), follows(Point::Ago(Duration::from_secs(3600))));
}

#[test]
fn the_colons_of_a_time_do_not_cut_a_range() {
    let (from, to) = (Point::Time(1_700_000_000_000), Point::Time(1_700_000_060_000));
    assert_eq!(range("@2023-11-14T22:13:20Z:@2023-11-14T22:14:20Z"), ends(from, to));
    assert_eq!(range("@2023-11-14T23:13:20+01:00:end"), ends(from, Point::End));
    assert_eq!(range("start:@2023-11-14T22:13:20Z"), ends(Point::Start, from));
}

#[test]
fn a_duration_counts_back_from_now_and_not_beyond_the_epoch() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(7200);
    let seconds = |point: Point| point.timestamp(now).map(|at| at.seconds);
    assert_eq!(seconds(Point::Ago(Duration::from_secs(3600))), Some(3600));
    assert_eq!(seconds(Point::Ago(Duration::from_secs(9000))), Some(0));
    assert_eq!(seconds(Point::Time(-1)), Some(-1));
    assert_eq!(seconds(Point::Start), None);
}

#[test]
fn what_is_no_point_is_refused_with_the_choices() {
    for text in [
        "",
        ":",
        "x",
        "5:",
        ":5",
        "--5",
        "+5",
        "@",
        "@tomorrow",
        "@2023-11-14",
        "1:2:3",
        "99999999999999999999",
    ] {
        let error = text.parse::<OffsetRange>().expect_err(text);
        assert!(matches!(error, OffsetError::NoRange { .. }), "{text}: {error:?}");
    }
}

#[test]
fn a_range_that_ends_before_it_begins_is_refused() {
    assert_eq!("9:5".parse::<OffsetRange>(), Err(OffsetError::Backwards { from: 9, to: 5 }));
}
