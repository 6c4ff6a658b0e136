//! What one directory of the in-memory disk holds: its names, and which of them are durable.
//!
//! It knows nothing of faults; [`super::MemDisk`] does.

use super::mem_crash::Part;
use std::collections::BTreeMap;

/// One directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    pub(super) entries: BTreeMap<String, u64>,
    unsynced: BTreeMap<String, Name>,
}

/// A name that was changed since the last sync.
#[derive(Clone, Debug)]
struct Name {
    /// What it stands for on the disk.
    durable: Option<u64>,
    /// What it stood for since, each with the operation that made it so.
    changes: Vec<(u64, Option<u64>)>,
}

impl Directory {
    /// From now on the name stands for this, or for nothing.
    pub(super) fn set(&mut self, name: &str, node: Option<u64>, operation: u64) {
        let durable = self.entries.get(name).copied();
        let unsynced = self.unsynced.entry(name.to_owned());
        unsynced.or_insert_with(|| Name { durable, changes: Vec::new() }).changes.push((operation, node));
        match node {
            Some(node) => self.entries.insert(name.to_owned(), node),
            None => self.entries.remove(name),
        };
    }

    /// Makes what is there now durable.
    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
    }

    /// Tells every change that is not durable: operation, part, version.
    pub(super) fn unsynced(&self, tell: &mut dyn FnMut(u64, Part, usize)) {
        for (name, Name { durable, changes }) in &self.unsynced {
            let mut before = durable;
            for (at, (operation, node)) in changes.iter().enumerate() {
                if node != before {
                    tell(*operation, Part::Name(name.clone()), at + 1);
                }
                before = node;
            }
        }
    }

    /// The machine crashes: each name stands for anything that it has stood for since the last sync.
    pub(super) fn crash(&mut self, choose: &mut dyn FnMut(Part, usize) -> usize) {
        for (name, Name { durable, changes }) in std::mem::take(&mut self.unsynced) {
            let kept = choose(Part::Name(name.clone()), changes.len());
            match kept.checked_sub(1).map_or(durable, |last| changes[last].1) {
                Some(node) => self.entries.insert(name, node),
                None => self.entries.remove(&name),
            };
        }
    }
}
