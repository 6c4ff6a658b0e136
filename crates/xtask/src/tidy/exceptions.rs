//! The findings that are allowed to stand for now. The list may only shrink: a line that excuses nothing is itself a
//! finding, so whoever mends something also strikes its line.

use super::Finding;

/// Takes out of `findings` what the exceptions in `text` name, and adds one for each line that is of no use.
///
/// A line is `rule path subject # why`: the words in brackets at the end of a finding, and its path. Blank lines and
/// lines that begin with `#` are comments. `path` is where the list itself stands.
pub(super) fn apply(path: &str, text: &str, mut findings: Vec<Finding>) -> Vec<Finding> {
    let mut useless = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut refuse = |message: &str| {
            useless.push(Finding::new("exception", path, number + 1, line, message.to_owned()));
        };
        let (key, why) = line.split_once(" # ").unwrap_or((line, ""));
        let [rule, file, subject] = *key.split_whitespace().collect::<Vec<_>>() else {
            refuse("not an exception; write `rule path subject # why`");
            continue;
        };
        if why.trim().is_empty() {
            refuse("this exception gives no reason; write `rule path subject # why`");
        }
        let before = findings.len();
        findings.retain(|finding| (finding.rule, &*finding.path, &*finding.subject) != (rule, file, subject));
        if findings.len() == before {
            refuse("this exception matches nothing any more; delete the line");
        }
    }
    findings.extend(useless);
    findings
}
