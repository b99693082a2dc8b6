//! Changes the core's arithmetic line by line with cargo-mutants, and asks its tests to notice each change. What no test
//! can notice, because it changes nothing, is listed in `xtask/equivalents.toml` with the proof. It judges only what
//! cargo-mutants reports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::process;

const FILES: [&str; 3] =
    ["consensus/src/quorum.rs", "consensus/src/log.rs", "consensus/src/configuration.rs"];

/// Runs all changes; fails if one survives that is not proved to be equivalent.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    if !process::answers("cargo", &["mutants", "--version"]) {
        bail!("cargo-mutants is not installed: `cargo install --locked cargo-mutants`");
    }
    let proved = equivalents(root)?;
    let names = names(&listed(root)?);
    let folder = root.join("target/lines");
    let mut command = mutants(root);
    command.arg("--output").arg(&folder).args(["--no-shuffle", "--no-times", "--colors", "never"]);
    // Each change is a build of its own: that takes longer than the tests.
    command.args([
        "--cargo-arg",
        "--config=profile.dev.package.ravelin-consensus.opt-level=0",
        "--",
        "--tests",
    ]);
    // It ends with failure when something survives; what survives is judged here.
    let status = command.status().context("cargo mutants could not be started")?;
    let found = folder.join("mutants.out");
    let read = |name: &str| fs::read_to_string(found.join(name)).unwrap_or_default();
    let (caught, missed) = (read("caught.txt"), read("missed.txt"));
    if caught.is_empty() {
        bail!("cargo mutants caught nothing ({status}): the tests fail without any change");
    }
    let survivors: BTreeSet<&str> =
        missed.lines().map(|line| names.get(line).map_or(line, String::as_str)).collect();
    let unproved: Vec<&&str> = survivors.iter().filter(|name| !proved.contains_key(**name)).collect();
    for name in &unproved {
        println!("SURVIVED {name}");
    }
    for name in proved.keys().filter(|name| !survivors.contains(name.as_str())) {
        println!("listed as equivalent, but caught or gone: {name}");
    }
    let (caught, proved) = (caught.lines().count(), survivors.len() - unproved.len());
    println!("mutants: {caught} lines of {} killed, {proved} proved equivalent", caught + survivors.len());
    if unproved.is_empty() { Ok(()) } else { bail!("{} survive", unproved.len()) }
}

fn mutants(root: &Path) -> Command {
    let mut command = Command::new(process::cargo_program());
    command.current_dir(root).args(["mutants", "-p", "ravelin-consensus"]);
    for file in FILES {
        command.args(["--file", file]);
    }
    command
}

/// Every change that there is, as cargo-mutants names it.
fn listed(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = mutants(root).arg("--list").output().context("cargo mutants could not be started")?;
    if !output.status.success() {
        bail!("cargo mutants --list: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// The same by names without line and column, which move with every edit: those that are alike are counted.
fn names(listed: &[String]) -> BTreeMap<String, String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut names = BTreeMap::new();
    for line in listed {
        let mut parts = line.splitn(4, ':');
        let (file, what) = (parts.next().unwrap_or_default(), parts.nth(2).unwrap_or_default().trim());
        let plain = format!("{file}: {what}");
        let count = counts.entry(plain.clone()).or_default();
        *count += 1;
        let name = if *count > 1 { format!("{plain} ({count})") } else { plain };
        names.insert(line.clone(), name);
    }
    names
}

/// Name of a change → why it changes nothing.
fn equivalents(root: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let path = root.join("xtask/equivalents.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_known_by_what_they_are_and_not_by_where() {
        let listed = ["a.rs:1:2: replace > with < in f", "a.rs:1:9: replace > with < in f", "b.rs:3:1: x"];
        let listed = listed.map(str::to_owned);
        let names = names(&listed);
        let name = |at: usize| names[&listed[at]].as_str();
        assert_eq!(
            [name(0), name(1), name(2)],
            ["a.rs: replace > with < in f", "a.rs: replace > with < in f (2)", "b.rs: x"]
        );
    }

    #[test]
    fn every_equivalent_says_why() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
        for (name, proof) in equivalents(root).expect("the list is committed") {
            assert!(proof.len() > 20 && FILES.iter().any(|file| name.starts_with(file)), "{name}: {proof}");
        }
    }
}
