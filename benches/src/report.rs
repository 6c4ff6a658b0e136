//! From samples to figures: medians, ratios, targets, the table for a terminal and the JSON for a file.

use crate::machine::Machine;
use crate::meter::Usage;
use crate::spread::Spread;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// A measurement during which others used more of all cores' time than this is flagged.
const ELSEWHERE_PERCENT_MAX: f64 = 5.0;

/// All that a run of one benchmark found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The benchmark.
    pub bench: &'static str,
    /// Where it ran.
    pub machine: Machine,
    /// A run to see that the benchmark works; its figures mean nothing.
    pub quick: bool,
    /// Rounds of each.
    pub rounds: u32,
    /// What was measured, in order.
    pub entries: Vec<Entry>,
}

/// One measurement: ours, and what limits it.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// What was measured.
    pub name: String,
    /// Its figures.
    pub rows: Vec<Row>,
    /// How much of all cores' time was used neither by the benchmark, nor by what it measured, nor by the kernel.
    pub elsewhere_percent: f64,
    /// What a reader must know, such as why a part was skipped.
    pub notes: Vec<String>,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Whose it is, and of what.
    pub what: String,
    /// What it counts.
    pub unit: &'static str,
    /// Of the rounds' samples.
    pub value: Spread,
    /// What stands beside it, divided by it, round by round: what drifts during a run touches both.
    pub ratio: Option<Spread>,
    /// What is aimed at.
    pub target: Option<Target>,
    /// Whether the median reaches it.
    pub met: Option<bool>,
    /// Of each round.
    pub samples: Vec<f64>,
}

/// What a median should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub enum Target {
    /// Of the figure.
    ValueAtLeast(f64),
    /// Of the figure.
    ValueAtMost(f64),
    /// Of the ratio.
    RatioAtLeast(f64),
    /// Of the ratio.
    RatioAtMost(f64),
}

impl Row {
    /// A figure by itself. There must be a sample.
    pub fn new(what: impl Into<String>, unit: &'static str, samples: Vec<f64>) -> Row {
        let what = what.into();
        let value = Spread::of(samples.iter().copied());
        let value = value.unwrap_or_else(|| panic!("{what} has no samples"));
        Row { what, unit, value, ratio: None, target: None, met: None, samples }
    }

    /// With `ours` divided by it.
    #[must_use]
    pub fn beside(mut self, ours: &[f64]) -> Row {
        self.ratio = ratio(ours, &self.samples);
        self
    }

    /// With a target.
    #[must_use]
    pub fn aim(mut self, target: Target) -> Row {
        self.target = Some(target);
        self.met = match (target, self.ratio) {
            (Target::ValueAtLeast(bound), _) => Some(self.value.median >= bound),
            (Target::ValueAtMost(bound), _) => Some(self.value.median <= bound),
            (Target::RatioAtLeast(bound), Some(ratio)) => Some(ratio.median >= bound),
            (Target::RatioAtMost(bound), Some(ratio)) => Some(ratio.median <= bound),
            (_, None) => None,
        };
        self
    }

    fn cells(&self) -> [String; 6] {
        let Spread { median, smallest, largest } = self.value;
        let verdict = self.met.map(|met| if met { "ok" } else { "short" });
        [
            self.what.clone(),
            format!("{} {}", digits(median), self.unit),
            format!("{} – {}", digits(smallest), digits(largest)),
            self.ratio.map(|ratio| format!("{:.2}", ratio.median)).unwrap_or_default(),
            self.target.map(|target| target.to_string()).unwrap_or_default(),
            verdict.unwrap_or_default().to_owned(),
        ]
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::ValueAtLeast(bound) | Target::RatioAtLeast(bound) => write!(f, "≥ {bound}"),
            Target::ValueAtMost(bound) | Target::RatioAtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}

impl Entry {
    /// A measurement without figures yet.
    pub fn new(name: impl Into<String>) -> Entry {
        Entry { name: name.into(), rows: Vec::new(), elsewhere_percent: 0.0, notes: Vec::new() }
    }

    /// Says what others used meanwhile, over all windows of the measurement.
    pub fn note_usage<'a>(&mut self, windows: impl IntoIterator<Item = &'a Usage>, cores: usize) {
        let (mut elsewhere, mut wall) = (Duration::ZERO, Duration::ZERO);
        for usage in windows {
            elsewhere += usage.elsewhere;
            wall += usage.wall;
        }
        if !wall.is_zero() {
            self.elsewhere_percent = 100.0 * elsewhere.as_secs_f64() / (wall.as_secs_f64() * cores as f64);
        }
    }

    /// What spoils the figures, if anything did.
    pub fn warning(&self) -> Option<String> {
        let Entry { name, elsewhere_percent, .. } = self;
        (*elsewhere_percent > ELSEWHERE_PERCENT_MAX)
            .then(|| format!("noisy: {elsewhere_percent:.0} % of the CPU went elsewhere ({name})"))
    }
}

impl fmt::Display for Report {
    /// The machine, the table (which is Markdown as well), and what a reader must know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { bench, machine, rounds, .. } = self;
        writeln!(f, "{bench}: {machine}; {rounds} rounds of each, interleaved")?;
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header([
            "measurement",
            "figure",
            "median",
            "min – max",
            "mq / this",
            "target",
            "",
        ]);
        for entry in &self.entries {
            for (place, row) in entry.rows.iter().enumerate() {
                let name = if place == 0 { entry.name.clone() } else { String::new() };
                table.add_row([name].into_iter().chain(row.cells()));
            }
        }
        table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        writeln!(f, "{table}")?;
        for entry in &self.entries {
            for note in &entry.notes {
                writeln!(f, "{}: {note}", entry.name)?;
            }
        }
        if self.quick {
            return writeln!(f, "--quick: far too short for the figures to mean anything");
        }
        self.entries.iter().filter_map(Entry::warning).try_for_each(|warning| writeln!(f, "{warning}"))
    }
}

/// The quotients of samples that were taken next to each other; `None` without any.
pub fn ratio(ours: &[f64], limit: &[f64]) -> Option<Spread> {
    Spread::of(ours.iter().zip(limit).map(|(ours, limit)| ours / limit))
}

/// About three digits that count.
fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 1.0 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
