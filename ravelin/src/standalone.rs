//! One process that does what a single Traefik does: a control plane of one voter and one proxy, joined
//! by the memory transport. It must hold no way from provider to table that a cluster does not have.

use std::ffi::OsString;
use std::sync::Arc;

use anyhow::{Context, bail};
use ravelin_cluster::shell::{self, ClusterHandle, ControllerOptions};
use ravelin_config::static_config::{Inputs, Loaded, load, read_if_there};
use ravelin_config::{Problem, SharedRecords};
use ravelin_proxy::proxy::{Proxy, ProxyHandle, ProxyOptions};
use ravelin_proxy::rest::Sink;
use ravelin_transport::memory::MemoryHub;
use ravelin_transport::{ClusterId, Expected, PeerRole, Target, Transport};

use crate::exit::CheckFailed;
use crate::proxy::{until_told_to_stop, workers};
use crate::{exit, logging};

/// The cluster that a lone process is: it shares nothing with another, so it needs no id of its own.
const CLUSTER: [u8; 16] = *b"ravelin-standalo";
const CONTROLLER_NAME: &str = "controller-1";

/// Our own bootstrap flags among Traefik's.
#[derive(Debug, Default, PartialEq, Eq)]
struct Bootstrap {
    workers: Option<usize>,
    log_json: bool,
}

/// Runs on a Traefik command line: `--configFile=…`, flags, `version`, `healthcheck`.
///
/// # Errors
/// The static configuration is wrong, or the process cannot start.
pub(crate) fn run(words: &[String]) -> anyhow::Result<()> {
    if words.first().is_some_and(|word| word == "version") {
        println!("Version:      {}\nBuilt with:   Rust", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let (bootstrap, rest) = bootstrap(words)?;
    let healthcheck = rest.first().is_some_and(|word| word == "healthcheck");
    let arguments = if healthcheck { &rest[1..] } else { &rest[..] };
    // A variable that is no text is none of ours.
    let text = |(name, value): (OsString, OsString)| name.into_string().ok().zip(value.into_string().ok());
    let environment: Vec<(String, String)> = std::env::vars_os().filter_map(text).collect();
    let inputs = Inputs { arguments, environment: &environment, read: &read_if_there };
    let loaded = load(&inputs).map_err(refused)?;
    if healthcheck {
        return crate::healthcheck::run(&loaded.config);
    }
    logging::start_as(&loaded.config.log, bootstrap.log_json)?;
    // At the level that is usual: what was asked for and is not done must be seen.
    for note in &loaded.notes {
        tracing::error!("{note}");
    }
    exit::runtime()?.block_on(serve(bootstrap, loaded))
}

fn refused(problems: Vec<Problem>) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    CheckFailed(format!("ravelin: the static configuration cannot be used:\n{}", lines.join("\n"))).into()
}

async fn serve(bootstrap: Bootstrap, loaded: Loaded) -> anyhow::Result<()> {
    // Before anything is served: what nobody takes up ends the process.
    let mut hangup =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).context("SIGHUP")?;
    let (node, proxy) = start(bootstrap, loaded).await?;
    let stopped = until_told_to_stop(&proxy);
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            told = &mut stopped => { told?; break }
            _ = hangup.recv() => node.reload(),
            reason = node.ended() => bail!("the control plane has stopped: {}", reason.unwrap_or_default()),
        }
    }
    proxy.drain().await;
    node.shutdown().await;
    Ok(())
}

/// Both halves, joined in memory.
async fn start(bootstrap: Bootstrap, loaded: Loaded) -> anyhow::Result<(ClusterHandle, ProxyHandle)> {
    let hub = MemoryHub::new();
    let cluster = ClusterId(CLUSTER);
    let control: Arc<dyn Transport> =
        Arc::new(hub.endpoint(CONTROLLER_NAME, cluster, PeerRole::Controller, 1)?);
    let data: Arc<dyn Transport> = Arc::new(hub.endpoint("proxy-1", cluster, PeerRole::Proxy, 1)?);
    // One copy of the records for both halves; what is known of them still comes by the feed.
    let shared = SharedRecords::default();
    let options = ControllerOptions {
        shared: Some(shared.clone()),
        ..ControllerOptions::standalone(CLUSTER, control, Arc::new(loaded.draft))
    };
    let node = shell::start(options).await.context("the control plane could not be started")?;
    let expect = Expected { role: PeerRole::Controller, node: Some(1) };
    let target = Target { address: CONTROLLER_NAME.to_owned(), expect };
    let options = ProxyOptions {
        workers: workers(bootstrap.workers),
        rest: Some(rest_sink(&node)),
        shared,
        ..ProxyOptions::new(CLUSTER)
    };
    let proxy = Proxy::start(options, data, vec![target]).context("the proxy could not be started")?;
    Ok((node, proxy))
}

/// Hands what clients put to the control plane of this process.
fn rest_sink(node: &ClusterHandle) -> Arc<Sink> {
    let wanted = node.rest();
    Sink::new(Box::new(move |text| {
        let put = ravelin_config::rest::read(text)?;
        if let Some(draft) = put.draft {
            wanted.send_replace(Some(draft));
        }
        Ok(put.taken.to_string())
    }))
}

/// Takes our own flags out of a command line.
fn bootstrap(words: &[String]) -> anyhow::Result<(Bootstrap, Vec<String>)> {
    let mut found = Bootstrap::default();
    let mut rest = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some(("--workers", count)) => {
                let count = count.parse().ok().filter(|count| *count > 0);
                found.workers =
                    Some(count.with_context(|| format!("{word}: write a number of threads, at least 1"))?);
            }
            _ if word == "--log-json" => found.log_json = true,
            _ => rest.push(word.clone()),
        }
    }
    Ok((found, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_flags_are_taken_out() {
        let words = ["--workers=2", "--configFile=a.yml"].map(str::to_owned);
        let (own, rest) = bootstrap(&words).expect("good flags");
        assert_eq!((own.workers, rest), (Some(2), vec!["--configFile=a.yml".to_owned()]));
        assert!(bootstrap(&["--workers=none".to_owned()]).is_err());
    }
}
