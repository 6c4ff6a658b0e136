//! A broker's disk: the in-memory disk, how long it takes, and which of its operations fail.

use crate::random::Random;
use crate::rot::Rot;
use crate::swarm::DiskOptions;
use mq_log::MemDisk;
use mq_log::disk::{Crash, Fault};
use mq_types::{QuorumId, ReplicaId};
use std::io;
use std::ops::Range;

/// How much slower a slow disk is.
const SLOW_TIMES: u64 = 100;
/// Records are refused while less than this is free, in bytes, so that the rest goes on.
const RESERVE_BYTES: u64 = 256 << 10;

/// A broker's disk.
#[derive(Debug)]
pub(crate) struct BrokerDisk {
    mem: MemDisk,
    options: DiskOptions,
    random: Random,
    /// So many faults make it slow.
    pub(crate) slow: u32,
    /// So many faults keep it from finishing anything.
    pub(crate) hung: u32,
    /// The first operation at which the process stops, if it comes to that.
    stop_at: Option<u64>,
    /// The first operation that fails, if it comes to that.
    error_at: Option<u64>,
    /// Reads that fail, if it comes to them.
    read_errors: Vec<Range<u64>>,
    /// Reads of the next process that fail, counted from its first.
    read_errors_at_start: Option<Range<u64>>,
    /// The bits that have flipped.
    pub(crate) rot: Rot,
    capacity_bytes: Option<u64>,
}

impl BrokerDisk {
    /// A disk on which nothing fails.
    pub(crate) fn new(mem: MemDisk, options: DiskOptions, random: Random) -> BrokerDisk {
        BrokerDisk {
            mem,
            options,
            random,
            slow: 0,
            hung: 0,
            stop_at: None,
            error_at: None,
            read_errors: Vec::new(),
            read_errors_at_start: None,
            rot: Rot::default(),
            capacity_bytes: None,
        }
    }

    /// The disk itself.
    pub(crate) fn mem(&self) -> &MemDisk {
        &self.mem
    }

    /// How the log is opened on it.
    pub(crate) fn log_options(&mut self, shards: u16) -> mq_log::Options {
        let mut salt_seed = [0; 32];
        salt_seed[..8].copy_from_slice(&self.random.draw().to_le_bytes());
        mq_log::Options {
            segment_size_bytes_max: self.options.segment_bytes,
            preallocate_step_bytes: self.options.preallocate_step_bytes,
            index_interval_bytes: self.options.index_interval_bytes,
            state_log_size_bytes_max: self.options.state_log_bytes,
            ..mq_log::Options::new(shards, salt_seed)
        }
    }

    /// The size of every segment.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.options.segment_bytes
    }

    /// How long a round takes, in microseconds.
    pub(crate) fn round_us(&mut self) -> u64 {
        let round_us = self.random.between(self.options.round_us_min..=self.options.round_us_max);
        let tail = if self.random.one_in(100) { 10 } else { 1 };
        // Not both: a round that outlasts every patience is what a hung disk is for.
        round_us * if self.slow > 0 { SLOW_TIMES } else { tail }
    }

    /// How long a read takes, in microseconds.
    pub(crate) fn read_us(&mut self) -> u64 {
        self.random.between(10..=200) * if self.slow > 0 { SLOW_TIMES } else { 1 }
    }

    /// The process ends at an operation not far ahead.
    pub(crate) fn plan_stop(&mut self, operations_ahead: u64) {
        let at = self.mem.operations() + operations_ahead;
        self.stop_at = Some(self.stop_at.map_or(at, |earlier| earlier.min(at)));
        self.mem.plan_fault(at, Fault::Stop);
    }

    /// A write or a sync not far ahead fails.
    pub(crate) fn plan_error(&mut self, operations_ahead: u64) {
        let at = self.mem.operations() + operations_ahead;
        self.error_at = Some(self.error_at.map_or(at, |earlier| earlier.min(at)));
        self.mem.plan_fault(at, Fault::Io);
    }

    /// So many reads fail, not far ahead.
    pub(crate) fn plan_read_errors(&mut self, reads_ahead: u64, count: u64) {
        let first = self.mem.reads() + reads_ahead;
        self.read_errors.push(first..first + count);
        (first..first + count).for_each(|read| self.mem.plan_read_error(read));
    }

    /// The same for the process that comes next.
    pub(crate) fn plan_read_errors_at_start(&mut self, reads_ahead: u64, count: u64) {
        self.read_errors_at_start = Some(reads_ahead..reads_ahead + count);
    }

    /// A few bits of a replica's log flip. False: there are none that may.
    pub(crate) fn flip_bits(&mut self, of: (QuorumId, ReplicaId), random: &mut Random) -> bool {
        self.rot.spread(&self.mem, of, random) > 0
    }

    /// Whether the process has been stopped at an operation.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stop_at.is_some_and(|at| self.mem.operations() > at)
    }

    /// Whether an operation of this process has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.error_at.is_some_and(|at| self.mem.operations() > at)
    }

    /// Whether the newest read has failed, as was planned.
    pub(crate) fn has_refused_read(&self) -> bool {
        let newest = self.mem.reads().checked_sub(1);
        newest.is_some_and(|newest| self.read_errors.iter().any(|reads| reads.contains(&newest)))
    }

    /// The process ends, or the machine does.
    pub(crate) fn crash(&mut self, is_machine: bool) {
        let crash = if is_machine { Crash::Machine { seed: self.random.draw() } } else { Crash::Process };
        self.mem = self.mem.crash(crash);
        (self.stop_at, self.error_at) = (None, None);
        self.read_errors.clear();
        if let Some(reads) = self.read_errors_at_start.take() {
            self.plan_read_errors(reads.start, reads.end - reads.start);
        }
    }

    /// There is nothing on it, as on a new one.
    pub(crate) fn wipe(&mut self) {
        self.mem = MemDisk::new();
        (self.read_errors, self.rot) = (Vec::new(), Rot::default());
        if let Some(capacity_bytes) = self.capacity_bytes {
            self.mem.set_capacity_bytes(capacity_bytes);
        }
    }

    /// Where within a round a crash comes, in operations.
    pub(crate) fn crash_moment(&mut self) -> u64 {
        self.random.below(12)
    }

    /// Something else fills the disk but for so many bytes.
    pub(crate) fn fill(&mut self, free_bytes: u64) {
        let capacity_bytes = self.mem.space_bytes() + free_bytes;
        self.capacity_bytes = Some(capacity_bytes);
        self.mem.set_capacity_bytes(capacity_bytes);
    }

    /// There is room again.
    pub(crate) fn empty(&mut self) {
        self.capacity_bytes = None;
        self.mem.set_capacity_bytes(u64::MAX);
    }

    /// Whether this error says that the disk is full, and it may be.
    pub(crate) fn is_full(&self, error: &io::Error) -> bool {
        self.capacity_bytes.is_some() && error.kind() == io::ErrorKind::StorageFull
    }

    /// Everything works again, and nothing is planned to fail any more.
    pub(crate) fn mend(&mut self) {
        self.mem.forget_faults();
        (self.slow, self.hung) = (0, 0);
        (self.stop_at, self.error_at) = (None, None);
        (self.read_errors, self.read_errors_at_start) = (Vec::new(), None);
        self.empty();
    }

    /// Whether there is room for more records.
    pub(crate) fn has_room(&self) -> bool {
        self.capacity_bytes.is_none_or(|capacity| capacity >= self.mem.space_bytes() + RESERVE_BYTES)
    }
}
