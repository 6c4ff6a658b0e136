//! Every key there is: its name, what it means, and which field it fills.
//!
//! The file, the environment, the suggestions, `--print-config` and the example file all come from this table.

use super::ENVIRONMENT_PREFIX;
use super::key::Field;
use std::time::Duration;

/// A key of the configuration.
pub(super) struct Key {
    /// `section.key`; the keys of a section stand together in [`KEYS`].
    pub(super) name: &'static str,
    /// What it means, for people; lines below 110 columns.
    pub(super) meaning: &'static str,
    /// Where its value goes.
    pub(super) field: Field,
}

impl Key {
    /// The section, such as `grpc`, and the name within it.
    pub(super) fn split(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').expect("every key of the table has a section")
    }

    /// The environment variable that sets it.
    pub(super) fn environment(&self) -> String {
        let (section, key) = self.split();
        format!("{ENVIRONMENT_PREFIX}{}__{}", section.to_uppercase(), key.to_uppercase())
    }
}

/// Whether there are keys in a section of this name.
pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.split().0 == name)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// All keys, section by section.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "broker.id",
        meaning: "The broker's number in its cluster. A data directory belongs to the id that first used it.",
        field: Field::Number(|config| &mut config.broker_id, 1..=i32::MAX as u32),
    },
    Key {
        name: "broker.data_dir",
        meaning: "Where everything durable lies. A relative path begins in the directory in which mqd was started.\n\
                  One mqd at a time uses it.",
        field: Field::Path(|config| &mut config.data_dir),
    },
    Key {
        name: "broker.rack",
        meaning: "Which brokers fail together (a rack, a zone). Empty: unknown.",
        field: Field::Text(|config| &mut config.rack),
    },
    Key {
        name: "broker.shards",
        meaning: "Engines that share the partitions, each with a disk thread of its own.\n\
                  0: as many as there are processors, at most 4.",
        field: Field::Number(|config| &mut config.shards, 0..=64),
    },
    Key {
        name: "broker.stop_timeout",
        meaning: "How long a stop may take: what is in flight is answered, then the logs are closed.",
        field: Field::Span(|config| &mut config.stop_timeout, seconds(1)..=seconds(600)),
    },
    Key {
        name: "grpc.listen",
        meaning: "The address of the API. Port 0: one that is free, told on the ready line.",
        field: Field::Address(|config| &mut config.grpc_listen),
    },
    Key {
        name: "grpc.advertise",
        meaning: "host:port under which clients reach this broker, told to them in metadata.\n\
                  Empty: the address that is listened on.",
        field: Field::Endpoint(|config| &mut config.grpc_advertise),
    },
    Key {
        name: "peer.listen",
        meaning: "The address for other brokers. Checked and reserved: this version runs one broker, and nothing\n\
                  listens here yet.",
        field: Field::Address(|config| &mut config.peer_listen),
    },
    Key {
        name: "admin.listen",
        meaning: "The address of the admin HTTP port: /metrics, /livez, /readyz, /log-level.",
        field: Field::Address(|config| &mut config.admin_listen),
    },
    Key {
        name: "limits.request_bytes_max",
        meaning: "The largest request. A topic's max.message.bytes cannot be larger than what fits into one.",
        field: Field::Size(|config| &mut config.request_bytes_max, 64 * KIB..=GIB),
    },
    Key {
        name: "limits.answer_bytes_max",
        meaning: "The largest answer to a fetch, unless one record or batch is larger. Many gRPC clients refuse\n\
                  answers over 4 MiB.",
        field: Field::Size(|config| &mut config.answer_bytes_max, 64 * KIB..=GIB),
    },
    Key {
        name: "limits.produce_timeout_max",
        meaning: "The longest that a produce waits for its answer.",
        field: Field::Span(|config| &mut config.produce_timeout_max, seconds(1)..=seconds(600)),
    },
    Key {
        name: "limits.produce_stream_window_bytes",
        meaning: "Bytes in flight on one produce stream; a client that has sent as much waits for answers.",
        field: Field::Size(|config| &mut config.produce_stream_window_bytes, 64 * KIB..=GIB),
    },
    Key {
        name: "limits.produce_inflight_bytes_max",
        meaning: "Bytes of all batches that were taken and not yet answered; beyond it produces are refused or wait.",
        field: Field::Size(|config| &mut config.produce_inflight_bytes_max, MIB..=64 * GIB),
    },
    Key {
        name: "limits.partition_inflight_bytes_max",
        meaning: "Bytes of one partition that may wait for the disk before further produces are refused.",
        field: Field::Size(|config| &mut config.partition_inflight_bytes_max, MIB..=4 * GIB),
    },
    Key {
        name: "limits.decompressed_bytes_max",
        meaning: "Bytes that the records of one batch may have when decompressed.",
        field: Field::Size(|config| &mut config.decompressed_bytes_max, MIB..=4 * GIB),
    },
    Key {
        name: "limits.disk_reserve_bytes",
        meaning: "Records are refused with DISK_FULL when less of the file system is free; at most a twentieth of it.",
        field: Field::Size(|config| &mut config.disk_reserve_bytes, 0..=1024 * GIB),
    },
    Key {
        name: "limits.disk_ballast_bytes",
        meaning: "Size of the file \"ballast\" in the data directory. Its space is given up when something else has\n\
                  filled the disk, so that trims, deletions and a restart go on; at most a twentieth of the file system.",
        field: Field::Size(|config| &mut config.disk_ballast_bytes, 0..=1024 * GIB),
    },
    Key {
        name: "limits.fetch_wait_max",
        meaning: "The longest that a fetch waits for records.",
        field: Field::Span(|config| &mut config.fetch_wait_max, seconds(1)..=seconds(3600)),
    },
    Key {
        name: "limits.answers_unread_max",
        meaning: "How long answers wait for a client that does not receive; then its stream is closed.",
        field: Field::Span(|config| &mut config.answers_unread_max, seconds(1)..=seconds(3600)),
    },
    Key {
        name: "limits.request_partitions_max",
        meaning: "Partitions that one request may name.",
        field: Field::Number(|config| &mut config.request_partitions_max_count, 1..=1_000_000),
    },
    Key {
        name: "limits.connection_streams_max",
        meaning: "Calls open at once on one connection; further ones wait at the client, without an error.",
        field: Field::Number(|config| &mut config.connection_streams_max_count, 1..=100_000),
    },
    Key {
        name: "limits.connections_max",
        meaning: "Connections open at once; further ones are closed as soon as they are accepted.",
        field: Field::Number(|config| &mut config.connections_max_count, 1..=100_000),
    },
    Key {
        name: "limits.calls_max",
        meaning: "Calls open at once on all connections; further ones are refused with OVERLOADED. The first four of\n\
                  each connection do not count.",
        field: Field::Number(|config| &mut config.calls_max_count, 1..=1_000_000),
    },
    Key {
        name: "limits.handshake_timeout",
        meaning: "How long a new connection may take to say what it speaks.",
        field: Field::Span(|config| &mut config.handshake_timeout, seconds(1)..=seconds(600)),
    },
    Key {
        name: "limits.windows_bytes_max",
        meaning: "What all connections together may send ahead of being read, beyond 64 KiB each. A new connection is\n\
                  granted an eighth of what is left, at most 32 MiB; a small grant makes a long way slow.",
        field: Field::Size(|config| &mut config.windows_bytes_max, MIB..=64 * GIB),
    },
    Key {
        name: "limits.positions_max",
        meaning: "Partitions that all open reads together follow; further ones are refused with OVERLOADED. The first\n\
                  sixteen of each connection do not count.",
        field: Field::Number(|config| &mut config.positions_max_count, 1..=10_000_000),
    },
    Key {
        name: "limits.answers_bytes_max",
        meaning: "Bytes of answers that were read from the log and not yet received; a connection may have an eighth.\n\
                  Beyond it readers wait, and connections that receive nothing are closed.",
        field: Field::Size(|config| &mut config.answers_bytes_max, MIB..=64 * GIB),
    },
    Key {
        name: "limits.topic_partitions_max",
        meaning: "Partitions that one topic may have.",
        field: Field::Number(|config| &mut config.topic_partitions_max_count, 1..=100_000),
    },
    Key {
        name: "limits.cluster_partitions_max",
        meaning: "Partitions that all topics together may have, those that were deleted and can be restored included.",
        field: Field::Number(|config| &mut config.cluster_partitions_max_count, 1..=1_000_000),
    },
    Key {
        name: "topic_defaults.partitions",
        meaning: "Partitions of a topic whose creator does not say (Kafka's num.partitions).",
        field: Field::Number(|config| &mut config.partitions_default_count, 1..=1_000),
    },
    Key {
        name: "topic_defaults.replication_factor",
        meaning: "Replicas of a topic whose creator does not say (Kafka's default.replication.factor).",
        field: Field::Number(|config| &mut config.replication_factor_default, 1..=7),
    },
    Key {
        name: "retention.interval",
        meaning: "How often it is looked for records that may go. How long they stay is a matter of each topic:\n\
                  retention.ms and retention.bytes.",
        field: Field::Span(|config| &mut config.retention_interval, seconds(1)..=seconds(24 * 3600)),
    },
    Key {
        name: "retention.trash_grace",
        meaning: "How long a deleted topic can be restored. After that its data is removed.",
        field: Field::Span(|config| &mut config.trash_grace, seconds(0)..=seconds(365 * 24 * 3600)),
    },
    Key {
        name: "log.segment_bytes",
        meaning: "The size at which a segment file is full, unless the topic says otherwise (segment.bytes).",
        field: Field::Size(|config| &mut config.segment_bytes, MIB..=4 * GIB),
    },
    Key {
        name: "log.cached_bytes",
        meaning: "How much of what was written last is left in the page cache for readers, over all partitions; what is\n\
                  older is read from the disk. 0: as much as the kernel likes.",
        field: Field::Size(|config| &mut config.cached_bytes, 0..=1024 * GIB),
    },
    Key {
        name: "log.preallocate_bytes",
        meaning: "The most disk space that a growing segment reserves in one step; a small log reserves less.",
        field: Field::Size(|config| &mut config.preallocate_bytes, 4 * KIB..=GIB),
    },
    Key {
        name: "scrub.bytes_per_second",
        meaning: "How fast all logs are read through in the background, to find what has rotted on the disk before\n\
                  somebody needs it. 0: never. What is found: mqctl cluster health.",
        field: Field::Size(|config| &mut config.scrub_bytes_per_second, 0..=4 * GIB),
    },
    Key {
        name: "scrub.interval",
        meaning: "How often that begins anew, at most. The first time is soon after a start.",
        field: Field::Span(|config| &mut config.scrub_interval, seconds(1)..=seconds(365 * 24 * 3600)),
    },
    Key {
        name: "telemetry.level",
        meaning: "What is logged: error, warn, info, debug or trace; also by module, as in \"info,mq_raft=debug\".\n\
                  Can be changed while mqd runs: curl -X PUT -d debug http://127.0.0.1:9652/log-level",
        field: Field::Level(|config| &mut config.log_level),
    },
    Key {
        name: "telemetry.format",
        meaning: "How it is logged, on stderr: \"text\" for people, \"json\" for machines.",
        field: Field::Format(|config| &mut config.log_format),
    },
    Key {
        name: "security.allow_insecure_listeners",
        meaning: "This version has neither TLS nor authentication: whoever reaches a listener can read, write and\n\
                  delete everything. So mqd listens on loopback addresses only, unless this is true. Set it where\n\
                  the network itself keeps strangers out, as inside a container.",
        field: Field::Switch(|config| &mut config.allow_insecure_listeners),
    },
];
