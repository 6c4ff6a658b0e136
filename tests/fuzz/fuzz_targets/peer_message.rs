//! Fuzzes what peers say to a live engine: `cargo fuzz` feeds it; built otherwise, it replays the files it is given.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| mq_fuzz::peer_message::check(data));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    mq_fuzz::replay("peer_message")
}
