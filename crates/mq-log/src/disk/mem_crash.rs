//! What a crash of the in-memory disk leaves: chosen by a seed, or exactly as it is told.
//!
//! The fault model stands in the documentation of [`super::MemDisk`].

use super::MemDisk;
use super::mem::{Node, ROOT, Shared};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

/// What crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process alone.
    Process,
    /// The machine; the seed chooses what survives of the unsynced.
    Machine {
        /// The seed.
        seed: u64,
    },
}

/// A part of a file or of a directory that becomes durable by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The 512-byte block of a file with this number.
    Block(usize),
    /// The length of a file.
    Length,
    /// This name in a directory.
    Name(String),
}

/// One change that is not durable yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsynced {
    /// The number of the operation that made it.
    pub operation: u64,
    /// The file or directory, by a number that it keeps while it exists.
    pub node: u64,
    /// What of it was changed.
    pub part: Part,
    /// How many changes of this part since its last sync there are up to this one.
    pub version: usize,
}

impl MemDisk {
    /// Crashes; returns the disk as the next process finds it. All planned faults are forgotten.
    pub fn crash(&self, crash: Crash) -> MemDisk {
        let mut shared = self.lock();
        if let Crash::Machine { seed } = crash {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            shared.lose(&mut |_, _, changes| random.next_u32() as usize % (changes + 1));
        }
        self.next_life(&mut shared)
    }

    /// The machine crashes, and of what is not durable exactly this survives: of a part that was changed several
    /// times, the newest version named, with those before it.
    pub fn crash_keeping<'a>(&self, kept: impl IntoIterator<Item = &'a Unsynced>) -> MemDisk {
        let mut versions = BTreeMap::new();
        for change in kept {
            let version = versions.entry((change.node, change.part.clone())).or_insert(change.version);
            *version = change.version.max(*version);
        }
        let mut shared = self.lock();
        shared.lose(&mut |node, part, _| versions.get(&(node, part)).copied().unwrap_or(0));
        self.next_life(&mut shared)
    }

    /// Every change that a crash of the machine could lose, oldest first.
    pub fn unsynced(&self) -> Vec<Unsynced> {
        let mut unsynced = Vec::new();
        for (&node, changed) in &self.lock().nodes {
            let mut add = |operation, part, version| {
                unsynced.push(Unsynced { operation, node, part, version });
            };
            match changed {
                Node::File(content) => content.unsynced(&mut add),
                Node::Dir(directory) => directory.unsynced(&mut add),
            }
        }
        unsynced.sort();
        unsynced
    }

    fn next_life(&self, shared: &mut Shared) -> MemDisk {
        shared.life += 1;
        shared.stopped = false;
        shared.faults.clear();
        shared.read_faults.clear();
        MemDisk { shared: self.shared.clone(), life: shared.life }
    }
}

impl Shared {
    /// Loses what is not durable, but for what `choose` keeps: given a node, a part of it and how often that was
    /// changed, it answers how many of these changes survive.
    fn lose(&mut self, choose: &mut dyn FnMut(u64, Part, usize) -> usize) {
        for (&node, changed) in &mut self.nodes {
            let mut choose = |part, changes| choose(node, part, changes);
            match changed {
                Node::File(content) => content.crash(&mut choose),
                Node::Dir(directory) => directory.crash(&mut choose),
            }
        }
        self.remove_unreachable();
    }

    /// Forgets what no name leads to; a directory that two names lead to keeps the first.
    fn remove_unreachable(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        while let Some(node) = open.pop() {
            let Some(Node::Dir(directory)) = self.nodes.get_mut(&node) else { continue };
            directory.entries.retain(|_, child| reached.insert(*child));
            open.extend(directory.entries.values());
        }
        self.nodes.retain(|node, _| reached.contains(node));
    }
}
