//! The durable half of a shard, as a map: what a round of writes leaves, and what recovery finds of it.
//!
//! It knows segments as far as retention needs them and keeps no bytes; how frames lie on a disk is tested elsewhere.

use mq_types::persist::{
    LogStatus, Membership, RecoveredEntry, RecoveredReplica, ReplicaWrite, SegmentInfo, Snapshot, Standing,
    Start, Trim, Vote,
};
use mq_types::{Body, Entry, EntryKind, Index, Offset, QuorumId, ReplicaId, SegmentNumber, TermRuns};
use std::collections::BTreeMap;

/// Bytes of a segment's head and of every frame's header.
const HEADER_BYTES: u64 = 64;

/// All replicas of one shard.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) replicas: BTreeMap<QuorumId, Stored>,
}

/// One replica.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) replica: ReplicaId,
    pub(crate) vote: Vote,
    pub(crate) opened: bool,
    pub(crate) standing: Standing,
    pub(crate) membership: Membership,
    pub(crate) start: Start,
    pub(crate) entries: Vec<Entry>,
    pub(crate) commit: Index,
    pub(crate) snapshot: Option<Snapshot>,
    /// The number of each segment and the index at which it begins; the last one is the active one.
    pub(crate) segments: Vec<(u64, Index)>,
    pub(crate) segment_size_bytes_max: u64,
}

impl Disk {
    /// Carries out one write. Answers how the log stands if its start or its segments changed.
    pub(crate) fn write(&mut self, write: ReplicaWrite) -> Option<LogStatus> {
        let quorum = write.quorum;
        if let Some(create) = &write.create {
            let first = create.start.prev_index.next();
            let stored = Stored {
                replica: write.replica,
                vote: Vote { term: create.start.prev_term, voted_for: None },
                opened: create.opened,
                standing: Standing::Sound,
                membership: create.membership.clone(),
                start: create.start,
                entries: Vec::new(),
                commit: create.start.prev_index,
                snapshot: create.snapshot.clone(),
                segments: vec![(1, first)],
                segment_size_bytes_max: 1 << 30,
            };
            assert!(self.replicas.insert(quorum, stored).is_none(), "quorum {quorum} was created twice");
        }
        let stored = self.replicas.get_mut(&quorum).expect("only a replica that is there is written");
        assert_eq!(stored.replica, write.replica, "the write is for another replica of quorum {quorum}");
        if write.remove {
            self.replicas.remove(&quorum);
            return None;
        }
        let was_new = write.create.is_some();
        (stored.write(write) || was_new).then(|| stored.status())
    }

    /// What recovery finds.
    pub(crate) fn recover(&self) -> Vec<RecoveredReplica> {
        self.replicas.iter().map(|(quorum, stored)| stored.recover(*quorum)).collect()
    }
}

impl Stored {
    /// Whether start or segments changed.
    fn write(&mut self, write: ReplicaWrite) -> bool {
        let before = (self.start, self.segments.clone());
        assert!(write.reset.is_none() && write.membership.is_none(), "not used yet");
        self.vote = write.vote.unwrap_or(self.vote);
        self.opened |= write.open;
        self.standing = write.standing.unwrap_or(self.standing);
        self.segment_size_bytes_max = write.segment_size_bytes_max.unwrap_or(self.segment_size_bytes_max);
        if let Some(first) = write.entries.first() {
            assert!(first.index <= self.last_index().next(), "entry {} leaves a gap", first.index);
            if first.index <= self.last_index() {
                assert!(
                    first.index > self.commit,
                    "entry {} is committed and cannot be replaced",
                    first.index
                );
                self.entries.retain(|entry| entry.index < first.index);
                self.segments.retain(|segment| segment.1 <= first.index);
                self.roll();
            }
        }
        for entry in write.entries {
            let size_bytes = self.status().segments.last().map_or(0, |active| active.size_bytes);
            if size_bytes + HEADER_BYTES + entry.body.len_bytes() as u64 > self.segment_size_bytes_max {
                self.roll();
            }
            self.entries.push(entry);
        }
        assert!(
            write.commit >= self.commit,
            "the commit index fell from {} to {}",
            self.commit,
            write.commit
        );
        assert!(write.commit <= self.last_index(), "commit {} is beyond the log's end", write.commit);
        self.commit = write.commit;
        let last = self.last_index();
        let is_wholly_trimmed = match write.trim {
            Some(Trim::Offset(offset)) => self.end_offset(last) <= offset && last <= self.commit,
            Some(Trim::Index(index)) => last <= index && last <= self.commit,
            None => false,
        };
        if write.roll || is_wholly_trimmed {
            self.roll();
        }
        self.snapshot = write.snapshot.or(self.snapshot.take());
        if let Some(trim) = write.trim {
            self.trim(trim);
        }
        before != (self.start, self.segments.clone())
    }

    fn roll(&mut self) {
        let next = self.last_index().next();
        let (number, first) = *self.segments.last().expect("there is always one");
        if first < next {
            self.segments.push((number + 1, next));
        }
    }

    fn trim(&mut self, trim: Trim) {
        if let Trim::Offset(offset) = trim {
            assert!(offset >= self.start.log_start, "the log start goes back");
            self.start.log_start = offset;
        }
        while self.segments.len() > 1 {
            let last = self.segments[1].1.previous();
            let end_offset = self.end_offset(last);
            let goes = match trim {
                Trim::Offset(offset) => end_offset <= offset,
                Trim::Index(index) => last <= index,
            };
            if !goes || last > self.commit {
                break;
            }
            let before = self.entry(last);
            let term = before.map_or(self.start.prev_term, |entry| entry.term);
            let time = before.map_or(self.start.prev_appended_at_ms, |entry| entry.appended_at_ms);
            self.start = Start {
                prev_index: last,
                prev_term: term,
                prev_appended_at_ms: time,
                base_offset: end_offset,
                log_start: self.start.log_start.max(end_offset),
            };
            self.entries.retain(|entry| entry.index > last);
            self.segments.remove(0);
        }
    }

    pub(crate) fn last_index(&self) -> Index {
        self.entries.last().map_or(self.start.prev_index, |entry| entry.index)
    }

    fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.index == index)
    }

    fn end_offset(&self, index: Index) -> Offset {
        let below = self.entries.iter().rev().find(|entry| entry.index <= index);
        below.map_or(self.start.base_offset, |entry| entry.meta().end_offset())
    }

    pub(crate) fn status(&self) -> LogStatus {
        let ends = self.segments.iter().skip(1).map(|segment| segment.1).chain([Index(u64::MAX)]);
        let segments = self.segments.iter().zip(ends).map(|(&(number, first_index), end)| {
            let entries = self.entries.iter().filter(|entry| (first_index..end).contains(&entry.index));
            let sizes = entries.clone().map(|entry| HEADER_BYTES + entry.body.len_bytes() as u64);
            SegmentInfo {
                number: SegmentNumber(number),
                first_index,
                base_offset: self.end_offset(first_index.previous()),
                end_offset: self.end_offset(Index(end.0 - 1)),
                size_bytes: HEADER_BYTES + sizes.sum::<u64>(),
                first_appended_at_ms: entries.clone().next().map(|entry| entry.appended_at_ms),
                last_appended_at_ms: entries.last().map(|entry| entry.appended_at_ms),
            }
        });
        LogStatus { start: self.start, segments: segments.collect() }
    }

    /// The number of records that are kept.
    pub(crate) fn record_count(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.body.span())).sum()
    }

    fn recover(&self, quorum: QuorumId) -> RecoveredReplica {
        let start = self.start;
        let mut term_runs = TermRuns::starting_at(start.prev_index, start.prev_term, start.base_offset);
        for entry in &self.entries {
            term_runs.append(entry.index, entry.term, entry.base_offset);
        }
        let applied = self.snapshot.as_ref().map_or(self.commit, |snapshot| snapshot.index);
        let tail = self.entries.iter().filter(|entry| entry.index > applied).map(|entry| {
            let body = (entry.meta().kind != EntryKind::Data).then(|| entry.body.clone());
            RecoveredEntry { meta: entry.meta(), body }
        });
        RecoveredReplica {
            quorum,
            replica: self.replica,
            vote: self.vote,
            opened: self.opened,
            standing: self.standing,
            membership: self.membership.clone(),
            start,
            term_runs,
            last_index: self.last_index(),
            next_offset: self.end_offset(self.last_index()),
            last_appended_at_ms: self
                .entries
                .last()
                .map_or(self.start.prev_appended_at_ms, |entry| entry.appended_at_ms),
            commit: self.commit,
            high_watermark: self.end_offset(self.commit),
            snapshot: self.snapshot.clone(),
            tail: tail.collect(),
            segments: self.status().segments,
        }
    }

    /// The controls in the log, in order.
    pub(crate) fn controls(&self) -> Vec<&bytes::Bytes> {
        let control = |entry: &'_ Entry| matches!(entry.body, Body::Control(_));
        let entries = self.entries.iter().filter(|entry| control(entry));
        entries
            .map(|entry| match &entry.body {
                Body::Control(bytes) => bytes,
                _ => unreachable!("only controls were kept"),
            })
            .collect()
    }
}
