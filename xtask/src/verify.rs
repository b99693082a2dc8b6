//! `verify`: every check of the project in one order, one line a step with its time, never writing to
//! the sources. `fix` is its writing counterpart. A step may be skipped only if the committed list
//! `xtask/skips.toml` allows it for the reason given there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use super::{architecture, choice, clients, dependency, fuzz, process, tidy};

/// How a step ended that did not fail.
pub(crate) enum Outcome {
    /// It ran and held; the text is a figure worth showing, or empty.
    Passed(String),
    /// It could not run here; the text says what is missing.
    Skipped(String),
}

/// The mutant that the guides show.
pub(crate) const SHOWN_MUTANT: &str = "read-round-reused";

type Step = (&'static str, fn(&Path, &Path) -> anyhow::Result<Outcome>);

/// The steps, cheap ones first so that a slip shows early.
const STEPS: [Step; 13] = [
    ("format", |root, log| cargo(root, log, "fmt --all --check")),
    ("tidy", |root, _| rules(root)),
    ("dependency-rule", |root, _| listed(dependency::breaches(root)?)),
    ("clippy", |root, log| cargo(root, log, "clippy --locked --workspace --all-targets -- -D warnings")),
    ("docs", docs),
    ("licences-and-advisories", deny),
    ("test", |root, log| cargo(root, log, "test --locked --workspace")),
    ("clients", clients::run),
    ("loom", loom),
    ("model", |root, log| figures(root, log, "run --locked -q -p ravelin-model-check --bin model -- check")),
    ("mutants", mutants),
    ("simulation", |root, log| {
        figures(root, log, "run --locked -q -p ravelin-model-check --bin sim -- --seeds 2000")
    }),
    ("fuzz", |root, log| fuzz::short(root, log)),
];

/// Runs the steps whose name contains `only`; the error says how many failed.
pub(crate) fn verify(root: &Path, only: Option<&str>) -> anyhow::Result<()> {
    let allowed = allowed_skips(root)?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let steps = choice::chosen(&STEPS, |(name, _)| name, only, choice::By::Part)?;
    let begun = Instant::now();
    for (name, step) in steps {
        let log = root.join("target/verify").join(format!("{name}.log"));
        let start = Instant::now();
        let outcome = step(root, &log);
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(Outcome::Passed(figure)) => {
                passed += 1;
                println!("ok    {name:<24} {seconds:>7.1} s  {figure}");
            }
            Ok(Outcome::Skipped(why)) if allowed.contains_key(name) => {
                skipped += 1;
                println!("skip  {name:<24} {seconds:>7.1} s  {why}");
            }
            Ok(Outcome::Skipped(why)) => {
                failed += 1;
                println!(
                    "FAIL  {name:<24} {seconds:>7.1} s  skipped ({why}), but xtask/skips.toml does not allow it"
                );
            }
            Err(error) => {
                failed += 1;
                println!("FAIL  {name:<24} {seconds:>7.1} s\n{error:#}");
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("verify: {passed} passed, {failed} failed, {skipped} skipped, {seconds:.0} s");
    if failed > 0 {
        bail!("{failed} steps failed; `cargo xtask verify --only NAME` runs one again");
    }
    Ok(())
}

/// Formats the sources and rewrites what is generated from them.
pub(crate) fn fix(root: &Path) -> anyhow::Result<()> {
    process::cargo(root, "fmt --all", &[])?;
    let status = Command::new(process::cargo_program())
        .args("test -q -p ravelin-config --lib".split_whitespace())
        .env("RAVELIN_REWRITE", "1")
        .current_dir(root)
        .status()
        .context("cargo test could not be started")?;
    if !status.success() {
        bail!("the generated reference could not be rewritten: {status}");
    }
    Ok(())
}

/// The rules alone, each breach on its line.
pub(crate) fn tidy(root: &Path) -> anyhow::Result<()> {
    let mut found = tidy::breaches(root)?;
    found.extend(dependency::breaches(root)?);
    found.extend(architecture::breaches(root)?);
    for line in &found {
        println!("{line}");
    }
    if !found.is_empty() {
        bail!("{} breaches", found.len());
    }
    Ok(())
}

fn rules(root: &Path) -> anyhow::Result<Outcome> {
    let mut found = tidy::breaches(root)?;
    found.extend(architecture::breaches(root)?);
    listed(found)
}

fn listed(found: Vec<String>) -> anyhow::Result<Outcome> {
    if found.is_empty() { Ok(Outcome::Passed(String::new())) } else { bail!("{}", found.join("\n")) }
}

fn cargo(root: &Path, log: &Path, line: &str) -> anyhow::Result<Outcome> {
    let mut command = Command::new(process::cargo_program());
    process::quietly(command.args(line.split_whitespace()).current_dir(root), log)?;
    let text = fs::read_to_string(log).unwrap_or_default();
    let tests: u64 = text.lines().filter_map(tests_passed).sum();
    Ok(Outcome::Passed(if tests > 0 { format!("{tests} tests passed") } else { String::new() }))
}

/// The count in a line `test result: ok. 12 passed; …`.
pub(crate) fn tests_passed(line: &str) -> Option<u64> {
    line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse().ok()
}

/// Like [`cargo`], and shows the last line that the program printed: its figures.
fn figures(root: &Path, log: &Path, line: &str) -> anyhow::Result<Outcome> {
    cargo(root, log, line)?;
    let text = fs::read_to_string(log).unwrap_or_default();
    Ok(Outcome::Passed(text.lines().last().unwrap_or_default().to_owned()))
}

/// All of them, then the one that the guides show, which has the copy of the sources at hand.
fn mutants(root: &Path, log: &Path) -> anyhow::Result<Outcome> {
    let program = "run --locked -q -p ravelin-model-check --bin mutants";
    let outcome = figures(root, log, program)?;
    cargo(root, &log.with_extension("one.log"), &format!("{program} -- --show {SHOWN_MUTANT}"))?;
    Ok(outcome)
}

fn docs(root: &Path, log: &Path) -> anyhow::Result<Outcome> {
    let mut command = Command::new(process::cargo_program());
    command.args("doc --locked --workspace --no-deps --document-private-items".split_whitespace());
    process::quietly(command.env("RUSTDOCFLAGS", "-D warnings").current_dir(root), log)?;
    Ok(Outcome::Passed(String::new()))
}

fn deny(root: &Path, log: &Path) -> anyhow::Result<Outcome> {
    if !process::answers("cargo", &["deny", "--version"]) {
        return Ok(Outcome::Skipped("cargo-deny is not installed".to_owned()));
    }
    cargo(root, log, "deny --locked check bans licenses sources")
}

fn loom(root: &Path, log: &Path) -> anyhow::Result<Outcome> {
    let mut command = Command::new(process::cargo_program());
    command
        .args("test --locked -p ravelin-model-check --no-default-features --lib loom".split_whitespace())
        .env("RUSTFLAGS", "--cfg ravelin_loom")
        .env("CARGO_TARGET_DIR", root.join("target/loom"))
        .current_dir(root);
    process::quietly(&mut command, log)?;
    let text = fs::read_to_string(log).unwrap_or_default();
    let tests: u64 = text.lines().filter_map(tests_passed).sum();
    if tests == 0 {
        bail!("no loom test ran");
    }
    Ok(Outcome::Passed(format!("{tests} loom tests passed")))
}

/// Step name → why it may be skipped.
fn allowed_skips(root: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let path = root.join("xtask/skips.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_counts_are_read() {
        assert_eq!(tests_passed("test result: ok. 12 passed; 0 failed; 0 ignored"), Some(12));
        assert_eq!(tests_passed("running 12 tests"), None);
    }
}
