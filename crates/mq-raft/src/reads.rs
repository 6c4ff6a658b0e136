//! Reads from the log for peers that are further behind than memory reaches.
//!
//! The Raft library asks for entries while it builds a message. What is not in memory is asked of the owner instead;
//! when it comes, the library is told to try again and finds it here. No entry stays longer than that try.

use crate::convert;
use mq_types::{Entry, Index};
use raft::{GetEntriesContext, eraftpb};

/// Reads in flight for one member, in reads. A peer that finds no room is served after its next heartbeat.
const READS_IN_FLIGHT_MAX: usize = 8;
/// Attempts that wait for one read, in attempts. The library repeats itself with every answer of the same peer.
const WAITERS_PER_READ_MAX: usize = 16;

/// Names one read of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadId(pub u64);

/// Entries to read from the log. They are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// To be given back with the answer.
    pub id: ReadId,
    /// The first index.
    pub first_index: Index,
    /// The index after the last one wanted. Fewer entries are a good answer, none is not.
    pub end_index: Index,
    /// Where to stop, in bytes of payload; the first entry counts as none.
    pub bytes_max: u64,
}

/// The entries could not be read: the log was trimmed or cut meanwhile, or the disk failed. The peer's next answer
/// makes the member ask again, if it is still of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the entries for a peer could not be read from the log; they are asked for again when the peer answers"
)]
pub struct ReadFailed;

/// The reads of one member.
#[derive(Default)]
pub(crate) struct Reads {
    issued: u64,
    wanted: Vec<ReadRequest>,
    in_flight: Vec<Read>,
    fetched: Vec<eraftpb::Entry>,
}

struct Read {
    request: ReadRequest,
    /// The log's generation when it was asked.
    generation: u64,
    waiters: Vec<GetEntriesContext>,
}

impl Reads {
    /// Asks for `first_index..end_index` on behalf of `waiter`, unless the same is on its way.
    pub(crate) fn want(
        &mut self,
        first_index: Index,
        end_index: Index,
        bytes_max: u64,
        generation: u64,
        waiter: GetEntriesContext,
    ) {
        assert!(first_index < end_index, "a read of entries {first_index} to {end_index} is empty");
        let same =
            |read: &&mut Read| read.request.first_index == first_index && read.generation == generation;
        if let Some(read) = self.in_flight.iter_mut().find(same) {
            if read.waiters.len() < WAITERS_PER_READ_MAX {
                read.waiters.push(waiter);
            }
        } else if self.in_flight.len() < READS_IN_FLIGHT_MAX {
            self.issued += 1;
            let request = ReadRequest { id: ReadId(self.issued), first_index, end_index, bytes_max };
            self.wanted.push(request);
            self.in_flight.push(Read { request, generation, waiters: vec![waiter] });
        }
    }

    /// Takes the reads that the owner has not been told of yet.
    pub(crate) fn take_wanted(&mut self) -> Vec<ReadRequest> {
        std::mem::take(&mut self.wanted)
    }

    /// Whether there are any.
    pub(crate) fn has_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Takes an answer. Returns who waits for it: nobody if it came too late to be true, or failed.
    pub(crate) fn arrived(
        &mut self,
        id: ReadId,
        result: Result<Vec<Entry>, ReadFailed>,
        generation: u64,
    ) -> Vec<GetEntriesContext> {
        let Some(at) = self.in_flight.iter().position(|read| read.request.id == id) else {
            panic!("read {} was answered but is not in flight", id.0);
        };
        let read = self.in_flight.swap_remove(at);
        let Ok(entries) = result else { return Vec::new() };
        if read.generation != generation {
            return Vec::new();
        }
        assert!(!entries.is_empty(), "read {} was answered with no entries", id.0);
        for (entry, index) in entries.iter().zip(read.request.first_index.0..) {
            assert_eq!(entry.index.0, index, "read {} was answered with another entry", id.0);
        }
        self.fetched = entries.iter().map(convert::entry_to_raft).collect();
        read.waiters
    }

    /// The fetched entries from `low` on, below `high`; empty if there are none.
    pub(crate) fn fetched(&self, low: u64, high: u64) -> &[eraftpb::Entry] {
        let Some(first) = self.fetched.first() else { return &[] };
        let (start, end) = (first.index, first.index + self.fetched.len() as u64);
        if low < start || low >= end {
            return &[];
        }
        &self.fetched[(low - start) as usize..(high.min(end) - start) as usize]
    }

    /// Lets go of what was fetched.
    pub(crate) fn forget_fetched(&mut self) {
        self.fetched = Vec::new();
    }
}
