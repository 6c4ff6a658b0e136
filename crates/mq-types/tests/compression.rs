//! The codecs at their edges: foreign framings, data that is not complete, claims that are not true.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use mq_types::Compression;
use mq_types::compression::CapExceeded;
use std::io::{self, Read, Write};

fn decompress(compression: Compression, data: &[u8], cap_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    compression.decompress(data, cap_bytes)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn hits_cap(outcome: io::Result<Vec<u8>>) -> bool {
    outcome.is_err_and(|error| error.downcast::<CapExceeded>().is_ok())
}

fn words(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| b"the quick brown fox "[at % 20] ^ (at / 999) as u8).collect()
}

/// Blocks as java-snappy writes them.
fn xerial(blocks: &[&[u8]]) -> Vec<u8> {
    let mut data = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in blocks {
        let compressed = Compression::Snappy.compress(block).unwrap();
        data.extend_from_slice(&(compressed.len() as i32).to_be_bytes());
        data.extend_from_slice(&compressed);
    }
    data
}

#[test]
fn every_codec_gives_back_what_it_was_given() {
    for size in [0, 1, 100, 70_000, 5_000_000] {
        let words = words(size);
        for compression in Compression::ALL {
            let data = compression.compress(&words).unwrap();
            assert!(
                decompress(compression, &data, size as u64).unwrap() == words,
                "{compression}, {size} bytes"
            );
        }
    }
}

#[test]
fn the_cap_counts_what_comes_out() {
    let words = words(100_000);
    for compression in Compression::ALL {
        let data = compression.compress(&words).unwrap();
        assert!(hits_cap(decompress(compression, &data, 99_999)), "{compression}");
        assert!(hits_cap(decompress(compression, &data, 0)), "{compression}");
    }
}

#[test]
fn data_cut_anywhere_is_an_error() {
    let words = words(3_000);
    for compression in &Compression::ALL[1..] {
        let data = compression.compress(&words).unwrap();
        for end in 1..data.len() {
            assert!(decompress(*compression, &data[..end], 1 << 20).is_err(), "{compression} cut at {end}");
        }
    }
}

#[test]
fn xerial_snappy_is_read_block_by_block() {
    let words = words(100_000);
    let blocks: Vec<&[u8]> = words.chunks(32 * 1024).collect();
    let data = xerial(&blocks);
    assert_eq!(decompress(Compression::Snappy, &data, 100_000).unwrap(), words);
    assert!(hits_cap(decompress(Compression::Snappy, &data, 99_999)));
    assert_eq!(decompress(Compression::Snappy, &xerial(&[b"a", b"", b"b"]), 2).unwrap(), b"ab");
    let block_ends = [16, 16 + 4 + Compression::Snappy.compress(blocks[0]).unwrap().len()];
    for end in (17..data.len()).step_by(97).filter(|end| !block_ends.contains(end)) {
        let cut = decompress(Compression::Snappy, &data[..end], 100_000);
        assert!(cut.is_err() || cut.is_ok_and(|bytes| bytes.len() % (32 * 1024) == 0), "cut at {end}");
    }
}

#[test]
fn a_snappy_length_is_not_believed() {
    // 4 GiB less one, then nothing of it.
    assert!(hits_cap(decompress(Compression::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0], 1 << 20)));
    // Below the cap, and still more than two bytes can hold.
    let claim = decompress(Compression::Snappy, &[0x80, 0x80, 0x20, 0, 0], 1 << 20).unwrap_err();
    assert_eq!(claim.to_string(), "a snappy block claims more bytes than its data can hold");
    // The limit is above what the best compression does.
    let zeros = vec![0; 1 << 20];
    let data = Compression::Snappy.compress(&zeros).unwrap();
    assert_eq!(decompress(Compression::Snappy, &data, 1 << 20).unwrap(), zeros);

    for length in [-1, i32::MIN, i32::MAX, 1_000] {
        let mut data = xerial(&[b"abc"]);
        data[16..20].copy_from_slice(&i32::to_be_bytes(length));
        assert!(decompress(Compression::Snappy, &data, 1 << 20).is_err(), "{length}");
    }
}

#[test]
fn a_zstd_window_beyond_8_mib_is_refused_before_it_is_allocated() {
    // A frame header with a window of 2^(10 + exponent), then one empty last block.
    let frame = |exponent: u8| [0x28, 0xb5, 0x2f, 0xfd, 0x00, exponent << 3, 0x01, 0x00, 0x00];
    assert_eq!(decompress(Compression::Zstd, &frame(13), 0).unwrap(), b"");
    assert!(decompress(Compression::Zstd, &frame(14), 0).is_err());
}

#[test]
fn lz4_frames_are_independent_blocks_complete_and_alone() {
    use lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};
    let lz4 = |info: FrameInfo| {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&words(200_000)).unwrap();
        encoder.finish().unwrap()
    };
    let read = |data: &[u8]| decompress(Compression::Lz4, data, 1 << 20);
    let info = || FrameInfo::new().block_mode(BlockMode::Independent);
    let every_option = lz4(info().block_checksums(true).content_checksum(true).content_size(Some(200_000)));
    assert_eq!(read(&every_option).unwrap(), words(200_000));

    let linked = read(&lz4(FrameInfo::new().block_mode(BlockMode::Linked))).unwrap_err();
    assert_eq!(linked.to_string(), "the blocks of the lz4 frame depend on each other");
    let twice = read(&every_option.repeat(2)).unwrap_err();
    assert_eq!(twice.to_string(), "there are bytes after the lz4 frame");
    assert_eq!(read(b"\x02\x21\x4c\x18\0\0\0\0").unwrap_err().to_string(), "the data is not an lz4 frame");

    // An end mark, and a block that decompresses to nothing, in the middle: the library reads both as the end.
    let header = Compression::Lz4.compress(b"").unwrap()[..7].to_vec();
    let stored = |byte: u8| [1, 0, 0, 0x80, byte];
    let end = [0; 4];
    assert_eq!(read(&[&header[..], &stored(b'a'), &stored(b'b'), &end].concat()).unwrap(), b"ab");
    let empty_block = [1, 0, 0, 0, 0];
    for middle in [&[0, 0, 0, 0x80][..], &empty_block] {
        let data = [&header[..], &stored(b'a'), middle, &stored(b'b'), &end].concat();
        assert_eq!(read(&data).unwrap_err().to_string(), "an lz4 block is empty");
    }
}

#[test]
fn gzip_members_one_after_another_are_one_text() {
    let data = [&b"ab"[..], b"cd"].map(|part| Compression::Gzip.compress(part).unwrap()).concat();
    assert_eq!(decompress(Compression::Gzip, &data, 4).unwrap(), b"abcd");
    assert!(hits_cap(decompress(Compression::Gzip, &data, 3)));
}
