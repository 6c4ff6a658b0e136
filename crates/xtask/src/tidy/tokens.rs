//! A Rust file as the list of paths it mentions, macros included, with the lines that are test code marked.
//!
//! Tokens and not a syntax tree: what stands inside a macro call is only tokens, and is checked all the same.
//! Names are not resolved: an alias of a banned type goes unseen, its import does not.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A name or a path (`std::fs::read`) where it is mentioned. Imports are written out: `use std::{fs, io}` mentions
/// `std::fs` and `std::io`.
#[derive(Debug)]
pub(super) struct Mention {
    pub(super) path: String,
    /// From 1.
    pub(super) line: usize,
    pub(super) role: Role,
    /// Stands under `#[test]` or `#[cfg(test)]`.
    pub(super) in_test: bool,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Role {
    /// `name!(…)`
    Macro,
    /// `.name()`, with no arguments
    EmptyCall,
    /// `.name`, otherwise
    Member,
    Other,
}

/// Every mention in the file, in its order.
pub(super) fn mentions(tokens: TokenStream) -> Vec<Mention> {
    let mut mentions = Vec::new();
    walk(tokens, "", false, &mut mentions);
    mentions
}

fn walk(tokens: TokenStream, prefix: &str, in_test: bool, mentions: &mut Vec<Mention>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let file_is_test = tokens.windows(3).any(|window| {
        is_punct(&window[0], '#')
            && is_punct(&window[1], '!')
            && group(&window[2]).is_some_and(is_test_attribute)
    });
    let mut item_is_test = false; // from the attribute to the end of what it stands on
    let mut at = 0;
    while at < tokens.len() {
        let test = in_test || file_is_test || item_is_test;
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == ';' => item_is_test = false,
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                item_is_test |= tokens.get(at + 1).and_then(group).is_some_and(is_test_attribute);
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            TokenTree::Group(inner) => {
                walk(inner.stream(), "", test, mentions);
                if inner.delimiter() == Delimiter::Brace {
                    item_is_test = false;
                }
            }
            TokenTree::Ident(first) => {
                let (path, end) = path_at(&tokens, at, prefix);
                let line = first.span().start().line;
                let role = role(&tokens, at, end);
                if let Some(Some(list)) =
                    ends_in_colons(&tokens, end).map(|list| tokens.get(list).and_then(group))
                {
                    walk(list.stream(), &format!("{path}::"), test, mentions);
                    at = end + 2; // at the list, which the next turn of the loop passes
                } else {
                    mentions.push(Mention { path, line, role, in_test: test });
                    at = end - 1;
                }
            }
        }
        at += 1;
    }
}

/// The path that begins at `at`, and the first token behind it.
fn path_at(tokens: &[TokenTree], at: usize, prefix: &str) -> (String, usize) {
    let mut path = format!("{prefix}{}", tokens[at]);
    let mut end = at + 1;
    while let Some(next) = ends_in_colons(tokens, end)
        && let Some(TokenTree::Ident(segment)) = tokens.get(next)
    {
        path.push_str("::");
        path.push_str(&segment.to_string());
        end = next + 1;
    }
    (path, end)
}

/// The token behind `::` when that stands at `at`.
fn ends_in_colons(tokens: &[TokenTree], at: usize) -> Option<usize> {
    let colons = tokens.get(at..at + 2)?.iter().all(|token| is_punct(token, ':'));
    colons.then_some(at + 2)
}

fn role(tokens: &[TokenTree], start: usize, end: usize) -> Role {
    let member =
        start > 0 && is_punct(&tokens[start - 1], '.') && !(start > 1 && is_punct(&tokens[start - 2], '.'));
    match tokens.get(end) {
        Some(TokenTree::Group(arguments)) if member => {
            let empty = arguments.delimiter() == Delimiter::Parenthesis && arguments.stream().is_empty();
            if empty { Role::EmptyCall } else { Role::Member }
        }
        _ if member => Role::Member,
        Some(bang) if is_punct(bang, '!') && tokens.get(end + 1).and_then(group).is_some() => Role::Macro,
        _ => Role::Other,
    }
}

/// `[test]`, `[tokio::test]`, `[cfg(test)]`, `[cfg(any(test, fuzzing))]`; not `[cfg(not(test))]`.
fn is_test_attribute(attribute: &Group) -> bool {
    let words: String = attribute.stream().to_string().split_whitespace().collect();
    let path = words.split('(').next().unwrap_or_default();
    let condition = words.strip_prefix("cfg").unwrap_or_default();
    let conditions: Vec<&str> = condition.split(['(', ')', ',']).collect();
    path == "test"
        || path.ends_with("::test")
        || (conditions.contains(&"test") && !conditions.contains(&"not"))
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn group(token: &TokenTree) -> Option<&Group> {
    match token {
        TokenTree::Group(group) => Some(group),
        _ => None,
    }
}
