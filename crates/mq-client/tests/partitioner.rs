//! The partitioner sends keys where Kafka's clients send them.

use mq_client::partitioner::Partitioner;

#[test]
fn a_key_always_goes_to_the_same_partition_and_an_empty_key_is_a_key() {
    let mut partitioner = Partitioner::starting_at(7, 0);
    let of_key = partitioner.partition(Some(b""));
    assert_eq!(of_key, mq_types::partitioner::partition_for_key(b"", 7).0 as i32);
    partitioner.batch_closed(0);
    assert_eq!(partitioner.partition(Some(b"")), of_key);
}

#[test]
fn records_without_a_key_stick_to_a_partition_until_its_batch_is_closed() {
    let mut partitioner = Partitioner::starting_at(3, 1);
    assert_eq!(partitioner.partition(None), 1);
    partitioner.batch_closed(0); // another partition's batch
    assert_eq!(partitioner.partition(None), 1);
    partitioner.batch_closed(1);
    assert_eq!(partitioner.partition(None), 2);
    partitioner.batch_closed(2);
    assert_eq!(partitioner.partition(None), 0);
}
