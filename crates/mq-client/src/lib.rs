//! The Rust client of mq: one [`Client`] for the calls that ask and change, a [`Producer`] that batches and
//! pipelines, a [`Reader`] that follows many partitions and comes back after a lost connection.
//!
//! Messages are those of `mq_proto::v1`, re-exported as [`v1`]: nothing is renamed on its way through. What this crate
//! adds is the connection, batching, partitioning, credit, retries of what was certainly not carried out, and errors
//! that say what a caller can do next ([`ClientError`]). It holds no consumer-group logic, and it sends every call to
//! the broker it is connected to, which forwards to the leader.
//!
//! ```no_run
//! # async fn example() -> Result<(), mq_client::ClientError> {
//! use mq_client::{Client, Options, ProducerOptions, ProducerRecord};
//!
//! let client = Client::connect(["127.0.0.1:9650"], Options::default()).await?;
//! let producer = client.producer("orders", ProducerOptions::default()).await?;
//! let delivery = producer.send(ProducerRecord::value("one order")).await;
//! println!("stored at offset {}", delivery.await?.offset);
//! # Ok(()) }
//! ```

mod admin;
mod client;
mod error;
mod options;
pub mod partitioner;
mod producer;
mod reader;

pub use client::Client;
pub use error::{Attempt, ClientError, Failure};
pub use mq_proto::v1;
pub use options::{DEFAULT_ENDPOINT, Options};
pub use producer::{Ack, BatchAck, BatchDelivery, Delivery, Producer, ProducerOptions, ProducerRecord};
pub use reader::{Reader, ReaderOptions};
