//! `ravelin healthcheck`: asks the running process's ping, as container runtimes do. It must not start
//! anything.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};
use ravelin_config::static_config::StaticConfig;

use crate::exit::CheckFailed;

const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// HEAD `/ping` on the ping's entry point; fails unless the answer is 200.
///
/// # Errors
/// Ping is not enabled, nothing answers, or the answer is not 200.
pub(crate) fn run(config: &StaticConfig) -> anyhow::Result<()> {
    let Some(ping) = &config.ping else { bail!("please enable `ping` to use the health check") };
    let point = config.entry_points.get(&ping.entry_point);
    let point = point.with_context(|| format!("ping's entry point {:?} does not exist", ping.entry_point))?;
    let address = point.address.split('/').next().unwrap_or_default();
    let address = match address.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}"),
        None => address.to_owned(),
    };
    let mut stream = TcpStream::connect(&address).with_context(|| format!("nothing answers on {address}"))?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).context("a connected socket")?;
    write!(stream, "HEAD /ping HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").context("ping")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("ping's answer")?;
    let status = answer.lines().next().unwrap_or_default();
    if status.starts_with("HTTP/1.1 200") {
        println!("OK: http://{address}/ping");
        return Ok(());
    }
    Err(CheckFailed(format!("Bad healthcheck status: {status}")).into())
}
