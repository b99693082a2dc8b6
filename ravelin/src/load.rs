//! Steady open-loop load over several proxies: `ravelin load`. Every answer is judged (status, body,
//! generation); counts go to standard output as one JSON line each 100 ms, the last one when standard
//! input closes. It must not slow down when answers do: requests start at fixed times.
//!
//! A request has failed if it has no right answer within 2 s after at most one retry, at the other
//! proxy, which is allowed only where the connection was refused or closed before the first byte of an
//! answer to a GET.

mod client;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

pub(crate) use client::{Attempt, Client};

const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
/// Failures and latencies kept for the report; both lists are bounded by it.
const FAILURES_KEPT_MAX: usize = 20;

/// What to send and what to expect.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Addresses of the proxies, host:port.
    #[arg(long = "proxy", required = true)]
    pub(crate) proxies: Vec<String>,
    /// Requests a second over all proxies.
    #[arg(long, default_value_t = 400)]
    pub(crate) rate: u32,
    /// The Host field and path to ask for.
    #[arg(long, default_value = "whoami.localhost")]
    pub(crate) host: String,
    /// The path to ask for.
    #[arg(long, default_value = "/")]
    pub(crate) path: String,
    /// Text that the body must contain.
    #[arg(long, default_value = "")]
    pub(crate) expect: String,
    /// Response field that carries the generation as a number.
    #[arg(long, default_value = "x-ravelin-generation")]
    pub(crate) generation_field: String,
}

/// The counts so far; every field only grows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Requests begun.
    pub(crate) sent: u64,
    /// Requests with a right answer in time.
    pub(crate) right: u64,
    /// Requests without one.
    pub(crate) failed: u64,
    /// Second attempts made.
    pub(crate) retried: u64,
    /// Answers whose generation was older than one that this proxy had given before the request began.
    pub(crate) backwards: u64,
    /// Attempts that ended after the first byte of an answer or in a time-out: in-flight losses.
    pub(crate) broken: u64,
    /// Answers received whole, by proxy and status.
    pub(crate) answers: BTreeMap<String, BTreeMap<u16, u64>>,
    /// The newest generation seen, by proxy.
    pub(crate) generation: BTreeMap<String, u64>,
    /// The slowest right answer, in milliseconds.
    pub(crate) slowest_ms: u64,
    /// The first failures, in words.
    pub(crate) failures: Vec<String>,
    /// Whether this is the last line.
    pub(crate) last: bool,
}

struct Load {
    options: Options,
    clients: Vec<Client>,
    newest: Vec<AtomicU64>,
    report: Mutex<Report>,
}

/// Sends until standard input closes, then waits for what is in flight and prints the last line.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let clients = options.proxies.iter().map(|address| Client::new(address)).collect();
    let newest = options.proxies.iter().map(|_| AtomicU64::new(0)).collect();
    let load = Arc::new(Load { clients, newest, report: Mutex::default(), options });
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / load.options.rate.max(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let mut reports = tokio::time::interval(REPORT_INTERVAL);
    let mut flying = tokio::task::JoinSet::new();
    let mut input = tokio::io::stdin();
    let mut byte = [0u8; 1];
    let mut number = 0usize;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let load = load.clone();
                flying.spawn(async move { load.one(number).await });
                number += 1;
            }
            Some(_) = flying.join_next(), if !flying.is_empty() => {}
            _ = reports.tick() => load.print(false)?,
            read = input.read(&mut byte) => if !matches!(read, Ok(1..)) { break },
        }
    }
    while flying.join_next().await.is_some() {}
    load.print(true)
}

impl Load {
    /// One request from its first attempt to its judgement.
    async fn one(&self, number: usize) {
        let first = number % self.clients.len();
        self.count(|report| report.sent += 1);
        let begun = Instant::now();
        let answered = tokio::time::timeout(ANSWER_TIME_MAX, self.attempts(first)).await;
        match answered {
            Ok(Ok(())) => self.count(|report| {
                report.right += 1;
                report.slowest_ms = report.slowest_ms.max(begun.elapsed().as_millis() as u64);
            }),
            Ok(Err(why)) => self.fail(why),
            Err(_) => {
                self.count(|report| report.broken += 1);
                self.fail(format!("{}: no answer within {ANSWER_TIME_MAX:?}", self.options.proxies[first]));
            }
        }
    }

    async fn attempts(&self, first: usize) -> Result<(), String> {
        match self.attempt(first).await {
            Ok(()) => Ok(()),
            Err((why, true)) if self.clients.len() > 1 => {
                self.count(|report| report.retried += 1);
                let second = (first + 1) % self.clients.len();
                self.attempt(second).await.map_err(|(again, _)| format!("{why}; then {again}"))
            }
            Err((why, _)) => Err(why),
        }
    }

    /// One attempt at one proxy; the error says whether a retry is allowed.
    async fn attempt(&self, proxy: usize) -> Result<(), (String, bool)> {
        let name = &self.options.proxies[proxy];
        let newest_before = self.newest[proxy].load(Ordering::Acquire);
        let attempt = self.clients[proxy].request(&self.options.host, &self.options.path).await;
        let answer = match attempt {
            Attempt::Answered(answer) => answer,
            Attempt::NothingCame(why) => return Err((format!("{name}: {why}"), true)),
            Attempt::Broken(why) => {
                self.count(|report| report.broken += 1);
                return Err((format!("{name}: {why}"), false));
            }
        };
        let field = answer.headers.get(&self.options.generation_field);
        let generation =
            field.and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
        let newest = self.newest[proxy].fetch_max(generation.unwrap_or(0), Ordering::AcqRel);
        self.count(|report| {
            *report.answers.entry(name.clone()).or_default().entry(answer.status).or_default() += 1;
            report.generation.insert(name.clone(), newest.max(generation.unwrap_or(0)));
        });
        if answer.status != 200 {
            return Err((format!("{name}: status {}", answer.status), false));
        }
        if !String::from_utf8_lossy(&answer.body).contains(&self.options.expect) {
            return Err((format!("{name}: the body lacks {:?}", self.options.expect), false));
        }
        match generation {
            None => Err((format!("{name}: no generation in the answer"), false)),
            Some(generation) if generation < newest_before => {
                self.count(|report| report.backwards += 1);
                Err((format!("{name}: generation {generation} after {newest_before}"), false))
            }
            Some(_) => Ok(()),
        }
    }

    fn fail(&self, why: String) {
        self.count(|report| {
            report.failed += 1;
            if report.failures.len() < FAILURES_KEPT_MAX {
                report.failures.push(why.clone());
            }
        });
    }

    fn count(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    fn print(&self, last: bool) -> anyhow::Result<()> {
        let mut report = self.report.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        report.last = last;
        println!("{}", serde_json::to_string(&report)?);
        Ok(())
    }
}
