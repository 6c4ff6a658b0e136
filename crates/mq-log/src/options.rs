//! What a store may be told when it is opened. It reads no configuration itself.

/// Settings of a store. All sizes are bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The number of shards; a quorum lives in shard (quorum id modulo this). May change between two opens.
    pub shards: u16,
    /// The size at which a segment is full, unless a replica is given another one. One entry may exceed it.
    pub segment_size_bytes_max: u64,
    /// The most that is reserved for a segment in one step. A small log reserves less: about as much as it holds.
    pub preallocate_step_bytes: u64,
    /// The distance between two points of the sparse index.
    pub index_interval_bytes: u64,
    /// The size at which a shard's state files are written anew with nothing but what still counts.
    pub state_log_size_bytes_max: u64,
    /// How much of what was written last stays in the page cache, in each shard; 0: the kernel decides alone.
    pub cached_tail_bytes_max: u64,
    /// The source of the segments' salts. Drawn anew at every start by whoever has randomness: whoever can guess a
    /// salt can forge a frame inside a record.
    pub salt_seed: [u8; 32],
}

impl Options {
    /// The defaults, for this many shards.
    pub fn new(shards: u16, salt_seed: [u8; 32]) -> Options {
        assert!(shards > 0, "a store has at least one shard");
        Options {
            shards,
            segment_size_bytes_max: 1 << 30,
            preallocate_step_bytes: 16 << 20,
            index_interval_bytes: 16 << 10,
            state_log_size_bytes_max: 64 << 20,
            cached_tail_bytes_max: 64 << 20,
            salt_seed,
        }
    }
}
