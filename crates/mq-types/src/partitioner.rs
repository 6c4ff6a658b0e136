//! Which partition a key belongs to: Kafka's default partitioner, so that clients of either kind agree.
//!
//! Records without a key are spread by the client as it likes; nothing here decides that.

use crate::PartitionId;

/// Kafka's murmur2 (`Utils.murmur2`): 32 bits, its own seed, little endian whatever the machine.
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Kafka's length is an int; a key longer than 2 GiB does not fit into a batch.
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        let mut word = [0; 4];
        word[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u32::from_le_bytes(word)).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    hash.cast_signed()
}

/// The partition of `key` in a topic of `partitions` partitions, at least 1.
pub fn partition_for_key(key: &[u8], partitions: u32) -> PartitionId {
    assert!(partitions > 0, "a topic has at least one partition");
    // Kafka's toPositive: the sign bit is cleared, which is not the absolute value.
    let positive = murmur2(key).cast_unsigned() & 0x7fff_ffff;
    PartitionId(positive % partitions)
}
