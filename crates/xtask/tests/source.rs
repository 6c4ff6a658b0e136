//! Each rule of one Rust file fires on what it is for, and stays quiet on the nearest thing that is allowed.

use xtask::tidy::check_source;

const SHELL: &str = "crates/mq-broker/src/shard.rs";
const PURE: &str = "crates/mq-engine/src/engine.rs";
const OS: &str = "crates/mq-log/src/disk/os.rs";
const TEST: &str = "crates/mq-log/tests/recovery.rs";

/// `rule subject` and line of each finding in a file of this path, with a header put before the code.
fn findings(path: &str, code: &str) -> Vec<(String, usize)> {
    let text = format!("//! A planted file.\n{code}");
    check_source(path, &text).into_iter().map(|f| (format!("{} {}", f.rule, f.subject), f.line)).collect()
}

#[track_caller]
fn fires(path: &str, code: &str, what: &str, line: usize) {
    assert_eq!(findings(path, code), [(what.to_owned(), line)], "in {path}:\n{code}");
}

#[track_caller]
fn quiet(path: &str, code: &str) {
    assert_eq!(findings(path, code), [], "in {path}:\n{code}");
}

/// A function of so many lines.
fn function(name: &str, lines: usize) -> String {
    format!("fn {name}() {{\n{}}}\n", "    work();\n".repeat(lines - 2))
}

#[test]
fn a_file_must_open_by_saying_what_it_is_for() {
    for (text, wrong) in [
        ("//! Says it.\n", false),
        ("//!\n", true),
        ("// Says it.\n", true),
        ("\n//! Says it.\n", true),
        ("", true),
        ("use std::io;\n", true),
    ] {
        let found = check_source(SHELL, text).iter().any(|finding| finding.rule == "header");
        assert_eq!(found, wrong, "{text:?}");
    }
}

#[test]
fn a_file_has_500_lines_at_most_and_a_test_file_800() {
    let lines = |count: usize| "\n".repeat(count - 1); // the header is one more
    quiet(SHELL, &lines(500));
    fires(SHELL, &lines(501), "file-length file", 501);
    quiet(TEST, &lines(800));
    fires(TEST, &lines(801), "file-length file", 801);
}

#[test]
fn a_function_has_70_lines_at_most() {
    quiet(SHELL, &function("fits", 70));
    fires(SHELL, &function("long", 71), "function-length long", 2);
    fires(SHELL, &format!("impl Shard {{\n{}}}", function("method", 71)), "function-length method", 3);
    fires(SHELL, &format!("trait Disk {{\n{}}}", function("given", 71)), "function-length given", 3);
}

#[test]
fn braces_in_texts_and_comments_do_not_end_a_function() {
    let body = "    let text = \"}\"; // }\n    /* } */ let c = '}';\n".repeat(35);
    fires(SHELL, &format!("fn long() {{\n{body}}}\n"), "function-length long", 2);
}

#[test]
fn test_code_may_be_long_and_unwrap() {
    let code = format!("#[test]\n{}", function("long", 90));
    quiet(SHELL, &code);
    quiet(TEST, &function("long", 90));
    quiet("crates/mq-log/src/segment/tests.rs", "fn helper() { open().unwrap(); }");
    quiet(SHELL, "#[cfg(test)]\nmod tests {\n    fn helper() { open().unwrap(); }\n}");
    quiet(SHELL, "#[tokio::test]\nasync fn claim() { open().await.unwrap(); }");
    quiet(SHELL, "#[cfg(any(test, fuzzing))]\nfn helper() { dbg!(1); todo!() }");
    quiet(SHELL, "#![cfg(test)]\nfn helper() { open().unwrap(); }");
}

#[test]
fn test_code_ends_where_its_item_ends() {
    fires(SHELL, "#[cfg(test)]\nmod tests;\nfn shipped() { open().unwrap(); }", "unwrap unwrap", 4);
    fires(SHELL, "#[test]\nfn claim() {}\nfn shipped() { open().unwrap(); }", "unwrap unwrap", 4);
    fires(SHELL, "#[cfg(not(test))]\nfn shipped() { open().unwrap(); }", "unwrap unwrap", 3);
    fires(SHELL, "#[derive(Debug)]\nstruct A;\nfn shipped() { open().unwrap(); }", "unwrap unwrap", 4);
}

#[test]
fn unwrap_and_leftovers_are_found_inside_macros_too() {
    fires(SHELL, "fn f() {\n    open().unwrap();\n}", "unwrap unwrap", 3);
    fires(SHELL, "fn f() {\n    assert!(open().unwrap() == 1);\n}", "unwrap unwrap", 3);
    fires(SHELL, "fn f() {\n    todo!()\n}", "unfinished todo", 3);
    fires(SHELL, "fn f() {\n    println!(\"{}\", dbg!(1));\n}", "unfinished dbg", 3);
}

#[test]
fn what_only_looks_like_unwrap_or_a_leftover_is_allowed() {
    quiet(
        SHELL,
        "// open().unwrap(), todo!()\nfn f() { open().unwrap_or(1); let s = \"x.unwrap() dbg!()\"; }",
    );
    quiet(SHELL, "fn f(todo: bool, more: bool) -> bool { todo != more }");
    quiet(SHELL, "fn unwrap() {}\nfn g() { unwrap(); }");
}

#[test]
fn unsafe_stands_in_one_file_only() {
    fires(SHELL, "fn f() {\n    unsafe { g() }\n}", "unsafe unsafe", 3);
    fires(TEST, "unsafe fn f() {}", "unsafe unsafe", 2);
    quiet(OS, "fn f() { unsafe { g() } }");
    quiet(SHELL, "#![forbid(unsafe_code)]\n// unsafe\n");
}

#[test]
fn a_pure_crate_names_no_clock_no_random_order_no_runtime_no_files() {
    for (code, subject) in [
        ("use std::time::Instant;", "Instant"),
        ("fn f() { let now = std::time::SystemTime::now(); }", "SystemTime"),
        ("use std::collections::{BTreeMap, HashMap};", "HashMap"),
        ("struct S { set: HashSet<u8> }", "HashSet"),
        ("use tokio::sync::mpsc;", "tokio"),
        ("use std::{fs::File, io};", "std::fs"),
        ("fn f() { std::thread::yield_now(); }", "std::thread"),
        ("fn f() -> u64 { rand::random() }", "rand"),
        ("fn f() { assert_eq!(std::fs::read(\"x\").len(), 1); }", "std::fs"),
    ] {
        for pure in ["mq-types", "mq-log", "mq-raft", "mq-engine"] {
            fires(&format!("crates/{pure}/src/lib.rs"), code, &format!("impure {subject}"), 2);
        }
        quiet(SHELL, code);
        quiet(TEST, code);
    }
}

#[test]
fn a_pure_crate_may_name_what_only_looks_impure() {
    quiet(PURE, "use rand_chacha::ChaCha12Rng;\nuse std::{collections::BTreeMap, time::Duration};");
    quiet(PURE, "fn f(rand: u64, tokio: u8) -> u64 { rand + u64::from(tokio) } // Instant, std::fs");
    quiet(PURE, "struct InstantReply;\nfn f(s: S) { s.fs.read(); }");
    quiet(PURE, "#[cfg(test)]\nmod tests { use std::{collections::HashMap, fs}; }");
}

#[test]
fn the_os_disk_may_use_files_but_no_clock() {
    quiet(OS, "use std::{fs::File, thread};");
    fires(OS, "use std::time::Instant;", "impure Instant", 2);
}

#[test]
fn a_limit_says_in_what_it_is_counted() {
    fires(SHELL, "const MAX_NAME: usize = 249;", "limit-unit MAX_NAME", 2);
    fires(SHELL, "struct Options {\n    fetch_max: u32,\n}", "limit-unit fetch_max", 3);
    fires(SHELL, "struct Options {\n    linger_limit: Option<u64>,\n}", "limit-unit linger_limit", 3);
    fires(SHELL, "struct Shared {\n    session_timeout: AtomicU64,\n}", "limit-unit session_timeout", 3);
    fires(SHELL, "enum Error { Full { max: usize } }", "limit-unit max", 2);
    fires(SHELL, "impl Name { const MAX: usize = 249; }", "limit-unit MAX", 2);
    fires(SHELL, "static STATUS_MAX: u8 = 1;", "limit-unit STATUS_MAX", 2);
}

#[test]
fn a_limit_with_a_unit_or_a_type_that_is_one_is_allowed() {
    quiet(SHELL, "const NAME_BYTES_MAX: usize = 249;");
    quiet(
        SHELL,
        "struct Options { fetch_waiters_max: u32, session_timeout_ms: u64, min_insync_replicas: u16 }",
    );
    quiet(SHELL, "struct Options { timeout: Duration, offset_max: Offset, max: Option<Index> }");
    quiet(SHELL, "struct View { size_bytes: u64, minutes: u8, maximal: u8 }");
}

#[test]
fn a_file_that_does_not_parse_is_a_finding_not_a_pass() {
    fires(SHELL, "fn f( {}", "parse file", 2);
    fires(SHELL, "fn f() { ) }", "parse file", 2);
}
