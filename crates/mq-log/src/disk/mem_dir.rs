//! What one directory of the in-memory disk holds: its names, and which of them are durable.
//!
//! It knows nothing of operations or faults; [`super::MemDisk`] does.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeMap;

/// One directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pub(super) entries: BTreeMap<String, u64>,
    /// What each name changed since the last sync stood for, the durable meaning first.
    unsynced: BTreeMap<String, Vec<Option<u64>>>,
}

impl Directory {
    /// From now on the name stands for this, or for nothing.
    pub(super) fn set(&mut self, name: &str, node: Option<u64>) {
        let before = self.entries.get(name).copied();
        self.unsynced.entry(name.to_owned()).or_insert_with(|| vec![before]).push(node);
        match node {
            Some(node) => self.entries.insert(name.to_owned(), node),
            None => self.entries.remove(name),
        };
    }

    /// Makes what is there now durable.
    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
    }

    /// The machine crashes: each name stands for anything that it has stood for since the last sync.
    pub(super) fn crash(&mut self, random: &mut ChaCha8Rng) {
        for (name, versions) in std::mem::take(&mut self.unsynced) {
            match versions[random.next_u32() as usize % versions.len()] {
                Some(node) => self.entries.insert(name, node),
                None => self.entries.remove(&name),
            };
        }
    }
}
