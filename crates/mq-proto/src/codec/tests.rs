//! What the look at a request counts, and that no trick hides an element from it.

use super::{Count, DEPTH_MAX, REQUEST_ELEMENTS_MAX_COUNT, shapes};
use crate::v1;
use prost::{Message, Name};

fn count_bytes<Request: Name>(bytes: &[u8]) -> (Count, u32) {
    let shape = shapes().of_request::<Request>().expect("every request has a shape");
    let mut left = REQUEST_ELEMENTS_MAX_COUNT;
    let count = shapes().count(shape, bytes, &mut left, DEPTH_MAX);
    (count, REQUEST_ELEMENTS_MAX_COUNT - left)
}

fn produce(records: usize, headers: usize) -> v1::ProduceRequest {
    let record = v1::Record {
        value: Some(vec![0x1a, 0, 0x1a, 0].into()), // looks like headers, and is none
        headers: vec![v1::Header::default(); headers],
        ..Default::default()
    };
    v1::ProduceRequest { topic: "t".to_owned(), records: vec![record; records], ..Default::default() }
}

#[test]
fn records_headers_and_partitions_count_at_any_depth_and_values_do_not() {
    let request = produce(7, 3);
    let bytes = request.encode_to_vec();
    assert_eq!(count_bytes::<v1::ProduceRequest>(&bytes), (Count::Good, 7 + 7 * 3));
    let stream = v1::ProduceStreamRequest { request: Some(request), ..Default::default() };
    assert_eq!(count_bytes::<v1::ProduceStreamRequest>(&stream.encode_to_vec()), (Count::Good, 28));
    let fetch = v1::FetchRequest { partitions: vec![v1::FetchPartition::default(); 5], ..Default::default() };
    assert_eq!(count_bytes::<v1::FetchRequest>(&fetch.encode_to_vec()), (Count::Good, 5));
    let configs = (0..9).map(|key: i32| (key.to_string(), String::new())).collect();
    let create = v1::CreateTopicRequest { configs, ..Default::default() };
    assert_eq!(count_bytes::<v1::CreateTopicRequest>(&create.encode_to_vec()), (Count::Good, 9));
}

#[test]
fn one_element_too_many_is_refused_wherever_it_stands() {
    let most = REQUEST_ELEMENTS_MAX_COUNT as usize;
    let bytes = |records, headers| produce(records, headers).encode_to_vec();
    assert_eq!(count_bytes::<v1::ProduceRequest>(&bytes(most, 0)).0, Count::Good);
    assert_eq!(count_bytes::<v1::ProduceRequest>(&bytes(most + 1, 0)).0, Count::TooMany);
    assert_eq!(count_bytes::<v1::ProduceRequest>(&bytes(1, most - 1)).0, Count::Good);
    assert_eq!(count_bytes::<v1::ProduceRequest>(&bytes(1, most)).0, Count::TooMany);
    // A group before them, or garbage after them, hides nothing.
    let group = [0xa3, 6, 0xa4, 6]; // field 100 begins and ends
    let hidden = [&group[..], &bytes(most + 1, 0), &[0xff; 20]].concat();
    assert_eq!(count_bytes::<v1::ProduceRequest>(&hidden).0, Count::TooMany);
}
