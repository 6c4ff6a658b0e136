//! What one partition has promised, and whether what its log holds after a recovery keeps it.
//!
//! It knows nothing of how a log comes to be what it is; it only compares.

use bytes::Bytes;
use mq_engine::View;
use mq_log::{MemDisk, Reader};
use mq_types::persist::Standing;
use mq_types::{Batch, Offset, QuorumId};
use std::collections::BTreeMap;

/// How much is read at once.
const READ_BYTES: usize = 16 << 10;

/// A batch that must be there.
struct Kept {
    end: Offset,
    /// Everything but what the leader stamps.
    rest: Bytes,
    /// Why it must: it was acknowledged, or recovery had found it once.
    why: &'static str,
}

/// What one partition has promised.
pub(crate) struct Promises {
    quorum: QuorumId,
    /// By base offset.
    kept: BTreeMap<Offset, Kept>,
    /// Sent since the last recovery, in this order: each is there once or not at all.
    sent: BTreeMap<u64, Batch>,
    /// Where the log ended at the last recovery.
    recovered_end: Offset,
    /// Readers have seen this much.
    high_watermark: Offset,
    /// Readers have been told, or a client has, that nothing below is kept.
    log_start: Offset,
    /// Nobody has asked for the deletion of more than this.
    delete_before: Offset,
}

impl Promises {
    pub(crate) fn new(quorum: QuorumId) -> Promises {
        let zero = Offset(0);
        Promises {
            quorum,
            kept: BTreeMap::new(),
            sent: BTreeMap::new(),
            recovered_end: zero,
            high_watermark: zero,
            log_start: zero,
            delete_before: zero,
        }
    }

    pub(crate) fn send(&mut self, sequence: u64, batch: &Batch) {
        self.sent.insert(sequence, batch.clone());
    }

    pub(crate) fn acknowledge(&mut self, sequence: u64, base_offset: Offset) {
        let batch = &self.sent[&sequence];
        let end = base_offset.plus(batch.span());
        let kept = Kept { end, rest: batch.rest().clone(), why: "acknowledged" };
        let before = self.kept.insert(base_offset, kept);
        assert!(before.is_none(), "quorum {}: two batches were acknowledged at {base_offset}", self.quorum);
    }

    /// It was certainly not appended.
    pub(crate) fn refuse(&mut self, sequence: u64) {
        self.sent.remove(&sequence);
    }

    pub(crate) fn delete_before(&mut self, before: Offset) {
        self.delete_before = self.delete_before.max(before);
    }

    pub(crate) fn deleted(&mut self, log_start: Offset) {
        self.log_start = self.log_start.max(log_start);
    }

    pub(crate) fn publish(&mut self, view: &View) {
        self.high_watermark = self.high_watermark.max(view.high_watermark);
        self.log_start = self.log_start.max(view.log_start);
    }

    /// Holds the log of a broker that has come to rest against everything promised. What it holds is promised from
    /// now on, since readers may have seen it; what it does not hold will never come.
    pub(crate) fn check(&mut self, view: &View, reader: &Reader<MemDisk>) -> Result<(), String> {
        let found = self.read(view, reader)?;
        self.check_kept(view, &found)?;
        self.check_new(&found)?;
        self.check_view(view)?;
        self.kept = found
            .into_iter()
            .map(|(base_offset, batch)| {
                let why = "found by an earlier recovery";
                (base_offset, Kept { end: batch.end_offset(), rest: batch.rest().clone(), why })
            })
            .collect();
        self.sent.clear();
        self.recovered_end = view.high_watermark;
        Ok(())
    }

    /// Everything from log start to high watermark: without a gap, in order, terms too, each checksum right.
    fn read(&self, view: &View, reader: &Reader<MemDisk>) -> Result<BTreeMap<Offset, Batch>, String> {
        let mut found = BTreeMap::new();
        let (mut next, mut term) = (view.log_start, 0);
        while next < view.high_watermark {
            let read = reader.read(next, view.high_watermark, READ_BYTES);
            let read = read.map_err(|error| self.at(next, &format!("cannot be read: {error}")))?;
            if read.batches.is_empty() {
                return Err(self.at(next, &format!("nothing lies, below the end {}", view.high_watermark)));
            }
            for batch in read.batches {
                let base_offset = batch.base_offset();
                let joins = base_offset == next || (found.is_empty() && base_offset < next);
                if !joins || batch.end_offset() <= next || batch.leader_epoch() < term {
                    let epoch = batch.leader_epoch();
                    let what = format!("follows a batch at {base_offset} of term {epoch}, after term {term}");
                    return Err(self.at(next, &what));
                }
                (next, term) = (batch.end_offset(), batch.leader_epoch());
                found.insert(base_offset, batch);
            }
        }
        Ok(found)
    }

    fn check_kept(&self, view: &View, found: &BTreeMap<Offset, Batch>) -> Result<(), String> {
        for (base_offset, kept) in self.kept.iter().filter(|(_, kept)| kept.end > view.log_start) {
            match found.get(base_offset) {
                Some(batch) if *batch.rest() == kept.rest => {}
                Some(_) => {
                    return Err(self.at(*base_offset, &format!("the batch {} has other bytes", kept.why)));
                }
                None => return Err(self.at(*base_offset, &format!("the batch {} is lost", kept.why))),
            }
        }
        Ok(())
    }

    /// What is new was sent since, and is there in the order sent.
    fn check_new(&self, found: &BTreeMap<Offset, Batch>) -> Result<(), String> {
        let mut sent = self.sent.values();
        for (base_offset, batch) in found.range(self.recovered_end..) {
            if !sent.any(|sent| sent.rest() == batch.rest()) {
                return Err(self.at(*base_offset, "lies a batch that was not sent, or not in this order"));
            }
        }
        Ok(())
    }

    fn check_view(&self, view: &View) -> Result<(), String> {
        let Promises { quorum, high_watermark, log_start, delete_before, .. } = self;
        if view.standing != Standing::Sound || !view.serving {
            return Err(format!("quorum {quorum} does not serve, its standing is {:?}", view.standing));
        }
        if view.high_watermark < *high_watermark {
            let now = view.high_watermark;
            return Err(format!("quorum {quorum}: readers saw {high_watermark}, it ends at {now} now"));
        }
        if view.log_start < *log_start || view.log_start > *delete_before {
            let now = view.log_start;
            return Err(format!(
                "quorum {quorum} starts at {now}: it had started at {log_start}, and {delete_before} was asked for"
            ));
        }
        Ok(())
    }

    fn at(&self, offset: Offset, what: &str) -> String {
        format!("quorum {} offset {offset}: {what}", self.quorum)
    }
}
