//! Who sent what, what was acknowledged, and whether what is read back agrees.
//!
//! Every record carries its own identity and a check of its bytes, so a reader needs nothing else to judge it.

use std::collections::BTreeMap;

/// A record's identity: which producer sent it, as its how-manieth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The producer.
    pub producer: u32,
    /// Its number, from 0; never sent twice.
    pub sequence: u64,
}

/// How a send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Sent, not answered: it may or may not be there.
    Unknown,
    /// Acknowledged at this partition and offset.
    Acknowledged { partition: i32, offset: i64 },
    /// Certainly not appended.
    Refused,
}

/// All that was sent.
#[derive(Debug, Default)]
pub struct Ledger {
    sent: BTreeMap<Identity, Fate>,
}

/// A record as it was read.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Where it was.
    pub partition: i32,
    /// Where it was.
    pub offset: i64,
    /// Its value.
    pub value: Vec<u8>,
}

/// The bytes of a record with this identity: identity, filler, checksum.
pub fn value(identity: Identity, filler_bytes: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(16 + filler_bytes);
    value.extend_from_slice(&identity.producer.to_le_bytes());
    value.extend_from_slice(&identity.sequence.to_le_bytes());
    value.extend((0..filler_bytes).map(|i| (identity.sequence as usize + i * 31) as u8));
    let check = mq_types::crc32c::crc32c(&value);
    value.extend_from_slice(&check.to_le_bytes());
    value
}

fn identity(value: &[u8]) -> Option<Identity> {
    let (rest, check) = value.split_at_checked(value.len().checked_sub(4)?)?;
    let sound = mq_types::crc32c::crc32c(rest).to_le_bytes() == check;
    let producer = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
    let sequence = u64::from_le_bytes(rest.get(4..12)?.try_into().ok()?);
    sound.then_some(Identity { producer, sequence })
}

impl Ledger {
    /// Notes that a record is about to be sent.
    pub fn send(&mut self, identity: Identity) {
        let before = self.sent.insert(identity, Fate::Unknown);
        assert!(before.is_none(), "{identity:?} is sent twice: the test itself is wrong");
    }

    /// Notes an acknowledgement.
    pub fn acknowledge(&mut self, identity: Identity, partition: i32, offset: i64) {
        let before = self.sent.insert(identity, Fate::Acknowledged { partition, offset });
        assert_eq!(before, Some(Fate::Unknown), "{identity:?} is acknowledged without being in flight");
    }

    /// Notes a refusal.
    pub fn refuse(&mut self, identity: Identity) {
        let before = self.sent.insert(identity, Fate::Refused);
        assert_eq!(before, Some(Fate::Unknown), "{identity:?} is refused without being in flight");
    }

    /// How many records were acknowledged.
    pub fn acknowledged_count(&self) -> usize {
        self.sent.values().filter(|fate| matches!(fate, Fate::Acknowledged { .. })).count()
    }

    /// How many records were sent.
    pub fn sent_count(&self) -> usize {
        self.sent.len()
    }

    /// Every way in which what was read disagrees with what was sent. `seen` is everything from offset 0 on, in
    /// the order read, partition by partition.
    pub fn violations(&self, seen: &[Seen]) -> Vec<String> {
        let mut found = Vec::new();
        let mut places: BTreeMap<Identity, (i32, i64)> = BTreeMap::new();
        let mut last_offset: BTreeMap<i32, i64> = BTreeMap::new();
        let mut last_sequence: BTreeMap<(i32, u32), u64> = BTreeMap::new();
        for Seen { partition, offset, value } in seen {
            let expected = last_offset.get(partition).map_or(0, |last| last + 1);
            if *offset != expected {
                found.push(format!(
                    "partition {partition}: offset {offset} follows where {expected} was expected"
                ));
            }
            last_offset.insert(*partition, *offset);
            let Some(identity) = identity(value) else {
                found.push(format!("partition {partition} offset {offset}: bytes that nobody sent"));
                continue;
            };
            match self.sent.get(&identity) {
                None => found.push(format!("{identity:?} at {partition}/{offset} was never sent")),
                Some(Fate::Refused) => {
                    found.push(format!("{identity:?} at {partition}/{offset} was refused"));
                }
                Some(_) => {}
            }
            if let Some(before) = places.insert(identity, (*partition, *offset)) {
                found.push(format!("{identity:?} is there twice: at {before:?} and at {partition}/{offset}"));
            }
            if let Some(before) = last_sequence.insert((*partition, identity.producer), identity.sequence)
                && before >= identity.sequence
            {
                found.push(format!(
                    "{identity:?} at {partition}/{offset} comes after {before} of the same producer"
                ));
            }
        }
        for (identity, fate) in &self.sent {
            if let Fate::Acknowledged { partition, offset } = fate
                && places.get(identity) != Some(&(*partition, *offset))
            {
                let place = places.get(identity);
                found.push(format!(
                    "{identity:?} was acknowledged at {partition}/{offset} but is at {place:?}"
                ));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(sequence: u64) -> Identity {
        Identity { producer: 7, sequence }
    }

    fn seen(offset: i64, sequence: u64) -> Seen {
        Seen { partition: 0, offset, value: value(id(sequence), 5) }
    }

    /// Sequences 0 and 1 acknowledged at their own offsets, 2 unknown, 3 refused.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        (0..4).for_each(|sequence| ledger.send(id(sequence)));
        ledger.acknowledge(id(0), 0, 0);
        ledger.acknowledge(id(1), 0, 1);
        ledger.refuse(id(3));
        ledger
    }

    #[test]
    fn a_log_with_or_without_the_unknown_record_passes() {
        assert_eq!(ledger().violations(&[seen(0, 0), seen(1, 1)]), Vec::<String>::new());
        assert_eq!(ledger().violations(&[seen(0, 0), seen(1, 1), seen(2, 2)]), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_bad_log_is_flagged() {
        let lost = vec![seen(0, 0)];
        let moved = vec![seen(0, 1), seen(1, 0)];
        let twice = vec![seen(0, 0), seen(1, 1), seen(2, 1)];
        let refused = vec![seen(0, 0), seen(1, 1), seen(2, 3)];
        let invented = vec![seen(0, 0), seen(1, 1), seen(2, 9)];
        let gap = vec![seen(0, 0), seen(1, 1), seen(3, 2)];
        let mut torn = vec![seen(0, 0), seen(1, 1)];
        torn[1].value[12] ^= 1;
        for bad in [lost, moved, twice, refused, invented, gap, torn] {
            assert!(!ledger().violations(&bad).is_empty(), "passed: {bad:?}");
        }
    }
}
