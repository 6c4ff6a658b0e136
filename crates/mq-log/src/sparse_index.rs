//! The sparse index of a segment: for every ~16 KiB one point from which to walk. A cache: a point counts only if
//! the frame that it names verifies, and a lost or damaged index is made anew from the frames.
//!
//! One index serves indexes, offsets, times and terms, for all of them grow with the position. The file, little
//! endian:
//!
//! ```text
//!  0 magic "mqix" · 4 version u16 = 1 · 6 bytes of a point u16 = 48 · 8 salt 16 bytes · 24 crc32 u32 of 0..24
//! 28 zero u32
//! 32 points, each:  0 index u64 ·  8 base_offset u64 · 16 term u64 · 24 appended_at i64 · 32 position u64
//!                  40 crc32 u32 of the salt and 0..40 · 44 zero u32
//! ```
//!
//! While its segment is active it grows beside it without syncs; once the segment is sealed, it is synced, mapped
//! into memory when first used, and never changed.

use crate::DiskFile;
use crate::frame::{FrameHeader, Seed, read_u32, read_u64};
use mq_types::{Index, Offset, Term};
use std::io::{self, IoSlice};
use std::sync::{Arc, OnceLock};

/// Bytes before the first point.
pub(crate) const HEADER_BYTES: usize = 32;
/// Bytes of a point.
pub(crate) const POINT_BYTES: usize = 48;
/// The format that this code writes, and the newest that it reads.
pub(crate) const VERSION: u16 = 1;

const MAGIC: &[u8; 4] = b"mqix";

/// Where a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) index: Index,
    pub(crate) base_offset: Offset,
    pub(crate) term: Term,
    pub(crate) appended_at_ms: i64,
    pub(crate) position: u64,
}

impl Point {
    pub(crate) fn of(header: &FrameHeader, position: u64) -> Point {
        Point {
            index: header.index,
            base_offset: header.base_offset,
            term: header.term,
            appended_at_ms: header.appended_at_ms,
            position,
        }
    }

    /// Whether it is this frame that the point names.
    pub(crate) fn names(&self, header: &FrameHeader, position: u64) -> bool {
        *self == Point::of(header, position)
    }

    pub(crate) fn encode(&self, seed: &Seed) -> [u8; POINT_BYTES] {
        let mut bytes = [0; POINT_BYTES];
        bytes[..8].copy_from_slice(&self.index.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.base_offset.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.term.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.appended_at_ms.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.position.to_le_bytes());
        let crc = seed.checksum(&[&bytes[..40]]);
        bytes[40..44].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], seed: &Seed) -> Option<Point> {
        let sound = bytes.len() == POINT_BYTES
            && seed.checksum(&[&bytes[..40]]) == read_u32(bytes, 40)
            && read_u32(bytes, 44) == 0;
        sound.then(|| Point {
            index: Index(read_u64(bytes, 0)),
            base_offset: Offset(read_u64(bytes, 8)),
            term: Term(read_u64(bytes, 16)),
            appended_at_ms: read_u64(bytes, 24) as i64,
            position: read_u64(bytes, 32),
        })
    }
}

/// The bytes before the first point.
pub(crate) fn encode_header(salt: &[u8; 16]) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4..6].copy_from_slice(&VERSION.to_le_bytes());
    bytes[6..8].copy_from_slice(&(POINT_BYTES as u16).to_le_bytes());
    bytes[8..24].copy_from_slice(salt);
    let crc = crc32fast::hash(&bytes[..24]);
    bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Where the points of a segment are.
#[derive(Clone, Debug)]
pub(crate) enum Points<F: DiskFile> {
    /// In the file beside the active segment: this many.
    Growing { file: F, count: u64 },
    /// Those of a sealed segment, found or made when first asked for.
    Sealed(Arc<OnceLock<SealedPoints<F::Map>>>),
}

/// The points of a sealed segment, header included.
#[derive(Debug)]
pub(crate) enum SealedPoints<M> {
    /// As the file has them.
    Mapped(M),
    /// Made anew from the frames, because the file was missing or bad.
    Rebuilt(Vec<u8>),
}

impl<M: std::ops::Deref<Target = [u8]>> SealedPoints<M> {
    fn bytes(&self) -> &[u8] {
        match self {
            SealedPoints::Mapped(map) => map,
            SealedPoints::Rebuilt(bytes) => bytes,
        }
    }

    /// Whether it is this segment's index as far as its header and its size tell.
    pub(crate) fn fits(&self, salt: &[u8; 16]) -> bool {
        let bytes = self.bytes();
        bytes.get(..HEADER_BYTES) == Some(&encode_header(salt)[..])
            && (bytes.len() - HEADER_BYTES).is_multiple_of(POINT_BYTES)
    }

    pub(crate) fn count(&self) -> u64 {
        (self.bytes().len().saturating_sub(HEADER_BYTES) / POINT_BYTES) as u64
    }

    pub(crate) fn get(&self, at: u64, seed: &Seed) -> Option<Point> {
        let start = HEADER_BYTES + at as usize * POINT_BYTES;
        Point::decode(self.bytes().get(start..start + POINT_BYTES)?, seed)
    }
}

/// Reads one point of an index file; `None`: it is missing or bad.
pub(crate) fn read_point<F: DiskFile>(file: &F, at: u64, seed: &Seed) -> io::Result<Option<Point>> {
    let bytes = file.read_at(point_position(at), POINT_BYTES)?;
    Ok(Point::decode(&bytes, seed))
}

pub(crate) fn point_position(at: u64) -> u64 {
    HEADER_BYTES as u64 + at * POINT_BYTES as u64
}

/// Writes points from number `at` on.
pub(crate) fn write_points<F: DiskFile>(file: &F, at: u64, points: &[u8]) -> io::Result<()> {
    assert!(points.len().is_multiple_of(POINT_BYTES), "whole points only");
    file.write_at(point_position(at), &mut [IoSlice::new(points)])
}

/// What a search over points gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The last point for which the condition holds, and its number.
    Point(u64, Point),
    /// It holds for none.
    Nothing,
    /// A point that was looked at is bad: the index is not to be used.
    BadIndex,
}

/// The last of `count` points for which `holds`, which must hold up to some point and for none after it.
pub(crate) fn last_where<E>(
    count: u64,
    mut get: impl FnMut(u64) -> Result<Option<Point>, E>,
    holds: impl Fn(&Point) -> bool,
) -> Result<Found, E> {
    let (mut low, mut high) = (0, count); // it holds below `low` and not from `high` on
    let mut found = Found::Nothing;
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(point) = get(middle)? else { return Ok(Found::BadIndex) };
        if holds(&point) {
            found = Found::Point(middle, point);
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(found)
}
