//! Segments, indexes and snapshots that have gone bad, below a state log that has not.
//!
//! An input chooses a written log, then what happens to its files, step by step. Damage by chance (`damage`) has
//! exact consequences, which are checked; frames and points that lie with a right checksum, as no disk but a broken
//! or malicious writer makes them, must not do harm: no panic, and everything that was found agrees with itself.

use crate::damage::damage;
use crate::input::Input;
use crate::recovered::{open_again, read_one};
use crate::written::{self, FRAME_HEADER_BYTES, PARTITION, Written, bytes_of, frames, number, open};
use mq_log::{Disk, MemDisk, OpenError};
use mq_types::crc32c::crc32c;
use mq_types::persist::{RecoveredReplica, Standing};
use mq_types::{EntryKind, Index};
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

/// Things that happen to one log.
const STEPS_MAX: usize = 24;
/// Where the salt of a segment stands in it, and where an index keeps its points.
const SALT: Range<usize> = 96..112;
const POINTS_AT: usize = 32;
const POINT_BYTES: usize = 48;
/// The bytes of a batch that its frame's checksum covers.
const BATCH_PREFIX_BYTES: usize = 21;

/// The logs to choose from.
fn logs() -> &'static [Written; 3] {
    static LOGS: OnceLock<[Written; 3]> = OnceLock::new();
    LOGS.get_or_init(|| [written::one_segment(), written::closed(), written::with_snapshot()])
}

/// Checks everything that holds whatever happens to the files of a log.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let log = input.one_of(logs());
    let disk = log.disk.fork();
    let mut by_chance = true;
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        let (path, original) = input.one_of(&log.files);
        match input.u8() % 8 {
            0..=4 => change(&disk, path, |bytes| damage(&mut input, bytes)),
            5 => drop(disk.unlink(path)),
            6 => {
                by_chance = false;
                let salt = salt_of(log, path);
                change(&disk, path, |bytes| lie(&mut input, path, original, &salt, bytes));
            }
            _ => {
                by_chance = false;
                change(&disk, path, |bytes| write_over(&mut input, bytes));
            }
        }
    }
    let damaged = disk.fork();
    let has_indexes = log.files.iter().filter(|(path, _)| is_index(path)).all(|(path, bytes)| {
        let now = damaged.open(path).map(|_| bytes_of(&damaged, path));
        now.is_ok_and(|now| now == *bytes)
    });
    match open_again(&disk, 1, data.len() as u64, by_chance && has_indexes) {
        Ok(found) => {
            assert_eq!(found.len(), 1, "the state says that there is one replica");
            if by_chance {
                check_damage(log, &damaged, &found[0]);
            }
        }
        Err(error) => {
            assert!(matches!(error, OpenError::NewerFormat { .. }) && !by_chance, "{error}");
        }
    }
}

/// Inputs to begin with: each kind of step on each file.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (number, log) in (0_u8..).zip(logs()) {
        seeds.push(vec![number]);
        for (file, (_, bytes)) in (0_u8..).zip(&log.files) {
            let middle = (bytes.len() as u16 / 2).to_le_bytes();
            let end = (bytes.len() as u16).saturating_sub(10).to_le_bytes();
            for kind in 0..5 {
                seeds.push([&[number, file, 0, kind][..], &middle, &[40]].concat());
                seeds.push([&[number, file, 0, kind][..], &end, &[3]].concat());
            }
            seeds.push(vec![number, file, 5]);
            for field in 0..12 {
                seeds.push([&[number, file, 6, 2, field][..], &[field % 3, 1, 0, 0, 0, 0, 0, 0, 0]].concat());
            }
            seeds.push(
                [&[number, file, 7][..], &end, &[20], &bytes[bytes.len() / 2..][..20.min(bytes.len() / 2)]]
                    .concat(),
            );
        }
    }
    seeds
}

fn is_index(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "idx")
}

fn change(disk: &MemDisk, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    // What has been removed stays so.
    let _ = disk.damage(path, change);
}

/// Writes what the input says.
fn write_over(input: &mut Input<'_>, bytes: &mut Vec<u8>) {
    let at = input.below(bytes.len() + 1);
    let count = usize::from(input.u8());
    let new = input.bytes(count);
    let end = (at + new.len()).max(bytes.len());
    bytes.resize(end, 0);
    bytes[at..at + new.len()].copy_from_slice(new);
}

/// The salt of the segment that this file belongs to.
fn salt_of(log: &Written, path: &Path) -> Vec<u8> {
    let segment = path.with_extension("seg");
    let bytes = log.files.iter().find(|(path, _)| *path == segment).map(|(_, bytes)| bytes.as_slice());
    bytes.and_then(|bytes| bytes.get(SALT)).unwrap_or_default().to_vec()
}

/// Changes a field of a frame or of a point, and puts its checksum right.
fn lie(input: &mut Input<'_>, path: &Path, original: &[u8], salt: &[u8], bytes: &mut [u8]) {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("seg") => {
            let frames = frames(original);
            let at = input.below(frames.len());
            let salt = if at == 0 { &[] } else { salt };
            if let Some(frame) = bytes.get_mut(frames[at].clone()) {
                lie_in_frame(input, salt, frame);
            }
        }
        Some("idx") => {
            let points = original.len().saturating_sub(POINTS_AT) / POINT_BYTES;
            let at = POINTS_AT + input.below(points.max(1)) * POINT_BYTES;
            if let Some(point) = bytes.get_mut(at..at + POINT_BYTES) {
                let field = usize::from(input.u8() % 5) * 8;
                lie_in_field(input, &mut point[field..field + 8]);
                let crc = checksum(&[salt, &point[..40]]);
                point[40..44].copy_from_slice(&crc.to_le_bytes());
            }
        }
        _ => {}
    }
}

fn lie_in_frame(input: &mut Input<'_>, salt: &[u8], frame: &mut [u8]) {
    /// Of a frame's header; the layout stands in the documentation of `mq_log`'s frame.
    const FIELDS: [Range<usize>; 10] =
        [4..8, 8..10, 10..11, 11..12, 12..16, 16..24, 24..32, 32..40, 40..48, 48..56];
    match usize::from(input.u8() % 12) {
        field if field < FIELDS.len() => lie_in_field(input, &mut frame[FIELDS[field].clone()]),
        10 => lie_in_field(input, &mut frame[56..64]),
        _ => {
            let payload = &mut frame[FRAME_HEADER_BYTES..];
            let at = input.below(payload.len().max(1));
            let end = (at + 8).min(payload.len());
            lie_in_field(input, &mut payload[at..end]);
        }
    }
    let is_data = frame[10] == EntryKind::Data as u8;
    let (header, payload) = frame.split_at_mut(FRAME_HEADER_BYTES);
    let mut covered =
        payload.len().min(u32::from_le_bytes(header[4..8].try_into().expect("4 bytes")) as usize);
    if is_data && payload.len() > BATCH_PREFIX_BYTES {
        let crc = crc32c(&payload[BATCH_PREFIX_BYTES..]);
        payload[17..21].copy_from_slice(&crc.to_be_bytes());
        covered = BATCH_PREFIX_BYTES;
    }
    let crc = checksum(&[salt, &header[4..], &payload[..covered]]);
    header[..4].copy_from_slice(&crc.to_le_bytes());
}

/// Replaces a number, or moves it a little.
fn lie_in_field(input: &mut Input<'_>, field: &mut [u8]) {
    let how = input.u8() % 3;
    let word = input.u64();
    let mut old = [0; 8];
    old[..field.len()].copy_from_slice(field);
    let old = u64::from_le_bytes(old);
    let new = match how {
        0 => word,
        1 => old.wrapping_add(word & 0xF),
        _ => old.wrapping_sub(word & 0xF),
    };
    field.copy_from_slice(&new.to_le_bytes()[..field.len()]);
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// What follows from damage by chance: what is left is what was written, and what is missing is owned up to.
fn check_damage(log: &Written, damaged: &MemDisk, found: &RecoveredReplica) {
    let intact = Intact::of(log, damaged);
    assert!(found.last_index <= log.recovered.last_index, "nothing was invented");
    assert_eq!(found.vote, log.recovered.vote, "the state is sound");
    if intact.all_but_indexes {
        assert_eq!(*found, log.recovered, "an index is a cache");
    }
    if found.standing == Standing::Sound {
        assert!(found.last_index >= log.known_durable, "an end below what was durable is not sound");
    }
    if intact.heads {
        assert!(found.last_index >= intact.active_until, "the frames before the damage are there");
    } else {
        assert!(matches!(found.standing, Standing::Lost(_)), "a segment or a snapshot is missing");
    }
    let reopened = open(damaged, 1, 31).expect("it was opened before");
    let reader = reopened[0].store.reader(PARTITION).expect("it was recovered");
    for entry in &log.entries {
        if entry.index > found.last_index {
            break;
        }
        match read_one(&reader, entry.index) {
            Some(read) => assert_eq!(read, *entry, "what can be read is what was written"),
            None => assert!(!intact.entries.contains(&entry.index), "entry {} is intact", entry.index),
        }
    }
}

/// What the damage has left alone.
struct Intact {
    /// Everything but the indexes.
    all_but_indexes: bool,
    /// All heads and snapshots, and all that the state lists is there in its length.
    heads: bool,
    /// The last entry of the newest segment before the damage in it; the entry before its first one if there is none.
    active_until: Index,
    /// The entries before the damage in each segment.
    entries: Vec<Index>,
}

impl Intact {
    fn of(log: &Written, damaged: &MemDisk) -> Intact {
        let mut intact = Intact {
            all_but_indexes: true,
            heads: true,
            active_until: log.recovered.last_index,
            entries: Vec::new(),
        };
        let active = log.active();
        for (path, original) in log.files.iter().filter(|(path, _)| !is_index(path)) {
            let bytes = damaged.open(path).map(|_| bytes_of(damaged, path));
            intact.all_but_indexes &= bytes.as_ref().is_ok_and(|bytes| bytes == original);
            let bytes = bytes.unwrap_or_default();
            if number(path).is_none() {
                intact.heads &= bytes == *original;
                continue;
            }
            // Behind a sealed segment's end may lie what has been cut off; it is dead.
            let sealed = log.recovered.segments.iter().find(|segment| Some(segment.number) == number(path));
            let end = sealed.map_or(0, |segment| segment.size_bytes as usize);
            let original = &original[..end];
            let same = original.iter().zip(&bytes).take_while(|(a, b)| a == b).count();
            let frames = frames(original);
            intact.heads &= same >= frames[0].end && (path == active || bytes.len() >= original.len());
            let index_of = |frame: &Range<usize>| {
                Index(u64::from_le_bytes(
                    original[frame.start + 16..frame.start + 24].try_into().expect("8 bytes"),
                ))
            };
            let before = frames.iter().take_while(|frame| frame.end <= same);
            intact.entries.extend(before.clone().skip(1).map(index_of));
            if path == active {
                intact.active_until = before.last().map_or(Index(0), index_of);
            }
        }
        intact
    }
}
