//! What chance does to stored bytes. The input says where and how much, and never what stands there afterwards: so no
//! damage of this kind carries a right checksum.

use crate::input::Input;

/// How far one damage reaches, in bytes.
const REACH_BYTES_MAX: usize = 256;

/// Does one thing to the bytes.
pub(crate) fn damage(input: &mut Input<'_>, bytes: &mut Vec<u8>) {
    let kind = input.u8() % 5;
    let at = input.below(bytes.len() + 1);
    let reach = (1 + usize::from(input.u8())).min(REACH_BYTES_MAX);
    let range = at..(at + reach).min(bytes.len());
    match kind {
        0 => bytes[range].iter_mut().take(1).for_each(|byte| *byte ^= 1 << (reach % 8)),
        1 => bytes.truncate(at),
        2 => bytes[range].fill(0),
        3 => noise(reach).zip(&mut bytes[range]).for_each(|(noise, byte)| *byte ^= noise),
        // Behind the end: zeros as of preallocated space, or garbage.
        _ if reach % 2 == 0 => bytes.resize(bytes.len() + reach, 0),
        _ => bytes.extend(noise(reach).take(reach)),
    }
}

/// Bytes without a pattern.
fn noise(seed: usize) -> impl Iterator<Item = u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ seed as u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
}
