//! How a record is printed (`consume -f`): `%t` topic, `%p` partition, `%o` offset, `%k` key, `%v` value, `%h` headers,
//! `%d` timestamp in ms, `%%` a percent sign; `\n \r \t \\ \0 \xHH` as in C. As kcat and rpk have them.

use std::io::{self, Write};

use mq_client::v1::Record;

/// What a format can be wrong about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A `%` followed by a letter that names nothing.
    #[error("%{letter} names nothing here; there are {known}")]
    UnknownField {
        /// The letter.
        letter: char,
        /// Those that name something.
        known: &'static str,
    },
    /// A `\` followed by something that is no escape.
    #[error("\\{letter} is no escape; there are \\n \\r \\t \\\\ \\0 \\xHH")]
    UnknownEscape {
        /// What follows the backslash.
        letter: char,
    },
    /// `\x` without two hexadecimal digits.
    #[error("\\x needs two hexadecimal digits, as in \\x1f")]
    BadHex,
    /// A `%` or `\` at the end.
    #[error("the format ends in the middle of {sign:?}")]
    Unfinished {
        /// `%` or `\`.
        sign: char,
    },
    /// Two fields of an input format with nothing between them.
    #[error("%{first} and %{second} need something between them that ends %{first}")]
    NothingBetween {
        /// The field that has no end.
        first: char,
        /// The one that follows at once.
        second: char,
    },
    /// An input format without a field.
    #[error("the format reads nothing: write %v, and %k for the key")]
    NoField,
    /// A field that stands twice in an input format.
    #[error("%{letter} stands twice")]
    FieldTwice {
        /// Its letter.
        letter: char,
    },
}

/// A piece of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes as they are.
    Literal(Vec<u8>),
    /// A field, by its letter.
    Field(char),
}

/// The fields that a record is printed by.
const FIELDS: &str = "%t %p %o %k %v %h %d %%";

/// A parsed `consume -f`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFormat {
    pieces: Vec<Piece>,
}

impl RecordFormat {
    /// Parses what was given with `-f`.
    pub fn parse(format: &str) -> Result<RecordFormat, FormatError> {
        pieces(format, "tpokvhd", FIELDS).map(|pieces| RecordFormat { pieces })
    }

    /// Prints one record. Keys, values and header values are written as they are; what is absent as nothing.
    pub fn write(
        &self,
        out: &mut impl Write,
        topic: &str,
        partition: i32,
        record: &Record,
    ) -> io::Result<()> {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.write_all(bytes)?,
                Piece::Field('t') => out.write_all(topic.as_bytes())?,
                Piece::Field('p') => write!(out, "{partition}")?,
                Piece::Field('o') => write!(out, "{}", record.offset)?,
                Piece::Field('k') => out.write_all(record.key.as_deref().unwrap_or_default())?,
                Piece::Field('v') => out.write_all(record.value.as_deref().unwrap_or_default())?,
                Piece::Field('h') => write_headers(out, record)?,
                Piece::Field('d') => write!(out, "{}", timestamp_ms(record))?,
                Piece::Field(letter) => unreachable!("%{letter} is refused when parsed"),
            }
        }
        Ok(())
    }
}

/// Milliseconds since the Unix epoch; -1: not known.
pub fn timestamp_ms(record: &Record) -> i64 {
    record.timestamp.as_ref().map_or(-1, |at| at.seconds * 1000 + i64::from(at.nanos / 1_000_000))
}

/// `a=1,b=2`, as kcat has it.
fn write_headers(out: &mut impl Write, record: &Record) -> io::Result<()> {
    for (i, header) in record.headers.iter().enumerate() {
        if i > 0 {
            out.write_all(b",")?;
        }
        out.write_all(header.key.as_bytes())?;
        out.write_all(b"=")?;
        out.write_all(header.value.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

/// Splits a format into literals and the fields among `letters`.
pub(crate) fn pieces(format: &str, letters: &str, known: &'static str) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut rest = format.chars();
    while let Some(sign) = rest.next() {
        match sign {
            '%' => match rest.next().ok_or(FormatError::Unfinished { sign })? {
                '%' => literal.push(b'%'),
                letter if letters.contains(letter) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Field(letter));
                }
                letter => return Err(FormatError::UnknownField { letter, known }),
            },
            '\\' => literal.push(match rest.next().ok_or(FormatError::Unfinished { sign })? {
                'n' => b'\n',
                'r' => b'\r',
                't' => b'\t',
                '\\' => b'\\',
                '0' => 0,
                'x' => {
                    let digits: Vec<u32> =
                        rest.by_ref().take(2).filter_map(|digit| digit.to_digit(16)).collect();
                    let [high, low] = digits[..] else { return Err(FormatError::BadHex) };
                    (high * 16 + low) as u8 // two hexadecimal digits are one byte
                }
                letter => return Err(FormatError::UnknownEscape { letter }),
            }),
            other => literal.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}
