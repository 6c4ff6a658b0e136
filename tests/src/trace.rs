//! A broker's system calls: whether an acknowledgement left before the sync that covers its record had returned.
//!
//! What is in a trace, `strace` tells, and `http2` what the broker said in it; here the two are compared. How files
//! are laid out plays no part: a record is durable when some file that its bytes were written to has been synced
//! by a call that began after the write had returned.

pub mod http2;
pub mod strace;

use std::collections::BTreeMap;
use strace::Call;

/// A record that was acknowledged to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Bytes that are in this record alone; its last ones.
    pub marker: Vec<u8>,
    /// The place in the trace where the broker began to send the acknowledgement.
    pub sent_at: usize,
}

/// An acknowledgement that promised too much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Early {
    /// Its record's bytes were not given to any file before.
    #[error("{marker}: acknowledged at line {sent_at} of the trace, and written to no file before")]
    NotWritten {
        /// The record.
        marker: String,
        /// Where the acknowledgement began to leave.
        sent_at: usize,
    },
    /// Its record's bytes were written, and no sync that covers them had returned.
    #[error(
        "{marker}: acknowledged at line {sent_at} of the trace, written at line {written_at} to {file}, which no \
         sync had covered by then"
    )]
    NotSynced {
        /// The record.
        marker: String,
        /// Where the acknowledgement began to leave.
        sent_at: usize,
        /// Where the write returned.
        written_at: usize,
        /// What it wrote to.
        file: String,
    },
}

/// Looks for the first acknowledgement that left too early. `begin` and `end` enclose what is different in each
/// marker, and stand nowhere else. Answers how many were in order before it, which is all of them if none was early.
pub fn check(
    calls: &[Call],
    acknowledged: &[Acknowledged],
    begin: &[u8],
    end: u8,
) -> Result<usize, (usize, Early)> {
    let mut writes: BTreeMap<&[u8], Vec<&Call>> = BTreeMap::new();
    let mut syncs: Vec<&Call> = Vec::new();
    for call in calls {
        if call.is_sync() {
            syncs.push(call);
        } else if call.is_to_a_file() {
            for marker in markers(&call.data, begin, end) {
                writes.entry(marker).or_default().push(call);
            }
        }
    }
    let mut in_order: Vec<&Acknowledged> = acknowledged.iter().collect();
    in_order.sort_by_key(|record| record.sent_at);
    for (before, record) in in_order.iter().enumerate() {
        let sent_at = record.sent_at;
        let writes = writes.get(record.marker.as_slice()).map_or(&[][..], Vec::as_slice);
        let covers = |write: &Call, sync: &Call| {
            sync.result == 0 && sync.began > write.returned && sync.returned < sent_at
        };
        let is_covered =
            |write: &Call| syncs.iter().any(|sync| covers(write, sync) && sync.syncs(&write.file));
        if writes.iter().any(|write| is_covered(write)) {
            continue;
        }
        let marker = String::from_utf8_lossy(&record.marker).into_owned();
        let early = match writes.iter().find(|write| write.returned < sent_at) {
            None => Early::NotWritten { marker, sent_at },
            Some(write) => {
                let (written_at, file) = (write.returned, write.file.clone());
                Early::NotSynced { marker, sent_at, written_at, file }
            }
        };
        return Err((before, early));
    }
    Ok(in_order.len())
}

/// The markers in these bytes.
fn markers<'a>(data: &'a [u8], begin: &'a [u8], end: u8) -> impl Iterator<Item = &'a [u8]> {
    let starts = (0..data.len()).filter(move |&at| data[at] == begin[0] && data[at..].starts_with(begin));
    starts.filter_map(move |at| {
        let len = data[at..].iter().position(|byte| *byte == end)?;
        Some(&data[at..=at + len])
    })
}

#[cfg(test)]
mod tests;
