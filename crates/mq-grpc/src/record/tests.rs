//! What decoded records keep in memory.

use super::{decode, encode};
use mq_broker::Fetched;
use mq_proto::v1;
use mq_types::{Compression, Offset, Term};

#[test]
fn a_few_records_do_not_keep_all_that_their_batch_decompressed_to() {
    let value = |number: u32| Some(vec![number as u8; 1_000].into());
    let header = |number| v1::Header { key: "h".to_owned(), value: value(number) };
    let record = |number| v1::Record {
        key: value(number + 1),
        value: value(number),
        headers: vec![header(number + 2)],
        ..Default::default()
    };
    let sent: Vec<_> = (0..1_000).map(record).collect();
    for compression in Compression::ALL {
        let batch = encode(sent.iter(), compression, 1, u64::MAX).expect("it fits");
        let fetched = Fetched {
            batches: vec![batch],
            next_offset: Offset(1_000),
            term: Term(1),
            log_start: Offset(0),
            high_watermark: Offset(1_000),
        };
        let decoded = decode(&fetched, 500, 10_000, 16 << 20).expect("it is sound");
        assert!(decoded.held_bytes <= 10_000, "{compression}: {} bytes", decoded.held_bytes);
        let numbers = 500..500 + decoded.records.len() as u32;
        assert_eq!(decoded.next_offset, i64::from(numbers.end), "{compression}");
        assert!(!decoded.records.is_empty(), "{compression}: one at least");
        for (read, number) in decoded.records.iter().zip(numbers) {
            let sent = record(number);
            assert_eq!((&read.key, &read.value, &read.headers), (&sent.key, &sent.value, &sent.headers));
        }
        let all = decode(&fetched, 0, usize::MAX, 16 << 20).expect("it is sound");
        assert_eq!((all.records.len(), all.next_offset), (1_000, 1_000), "{compression}");
        assert!(all.held_bytes > 3_000_000, "{compression}: {} bytes", all.held_bytes);
    }
}
