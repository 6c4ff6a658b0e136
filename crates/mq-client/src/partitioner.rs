//! Which partition a record goes to: by its key as Kafka's clients do, and for records without a key one partition
//! per batch, in turn.

use mq_types::partitioner::partition_for_key;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Chooses partitions for one topic. Records without a key stick to one partition until their batch is full, which
/// makes few large batches instead of many small ones (KIP-480).
#[derive(Debug)]
pub struct Partitioner {
    partition_count: i32,
    sticky: i32,
}

impl Partitioner {
    /// For a topic with `partition_count` partitions; where the first batch goes is drawn at random, so that many
    /// short-lived producers do not all write to partition 0.
    pub fn new(partition_count: i32) -> Partitioner {
        let drawn = RandomState::new().build_hasher().finish() & 0x7fff_ffff;
        let sticky = i32::try_from(drawn).expect("31 bits fit") % partition_count.max(1);
        Partitioner::starting_at(partition_count, sticky)
    }

    /// The same, with the first batch of records without a key going to partition `first`.
    pub fn starting_at(partition_count: i32, first: i32) -> Partitioner {
        assert!(partition_count > 0, "a topic has at least one partition, not {partition_count}");
        assert!((0..partition_count).contains(&first), "partition {first} of {partition_count}");
        Partitioner { partition_count, sticky: first }
    }

    /// Where a record with this key goes.
    pub fn partition(&self, key: Option<&[u8]>) -> i32 {
        let of_key = |key| partition_for_key(key, self.partition_count.unsigned_abs()).0.cast_signed();
        key.map_or(self.sticky, of_key)
    }

    /// A batch for `partition` is full or on its way: if records without a key went there, they go on to the next.
    pub fn batch_closed(&mut self, partition: i32) {
        if partition == self.sticky {
            self.sticky = (self.sticky + 1) % self.partition_count;
        }
    }
}
