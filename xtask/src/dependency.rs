//! The dependency rule of docs/ARCHITECTURE.md, checked on what cargo resolves. It must not hold a
//! second list of who may use whom than [`RULE`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

/// Crate and the crates of ours that it may use.
const RULE: [(&str, &[&str]); 7] = [
    ("ravelin-consensus", &[]),
    ("ravelin-config", &[]),
    ("ravelin-transport", &[]),
    ("ravelin-cluster", &["ravelin-consensus", "ravelin-config", "ravelin-transport"]),
    ("ravelin-proxy", &["ravelin-config", "ravelin-transport"]),
    ("ravelin-model-check", &["ravelin-consensus", "ravelin-config", "ravelin-transport", "ravelin-cluster"]),
    ("xtask", &[]),
];
/// Crate and the packages that must not be reachable from it by normal dependencies.
const NEVER_LINKS: [(&str, &[&str]); 4] = [
    ("ravelin-consensus", &["tokio", "rand", "hyper", "quinn", "serde", "bincode"]),
    ("ravelin-config", &["tokio", "hyper", "quinn"]),
    ("ravelin-proxy", &["ravelin-cluster", "ravelin-consensus", "stateright"]),
    ("ravelin", &["stateright", "loom", "proptest"]),
];

/// Every breach of the dependency rule, one line each.
pub(crate) fn breaches(root: &Path) -> anyhow::Result<Vec<String>> {
    let graph = graph(root)?;
    let mut found = Vec::new();
    for (name, allowed) in RULE {
        let Some(direct) = graph.get(name) else { bail!("the workspace has no crate {name}") };
        for used in direct.iter().filter(|used| graph_is_ours(used)) {
            if !allowed.contains(&used.as_str()) {
                found.push(format!("{name} must not depend on {used}"));
            }
        }
    }
    for (name, banned) in NEVER_LINKS {
        let reached = reach(&graph, name);
        for package in banned.iter().filter(|package| reached.contains(**package)) {
            found.push(format!("{name} must not link {package}, not even through another crate"));
        }
    }
    if graph.get("ravelin-consensus").is_some_and(|direct| !direct.is_empty()) {
        found.push("ravelin-consensus must use std only".to_owned());
    }
    Ok(found)
}

fn graph_is_ours(name: &str) -> bool {
    name.starts_with("ravelin") || name == "xtask"
}

/// Package name → names of its normal dependencies.
fn graph(root: &Path) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let output = Command::new(super::process::cargo_program())
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(root)
        .output()
        .context("cargo metadata could not be started")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata's answer")?;
    let mut names = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        names.insert(text(&package["id"]), text(&package["name"]));
    }
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().into_iter().flatten() {
        let direct = graph.entry(names[&text(&node["id"])].clone()).or_default();
        for dependency in node["deps"].as_array().into_iter().flatten() {
            let kinds = dependency["dep_kinds"].as_array();
            if kinds.into_iter().flatten().any(|kind| kind["kind"].is_null()) {
                direct.insert(names[&text(&dependency["pkg"])].clone());
            }
        }
    }
    Ok(graph)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn reach(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(next) = open.pop() {
        for used in graph.get(&next).into_iter().flatten() {
            if reached.insert(used.clone()) {
                open.push(used.clone());
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reach_follows_every_step() {
        let edge = |from: &str, to: &str| (from.to_owned(), BTreeSet::from([to.to_owned()]));
        let graph = BTreeMap::from([edge("a", "b"), edge("b", "c")]);
        assert_eq!(reach(&graph, "a"), BTreeSet::from(["b".to_owned(), "c".to_owned()]));
        assert_eq!(reach(&graph, "c"), BTreeSet::new());
    }
}
