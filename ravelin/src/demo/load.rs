//! The load as a process of its own, seen from the demo: started, read, ended. It must not judge an
//! answer; `crate::load` does, in that process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::ChildStdin;

use anyhow::{Context, bail};
use tokio::sync::watch;

use super::process::Process;
use crate::load::Report;

/// A running `ravelin load`.
pub(crate) struct Load {
    process: Process,
    input: Option<ChildStdin>,
    reports: watch::Receiver<Report>,
}

impl Load {
    /// Starts it over `proxies` at `rate` requests a second.
    pub(crate) fn start(directory: &Path, proxies: &[String], rate: u32) -> anyhow::Result<Self> {
        let mut arguments = vec!["load".to_owned(), "--rate".to_owned(), rate.to_string()];
        arguments.extend(["--expect".to_owned(), "Name: whoami-".to_owned()]);
        for proxy in proxies {
            arguments.extend(["--proxy".to_owned(), proxy.clone()]);
        }
        let mut process = Process::new("load", arguments, &directory.join("load"))?;
        println!("$ {}", process.command_line());
        let child = process.start_piped()?;
        let input = child.stdin.take().context("the load's input")?;
        let output = child.stdout.take().context("the load's output")?;
        let (sender, reports) = watch::channel(Report::default());
        std::thread::Builder::new()
            .name("load-reports".to_owned())
            .spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Ok(report) = serde_json::from_str(&line) {
                        sender.send_replace(report);
                    }
                }
            })
            .context("a thread")?;
        Ok(Self { process, input: Some(input), reports })
    }

    /// The next report but one: it covers everything sent before this call.
    pub(crate) async fn fresh(&mut self) -> anyhow::Result<Report> {
        for _ in 0..2 {
            self.reports.changed().await.context("the load has ended")?;
        }
        Ok(self.reports.borrow().clone())
    }

    /// Stops sending, waits for what is in flight, and returns the last counts.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Report> {
        drop(self.input.take());
        loop {
            let report = self.reports.borrow_and_update().clone();
            if report.last {
                self.process.join()?;
                return Ok(report);
            }
            if self.reports.changed().await.is_err() {
                bail!("the load ended without its last report; see {}", self.process.log().display());
            }
        }
    }
}
