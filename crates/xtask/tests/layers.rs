//! The layer table refuses what goes up or sideways, and only that.

use xtask::layers::{Crate, check};

/// The findings when `importer` imports `imports`.
fn findings(importer: &str, imports: &[&str]) -> Vec<String> {
    let imports = imports.iter().map(ToString::to_string).collect();
    let manifest = format!("crates/{importer}/Cargo.toml");
    let planted = Crate { name: importer.to_owned(), manifest, imports };
    check(&[planted]).iter().map(ToString::to_string).collect()
}

#[test]
fn imports_down_the_layers_are_allowed() {
    for (importer, imports) in [
        ("mqd", &["mq-grpc", "mq-broker", "mq-types"][..]),
        ("mq-grpc", &["mq-broker", "mq-proto", "mq-types"]),
        ("mq-broker", &["mq-engine", "mq-log"]),
        ("mq-engine", &["mq-raft", "mq-log", "mq-types"]),
        ("mqctl", &["mq-client", "mq-log", "mq-proto"]),
        ("mq-client", &["mq-proto", "mq-types"]),
        ("mq-tests", &["mqd", "mq-sim", "mq-client"]),
    ] {
        assert_eq!(findings(importer, imports), [""; 0], "{importer} imports {imports:?}");
    }
}

#[test]
fn imports_up_sideways_or_past_the_allowed_few_are_refused() {
    for (importer, import) in [
        ("mq-types", "mq-log"),
        ("mq-raft", "mq-log"),
        ("mq-log", "mq-raft"),
        ("mq-client", "mq-log"),
        ("mq-engine", "mq-broker"),
        ("mq-sim", "mq-broker"),
        ("mq-grpc", "mq-engine"),
        ("mq-grpc", "mq-log"),
        ("mq-grpc", "mq-peer"),
        ("mqctl", "mq-raft"),
        ("mqd", "mq-tests"),
    ] {
        let found = findings(importer, &[import]);
        assert_eq!(found.len(), 1, "{importer} imports {import}: {found:?}");
        assert!(found[0].starts_with(&format!("crates/{importer}/Cargo.toml:1: {importer} (L")), "{found:?}");
        assert!(found[0].ends_with(&format!("[layer {import}]")), "{found:?}");
    }
}

#[test]
fn a_crate_without_a_layer_is_refused() {
    let found = findings("mq-stray", &[]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("has no layer"), "{found:?}");
}
