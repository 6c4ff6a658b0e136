//! The log: one shard with one replica, which gets a write a round as a broker's writer thread gives it.

use crate::unsynced::UnsyncedDisk;
use crate::{Pattern, Spent};
use anyhow::{Context, Result};
use mq_log::{Disk, Options, OsDisk, ShardStore};
use mq_types::persist::{Create, Membership, ReplicaWrite, Start};
use mq_types::{Batch, Body, BrokerId, Entry, Index, Offset, QuorumId, ReplicaId, Term};
use std::path::Path;

const QUORUM: QuorumId = QuorumId(1024);
const TERM: Term = Term(2);

/// One round into a data directory of its own.
pub(crate) fn round(pattern: &Pattern, batch: &Batch, root: &Path) -> Result<Spent> {
    std::fs::create_dir(root).with_context(|| format!("cannot make {}", root.display()))?;
    let disk = OsDisk::new(root);
    let spent = if pattern.synced {
        append(pattern, batch, disk)?
    } else {
        append(pattern, batch, UnsyncedDisk(disk))?
    };
    std::fs::remove_dir_all(root).context("cannot remove what was written")?;
    Ok(spent)
}

fn append<D: Disk>(pattern: &Pattern, batch: &Batch, disk: D) -> Result<Spent> {
    let mut store = new_store(disk)?;
    let mut next = Next { index: Start::BOOTSTRAP.prev_index.next(), offset: Offset(0) };
    let payload_bytes = (batch.len_bytes() * pattern.batches) as u64;
    let mut spent = Spent::default();
    for _ in 0..pattern.writes {
        let entries = (0..pattern.batches).map(|_| next.entry(batch)).collect();
        let commit = Index(next.index.0 - 1 - pattern.batches as u64);
        let write = ReplicaWrite { entries, commit, ..ReplicaWrite::new(QUORUM, replica()) };
        spent
            .measure(payload_bytes, || store.persist_round(vec![write]))
            .context("cannot persist a round")?;
    }
    Ok(spent)
}

/// A store with one empty replica.
fn new_store<D: Disk>(disk: D) -> Result<ShardStore<D>> {
    let mut shards = mq_log::open(disk, Options::new(1, rand::random())).context("cannot open the log")?;
    let mut store = shards.pop().context("there is one shard")?.store;
    let membership = Membership { conf_index: Index(1), voters: vec![replica()], ..Membership::default() };
    let create = Create { start: Start::BOOTSTRAP, membership, opened: true, snapshot: None };
    let write = ReplicaWrite { create: Some(create), ..ReplicaWrite::new(QUORUM, replica()) };
    store.persist_round(vec![write]).context("cannot make the replica")?;
    Ok(store)
}

fn replica() -> ReplicaId {
    ReplicaId::new(BrokerId(1), 1)
}

/// Where the next entry stands.
struct Next {
    index: Index,
    offset: Offset,
}

impl Next {
    /// Stamps as the leader does; the records are shared.
    fn entry(&mut self, batch: &Batch) -> Entry {
        let mut batch = batch.clone();
        batch.stamp(self.offset, TERM);
        let (index, base_offset) = (self.index, self.offset);
        self.index = index.next();
        self.offset = base_offset.plus(batch.span());
        Entry { index, term: TERM, base_offset, appended_at_ms: 0, body: Body::Data(batch) }
    }
}
