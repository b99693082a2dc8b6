//! A fuzzing campaign with a budget: every target by weight, several at a time, corpora kept, minimised and merged. A crash
//! is made small and put where it is committed and replayed. It must not touch committed seeds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};

use super::plan::{Plan, weights};
use super::report::{Crash, Figures, Target, junit, text};
use super::{artifacts, bare, build, command, committed, kept, replay, targets};
use crate::choice::{By, chosen};

/// What the caller may choose.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Time of the whole campaign, in seconds.
    pub(crate) seconds: u64,
    /// Targets at a time; none: one for each core.
    pub(crate) jobs: Option<usize>,
    /// Only the target of this name.
    pub(crate) only: Option<String>,
}

/// Seconds that making one crash smaller may take.
const MINIMISE_SECONDS: u64 = 30;

/// Runs it, prints and writes the reports; how many crashes there were.
pub(super) fn run(root: &Path, options: &Options) -> anyhow::Result<usize> {
    let targets = chosen(&targets(root)?, |target| target, options.only.as_deref(), By::Whole)?;
    if options.seconds == 0 {
        bail!("within less than a second nothing would be run");
    }
    let folder = build(root, &root.join("target/verify/fuzz-build.log"))?;
    let jobs = options.jobs.unwrap_or_else(cores).max(1);
    let plan = Plan::new(&targets, &weights(root)?, options.seconds * jobs as u64);
    let named = |name: &String| Target { name: name.clone(), ..Target::default() };
    let found = targets.iter().map(named).collect();
    let campaign = Campaign { root, folder, state: Mutex::new(State { plan, found, trouble: None }) };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| campaign.work());
        }
    });
    let State { mut found, trouble, .. } =
        campaign.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(trouble) = trouble {
        return Err(trouble);
    }
    for target in found.iter_mut().filter(|target| target.crashes.is_empty()) {
        target.figures.corpus = merge(root, &campaign.folder, &target.name)?;
    }
    let report = root.join("target/fuzz/report.xml");
    fs::write(&report, junit(&found)).with_context(|| format!("{}", report.display()))?;
    println!("report: {}", report.display());
    println!("{}", text(&found));
    Ok(found.iter().map(|target| target.crashes.len()).sum())
}

/// How many targets can run beside one another.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

struct Campaign<'a> {
    root: &'a Path,
    folder: PathBuf,
    state: Mutex<State>,
}

struct State {
    plan: Plan,
    found: Vec<Target>,
    trouble: Option<anyhow::Error>,
}

impl Campaign<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes slices until there are no more.
    fn work(&self) {
        loop {
            let Some((name, seconds)) = self.state().plan.next() else { return };
            if let Err(error) = self.slice(&name, seconds) {
                let mut state = self.state();
                state.plan.drop(&name);
                state.trouble.get_or_insert(error);
                return;
            }
        }
    }

    fn slice(&self, name: &str, seconds: u64) -> anyhow::Result<()> {
        let mut command = command(self.root, &self.folder, name, seconds)?;
        let output =
            command.stdin(Stdio::null()).output().with_context(|| format!("{name} could not be started"))?;
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        let crash = match output.status.success() {
            true => None,
            false => Some(self.crash(name, &printed)?),
        };
        let figures = Figures::of(&printed);
        println!("{name}: {seconds} s, {} executions, coverage {}", figures.executions, figures.covered);
        let mut state = self.state();
        if crash.is_some() {
            state.plan.drop(name);
        }
        if let Some(target) = state.found.iter_mut().find(|target| target.name == name) {
            target.seconds += seconds;
            target.figures.add(figures);
            target.crashes.extend(crash);
        }
        Ok(())
    }

    /// Keeps what crashed a target, as small as it can be made in a while.
    fn crash(&self, name: &str, printed: &str) -> anyhow::Result<Crash> {
        let written = printed.lines().find_map(|line| line.split_once("Test unit written to "));
        let Some((_, artifact)) = written else {
            bail!("{name} ended with a failure, and left no input that leads to it:\n{printed}");
        };
        let artifact = PathBuf::from(artifact.trim());
        let kind = artifact.file_name().and_then(|name| name.to_str()).unwrap_or("crash").to_owned();
        let target = committed(self.root, name).join(&kind);
        fs::copy(&artifact, &target).with_context(|| format!("{}", target.display()))?;
        let small = artifacts(self.root, name).join(format!("minimised-{kind}"));
        let minimised = bare(&self.folder, name)
            .args(["-minimize_crash=1", "-runs=1000000"])
            .arg(format!("-max_total_time={MINIMISE_SECONDS}"))
            .arg(format!("-exact_artifact_path={}", small.display()))
            .arg(&artifact)
            .stdin(Stdio::null())
            .output();
        // A crash that cannot be made smaller is as good a reproducer.
        if minimised.is_ok() && small.is_file() {
            fs::copy(&small, &target).with_context(|| format!("{}", target.display()))?;
        }
        let reproducer = target.strip_prefix(self.root).unwrap_or(&target).display().to_string();
        Ok(Crash { reproducer, replay: replay(name), said: said(printed) })
    }
}

/// The line of a run's output that says what happened: a panic's words, or the sanitizer's.
fn said(printed: &str) -> String {
    let mut lines = printed.lines().skip_while(|line| !line.contains("panicked at"));
    let panic = lines.next().and_then(|_| lines.next());
    let error = || printed.lines().find(|line| line.contains("ERROR: "));
    panic.or_else(error).unwrap_or("no words").trim().to_owned()
}

/// Keeps of a target's corpus the fewest inputs that reach all that it reaches beyond the committed ones. How many.
fn merge(root: &Path, folder: &Path, name: &str) -> anyhow::Result<u64> {
    let (kept, merged) = (kept(root, name), root.join("target/fuzz/merged").join(name));
    let _ = fs::remove_dir_all(&merged);
    fs::create_dir_all(&merged).with_context(|| format!("{}", merged.display()))?;
    let mut command = bare(folder, name);
    command.arg("-merge=1").arg(&merged).arg(committed(root, name)).arg(&kept).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("{name} could not be started"))?;
    if !output.status.success() {
        bail!("the corpus of {name} could not be merged:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    fs::remove_dir_all(&kept).with_context(|| format!("{}", kept.display()))?;
    fs::rename(&merged, &kept).with_context(|| format!("{}", kept.display()))?;
    Ok(fs::read_dir(&kept).with_context(|| format!("{}", kept.display()))?.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_panic_are_found() {
        let printed = "#5 NEW\nthread '<unnamed>' (1) panicked at fuzz/src/wal.rs:9:5:\nassertion failed: a\nnote: run\n\
                       ==1== ERROR: libFuzzer: deadly signal\n";
        assert_eq!(said(printed), "assertion failed: a");
        assert_eq!(
            said("==1== ERROR: libFuzzer: timeout after 10 seconds\n"),
            "==1== ERROR: libFuzzer: timeout after 10 seconds"
        );
    }
}
