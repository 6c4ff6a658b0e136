//! Numbers that other programs know too: checksums, hashes, codes, names.

use mq_types::crc32c::crc32c;
use mq_types::name::{NAME_BYTES_MAX, NameError, NameOf, check_group_name, check_topic_name};
use mq_types::partitioner::{murmur2, partition_for_key};
use mq_types::{Compression, ErrorCode, PartitionId};

#[test]
fn crc32c_gives_the_published_check_value() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(b""), 0);
    // RFC 3720, appendix B.4.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
}

#[test]
fn murmur2_gives_kafkas_values() {
    for (key, hash) in [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ] {
        assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
    }
}

#[test]
fn a_negative_hash_loses_its_sign_bit() {
    // murmur2("21") = -973932308; with the sign bit cleared 1173551340.
    assert_eq!(partition_for_key(b"21", 1_000), PartitionId(340));
    assert_eq!(partition_for_key(b"abc", 1_000), PartitionId(107));
    assert_eq!(partition_for_key(b"anything", 1), PartitionId(0));
}

#[test]
fn error_codes_are_those_of_the_proto() {
    let proto = include_str!("../../../proto/mq/v1/error.proto");
    let listed: Vec<(u16, &str)> = proto
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ERROR_REASON_"))
        .map(|rest| {
            let (name, number) = rest.split_once(" = ").expect("a value is a name and a number");
            (number.split(';').next().expect("a number").parse().expect("a number"), name)
        })
        .filter(|(number, _)| *number != 0)
        .collect();
    let ours: Vec<(u16, &str)> = ErrorCode::ALL.iter().map(|code| (code.number(), code.name())).collect();
    assert_eq!(ours, listed);
}

#[test]
fn error_codes_come_back_from_their_numbers() {
    for number in 0..=u16::MAX {
        let known = ErrorCode::ALL.iter().copied().find(|code| code.number() == number);
        assert_eq!(ErrorCode::from_number(number), known);
    }
}

#[test]
fn what_may_have_been_carried_out_is_not_retriable() {
    for code in [ErrorCode::OutcomeUnknown, ErrorCode::PartlyAppended, ErrorCode::Internal] {
        assert!(!code.retriable(), "{code}");
    }
    assert!(ErrorCode::NotLeader.retriable() && ErrorCode::Overloaded.retriable());
}

#[test]
fn compressions_have_kafkas_numbers_and_names() {
    let names = ["none", "gzip", "snappy", "lz4", "zstd"];
    for (number, name) in names.into_iter().enumerate() {
        let compression = Compression::from_number(number as u8).unwrap();
        assert_eq!((compression.number(), compression.to_string()), (number as u8, name.to_owned()));
        assert_eq!(name.parse(), Ok(compression));
    }
    assert_eq!(Compression::from_number(5), None);
    let error = "brotli".parse::<Compression>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no compression \"brotli\"; choose none, gzip, snappy, lz4 or zstd"
    );
}

#[test]
fn topic_names_follow_kafkas_rule() {
    let longest = "x".repeat(NAME_BYTES_MAX);
    for name in ["a", "orders.eu-1_v2", "__consumer_offsets", "...", "-", &longest] {
        assert_eq!(check_topic_name(name), Ok(()), "{name}");
    }
    assert_eq!(check_topic_name(""), Err(NameError::Empty { of: NameOf::Topic }));
    let bytes = NAME_BYTES_MAX + 1;
    assert_eq!(check_topic_name(&"x".repeat(bytes)), Err(NameError::TooLong { of: NameOf::Topic, bytes }));
    assert_eq!(check_topic_name("."), Err(NameError::Dots));
    assert_eq!(check_topic_name(".."), Err(NameError::Dots));
    assert_eq!(check_topic_name("eu/orders"), Err(NameError::Slash { at: 2 }));
    for (name, character, at) in
        [("a b", ' ', 1), ("\u{fc}ber", '\u{fc}', 0), ("a\0", '\0', 1), ("a:b/c", ':', 1)]
    {
        assert_eq!(check_topic_name(name), Err(NameError::TopicCharacter { character, at }));
    }
}

#[test]
fn group_names_may_be_any_plain_text() {
    for name in ["a", "connect-sink", "team/orders:v2", "my group", "\u{fc}ber"] {
        assert_eq!(check_group_name(name), Ok(()), "{name}");
    }
    assert_eq!(check_group_name(""), Err(NameError::Empty { of: NameOf::Group }));
    let bytes = NAME_BYTES_MAX + 1;
    assert_eq!(check_group_name(&"x".repeat(bytes)), Err(NameError::TooLong { of: NameOf::Group, bytes }));
    assert_eq!(check_group_name("a\nb"), Err(NameError::GroupCharacter { character: '\n', at: 1 }));
    assert_eq!(check_group_name(" a"), Err(NameError::GroupEnds));
}
