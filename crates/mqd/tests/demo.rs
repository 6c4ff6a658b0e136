//! `mqd demo`, the first thing a newcomer runs.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn demo(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqd"));
    command.env_clear().env("TMPDIR", directory).current_dir(directory).arg("demo").args(arguments);
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn the_demo_shows_every_line_of_the_readme_read_back_and_leaves_nothing_behind() {
    let directory = directory();
    let (code, said, complaints) = demo(directory.path(), &[]);
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{said}");
    let readme =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let lines = readme.lines().count();
    let plural = if lines == 1 { "" } else { "s" };
    assert!(said.contains(&format!("{lines} line{plural}, byte for byte, in order: all equal")), "{said}");
    assert!(said.contains("All was right.") && said.contains("mqctl consume hello"), "{said}");
    assert!(!said.contains('\x1b'), "no colours where nobody sees them: {said:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the temporary directory is gone");
}

#[test]
fn the_demo_takes_any_file() {
    let directory = directory();
    let mut bytes = Vec::new();
    for number in 0..5_000_u32 {
        // Empty lines, carriage returns, bytes that are not text, and no line end at the end.
        let line: &[u8] = match number % 4 {
            0 => b"",
            1 => b"a line\r",
            2 => &[0, 0xff, 0xfe, 7],
            _ => "räksmörgås".as_bytes(),
        };
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(b"the last one");
    std::fs::write(directory.path().join("lines"), bytes).unwrap();
    let (code, said, complaints) = demo(directory.path(), &["lines"]);
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("5001 records by offset, 1667 + 1667 + 1667 by partition"), "{said}");
}

#[test]
fn the_demo_says_why_it_cannot() {
    let directory = directory();
    std::fs::write(directory.path().join("empty"), "").unwrap();
    for (arguments, expected) in [
        (
            &["--brokers", "3"][..],
            "mqd: this version runs one broker, and 3 were asked for; leave --brokers out\n",
        ),
        (&["empty"], "mqd: empty is empty: there is no line to produce\n"),
        (&["missing"], "mqd: could not open missing: No such file or directory (os error 2)\n"),
    ] {
        let (code, _, complaints) = demo(directory.path(), arguments);
        assert_eq!((code, complaints.as_str()), (Some(1), expected));
    }
    let (code, _, _) = demo(directory.path(), &["--brokers", "0"]);
    assert_eq!(code, Some(2), "no number of brokers");
}

#[test]
fn a_signal_ends_the_demo_and_leaves_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM] {
        let directory = directory();
        let lines = directory.path().join("lines");
        std::fs::write(&lines, "one of many lines\n".repeat(500_000)).unwrap();
        let temporary = directory.path().join("temporary");
        std::fs::create_dir(&temporary).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqd"));
        command.env_clear().env("TMPDIR", &temporary).arg("demo").arg(&lines);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // While the broker starts: as early as there is something to leave behind.
        let left = || std::fs::read_dir(&temporary).unwrap().count();
        while left() == 0 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("interrupted by SIG"), "{said}");
        assert_eq!(left(), 0, "the temporary directory is gone");
    }
}
