//! The middle and the ends of a few samples. No means: one disturbed round would move them.

use serde::Serialize;

/// Median, minimum and maximum, in the samples' own unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the samples lie below it; between the two in the middle where their number is even.
    pub median: f64,
    /// The lower end.
    #[serde(rename = "min")]
    pub smallest: f64,
    /// The upper end.
    #[serde(rename = "max")]
    pub largest: f64,
}

impl Spread {
    /// Of these samples, in any order; `None` if there are none.
    pub fn of(samples: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (smallest, largest) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Some(Spread { median, smallest, largest })
    }
}
