//! The configs of topics: names, defaults, bounds, and what is said about wrong ones.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use mq_engine::controller::{ConfigError, Topic, TopicConfig};
use mq_types::TopicId;
use mq_types::compression::Compression;
use std::collections::BTreeMap;

fn configs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn topic(pairs: &[(&str, &str)]) -> Topic {
    Topic {
        id: TopicId([1; 16]),
        name: "t".to_owned(),
        configs: configs(pairs),
        replication_factor: 1,
        partitions: Vec::new(),
        deleted_at_ms: None,
    }
}

fn parse(key: &str, value: &str) -> Result<TopicConfig, ConfigError> {
    TopicConfig::parse(&configs(&[(key, value)]))
}

#[test]
fn defaults_are_those_of_kafka() {
    let defaults = TopicConfig {
        max_message_bytes: 1_048_576,
        compression: None,
        log_append_time: false,
        retention_bytes: None,
        retention_ms: Some(604_800_000),
        segment_bytes: 1_073_741_824,
        segment_ms: 604_800_000,
    };
    assert_eq!(TopicConfig::default(), defaults);
    assert_eq!(TopicConfig::of(&topic(&[])), defaults);
}

#[test]
fn every_default_and_every_bound_is_legal_and_what_lies_beyond_is_not() {
    let bounds: [(&str, i64, i64); 5] = [
        ("max.message.bytes", 1_024, 1 << 30),
        ("retention.bytes", -1, i64::MAX),
        ("retention.ms", -1, i64::MAX),
        ("segment.bytes", 65_536, 2_147_483_647),
        ("segment.ms", 1, i64::MAX),
    ];
    for (key, min, max) in bounds {
        for legal in [min, max] {
            assert!(parse(key, &legal.to_string()).is_ok(), "{key}={legal}");
        }
        for illegal in [i128::from(min) - 1, i128::from(max) + 1] {
            let value = illegal.to_string();
            assert_eq!(
                parse(key, &value),
                Err(ConfigError::NotInBounds { key, value: value.clone(), smallest: min, largest: max })
            );
        }
        for illegal in ["", "x", "1.5", " 70000", "70000ms", "-"] {
            assert!(matches!(parse(key, illegal), Err(ConfigError::NotInBounds { .. })), "{key}={illegal:?}");
        }
    }
    for described in TopicConfig::describe(&topic(&[])) {
        assert!(parse(described.key, &described.default_value).is_ok(), "{}", described.key);
    }
}

#[test]
fn each_config_reaches_its_field() {
    let config = TopicConfig::of(&topic(&[
        ("max.message.bytes", "2048"),
        ("compression.type", "zstd"),
        ("message.timestamp.type", "LogAppendTime"),
        ("retention.bytes", "7"),
        ("retention.ms", "-1"),
        ("segment.bytes", "65536"),
        ("segment.ms", "1000"),
    ]));
    let expected = TopicConfig {
        max_message_bytes: 2_048,
        compression: Some(Compression::Zstd),
        log_append_time: true,
        retention_bytes: Some(7),
        retention_ms: None,
        segment_bytes: 65_536,
        segment_ms: 1_000,
    };
    assert_eq!(config, expected);
}

#[test]
fn compression_is_the_producers_or_a_named_codec() {
    assert_eq!(parse("compression.type", "producer").unwrap().compression, None);
    for codec in Compression::ALL {
        assert_eq!(parse("compression.type", codec.name()).unwrap().compression, Some(codec));
    }
    assert_eq!(
        parse("compression.type", "bzip2").unwrap_err().to_string(),
        "compression.type=\"bzip2\" is not possible; choose producer, none, gzip, snappy, lz4, zstd"
    );
}

#[test]
fn what_is_not_offered_is_refused_with_what_is() {
    for (key, value) in
        [("cleanup.policy", "compact"), ("durability", "leader"), ("message.timestamp.type", "")]
    {
        assert!(matches!(parse(key, value), Err(ConfigError::NotAChoice { .. })), "{key}={value}");
    }
    for (key, value) in [("cleanup.policy", "delete"), ("durability", "quorum_fsync")] {
        assert!(parse(key, value).is_ok(), "{key}={value}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_all_that_there_are() {
    let message = parse("retention.sm", "1").unwrap_err().to_string();
    assert_eq!(
        message,
        "there is no topic config \"retention.sm\"; there are cleanup.policy, compression.type, durability, \
         max.message.bytes, message.timestamp.type, retention.bytes, retention.ms, segment.bytes, segment.ms"
    );
    assert!(TopicConfig::check_key("retention.sm").is_err());
    assert!(TopicConfig::check_key("retention.ms").is_ok());
}

#[test]
fn settings_that_would_weaken_the_promise_are_refused_with_the_promise() {
    assert_eq!(
        parse("min.insync.replicas", "1").unwrap_err().to_string(),
        "min.insync.replicas cannot be set: a record is always acknowledged by a majority of the replicas, never by \
         fewer"
    );
    assert!(matches!(parse("unclean.leader.election.enable", "true"), Err(ConfigError::Refused { .. })));
}

#[test]
fn an_error_repeats_only_the_beginning_of_a_long_text() {
    let long = "9".repeat(100_000);
    for error in [parse("retention.ms", &long), parse("durability", &long), parse(&long, "1")] {
        let length = error.unwrap_err().to_string().len();
        assert!(length < 400, "{length} bytes");
    }
    let zeros = format!("{}1", "0".repeat(100));
    assert!(parse("segment.ms", &zeros).is_err(), "a value is at most 64 bytes long");
}

#[test]
fn what_another_version_has_set_counts_as_not_set() {
    let topic = topic(&[("segment.ms", "-5"), ("compression.type", "brotli"), ("new.key", "1")]);
    assert_eq!(TopicConfig::of(&topic), TopicConfig::default());
    assert!(TopicConfig::describe(&topic).iter().all(|described| !described.source_is_topic));
}

#[test]
fn a_description_tells_what_is_in_force_and_where_it_comes_from() {
    let described = TopicConfig::describe(&topic(&[("retention.ms", "1000")]));
    let keys: Vec<&str> = described.iter().map(|described| described.key).collect();
    assert!(keys.is_sorted(), "{keys:?}");
    assert_eq!(keys.len(), 9);
    for config in &described {
        let own = config.key == "retention.ms";
        assert_eq!(config.source_is_topic, own, "{}", config.key);
        assert_eq!(config.value == config.default_value, !own, "{}", config.key);
        assert!(config.documentation.ends_with('.'), "{}", config.key);
    }
    let retention = described.iter().find(|config| config.key == "retention.ms").unwrap();
    assert_eq!((retention.value.as_str(), retention.default_value.as_str()), ("1000", "604800000"));
}
