//! Zigzag varints of 32 and 64 bits, as in records of Kafka's message format 2 (and in Protocol Buffers).
//!
//! Longer forms than needed are read, as Kafka reads them, up to 5 and 10 bytes.

use super::RecordError;
use bytes::{BufMut, BytesMut};

pub(super) fn put(buffer: &mut BytesMut, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        buffer.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    buffer.put_u8(rest as u8);
}

/// How many bytes `put` writes.
pub(super) fn len_bytes(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Reads 32 bits from bytes that come one by one.
pub(super) fn read_i32<E: From<RecordError>>(next: impl FnMut() -> Result<u8, E>) -> Result<i32, E> {
    let raw = u32::try_from(read_raw(5, next)?).map_err(|_| RecordError::Varint)?;
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

/// Reads 64 bits from bytes that come one by one.
pub(super) fn read_i64<E: From<RecordError>>(next: impl FnMut() -> Result<u8, E>) -> Result<i64, E> {
    let raw = read_raw(10, next)?;
    Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
}

fn read_raw<E: From<RecordError>>(bytes_max: u32, mut next: impl FnMut() -> Result<u8, E>) -> Result<u64, E> {
    let mut raw = 0_u64;
    for at in 0..bytes_max {
        let byte = next()?;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit only.
        if at == 9 && bits > 1 {
            break;
        }
        raw |= bits << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(raw);
        }
    }
    Err(RecordError::Varint.into())
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}
