//! Fuzz targets. Each is a plain function from bytes to checks, in a module of its own with the inputs to begin with;
//! `cargo fuzz` runs it on inputs without end, and a test runs it on every file of its corpus.
//!
//! A target states what holds for **any** bytes, never what one input gives: that is the business of the crates' own
//! tests.

pub mod batch_decoder;
pub mod configuration;
mod damage;
mod input;
mod live_broker;
pub mod log_operations;
pub mod peer_message;
mod recovered;
pub mod segment_recovery;
pub mod state_log;
mod written;

use std::path::{Path, PathBuf};

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called: its program, and the directory of its corpus.
    pub name: &'static str,
    /// Panics if something does not hold.
    pub check: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "batch_decoder", check: batch_decoder::check, seeds: batch_decoder::seeds },
    Target { name: "segment_recovery", check: segment_recovery::check, seeds: segment_recovery::seeds },
    Target { name: "state_log", check: state_log::check, seeds: state_log::seeds },
    Target { name: "configuration", check: configuration::check, seeds: configuration::seeds },
    Target { name: "log_operations", check: log_operations::check, seeds: log_operations::seeds },
    Target { name: "peer_message", check: peer_message::check, seeds: peer_message::seeds },
];

impl Target {
    /// The directory of its corpus, which need not exist.
    #[must_use]
    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }
}

/// A target as a program without a fuzzer: `NAME FILE...` checks these files, `NAME --seeds DIR` writes the inputs to
/// begin with.
///
/// # Errors
/// A file cannot be read or written.
pub fn replay(name: &str) -> std::io::Result<()> {
    let target = TARGETS.iter().find(|target| target.name == name).expect("every program is in the list");
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|argument| argument == "--seeds").is_some() {
        let directory = PathBuf::from(arguments.next().unwrap_or_else(|| ".".into()));
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number:03}")), seed)?;
        }
        return Ok(());
    }
    for path in arguments {
        (target.check)(&std::fs::read(&path)?);
        println!("{}: good", path.display());
    }
    Ok(())
}
