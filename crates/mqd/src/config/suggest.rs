//! "Did you mean": the known names nearest to a mistyped one.

use super::table::KEYS;

/// A longer word is no mistyped name, in bytes; comparing it would take time and memory with its length.
const WORD_BYTES_MAX: usize = 100;

/// The known name that a typing mistake could have turned into `word`; none if nothing is near.
pub(super) fn nearest(word: &str, known: impl IntoIterator<Item = String>) -> Option<String> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let distance = |known: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &known.to_lowercase());
    // One mistake in three letters is a typing mistake, more is another word.
    let mistakes_max_count = (word.chars().count() / 3).max(1);
    let near = known.into_iter().map(|known| (distance(&known), known));
    near.filter(|(distance, _)| *distance <= mistakes_max_count).min().map(|(_, known)| known)
}

/// Keys that may be meant by an unknown one: the right name in a wrong section or none, or else the nearest.
pub(super) fn keys(unknown: &str) -> Vec<String> {
    let last = unknown.rsplit('.').next().unwrap_or(unknown);
    let near = nearest(unknown, KEYS.iter().map(|key| key.name.to_owned()));
    let elsewhere = KEYS.iter().filter(|key| key.split().1 == last).map(|key| key.name.to_owned());
    match near {
        // A right section with a mistyped key, or the other way round, is nearer than any other section.
        Some(near) => vec![near],
        None => elsewhere.collect(),
    }
}
