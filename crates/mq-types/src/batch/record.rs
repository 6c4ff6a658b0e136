//! One record within a batch: its layout, written and read. How a batch strings records together is not known here.
//!
//! Source: the Kafka protocol documentation, "Record". `varint` is zigzag, 32 bits unless it says 64.
//!
//! ```text
//! length varint    attributes i8 (0)    timestampDelta varint64    offsetDelta varint
//! keyLength varint (-1: null)    key    valueLength varint (-1: null)    value
//! headerCount varint    { keyLength varint    key (UTF-8)    valueLength varint (-1: null)    value }*
//! ```
//! The length counts what follows it.

use super::{RecordError, RecordField, varint};
use crate::Offset;
use bytes::{BufMut, Bytes, BytesMut};

/// A header has two lengths at least: so many bytes.
const HEADER_BYTES_MIN: u64 = 2;

/// One record, as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number in the partition.
    pub offset: Offset,
    /// In ms since the Unix epoch; whose clock it is, the batch's timestamp type says.
    pub timestamp_ms: i64,
    /// What it is about; `None`: null.
    pub key: Option<Bytes>,
    /// What it says; `None`: null, a tombstone where the topic is compacted.
    pub value: Option<Bytes>,
    /// In the order in which they were sent; keys may repeat.
    pub headers: Vec<RecordHeader>,
}

/// One header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Its name.
    pub key: String,
    /// Its value; `None`: null.
    pub value: Option<Bytes>,
}

/// What a producer says of a record: everything but where it will stand. Borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewRecord<'a> {
    /// In ms since the Unix epoch.
    pub timestamp_ms: i64,
    /// What it is about; `None`: null.
    pub key: Option<&'a [u8]>,
    /// What it says; `None`: null.
    pub value: Option<&'a [u8]>,
    /// Names and values, in this order; a value of `None` is null.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl NewRecord<'_> {
    /// Bytes after the length field.
    pub(super) fn body_bytes(&self, timestamp_delta_ms: i64, offset_delta: u32) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(key, value)| field_bytes(Some(key.as_bytes())) + field_bytes(*value))
            .sum();
        1 + varint::len_bytes(timestamp_delta_ms)
            + varint::len_bytes(i64::from(offset_delta))
            + field_bytes(self.key)
            + field_bytes(self.value)
            + varint::len_bytes(self.headers.len() as i64)
            + headers
    }

    /// Writes the record; `body_bytes` is what the method of that name answers.
    pub(super) fn put(
        &self,
        buffer: &mut BytesMut,
        body_bytes: usize,
        timestamp_delta_ms: i64,
        offset_delta: u32,
    ) {
        varint::put(buffer, body_bytes as i64);
        let begin = buffer.len();
        buffer.put_i8(0);
        varint::put(buffer, timestamp_delta_ms);
        varint::put(buffer, i64::from(offset_delta));
        put_field(buffer, self.key);
        put_field(buffer, self.value);
        varint::put(buffer, self.headers.len() as i64);
        for (key, value) in self.headers {
            put_field(buffer, Some(key.as_bytes()));
            put_field(buffer, *value);
        }
        assert_eq!(buffer.len() - begin, body_bytes, "a record is as long as it says");
    }
}

fn field_bytes(field: Option<&[u8]>) -> usize {
    field.map_or(1, |bytes| varint::len_bytes(bytes.len() as i64) + bytes.len())
}

fn put_field(buffer: &mut BytesMut, field: Option<&[u8]>) {
    match field {
        None => varint::put(buffer, -1),
        Some(bytes) => {
            varint::put(buffer, bytes.len() as i64);
            buffer.extend_from_slice(bytes);
        }
    }
}

/// Where records are read from: [`records`](super::records) slices them out of bytes in memory,
/// [`validate`](super::validate) lets them stream by and keeps nothing.
pub(super) trait Input {
    /// Why reading fails; a broken record at least.
    type Error: From<RecordError>;
    /// What is kept of a key or a value.
    type Piece;

    /// The next byte. Within a record it must lie within its length.
    fn byte(&mut self) -> Result<u8, Self::Error>;
    /// From here on, a record of this many bytes.
    fn enter(&mut self, length: u32) -> Result<(), Self::Error>;
    /// The bytes of the record not read yet.
    fn left_bytes(&self) -> u64;
    /// The record is read; what comes next is outside it.
    fn leave(&mut self);
    /// The next `length` bytes; the caller has checked that they lie within the record.
    fn piece(&mut self, length: u32) -> Result<Self::Piece, Self::Error>;
    /// A header: a key of `key_length` bytes, which must be UTF-8, to be read here and now, in one go.
    fn header_key(&mut self, key_length: u32) -> Result<(), Self::Error>;
    /// The value of the header whose key came before it.
    fn header_value(&mut self, value: Option<Self::Piece>);
}

/// A record as it was read; the input has its headers.
pub(super) struct Parsed<P> {
    pub(super) timestamp_delta_ms: i64,
    pub(super) offset_delta: i32,
    pub(super) key: Option<P>,
    pub(super) value: Option<P>,
}

/// Reads one record. Nothing is allocated here: a length is checked against what is left before anybody acts on it.
pub(super) fn read<I: Input>(input: &mut I) -> Result<Parsed<I::Piece>, I::Error> {
    let length = varint::read_i32(|| input.byte())?;
    input.enter(u32::try_from(length).map_err(|_| RecordError::Length { length })?)?;
    let bits = input.byte()?;
    if bits != 0 {
        return Err(RecordError::Attributes { bits }.into());
    }
    let timestamp_delta_ms = varint::read_i64(|| input.byte())?;
    let offset_delta = varint::read_i32(|| input.byte())?;
    let key = read_nullable(input, RecordField::Key)?;
    let value = read_nullable(input, RecordField::Value)?;

    let count = varint::read_i32(|| input.byte())?;
    let left_bytes = input.left_bytes();
    if count < 0 || i64::from(count).cast_unsigned() > left_bytes / HEADER_BYTES_MIN {
        return Err(RecordError::HeaderCount { count, left_bytes }.into());
    }
    for _ in 0..count {
        let length = varint::read_i32(|| input.byte())?;
        let key_length = checked_length(input, RecordField::HeaderKey, length)?;
        input.header_key(key_length)?;
        let value = read_nullable(input, RecordField::HeaderValue)?;
        input.header_value(value);
    }
    match input.left_bytes() {
        0 => input.leave(),
        excess_bytes => return Err(RecordError::ExcessBytes { excess_bytes }.into()),
    }
    Ok(Parsed { timestamp_delta_ms, offset_delta, key, value })
}

fn read_nullable<I: Input>(input: &mut I, field: RecordField) -> Result<Option<I::Piece>, I::Error> {
    match varint::read_i32(|| input.byte())? {
        -1 => Ok(None),
        length => {
            let length = checked_length(input, field, length)?;
            input.piece(length).map(Some)
        }
    }
}

fn checked_length<I: Input>(input: &I, field: RecordField, length: i32) -> Result<u32, I::Error> {
    let left_bytes = input.left_bytes();
    match u32::try_from(length) {
        Ok(fits) if u64::from(fits) <= left_bytes => Ok(fits),
        _ => Err(RecordError::FieldLength { field, length, left_bytes }.into()),
    }
}
