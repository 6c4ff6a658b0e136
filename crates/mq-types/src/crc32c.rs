//! CRC-32C (Castagnoli), the checksum of record batches. The one place that names the algorithm.
//!
//! Our own frames use plain CRC-32 and do not come here.

use crc_fast::CrcAlgorithm;

/// The CRC-32C of these bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    // The crate answers every width in 64 bits; this algorithm fills the lower 32.
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}
