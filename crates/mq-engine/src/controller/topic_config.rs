//! The configs of topics: Kafka's names, and for each its kind, default, bounds and explanation.
//!
//! What a config brings about is decided where it is used; only its value is judged here.

use super::Topic;
use mq_types::compression::Compression;
use std::collections::BTreeMap;

/// The longest value of a config, in bytes.
const VALUE_BYTES_MAX: usize = 64;
/// Stands for "no limit" in the configs where Kafka has it so.
const UNLIMITED: i64 = -1;

/// One config that a topic may have.
struct Key {
    name: &'static str,
    kind: Kind,
    documentation: &'static str,
}

enum Kind {
    /// An integer; the unit is in the name.
    Number { default: i64, smallest: i64, largest: i64 },
    /// One of a few words; the first one is the default.
    Choice { choices: &'static [&'static str] },
}

const CLEANUP_POLICY: Key = Key {
    name: "cleanup.policy",
    kind: Kind::Choice { choices: &["delete"] },
    documentation: "What becomes of old records. delete: they go when retention.ms or retention.bytes says so.",
};
const COMPRESSION_TYPE: Key = Key {
    name: "compression.type",
    kind: Kind::Choice { choices: &["producer", "none", "gzip", "snappy", "lz4", "zstd"] },
    documentation: "How batches are stored. producer: as they were sent.",
};
const DURABILITY: Key = Key {
    name: "durability",
    kind: Kind::Choice { choices: &["quorum_fsync"] },
    documentation: "When a record counts as written. quorum_fsync: when a majority of the replicas has synced it.",
};
const MAX_MESSAGE_BYTES: Key = Key {
    name: "max.message.bytes",
    kind: Kind::Number { default: 1 << 20, smallest: 1 << 10, largest: 1 << 30 },
    documentation: "The largest batch that is accepted, in bytes: as it was sent or, sent as single records, before compression.",
};
const MESSAGE_TIMESTAMP_TYPE: Key = Key {
    name: "message.timestamp.type",
    kind: Kind::Choice { choices: &["CreateTime", "LogAppendTime"] },
    documentation: "Whose time a record carries: its producer's (CreateTime) or the broker's (LogAppendTime).",
};
const RETENTION_BYTES: Key = Key {
    name: "retention.bytes",
    kind: Kind::Number { default: UNLIMITED, smallest: UNLIMITED, largest: i64::MAX },
    documentation: "How large a partition may grow before its oldest segments go, in bytes; -1: no limit.",
};
const RETENTION_MS: Key = Key {
    name: "retention.ms",
    kind: Kind::Number { default: 604_800_000, smallest: UNLIMITED, largest: i64::MAX },
    documentation: "How long records are kept after they were appended, in milliseconds; -1: for ever.",
};
const SEGMENT_BYTES: Key = Key {
    name: "segment.bytes",
    kind: Kind::Number { default: 1 << 30, smallest: 64 << 10, largest: i32::MAX as i64 },
    documentation: "The size at which a new segment is begun, in bytes. Whole segments are deleted.",
};
const SEGMENT_MS: Key = Key {
    name: "segment.ms",
    kind: Kind::Number { default: 604_800_000, smallest: 1, largest: i64::MAX },
    documentation: "The age at which a new segment is begun, in milliseconds, even if it is not full.",
};

/// Every config, in the order of the names.
const KEYS: [&Key; 9] = [
    &CLEANUP_POLICY,
    &COMPRESSION_TYPE,
    &DURABILITY,
    &MAX_MESSAGE_BYTES,
    &MESSAGE_TIMESTAMP_TYPE,
    &RETENTION_BYTES,
    &RETENTION_MS,
    &SEGMENT_BYTES,
    &SEGMENT_MS,
];

/// Configs of Kafka that would promise less than what always holds here.
const REFUSED: [(&str, &str); 2] = [
    ("min.insync.replicas", "a record is always acknowledged by a majority of the replicas, never by fewer"),
    ("unclean.leader.election.enable", "a replica that lacks acknowledged records is never elected"),
];

/// Why configs are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is none of this name.
    #[error("there is no topic config {key:?}; there are {}", names())]
    UnknownKey {
        /// The name.
        key: String,
    },
    /// Kafka has it; here it would mean nothing.
    #[error("{key} cannot be set: {why}")]
    Refused {
        /// The name.
        key: &'static str,
        /// What holds instead.
        why: &'static str,
    },
    /// Not an integer, or not one within the bounds.
    #[error("{key}={value:?} is not an integer from {smallest} to {largest}")]
    NotInBounds {
        /// The name.
        key: &'static str,
        /// What was given (its beginning).
        value: String,
        /// The smallest legal value.
        smallest: i64,
        /// The largest legal value.
        largest: i64,
    },
    /// None of the words that are legal.
    #[error("{key}={value:?} is not possible; choose {}", choices.join(", "))]
    NotAChoice {
        /// The name.
        key: &'static str,
        /// What was given (its beginning).
        value: String,
        /// What is legal.
        choices: &'static [&'static str],
    },
}

/// A topic's configs as numbers and words of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// The largest batch that is accepted, in bytes.
    pub max_message_bytes: u64,
    /// How batches are stored; `None`: as the producer sent them.
    pub compression: Option<Compression>,
    /// Records carry the time at which they were appended instead of their producer's.
    pub log_append_time: bool,
    /// How large a partition may grow, in bytes; `None`: without limit.
    pub retention_bytes: Option<u64>,
    /// How long records are kept after they were appended, in ms; `None`: for ever.
    pub retention_ms: Option<i64>,
    /// The size at which a new segment is begun, in bytes.
    pub segment_bytes: u64,
    /// The age at which a new segment is begun, in ms; at least 1.
    pub segment_ms: i64,
}

/// One config of a topic, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub key: &'static str,
    /// The value in force.
    pub value: String,
    /// The value if it is not set.
    pub default_value: String,
    /// It is set on the topic.
    pub source_is_topic: bool,
    /// What it means, with its unit.
    pub documentation: &'static str,
}

impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig::read(&BTreeMap::new())
    }
}

impl TopicConfig {
    /// The name of the config whose upper bound also depends on the broker.
    pub(super) const MAX_MESSAGE_BYTES: &'static str = MAX_MESSAGE_BYTES.name;

    /// Judges configs that somebody wants to set, and reads them.
    ///
    /// # Errors
    /// The first one that is not legal.
    pub fn parse(configs: &BTreeMap<String, String>) -> Result<TopicConfig, ConfigError> {
        for (name, value) in configs {
            Key::find(name)?.check(value)?;
        }
        Ok(TopicConfig::read(configs))
    }

    /// Whether there is a config of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn check_key(name: &str) -> Result<(), ConfigError> {
        Key::find(name).map(|_| ())
    }

    /// A topic's configs. They were judged before they were set, perhaps by another version: what this one does not
    /// understand counts as not set.
    pub fn of(topic: &Topic) -> TopicConfig {
        TopicConfig::read(&topic.configs)
    }

    /// Every config of a topic with the value in force, in the order of the names.
    pub fn describe(topic: &Topic) -> Vec<Described> {
        KEYS.iter()
            .map(|key| {
                let own = topic.configs.get(key.name).filter(|value| key.check(value).is_ok());
                Described {
                    key: key.name,
                    value: own.cloned().unwrap_or_else(|| key.default_value()),
                    default_value: key.default_value(),
                    source_is_topic: own.is_some(),
                    documentation: key.documentation,
                }
            })
            .collect()
    }

    fn read(configs: &BTreeMap<String, String>) -> TopicConfig {
        let unsigned = |key: &Key| u64::try_from(key.number(configs)).ok();
        TopicConfig {
            max_message_bytes: unsigned(&MAX_MESSAGE_BYTES).expect("its bounds are positive"),
            compression: COMPRESSION_TYPE.choice(configs).parse().ok(), // "producer" is no codec
            log_append_time: MESSAGE_TIMESTAMP_TYPE.choice(configs) == "LogAppendTime",
            retention_bytes: unsigned(&RETENTION_BYTES),
            retention_ms: Some(RETENTION_MS.number(configs)).filter(|ms| *ms != UNLIMITED),
            segment_bytes: unsigned(&SEGMENT_BYTES).expect("its bounds are positive"),
            segment_ms: SEGMENT_MS.number(configs),
        }
    }
}

impl Key {
    fn find(name: &str) -> Result<&'static Key, ConfigError> {
        if let Some((key, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(ConfigError::Refused { key, why });
        }
        let found = KEYS.into_iter().find(|key| key.name == name);
        found.ok_or_else(|| ConfigError::UnknownKey { key: beginning(name) })
    }

    fn check(&self, value: &str) -> Result<(), ConfigError> {
        let short = value.len() <= VALUE_BYTES_MAX;
        match self.kind {
            Kind::Number { smallest, largest, .. } => {
                let legal =
                    short && value.parse().is_ok_and(|number: i64| (smallest..=largest).contains(&number));
                let error = || ConfigError::NotInBounds {
                    key: self.name,
                    value: beginning(value),
                    smallest,
                    largest,
                };
                if legal { Ok(()) } else { Err(error()) }
            }
            Kind::Choice { choices } => {
                let legal = choices.contains(&value);
                let error = || ConfigError::NotAChoice { key: self.name, value: beginning(value), choices };
                if legal { Ok(()) } else { Err(error()) }
            }
        }
    }

    fn default_value(&self) -> String {
        match self.kind {
            Kind::Number { default, .. } => default.to_string(),
            Kind::Choice { choices } => choices[0].to_owned(),
        }
    }

    /// The value in force; a number's.
    fn number(&self, configs: &BTreeMap<String, String>) -> i64 {
        let Kind::Number { default, .. } = self.kind else { panic!("{} is not a number", self.name) };
        let own = configs.get(self.name).filter(|value| self.check(value).is_ok());
        own.and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// The value in force; a choice's.
    fn choice(&self, configs: &BTreeMap<String, String>) -> &'static str {
        let Kind::Choice { choices } = self.kind else { panic!("{} is not a choice", self.name) };
        let own = configs.get(self.name);
        choices.iter().find(|choice| own.is_some_and(|own| own == **choice)).unwrap_or(&choices[0])
    }
}

fn names() -> String {
    KEYS.map(|key| key.name).join(", ")
}

/// As much of a client's text as an error repeats.
fn beginning(text: &str) -> String {
    text.chars().take(VALUE_BYTES_MAX).collect()
}
