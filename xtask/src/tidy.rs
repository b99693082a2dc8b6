//! The rules of files, functions and comments, checked on the sources themselves. It must not judge
//! what the compiler or clippy already judge.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of the consensus core with its invariant catalogue and comments, without tests: what one person reads in a day.
const CORE_LINES_MAX: usize = 5000;
pub(crate) const CRATES: [&str; 10] = [
    "consensus",
    "config",
    "transport",
    "cluster",
    "proxy",
    "model-check",
    "fuzz",
    "ravelin",
    "bench",
    "xtask",
];
/// Each workspace has its own.
const LOCK_FILES: [&str; 2] = ["Cargo.lock", "bench/consensus/Cargo.lock"];
/// Names that say nothing about what a file is for.
const NAMES_BANNED: [&str; 6] = ["utils", "util", "common", "helpers", "helper", "manager"];
/// A word that may stand only in the named places: (word, places, why).
const PLACES: [(&str, &[&str], &str); 5] = [
    ("quinn", &["transport/src/quic", "proxy/src/http3", "xtask/"], "QUIC is one transport behind a seam"),
    ("arc_swap", &["proxy/src/live", "xtask/"], "one cell holds one table"),
    ("stateright", &["model-check/", "xtask/"], "the shipped source holds no trace of the model"),
    (
        "loom::",
        &[
            "model-check/",
            "proxy/src/live",
            "cluster/src/shell/group",
            "cluster/src/shell/raft_lanes",
            "config/src/map/shared",
            "xtask/",
        ],
        "only the files that loom checks name it",
    ),
    ("ravelin_mutant", &["model-check/", "xtask/"], "the shipped source holds no trace of mutants"),
];

/// Every breach of a rule in the workspace's sources, one line each.
pub(crate) fn breaches(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut core_lines = 0;
    for name in CRATES {
        for file in rust_files(&root.join(name))? {
            let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
            let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            check_file(&shown, &text, &mut found);
            if shown.starts_with("consensus/src/") && !shown.ends_with("tests.rs") {
                core_lines += lines_without_tests(&text);
            }
        }
    }
    if core_lines > CORE_LINES_MAX {
        found.push(format!("consensus/src: {core_lines} lines without tests, at most {CORE_LINES_MAX}"));
    }
    for name in LOCK_FILES {
        let text = fs::read_to_string(root.join(name)).context(name)?;
        check_lock_file(name, &text, &mut found);
    }
    found.sort();
    Ok(found)
}

/// All `.rs` files below a folder, sorted, without build output.
pub(crate) fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let entries = fs::read_dir(&next).with_context(|| format!("{} could not be read", next.display()))?;
        for entry in entries {
            let path = entry.context("a folder's entry could not be read")?.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn check_file(shown: &str, text: &str, found: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(format!("{shown}: {lines} lines, at most {FILE_LINES_MAX}: split it by duty"));
    }
    if !text.starts_with("//!") {
        found.push(format!(
            "{shown}:1: the file must begin with a `//!` comment: what it is for, what it must not do"
        ));
    }
    let stem = Path::new(shown).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if NAMES_BANNED.contains(&stem) || stem == "mod" {
        found.push(format!("{shown}: name it after its duty, not `{stem}`"));
    }
    for (number, line) in text.lines().enumerate() {
        check_line(shown, number + 1, line, found);
    }
    match syn::parse_file(text) {
        Ok(tree) => {
            let mut functions = Functions { shown, found };
            functions.visit_file(&tree);
        }
        Err(error) => found.push(format!("{shown}: does not parse: {error}")),
    }
}

/// Lines of a file beside its modules of tests.
fn lines_without_tests(text: &str) -> usize {
    let Ok(tree) = syn::parse_file(text) else { return text.lines().count() };
    let of_tests = tree.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) => {
            let first =
                module.attrs.iter().find(|attribute| attribute.path().is_ident("cfg"))?.span().start();
            let last = module.content.as_ref().map(|(brace, _)| brace.span.close().end());
            let last = last.or_else(|| module.semi.as_ref().map(|semi| semi.span().end()))?;
            Some(last.line - first.line + 1)
        }
        _ => None,
    });
    text.lines().count() - of_tests.sum::<usize>()
}

fn check_line(shown: &str, number: usize, line: &str, found: &mut Vec<String>) {
    if shown.starts_with("xtask/") {
        return;
    }
    for mark in ["TODO", "FIXME", "XXX"] {
        if line.contains(mark) && !line.contains(&format!("{mark}X")) {
            found.push(format!("{shown}:{number}: `{mark}`: write an issue in docs/ with an owner instead"));
        }
    }
    if line.contains("#[ignore") || line.contains("#[should_panic") {
        found.push(format!("{shown}:{number}: a test that is ignored or expects a panic shows nothing"));
    }
    let code = line.trim_start();
    if code.starts_with("//") {
        return;
    }
    for (word, places, why) in PLACES {
        if line.contains(word) && !places.iter().any(|place| shown.starts_with(place)) {
            found.push(format!("{shown}:{number}: `{word}` belongs to {}: {why}", places.join(", ")));
        }
    }
}

/// No lock file may name another registry than the default one.
fn check_lock_file(shown: &str, text: &str, found: &mut Vec<String>) {
    for (number, line) in text.lines().enumerate() {
        let default = "registry+https://github.com/rust-lang/crates.io-index";
        if line.starts_with("source = ") && !line.contains(default) {
            found.push(format!("{shown}:{}: not from the default registry: {line}", number + 1));
        }
    }
}

struct Functions<'a> {
    shown: &'a str,
    found: &'a mut Vec<String>,
}

impl Functions<'_> {
    fn check(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.fn_token.span().start().line;
        let last = block.brace_token.span.close().end().line;
        let lines = last.saturating_sub(first) + 1;
        if lines > FUNCTION_LINES_MAX {
            self.found.push(format!(
                "{}:{first}: `{}` has {lines} lines, at most {FUNCTION_LINES_MAX}",
                self.shown, signature.ident
            ));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.check(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches_of(name: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        check_file(name, text, &mut found);
        found
    }

    #[test]
    fn a_clean_file_breaks_nothing() {
        assert_eq!(breaches_of("config/src/key.rs", "//! Keys.\n\nfn short() {}\n"), Vec::<String>::new());
    }

    #[test]
    fn each_rule_can_fail() {
        let long = format!("//! Long.\nfn long() {{\n{}}}\n", "    let _ = 1;\n".repeat(80));
        assert!(breaches_of("config/src/key.rs", &long)[0].contains("`long` has 82 lines"));
        assert!(breaches_of("config/src/key.rs", "fn a() {}\n")[0].contains("must begin with"));
        assert!(breaches_of("config/src/utils.rs", "//! A.\n")[0].contains("name it after its duty"));
        assert!(breaches_of("config/src/key.rs", "//! A.\n// TODO later\n")[0].contains("TODO"));
        assert!(breaches_of("cluster/src/a.rs", "//! A.\nuse quinn::Endpoint;\n")[0].contains("quinn"));
        assert!(
            breaches_of("config/src/key.rs", &format!("//! A.\n{}", "\n".repeat(700)))[0]
                .contains("701 lines")
        );
        assert!(breaches_of("config/src/key.rs", "//! A.\n#[ignore]\nfn a() {}\n")[0].contains("ignored"));
        let mut found = Vec::new();
        check_lock_file("Cargo.lock", "source = \"registry+https://example.org/index\"\n", &mut found);
        assert!(found[0].contains("Cargo.lock:1: not from the default registry"));
    }

    #[test]
    fn tests_are_not_counted() {
        let inner = "//! A.\nfn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        assert_eq!(lines_without_tests(inner), 2);
        assert_eq!(lines_without_tests("//! A.\nmod b;\n\n#[cfg(test)]\nmod tests;\n"), 3);
    }
}
