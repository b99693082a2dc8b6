//! The process's own log: to standard error, as text or JSON. It must not be used for access logs.

use std::io::IsTerminal;

use anyhow::anyhow;
use tracing_subscriber::EnvFilter;

/// Starts the log at `level` (error, warn, info, debug, trace), as JSON if asked.
///
/// # Errors
/// The level is none of the five.
pub(crate) fn start(level: &str, json: bool) -> anyhow::Result<()> {
    let level = level.to_ascii_lowercase();
    let known = ["error", "warn", "info", "debug", "trace"];
    if !known.contains(&level.as_str()) {
        return Err(anyhow!("log level {level:?} is unknown; use one of {}", known.join(", ")));
    }
    // What a dependency says below a warning tells nothing about our own work.
    let others = if level == "error" { "error" } else { "warn" };
    let filter = EnvFilter::new(format!("{others},ravelin={level}"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let started = if json { builder.json().try_init() } else { builder.with_ansi(colour).try_init() };
    started.map_err(|error| anyhow!("the log could not be started: {error}"))
}
