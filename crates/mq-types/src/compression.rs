//! The codecs of record batches: their numbers, names, and how to compress and decompress.
//!
//! Decompression is a stream with a cap, because what comes from a client may be made to blow up: memory is bounded
//! by the cap and by constants of the codecs, never by what the data claims. Batches and records are not known here.

use std::{
    fmt,
    io::{self, Read, Write},
    str::FromStr,
};

mod lz4;
mod snappy;

/// zstd's window may be 2^23 bytes (8 MiB) at most. Levels up to 19 stay within it (the default of every Kafka client
/// is 3); a frame that asks for more is refused, since the window is allocated before anything is known of the data.
const ZSTD_WINDOW_LOG2_MAX: u32 = 23;
/// zstd's own default, also of every Kafka client.
const ZSTD_LEVEL: i32 = 3;

/// How the records of a batch are compressed. The numbers are Kafka's, in the batch's attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Raw snappy, as librdkafka and franz-go write it. Read also in the frame of java-snappy ("xerial").
    Snappy = 2,
    /// One LZ4 frame.
    Lz4 = 3,
    /// RFC 8878.
    Zstd = 4,
}

/// No codec has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no compression {name:?}; choose none, gzip, snappy, lz4 or zstd")]
pub struct UnknownCompressionName {
    /// What was asked for.
    pub name: String,
}

/// The data decompresses to more than the cap allows. [`Compression::decompress`] wraps it in its `io::Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data decompresses to more than the {cap_bytes} bytes allowed")]
pub struct CapExceeded {
    /// The cap, in bytes.
    pub cap_bytes: u64,
}

impl Compression {
    /// Every codec, in the order of their numbers.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The codec with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Compression> {
        Compression::ALL.get(usize::from(number)).copied()
    }

    /// Its number in a batch's attributes.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Its name, as Kafka's `compression.type` has it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// Compresses `data` at the codec's default level.
    ///
    /// # Errors
    /// Only what the codec itself cannot do: snappy ends at 4 GiB.
    pub fn compress(self, data: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Compression::None => Ok(data.to_vec()),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(data)?;
                encoder.finish()
            }
            Compression::Snappy => Ok(snap::raw::Encoder::new().compress_vec(data)?),
            Compression::Lz4 => lz4::compress(data),
            Compression::Zstd => zstd::bulk::compress(data, ZSTD_LEVEL),
        }
    }

    /// A reader of the decompressed bytes. It ends where the data ends, and data ends with the input: bytes left over
    /// or missing are an error.
    ///
    /// # Errors
    /// Those of `read`: the data is not of this codec, or decompresses to more than `cap_bytes` (the error then holds
    /// [`CapExceeded`]). No error comes back from a read that also yields bytes.
    pub fn decompress(self, data: &[u8], cap_bytes: u64) -> io::Result<Decompressor<'_>> {
        let inner: Box<dyn Read + '_> = match self {
            Compression::None => Box::new(data),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(data)),
            Compression::Snappy => Box::new(snappy::Reader::new(data, cap_bytes)),
            Compression::Lz4 => Box::new(lz4::Reader::new(data)?),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(data)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG2_MAX)?;
                Box::new(decoder)
            }
        };
        Ok(Decompressor { inner, cap_bytes, left_bytes: cap_bytes })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Compression {
    type Err = UnknownCompressionName;

    fn from_str(name: &str) -> Result<Compression, UnknownCompressionName> {
        Compression::ALL
            .into_iter()
            .find(|codec| codec.name() == name)
            .ok_or_else(|| UnknownCompressionName { name: name.to_owned() })
    }
}

/// Decompresses as it is read, up to a cap. See [`Compression::decompress`].
pub struct Decompressor<'a> {
    inner: Box<dyn Read + 'a>,
    cap_bytes: u64,
    left_bytes: u64,
}

impl fmt::Debug for Decompressor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor")
            .field("cap_bytes", &self.cap_bytes)
            .field("left_bytes", &self.left_bytes)
            .finish_non_exhaustive()
    }
}

impl Read for Decompressor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One byte more than is left is asked for: only that tells data of exactly the cap from longer data.
        let wanted =
            buffer.len().min(usize::try_from(self.left_bytes.saturating_add(1)).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..wanted])?;
        match self.left_bytes.checked_sub(read as u64) {
            Some(left) => {
                self.left_bytes = left;
                Ok(read)
            }
            None => Err(cap_exceeded(self.cap_bytes)),
        }
    }
}

/// The cap's error in the form that `Read` wants.
fn cap_exceeded(cap_bytes: u64) -> io::Error {
    io::Error::other(CapExceeded { cap_bytes })
}

/// Data that is not what its codec demands.
fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
