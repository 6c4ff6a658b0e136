//! Pasted lines of a trace, and histories that are in order, odd or wrong.

use super::strace::{BadLine, Call, calls};
use super::{Acknowledged, Early, check, http2};

/// A record of one letter in angle brackets; `\x3c` is the first and `\x3e` the last of its bytes.
const WRITE: &str = r#"101 pwritev(14<\x2f\x61\x2e\x73\x65\x67>, [{iov_base="\x00\x01", iov_len=2}, {iov_base="\x3c\x41\x3e", iov_len=3}], 2, 4096) = 5"#;
const SYNC: &str = r"101 fdatasync(14<\x2f\x61\x2e\x73\x65\x67>) = 0";
const SYNC_OTHER: &str = r"101 fdatasync(15<\x2f\x62\x2e\x73\x65\x67>) = 0";
const SYNC_ALL: &str = r"101 syncfs(9<\x2f\x64>) = 0";
const SYNC_FAILS: &str = r"101 fdatasync(14<\x2f\x61\x2e\x73\x65\x67>) = -1 EIO (Input/output error)";
const SYNC_BEGINS: &str = r"102 fdatasync(14<\x2f\x61\x2e\x73\x65\x67> <unfinished ...>";
const SYNC_ENDS: &str = "102 <... fdatasync resumed>)          = 0";
/// A settings frame, and a data frame on stream 1 with a message of two bytes.
const ANSWER: &str = r#"103 writev(20<TCP:[127.0.0.1:9650->127.0.0.1:43210]>, [{iov_base="\x00\x00\x00\x04\x01\x00\x00\x00\x00", iov_len=9}, {iov_base="\x00\x00\x07\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x02\x08\x07", iov_len=16}], 2) = 25"#;

fn trace(lines: &[&str]) -> Vec<Call> {
    calls(&lines.join("\n")).expect("strace wrote it")
}

/// What comes of a history in which the one answer acknowledges the one record.
fn checked(lines: &[&str]) -> Result<usize, Early> {
    let calls = trace(lines);
    let said = http2::messages(&calls, "127.0.0.1:9650");
    let acknowledged: Vec<_> = said
        .iter()
        .map(|message| Acknowledged { marker: b"<A>".to_vec(), sent_at: message.sent_at })
        .collect();
    check(&calls, &acknowledged, b"<", b'>').map_err(|(_, early)| early)
}

#[test]
fn a_call_is_read_whole_and_in_two_parts() {
    let found = trace(&[SYNC_BEGINS, WRITE, "102 +++ exited with 0 +++", SYNC_ENDS]);
    let write = Call {
        name: "pwritev".to_owned(),
        began: 2,
        returned: 2,
        file: "/a.seg".to_owned(),
        data: b"\x00\x01<A>".to_vec(),
        result: 5,
    };
    assert_eq!(found[0], write);
    assert_eq!((found[1].name.as_str(), found[1].began, found[1].returned), ("fdatasync", 1, 4));
    assert!(found[1].is_sync() && found[1].data.is_empty());
}

#[test]
fn only_the_bytes_that_were_taken_count() {
    let short = WRITE.replace(" = 5", " = 4");
    assert_eq!(trace(&[&short])[0].data, b"\x00\x01<A");
    assert_eq!(trace(&[&WRITE.replace(" = 5", " = -1 ENOSPC (No space left)")])[0].data, b"");
    assert!(trace(&[&WRITE.replace(" = 5", " = ?")]).is_empty(), "it never returned");
}

#[test]
fn lines_that_strace_does_not_write_are_refused() {
    let cut = WRITE.replace(r#"\x3e""#, r#"\x3e"..."#);
    let lines = ["101", "101 nonsense", SYNC_ENDS, &SYNC.replace(r"\x2f", r"\q2f"), &cut];
    for line in lines {
        let refused: Result<_, BadLine> = calls(line);
        assert!(refused.is_err(), "{line}");
    }
}

#[test]
fn a_message_counts_when_its_last_byte_leaves() {
    let (half, rest) = (r#"\x00\x00\x07\x00\x00\x00\x00\x00\x01\x00\x00"#, r#"\x00\x00\x02\x08\x07"#);
    let send = |bytes| {
        format!(r#"103 sendto(20<TCP:[127.0.0.1:9650->127.0.0.1:43210]>, "{bytes}", 9, 0, NULL, 0) = 11"#)
    };
    let lines =
        [send(half), ANSWER.replace("43210", "43211"), send(rest).replace("9650", "9651"), send(rest)];
    let said = http2::messages(&trace(&lines.each_ref().map(String::as_str)), "127.0.0.1:9650");
    let places: Vec<_> = said.iter().map(|message| (message.sent_at, message.bytes.as_slice())).collect();
    assert_eq!(places, [(2, &b"\x08\x07"[..]), (4, &b"\x08\x07"[..])]);
}

#[test]
fn histories_in_order_pass() {
    let below = WRITE.replace(r"\x2f\x61", r"\x2f\x64\x2f\x61");
    let histories: [&[&str]; 5] = [
        &[&below, SYNC_ALL, ANSWER],
        &[WRITE, SYNC, ANSWER],
        &[WRITE, SYNC_OTHER, SYNC, SYNC_OTHER, ANSWER],
        &[SYNC_BEGINS, WRITE, SYNC_ENDS, SYNC, ANSWER],
        // The first write is not covered; the record is in another file too.
        &[WRITE, r#"101 write(15<\x2f\x62\x2e\x73\x65\x67>, "\x3c\x41\x3e", 3) = 3"#, SYNC_OTHER, ANSWER],
    ];
    for history in histories {
        assert_eq!(checked(history), Ok(1), "{history:#?}");
    }
}

#[test]
fn answers_that_leave_too_early_are_found() {
    let not_synced: [&[&str]; 7] = [
        &[WRITE, SYNC_ALL, ANSWER],
        &[WRITE, ANSWER],
        &[WRITE, ANSWER, SYNC],
        &[WRITE, SYNC_BEGINS, ANSWER, SYNC_ENDS],
        &[SYNC_BEGINS, WRITE, SYNC_ENDS, ANSWER],
        &[WRITE, SYNC_OTHER, ANSWER],
        &[WRITE, SYNC_FAILS, ANSWER],
    ];
    for history in not_synced {
        assert!(matches!(checked(history), Err(Early::NotSynced { .. })), "{history:#?}");
    }
    for history in [&[ANSWER, WRITE, SYNC][..], &[ANSWER]] {
        assert!(matches!(checked(history), Err(Early::NotWritten { .. })), "{history:#?}");
    }
}
