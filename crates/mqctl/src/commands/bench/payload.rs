//! The records of a bench: each value says which one it is, and all the rest of it follows from that, so that a reader
//! can tell a damaged, repeated or missing record without having kept what was sent.
//!
//! ```text
//! "mqb1"    connection u16    payload u8    0    run u32    partition u32    sequence u64    due_us u64    check u64
//! body: words of splitmix64 seeded with what stands above
//! ```
//! Little-endian. The check is over all of the head and the length of the value.

use bytes::{BufMut, Bytes, BytesMut};

use crate::cli::bench::Payload;

/// The bytes before the body: no value is shorter.
pub const RECORD_BYTES_MIN: usize = 40;
const MAGIC: [u8; 4] = *b"mqb1";
/// The head without its check.
const CHECKED_BYTES: usize = RECORD_BYTES_MIN - 8;
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Which record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Drawn anew by every bench.
    pub run: u32,
    /// Of that bench, from 0.
    pub connection: u16,
    /// Where it was sent to.
    pub partition: u32,
    /// Counts the records of this connection to this partition, from 0.
    pub sequence: u64,
    /// When it was to be sent, in µs since its bench began.
    pub due_us: u64,
    /// What the body is made of.
    pub payload: Payload,
}

/// A value that began like a bench's record and is not what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamagedRecord {
    /// The head does not fit its check.
    #[error("its first {RECORD_BYTES_MIN} bytes are not as they were sent")]
    Head,
    /// The body is not what belongs to the head.
    #[error("byte {position} of its value is not as it was sent")]
    Body {
        /// The first wrong word begins here, in bytes.
        position: usize,
    },
}

impl Stamp {
    /// A value of this size; never below [`RECORD_BYTES_MIN`].
    pub fn value(&self, size_bytes: usize) -> Bytes {
        assert!(size_bytes >= RECORD_BYTES_MIN, "{size_bytes} bytes, the head alone has {RECORD_BYTES_MIN}");
        let mut value = BytesMut::with_capacity(size_bytes + 8);
        value.put_slice(&MAGIC);
        value.put_u16_le(self.connection);
        value.put_u8(match self.payload {
            Payload::Random => 0,
            Payload::Text => 1,
        });
        value.put_u8(0);
        value.put_u32_le(self.run);
        value.put_u32_le(self.partition);
        value.put_u64_le(self.sequence);
        value.put_u64_le(self.due_us);
        let check = check(&value, size_bytes);
        value.put_u64_le(check);
        let mut words = Words::new(check, self.payload);
        while value.len() < size_bytes {
            value.put_slice(&words.next());
        }
        value.truncate(size_bytes);
        value.freeze()
    }

    /// Which record a value is, if a bench made it, and whether it is as it was sent.
    pub fn read(value: &[u8]) -> Option<Result<Stamp, DamagedRecord>> {
        let (head, body) = value.split_at_checked(RECORD_BYTES_MIN)?;
        head.starts_with(&MAGIC).then(|| Stamp::read_checked(head, body))
    }

    fn read_checked(head: &[u8], body: &[u8]) -> Result<Stamp, DamagedRecord> {
        let (checked, found) = head.split_at(CHECKED_BYTES);
        let check = check(checked, head.len() + body.len());
        let payload = match head[6] {
            0 => Payload::Random,
            1 => Payload::Text,
            _ => return Err(DamagedRecord::Head),
        };
        if *found != check.to_le_bytes() {
            return Err(DamagedRecord::Head);
        }
        let mut words = Words::new(check, payload);
        for (number, found) in body.chunks(8).enumerate() {
            if *found != words.next()[..found.len()] {
                return Err(DamagedRecord::Body { position: RECORD_BYTES_MIN + number * 8 });
            }
        }
        Ok(Stamp {
            connection: u16::from_le_bytes([head[4], head[5]]),
            run: word(head, 8) as u32, // the lower half
            partition: (word(head, 8) >> 32) as u32,
            sequence: word(head, 16),
            due_us: word(head, 24),
            payload,
        })
    }
}

/// The eight bytes at a position.
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the range has eight bytes"))
}

fn check(head: &[u8], size_bytes: usize) -> u64 {
    assert_eq!(head.len(), CHECKED_BYTES, "the head without its check");
    let words = head.chunks_exact(8).map(|bytes| word(bytes, 0));
    words.fold(size_bytes as u64, |sum, word| mix(sum ^ word).wrapping_add(GOLDEN_GAMMA))
}

/// The body, eight bytes after eight.
struct Words {
    state: u64,
    payload: Payload,
}

impl Words {
    fn new(seed: u64, payload: Payload) -> Words {
        Words { state: seed, payload }
    }

    fn next(&mut self) -> [u8; 8] {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        let word = mix(self.state);
        match self.payload {
            Payload::Random => word,
            // Each byte becomes one of the letters a to p.
            Payload::Text => (word & 0x0f0f_0f0f_0f0f_0f0f) + 0x6161_6161_6161_6161,
        }
        .to_le_bytes()
    }
}

/// The output function of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
