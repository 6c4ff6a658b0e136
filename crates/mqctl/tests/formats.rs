//! How records are printed (`consume -f`) and cut out of input (`produce -f`).

use std::io::{BufReader, Cursor};

use mq_client::{ProducerRecord, v1};
use mqctl::{
    input_format::{InputError, InputFormat},
    record_format::{FormatError, RecordFormat},
};

fn record() -> v1::Record {
    let header = |key: &str, value: Option<&'static str>| v1::Header {
        key: key.to_owned(),
        value: value.map(|value| value.as_bytes().into()),
    };
    v1::Record {
        key: Some("k".into()),
        value: Some(vec![b'v', 0xff, b'\n'].into()),
        headers: vec![header("a", Some("1")), header("a", None)],
        timestamp: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 123_000_000 }),
        offset: 7,
    }
}

fn printed(format: &str, record: &v1::Record) -> Vec<u8> {
    let mut out = Vec::new();
    let format = RecordFormat::parse(format).unwrap_or_else(|error| panic!("{format}: {error}"));
    format.write(&mut out, "orders", 3, record).expect("memory takes it");
    out
}

/// All records of an input, read through a buffer of `buffer_bytes`.
fn read_with(format: &str, input: &[u8], buffer_bytes: usize) -> Result<Vec<ProducerRecord>, InputError> {
    let format = InputFormat::parse(format).unwrap_or_else(|error| panic!("{format}: {error}"));
    let mut input = BufReader::with_capacity(buffer_bytes, Cursor::new(input));
    (1..).map(|number| format.read(&mut input, number).transpose()).map_while(|read| read).collect()
}

fn values(format: &str, input: &[u8]) -> Vec<Vec<u8>> {
    let read = |buffer_bytes| {
        let records = read_with(format, input, buffer_bytes).expect("it fits the format");
        records.into_iter().map(|record| record.value.expect("%v was read").to_vec()).collect::<Vec<_>>()
    };
    let whole = read(1 << 16);
    assert_eq!(read(1), whole, "what is read does not depend on how it comes in");
    whole
}

#[test]
fn every_field_is_printed() {
    let out = printed("%t/%p @%o %d [%h] %k=%v%%", &record());
    assert_eq!(out, b"orders/3 @7 1700000000123 [a=1,a=] k=v\xff\n%");
}

#[test]
fn escapes_become_their_bytes_and_text_stays() {
    assert_eq!(printed(r"\n\r\t\\\0\x1f\xFFé", &record()), b"\n\r\t\\\0\x1f\xff\xc3\xa9");
}

#[test]
fn what_is_absent_is_printed_as_nothing() {
    assert_eq!(printed("<%k|%v|%h|%d>", &v1::Record::default()), b"<|||-1>");
}

#[test]
fn a_format_that_means_nothing_is_refused() {
    let refused = |format: &str| RecordFormat::parse(format).expect_err(format);
    assert!(matches!(refused("%s"), FormatError::UnknownField { letter: 's', .. }));
    assert_eq!(refused(r"\q"), FormatError::UnknownEscape { letter: 'q' });
    assert_eq!(refused("%"), FormatError::Unfinished { sign: '%' });
    assert_eq!(refused("\\"), FormatError::Unfinished { sign: '\\' });
    assert_eq!(refused(r"\x1"), FormatError::BadHex);
    assert_eq!(refused(r"\xzz"), FormatError::BadHex);
}

#[test]
fn every_line_is_a_record_also_an_empty_one_and_a_last_one_without_newline() {
    assert_eq!(values(r"%v\n", b"a\n\nb"), [b"a".to_vec(), b"".to_vec(), b"b".to_vec()]);
    assert_eq!(values(r"%v\n", b"a\n"), [b"a".to_vec()]);
    assert_eq!(values(r"%v\n", b"\n"), [b"".to_vec()]);
    assert!(values(r"%v\n", b"").is_empty());
}

#[test]
fn bytes_are_kept_as_they_are() {
    assert_eq!(values(r"%v\n", b"\xff\x00\r\n"), [b"\xff\x00\r".to_vec()]);
    assert_eq!(values("%v", b"a\nb\n"), [b"a\nb\n".to_vec()]);
}

#[test]
fn a_separator_of_several_bytes_may_begin_within_itself() {
    assert_eq!(values(r"%vaab", b"xaaabyaab"), [b"xa".to_vec(), b"y".to_vec()]);
}

#[test]
fn keys_and_partitions_are_read_beside_values() {
    let records = read_with(r"%p %k %v\n", b"1 key the value\n0  x\n", 8).expect("it fits");
    assert_eq!(records[0].partition, Some(1));
    assert_eq!(records[0].key.as_deref(), Some(&b"key"[..]));
    assert_eq!(records[0].value.as_deref(), Some(&b"the value"[..]));
    assert_eq!(records[1].key.as_deref(), Some(&b""[..]));
    assert_eq!(records[1].value.as_deref(), Some(&b"x"[..]));
}

#[test]
fn input_that_does_not_fit_names_the_record() {
    let error = read_with(r"%k\t%v\n", b"k\tv\nno tab\n", 64).expect_err("the second line has no tab");
    assert!(matches!(error, InputError::NoSeparator { record: 2, field: 'k', .. }), "{error}");
    let error =
        read_with(r"%k\t%v\n", b"k\tv\nno tab\nk\tv\n", 64).expect_err("nor is the third line's its own");
    assert!(matches!(error, InputError::NoSeparator { record: 2, field: 'k', .. }), "{error}");
    let error = read_with(r"%p %v\n", b"one v\n", 64).expect_err("a word is no partition");
    assert!(matches!(error, InputError::BadPartition { record: 1, .. }), "{error}");
    let error = read_with(r"> %v\n", b"> a\nb\n", 64).expect_err("the second line lacks the prefix");
    assert!(matches!(error, InputError::NoPrefix { record: 2, .. }), "{error}");
}

#[test]
fn a_separator_that_holds_the_end_of_the_record_lets_a_field_hold_it_too() {
    let records = read_with(r"%k\n\n%v\n", b"a\nkey\n\nvalue\n", 64).expect("it fits");
    assert_eq!(records[0].key.as_deref(), Some(&b"a\nkey"[..]));
    assert_eq!(records[0].value.as_deref(), Some(&b"value"[..]));
}

#[test]
fn an_input_format_that_cannot_be_read_back_is_refused() {
    let refused = |format: &str| InputFormat::parse(format).expect_err(format);
    assert_eq!(refused("%k%v"), FormatError::NothingBetween { first: 'k', second: 'v' });
    assert_eq!(refused(r"%v %v\n"), FormatError::FieldTwice { letter: 'v' });
    assert_eq!(refused(r"\n"), FormatError::NoField);
    assert!(matches!(refused("%o"), FormatError::UnknownField { letter: 'o', .. }));
}
