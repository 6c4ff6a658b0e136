//! What a broker reads of its logs besides what clients ask for: entries for peers, and everything, slowly, to find what
//! does not verify any more, as `mq-broker` does. That bits have flipped is found by nobody else.

use crate::broker::{Broker, End};
use crate::queue::Wanted;
use crate::sometimes;
use crate::stage::Stage;
use mq_engine::Input;
use mq_log::{BadPlace, ReadError, ScrubStep, Scrubbed};
use mq_types::persist::{LostReason, RecoveredReplica};
use mq_types::{QuorumId, ReplicaId};
use std::ops::Bound;

impl Broker {
    /// Entries that an engine asked for come from the disk.
    pub(crate) fn entries(&mut self, shard: usize, wanted: &Wanted, stage: &mut Stage) -> Result<(), End> {
        let Wanted { quorum, replica, read, from, until, size_bytes_max } = *wanted;
        let Some(process) = &self.process else { return Ok(()) };
        let reader = process.readers.get(&quorum).filter(|reader| reader.replica() == replica);
        let entries = match reader.map(|reader| reader.entries(from, until, size_bytes_max)) {
            Some(Err(ReadError::Corrupt(place))) => {
                sometimes!("a flipped bit was found by a read");
                self.found_bad((quorum, replica), &place, stage)?;
                None
            }
            Some(found) => found.ok(),
            None => None,
        };
        match entries {
            Some(_) => sometimes!("a peer was sent entries read from the log"),
            None => sometimes!("a log read for a peer was refused"),
        }
        self.give(shard, Input::EntriesRead { quorum, replica, read, entries }, stage);
        Ok(())
    }

    /// A read or a scrub has met a bad place: the engine is told. Only flipped bits make one.
    pub(crate) fn found_bad(
        &mut self,
        (quorum, replica): (QuorumId, ReplicaId),
        place: &BadPlace,
        stage: &mut Stage,
    ) -> Result<(), End> {
        if !self.disk.rot.explains(place) {
            let what =
                format!("replica {replica} of quorum {quorum}, no bit of which has flipped there: {place}");
            return Err(End::Broken(what));
        }
        let shard = usize::from(quorum.shard(self.shards).0);
        self.give(shard, Input::Damaged { quorum, replica }, stage);
        Ok(())
    }

    /// Whether there is a cause for it that the disk was told to be.
    pub(crate) fn may_be_lost(&self, replica: &RecoveredReplica, reason: LostReason) -> bool {
        match reason {
            // One that old metadata made after the disk was lost.
            LostReason::OpenRefused => self.has_lost_disk,
            LostReason::CorruptEnd | LostReason::MissingSegment => {
                sometimes!("a flipped bit was found by recovery");
                self.disk.rot.has(replica.quorum, replica.replica)
            }
            _ => false,
        }
    }

    /// Reads a piece of a log, if it is time.
    pub(crate) fn scrub(&mut self, stage: &mut Stage) -> Result<(), End> {
        let now_ms = self.clock.read(stage.now_us()).monotonic_ms;
        let Some(process) = self.process.as_mut().filter(|_| self.disk.hung == 0) else { return Ok(()) };
        let Some(scrubber) = &mut process.scrubber else { return Ok(()) };
        let readers = &process.readers;
        let log_after = |before: Option<QuorumId>| {
            let behind = before.map_or(Bound::Unbounded, Bound::Excluded);
            readers.range((behind, Bound::Unbounded)).next().map(|(quorum, _)| *quorum)
        };
        let ScrubStep::Read { quorum, from, bytes_max } = scrubber.next(now_ms, log_after) else {
            return Ok(());
        };
        let reader = readers.get(&quorum);
        // What cannot be read is left out, until the next pass.
        let scrubbed = reader.and_then(|reader| reader.scrub(from, bytes_max).ok());
        let nothing = Scrubbed { next: None, read_bytes: 0, bad: Vec::new() };
        let Scrubbed { next, read_bytes, bad } = scrubbed.unwrap_or(nothing);
        scrubber.read(now_ms, read_bytes, next);
        let of = reader.map(|reader| (reader.quorum(), reader.replica()));
        for (place, of) in bad.iter().filter_map(|place| Some((place, of?))) {
            sometimes!("a flipped bit was found by a scrub");
            self.found_bad(of, place, stage)?;
        }
        Ok(())
    }
}
