//! Fuzzes the operations of a store: `cargo fuzz` feeds it; built otherwise, it replays the files it is given.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mq_fuzz::log_operations::check(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    mq_fuzz::replay("log_operations")
}
