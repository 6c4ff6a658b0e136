//! The rules that hold inside one Rust file. What formatting and clippy see is left to them.

use proc_macro2::{Ident, TokenStream};
use syn::{
    Block, Signature, Type,
    visit::{self, Visit},
};

use super::{
    Finding, limits,
    tokens::{self, Mention, Role},
};

const FILE_LINES_MAX: usize = 500;
const TEST_FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// The crates that decide: no clock, no chance, no threads, no I/O.
const PURE: [&str; 5] = ["mq-types", "mq-log", "mq-raft", "mq-checker", "mq-engine"];
/// The one file that talks to the operating system: it may be unsafe and name `std::fs`.
const OS_FILE: &str = "crates/mq-log/src/disk/os.rs";

/// What a pure crate may not name, and what it does instead.
const IMPURE_TYPES: [(&str, &str); 4] = [
    ("Instant", "time comes with each input"),
    ("SystemTime", "time comes with each input"),
    ("HashMap", "its order differs from run to run; use BTreeMap"),
    ("HashSet", "its order differs from run to run; use BTreeSet"),
];
const IMPURE_MODULES: [(&str, &str); 4] = [
    ("tokio", "the shell awaits and spawns"),
    ("rand", "ids and salts come from the shell"),
    ("std::fs", "go through the disk trait"),
    ("std::thread", "the shell has the threads"),
];

/// Checks the text of the file at `path`, which is relative to the repository and says what kind of file it is.
#[must_use]
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut file = File { path, is_test: is_test_path(path), findings: Vec::new() };
    file.check_header(text);
    file.check_length(text);
    match text
        .parse::<TokenStream>()
        .map_err(|error| (error.span().start().line, error.to_string()))
        .and_then(|tokens| match syn::parse2::<syn::File>(tokens.clone()) {
            Ok(tree) => Ok((tokens, tree)),
            Err(error) => Err((error.span().start().line, error.to_string())),
        }) {
        Ok((tokens, tree)) => {
            let mentions = tokens::mentions(tokens);
            for mention in &mentions {
                file.check_mention(mention);
            }
            let test_lines =
                mentions.iter().filter(|mention| mention.in_test).map(|mention| mention.line).collect();
            Shapes { file: &mut file, test_lines }.visit_file(&tree);
        }
        Err((line, error)) => file.find("parse", line, "file", format!("not Rust as tidy knows it: {error}")),
    }
    file.findings
}

/// Whether everything in the file is test code.
fn is_test_path(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

struct File<'a> {
    path: &'a str,
    is_test: bool,
    findings: Vec<Finding>,
}

impl File<'_> {
    fn find(&mut self, rule: &'static str, line: usize, subject: &str, message: String) {
        self.findings.push(Finding::new(rule, self.path, line, subject, message));
    }

    fn check_header(&mut self, text: &str) {
        let first = text.lines().next().unwrap_or_default();
        if first.strip_prefix("//!").is_none_or(|words| words.trim().is_empty()) {
            let message =
                "the file does not say what it is for; open it with `//!`, and say what it does not do";
            self.find("header", 1, "file", message.to_owned());
        }
    }

    fn check_length(&mut self, text: &str) {
        let lines = text.lines().count();
        let lines_max = if self.is_test { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
        if lines > lines_max {
            let message =
                format!("the file has {lines} lines, {lines_max} at most; a file holds one noun: split it");
            self.find("file-length", lines, "file", message);
        }
    }

    fn check_mention(&mut self, mention: &Mention) {
        let Mention { path, line, role, in_test } = mention;
        let in_test = *in_test || self.is_test;
        match (path.as_str(), role) {
            ("unsafe", _) if self.path != OS_FILE => {
                self.find(
                    "unsafe",
                    *line,
                    "unsafe",
                    format!("unsafe code outside {OS_FILE}; do it there or without"),
                );
            }
            ("todo" | "dbg", Role::Macro) if !in_test => {
                self.find(
                    "unfinished",
                    *line,
                    path,
                    format!("{path}! is left over; finish the work and take it out"),
                );
            }
            ("unwrap", Role::EmptyCall) if !in_test => {
                let message = "unwrap() outside a test; return an error, or expect(\"why it holds\")";
                self.find("unwrap", *line, path, message.to_owned());
            }
            (_, Role::Other) if !in_test && self.is_pure() => self.check_purity(path, *line),
            _ => {}
        }
    }

    /// Whether the file is the shipped code of a crate that decides.
    fn is_pure(&self) -> bool {
        PURE.iter().any(|pure| self.path.starts_with(&format!("crates/{pure}/src/")))
    }

    fn check_purity(&mut self, path: &str, line: usize) {
        let found = IMPURE_TYPES
            .iter()
            .find(|(name, _)| path.split("::").any(|segment| segment == *name))
            .or_else(|| IMPURE_MODULES.iter().find(|(module, _)| is_within(path, module)));
        if let Some((name, instead)) = found
            && !(self.path == OS_FILE && name.starts_with("std::"))
        {
            self.find("impure", line, name, format!("{name} in a crate that only decides: {instead}"));
        }
    }
}

/// Whether `path` names the module or something in it. A lone word is a variable, not a crate.
fn is_within(path: &str, module: &str) -> bool {
    let inside = path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    inside && path.contains("::")
}

/// The rules about functions, constants and fields.
struct Shapes<'a, 'b> {
    file: &'a mut File<'b>,
    test_lines: Vec<usize>,
}

impl Shapes<'_, '_> {
    fn is_test(&self, line: usize) -> bool {
        self.file.is_test || self.test_lines.contains(&line)
    }

    fn check_function(&mut self, signature: &Signature, body: &Block) {
        let first = signature.ident.span().start().line;
        let last = body.brace_token.span.close().end().line;
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX && !self.is_test(first) {
            let name = signature.ident.to_string();
            let message = format!(
                "{name}() has {lines} lines, {FUNCTION_LINES_MAX} at most; keep its ifs and move straight work out"
            );
            self.file.find("function-length", first, &name, message);
        }
    }

    fn check_limit(&mut self, ident: &Ident, kind: &Type) {
        let line = ident.span().start().line;
        let name = ident.to_string();
        if limits::lacks_unit(&name, kind) && !self.is_test(line) {
            let message = format!(
                "{name} is a limit without a unit; say in what, as `size_bytes_max` or `waiters_max` do"
            );
            self.file.find("limit-unit", line, &name, message);
        }
    }
}

impl<'ast> Visit<'ast> for Shapes<'_, '_> {
    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        self.check_function(&node.sig, &node.block);
        visit::visit_item_fn(self, node);
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        self.check_function(&node.sig, &node.block);
        visit::visit_impl_item_fn(self, node);
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        if let Some(body) = &node.default {
            self.check_function(&node.sig, body);
        }
        visit::visit_trait_item_fn(self, node);
    }

    fn visit_item_const(&mut self, node: &'ast syn::ItemConst) {
        self.check_limit(&node.ident, &node.ty);
        visit::visit_item_const(self, node);
    }

    fn visit_impl_item_const(&mut self, node: &'ast syn::ImplItemConst) {
        self.check_limit(&node.ident, &node.ty);
        visit::visit_impl_item_const(self, node);
    }

    fn visit_item_static(&mut self, node: &'ast syn::ItemStatic) {
        self.check_limit(&node.ident, &node.ty);
        visit::visit_item_static(self, node);
    }

    fn visit_field(&mut self, node: &'ast syn::Field) {
        if let Some(ident) = &node.ident {
            self.check_limit(ident, &node.ty);
        }
        visit::visit_field(self, node);
    }
}
