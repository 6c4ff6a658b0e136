//! What the program prints: tables for people, JSON for scripts. Colour only on a terminal, and not with NO_COLOR.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{Cell, Color, Table, presets};
use serde::Serialize;

/// What is said when stdout takes nothing (a full disk; a reader that went away is no error).
pub(crate) const NOT_PRINTED: &str = "could not write to stdout";

/// How answers are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// A table of what matters most.
    #[default]
    Table,
    /// A table of everything.
    Wide,
    /// JSON, its shape stable.
    Json,
}

/// Prints answers to stdout in the format asked for.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The format asked for.
    pub format: OutputFormat,
}

impl Output {
    /// Prints `value` as JSON, or else the text that `for_people` makes (`true`: wide).
    pub fn print<T: Serialize>(
        self,
        value: &T,
        for_people: impl FnOnce(bool) -> String,
    ) -> anyhow::Result<()> {
        if self.is_json() {
            return self.print_json(value);
        }
        let mut out = io::stdout().lock();
        let printed = writeln!(out, "{}", for_people(self.format == OutputFormat::Wide));
        printed.and_then(|()| out.flush()).context(NOT_PRINTED)
    }

    /// Prints `value` if JSON was asked for: people have been told otherwise.
    pub fn print_json<T: Serialize>(self, value: &T) -> anyhow::Result<()> {
        if self.is_json() {
            let mut out = io::stdout().lock();
            let printed = serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from);
            printed.and_then(|()| writeln!(out)).context(NOT_PRINTED)?;
        }
        Ok(())
    }

    /// Whether JSON was asked for.
    pub fn is_json(self) -> bool {
        self.format == OutputFormat::Json
    }
}

/// An empty table with these headings, without borders, so that columns can be cut with the usual tools.
pub fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(headings.iter().copied());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if !colour_is_wanted() {
        table.force_no_tty();
    }
    table
}

/// A cell that stands out on a terminal.
pub fn coloured(text: &str, colour: Color) -> Cell {
    if colour_is_wanted() { Cell::new(text).fg(colour) } else { Cell::new(text) }
}

/// A number that may be unknown (negative).
pub fn known(number: i64) -> String {
    if number < 0 { "-".to_owned() } else { number.to_string() }
}

/// "1 record", "3 records".
pub(crate) fn counted(number: impl Into<i128>, word: &str) -> String {
    match number.into() {
        1 => format!("1 {word}"),
        many => format!("{many} {word}s"),
    }
}

fn colour_is_wanted() -> bool {
    io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
