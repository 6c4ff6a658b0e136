//! The program `mqctl`: arguments in, exit code out. What it does is in the library beside it.

use std::process::ExitCode;

/// Answers of many megabytes are allocated faster than by glibc.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    mqctl::main()
}
