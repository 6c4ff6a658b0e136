//! The names of limits: each says in what it is counted. Where the unit stands in the name is left to the reader.

use syn::{GenericArgument, PathArguments, Type};

/// Words that make a number a limit.
const LIMITS: [&str; 6] = ["max", "min", "limit", "timeout", "interval", "capacity"];
/// Words in the singular that say in what a number is counted. Plurals need no list.
const UNITS: [&str; 19] = [
    "ms", "us", "ns", "count", "depth", "epoch", "exponent", "factor", "id", "index", "level", "log2",
    "number", "offset", "percent", "position", "ratio", "term", "version",
];
const NUMBERS: [&str; 14] =
    ["u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64"];

/// Whether a constant or field of this name and type is a limit and does not say in what.
///
/// A type of its own (`Duration`, `Offset`) carries its unit, so only plain numbers are asked for one.
pub(super) fn lacks_unit(name: &str, kind: &Type) -> bool {
    let name = name.to_lowercase();
    let words: Vec<&str> = name.split('_').collect();
    words.iter().any(|word| LIMITS.contains(word))
        && is_number(kind)
        && !words.iter().any(|word| is_unit(word))
}

fn is_unit(word: &str) -> bool {
    let plural = word.len() > 3 && word.ends_with('s') && !word.ends_with("ss") && !word.ends_with("us");
    plural || UNITS.contains(&word)
}

/// A plain number, or one that may be absent, shared between threads or never zero.
fn is_number(kind: &Type) -> bool {
    let Type::Path(path) = kind else { return false };
    let Some(last) = path.path.segments.last() else { return false };
    let name = last.ident.to_string();
    match &last.arguments {
        PathArguments::AngleBracketed(arguments)
            if ["Option", "NonZero", "Saturating", "Wrapping"].contains(&&*name) =>
        {
            arguments
                .args
                .iter()
                .any(|argument| matches!(argument, GenericArgument::Type(inner) if is_number(inner)))
        }
        _ => {
            let bare = name.strip_prefix("Atomic").or(name.strip_prefix("NonZero")).unwrap_or(&name);
            NUMBERS.contains(&&*bare.to_lowercase())
        }
    }
}
