//! What is small on the wire and large in memory, and what is nothing at all.

use crate::broker::{DECOMPRESSED_BYTES_MAX, produce, produce_batch};
use bytes::{BufMut, BytesMut};
use mq_proto::v1;
use mq_types::Compression;
use mq_types::batch::{BatchBuilder, NewRecord};
use tonic::Status;

/// A batch of `count` records that claims to be, with this data, of this codec.
fn forged(compression: Compression, count: i32, data: &[u8]) -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(&NewRecord::default()).expect("there is room");
    let header = builder.finish(Compression::None).to_bytes();
    let mut batch = BytesMut::from(&header[..61]);
    batch.extend_from_slice(data);
    let length = i32::try_from(batch.len() - 12).expect("it fits");
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[22] = compression.number();
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    let checksum = mq_types::crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    batch.freeze()
}

fn varint(buffer: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1) as u64;
    while rest >= 0x80 {
        buffer.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    buffer.push(rest as u8);
}

/// One record of so many empty headers.
fn empty_headers(count: usize) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 1, 1];
    varint(&mut body, count as i64);
    body.resize(body.len() + 2 * count, 0);
    for value in body.iter_mut().rev().step_by(2).take(count) {
        *value = 1; // null
    }
    let mut record = Vec::new();
    varint(&mut record, body.len() as i64);
    record.extend(body);
    record
}

/// Requests that are refused, and for what reason.
pub(crate) fn bombs() -> Vec<(&'static str, v1::ProduceRequest, &'static str)> {
    let mut bombs = Vec::new();
    let zeros = vec![0; DECOMPRESSED_BYTES_MAX as usize * 2];
    let headers = empty_headers(4 << 20);
    let mut value = vec![0, 0, 0, 1];
    varint(&mut value, zeros.len() as i64);
    let mut record = Vec::new();
    varint(&mut record, (value.len() + zeros.len() + 1) as i64);
    record.extend(value);
    record.extend(&zeros);
    record.push(0);
    // Snappy makes a 21st of it at best: that is already more than a batch may have.
    for (name, expected, headers_name, codec) in [
        ("a gzip bomb", "CORRUPT_BATCH", "headers in gzip", Compression::Gzip),
        ("a snappy bomb", "BATCH_TOO_LARGE", "headers in snappy", Compression::Snappy),
        ("an lz4 bomb", "CORRUPT_BATCH", "headers in lz4", Compression::Lz4),
        ("a zstd bomb", "CORRUPT_BATCH", "headers in zstd", Compression::Zstd),
    ] {
        let compress = |data: &[u8]| codec.compress(data).expect("it compresses");
        let bomb = compress(&record);
        bombs.push((name, produce_batch(forged(codec, 1, &bomb)), expected));
        bombs.push((headers_name, produce_batch(forged(codec, 1, &compress(&headers))), "CORRUPT_BATCH"));
    }
    let lie = |count| produce_batch(forged(Compression::None, count, &[14, 0, 0, 0, 1, 2, b'x', 0]));
    bombs.push(("2^31 records", lie(i32::MAX), "CORRUPT_BATCH"));
    let endless = [0xff; 40];
    bombs.push(("endless numbers", produce_batch(forged(Compression::None, 1, &endless)), "CORRUPT_BATCH"));
    let negative = [1, 0, 0, 0, 1, 1, 0];
    bombs.push((
        "a negative length",
        produce_batch(forged(Compression::None, 1, &negative)),
        "CORRUPT_BATCH",
    ));
    let huge = [0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 1, 0];
    bombs.push(("a huge length", produce_batch(forged(Compression::None, 1, &huge)), "CORRUPT_BATCH"));
    // Two bytes each on the wire.
    let swelling = produce(vec![v1::Record::default(); 500_000]);
    bombs.push(("records that swell", swelling, "INVALID_REQUEST"));
    let record = v1::Record { headers: vec![v1::Header::default(); 500_000], ..Default::default() };
    bombs.push(("headers that swell", produce(vec![record]), "INVALID_REQUEST"));
    bombs
}

/// Bytes of no protocol, and of the wrong one.
pub(crate) fn garbage() -> Vec<Vec<u8>> {
    let mut settings = BytesMut::from(crate::attacker::PREFACE);
    settings.put_slice(&[0xff; 64]);
    vec![
        vec![0; 1 << 16],
        vec![0xff; 1 << 16],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"GET /metrics HTTP/1.1\r\nx: ".iter().copied().chain([b'a'; 1 << 16]).collect(),
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(),
        b"POST /mq.v1.ProducerService/Produce HTTP/1.1\r\ncontent-type: application/grpc-web\r\n\
          content-length: 99999999999999999999\r\n\r\n\0\xff\xff\xff\xff"
            .to_vec(),
        settings.to_vec(),
    ]
}

pub(crate) fn reason(status: &Status) -> &str {
    status.metadata().get("mq-reason").map_or("", |reason| reason.to_str().expect("reasons are ASCII"))
}
