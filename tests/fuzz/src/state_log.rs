//! State files that have gone bad, above logs that have not.
//!
//! The first byte of an input chooses: damage by chance to either copy, which must give the state before, or an older
//! one that nothing later contradicts, or a refusal; or state files made of payloads in the input, with headers and
//! checksums put right, which must not do harm whatever they claim.

use crate::damage::damage;
use crate::input::Input;
use crate::recovered::open_again;
use crate::written::{Writer, bytes_of, open, write};
use mq_log::disk::Crash;
use mq_log::{Disk, DiskFile, MemDisk, OpenError};
use mq_types::persist::{Create, Membership, RecoveredReplica, ReplicaWrite, Start};
use mq_types::{BrokerId, Index, QuorumId, ReplicaId};
use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Things that happen to the files.
const STEPS_MAX: usize = 24;
/// Batches of a file that is made here.
const BATCHES_MAX: usize = 12;
/// Bytes of a batch's header; the layout stands in the documentation of `mq_log`'s state log.
const HEADER_BYTES: usize = 24;
const GENERATION: u64 = 1;

/// A data directory with two replicas, whose state came to be in many batches.
struct Directory {
    disk: MemDisk,
    copies: [PathBuf; 2],
    /// What is in both copies.
    bytes: Vec<u8>,
    /// Where each batch ends, and what it knew to be durable.
    batches: Vec<(usize, u64)>,
}

fn directory() -> &'static Directory {
    static DIRECTORY: OnceLock<Directory> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let mut writer = Writer::new();
        let other = ReplicaWrite {
            create: Some(Create {
                start: Start::BOOTSTRAP,
                membership: Membership { conf_index: Index(1), ..Membership::default() },
                opened: false,
                snapshot: None,
            }),
            ..ReplicaWrite::new(QuorumId(1025), ReplicaId::new(BrokerId(1), 2))
        };
        writer.persist(other);
        for round in 0..4 {
            writer.vote(2 + round);
            writer.append(2 + 3 * round, 2 + round, &[1, 0, 2]);
        }
        writer.persist(ReplicaWrite { roll: true, commit: Index(9), ..write() });
        let Writer { disk, store, .. } = writer;
        drop(store);
        let disk = disk.crash(Crash::Process);
        let copies = ["a", "b"].map(|copy| PathBuf::from(format!("state/0/{GENERATION}.{copy}")));
        let bytes = bytes_of(&disk, &copies[0]);
        assert_eq!(bytes, bytes_of(&disk, &copies[1]), "two copies");
        let mut batches = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let durable = u64::from_le_bytes(bytes[at + 16..at + 24].try_into().expect("8 bytes"));
            let len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().expect("4 bytes"));
            at += HEADER_BYTES + len as usize;
            batches.push((at, durable));
        }
        Directory { disk, copies, bytes, batches }
    })
}

impl Directory {
    /// The payloads of its batches.
    fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.batches.iter().map(|(end, _)| *end));
        begins.zip(&self.batches).map(|(begin, (end, _))| &self.bytes[begin + HEADER_BYTES..*end])
    }

    /// Which batches are good in this copy.
    fn good(&self, copy: &[u8]) -> Vec<bool> {
        let begins = std::iter::once(0).chain(self.batches.iter().map(|(end, _)| *end));
        let ranges = begins.zip(&self.batches).map(|(begin, (end, _))| begin..*end);
        ranges.map(|range| copy.get(range.clone()) == Some(&self.bytes[range])).collect()
    }
}

/// Checks everything that holds whatever the state files hold.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 2 {
        0 => check_damage(input, data.len() as u64),
        _ => check_claims(input, data.len() as u64),
    }
}

/// Inputs to begin with: each kind of damage to one copy and to both, and the batches as they were written.
pub fn seeds() -> Vec<Vec<u8>> {
    let directory = directory();
    let mut seeds = vec![vec![0]];
    for (end, _) in &directory.batches {
        let at = (*end as u16 - 12).to_le_bytes();
        for kind in 0..5 {
            let both = [&[0, kind][..], &at, &[9], &[1, kind], &at, &[9]].concat();
            seeds.push([&[0], &both[..5]].concat());
            seeds.push([&[0], &both[..]].concat());
        }
    }
    let mut all = vec![1, 0];
    for payload in directory.payloads() {
        let batch = [&[0][..], &(payload.len() as u16).to_le_bytes(), payload].concat();
        all.extend_from_slice(&batch);
        seeds.push([&[1, 0][..], &batch].concat());
    }
    seeds.push(all);
    seeds
}

/// Damage by chance.
fn check_damage(mut input: Input<'_>, seed: u64) {
    let directory = directory();
    let disk = directory.disk.fork();
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        let path = input.one_of(&directory.copies);
        disk.damage(path, |bytes| damage(&mut input, bytes)).expect("it exists");
    }
    let good = directory.copies.each_ref().map(|path| directory.good(&bytes_of(&disk, path)));
    let good: Vec<bool> = good[0].iter().zip(&good[1]).map(|(a, b)| *a || *b).collect();
    let kept = good.iter().take_while(|good| **good).count();
    let end = kept.checked_sub(1).map_or(0, |last| directory.batches[last].0);
    let later = good.iter().zip(&directory.batches).skip(kept);
    let contradicted = later.filter(|(good, _)| **good).any(|(_, (_, durable))| *durable > end as u64);
    match open_again(&disk, 1, seed, true) {
        Ok(found) => {
            assert!(!contradicted, "an older state, and a later batch says that more was durable");
            assert!(kept > 0, "a state out of nothing");
            assert_eq!(found, state_after(directory, end), "the state up to the last good batch");
        }
        Err(OpenError::StateUnknown { position, .. }) => {
            assert!(contradicted, "nothing says that this is not an end");
            assert_eq!(position, end as u64);
        }
        Err(OpenError::StateMissing { .. }) => assert!(kept == 0 && !contradicted),
        Err(error) => panic!("{error}"),
    }
}

/// What is found if both copies end here.
fn state_after(directory: &Directory, end: usize) -> Vec<RecoveredReplica> {
    let disk = directory.disk.fork();
    for path in &directory.copies {
        disk.damage(path, |bytes| bytes.truncate(end)).expect("it exists");
    }
    let opened = open(&disk, 1, 41).expect("the state is sound");
    opened.into_iter().flat_map(|shard| shard.recovered).collect()
}

/// State files with claims of the input's, and right checksums.
fn check_claims(mut input: Input<'_>, seed: u64) {
    let disk = directory().disk.fork();
    let more_shards = input.u8() % 4 == 3;
    directory().copies.iter().for_each(|path| disk.unlink(path).expect("it exists"));
    let mut copies: [Vec<u8>; 2] = Default::default();
    for _ in 0..BATCHES_MAX {
        if input.is_empty() {
            break;
        }
        let kind = input.u8();
        let count = usize::from(input.u16());
        let payload = input.bytes(count);
        // Which copies it is in, and whether it knew all before it to be durable.
        for (number, copy) in copies.iter_mut().enumerate() {
            if kind & (1 << number) == 0 {
                let durable = if kind & 4 == 0 { copy.len() as u64 } else { u64::from(kind) };
                let batch = encode(durable, kind, payload);
                copy.extend_from_slice(&batch);
            } else {
                copy.resize(copy.len() + HEADER_BYTES + payload.len(), 0);
            }
        }
    }
    for (path, bytes) in directory().copies.iter().zip(&copies) {
        let file = disk.create(path).expect("it was removed");
        file.write_at(0, &mut [IoSlice::new(bytes)]).expect("there is room");
    }
    let disk = disk.crash(Crash::Process);
    let _ = open_again(&disk, if more_shards { 3 } else { 1 }, seed, true);
}

/// A batch with a right checksum.
fn encode(durable: u64, kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut batch = vec![0; HEADER_BYTES];
    batch[..4].copy_from_slice(b"mqst");
    batch[4..6].copy_from_slice(&(1 + u16::from(kind == u8::MAX)).to_le_bytes());
    batch[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    batch[16..24].copy_from_slice(&durable.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&0_u16.to_le_bytes());
    hasher.update(&GENERATION.to_le_bytes());
    hasher.update(&batch[..12]);
    hasher.update(&batch[16..]);
    hasher.update(payload);
    batch[12..16].copy_from_slice(&hasher.finalize().to_le_bytes());
    batch.extend_from_slice(payload);
    batch
}
