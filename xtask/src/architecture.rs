//! Checks that the maps of the code tell the truth: every path, every name of the code and every chore that
//! `docs/ARCHITECTURE.md`, the evidence, the deadlines and the README name exists. It must not judge prose.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;

use super::tidy::{CRATES, rust_files};

const MAPS: [&str; 5] = [
    "docs/ARCHITECTURE.md",
    "README.md",
    "docs/reference/evidence.md",
    "docs/reference/evidence-consensus.md",
    "docs/reference/deadlines.md",
];

/// Everything named that does not exist, one line each.
pub(crate) fn breaches(root: &Path) -> anyhow::Result<Vec<String>> {
    let known = words_of_sources(root)?;
    let mut found = Vec::new();
    for map in MAPS {
        let text = fs::read_to_string(root.join(map)).with_context(|| map.to_owned())?;
        for (number, line) in text.lines().enumerate() {
            // Links may be relative to the page.
            let beside = root.join(map).parent().map(Path::to_path_buf).unwrap_or_default();
            let exists = |name: &str| root.join(name).exists() || beside.join(name).exists();
            let paths = paths_named(line).into_iter().filter(|name| !exists(name));
            let words = names_in(line).into_iter().filter(|name| !known.contains(*name));
            let chores = chores_in(line).into_iter().filter(|words| !is_chore(words));
            let missing = paths.chain(words).map(str::to_owned).chain(chores.map(|words| words.join(" ")));
            found.extend(missing.map(|name| format!("{map}:{}: `{name}` does not exist", number + 1)));
        }
    }
    Ok(found)
}

/// The back-quoted words and link targets of a line that look like a path of this repository.
fn paths_named(line: &str) -> Vec<&str> {
    let linked = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    quoted(line).chain(linked).filter(|word| is_path(word)).collect()
}

fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_path(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let known_end = [".rs", ".md", ".toml", ".yaml", ".yml", ".txt", "/"];
    let looks = word.chars().all(plain) && known_end.iter().any(|end| word.ends_with(end));
    looks && !word.starts_with('/') && !word.starts_with("http") && !word.starts_with('.')
}

/// The back-quoted names of types, functions and tests: the last part of each, if it holds a `_` or begins with a capital.
fn names_in(line: &str) -> Vec<&str> {
    let is_name = |word: &&str| {
        let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        let last = word.rsplit("::").next().unwrap_or_default();
        let lower = last.chars().any(|c| c.is_ascii_lowercase());
        plain && lower && (last.contains('_') || last.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    quoted(line).filter(is_name).filter_map(|word| word.rsplit("::").next()).collect()
}

/// The words after each back-quoted `cargo xtask`, up to the first flag.
fn chores_in(line: &str) -> Vec<Vec<&str>> {
    let lines = quoted(line).filter_map(|word| word.strip_prefix("cargo xtask "));
    lines.map(|rest| rest.split(' ').take_while(|word| !word.starts_with('-')).collect()).collect()
}

fn is_chore(words: &[&str]) -> bool {
    let mut command = super::Arguments::command();
    for word in words {
        let Some(found) = command.find_subcommand(word).cloned() else { return false };
        command = found;
    }
    true
}

/// Every word of every source file.
fn words_of_sources(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut known = BTreeSet::new();
    for name in CRATES {
        for file in rust_files(&root.join(name))? {
            let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            known.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_other_words() {
        let line = "see `consensus/src/core.rs`, `Core`, `/api/rawdata`, `x.y.z` and [it](docs/guides/)";
        assert_eq!(paths_named(line), vec!["consensus/src/core.rs", "docs/guides/"]);
    }

    #[test]
    fn names_of_the_code_are_told_from_other_words() {
        let line =
            "`Core`, `wal::a_torn_tail`, `GET`, `nginx`, `docs/a_b.md`, plain_word, `Persisted(token)`";
        assert_eq!(names_in(line), vec!["Core", "a_torn_tail"]);
    }

    #[test]
    fn chores_are_those_of_the_command_line() {
        let line = "`cargo xtask bench start --rounds 7`, `cargo xtask verify`, `cargo xtask nonsense`";
        let known: Vec<bool> = chores_in(line).iter().map(|words| is_chore(words)).collect();
        assert_eq!(known, [true, true, false]);
    }
}
