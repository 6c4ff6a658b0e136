//! Giving the entries of a turn their places.

use mq_raft::Member;
use mq_types::{Body, Entry, Index, Offset, Term};

/// Entries that go on from the end of a leader's log, proposed or not.
pub(crate) struct Stamper {
    term: Term,
    last_index: Index,
    next_offset: Offset,
    appended_at_ms: i64,
    entries: Vec<Entry>,
}

impl Stamper {
    /// Goes on where the leader's log ends. Its time never goes back, whatever the wall clock does.
    pub(crate) fn new(leader: &Member, wall_ms: i64) -> Stamper {
        assert!(leader.is_leader(), "only a leader gives entries their places");
        Stamper {
            term: leader.term(),
            last_index: leader.last_index(),
            next_offset: leader.next_offset(),
            appended_at_ms: wall_ms.max(leader.last_appended_at_ms()),
            entries: Vec::new(),
        }
    }

    /// The offset that the next record will have.
    pub(crate) fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The time that the entries get, in ms since the Unix epoch.
    pub(crate) fn appended_at_ms(&self) -> i64 {
        self.appended_at_ms
    }

    /// Gives this the next place. Answers its index.
    pub(crate) fn push(&mut self, mut body: Body) -> Index {
        if let Body::Data(batch) = &mut body {
            batch.stamp(self.next_offset, self.term);
        }
        self.last_index = self.last_index.next();
        let entry = Entry {
            index: self.last_index,
            term: self.term,
            base_offset: self.next_offset,
            appended_at_ms: self.appended_at_ms,
            body,
        };
        self.next_offset = entry.meta().end_offset();
        self.entries.push(entry);
        self.last_index
    }

    /// The entries, in order.
    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }
}
