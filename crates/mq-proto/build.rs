//! Generates the Rust code of the public API from `proto/`, with no protobuf compiler on the machine.
//!
//! `queue_service.proto` is a sketch that no broker serves: it is neither compiled nor reflected.

use std::{env, error::Error, fs, path::PathBuf};

use protox::prost::Message;

/// The files whose services a broker serves, and what those import.
const FILES: [&str; 7] = [
    "mq/v1/admin_service.proto",
    "mq/v1/cluster_service.proto",
    "mq/v1/consumer_service.proto",
    "mq/v1/error.proto",
    "mq/v1/group_service.proto",
    "mq/v1/producer_service.proto",
    "mq/v1/record.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());

    let descriptors = protox::compile(FILES, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    let mut config = prost_build::Config::new();
    config.enable_type_names(); // the codec looks up what a request may hold by its name
    tonic_prost_build::configure()
        .bytes(".") // keys and values are shared with the buffer they came in
        .btree_map(".") // the same message always has the same bytes
        .codec_path("crate::codec::BoundedCodec")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
