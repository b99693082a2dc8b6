//! Fuzzing by libFuzzer: builds every target of `fuzz/fuzz_targets/` with a nightly toolchain and runs each beyond its
//! committed corpus, for seconds (the step of `verify`) or as a campaign of hours. Without a nightly toolchain the corpora
//! are only replayed (an ordinary test does that) and the step says so. Only a crash is written into the corpora.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::Context;

use super::process;
use super::verify::Outcome;

mod campaign;
mod plan;
mod report;

pub(crate) use campaign::Options;

const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code -Cdebug-assertions -Coverflow-checks=on";
const SECONDS_IN_VERIFY: u64 = 10;

/// The step of `verify`.
pub(crate) fn short(root: &Path, log: &Path) -> anyhow::Result<Outcome> {
    if let Some(missing) = missing() {
        return Ok(Outcome::Passed(format!(
            "no {missing}: the corpora were only replayed, by the step `test`"
        )));
    }
    let folder = build(root, log)?;
    let targets = targets(root)?;
    let briefly = |target: &String| -> anyhow::Result<u64> {
        let own = log.with_file_name(format!("fuzz-{target}.log"));
        process::quietly(&mut command(root, &folder, target, SECONDS_IN_VERIFY)?, &own)
            .with_context(|| replay_hint(target))?;
        Ok(report::Figures::of(&fs::read_to_string(&own).unwrap_or_default()).executions)
    };
    let mut runs = 0;
    for together in targets.chunks(campaign::cores()) {
        let ended: Vec<anyhow::Result<u64>> = std::thread::scope(|scope| {
            let started: Vec<_> = together.iter().map(|target| scope.spawn(|| briefly(target))).collect();
            started.into_iter().map(joined).collect()
        });
        for executions in ended {
            runs += executions?;
        }
    }
    Ok(Outcome::Passed(format!("fuzz: {} targets, {runs} executions, 0 crashes", targets.len())))
}

/// What a thread returned; a panic of it goes on in the caller.
fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs a campaign; the process's exit code: 0 if nothing was found, 1 if something crashed, 2 if it could not be run.
pub(crate) fn run(root: &Path, options: &Options) -> i32 {
    if let Some(missing) = missing() {
        println!("no {missing}: nothing was run");
        return 2;
    }
    match campaign::run(root, options) {
        Ok(0) => 0,
        Ok(_) => 1,
        Err(error) => {
            println!("{error:#}");
            2
        }
    }
}

/// What is missing here to build a fuzzer.
fn missing() -> Option<&'static str> {
    if !process::answers("cargo", &["+nightly", "--version"]) {
        return Some("nightly toolchain");
    }
    (!process::answers("c++", &["--version"])).then_some("C++ compiler")
}

/// What to do with an artifact of a run of a few seconds.
fn replay_hint(target: &str) -> String {
    format!(
        "target {target} failed: copy its artifact from target/fuzz/artifacts into fuzz/corpus/{target}/ and run `{}`",
        replay(target)
    )
}

/// The one command that replays the committed corpus of a target, reproducers included.
fn replay(target: &str) -> String {
    format!("RAVELIN_FUZZ_TARGET={target} cargo test -p ravelin-fuzz --test corpora every_corpus_is_replayed")
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

/// Where a target's findings are kept from one run to the next.
fn kept(root: &Path, target: &str) -> PathBuf {
    root.join("target/fuzz/corpus").join(target)
}

fn artifacts(root: &Path, target: &str) -> PathBuf {
    root.join("target/fuzz/artifacts").join(target)
}

fn committed(root: &Path, target: &str) -> PathBuf {
    root.join("fuzz/corpus").join(target)
}

/// A run of one target for so many seconds.
fn command(root: &Path, folder: &Path, target: &str, seconds: u64) -> anyhow::Result<Command> {
    let (fresh, artifacts) = (kept(root, target), artifacts(root, target));
    for path in [&fresh, &artifacts] {
        fs::create_dir_all(path).with_context(|| format!("{}", path.display()))?;
    }
    let mut command = bare(folder, target);
    command
        .arg(&fresh)
        .arg(committed(root, target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-print_final_stats=1");
    Ok(command)
}

/// A target's program with the bounds that hold for every run of it.
fn bare(folder: &Path, target: &str) -> Command {
    let mut command = Command::new(folder.join(target));
    command.args(["-rss_limit_mb=2048", "-timeout=10"]).current_dir(env::temp_dir());
    command
}
