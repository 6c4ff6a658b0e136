//! What `strace` writes about a process and all its threads: one call a line, or two where another thread's line came
//! in between. The lines are in the order in which calls began and returned.
//!
//! It understands what [`ARGUMENTS`] make strace write, and only calls whose first argument is a file descriptor.

use std::collections::BTreeMap;

/// Every byte in hex and none left out; descriptors with their file or connection; the tracer as the broker's own
/// grandchild, so that whoever started it has the broker itself for a child.
pub const ARGUMENTS: [&str; 9] = [
    "-D",
    "-f",
    "--seccomp-bpf",
    "-xx",
    "-yy",
    "-s",
    "16777216",
    "-e",
    "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fdatasync,fsync,syncfs",
];

/// One call, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Where in the trace it began; the number of a line, from 1.
    pub began: usize,
    /// Where in the trace it had returned.
    pub returned: usize,
    /// What its descriptor stands for: a path, or a connection (`TCP:[from->to]`).
    pub file: String,
    /// The bytes that it was given and has taken.
    pub data: Vec<u8>,
    /// What it returned.
    pub result: i64,
}

/// A line that is none of strace's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the trace is not understood ({why}): {text}")]
pub struct BadLine {
    line: usize,
    why: &'static str,
    text: String,
}

impl Call {
    /// Whether it makes something durable.
    pub fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fdatasync" | "fsync" | "syncfs")
    }

    /// Whether it makes this file durable: its own, or any below the directory of a `syncfs`.
    pub fn syncs(&self, file: &str) -> bool {
        match self.name.as_str() {
            "syncfs" => file.strip_prefix(&*self.file).is_some_and(|below| below.starts_with('/')),
            _ => self.is_sync() && self.file == file,
        }
    }

    /// Whether its descriptor is a file's.
    pub fn is_to_a_file(&self) -> bool {
        self.file.starts_with('/')
    }
}

/// The calls that have returned, in the order in which they did.
pub fn calls(trace: &str) -> Result<Vec<Call>, BadLine> {
    let mut calls = Vec::new();
    // By thread: the line on which its call began, and what stands there.
    let mut unfinished: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (line, text) in (1..).zip(trace.lines()) {
        let bad = |why| BadLine { line, why, text: text.chars().take(200).collect() };
        let (thread, rest) = text.split_once(' ').ok_or_else(|| bad("no thread id"))?;
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(begin) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, (line, begin.trim_end()));
            continue;
        }
        let (began, whole) = match rest.strip_prefix("<... ") {
            None => (line, rest.to_owned()),
            Some(resumed) => {
                let (began, begin) = unfinished.remove(thread).ok_or_else(|| bad("it never began"))?;
                let (_, end) = resumed.split_once(" resumed>").ok_or_else(|| bad("no end of its name"))?;
                (began, format!("{begin}{end}"))
            }
        };
        calls.extend(call(&whole, began, line).map_err(bad)?);
    }
    Ok(calls)
}

/// One whole call; `None`: the process ended inside it.
fn call(text: &str, began: usize, returned: usize) -> Result<Option<Call>, &'static str> {
    let (name, rest) = text.split_once('(').ok_or("no name")?;
    let (arguments, result) = rest.rsplit_once(" = ").ok_or("no result")?;
    if result.starts_with('?') {
        return Ok(None);
    }
    let result = result.split([' ', '<']).next().unwrap_or_default();
    let result: i64 = result.parse().map_err(|_| "its result is no number")?;
    let file = arguments.split_once('<').and_then(|(_, rest)| {
        let end = rest.match_indices('>').find(|(at, _)| !rest[..*at].ends_with('-'))?.0;
        Some(&rest[..end])
    });
    let file = String::from_utf8(unescape(file.ok_or("no file")?)?).map_err(|_| "its file's name")?;
    // Between quotes stands what it was given; what else is in quotes (an address) does not go with such calls.
    let mut data = Vec::new();
    let mut parts = arguments.split('"').skip(1);
    while let Some(quoted) = parts.next() {
        data.extend_from_slice(&unescape(quoted)?);
        if parts.next().ok_or("an open quote")?.starts_with("...") {
            return Err("bytes are left out");
        }
    }
    data.truncate(usize::try_from(result).unwrap_or(0));
    Ok(Some(Call { name: name.to_owned(), began, returned, file, data, result }))
}

/// Bytes of which some are written as `\x2f`.
fn unescape(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'\\' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let ([b'x', high, low], after) = after.split_first_chunk::<3>().ok_or("an escape cut short")? else {
            return Err("an escape that is not in hex");
        };
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or("an escape that is not in hex");
        bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
        rest = after;
    }
    Ok(bytes)
}
