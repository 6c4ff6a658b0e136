//! How records are cut out of input (`produce -f`): `%v` the value, `%k` the key, `%p` the partition, each up to the
//! literal that follows it; `\n` at the end is the usual separator. Bytes are kept as they are.

use std::io::{self, BufRead};

use bytes::Bytes;
use mq_client::ProducerRecord;

use crate::record_format::{FormatError, Piece, pieces};

/// One record of input, in bytes: a file without the separator must not fill the memory.
pub const FIELD_BYTES_MAX: usize = 64 << 20;

/// What input can be wrong about.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It could not be read.
    #[error("could not read the input")]
    Read(#[from] io::Error),
    /// It does not fit the format.
    #[error("record {record} of the input has no {expected:?} after %{field}")]
    NoSeparator {
        /// Its number, from 1.
        record: u64,
        /// What should end the field.
        expected: String,
        /// The field.
        field: char,
    },
    /// What precedes the first field is missing.
    #[error("record {record} of the input does not begin with {expected:?}")]
    NoPrefix {
        /// Its number, from 1.
        record: u64,
        /// What it should begin with.
        expected: String,
    },
    /// A partition that is no number.
    #[error("record {record} of the input: {text:?} is not a partition")]
    BadPartition {
        /// Its number, from 1.
        record: u64,
        /// What stands there.
        text: String,
    },
    /// Larger than this program holds.
    #[error("record {record} of the input is larger than {FIELD_BYTES_MAX} bytes: is the separator right?")]
    TooLarge {
        /// Its number, from 1.
        record: u64,
    },
}

/// A parsed `produce -f`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFormat {
    prefix: Vec<u8>,
    /// Each field with what ends it; empty: the end of the input.
    fields: Vec<(char, Vec<u8>)>,
}

impl InputFormat {
    /// Parses what was given with `-f`.
    pub fn parse(format: &str) -> Result<InputFormat, FormatError> {
        let mut prefix = Vec::new();
        let mut fields: Vec<(char, Vec<u8>)> = Vec::new();
        for piece in pieces(format, "kvp", "%k %v %p %%")? {
            match piece {
                Piece::Literal(bytes) => match fields.last_mut() {
                    Some((_, end)) => *end = bytes,
                    None => prefix = bytes,
                },
                Piece::Field(letter) => {
                    if let Some((first, _)) = fields.last().filter(|(_, end)| end.is_empty()) {
                        return Err(FormatError::NothingBetween { first: *first, second: letter });
                    }
                    if fields.iter().any(|(field, _)| *field == letter) {
                        return Err(FormatError::FieldTwice { letter });
                    }
                    fields.push((letter, Vec::new()));
                }
            }
        }
        if fields.is_empty() { Err(FormatError::NoField) } else { Ok(InputFormat { prefix, fields }) }
    }

    /// Whether records bring this field with them.
    pub fn has(&self, letter: char) -> bool {
        self.fields.iter().any(|(field, _)| *field == letter)
    }

    /// The next record, or none at the end of the input. `number` is the record's, from 1, for messages. The end of
    /// the input also ends the last field: a last line without its newline is a record.
    pub fn read(&self, input: &mut impl BufRead, number: u64) -> Result<Option<ProducerRecord>, InputError> {
        if input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        self.skip_prefix(input, number)?;
        let (_, record_end) = self.fields.last().expect("a format without a field is refused when parsed");
        let mut record = ProducerRecord::default();
        for (i, (field, end)) in self.fields.iter().enumerate() {
            let mut bytes = Vec::new();
            let ended = read_until(input, end, &mut bytes, number)?;
            // A line without its tab must not become one record with the next line.
            let runs_over = !contains(end, record_end) && contains(&bytes, record_end);
            if i + 1 < self.fields.len() && (!ended || runs_over) {
                let expected = String::from_utf8_lossy(end).into_owned();
                return Err(InputError::NoSeparator { record: number, expected, field: *field });
            }
            match field {
                'k' => record.key = Some(Bytes::from(bytes)),
                'v' => record.value = Some(Bytes::from(bytes)),
                'p' => record.partition = Some(partition(&bytes, number)?),
                letter => unreachable!("%{letter} is refused when parsed"),
            }
        }
        Ok(Some(record))
    }

    fn skip_prefix(&self, input: &mut impl BufRead, number: u64) -> Result<(), InputError> {
        let mut found = vec![0; self.prefix.len()];
        let read = input.read_exact(&mut found);
        match read {
            Ok(()) if found == self.prefix => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error.into()),
            _ => Err(InputError::NoPrefix {
                record: number,
                expected: String::from_utf8_lossy(&self.prefix).into_owned(),
            }),
        }
    }
}

/// Whether it holds `part`, which everything does if it is empty.
fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

/// Reads up to `end`, which is taken but not kept. False: the input ended first.
fn read_until(
    input: &mut impl BufRead,
    end: &[u8],
    into: &mut Vec<u8>,
    number: u64,
) -> Result<bool, InputError> {
    let Some(&last) = end.last() else {
        input.read_to_end(into)?;
        return Ok(true);
    };
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let (found, taken) = match buffer.iter().position(|&byte| byte == last) {
            Some(position) => (true, position + 1),
            None => (false, buffer.len()),
        };
        into.extend_from_slice(&buffer[..taken]);
        input.consume(taken);
        if found && into.ends_with(end) {
            into.truncate(into.len() - end.len());
            return Ok(true);
        }
        if into.len() > FIELD_BYTES_MAX {
            return Err(InputError::TooLarge { record: number });
        }
    }
}

fn partition(bytes: &[u8], record: u64) -> Result<i32, InputError> {
    let text = String::from_utf8_lossy(bytes);
    let number = text.trim().parse().ok().filter(|&number: &i32| number >= 0);
    number.ok_or_else(|| InputError::BadPartition { record, text: text.into_owned() })
}
