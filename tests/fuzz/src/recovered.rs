//! What holds of everything that an open gives back, and of everything that it refuses.

use crate::written::{PARTITION, bytes_of, open};
use mq_log::disk::Crash;
use mq_log::{Disk, MemDisk, OpenError, ReadError, Reader, ShardOpen};
use mq_types::persist::{RecoveredReplica, ReplicaWrite, Standing};
use mq_types::{Body, Entry, Index};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The longest message about a directory that cannot be opened, in bytes.
const MESSAGE_BYTES_MAX: usize = 500;

/// Opens a damaged disk and gives back the answer. The next open finds the same, and so does one after a crash of the
/// machine: all that the first one gave was durable.
///
/// With one exception, unless `is_certain`: where an index is damaged or lost, as the crash may lose one, or names
/// frames that lie, a log is walked from its head. Older damage in it may come to light then, and the replica is lost
/// only now.
pub(crate) fn open_again(
    disk: &MemDisk,
    shards: u16,
    seed: u64,
    is_certain: bool,
) -> Result<Vec<RecoveredReplica>, OpenError> {
    let before = contents(disk);
    let opened = match open(disk, shards, 21) {
        Ok(opened) => opened,
        Err(error) => {
            check_refusal(disk, shards, &before, &error);
            return Err(error);
        }
    };
    let found = recovered(&opened);
    opened.iter().for_each(check_shard);
    drop(opened);
    let disk = disk.crash(Crash::Process);
    let second = recovered(&open(&disk, shards, 22).expect("what could be opened once can be opened again"));
    check_same(&found, &second, is_certain);
    let fork = disk.fork();
    go_on(&fork, open(&fork, shards, 25).expect("it was opened before"), is_certain);
    let disk = disk.crash(Crash::Machine { seed });
    let opened = open(&disk, shards, 23).expect("a crash takes nothing that counts");
    check_same(&second, &recovered(&opened), false);
    go_on(&disk, opened, false);
    Ok(found)
}

/// Whether a later open finds the same.
fn check_same(before: &[RecoveredReplica], after: &[RecoveredReplica], is_certain: bool) {
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(after) {
        let is_lost = matches!(after.standing, Standing::Lost(_));
        assert!(before == after || (!is_certain && is_lost), "found differently:\n{before:?}\n{after:?}");
    }
}

/// What is refused is explained in a line, stays as it was, and is refused again.
fn check_refusal(disk: &MemDisk, shards: u16, before: &BTreeMap<PathBuf, Vec<u8>>, error: &OpenError) {
    let message = error.to_string();
    assert!(message.len() <= MESSAGE_BYTES_MAX && !message.contains('\n'), "{message:?}");
    let after = contents(disk);
    for (path, bytes) in before {
        // An index is a cache, and is cut to the points that count.
        let is_kept =
            path.extension().is_some_and(|ending| ending == "idx") || after.get(path) == Some(bytes);
        assert!(is_kept, "refused, and yet {} was changed: {message}", path.display());
    }
    let again = open(disk, shards, 22).map(|_| ()).expect_err("what was refused once is refused again");
    assert_eq!(again.to_string(), message);
}

fn recovered(opened: &[ShardOpen<MemDisk>]) -> Vec<RecoveredReplica> {
    opened.iter().flat_map(|shard| shard.recovered.clone()).collect()
}

/// Every file below the directories that count.
fn contents(disk: &MemDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![PathBuf::from("state"), PathBuf::from("quorums")];
    while let Some(directory) = directories.pop() {
        for entry in disk.list(&directory).unwrap_or_default() {
            let path = directory.join(entry.name);
            if entry.is_dir {
                directories.push(path);
            } else {
                let bytes = bytes_of(disk, &path);
                found.insert(path, bytes);
            }
        }
    }
    found
}

fn check_shard(shard: &ShardOpen<MemDisk>) {
    for replica in &shard.recovered {
        check_replica(replica);
        let reader = shard.store.reader(replica.quorum).expect("it was recovered");
        read_all(&reader, replica);
    }
}

/// The numbers of a replica agree with each other.
fn check_replica(found: &RecoveredReplica) {
    assert!(found.start.prev_index <= found.commit && found.commit <= found.last_index, "{found:?}");
    assert!(found.start.base_offset <= found.high_watermark, "{found:?}");
    assert!(found.high_watermark <= found.next_offset, "{found:?}");
    assert!(found.term_runs.term(found.last_index).is_some(), "{found:?}");
    let last_term = found.term_runs.last_term();
    assert!(last_term <= found.vote.term || matches!(found.standing, Standing::Lost(_)), "{found:?}");
    let from = found.snapshot.as_ref().map_or(found.commit, |snapshot| snapshot.index);
    for (at, recovered) in found.tail.iter().enumerate() {
        assert_eq!(recovered.meta.index.0, from.0 + 1 + at as u64, "{found:?}");
    }
    for pair in found.segments.windows(2) {
        assert!(
            pair[0].first_index <= pair[1].first_index && pair[0].end_offset == pair[1].base_offset,
            "{found:?}"
        );
    }
    if let (Some(first), Some(last)) = (found.segments.first(), found.segments.last()) {
        assert!(first.first_index <= found.start.prev_index.next(), "{found:?}");
        assert!(last.first_index <= found.last_index.next(), "{found:?}");
    }
}

/// Reads entries and batches from the start to the end. Each may be damaged; what is read is in order.
fn read_all(reader: &Reader<MemDisk>, replica: &RecoveredReplica) {
    let mut next = replica.start.prev_index.next();
    let end = replica.last_index.next();
    while next < end {
        let Ok(entries) = reader.entries(next, end, 300) else { break };
        for entry in entries {
            assert_eq!(entry.index, next);
            next = next.next();
        }
    }
    let mut from = replica.start.log_start;
    while let Ok(read) = reader.read(from, replica.next_offset, 300)
        && !read.batches.is_empty()
    {
        assert!(read.next_offset > from && read.batches.iter().all(mq_types::Batch::checksum_matches));
        from = read.next_offset;
    }
}

/// Appends an entry to a replica that goes on: it is there after the next open.
fn go_on(disk: &MemDisk, opened: Vec<ShardOpen<MemDisk>>, is_certain: bool) {
    let shards = opened.len() as u16;
    for shard in opened {
        let Some(found) = shard.recovered.iter().find(|found| found.quorum == PARTITION).cloned() else {
            continue;
        };
        if !matches!(found.standing, Standing::Sound | Standing::Damaged) || found.last_index.0 > u64::MAX / 2
        {
            continue;
        }
        let mut store = shard.store;
        let entry = Entry {
            index: found.last_index.next(),
            term: found.vote.term,
            base_offset: found.next_offset,
            appended_at_ms: found.last_appended_at_ms,
            body: Body::NoOp,
        };
        let mut write = ReplicaWrite::new(found.quorum, found.replica);
        write.commit = found.commit;
        write.entries.push(entry.clone());
        store.persist_round(vec![write]).expect("nothing fails");
        drop(store);
        let again = recovered(&open(disk, shards, 24).expect("it was opened before"));
        let again = again.iter().find(|again| again.quorum == PARTITION).expect("it was here before");
        let is_lost = matches!(again.standing, Standing::Lost(_));
        let is_there = (again.last_index, again.standing) == (entry.index, found.standing);
        assert!(is_there || (!is_certain && is_lost), "{entry:?} was appended:\n{again:?}");
        return;
    }
}

/// The entry at this index; `None` if it is damaged.
pub(crate) fn read_one(reader: &Reader<MemDisk>, index: Index) -> Option<Entry> {
    match reader.entries(index, index.next(), 1) {
        Ok(mut entries) => entries.pop(),
        Err(ReadError::Corrupt { .. } | ReadError::Io { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}
