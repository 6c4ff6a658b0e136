//! "Did you mean": the known word nearest to a mistyped one.

/// The candidate that a typing mistake could have turned into `word`; none if nothing is near.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance =
        |candidate: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase());
    // One mistake in three letters is a typo, more is another word.
    let mistakes_max = (word.chars().count() / 3).max(1);
    let near = candidates.into_iter().map(|candidate| (distance(candidate), candidate));
    // What has no letter in common with the word was not meant by it.
    let letters = word.chars().count();
    near.filter(|&(distance, _)| distance <= mistakes_max && distance < letters)
        .min()
        .map(|(_, candidate)| candidate)
}
