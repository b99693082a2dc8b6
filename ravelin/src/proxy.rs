//! `ravelin proxy`: a node of the data plane, from its identity file to its drained end. It must dial only
//! control nodes, upstreams and configured sinks.

use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::{Context, bail};
use ravelin_proxy::proxy::{Proxy, ProxyHandle, ProxyOptions};
use ravelin_transport::identity::Identity;
use ravelin_transport::quic::{QuicOptions, QuicTransport};
use ravelin_transport::{Expected, PeerRole, Target, Transport};
use tokio::signal::unix::{SignalKind, signal};

use crate::health::{self, Health};
use crate::{cli, exit, logging};

/// What the sealing key of last good generations is derived for.
const SEALING_PURPOSE: &str = "last-good-generations";

/// Runs until SIGTERM or SIGINT, then drains. SIGUSR1 reopens the access log.
///
/// # Errors
/// The proxy does not start.
pub(crate) fn run(options: cli::ProxyOptions) -> anyhow::Result<()> {
    logging::start(&options.log.level, options.log.json)?;
    exit::runtime()?.block_on(async {
        let identity = Identity::load(&options.identity)?;
        if identity.role() != PeerRole::Proxy {
            bail!(
                "{}: this identity is for a {}, not for a proxy",
                options.identity.display(),
                identity.role()
            );
        }
        let transport: Arc<dyn Transport> =
            Arc::new(QuicTransport::dial_only(&identity, QuicOptions::default())?);
        let targets = identity.controllers().iter().map(|controller| Target {
            address: controller.address.clone(),
            expect: Expected { role: PeerRole::Controller, node: Some(controller.node) },
        });
        let started = ProxyOptions {
            workers: workers(options.workers.map(NonZeroUsize::get)),
            data_dir: Some(options.data.clone()),
            sealing_key: Some(identity.derive_key(SEALING_PURPOSE)),
            node: identity.node(),
            entry_point_addresses: options.entry_points.iter().cloned().collect(),
            ..ProxyOptions::new(identity.cluster().0)
        };
        let asked = match options.health_address {
            Some(address) => Some(health::listen(address).await?),
            None => None,
        };
        let proxy = Arc::new(Proxy::start(started, Arc::clone(&transport), targets.collect())?);
        // Answers until the process has drained.
        let _health = asked.map(|listener| Health::answer(listener, Arc::clone(&proxy)));
        tracing::info!(node = identity.node(), "proxy started");
        let ended = until_told_to_stop(&proxy).await;
        if ended.is_ok() {
            proxy.drain().await;
        }
        // Told before the process ends: else the node that feeds it counts it as there until its silence shows.
        transport.shutdown().await;
        ended
    })
}

/// The number of worker threads: what was asked for, or one per core.
pub(crate) fn workers(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Waits for SIGTERM or SIGINT; meanwhile SIGUSR1 reopens the logs that go to files.
///
/// # Errors
/// The signals cannot be awaited, or a part has failed that the proxy does not go on without; it is drained then.
pub(crate) async fn until_told_to_stop(proxy: &ProxyHandle) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut reopen = signal(SignalKind::user_defined1()).context("SIGUSR1")?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = reopen.recv() => {
                logging::reopen();
                proxy.reopen_access_log();
            }
            what = proxy.failed() => {
                // What still works comes to its end; then whoever started the process sees that it failed.
                proxy.drain().await;
                bail!("{what}");
            }
        }
    }
}
