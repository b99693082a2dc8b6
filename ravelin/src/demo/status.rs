//! The demo's small live status until Ctrl-C, and a few commands on standard input meanwhile. It must only show what the nodes
//! themselves say, and do only what an operator could.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

use super::cluster::Cluster;
use crate::operator::role;

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for a removed node to end by itself.
const END_TIME_MAX: Duration = Duration::from_secs(30);

/// Shows the status each second until it is dropped.
///
/// # Errors
/// Standard output is gone.
pub(crate) async fn show(cluster: &mut Cluster) -> anyhow::Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let mut lines_before = 0;
    let mut ticks = tokio::time::interval(REFRESH_INTERVAL);
    let mut served = Served::default();
    println!("Try it:  curl -i -H 'Host: whoami.localhost' http://{}/\n", cluster.proxy_addresses[0]);
    println!(
        "Edit {} and watch the generation grow. Ctrl-C stops everything.\n",
        cluster.dynamic_file.display()
    );
    println!("Type a line:  add · remove NODE · transfer [NODE] · start NAME, after you have killed one\n");
    let mut input = Some(BufReader::new(tokio::io::stdin()).lines());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            line = next_line(&mut input) => match line {
                Some(line) => {
                    lines_before = 0;
                    match command(cluster, &line).await {
                        Ok(said) => println!("{said}"),
                        Err(error) => println!("{error:#}"),
                    }
                }
                None => input = None,
            },
        }
        for line in cluster.ended()? {
            lines_before = 0;
            println!("{line}");
        }
        let text = render(cluster, &mut served).await;
        let mut out = std::io::stdout().lock();
        if terminal && lines_before > 0 {
            write!(out, "\x1b[{lines_before}A\x1b[J")?;
        }
        lines_before = text.lines().count();
        write!(out, "{text}")?;
        out.flush()?;
    }
}

/// The next line; none at the end, and nothing for ever after it.
async fn next_line(input: &mut Option<Lines<BufReader<Stdin>>>) -> Option<String> {
    match input {
        Some(lines) => lines.next_line().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// Does what a line asks for, and says what came of it.
async fn command(cluster: &mut Cluster, line: &str) -> anyhow::Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |text: &str| {
        let number = text.strip_prefix("controller-").unwrap_or(text).parse::<u64>().ok();
        number.filter(|number| *number > 0).with_context(|| format!("{text:?} is no control node"))
    };
    match words.as_slice() {
        ["add"] => {
            let place = cluster.add_controller().await?;
            Ok(format!("controller-{} is a member; it votes once another makes a pair with it", place + 1))
        }
        ["remove", node] => {
            let node = number(node)?;
            let place =
                usize::try_from(node - 1).ok().filter(|place| cluster.present().any(|it| it == *place));
            let place = place.with_context(|| format!("there is no controller-{node}"))?;
            cluster.remove_controller(place, END_TIME_MAX).await?;
            Ok(format!("controller-{node} was removed and has ended"))
        }
        ["transfer", node @ ..] => {
            let to = node.first().map(|node| number(node)).transpose()?;
            let leads = cluster.operator.transfer_leader(to).await?;
            Ok(format!("controller-{} leads, term {}", leads.leader, leads.term))
        }
        ["start", name] => {
            cluster.start_again(name)?;
            Ok(format!("{name} was started again"))
        }
        [] => Ok(String::new()),
        _ => bail!("{line:?} is none of: add, remove NODE, transfer [NODE], start NAME"),
    }
}

/// Request counts at the last look, for the rate.
#[derive(Default)]
struct Served {
    at: Option<Instant>,
    requests: Vec<u64>,
}

async fn render(cluster: &Cluster, served: &mut Served) -> String {
    let mut text = String::new();
    let mut proxies = Vec::new();
    for index in cluster.present() {
        let Some(process) = cluster.controllers.get(index) else { continue };
        let Some(pid) = process.pid() else {
            let _ = writeln!(text, "{:<14} does not run", process.name());
            continue;
        };
        let Some(status) = cluster.status(index).await else {
            let _ = writeln!(text, "{:<14} pid {pid:<8} no answer", process.name());
            continue;
        };
        let role = role(&status.role, status.controller, status.controller_epoch);
        let generation = status.generation.map_or_else(|| "-".to_owned(), |generation| generation.name);
        let _ = writeln!(
            text,
            "{:<14} pid {pid:<8} {role:<32} term {:<4} {generation}",
            process.name(),
            status.term
        );
        proxies.extend(status.proxies);
    }
    let now = Instant::now();
    let seconds = served.at.map_or(0.0, |at| now.duration_since(at).as_secs_f64());
    served.at = Some(now);
    served.requests.resize(cluster.proxies.len(), 0);
    for (index, process) in cluster.proxies.iter().enumerate() {
        let Some(pid) = process.pid() else {
            let _ = writeln!(text, "{:<14} does not run", process.name());
            continue;
        };
        let view = proxies.iter().find(|view| view.node == index as u64 + 1);
        let generation = view
            .and_then(|view| view.serving.as_ref())
            .map_or("not attached", |serving| serving.name.as_str());
        let lines = access_log_lines(process.folder());
        let rate =
            if seconds > 0.0 { (lines.saturating_sub(served.requests[index])) as f64 / seconds } else { 0.0 };
        served.requests[index] = lines;
        let address = &cluster.proxy_addresses[index];
        let _ = writeln!(
            text,
            "{:<14} pid {pid:<8} http://{address:<25} {rate:>6.0} req/s  serving {generation}",
            process.name()
        );
    }
    text
}

/// Requests that the proxy has logged.
fn access_log_lines(folder: &std::path::Path) -> u64 {
    let Ok(text) = std::fs::read(folder.join("access.log")) else { return 0 };
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}
