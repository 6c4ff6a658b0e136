//! What is found wrong, in words for a person.

use crate::history::{Identity, Producer};
use mq_types::QuorumId;
use std::fmt;

/// The checks. Numbers are for ever: tables of planted bugs name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The history contradicts itself, so that nothing can be said: the recorder is wrong, not the cluster.
    History,
    /// An offset has one identity over all acknowledgements, all reads and all disks.
    C1,
    /// A record is stored at most once if the cluster was asked to see to it, else at most once per attempt.
    C2,
    /// Every acknowledged record is at its offset in the final log, or below a legal log start.
    C3,
    /// Nothing is read that was never sent, or that was certainly refused.
    C4,
    /// A batch stays whole; sequence order is offset order as far as it was asked for.
    C5,
    /// A fetch from p returns p, p+1, …; a reader neither skips nor steps back unless it seeks.
    C6,
    /// What is acknowledged before another record is sent has the lower offset; LATEST lies above it, and so does all
    /// that a leader of its term or a later one shows to who asks from then on.
    C7,
    /// The high watermark never goes back and never exceeds what a majority has durably.
    C8,
    /// Everything ever read is in the final log, or below a legal log start.
    C9,
    /// The log start only grows, by policy or request; below it nothing is read.
    C10,
    /// After the faults ended everything works again, in time.
    C13,
    /// All replicas hold the same.
    C14,
    /// Raft's own promises: leaders, logs, terms, votes, members.
    C15,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub check: Check,
    /// The event that showed it: its place in the history, from 0; the number of events if only the end showed it.
    pub event: u32,
    /// When that was.
    pub at_us: u64,
    /// The partition, or other quorum, that it is about.
    pub quorum: Option<QuorumId>,
    /// What happened, naming the other events involved.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { check, event, at_us, quorum, text } = self;
        write!(f, "{check} at event {event} ({}.{:06} s)", at_us / 1_000_000, at_us % 1_000_000)?;
        if let Some(quorum) = quorum {
            write!(f, ", quorum {quorum}")?;
        }
        write!(f, ": {text}")
    }
}

/// Where the checks put what they find.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The event that is being looked at.
    pub(crate) event: u32,
    pub(crate) at_us: u64,
    /// The quorum that is being looked at.
    pub(crate) quorum: Option<QuorumId>,
    pub(crate) kept: Vec<Violation>,
    /// All that were found, kept or not.
    pub(crate) count: u64,
}

/// One broken promise is often broken again by each event that follows: so many are worth keeping.
const VIOLATIONS_KEPT_MAX: usize = 100;

impl Findings {
    pub(crate) fn add(&mut self, check: Check, text: String) {
        self.count += 1;
        if self.kept.len() < VIOLATIONS_KEPT_MAX {
            self.kept.push(Violation {
                check,
                event: self.event,
                at_us: self.at_us,
                quorum: self.quorum,
                text,
            });
        }
    }
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Producer { run, id, epoch } = self;
        write!(f, "producer {run}/{id}.{epoch}")
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { producer, sequence, length_bytes, hash } = self;
        write!(f, "record {sequence} of {producer} ({length_bytes} bytes, hash {hash:08x})")
    }
}
