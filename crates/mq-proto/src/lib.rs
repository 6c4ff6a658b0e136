//! The generated code of the public gRPC API: the messages, clients and servers of `proto/mq/v1`.
//!
//! Written by hand is the codec only, which bounds what decoding a request takes. Nothing is decided: the meaning of a
//! message stands beside it in its `.proto` file, and the limits it is held to are checked where it arrives.

pub mod codec;

/// Package `mq.v1`. `bytes` fields are [`bytes::Bytes`](prost::bytes::Bytes), maps are ordered.
#[allow(
    missing_docs,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    clippy::pedantic,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("mq.v1");
}

/// The `FileDescriptorSet` of everything above and of what it imports, as server reflection serves it
/// (protobuf bytes, with the comments of the `.proto` files).
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
