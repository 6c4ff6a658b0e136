//! What reflection will show, and what it must not. The meaning of the messages is tested where they are served.

use mq_proto::{FILE_DESCRIPTOR_SET, v1};
use prost::{Message, bytes::Bytes};
use prost_types::FileDescriptorSet;

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptor set is a FileDescriptorSet")
}

#[test]
fn the_served_services_are_described_and_the_queue_sketch_is_not() {
    let mut services: Vec<String> = descriptors()
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(|service| format!("{}.{}", file.package(), service.name())))
        .collect();
    services.sort();
    assert_eq!(
        services,
        [
            "mq.v1.AdminService",
            "mq.v1.ClusterService",
            "mq.v1.ConsumerService",
            "mq.v1.GroupService",
            "mq.v1.ProducerService",
        ]
    );
}

#[test]
fn every_import_is_in_the_set() {
    let set = descriptors();
    for file in &set.file {
        for import in &file.dependency {
            assert!(
                set.file.iter().any(|other| other.name() == import),
                "{} imports {import}, which reflection could not resolve",
                file.name()
            );
        }
    }
}

#[test]
fn a_value_is_shared_with_the_buffer_it_was_decoded_from() {
    let record = v1::Record { value: Some(Bytes::from_static(b"value")), ..Default::default() };
    let buffer = Bytes::from(record.encode_to_vec());
    let decoded = v1::Record::decode(buffer.clone()).expect("a record decodes from its own bytes");
    let value = decoded.value.expect("the value was set");
    assert!(buffer.as_ptr_range().contains(&value.as_ptr()), "the value was copied out of the buffer");
}

#[test]
fn equal_messages_have_equal_bytes_whatever_order_their_maps_were_filled_in() {
    let keys: Vec<String> = (0..100).map(|n| format!("key-{n}")).collect();
    let filled = |keys: &mut dyn Iterator<Item = &String>| {
        let mut request = v1::CreateTopicRequest::default();
        request.configs.extend(keys.map(|key| (key.clone(), String::new())));
        request.encode_to_vec()
    };
    assert_eq!(filled(&mut keys.iter()), filled(&mut keys.iter().rev()));
}
