//! `ravelin demo`: a whole cluster on this machine, as separate processes that are the same
//! `ravelin controller` and `ravelin proxy` a person starts by hand. It must hold no switch that the
//! shipped nodes do not have, and leave no process behind.

mod access_logs;
mod chaos;
mod checks;
mod cluster;
mod load;
mod process;
mod status;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::DemoOptions;
use crate::{exit, validate};
use cluster::{Cluster, Plan};

/// Runs the demo until Ctrl-C, its checks once, or faults for a time.
///
/// # Errors
/// The cluster does not start, or (with `--once` or `--chaos`) a check does not hold, or not all were made.
pub(crate) fn run(options: DemoOptions) -> anyhow::Result<()> {
    let checks = options.once || options.chaos;
    let runtime = exit::runtime()?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = demo(options) => result,
            told = told_to_stop() => {
                told?;
                println!("\nstopping every process …");
                if checks { Err(anyhow!("interrupted before all was checked")) } else { Ok(()) }
            }
        }
    });
    // A thread may be reading standard input, which nobody can end: it must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Waits for whatever ends a program from outside; the demo's processes end with it.
async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt.context("the interrupt could not be awaited"),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}

async fn demo(options: DemoOptions) -> anyhow::Result<()> {
    let begun = Instant::now();
    let temporary;
    let directory = match &options.directory {
        Some(directory) => std::path::absolute(directory).context("the folder's path")?,
        None => {
            temporary =
                tempfile::Builder::new().prefix("ravelin-demo-").tempdir().context("a temporary folder")?;
            temporary.path().to_path_buf()
        }
    };
    let config = options.config.as_deref().map(own_file).transpose()?;
    let seed = options.seed.unwrap_or_else(rand::random);
    let mut cluster = Cluster::prepare(Plan { directory, config, relayed: options.chaos.then_some(seed) })?;
    cluster.start().await?;
    println!("first routed request after {} ms\n", begun.elapsed().as_millis());
    if options.chaos {
        chaos::run(&mut cluster, seed, options.seconds, options.rate).await
    } else if options.once {
        checks::run(&mut cluster, options.rate).await
    } else {
        status::show(&mut cluster).await
    }
}

/// The absolute path of a file to route. What is wrong with it is printed; what keeps it from being read at all is an error.
fn own_file(file: &Path) -> anyhow::Result<PathBuf> {
    let report = validate::report(file)?;
    for problem in &report.problems {
        println!("{problem}");
    }
    std::path::absolute(file).context("the file's path")
}

/// The file that the demo provides if none is given: `docs/examples/first/dynamic.yaml`, in the binary
/// so that it runs from anywhere.
pub(crate) const EXAMPLE: &str = include_str!("../../docs/examples/first/dynamic.yaml");

/// A file's place with the text that it shall hold.
pub(crate) fn write(path: &PathBuf, text: &str) -> anyhow::Result<()> {
    // Written beside and renamed, as editors do: the provider must never read half a file.
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).with_context(|| format!("{} could not be written", beside.display()))?;
    std::fs::rename(&beside, path).with_context(|| format!("{} could not be put in place", path.display()))
}
