//! What tests across crates share: a broker as a process, and a ledger of what was sent, acknowledged and read.
//!
//! Nothing of the broker's own code runs here: the broker is the program that a user would start.

pub mod file_system;
pub mod ledger;
pub mod process;
pub mod recorded;
pub mod trace;

/// Says something that must be seen even if the test passes (why it was skipped, what it measured): the test harness
/// holds back what is printed in the ordinary way.
pub fn say(what: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "{what}").expect("somebody listens");
}
