//! Links of our pages to files. Addresses on the web are not followed, nor are anchors inside a page.

use std::path::Path;

use pulldown_cmark::{Event, Parser, Tag};

use super::Finding;

/// Every link or picture in the page at `path` whose file is not there. `path` is relative to `root`.
pub(super) fn check(root: &Path, path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (event, range) in Parser::new(text).into_offset_iter() {
        let (Event::Start(Tag::Link { dest_url, .. }) | Event::Start(Tag::Image { dest_url, .. })) = event
        else {
            continue;
        };
        let Some(file) = local_file(&dest_url) else { continue };
        let target = match file.strip_prefix('/') {
            Some(from_root) => root.join(from_root),
            None => root.join(path).with_file_name("").join(file),
        };
        if !target.exists() {
            let line = text[..range.start].lines().count().max(1);
            let message = format!("the link to {file} leads nowhere; mend it or take it out");
            findings.push(Finding::new("link", path, line, file, message));
        }
    }
    findings
}

/// The file that a link names; `None` for addresses and for anchors in the same page.
fn local_file(url: &str) -> Option<&str> {
    let file = url.split(['#', '?']).next().filter(|file| !file.is_empty())?;
    let scheme =
        file.split_once(':').is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric()));
    (!scheme && !file.starts_with("//")).then_some(file)
}
