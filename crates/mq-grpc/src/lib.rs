//! The gRPC front end: one file per service, each of which converts, calls the broker, and converts back.
//!
//! Nothing is decided here and no state is held between calls; a stream's position is its only memory.

mod admin;
mod answers;
mod calls;
mod cluster;
mod connections;
mod consumer;
mod cursor;
mod deadline;
mod fetch_stream;
mod group;
mod intake;
mod outlet;
mod permission;
mod position;
mod produce_stream;
mod producer;
mod read;
mod record;
mod server;
mod status;
mod workers;

pub use permission::{Permission, permission};
pub use server::{Options, Server};
