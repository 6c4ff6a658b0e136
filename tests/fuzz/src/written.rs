//! Logs as a broker writes them, on a disk in memory: what the targets damage, and compare with.

use bytes::Bytes;
use mq_log::{Disk, DiskFile, MemDisk, Options, ShardOpen, ShardStore};
use mq_types::batch::{BatchBuilder, NewRecord};
use mq_types::persist::{Create, Membership, RecoveredReplica, ReplicaWrite, Snapshot, Start, Vote};
use mq_types::{Body, BrokerId, Compression, Entry, Index, Offset, QuorumId, ReplicaId, SegmentNumber, Term};
use std::path::{Path, PathBuf};

/// The partition whose log is written.
pub(crate) const PARTITION: QuorumId = QuorumId(1024);
/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 64;
/// Zeros that are left behind the last frame, in bytes.
const ZEROS_BYTES_MAX: usize = 100;

pub(crate) fn replica() -> ReplicaId {
    ReplicaId::new(BrokerId(1), 1)
}

/// Small sizes, so that little data meets every border.
pub(crate) fn options(shards: u16, start: u8) -> Options {
    Options {
        segment_size_bytes_max: 900,
        preallocate_step_bytes: 512,
        index_interval_bytes: 200,
        state_log_size_bytes_max: 1 << 20,
        ..Options::new(shards, [start; 32])
    }
}

/// A log that was written, and the disk that it is on.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) disk: MemDisk,
    /// From the first index on, whatever has been cut since taken out.
    pub(crate) entries: Vec<Entry>,
    /// What an open of the undamaged disk gives.
    pub(crate) recovered: RecoveredReplica,
    /// An end below this one is noticed: evidence was written, or a record rests on it.
    pub(crate) known_durable: Index,
    /// Files of the replica, segments first, and what is in them.
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
}

impl Written {
    /// Notes what is on the disk after the last write.
    fn of(writer: Writer, known_durable: Index) -> Written {
        let Writer { disk, entries, store, .. } = writer;
        drop(store);
        let disk = disk.crash(mq_log::disk::Crash::Process);
        let directory = replica_dir();
        let mut names: Vec<_> = disk.list(&directory).expect("it exists");
        names.sort_by_key(|entry| !entry.name.ends_with(".seg"));
        let paths: Vec<_> = names.into_iter().map(|entry| directory.join(entry.name)).collect();
        for path in paths.iter().filter(|path| number(path).is_some()) {
            // Of the zeros that may be written ahead a few are enough: damage is to meet what counts.
            let end = frames(&bytes_of(&disk, path)).last().map_or(0, |frame| frame.end);
            disk.damage(path, |bytes| bytes.truncate(end + ZEROS_BYTES_MAX)).expect("it exists");
        }
        let recovered = open(&disk.fork(), 1, 9).expect("it is sound").remove(0).recovered.remove(0);
        let files = paths.into_iter().map(|path| (path.clone(), bytes_of(&disk, &path))).collect();
        Written { disk, entries, recovered, known_durable, files }
    }

    /// The file of the newest segment.
    pub(crate) fn active(&self) -> &Path {
        let segment = self.recovered.segments.last().expect("there is one");
        let has_number = |path: &Path| number(path) == Some(segment.number);
        let mut paths = self.files.iter().map(|(path, _)| path.as_path());
        paths.find(|path| has_number(path)).expect("it is there")
    }
}

/// The number of the segment with this file.
pub(crate) fn number(path: &Path) -> Option<SegmentNumber> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".seg")?;
    stem.split_once('-')?.1.parse().ok().map(SegmentNumber)
}

pub(crate) fn replica_dir() -> PathBuf {
    PathBuf::from(format!("quorums/{PARTITION}-{}", replica()))
}

pub(crate) fn bytes_of(disk: &MemDisk, path: &Path) -> Vec<u8> {
    disk.open(path).and_then(|file| file.read_at(0, usize::MAX)).expect("it exists")
}

/// Opens the disk.
pub(crate) fn open(
    disk: &MemDisk,
    shards: u16,
    start: u8,
) -> Result<Vec<ShardOpen<MemDisk>>, mq_log::OpenError> {
    mq_log::open(disk.clone(), options(shards, start))
}

/// Where the frames of a segment lie: the head first. Of bytes as a broker wrote them.
pub(crate) fn frames(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + FRAME_HEADER_BYTES)
        && &header[8..10] == b"mq"
    {
        let len = u32::from_le_bytes(header[4..8].try_into().expect("4 bytes"));
        let end = at + FRAME_HEADER_BYTES + len as usize;
        frames.push(at..end);
        at = end;
    }
    frames
}

/// Writes logs.
pub(crate) struct Writer {
    pub(crate) disk: MemDisk,
    pub(crate) store: ShardStore<MemDisk>,
    entries: Vec<Entry>,
    /// The term in which it voted last.
    term: u64,
}

impl Writer {
    /// Makes the partition's replica on an empty disk.
    pub(crate) fn new() -> Writer {
        let disk = MemDisk::new();
        let store = open(&disk, 1, 1).expect("an empty disk can be opened").remove(0).store;
        let mut writer = Writer { disk, store, entries: Vec::new(), term: 1 };
        let membership =
            Membership { conf_index: Index(1), voters: vec![replica()], ..Membership::default() };
        let create = Create { start: Start::BOOTSTRAP, membership, opened: true, snapshot: None };
        writer.persist(ReplicaWrite { create: Some(create), ..write() });
        writer
    }

    pub(crate) fn persist(&mut self, write: ReplicaWrite) {
        if let Some(first) = write.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(write.entries.iter().cloned());
        }
        self.store.persist_round(vec![write]).expect("nothing fails");
    }

    pub(crate) fn vote(&mut self, term: u64) {
        self.term = term;
        let vote = Vote { term: Term(term), voted_for: Some(replica()) };
        self.persist(ReplicaWrite { vote: Some(vote), ..write() });
    }

    /// Appends entries from `index` on: of so many records each, 0 for what has none. A new term is voted for first.
    pub(crate) fn append(&mut self, index: u64, term: u64, sizes: &[u32]) {
        if term > self.term {
            self.vote(term);
        }
        let before = self.entries.iter().rev().find(|entry| entry.index < Index(index));
        let mut offset = before.map_or(Offset(0), |entry| entry.meta().end_offset());
        let mut entries = Vec::new();
        for (at, records) in sizes.iter().enumerate() {
            let entry = entry(index + at as u64, term, offset, *records);
            offset = entry.meta().end_offset();
            entries.push(entry);
        }
        let commit = Index(index.saturating_sub(2).max(1));
        self.persist(ReplicaWrite { entries, commit, ..write() });
    }
}

pub(crate) fn write() -> ReplicaWrite {
    ReplicaWrite { commit: Index(1), ..ReplicaWrite::new(PARTITION, replica()) }
}

fn entry(index: u64, term: u64, base_offset: Offset, records: u32) -> Entry {
    let text = format!("entry {index} of term {term}");
    let body = match (records, index % 4) {
        (0, 0) => Body::NoOp,
        (0, 1) => Body::Membership(Bytes::from(text)),
        (0, 2) => Body::Control(Bytes::from(text)),
        (0, _) => Body::Command(Bytes::from(text)),
        _ => {
            let mut builder = BatchBuilder::new();
            for number in 0..records {
                let value = format!("{text}, record {number}");
                let record =
                    NewRecord { timestamp_ms: 7, value: Some(value.as_bytes()), ..NewRecord::default() };
                builder.push(&record).expect("it fits");
            }
            let mut batch = builder.finish(Compression::None);
            batch.stamp(base_offset, Term(term));
            Body::Data(batch)
        }
    };
    Entry { index: Index(index), term: Term(term), base_offset, appended_at_ms: 1_000 + index as i64, body }
}

/// One segment of several rounds; nothing but later frames says what was durable.
pub(crate) fn one_segment() -> Written {
    let mut writer = Writer::new();
    writer.persist(ReplicaWrite { segment_size_bytes_max: Some(1 << 20), ..write() });
    writer.append(2, 1, &[1, 0, 2]);
    writer.append(5, 2, &[0, 0, 3, 1]);
    writer.append(9, 4, &[2]);
    // The last frame says that everything before it was durable; without it nobody does.
    Written::of(writer, Index(0))
}

/// Several segments, a conflicting end cut off on the way, then a clean stop.
pub(crate) fn closed() -> Written {
    let mut writer = Writer::new();
    for round in 0..6 {
        writer.append(2 + 2 * round, 1 + round / 2, &[1, (round % 2) as u32]);
    }
    writer.append(13, 5, &[2, 0, 1]);
    writer.append(14, 7, &[1, 1]);
    let Writer { disk, store, entries, term } = writer;
    store.close().expect("nothing fails");
    let store = open(&disk.fork(), 1, 2).expect("it is sound").remove(0).store;
    Written::of(Writer { disk, store, entries, term }, Index(15))
}

/// One that keeps a snapshot, in the middle of its last segment.
pub(crate) fn with_snapshot() -> Written {
    let mut writer = Writer::new();
    writer.append(2, 3, &[0, 0, 0, 0, 0]);
    let snapshot = Some(Snapshot { index: Index(5), data: Bytes::from_static(b"an image") });
    writer.persist(ReplicaWrite { snapshot, commit: Index(5), ..write() });
    writer.append(7, 3, &[0, 0]);
    Written::of(writer, Index(5))
}
