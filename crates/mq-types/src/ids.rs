//! Ids and coordinates, each a type of its own so that none can stand where another is meant.
//!
//! Nothing here allocates ids: the controller hands out quorum and replica ids, the shell draws the random ones.

use std::fmt;

/// Declares a `u64`-like newtype with the same handful of conversions.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// Declares a type of 16 random bytes, shown as a UUID.
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Reads 16 bytes as they came from a client or a file.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (i, byte) in self.0.iter().enumerate() {
                    if matches!(i, 4 | 6 | 8 | 10) {
                        f.write_str("-")?;
                    }
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

number! {
    /// One Raft group: 0 the controller, 1 to 1023 consumer groups, from 1024 partitions. Never reused.
    QuorumId(u64)
}
number! {
    /// One broker's member of one quorum, for ever: broker id in the upper 32 bits, an allocation number below.
    /// Never reused, and never 0 (Raft's "nobody").
    ReplicaId(u64)
}
number! {
    /// One server process. 1 or more; 0 means "none" in answers to clients.
    BrokerId(u32)
}
number! {
    /// A partition's number within its topic, from 0.
    PartitionId(u32)
}
number! {
    /// One engine on one thread, from 0. A quorum lives in shard (quorum id modulo number of shards).
    ShardId(u16)
}
number! {
    /// An entry's position in its log, from 1; 0 is "before everything".
    Index(u64)
}
number! {
    /// A leader epoch; 0 is "before every election".
    Term(u64)
}
number! {
    /// A record's number in its partition, from 0.
    Offset(u64)
}
number! {
    /// A byte position in a file.
    Position(u64)
}
number! {
    /// A segment's number within its replica: drawn from a counter, never used twice.
    SegmentNumber(u64)
}
random_id! {
    /// A topic's identity: a topic deleted and created again has another one.
    TopicId
}
random_id! {
    /// A data directory's identity: a wiped directory has another one.
    DirectoryId
}

impl QuorumId {
    /// The quorum that keeps the cluster's metadata.
    pub const CONTROLLER: QuorumId = QuorumId(0);
    /// The first quorum that keeps a partition.
    pub const FIRST_PARTITION: QuorumId = QuorumId(1024);

    /// The shard that holds this quorum when a broker runs `shards` of them.
    pub fn shard(self, shards: u16) -> ShardId {
        assert!(shards > 0, "a broker has at least one shard");
        ShardId((self.0 % u64::from(shards)) as u16)
    }
}

impl ReplicaId {
    /// The id with this allocation number on this broker.
    pub fn new(broker: BrokerId, allocation: u32) -> ReplicaId {
        assert!(broker.0 > 0, "broker ids begin at 1");
        ReplicaId(u64::from(broker.0) << 32 | u64::from(allocation))
    }

    /// The broker that holds this replica.
    pub fn broker(self) -> BrokerId {
        BrokerId((self.0 >> 32) as u32)
    }

    /// Its allocation number on that broker.
    pub fn allocation(self) -> u32 {
        self.0 as u32
    }
}

impl Index {
    /// The index after this one.
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }

    /// The index before this one; there must be one.
    pub fn previous(self) -> Index {
        assert!(self.0 > 0, "index 0 has no predecessor");
        Index(self.0 - 1)
    }
}

impl Offset {
    /// The offset `count` records further on.
    pub fn plus(self, count: u32) -> Offset {
        Offset(self.0 + u64::from(count))
    }

    /// As clients see it.
    pub fn as_i64(self) -> i64 {
        i64::try_from(self.0).expect("offsets are assigned from 0 and cannot pass 2^63")
    }
}
