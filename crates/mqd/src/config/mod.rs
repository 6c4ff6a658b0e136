//! The configuration: one TOML file, `MQ__SECTION__KEY` from the environment, a few flags, and a default for every
//! key. A flag wins over the environment, that over the file, that over the default.
//!
//! The only reader of files, environment and flags. What it hands out has been checked; nothing is started here.

mod file;
mod key;
mod level;
mod print;
mod problem;
mod suggest;
mod table;

use key::Raw;
pub(crate) use level::Level;
pub(crate) use print::print;
pub(crate) use problem::{Problem, Refused};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::KEYS;

/// What every environment variable of ours begins with. `MQ_BROKERS` and others are mqctl's.
const ENVIRONMENT_PREFIX: &str = "MQ__";
/// A file with more than so many mistakes is something else; it is not looked at to its end.
const PROBLEMS_MAX_COUNT: usize = 100;

/// Everything that can be set. What each key means stands in [`table::KEYS`], where people read it too.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) broker_id: u32,
    pub(crate) data_dir: PathBuf,
    pub(crate) rack: String,
    /// 0: as many as there are processors, at most 4.
    pub(crate) shards: u32,
    pub(crate) stop_timeout: Duration,
    pub(crate) grpc_listen: SocketAddr,
    /// Empty: the address that is listened on.
    pub(crate) grpc_advertise: String,
    pub(crate) peer_listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) request_bytes_max: u64,
    pub(crate) answer_bytes_max: u64,
    pub(crate) produce_timeout_max: Duration,
    pub(crate) produce_stream_window_bytes: u64,
    pub(crate) produce_inflight_bytes_max: u64,
    pub(crate) partition_inflight_bytes_max: u64,
    pub(crate) decompressed_bytes_max: u64,
    pub(crate) disk_reserve_bytes: u64,
    pub(crate) disk_ballast_bytes: u64,
    pub(crate) fetch_wait_max: Duration,
    pub(crate) answers_unread_max: Duration,
    pub(crate) request_partitions_max_count: u32,
    pub(crate) connection_streams_max_count: u32,
    pub(crate) connections_max_count: u32,
    pub(crate) calls_max_count: u32,
    pub(crate) handshake_timeout: Duration,
    pub(crate) windows_bytes_max: u64,
    pub(crate) positions_max_count: u32,
    pub(crate) answers_bytes_max: u64,
    pub(crate) topic_partitions_max_count: u32,
    pub(crate) cluster_partitions_max_count: u32,
    pub(crate) partitions_default_count: u32,
    pub(crate) replication_factor_default: u32,
    pub(crate) retention_interval: Duration,
    pub(crate) trash_grace: Duration,
    pub(crate) segment_bytes: u64,
    pub(crate) cached_bytes: u64,
    pub(crate) preallocate_bytes: u64,
    /// 0: never.
    pub(crate) scrub_bytes_per_second: u64,
    pub(crate) scrub_interval: Duration,
    pub(crate) log_level: Level,
    pub(crate) log_format: Format,
    pub(crate) allow_insecure_listeners: bool,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Config {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Config {
            broker_id: 1,
            data_dir: PathBuf::from("./mq-data"),
            rack: String::new(),
            shards: 0,
            stop_timeout: Duration::from_secs(25),
            grpc_listen: loopback(9650),
            grpc_advertise: String::new(),
            peer_listen: loopback(9651),
            admin_listen: loopback(9652),
            request_bytes_max: 16 << 20,
            answer_bytes_max: 3 << 20,
            produce_timeout_max: Duration::from_secs(30),
            produce_stream_window_bytes: 8 << 20,
            produce_inflight_bytes_max: 256 << 20,
            partition_inflight_bytes_max: 64 << 20,
            decompressed_bytes_max: 64 << 20,
            disk_reserve_bytes: 256 << 20,
            disk_ballast_bytes: 64 << 20,
            fetch_wait_max: Duration::from_secs(60),
            answers_unread_max: Duration::from_secs(30),
            request_partitions_max_count: 10_000,
            connection_streams_max_count: 256,
            connections_max_count: 1_000,
            calls_max_count: 4_096,
            handshake_timeout: Duration::from_secs(10),
            windows_bytes_max: 256 << 20,
            positions_max_count: 50_000,
            answers_bytes_max: 256 << 20,
            topic_partitions_max_count: 1_000,
            cluster_partitions_max_count: 10_000,
            partitions_default_count: 1,
            replication_factor_default: 1,
            retention_interval: Duration::from_secs(30),
            trash_grace: Duration::from_secs(24 * 3600),
            segment_bytes: 1 << 30,
            cached_bytes: 64 << 20,
            preallocate_bytes: 16 << 20,
            scrub_bytes_per_second: 8 << 20,
            scrub_interval: Duration::from_secs(7 * 24 * 3600),
            log_level: Level::info(),
            log_format: Format::Text,
            allow_insecure_listeners: false,
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody said anything.
    Default,
    /// A line of the file, counted from 1.
    File { path: PathBuf, line: usize },
    /// An environment variable, by its name.
    Environment(String),
    /// A flag, by its name.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "{}:{line}", path.display()),
            Source::Environment(name) => f.write_str(name),
            Source::Flag(name) => f.write_str(name),
        }
    }
}

/// A value as somebody wrote it.
#[derive(Clone, Debug)]
struct Given {
    /// The key's full name, such as `grpc.listen`, as it was written.
    key: String,
    raw: Raw,
    source: Source,
}

/// A configuration that was read and checked, with the source of every value.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// By key; those that are missing stand at their default.
    sources: BTreeMap<&'static str, Source>,
    /// Variables that are not read, though they are probably meant to be.
    pub(crate) unread: Vec<Unread>,
}

/// A variable that others may well have use for, so that it is no mistake for sure.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the environment variable {name} is not read; if it is meant for mqd, write {meant}")]
pub(crate) struct Unread {
    /// As it is set.
    name: String,
    /// The variable of ours that differs from it in underscores or case alone.
    meant: String,
}

impl Loaded {
    /// Where the value of a key comes from.
    fn source(&self, key: &str) -> Source {
        assert!(KEYS.iter().any(|known| known.name == key), "{key} is not a key");
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    /// The two keys, first the one that somebody set: that is where a person looks.
    fn told_first<'a>(&self, keys: [&'a str; 2]) -> [&'a str; 2] {
        let [one, other] = keys;
        if self.source(one) == Source::Default { [other, one] } else { keys }
    }
}

/// Reads the file, the environment and the flags, in this order, and checks the result.
///
/// # Errors
/// Everything that is wrong, not only the first.
pub(crate) fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &[(&'static str, &'static str, Option<&str>)],
) -> Result<Loaded, Refused> {
    let mut problems = Vec::new();
    let mut given = file.map_or_else(Vec::new, |path| file::read(path, &mut problems));
    let mut unread = Vec::new();
    given.extend(from_environment(environment, &mut problems, &mut unread));
    for &(flag, key, value) in flags {
        let raw = value.map(|value| Raw::Untyped(value.to_owned()));
        given.extend(raw.map(|raw| Given { key: key.to_owned(), raw, source: Source::Flag(flag) }));
    }
    let mut loaded = Loaded { config: Config::default(), sources: BTreeMap::new(), unread };
    for given in given {
        if problems.len() >= PROBLEMS_MAX_COUNT {
            break;
        }
        if let Err(problem) = loaded.set(given) {
            problems.push(problem);
        }
    }
    if problems.is_empty() {
        loaded.check(&mut problems);
    }
    if problems.is_empty() { Ok(loaded) } else { Err(Refused(problems)) }
}

/// The variables that are ours, as keys. Others, also those that are not text, are none of our business.
fn from_environment(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
    unread: &mut Vec<Unread>,
) -> Vec<Given> {
    let mut ours = Vec::new();
    for (name, value) in environment {
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with(ENVIRONMENT_PREFIX) {
            let meant = KEYS.iter().map(table::Key::environment).find(|ours| alike(&name, ours));
            unread.extend(meant.map(|meant| Unread { name, meant }));
            continue;
        }
        let Some(key) = KEYS.iter().find(|key| key.environment() == name) else {
            let near = suggest::nearest(&name, KEYS.iter().map(table::Key::environment));
            problems.push(Problem::UnknownVariable { name, near });
            continue;
        };
        match value.into_string() {
            Ok(value) => {
                let source = Source::Environment(name);
                ours.push(Given { key: key.name.to_owned(), raw: Raw::Untyped(value), source });
            }
            Err(_) => problems.push(Problem::NotUtf8 { name }),
        }
    }
    ours
}

/// Whether they differ in underscores and case alone, as `MQ_GRPC_LISTEN` and `MQ__GRPC__LISTEN` do.
fn alike(name: &str, ours: &str) -> bool {
    let letters = |text: &str| text.replace('_', "").to_uppercase();
    letters(name) == letters(ours)
}

impl Loaded {
    fn set(&mut self, given: Given) -> Result<(), Problem> {
        let Given { key: name, raw, source } = given;
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            if table::is_section(&name) {
                return Err(Problem::NotASection { at: source, section: name });
            }
            return Err(Problem::UnknownKey { near: suggest::keys(&name), key: name, at: source });
        };
        if !key.field.set(&mut self.config, &raw) {
            let expected = key.field.expects();
            return Err(Problem::BadValue { at: source, key: key.name, value: raw.to_string(), expected });
        }
        self.sources.insert(key.name, source);
        Ok(())
    }

    /// What no key can know alone.
    fn check(&self, problems: &mut Vec<Problem>) {
        let config = &self.config;
        let listeners = [
            ("grpc.listen", config.grpc_listen),
            ("peer.listen", config.peer_listen),
            ("admin.listen", config.admin_listen),
        ];
        for (number, &(key, address)) in listeners.iter().enumerate() {
            let source = self.source(key);
            if !address.ip().is_loopback() && !config.allow_insecure_listeners {
                problems.push(Problem::Insecure { at: source.clone(), key, address });
            }
            for &(other, its) in &listeners[..number] {
                if address == its && address.port() != 0 {
                    let [key, other] = self.told_first([key, other]);
                    problems.push(Problem::SameAddress { at: self.source(key), key, other, address });
                }
            }
        }
        let unreachable = config.grpc_listen.ip().is_unspecified() && config.grpc_advertise.is_empty();
        if unreachable && config.allow_insecure_listeners {
            let (at, address) = (self.source("grpc.listen"), config.grpc_listen);
            problems.push(Problem::NothingToAdvertise { at, address });
        }
        if config.preallocate_bytes > config.segment_bytes {
            let [told, _] = self.told_first(["log.preallocate_bytes", "log.segment_bytes"]);
            problems.push(Problem::PreallocatesTooMuch {
                at: self.source(told),
                preallocate_bytes: config.preallocate_bytes,
                segment_bytes: config.segment_bytes,
            });
        }
    }
}
