//! The controller: the cluster's metadata as a machine (commands in, an image, a snapshot of the image).
//!
//! The log that keeps the commands, and who leads it, are not its business: the engine hands it what was committed.

mod apply;
mod command;
mod command_wire;
#[expect(clippy::module_inception, reason = "a file is named for the noun it holds")]
mod controller;
mod image;
mod image_wire;
mod members;
mod placement;
mod plan;
mod rejection;
mod request;
mod topic_config;
mod wire;

pub use apply::Applied;
pub use command::Command;
pub use controller::{Controller, Options, RecoverError};
pub use image::{BrokerInfo, Image, Inconsistent, PartitionInfo, Topic};
pub use members::{Health, Members, ReplicaInfo};
pub use placement::{PlacementError, place};
pub use plan::Planned;
pub use rejection::Rejection;
pub use request::{Reply, Request};
pub use topic_config::{ConfigError, Described, TopicConfig};
pub use wire::DecodeError;
