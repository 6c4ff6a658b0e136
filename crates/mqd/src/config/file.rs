//! The configuration file: TOML in, keys with values and line numbers out.
//!
//! Whether a key exists and takes its value is not decided here.

use super::key::Raw;
use super::{Given, Problem, Source, table};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// A larger file is not a configuration, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// All that the file says, in its order. Of a file that cannot be read nothing, but a problem.
pub(super) fn read(path: &Path, problems: &mut Vec<Problem>) -> Vec<Given> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(source) => {
            problems.push(Problem::Unreadable { path: path.to_owned(), source });
            return Vec::new();
        }
    };
    let lines = Lines::of(&text);
    match DeTable::parse(&text) {
        Ok(table) => {
            let mut found = Vec::new();
            flatten(table.get_ref(), "", &mut |key, at, raw| {
                let source = Source::File { path: path.to_owned(), line: lines.number(at) };
                found.push((at, Given { key, raw, source }));
            });
            found.sort_by_key(|(at, _)| *at);
            found.into_iter().map(|(_, given)| given).collect()
        }
        Err(error) => {
            let line = lines.number(error.span().map_or(0, |span| span.start));
            let message = error.message().replace('\n', ", ");
            problems.push(Problem::NotToml { path: path.to_owned(), line, message });
            Vec::new()
        }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("it is larger than {FILE_BYTES_MAX} bytes, so it is no configuration");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Every key with its full name, its place in the text, and its value. A section with nothing in it is passed on as
/// a key if it is not one of ours: a mistyped section must not be silent because it is empty.
fn flatten(table: &DeTable<'_>, within: &str, found: &mut impl FnMut(String, usize, Raw)) {
    for (name, value) in table.iter() {
        let at = name.span().start;
        let key = if within.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{within}.{}", name.get_ref())
        };
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => flatten(inner, &key, found),
            DeValue::Table(_) if table::is_section(&key) => {}
            value => found(key, at, raw(value)),
        }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => Raw::Number(number.to_string()),
        DeValue::Boolean(on) => Raw::Switch(*on),
        DeValue::Float(_) => Raw::Other("a number with a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(_) => Raw::Other("a list"),
        DeValue::Table(_) => Raw::Other("a section"),
    }
}

/// Where the lines of a text end.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    /// The line, counted from 1, in which the byte at this position lies.
    fn number(&self, at: usize) -> usize {
        self.0.partition_point(|end| *end < at) + 1
    }
}
