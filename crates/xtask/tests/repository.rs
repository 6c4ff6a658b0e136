//! `xtask tidy` as it is run: on a whole planted repository, with its exit code. The rules one by one are tested beside
//! this file.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

const EXCEPTIONS: &str = "crates/xtask/tidy-exceptions.txt";
const MANIFEST: &str = "[package]\nname = \"mq-types\"\nedition = \"2024\"\n[lints]\nworkspace = true\n";

/// A repository of one clean crate and one page.
fn repository() -> TempDir {
    let root = TempDir::new().expect("a temporary directory");
    write(
        root.path(),
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"crates/mq-types\"]\n[workspace.lints]\n",
    );
    write(root.path(), "crates/mq-types/Cargo.toml", MANIFEST);
    write(root.path(), "crates/mq-types/src/lib.rs", "//! The words.\n");
    write(
        root.path(),
        "README.md",
        "[code](crates/mq-types/src/lib.rs#L1), [web](https://example.org/x), [here](#top)\n",
    );
    root
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("below the root")).expect("its directory");
    fs::write(path, text).expect("the file");
}

/// Whether tidy is content, and its lines without the last, which counts them.
fn tidy(root: &TempDir) -> (bool, Vec<String>) {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("tidy")
        .current_dir(root.path())
        .output()
        .expect("xtask was built with its tests");
    let text = String::from_utf8(output.stdout).expect("findings are UTF-8");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let count = lines.pop().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(count, format!("tidy: {} findings", lines.len()));
    (output.status.success(), lines)
}

#[track_caller]
fn one_finding(root: &TempDir, begin: &str, end: &str) {
    let (clean, findings) = tidy(root);
    assert!(!clean);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert!(findings[0].starts_with(begin) && findings[0].ends_with(end), "{findings:#?}");
}

#[test]
fn a_clean_repository_passes() {
    assert_eq!(tidy(&repository()), (true, vec![]));
}

#[test]
fn a_bad_source_file_fails_with_its_place() {
    let root = repository();
    write(root.path(), "crates/mq-types/src/lib.rs", "//! The words.\n\nuse std::collections::HashMap;\n");
    one_finding(
        &root,
        "crates/mq-types/src/lib.rs:3: HashMap in a crate that only decides",
        "[impure HashMap]",
    );
}

#[test]
fn a_crate_without_the_workspaces_lints_fails() {
    let root = repository();
    for lints in ["", "[lints]\nworkspace = false\n", "[lints.rust]\nunsafe_code = \"allow\"\n"] {
        write(
            root.path(),
            "crates/mq-types/Cargo.toml",
            &MANIFEST.replace("[lints]\nworkspace = true\n", lints),
        );
        let findings = xtask::tidy::check_manifest(
            "Cargo.toml",
            &MANIFEST.replace("[lints]\nworkspace = true\n", lints),
        );
        assert_eq!(findings.len(), 1, "{lints:?}");
    }
    write(root.path(), "crates/mq-types/Cargo.toml", &MANIFEST.replace("[lints]\nworkspace = true\n", ""));
    one_finding(&root, "crates/mq-types/Cargo.toml:1: ", "[lints lints]");
}

#[test]
fn an_import_against_the_layers_fails_unless_only_tests_need_it() {
    let root = repository();
    write(
        root.path(),
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n[workspace.lints]\n",
    );
    write(root.path(), "crates/mq-log/Cargo.toml", &MANIFEST.replace("mq-types", "mq-log"));
    write(root.path(), "crates/mq-log/src/lib.rs", "//! The log.\n");
    for kind in ["dev-dependencies", "dependencies", "build-dependencies"] {
        let dependency = format!("[{kind}]\nmq-log = {{ path = \"../mq-log\" }}\n");
        write(root.path(), "crates/mq-types/Cargo.toml", &format!("{MANIFEST}{dependency}"));
        if kind == "dev-dependencies" {
            assert_eq!(tidy(&root), (true, vec![]));
        } else {
            one_finding(
                &root,
                "crates/mq-types/Cargo.toml:1: mq-types (L0) imports mq-log",
                "[layer mq-log]",
            );
        }
    }
}

#[test]
fn a_link_to_a_missing_file_fails_and_links_in_code_do_not() {
    let root = repository();
    write(
        root.path(),
        "docs/page.md",
        "[up](../README.md)\n\n`[not](a-link.md)`\n\n```\n[nor](this.md)\n```\n",
    );
    assert_eq!(tidy(&root), (true, vec![]));
    write(
        root.path(),
        "docs/page.md",
        "[up](../README.md)\n\nSee [the list][list].\n\n[list]: missing.md#part\n",
    );
    one_finding(&root, "docs/page.md:3: the link to missing.md leads nowhere", "[link missing.md]");
    write(root.path(), "docs/page.md", "![drawing](/docs/drawing.svg)\n");
    one_finding(&root, "docs/page.md:1: ", "[link /docs/drawing.svg]");
}

#[test]
fn what_is_not_ours_is_not_checked() {
    let root = repository();
    for directory in ["target/debug", ".venv/lib", "tests/node_modules/x"] {
        write(root.path(), &format!("{directory}/bad.rs"), "fn f() { open().unwrap(); }");
    }
    assert_eq!(tidy(&root), (true, vec![]));
}

#[test]
fn an_exception_excuses_exactly_its_findings() {
    let root = repository();
    write(root.path(), "crates/mq-types/src/lib.rs", "//! The words.\nfn f() { g().unwrap(); dbg!(1); }\n");
    write(
        root.path(),
        EXCEPTIONS,
        "# a comment\n\nunwrap crates/mq-types/src/lib.rs unwrap # g cannot fail yet\n",
    );
    one_finding(&root, "crates/mq-types/src/lib.rs:2: dbg!", "[unfinished dbg]");
}

#[test]
fn an_exception_that_excuses_nothing_fails() {
    let root = repository();
    write(root.path(), EXCEPTIONS, "# a comment\nunwrap crates/mq-types/src/lib.rs unwrap # was mended\n");
    one_finding(&root, &format!("{EXCEPTIONS}:2: this exception matches nothing any more"), "]");
}

#[test]
fn an_exception_without_form_or_reason_fails() {
    let root = repository();
    write(root.path(), EXCEPTIONS, "unwrap everywhere\n");
    one_finding(&root, &format!("{EXCEPTIONS}:1: not an exception"), "]");
    write(root.path(), "crates/mq-types/src/lib.rs", "//! The words.\nfn f() { g().unwrap(); }\n");
    write(root.path(), EXCEPTIONS, "unwrap crates/mq-types/src/lib.rs unwrap\n");
    one_finding(&root, &format!("{EXCEPTIONS}:1: this exception gives no reason"), "]");
}
