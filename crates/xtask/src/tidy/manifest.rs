//! What every crate's manifest must say. Layers are checked elsewhere, licences and sources by cargo-deny.

use super::Finding;

/// Every crate takes the lints of the workspace: among them `missing_docs` and the ban on `unsafe`.
#[must_use]
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let manifest: toml::Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => {
            return vec![Finding::new("lints", path, 1, "lints", format!("not a manifest: {error}"))];
        }
    };
    let inherited =
        manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    if inherited == Some(true) {
        return Vec::new();
    }
    let message = "the crate does not take the workspace's lints; add `[lints]` with `workspace = true`";
    vec![Finding::new("lints", path, 1, "lints", message.to_owned())]
}
