//! Running other programs for a chore: with their output shown, or kept in a file and its end shown
//! only on failure. It must not interpret what they print.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The cargo that runs this chore, so that a pinned toolchain stays pinned.
pub(crate) fn cargo_program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Runs cargo with `line` (split at blanks) and `more` arguments, output shown.
pub(crate) fn cargo(root: &Path, line: &str, more: &[String]) -> anyhow::Result<()> {
    let status = Command::new(cargo_program())
        .args(line.split_whitespace())
        .args(more)
        .current_dir(root)
        .status()
        .with_context(|| format!("cargo {line}: could not be started"))?;
    if !status.success() {
        bail!("cargo {line} {}: {status}", more.join(" "));
    }
    Ok(())
}

/// Runs a command with its output kept in `log`; on failure the error holds the log's end.
pub(crate) fn quietly(command: &mut Command, log: &Path) -> anyhow::Result<()> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).with_context(|| format!("{} could not be made", folder.display()))?;
    }
    let out = File::create(log).with_context(|| format!("{} could not be made", log.display()))?;
    let err = out.try_clone().context("the log's handle could not be copied")?;
    let status = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .status()
        .with_context(|| format!("{command:?} could not be started"))?;
    if status.success() {
        return Ok(());
    }
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(60)..].join("\n");
    bail!("{status}; the end of {}:\n{tail}", log.display());
}

/// Whether a program answers to `arguments` with success.
pub(crate) fn answers(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
