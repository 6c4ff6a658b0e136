//! The rules of the repository that neither rustc nor clippy checks.
//!
//! Each rule is one function from text to findings, in the module of what it reads; this file brings them together.
//! Nothing is fixed here: a finding says what to do.

mod exceptions;
mod limits;
mod links;
mod manifest;
mod source;
mod tokens;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use cargo_metadata::Metadata;

use crate::layers;

pub use manifest::check as check_manifest;
pub use source::check as check_source;

/// Where the exceptions stand, relative to the repository.
const EXCEPTIONS: &str = "crates/xtask/tidy-exceptions.txt";
/// Directories that hold nothing of ours. Those whose name begins with a dot are not entered either.
const FOREIGN: [&str; 3] = ["target", "mq-data", "node_modules"];

/// One broken rule at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, relative to the repository.
    pub path: String,
    /// Its line, from 1.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// What breaks it (a function, a type, a link): with rule and path it names the finding when lines move.
    pub subject: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(rule: &'static str, path: &str, line: usize, subject: &str, message: String) -> Self {
        Self { path: path.to_owned(), line, rule, subject: subject.to_owned(), message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} [{} {}]", self.path, self.line, self.message, self.rule, self.subject)
    }
}

/// Checks the whole workspace; the findings come sorted by file and line, exceptions taken out.
///
/// # Errors
/// When a file or directory of the repository cannot be read.
pub fn run(metadata: &Metadata) -> Result<Vec<Finding>> {
    let root = metadata.workspace_root.as_std_path();
    let crates = layers::crates(metadata);
    let mut findings = layers::check(&crates);
    for package in &crates {
        let text = read(&root.join(&package.manifest))?;
        findings.extend(manifest::check(&package.manifest, &text));
    }
    findings.extend(check_files(root)?);

    let exceptions = root.join(EXCEPTIONS);
    let exceptions = if exceptions.exists() { read(&exceptions)? } else { String::new() };
    let mut findings = exceptions::apply(EXCEPTIONS, &exceptions, findings);
    findings.sort();
    Ok(findings)
}

/// Checks every Rust file and every page below `root`.
fn check_files(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in files(root)? {
        let relative =
            path.strip_prefix(root).expect("the walk starts at the root").to_string_lossy().into_owned();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => findings.extend(source::check(&relative, &read(&path)?)),
            Some("md") => findings.extend(links::check(root, &relative, &read(&path)?)),
            _ => {}
        }
    }
    Ok(findings)
}

/// Every file below `root` that is ours. Symbolic links are not followed.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries =
            fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", directory.display()))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let kind =
                entry.file_type().with_context(|| format!("cannot look at {}", entry.path().display()))?;
            if kind.is_dir() && !name.starts_with('.') && !FOREIGN.contains(&&*name) {
                directories.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
