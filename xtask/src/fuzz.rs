//! Fuzzing by libFuzzer: builds every target of `fuzz/fuzz_targets/` with a nightly toolchain and runs
//! each for a time beyond its committed corpus. Without a nightly toolchain the corpora are only
//! replayed (an ordinary test does that) and the step says so. It must not write into the corpora.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, bail};

use super::process;
use super::verify::Outcome;

const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code -Cdebug-assertions -Coverflow-checks=on";
const SECONDS_IN_VERIFY: u64 = 10;

/// The step of `verify`.
pub(crate) fn short(root: &Path, log: &Path) -> anyhow::Result<Outcome> {
    if !process::answers("cargo", &["+nightly", "--version"]) || !process::answers("c++", &["--version"]) {
        return Ok(Outcome::Passed(
            "no nightly toolchain or C++ compiler: the corpora were only replayed, by the step `test`"
                .to_owned(),
        ));
    }
    let folder = build(root, log)?;
    let targets = targets(root)?;
    let mut runs = 0;
    for target in &targets {
        let own = log.with_file_name(format!("fuzz-{target}.log"));
        process::quietly(&mut command(root, &folder, target, SECONDS_IN_VERIFY)?, &own)
            .with_context(|| replay_hint(target))?;
        runs += executions(&fs::read_to_string(&own).unwrap_or_default());
    }
    Ok(Outcome::Passed(sum(targets.len(), runs)))
}

/// A longer run with output shown.
pub(crate) fn run(root: &Path, seconds: u64, only: Option<&str>) -> anyhow::Result<()> {
    let folder = build(root, &root.join("target/verify/fuzz-build.log"))?;
    let (mut ran, mut runs) = (0, 0);
    for target in targets(root)?.iter().filter(|target| only.is_none_or(|only| only == *target)) {
        let mut command = command(root, &folder, target, seconds)?;
        let mut child = command.stderr(Stdio::piped()).spawn().context("the target could not be started")?;
        for line in child.stderr.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
            let line = line.context("the target's output")?;
            eprintln!("{line}");
            runs += executions(&line);
        }
        ran += 1;
        if !child.wait().context("the target's end")?.success() {
            bail!("{}", replay_hint(target));
        }
    }
    println!("{}", sum(ran, runs));
    Ok(())
}

/// The line that a script can read. A crash ends the run with an error instead.
fn sum(targets: usize, executions: u64) -> String {
    format!("fuzz: {targets} targets, {executions} executions, 0 crashes")
}

fn replay_hint(target: &str) -> String {
    format!(
        "target {target} failed: copy its artifact from target/fuzz/artifacts into fuzz/corpus/{target}/ and run `cargo test -p ravelin-fuzz`"
    )
}

fn targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(root.join("fuzz/fuzz_targets"))
        .context("fuzz/fuzz_targets")?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Builds all targets; the folder of the executables.
fn build(root: &Path, log: &Path) -> anyhow::Result<PathBuf> {
    let target = root.join("target/fuzz");
    let mut cargo = Command::new("cargo");
    cargo
        .args("+nightly build --locked --release -p ravelin-fuzz --bins --target".split_whitespace())
        .arg(host()?)
        .env("RUSTFLAGS", FLAGS)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .current_dir(root);
    process::quietly(&mut cargo, log)?;
    Ok(target.join(host()?).join("release"))
}

fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).context("rustc did not tell its host")
}

fn command(root: &Path, folder: &Path, target: &str, seconds: u64) -> anyhow::Result<Command> {
    let fresh = root.join("target/fuzz/corpus").join(target);
    let artifacts = root.join("target/fuzz/artifacts").join(target);
    for path in [&fresh, &artifacts] {
        fs::create_dir_all(path).with_context(|| format!("{}", path.display()))?;
    }
    let mut command = Command::new(folder.join(target));
    command
        .arg(&fresh)
        .arg(root.join("fuzz/corpus").join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1"])
        .current_dir(env::temp_dir());
    Ok(command)
}

/// The count in libFuzzer's closing statistics.
fn executions(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
