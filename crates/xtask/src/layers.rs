//! The layer table: which of our crates may import which. It is written down here and nowhere else.
//!
//! It reads manifests, so it sees dependencies, not the `use` lines that need them. Dev-dependencies are exempt: a
//! test may look at its subject from above.

use std::fmt::Write;

use cargo_metadata::{DependencyKind, Metadata};

use crate::tidy::Finding;

/// What a crate may import of our own crates.
#[derive(Clone, Copy)]
enum Imports {
    /// Every crate of a lower layer; never a sibling.
    Lower,
    /// These and no others, which are lower too.
    Only(&'static [&'static str]),
}

use Imports::{Lower, Only};

/// Every crate with its layer, the highest first. Crates of one layer never import each other.
const TABLE: &[(u8, &str, Imports)] = &[
    (6, "mq-tests", Lower),
    (6, "mq-benches", Lower),
    (6, "mq-fuzz", Lower),
    (5, "mqd", Lower),
    (4, "mq-grpc", Only(&["mq-broker", "mq-types", "mq-proto"])),
    (4, "mq-peer", Lower),
    (3, "mq-broker", Lower),
    (3, "mq-sim", Lower),
    (2, "mq-engine", Lower),
    (2, "mqctl", Only(&["mq-client", "mq-log", "mq-types", "mq-proto"])),
    (1, "mq-raft", Lower),
    (1, "mq-log", Lower),
    (1, "mq-client", Lower),
    (1, "mq-checker", Lower),
    (0, "mq-types", Lower),
    (0, "mq-proto", Lower),
    (0, "xtask", Lower),
];

/// One of our crates and what it imports of the others.
#[derive(Debug, Clone)]
pub struct Crate {
    /// Its package name.
    pub name: String,
    /// Its manifest, relative to the repository.
    pub manifest: String,
    /// The crates of this repository that it, or its build script, depends on.
    pub imports: Vec<String>,
}

/// The crates of the workspace, as cargo sees them.
#[must_use]
pub fn crates(metadata: &Metadata) -> Vec<Crate> {
    let root = &metadata.workspace_root;
    let mut crates: Vec<Crate> = metadata
        .workspace_packages()
        .iter()
        .map(|package| {
            let manifest = package.manifest_path.strip_prefix(root).unwrap_or(&package.manifest_path);
            let ours = package
                .dependencies
                .iter()
                .filter(|d| d.path.is_some() && d.kind != DependencyKind::Development);
            let mut imports: Vec<String> = ours.map(|dependency| dependency.name.clone()).collect();
            imports.sort();
            imports.dedup();
            Crate { name: package.name.to_string(), manifest: manifest.to_string(), imports }
        })
        .collect();
    crates.sort_by(|a, b| a.name.cmp(&b.name));
    crates
}

/// Every import that the table does not allow, and every crate that it does not know.
#[must_use]
pub fn check(crates: &[Crate]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for importer in crates {
        let Some((layer, allowed)) = entry(&importer.name) else {
            let message =
                format!("crate {} has no layer; add it to the table in xtask/src/layers.rs", importer.name);
            findings.push(Finding::new("layer", &importer.manifest, 1, &importer.name, message));
            continue;
        };
        for import in &importer.imports {
            if let Some(wrong) = fault(layer, allowed, import) {
                let message = format!("{} (L{layer}) imports {import}, {wrong}", importer.name);
                findings.push(Finding::new("layer", &importer.manifest, 1, import, message));
            }
        }
    }
    findings
}

/// Why a crate of `layer` may not import `import`, and what to do; `None` when it may.
fn fault(layer: u8, allowed: Imports, import: &str) -> Option<String> {
    let (import_layer, _) = entry(import)?; // a crate without a layer is a finding of its own
    if import_layer >= layer {
        return Some(format!(
            "which is in L{import_layer}: imports go down; move the shared part to a lower layer"
        ));
    }
    match allowed {
        Only(list) if !list.contains(&import) => {
            Some(format!("but may import {} only; reach it through those", list.join(", ")))
        }
        Only(_) | Lower => None,
    }
}

fn entry(name: &str) -> Option<(u8, Imports)> {
    TABLE.iter().find(|(_, known, _)| *known == name).map(|(layer, _, imports)| (*layer, *imports))
}

/// The table as text, the highest layer first, with what each crate that exists imports today.
#[must_use]
pub fn render(metadata: &Metadata) -> String {
    let crates = crates(metadata);
    let mut text = String::new();
    for (layer, name, allowed) in TABLE {
        let allowed = match allowed {
            Lower if *layer == 0 => "nothing of ours".to_owned(),
            Lower => "lower layers".to_owned(),
            Only(list) => list.join(", "),
        };
        let today = match crates.iter().find(|known| known.name == *name) {
            None => "(not built yet)".to_owned(),
            Some(known) if known.imports.is_empty() => "nothing of ours".to_owned(),
            Some(known) => known.imports.join(", "),
        };
        writeln!(text, "L{layer}  {name:<11} may import {allowed:<40} imports {today}")
            .expect("a String takes any text");
    }
    text
}
