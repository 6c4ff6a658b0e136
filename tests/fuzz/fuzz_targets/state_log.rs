//! Fuzzes the state log: `cargo fuzz` feeds it; built otherwise, it replays the files it is given.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mq_fuzz::state_log::check(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    mq_fuzz::replay("state_log")
}
